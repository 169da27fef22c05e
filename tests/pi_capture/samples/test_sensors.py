"""Sensors beside pictures and alone: real commands, through the command line, into a file that is read back."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray

from pi_capture import CameraError, Recorder, RecordingError, UsageError, record
from pi_capture.samples.clock import Dated, SampleClock, rate_facts
from pi_capture.samples.local import LocalTracks
from pi_capture.samples.sensors import Command, parse_sensor
from pi_capture.samples.track import CHECK
from storage import SampleTrack
from storage.care.info import describe
from storage.care.info_text import as_text
from storage.formats.video.writer import VideoReader
from tests.support import is_running, wait_for
from tests.support.live import clicking, counting, flashing, sensor, session_of

CAPTURE = [sys.executable, "-m", "pi_capture"]
FRAME_NS = 34_000_000


def capture(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [*CAPTURE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def test_every_sample_of_two_sensors_and_all_pictures(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    done = capture(
        path, 4, "--camera", "demo", "--json",
        "--sensor", f"imu,rate=50,channels=2,unit=m/s²,labels=x|y={sensor(50, 2)}",
        "--sensor", f"fast,rate=200,format=text={sensor(200, form='text')}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["frames"] + summary["dropped_camera"] + summary["dropped_queue"] == 120
    assert set(summary["tracks"]) == {"imu", "fast"}
    with VideoReader(path) as recording:
        pictures = recording.timestamps_ns
        for reader, rate, channels in zip(recording.tracks, (50, 200), (2, 1), strict=True):
            times, samples = reader.read()
            assert np.array_equal(samples, np.array(counting(samples[0, 0], len(samples), channels), np.float32))
            assert abs(len(samples) - 4 * rate) <= 1 + 0.05 * rate and summary["tracks"][reader.name]["samples"] == len(
                samples
            )
            assert 0 <= times[0] - pictures[0] <= 1e9 / rate + FRAME_NS
            assert abs(times[-1] - (pictures[0] + 4e9)) < FRAME_NS + 1e9 / rate
            assert np.abs(np.diff(times) - 1e9 / rate).max() < 2e7
        assert recording.tracks[0].track.labels == ("x", "y") and recording.tracks[0].track.unit == "m/s²"


def test_without_a_camera_from_standard_input_up_to_its_end(tmp_path: Path) -> None:
    path, values = tmp_path / "talk.mka", np.random.default_rng(0).normal(size=(700, 3)).astype("<f4")
    (tmp_path / "values").write_bytes(values.tobytes())
    for number, source in enumerate((f"cat {tmp_path / 'values'}", "-"), 1):
        with (tmp_path / "values").open("rb") as file:
            done = capture(path, -1, "--camera", "none", "--sensor", f"a,rate=100,channels=3={source}", stdin=file)
        assert done.returncode == 0, done.stderr
        assert "a ended, and with it the recording\n" in done.stderr and "goes on" not in done.stderr
        with VideoReader(path) as recording:
            times, samples = recording.tracks[0].read()
            assert np.array_equal(samples, np.concatenate([values] * number))
            assert abs(times[699] - times[0] - 6.99e9) < 10_000


@pytest.mark.parametrize("sessions", [1, 2])
def test_what_a_running_program_gave_before_the_first_picture_is_kept(tmp_path: Path, sessions: int) -> None:
    """It has been writing into the pipe for a while; into a new file, and into one that is continued."""
    path, spec = tmp_path / "day1.mkv", "imu,rate=80,channels=3,format=text=-"
    for _ in range(sessions):
        with subprocess.Popen(sensor(80, 3, form="text"), shell=True, stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            time.sleep(0.7)
            done = capture(path, 3, "--camera", "demo", "--sensor", spec, stdin=program.stdout)
            program.stdout.close()
        assert done.returncode == 0 and "before" not in done.stderr, done.stderr
        assert "none missing for over 0.25 s\n" in done.stderr, done.stderr
    with VideoReader(path) as recording:
        pictures = recording.timestamps_ns
        first_frames = [session["first_index"] for session in recording.sessions]
        times, samples = recording.tracks[0].read()
    begins = [*np.flatnonzero(samples[:, 0] == 0), len(samples)]
    assert len(begins) == sessions + 1 and begins[0] == 0
    for number in range(sessions):
        part = slice(begins[number], begins[number + 1])
        assert np.array_equal(samples[part], np.array(counting(0, begins[number + 1] - begins[number], 3), np.float32))
        off = np.abs(np.diff(times[part]) - 1e9 / 80)
        assert np.median(off) < 1e6 and off.max() < 2e7  # on a busy machine the program is late at times
        first = pictures[first_frames[number]]
        assert first - times[begins[number]] > 0.7e9 and times[part][-1] > first + 2.9e9
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type,start_time", "-of", "csv=p=0", path]
    begun = dict(line.split(",")[:2] for line in subprocess.check_output(probe, text=True).split())
    assert float(begun["audio"]) == 0 and float(begun["video"]) > 0.7
    convert = [sys.executable, "-m", "storage", "convert", path, tmp_path / "copy.mkv"]
    told = subprocess.run(convert, capture_output=True, text=True, check=True).stderr
    begins = re.search(r"copy\.mkv begins with the first picture, (\S+) s into .*day1\.mkv: label files in", told)
    assert begins is not None and float(begins[1]) == pytest.approx(float(begun["video"]), abs=0.001), told
    with VideoReader(tmp_path / "copy.mkv") as copy:
        assert list(copy.timestamps_ns) == list(pictures)


def test_a_program_that_ended_before_the_first_picture_loses_nothing(tmp_path: Path) -> None:
    path, values = tmp_path / "day1.mkv", np.arange(120, dtype="<f4").reshape(60, 2)
    spec = "imu,rate=100,channels=2=-"
    command = [*CAPTURE, path, "1", "--camera", "demo", "--sensor", spec]
    subprocess.run(list(map(str, command)), input=values.tobytes(), capture_output=True, check=False, timeout=120)
    with VideoReader(path) as recording:
        _, samples = recording.tracks[0].read()
    assert np.array_equal(samples, values)


def test_what_a_sensor_gave_before_the_recording_began_is_counted_and_told(tmp_path: Path) -> None:
    """One of them is there at once, and everything begins when the other is."""
    done = capture(
        tmp_path / "day1.mkv", 2, "--camera", "demo", "--json",
        "--sensor", f"early,rate=60={sensor(60)}", "--sensor", f"late,rate=60=sleep 1; {sensor(60)}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before = json.loads(done.stdout)["tracks"]["early"]["came_before"]
    assert before > 30
    with VideoReader(tmp_path / "day1.mkv") as recording:
        _, samples = recording.tracks[0].read()
    assert samples[0, 0] == before
    assert f"; {before} came before the first picture" in done.stderr


def arriving(monkeypatch: pytest.MonkeyPatch, samples_of: Callable[[str], Iterator[tuple[float, int]]]) -> None:
    """Let each sensor give samples at the moments, in seconds, that are told for its name."""
    arrived, begun_ns = threading.local(), time.monotonic_ns()

    def chunks(command: Command) -> Iterator[np.ndarray]:
        for seconds, value in samples_of(command.track.name):
            arrived.ns = begun_ns + round(seconds * 1e9)
            yield np.array([[value]], "f4")

    monkeypatch.setattr(Command, "start", lambda _: None)
    monkeypatch.setattr(Command, "chunks", chunks)
    clock = SimpleNamespace(monotonic=time.monotonic, monotonic_ns=lambda: arrived.ns)
    monkeypatch.setattr("pi_capture.samples.track.time", clock)


def test_a_pause_is_padded_and_the_rate_that_comes_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sensors for eight seconds, whose samples arrive exactly when they should, on the busiest machine."""
    path = tmp_path / "a.mka"
    rates = {"a": 100.0, "b": 100.7, "twice": 100.0}

    def samples_of(name: str) -> Iterator[tuple[float, int]]:
        for n in range(650 if name == "a" else round(8 * rates[name])):
            yield n / rates[name] + (1.5 if name == "a" and n >= 200 else 0.0), n

    arriving(monkeypatch, samples_of)
    lines: list[str] = []
    twice = f"twice gives 100 samples a second, not 50; their times are right if they come evenly. {CHECK}"
    with pytest.raises(RecordingError, match=f"^{twice}$") as ended:
        record(path, -1, camera="none", say=lines.append, sensors=["a,rate=100=a", "b,rate=100=b", "twice,rate=50=c"])
    tracks = ended.value.summary.tracks
    assert [tracks[name].padded for name in rates] == [150, 0, 0]
    assert [tracks[name].samples for name in rates] == [650, 806, 800]
    told = ["a ended; the recording goes on", "a paused for 1.50 s; padded", "b ended; the recording goes on"]
    with_it = ", and with it the recording"  # of the one that was the last
    assert sum(with_it in line for line in lines) == 1
    lines = [line.replace(with_it, "; the recording goes on") for line in lines]
    assert sorted(lines) == [*told, "twice ended; the recording goes on", twice]
    with VideoReader(path) as recording:
        paused, drifting, doubled = recording.tracks
        times, samples = paused.read()
        assert len(samples) == 800 and np.isnan(samples[200:350]).all()
        assert np.array_equal(samples[~np.isnan(samples)], np.arange(650))
        assert np.abs((times - times[0]) / 1e9 - np.arange(len(times)) / 100).max() < 0.001
        assert drifting.rate == pytest.approx(100.7, abs=0.001)
        assert float(drifting.facts["DRIFT_PPM"]) == pytest.approx(7000, abs=1)
        for track in (drifting, doubled):
            times, _ = track.read()
            real = rates[track.name]
            assert (times[-1] - times[0]) / 1e9 == pytest.approx((len(times) - 1) / real, abs=0.02)


def test_a_short_pause_is_padded_and_jitter_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sensors for twelve seconds: one leaves out 12 samples, of one each sample is late by up to 0.1 s, one stalls."""
    path, draw = tmp_path / "a.mka", np.random.default_rng(0)

    def samples_of(name: str) -> Iterator[tuple[float, int]]:
        came = 0.0
        for n in range(1200):
            if name == "pauses" and 700 <= n < 712:
                continue
            came = max(came, n / 100 + (draw.uniform(0, 0.1) if name == "jitters" else 0.0))
            came = max(came, 8.2) if name == "stalls" and n >= 800 else came
            yield came, n

    arriving(monkeypatch, samples_of)
    lines: list[str] = []
    sensors = [f"{name},rate=100=a" for name in ("pauses", "jitters", "stalls")]
    tracks = record(path, -1, camera="none", say=lines.append, sensors=sensors).tracks
    assert {name: track.padded for name, track in tracks.items()} == {"pauses": 12, "jitters": 0, "stalls": 0}
    assert [line for line in lines if "paused" in line] == ["pauses paused for 0.12 s; padded"]
    with VideoReader(path) as recording:
        times, samples = recording.tracks[0].read()
    came = ~np.isnan(samples[:, 0])
    assert np.abs((times - times[0])[came] / 1e9 - samples[came, 0] / 100).max() < 0.001


def test_what_is_wrong_with_a_sensor_is_told_and_the_rest_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    recording = f"until [ -s {path} ]; do sleep 0.1; done"
    wait = "wait $! 2> /dev/null; status=$?; echo Killed >&2; exit $status"  # dash itself says so nearly always
    garbage = "while true; do echo 1 2; echo hallo; echo 1 2 3; echo 4; sleep 0.4; done"
    done = capture(
        path, 7, "--camera", "demo",
        "--sensor", f"good,rate=50={sensor(50)}",
        "--sensor", f"twice,rate=50,channels=2={sensor(100, 2)}",
        "--sensor", f"garbage,rate=10,channels=2,format=text={garbage}",
        "--sensor", "text,rate=50=yes hello world",
        "--sensor", "silent,rate=1=sleep 1000",
        "--sensor", f"killed,rate=50={sensor(50)} & {recording}; sleep 2; kill -9 $!; {wait}",
        "--sensor", "missing,rate=50=no-such-command",
        "--sensor", "torn,rate=50,channels=2=printf 123456789012; sleep 3",
        "--sensor", "endless,rate=10,format=text=head -c 70000 /dev/zero | tr '\\0' 1; sleep 3",
    )  # fmt: skip
    assert done.returncode == 1
    told, last = done.stderr.splitlines(), done.stderr.splitlines()[-1]
    for line in (
        "sensor garbage prints 'hallo': no numbers, channels=2; kept as NaN",
        "sensor text prints text ('hello world\\nhello wo' …), not f32le: say format=text",
        "silent: nothing came for 5 s; does it buffer?",
        "sensor killed ended with status 137: Killed",
        "torn ended; the recording goes on",
        f"sensor endless prints {'1' * 60!r}: no numbers, channels=1; kept as NaN",
    ):
        assert line in told, done.stderr
    assert any(line.startswith("sensor missing ended with status 127: ") for line in told)
    gives = r"twice gives [\d.]+ samples a second, not 50"
    twice = rf"{gives}; their times are right if they come evenly\. {CHECK}"
    assert any(re.fullmatch(twice, line) for line in told), done.stderr
    for problem in (
        "lines were not 2 numbers; they are kept as NaN",
        "silent: no samples came",
        "sensor torn ended within a sample (4 of 8 bytes); check channels and format",
    ):
        assert problem in last
    assert "good" not in last and "Traceback" not in done.stderr
    with VideoReader(path) as recording:
        assert len(recording) > 100
        found = {reader.name: reader.read() for reader in recording.tracks}
        assert len(found["good"][1]) == pytest.approx(350, abs=10)
        killed = found["killed"][1]
        assert 75 < len(killed) < 350 and killed.tolist() == counting(killed[0, 0], len(killed), 1)
        times, samples = found["twice"]
        assert len(samples) == pytest.approx(700, abs=21)  # by its own pace on a busy machine
        assert (times[-1] - times[300]) / 1e9 == pytest.approx((len(times) - 301) / 100, abs=0.1)  # 8 s as stated
        rows = found["garbage"][1]
        assert {(1.0, 2.0)} == {tuple(row) for row in rows[~np.isnan(rows[:, 0])]}


@pytest.mark.parametrize(
    ("line", "channels", "told"),
    [
        ("1 2 three", 2, "'three' is no number, channels=2"),
        ("0.25;-4;", 2, "0.25,-4"),
        ("0.5, 7 ,", 2, "0.5,7"),
        ("0,25 4,5", 2, "4 numbers, or decimal commas: have it print decimal points, channels=2"),
        ("7,5", 1, "2 numbers, or decimal commas: have it print decimal points, channels=1"),
        ("7,5,9", 2, "3 numbers, channels=2"),
        ("4;x9;5", 3, "'x9' is no number, channels=3"),
        ("hello", 3, "no numbers, channels=3"),
        ("1_5 2", 2, "'1_5' is no number, channels=2"),
        ("-2e39", 1, "'-2e39' is too large for a 32-bit float, channels=1"),
        ("1e400", 1, "'1e400' is too large for a 32-bit float, channels=1"),
        ("inf 3.4e38", 2, "inf,3.4e38"),
    ],
)
def test_a_line_is_read_or_its_fault_named(line: str, channels: int, told: str) -> None:
    good = " ".join(["1"] * channels)
    prints = f"printf '%s\\n' '{good}' '{line}' '{line}'"
    lines: list[str] = []
    command = Command(parse_sensor(f"a,rate=10,channels={channels},format=text={prints}"), lines.append)
    command.start()
    rows = [row for samples in command.chunks() if samples is not None for row in samples.tolist()]
    assert rows[0] == [1.0] * channels and len(rows) == 3
    if "channels" not in told:
        kept = np.array([float(number) for number in told.split(",")], "f4").tolist()
        assert rows[1:] == [kept] * 2 and not command.problems
        return
    assert lines == [f"sensor a prints {line!r}: {told}; kept as NaN"]
    assert command.problems == [
        f"sensor a: 2 lines were not {'one number' if channels == 1 else f'{channels} numbers'}; they are kept as NaN"
    ]


def test_a_complaint_is_told_line_by_line_however_it_comes() -> None:
    """A program may write its lines in pieces, and the last one without an end."""
    says = "import os, time; [(os.write(2, bytes([byte])), time.sleep(0.02)) for byte in 'zu heiß\\nzu spät'.encode()]"
    script = f"{shlex.join([sys.executable, '-c', says])}; exit 9"
    lines: list[str] = []
    command = Command(parse_sensor(f"a,rate=10={script}"), lines.append)
    command.start()
    with pytest.raises(CameraError, match=r"^sensor a ended with status 9: zu spät$"):
        list(command.chunks())
    assert lines == ["sensor a: zu heiß", "sensor a: zu spät"]


@pytest.mark.parametrize(
    ("end", "told"),
    [("5 6", ["sensor a ended within a line ('5 6'), which is not kept; end each line with a line break"]), (" ", [])],
)
def test_a_last_line_without_its_end_is_told(end: str, told: list[str]) -> None:
    command = Command(parse_sensor(f"a,rate=10,channels=2,format=text=printf '1 2\n3 4\n{end}'"), print)
    command.start()
    rows = [row for samples in command.chunks() if samples is not None for row in samples.tolist()]
    assert rows == [[1, 2], [3, 4]]
    assert command.problems == told


@pytest.mark.parametrize(
    ("prints", "told"),
    [
        (
            "rate=2=echo 7.25; sleep 0.1; echo 7.5",
            "sensor a prints text ('7.25\\n7.5\\n' …), not f32le: say format=text",
        ),
        (
            "rate=2,format=text=printf '7.25 '; sleep 0.1; printf '7.5 '; sleep 9",
            "prints '7.25 7.5' without a line break",
        ),
        ("rate=2,format=s16le=printf 'ab12'", ""),
        ("rate=2,format=text=printf '7.25\r'; sleep 0.1; printf '7.5\r\n'", ""),
    ],
)
def test_how_a_slow_sensor_ends_its_lines(prints: str, told: str) -> None:
    command = Command(parse_sensor(f"a,{prints}"), print)
    command.start()
    rows = [row for samples in command.chunks() if samples is not None or command.stop() for row in samples.tolist()]
    assert told in "; ".join(command.problems) and bool(told) == bool(command.problems)
    assert told or len(rows) == 2


def test_a_dead_sensor_is_called_so(tmp_path: Path) -> None:
    done = capture(tmp_path / "a.mkv", 1, "--camera", "demo", "--sensor", "gone,rate=10=true")
    assert done.returncode == 1 and "  gone: no samples came" in done.stderr.splitlines()
    assert "gone: no samples came" in done.stderr.splitlines()[-1]


def test_a_sensor_that_goes_on_without_output_is_not_called_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_capture.samples.sensors.PATIENCE_SECONDS", 100)  # the recording ends before
    mute = "mute,rate=10,format=text=echo 1; echo 2; exec sleep 1000 >&-"
    with pytest.raises(RecordingError, match="mute closed its output too early; the recording went on without it"):
        record(tmp_path / "a.mkv", 1, camera="demo", fps=5, sensors=[mute])


def test_a_sensor_that_dies_takes_nothing_from_the_pictures_and_is_not_called_whole(tmp_path: Path) -> None:
    once = "gone,rate=10,format=text=for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; sleep 0.1; done"
    done = capture(tmp_path / "a.mkv", 2, "--camera", "demo", "--fps", 5, "--sensor", once)
    assert done.returncode == 1 and "until it failed" not in done.stderr and "none missing" not in done.stderr
    assert done.stderr.endswith("gone ended too early; the recording went on without it\n"), done.stderr


def chunks_of(count: int, interval: float, size: int, then: str) -> str:
    """A command that prints so many chunks of so many lines each, evenly, and then does something else."""
    lines = "; ".join(["echo 1"] * size)
    return f"n=0; while [ $n -lt {count} ]; do {lines}; n=$((n+1)); sleep {interval}; done; {then}"


@pytest.mark.parametrize("seconds", [5, -1])
@pytest.mark.parametrize("pictures", [True, False])
def test_a_sensor_that_falls_silent_is_told_and_one_that_sends_seldom_is_not(
    tmp_path: Path, seconds: int, pictures: bool
) -> None:
    path, stop, told = tmp_path / "a.mkv", threading.Event(), list[str]()
    threading.Timer(6, stop.set).start()
    sensors = [
        f"good,rate=50={sensor(50)}",
        f"hangs,rate=50={sensor(50)} & sleep 2; kill -STOP $!; wait",
        f"chunks,rate=8,format=text={chunks_of(100, 1.5, 12, '')}",
        f"seldom,rate=0.5,format=text={chunks_of(100, 2, 1, '')}",
    ]
    camera = {"camera": "demo", "fps": 5.0, "size": (64, 48)} if pictures else {"camera": "none"}
    with pytest.raises(RecordingError) as ended:
        record(path, seconds, stop=stop, say=told.append, sensors=sensors, **camera)  # type: ignore[arg-type]
    says = r"hangs: nothing came in the last [1-4]\.?\d* s; the recording went on without it"
    assert re.fullmatch(says, str(ended.value)) and str(ended.value) in told
    assert session_of(path)["problems"] == {"hangs": [str(ended.value)]}
    assert not ended.value.summary.tracks["good"].problems


def test_a_sensor_that_falls_silent_is_told_while_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what comes again is no problem at the end."""
    path, command = tmp_path / "a.mka", chunks_of(40, 0.05, 1, "exec sleep 1000")
    recorder = subprocess.Popen(
        [*CAPTURE, path, "-1", "--camera", "none", "--sensor", f"a,rate=20,format=text={command}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with recorder:
        assert recorder.stderr is not None
        assert re.match(r"a: nothing came for 5\S* s; the recording goes on without it", recorder.stderr.readline())
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait(60) == 1
    assert describe(path).problems[0][1] == "a"

    monkeypatch.setattr("pi_capture.samples.track.SILENT_SECONDS", 1)
    told: list[str] = []
    again = f"b,rate=50={sensor(50, pause=(1.5, 2))}"
    record(tmp_path / "b.mka", 7, camera="none", say=told.append, sensors=[again])
    warned, paused = told
    assert warned.startswith("b: nothing came for 1") and paused.startswith("b paused for "), told


def test_a_sensor_that_begins_after_the_recording_is_told(tmp_path: Path) -> None:
    path, told = tmp_path / "a.mkv", list[str]()
    begins = f"until [ -e {path} ]; do sleep 0.1; done; sleep 1; exec {sensor(50)}"
    sensors = [f"late,rate=50={begins}", f"good,rate=50={sensor(50)}"]
    record(path, 5, camera="demo", fps=5, size=(64, 48), say=told.append, sensors=sensors)
    (line,) = told
    assert re.fullmatch(r"late began [123]\.\d\d s after the recording", line)


def test_samples_that_are_late_at_the_end_are_kept(tmp_path: Path) -> None:
    """The sensor's way stalls for half a second, just before the end of three."""
    stall = (
        "import contextlib, os, sys, time; out = sys.stdout.buffer\n"
        "with contextlib.suppress(OSError): os.nice(-15)\n"  # no load of the machine makes it longer
        "for n in range(1000): time.sleep(0.5 * (n == 280)); out.write(sys.stdin.buffer.read(4)); out.flush()"
    )
    spec = f"late,rate=100={sensor(100)} | {shlex.join([sys.executable, '-S', '-c', stall])}"
    summary = record(tmp_path / "a.mka", 3, camera="none", sensors=[spec])
    assert summary.tracks["late"].padded == 0 and abs(summary.tracks["late"].samples - 300) <= 1


def test_what_was_wrong_with_a_sensor_is_kept_and_told_of_it_alone(tmp_path: Path) -> None:
    once = "gone,rate=10,format=text=for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; sleep 0.1; done"
    mad = "mad,rate=10,format=text=echo 1; while echo 1 2; do sleep 0.1; done"
    good = f"good,rate=50={sensor(50)}"
    path = tmp_path / "a.mkv"
    options = ("--camera", "demo", "--fps", 5, "--size", "64x48")
    done = capture(path, 2, *options, "--sensor", once, "--sensor", mad, "--sensor", good)
    assert done.returncode == 1, done.stderr
    of_tracks = {line.split(":")[0].strip(): line for line in done.stderr.splitlines() if line.startswith("  ")}
    whole = {name: "none missing" in line for name, line in of_tracks.items()}
    assert whole == {"gone": False, "mad": False, "good": True}, done.stderr
    problems = session_of(path)["problems"]
    assert isinstance(problems, dict) and problems.keys() == {"gone", "mad"}
    assert problems["gone"] == ["gone ended too early; the recording went on without it"]
    (lines,) = problems["mad"]
    assert re.fullmatch(r"sensor mad: \d+ lines were not one number; they are kept as NaN", lines)
    told = as_text(describe(path))
    assert all(f"session {session_of(path)['id']}: {text}" in told for text in [*problems["gone"], lines]), told


def test_what_is_wrong_with_a_sensor_is_kept_before_the_recorder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.mka"
    mad = "mad,rate=10,format=text=echo 1; while echo 1 2; do sleep 0.1; done"
    command = [*CAPTURE, path, "-1", "--camera", "none", "--sensor", mad]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
        wait_for(lambda: path.exists() and b"lines were not one number" in path.read_bytes())
        recorder.kill()
    assert describe(path).problems[0][1] == "mad"


def test_a_killed_recorder_takes_its_sensors_along(tmp_path: Path) -> None:
    """All that the command started; one of them does not listen to SIGTERM."""
    script = f"(trap '' TERM; echo $$ > {tmp_path}/deaf; sleep 1000 & echo $! > {tmp_path}/child; wait); sleep 1001"
    command = [*CAPTURE, tmp_path / "a.mkv", "-1", "--camera", "demo", "--sensor", f"a,rate=10={script}"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
        wait_for(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text().endswith("\n"))
        recorder.kill()
    pids = [int((tmp_path / name).read_text()) for name in ("deaf", "child")]
    wait_for(lambda: not any(is_running(pid) for pid in pids))


def test_a_sensor_that_gives_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"sensor a ended with status 127: .*no-such-command"):
        record(tmp_path / "a.mka", 5, camera="none", sensors=["a,rate=50=no-such-command"])
    assert list(tmp_path.iterdir()) == []


def test_the_command_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(
        f"trap 'echo ended > {tmp_path}/told' TERM\n(trap '' TERM; exec sleep 1000) & echo $! > {tmp_path}/child\n"
        "while true; do printf '\\0\\0\\0\\1'; sleep 0.1; done\n"
    )
    with suppress(RecordingError):  # on a busy machine it gives fewer samples than stated
        record(tmp_path / "a.mka", 1.5, camera="none", sensors=[f"a,rate=10=sh {tmp_path}/run.sh"])
    assert (tmp_path / "told").exists()
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not is_running(child), "its end")


def test_a_command_that_ended_hours_ago_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command(parse_sensor("a,rate=10,format=text=echo 1"), print)
    command.start()
    assert [samples.tolist() for samples in command.chunks() if samples is not None] == [[[1.0]]]
    signalled: list[int] = []
    monkeypatch.setattr("os.killpg", lambda group, number: signalled.append(group))  # by then somebody else's, perhaps
    command.stop()
    assert not signalled


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("imu", "give NAME,rate=HZ"),
        ("imu=cat", "as in rate=50"),
        ("imu,rate=20Hz=cat", "'20Hz' is none"),
        ("imu,rate=0,5,channels=2=cat", "imu: '5' is not understood: give NAME,rate=HZ"),
        ("imu,rate=50,channels=0=cat", "1 to 64 channels"),
        ("imu,rate=50,format=csv=cat", "known are f32le, s16le, text"),
        ("imu,rate=50,channels=3,labels=x|y=cat", "2 labels for 3 channels"),
        ("imu,rate=50,channels=3,labels=x|y|x=cat", "each channel needs a name of its own"),
        ("imu,rate=50,labels=x||y=cat", "each channel needs a name of its own"),
        ("imu,rate=50,channels=3,rate=60=cat", "rate,channels,rate: give each once"),
        ("imu,rate=0=cat", "makes no sense"),
        ("imu,rate=5,speed=5=cat", "imu: 'speed' is not understood: give NAME,rate=HZ"),
    ],
)
def test_a_specification_that_is_none_is_refused(spec: str, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_sensor(spec)
    assert reason in str(raised.value)


def test_wrong_usage(tmp_path: Path) -> None:
    imu = f"imu,rate=50={sensor(50)}"
    for arguments, reason in (
        ([tmp_path / "day1", 5, "--sensor", imu], f"record to {tmp_path / 'day1.mkv'}"),
        ([tmp_path / "day1.h5", 5, "--sensor", imu], f"record to {tmp_path / 'day1.mkv'}"),
        ([tmp_path / "a.mkv", 5, "--camera", "none"], "give a --sensor or --audio"),
        (
            [
                tmp_path / "a.mka",
                5,
                "--camera",
                "none",
                "--sensor",
                imu,
                "--live-labels",
                "a,b",
                "--labels-from",
                "studio",
            ],
            "labels belong to pictures, and --camera none has none",
        ),
        ([tmp_path / "a.mkv", 5, "--sensor", imu, "--sensor", imu], "each needs its own name"),
        ([tmp_path / "a.mkv", 5, "--sensor", imu, "--segment", "1h"], "make one recording after another"),
        ([tmp_path / "a.mkv", 5, "--sensor", "labels,rate=1=cat"], "a sensor can't be called labels"),
        ([tmp_path / "a.mkv", 5, "--sensor", "a,rate=1=-", "--sensor", "b,rate=1=-"], "only one sensor can read"),
    ):
        done = capture(*arguments)
        assert done.returncode == 2 and reason in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_kill_9_costs_at_most_a_second_of_each_track(tmp_path: Path) -> None:
    late: dict[str, float] = {}
    for attempt in range(5):  # where a busy machine held the recorder up before the kill, it is told by another kill
        late = seconds_lost_to_a_kill(tmp_path / f"{attempt}.mkv")
        if max(late.values()) < 1:
            break
    assert max(late.values()) < 1, late


def seconds_lost_to_a_kill(path: Path) -> dict[str, float]:
    """How much is missing at the end of each track, beyond its last period."""
    command = [*CAPTURE, path, "-1", "--camera", "demo", "--sensor", f"a,rate=50={sensor(50)}"]
    command += ["--sensor", f"slow,rate=2={sensor(2)}", "--audio", "lavfi:sine=440:sample_rate=48000"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not path.exists():
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        time.sleep(5)
        process.send_signal(signal.SIGKILL)
        killed_ns = time.monotonic_ns()
    assert subprocess.run([sys.executable, "-m", "storage", "verify", path], check=False).returncode in (0, 1)
    with VideoReader(path) as recording:
        late = {"pictures": (killed_ns - recording.timestamps_ns[-1]) / 1e9}
        for reader, period in zip(recording.tracks, (1 / 50, 1 / 2, 1 / 48000), strict=True):
            times, samples = reader.read()
            late[reader.name] = (killed_ns - times[-1]) / 1e9 - period
            if reader.name == "a":
                assert np.array_equal(samples[:, 0], np.arange(samples[0, 0], samples[0, 0] + len(samples)))
    return late


# -------------------------------------------------------------------------------------------------------------- clocks


def edges(times_ns: np.ndarray, on: np.ndarray) -> np.ndarray:
    """When something went on."""
    return np.asarray(times_ns)[1:][on[1:] & ~on[:-1]]


def edges_of_all(path: Path) -> list[np.ndarray]:
    """When the flash, the click and the pulse began, on the wall clock."""
    offset = int(session_of(path)["wall_minus_monotonic_ns"])  # type: ignore[call-overload]
    with VideoReader(path) as recording:
        lit = np.array([one.pixels.mean() > 128 for one in recording])
        found = [edges(np.array(recording.timestamps_ns), lit)]
        for reader in recording.tracks:
            times, samples = reader.read()
            found.append(edges(times, np.abs(samples[:, 0].astype(float)) > (0.5 if reader.name == "pulse" else 5000)))
    return [one + offset for one in found]


@pytest.mark.parametrize(("seconds", "rate"), [(7, 200), pytest.param(45, 199.3, marks=pytest.mark.slow)])
def test_flash_click_and_pulse_are_at_one_time_from_beginning_to_end(tmp_path: Path, seconds: int, rate: float) -> None:
    path = tmp_path / "day1.mkv"
    with flashing() as camera:
        record(
            path, seconds, camera=camera, size=None,
            sensors=[f"pulse,rate=200={sensor(rate, form='pulse')}"], audio=[clicking()],
        )  # fmt: skip
    flash, pulse, click = edges_of_all(path)
    assert len(flash) >= seconds - 1 and len(pulse) >= seconds - 1 and len(click) >= seconds - 1
    for found in (flash, pulse, click):
        away = (found[1:] + 500_000_000) % 1_000_000_000 - 500_000_000
        for part in (away[: len(away) // 2], away[len(away) // 2 :]):  # a busy machine may delay a single one
            assert np.median(np.abs(part)) < FRAME_NS, [found.tolist() for found in (flash, pulse, click)]


@pytest.mark.parametrize(("rate", "real", "chunk"), [(5, 5.05, 1), (50, 49.2, 1), (50, 50.001, 20), (200, 203, 4)])
def test_times_are_true_whatever_the_pipe_does(rate: float, real: float, chunk: int) -> None:
    """A sensor that is off by up to 2 %, pauses once for 2.5 s, and whose pipe jitters, and stalls for as long."""
    draw, count, pause = np.random.default_rng(0), int(300 * rate), 2.5
    truth = np.arange(count) / real
    truth[count // 3 // chunk * chunk :] += pause
    clock, padded, arrived = SampleClock(rate), 0, 0.0
    stamps = np.zeros(count)
    for first in range(0, count, chunk):
        numbers = np.arange(first, min(first + chunk, count))
        arrived = max(arrived, truth[numbers[-1]] + draw.exponential(0.003))
        arrived = 200 + pause if 200 <= arrived < 200 + pause else arrived
        dated = clock.date(numbers[:, None], round(arrived * 1e9))
        for piece in [*dated, *(clock.finish() if numbers[-1] == count - 1 else [])]:
            if piece.samples is None:
                padded += piece.count
            else:
                stamps[piece.samples[:, 0]] = piece.timestamp_ns / 1e9 + np.arange(piece.count) / real
    assert np.abs(stamps - truth)[truth > 10].max() < 0.01 + 0.5 / rate
    assert abs(padded - pause * real) <= 1 and clock.measured_rate == pytest.approx(real, rel=1e-3)


@pytest.mark.parametrize(
    ("rate", "real", "since"), [(50, 49.5, 4), (50, 50.5, 4), (50, 50, 0), (1, 0.99, 5), (1, 1, 0)]
)
def test_how_far_times_are_off_in_the_first_seconds(rate: float, real: float, since: float) -> None:
    """As docs/streams.md tells it: through a pipe that delays by 3 ms on average."""
    draw, clock, stamps = np.random.default_rng(0), SampleClock(rate), list[float]()
    truth = np.arange(int(60 * real)) / real
    for n, taken in enumerate(truth):
        dated = clock.date(np.array([[n]]), round((taken + draw.exponential(0.003)) * 1e9))
        stamps += [piece.timestamp_ns / 1e9 for piece in [*dated, *(clock.finish() if n == len(truth) - 1 else [])]]
    off = np.array(stamps) - truth
    assert np.abs(off[truth >= since]).max() < (0.015 if rate == 1 else 0.005)
    assert off.min() > -0.031 and off.max() < 0.015


@pytest.mark.parametrize(("rate", "real"), [(50, 200), (110, 200), (180, 200), (20, 60), (400, 200)])
def test_times_are_true_from_the_first_sample_on_at_another_rate_than_stated(rate: float, real: float) -> None:
    """A sensor whose first second has a stall in it, after which all comes at once."""
    clock, dated, count = SampleClock(rate), list[Dated](), round(3.5 * real)
    for n in range(count):
        arrived = n / real + 0.002 * (n % 3)
        dated += clock.date(np.array([[n]]), round((0.65 if 0.3 <= arrived < 0.65 else arrived) * 1e9))
    dated += clock.finish()
    assert [piece.count for piece in dated] == [1] * count
    assert np.abs(np.array([piece.timestamp_ns for piece in dated]) / 1e9 - np.arange(count) / real).max() < 0.005
    assert clock.measured_rate == pytest.approx(real, rel=0.01)


def test_a_device_keeps_the_rate_it_was_asked_for() -> None:
    """Quarters of a second of sound, of which some had been held up: they come faster at first."""
    clock, dated = SampleClock(48_000, device_rate=True), list[Dated]()
    for n in range(11):
        dated += clock.date(np.zeros((12_000, 1)), round(n * 0.192e9))
    times = np.array([piece.timestamp_ns for piece in dated])
    assert np.abs(np.diff(times) - 0.25e9).max() <= 1


@pytest.mark.parametrize("command", ["format=text=yes 1", "format=s16le=cat /dev/zero"])
def test_a_flood_is_told(tmp_path: Path, command: str) -> None:
    done = capture(tmp_path / "day1.mkv", 4, "--camera", "demo", "--sensor", f"flood,rate=10,{command}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(
        r"flood gives \S+ samples a second, not 10.* Check rate, and channels", done.stderr.splitlines()[-1]
    )


def test_of_a_flood_no_rate_is_measured_and_no_pause_padded() -> None:
    clock, padded = SampleClock(10), 0
    for n in range(100):
        arrival_ns = round(n * 1e8) + (5_000_000_000 if n >= 50 else 0)
        padded += sum(piece.count for piece in clock.date(np.zeros((100_000, 1)), arrival_ns) if piece.samples is None)
    assert padded == 0 and clock.measured_rate is None


@pytest.mark.parametrize("killed", [False, True])
def test_many_samples_at_once_at_another_rate_have_their_times(tmp_path: Path, killed: bool) -> None:
    """A sensor that prints 53 samples about four times a second, and is said to give 50 in a second.

    After a kill the file does not have the measured rate.
    """
    clock, dated = SampleClock(50), list[Dated]()
    for first in range(0, 1060, 53):
        chunk = np.arange(first, first + 53, dtype=np.float32)[:, None]
        dated += clock.date(chunk, round((first + 52) / 200 * 1e9))
    dated += clock.finish()
    with Recorder(tmp_path / "a.mka", tracks=[SampleTrack("a", 50)], pictures=False) as recorder:
        assert recorder.samples is not None
        for piece in dated:
            recorder.samples.put("a", piece, wait=True)
        if not killed:
            recorder.samples.describe_track("a", rate_facts(clock.measured_rate or 0, 50))
    with VideoReader(tmp_path / "a.mka") as recording:
        times, samples = recording.tracks[0].read()
    assert np.array_equal(samples[:, 0], np.arange(1060)) and (np.diff(times) > 0).all()
    off = np.abs(times - times[0] - np.arange(1060) * 5_000_000)
    assert off[: -53 if killed else None].max() < 5_000_000


def test_samples_that_come_a_little_late_are_no_wrong_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine: after six seconds they are late by less than what late samples may be."""
    now_ns = 0

    class Late:
        track, device_rate, problems = SampleTrack("slow", 10, 1, "f32"), False, list[str]()

        def chunks(self) -> Iterator[NDArray[Any]]:
            nonlocal now_ns
            for n in range(60):
                now_ns = round((n / 10 + n * 0.0025) * 1e9)
                yield np.array([[n]], "<f4")

        def start(self) -> None: ...

        def stop(self) -> None: ...

    told: list[str] = []
    monkeypatch.setattr("pi_capture.samples.local.time.monotonic_ns", lambda: now_ns)
    tracks = LocalTracks([Late()], Mock(), (), told.append)
    tracks.start()
    wait_for(lambda: tracks.ended, "its end")
    assert tracks.end(early_end_is_fine=True) == [] and told == ["slow ended; the recording goes on"]

"""Sound beside pictures and alone: from a real sound server where there is one, and from filter graphs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pi_capture import CameraError, UsageError, record
from pi_capture.samples.sound import Graph
from storage.formats.video.writer import VideoReader
from tests.storage.tracks.test_samples import programs_accept
from tests.support import wait_for

SINE = "lavfi:sine=frequency=440:sample_rate=48000"


def pitch(samples: np.ndarray, rate: float) -> float:
    """The strongest frequency."""
    spectrum = np.abs(np.fft.rfft(samples.astype(float) * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("codec", ["flac", "opus", "pcm"])
def test_sound_alone(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "talk.mka"
    command = [sys.executable, "-m", "pi_capture", path, "2", "--camera", "none", "--audio", SINE]
    done = subprocess.run([*command, "--audio-codec", codec], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "sound:" in done.stderr, done.stderr
    with VideoReader(path) as recording:
        (sound,) = recording.tracks
        times, samples = sound.read()
    assert abs(len(samples) - 96_000) <= 4800 and pitch(samples[:96_000, 0], 48_000) == pytest.approx(440, abs=1)
    assert np.abs((times - times[0]) / 1e9 - np.arange(len(times)) / 48_000).max() < 0.02
    streams = programs_accept(path)
    assert streams[-1]["codec_name"] == {"flac": "flac", "opus": "opus", "pcm": "pcm_s16le"}[codec]


def test_sound_beside_pictures_covers_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    summary = record(path, 3, camera="demo", audio=[SINE, "lavfi:sine=880:sample_rate=44100"], audio_codec="flac")
    assert list(summary.tracks) == ["sound", "sound-2"]
    with VideoReader(path) as recording:
        pictures = recording.timestamps_ns
        for reader, wanted in zip(recording.tracks, (440, 880), strict=True):
            times, samples = reader.read()
            assert abs(times[0] - pictures[0]) < 34e6 and abs(times[-1] - pictures[-1]) < 68e6
            assert pitch(samples[:44_000, 0], reader.track.rate) == pytest.approx(wanted, abs=2)


def test_the_pictures_of_a_file_take_their_own_time_beside_sound(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=r=20:d=2:s=64x48", "-c:v", "mpeg4", clip]
    subprocess.run(command, check=True)
    path = tmp_path / "day1.mkv"
    summary = record(path, -1, camera=f"file:{clip}", size=None, audio=[SINE])
    assert summary.frames == 40
    with VideoReader(path) as recording:
        assert np.abs(np.diff(recording.timestamps_ns) - 50e6).max() < 1e6
        times, _ = recording.tracks[0].read()
        assert abs(times[-1] - recording.timestamps_ns[-1]) < 0.3e9
        assert recording[5].metadata["source_timestamp_ns"] == 250_000_000


def test_what_was_opened_is_closed_when_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def keeping(self: Graph, graph: str) -> Any:
        opened.append(open_graph(self, graph))
        return opened[-1]

    open_graph = Graph._open
    monkeypatch.setattr(Graph, "_open", keeping)
    with pytest.raises(UsageError, match="give alsa:DEVICE"):
        record(tmp_path / "talk.mka", 2, camera="none", audio=[SINE, "oss:0"])
    with pytest.raises(AssertionError, match="not open"):
        next(opened[0].decode(audio=0))


def test_what_is_no_sound_is_told(tmp_path: Path) -> None:
    path = tmp_path / "talk.mka"
    for spec, reason in (("lavfi:nosuch=3", "can't open"), ("lavfi:testsrc", "has no sound")):
        with pytest.raises(CameraError, match=reason):
            record(path, 2, camera="none", audio=[spec])
    for spec in ("sine", "oss:0", "alsa:"):
        with pytest.raises(UsageError, match="give alsa:DEVICE"):
            record(path, 2, camera="none", audio=[spec])
    with pytest.raises(UsageError, match="known are flac, opus, pcm"):
        record(path, 2, camera="none", audio=[SINE], audio_codec="mp3")
    with pytest.raises(CameraError, match=r"alsa:hw:99 ended with status 1|arecord is missing"):
        record(path, 2, camera="none", audio=["alsa:hw:99"])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A PulseAudio server of our own, on whose silent sink a tone is played; gives the source to record."""
    if shutil.which("pulseaudio") is None:
        pytest.fail("scripts/test.sh installs pulseaudio")
    socket = tmp_path / "pulse" / "native"
    socket.parent.mkdir()
    home = {**os.environ, "HOME": str(socket.parent), "XDG_RUNTIME_DIR": str(socket.parent)}
    modules = ["-L", "module-null-sink sink_name=quiet rate=48000"]
    modules += ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={socket}"]
    command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", *modules]
    monkeypatch.setenv("PULSE_SERVER", f"unix:{socket}")
    monkeypatch.setenv("HOME", str(socket.parent))
    with subprocess.Popen(command, env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(socket.exists, socket, process)
        tone = ["-re", "-f", "lavfi", "-i", "sine=660:sample_rate=48000,volume=4", "-ac", "2", "-f", "pulse"]
        tone += ["-buffer_duration", "50"]  # ms: of a sink that is two seconds ahead, a listener gets too much at first
        with subprocess.Popen(["ffmpeg", "-v", "error", *tone, "-device", "quiet", "tone"]) as player:
            playing = ["pactl", "list", "short", "sink-inputs"]
            wait_for(
                lambda: "s16" in subprocess.run(playing, capture_output=True, text=True, check=True).stdout,
                "what it plays",
                player,
            )
            yield "quiet.monitor"
            player.terminate()
        process.terminate()


def test_a_sound_server_and_alsa_on_it(tmp_path: Path, server: str) -> None:
    for number, spec in enumerate((f"pulse:{server}", "pulse:default", "alsa:pulse")):
        path = tmp_path / f"{number}.mka"
        record(path, 2.5, camera="none", audio=[spec])
        with VideoReader(path) as recording:
            times, samples = recording.tracks[0].read()
        assert abs(len(samples) - 120_000) <= 24_000  # two pieces of arecord's, where a busy machine holds it up
        assert pitch(samples[48_000:96_000, 1], 48_000) == pytest.approx(660, abs=2)
        assert (times[-1] - times[0]) / 1e9 == pytest.approx(len(samples) / 48_000, abs=0.5)


def test_sound_that_goes_along_is_not_said_to_be_left_out(tmp_path: Path) -> None:
    make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:d=1", "-f", "lavfi", "-i", "sine=d=1"]
    subprocess.run([*make, "-c:v", "rawvideo", "-c:a", "pcm_s16le", str(tmp_path / "run.nut")], check=True)
    convert = [sys.executable, "-m", "storage", "convert", str(tmp_path / "run.nut")]
    for name, told in (("run.mp4", False), ("run.mkv", True)):
        done = subprocess.run([*convert, str(tmp_path / name)], capture_output=True, text=True, check=True)
        assert ("not copied" in done.stderr) == told, done.stderr


def test_converting_tells_that_sound_and_sensors_stay_where_they_are(tmp_path: Path) -> None:
    record(tmp_path / "day1.mkv", 0.5, camera="demo", audio=["lavfi:sine"])
    command = [sys.executable, "-m", "storage", "convert", str(tmp_path / "day1.mkv"), str(tmp_path / "day2.mkv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "sound of" in done.stderr and "not copied" in done.stderr
    assert "begins with" not in done.stderr
    command[-2:] = command[-1], str(tmp_path / "day3.mkv")
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""

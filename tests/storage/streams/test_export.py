"""A recording's tracks as plain files: complete, correct, on one time axis, whoever made the recording."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import av
import h5py
import numpy as np
import pytest

from pi_capture import Recorder
from storage import Frame, SampleTrack, StorageError, open_recording
from storage.care.info import describe
from storage.care.info_text import as_text
from storage.convert.convert import convert
from storage.formats.video.writer import VideoWriter
from storage.labels.current import labels_as_they_stand
from storage.labels.journal import Classes
from storage.labels.live import LiveJournal, adopt, live_path
from storage.shards.samples import facts_of
from storage.streams.export import export
from storage.streams.merge import merge_streams
from tests.conftest import picture
from tests.storage.streams.test_merge import WALL_NS, ffmpeg, knocked, recorded
from tests.support import REPOSITORY


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def heard(path: Path, kind: str) -> np.ndarray:
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", kind, "-"]
    return np.frombuffer(
        subprocess.run(command, check=True, capture_output=True).stdout, "<f4" if "f" in kind else "<i2"
    )


def sensor_values(count: int, channels: int = 2) -> np.ndarray:
    values = np.random.default_rng(count).normal(size=(count, channels)).astype("<f4")
    values.flat[:4] = [np.nan, np.inf, 1e-42, -0.0]
    return values


def test_what_plain_ffmpeg_recorded_comes_back_bit_by_bit(tmp_path: Path) -> None:
    values = sensor_values(500)
    sensor = ("-f", "f32le", "-ac", 2, "-ar", 50, "-i", "pipe:0")
    lavfi = ("-f", "lavfi", "-i", "testsrc2=d=10:s=64x48", "-f", "lavfi", "-i", "sine=d=10")
    codecs = ("-c:a:0", "pcm_f32le", "-c:a:1", "flac", "-c:v", "ffv1", "-pix_fmt", "bgr0")
    maps = ("-map", 0, "-map", 1, "-map", 2)
    ffmpeg(*sensor, *lavfi, *maps, *codecs, tmp_path / "day1.mkv", data=values.tobytes())
    done = export(tmp_path / "day1.mkv", tmp_path / "files")

    assert [(one.file, one.count) for one in done] == [
        ("frames/", 250), ("frames.csv", 250), ("sensor.csv", 500), ("sensor.npy", 500), ("sound.wav", 441000),
    ]  # fmt: skip
    array = np.load(tmp_path / "files" / "sensor.npy")
    assert np.array_equal(array["time_ns"], np.arange(500) * 20_000_000)
    assert np.stack([array["ch1"], array["ch2"]], 1).tobytes() == values.tobytes()
    rows = table(tmp_path / "files" / "sensor.csv")
    assert [row["time_s"] for row in rows[:3]] == ["0.000000", "0.020000", "0.040000"]
    again = np.array([[row["ch1"], row["ch2"]] for row in rows]).astype("<f4")
    assert np.array_equal(again, values, equal_nan=True)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "day1.mkv", "-map", "0:a:1", "-f", "s16le", "-"]
    sound = subprocess.run(command, check=True, capture_output=True).stdout
    assert heard(tmp_path / "files" / "sound.wav", "s16le").tobytes() == sound
    with open_recording(tmp_path / "files" / "frames") as frames, open_recording(tmp_path / "day1.mkv") as recording:
        assert list(frames.timestamps_ns) == list(recording.timestamps_ns) and len(frames) == 250
        assert np.array_equal(frames[123].pixels, recording[123].pixels)


def test_ours_with_labels_and_the_wall_clock(tmp_path: Path) -> None:
    recorded(tmp_path / "day1.mkv", [5 * 10**9 + n * 100_000_000 for n in range(40)])
    done = export(tmp_path / "day1.mkv", tmp_path / "files")
    assert [(one.file, one.count) for one in done] == [("frames/", 40), ("frames.csv", 40), ("labels.csv", 2)]
    assert table(tmp_path / "files" / "labels.csv") == [
        {"time_s": "1.000000", "unix_s": "1700000006.000000", "end_s": "2.000000", "class": "door"},
        {"time_s": "3.000000", "unix_s": "1700000008.000000", "end_s": "4.000000", "class": "door"},
    ]
    rows = table(tmp_path / "files" / "frames.csv")
    assert rows[10] == {
        "time_s": "1.000000", "unix_s": "1700000006.000000", "frame": "10", "timestamp_ns": "6000000000",
        "class": "door",
    }  # fmt: skip
    assert len(os.listdir(tmp_path / "files" / "frames" / "door")) == 20
    manifest = json.loads((tmp_path / "files" / "export.json").read_text())
    assert manifest["unix_seconds_at_0"] == WALL_NS / 1e9 + 5


def test_the_time_of_a_simulation_is_on_no_clock(tmp_path: Path) -> None:
    """Its timestamps are its own; a program that gives none has those of this machine's clock."""
    for name, times in (("simulation.mkv", [0.0, 0.1, 0.2]), ("now.mkv", [None] * 3)):
        with Recorder(tmp_path / name) as recorder:
            for time_s in times:
                recorder.write(picture(0), time_s)
        export(tmp_path / name, tmp_path / f"{name}.files")
    assert "unix_s" not in table(tmp_path / "simulation.mkv.files" / "frames.csv")[0]
    since = time.time() - float(table(tmp_path / "now.mkv.files" / "frames.csv")[0]["unix_s"])
    assert 0 < since < 600
    with open_recording(tmp_path / "simulation.mkv") as simulation, open_recording(tmp_path / "now.mkv") as now:
        assert [facts_of(one, Path("x"))[0]["wall_ns"] is None for one in (simulation, now)] == [True, False]


def continued(path: Path) -> None:
    """Sessions with a sensor: a boot and 4 s apart, and one from a file. In the second the wall clock was set."""
    for begin_ns, wall_ns, live in ((10**12, WALL_NS, True), (5 * 10**9, WALL_NS + 10**12, True), (0, 0, False)):
        with closing(VideoWriter(path, tracks=[SampleTrack("force", 50)])) as writer:
            synchronised = begin_ns == 10**12
            anchors = [{"monotonic_ns": begin_ns, "wall_ns": begin_ns + wall_ns, "synchronised": synchronised}]
            if begin_ns == 5 * 10**9:
                anchors.append({"monotonic_ns": begin_ns + 450_000_000, "wall_ns": begin_ns + wall_ns + 3_450_000_000})
            writer.describe({"live": live, "wall_minus_monotonic_ns": wall_ns, "anchors": anchors})
            for n in range(10):
                time = begin_ns + n * 100_000_000
                was_set = begin_ns == 5 * 10**9 and n == 5
                facts = {"wall_minus_monotonic_ns": wall_ns + 3_000_000_000} if was_set else {}
                writer.append(writer.encode(Frame(picture(n), n, time, facts), "door" if n > 7 else None))
                writer.append_samples("force", time, np.full((5, 1), n, "<f4"))


def test_the_wall_clock_of_a_recording_that_was_continued(tmp_path: Path) -> None:
    """Each session has its own, and the file's time does not have the pauses; a copy in another file keeps it."""
    path = tmp_path / "day1.mkv"
    continued(path)
    convert(path, tmp_path / "day1.h5")
    with h5py.File(tmp_path / "day1.h5") as file:
        wanted = [f"{ns / 1e9:.3f}" if ns else "" for ns in file["unix_ns"][:].tolist()]
    assert float(wanted[10]) - float(wanted[9]) > 4 and float(wanted[15]) - float(wanted[14]) > 3 and not wanted[20]
    merge_streams(tmp_path / "merged.mkv", [path])
    for name in ("day1", "merged"):
        files = tmp_path / name
        export(tmp_path / f"{name}.mkv", files)
        assert [row["unix_s"][:14] for row in table(files / "frames.csv")] == wanted
        with open_recording(path) as recording:
            stamps, _ = recording.tracks[0].read()
            offsets = [
                None if not unix else float(unix) * 1e9 - stamp
                for unix, stamp in zip(wanted, recording.timestamps_ns, strict=True)
            ]
        rows, array = table(files / "force.csv"), np.load(files / "force.npy")
        assert np.abs(array["timestamp_ns"] - stamps).max() < 1_100_000
        assert [int(row["timestamp_ns"]) for row in rows] == array["timestamp_ns"].tolist()
        for n, (row, sample) in enumerate(zip(rows, array, strict=True)):
            offset = offsets[n // 5]
            if offset is None:
                assert row["unix_s"] == "" and sample["unix_ns"] == 0
            elif n // 5 not in (14, 15):  # the block around the moment at which the clock was set
                assert float(row["unix_s"]) == pytest.approx((offset + stamps[n]) / 1e9, abs=2e-3), n
                assert sample["unix_ns"] == pytest.approx(offset + stamps[n], abs=2e6)
        assert [row["unix_s"][:14] for row in table(files / "labels.csv")] == [wanted[n] for n in (8, 18, 28)]
    clocks = json.loads((tmp_path / "day1" / "export.json").read_text())["clocks"]
    assert [one["from_s"] for one in clocks][:2] == [0, 1.0]
    assert [one["synchronised"] for one in clocks] == [True, False, None, None]  # how it was when set is not known


def test_the_wall_clock_goes_on_in_the_pause_of_a_continued_recording(tmp_path: Path) -> None:
    path = knocked(tmp_path / "day1.mkv", (5, 1, {"boot_id": "one"}), (20, 1, {"boot_id": "one"}), knocks=[])
    export(path, tmp_path / "files")
    for name, rows in (("frames.csv", 10), ("imu.csv", 100), ("labels.csv", 2)):
        times = [(float(row["time_s"]), float(row["unix_s"])) for row in table(tmp_path / "files" / name)]
        assert len(times) == 2 * rows
        for after, (before, begin) in enumerate([(times[0][0], 1_700_000_005), (times[rows][0], 1_700_000_020)]):
            part = times[after * rows :][:rows]
            assert [unix - begin for _, unix in part] == pytest.approx([time - before for time, _ in part], abs=2e-6)


def test_several_tracks_of_a_kind_and_late_beginnings(tmp_path: Path) -> None:
    a = recorded(tmp_path / "A.mkv", [n * 100_000_000 for n in range(10)])
    b = recorded(tmp_path / "B.mkv", [n * 50_000_000 for n in range(20)])
    for name, rate in (("Gyro", 100), ("gyro", 200)):
        shape = ("-f", "f32le", "-ac", 3, "-ar", rate, "-i", "pipe:0", "-c:a", "pcm_f32le", "-metadata:s:a")
        ffmpeg(*shape, f"title={name}", tmp_path / f"{rate}.mka", data=sensor_values(rate, 3).tobytes())
    inputs = [a, b, tmp_path / "100.mka", tmp_path / "200.mka"]
    merge_streams(tmp_path / "all.mkv", inputs, offsets={"B": 2.0, "100": 0.5, "200": 3.25})
    done = export(tmp_path / "all.mkv", tmp_path / "files")
    begins = {one.file: one.begin for one in done}
    assert begins == {
        "frames-camera/": 0, "frames-camera.csv": 0, "frames-camera-2/": 2, "frames-camera-2.csv": 2,
        "Gyro.csv": 0.5, "Gyro.npy": 0.5, "gyro-2.csv": 3.25, "gyro-2.npy": 3.25,
        "labels.csv": 2.5,
    }  # fmt: skip
    with open_recording(tmp_path / "files" / "frames-camera-2") as frames, open_recording(b) as recording:
        assert np.array_equal(frames[13].pixels, recording[13].pixels) and len(frames) == 20


def test_gaps_stay_gaps(tmp_path: Path) -> None:
    """A sensor's samples keep their own times, and sound has silence where there was none."""
    with av.open(str(tmp_path / "gaps.mkv"), "w") as container:
        streams = [container.add_stream("pcm_f32le", rate=rate, layout="mono") for rate in (50, 8000)]
        for stream, rate in zip(streams, (50, 8000), strict=True):
            for second in (0, 1, 4, 5):
                frame = av.AudioFrame.from_ndarray(np.full((1, rate), second + 1, "f4"), format="flt", layout="mono")
                frame.sample_rate, frame.pts = rate, second * rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    export(tmp_path / "gaps.mkv", tmp_path / "files")
    array = np.load(tmp_path / "files" / "sensor.npy")
    wanted = [second * 10**9 + n * 20_000_000 for second in (0, 1, 4, 5) for n in range(50)]
    assert array["time_ns"].tolist() == wanted
    sound = heard(tmp_path / "files" / "sound.wav", "f32le")
    assert len(sound) == 6 * 8000
    assert [sound[second * 8000 + 4000] for second in range(6)] == [1, 2, 0, 0, 5, 6]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "storage", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != "recording.json")
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_interrupted_it_goes_on_and_nothing_is_overwritten(tmp_path: Path) -> None:
    shape = ("-f", "f32le", "-ac", 6, "-ar", 50, "-i", "pipe:0")
    pictures = ("-f", "lavfi", "-i", "testsrc2=d=4:s=64x48", "-f", "lavfi", "-i", "sine=d=4")
    maps = ("-map", 0, "-map", 1, "-map", 2, "-c:a:0", "pcm_f32le", "-c:v", "ffv1")
    ffmpeg(*shape, *pictures, *maps, tmp_path / "day1.mkv", data=sensor_values(200, 6).tobytes())
    assert run(tmp_path / "day1.mkv", tmp_path / "whole").returncode == 0
    files = tmp_path / "files"
    assert run(tmp_path / "day1.mkv", files, "--only", "sensors").returncode == 0
    assert sorted(os.listdir(files)) == ["export.json", "sensor.csv", "sensor.npy"]
    before = {name: (files / name).stat().st_mtime_ns for name in ("sensor.csv", "sensor.npy")}
    left = files / ".sound.wav.making"
    left.mkdir()
    (left / "sound.wav").write_text("half")
    done = run(tmp_path / "day1.mkv", files, "--json")
    assert done.returncode == 0, done
    told = {row["file"]: row["new"] for row in json.loads(done.stdout)["files"]}
    assert told == {"frames/": True, "frames.csv": True, "sensor.csv": False, "sensor.npy": False, "sound.wav": True}
    assert before == {name: (files / name).stat().st_mtime_ns for name in before}
    mine, whole = contents(files), contents(tmp_path / "whole")
    del mine["export.json"], whole["export.json"]
    assert {name for name in mine if mine[name] != whole[name]} <= {name for name in mine if name.startswith("frames/")}
    assert mine.keys() == whole.keys()

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note").write_text("mine")
    (tmp_path / "file").write_text("mine")
    recorded(tmp_path / "B.mkv", [0, 10**8])
    for source, target, reason in (
        ("B.mkv", "files", "holds an export of another file"),
        ("B.mkv", "other", "holds files that are not from there"),
        ("B.mkv", "file", "is a file; give a directory"),
        ("B.mkv", "none/files", "create it first"),
        ("none.mkv", "new", "No such file"),
        ("file", "new", "is no media file"),
        ("whole", "new", "is no media file"),
    ):
        done = run(tmp_path / source, tmp_path / target)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and reason in done.stderr, done.stderr
    assert not (tmp_path / "new").exists()


def test_damage_is_told(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=20", "-c:a", "flac", tmp_path / "whole.mka")
    data = bytearray((tmp_path / "whole.mka").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    (tmp_path / "torn.mka").write_bytes(data)
    with pytest.raises(StorageError, match=r"torn\.mka"):
        export(tmp_path / "torn.mka", tmp_path / "files")
    assert os.listdir(tmp_path / "files") == ["export.json"]


def test_samples_whose_bytes_have_changed_are_left_out_and_told(tmp_path: Path) -> None:
    path, values = tmp_path / "a.mka", sensor_values(500)[:, :1]
    with Recorder(path, fps=1, tracks=[SampleTrack("force", 100)], pictures=False) as recorder:
        recorder.write_samples("force", values, 0)
    data = bytearray(path.read_bytes())
    data[data.index(values[210:213].tobytes()) + 2] ^= 1
    path.write_bytes(data)
    command = [sys.executable, "-m", "storage", "export", path, tmp_path / "files"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "1 damaged block of force left out" in done.stderr, done.stderr
    again = subprocess.run(
        [sys.executable, "-m", "storage", "verify", path], capture_output=True, text=True, check=False
    )
    assert again.returncode == 3 and again.stdout.startswith(f"{path}: samples of force are damaged: "), again.stdout
    kept = np.load(tmp_path / "files" / "force.npy")
    assert len(kept) == len(table(tmp_path / "files" / "force.csv")) == 480  # without a fifth of a second
    whole = np.delete(values[:, 0], slice(200, 220))
    assert kept["ch1"].tobytes() == whole.tobytes() and kept["time_ns"][200] == 2_200_000_000


def test_samples_behind_a_damaged_length_are_not_left_out_unsaid(tmp_path: Path) -> None:
    path, values = tmp_path / "a.mka", sensor_values(500)[:, :1]
    with Recorder(path, fps=1, tracks=[SampleTrack("force", 100)], pictures=False) as recorder:
        recorder.write_samples("force", values, 0)
    data = bytearray(path.read_bytes())
    cluster = data.rindex(b"\x1f\x43\xb6\x75", 0, data.index(values[210:213].tobytes()))
    data[cluster + 5 : cluster + 8] = b"\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(StorageError, match="14 blocks of track force can't be reached: a length is damaged"):
        export(path, tmp_path / "files")


def test_labels_that_wait_beside_the_recording(tmp_path: Path) -> None:
    """Those that a crash kept out of the file: as their keys were written down, and once the journal has them."""
    path = recorded(tmp_path / "day1.mkv", [5 * 10**9 + n * 100_000_000 for n in range(40)])
    live = LiveJournal(path, Classes(("rest",), ("rest",)), 0)
    live.start(5 * 10**9 + 3_500_000_000, 0)
    live.close()
    wanted = [("1.000000", "2.000000", "door"), ("3.000000", "3.500000", "door"), ("3.500000", "4.000000", "rest")]
    for directory in ("while they wait", "from the journal"):
        files = tmp_path / directory
        export(path, files)
        assert [(row["time_s"], row["end_s"], row["class"]) for row in table(files / "labels.csv")][:3] == wanted
        assert [row["class"] for row in table(files / "frames.csv")][35:] == ["rest"] * 5
        assert len(os.listdir(files / "frames" / "rest")) == 5
        told = as_text(describe(path))
        assert "not saved yet: rest 5; press S" in told and "without a screen" in told
        assert live_path(path).exists() == (directory == "while they wait")
        with open_recording(path) as recording:
            assert labels_as_they_stand(recording)[35:] == ["rest"] * 5
        adopt(path)


def test_labels_of_a_table_beside_the_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=d=1:r=10:s=64x48", tmp_path / "clip.mp4")
    (tmp_path / "clip.mp4.labels.csv").write_text("frame,class\n2,door\n3,door\n4,0\n8,door\n")
    export(tmp_path / "clip.mp4", tmp_path / "files", only=["labels"])
    found = [(row["time_s"], row["end_s"], row["class"]) for row in table(tmp_path / "files" / "labels.csv")]
    assert found == [
        ("0.200000", "0.400000", "door"), ("0.400000", "0.500000", "0"), ("0.800000", "0.900000", "door"),
    ]  # fmt: skip

"""Frames out of a recording as PNG files: which ones, with which times, in which directories; going on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pi_capture import Recorder
from storage import Frame, StorageError, open_recording
from storage.convert.extract import Extracted, extract
from storage.formats.png.codec import read_texts
from storage.formats.video.writer import VideoWriter
from tests.conftest import picture, write_video

LABELS = [None] * 10 + ["door"] * 20 + [None] * 5 + ["0"] * 15


def recorded(path: Path, codec: str = "ffv1") -> Path:
    """50 frames, ten a second but for a gap of a second before the last ten."""
    with closing(VideoWriter(path, codec=codec)) as writer:
        writer.describe({"camera": "a box", "started": "2026-01-02T03:04:05+0000", "live": True})
        for n, label in enumerate(LABELS):
            time_ns = 7 * 10**12 + n * 10**8 + (10**9 if n >= 40 else 0)
            writer.append(writer.encode(Frame(picture(n), n, time_ns, {"n": n}), label))
    return path


def names(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*.png"))


@pytest.mark.parametrize("codec", ["ffv1", "h264-lossless"])
def test_all_frames_with_their_times_facts_and_classes(tmp_path: Path, codec: str) -> None:
    video, day = recorded(tmp_path / "day1.mkv", codec), tmp_path / "day1"
    assert extract(video, day) == Extracted(50, 0)
    assert names(day) == sorted(f"{label}/{n:08d}.png" if label else f"{n:08d}.png" for n, label in enumerate(LABELS))
    with open_recording(video) as source, open_recording(day) as target:
        assert list(target.timestamps_ns) == list(source.timestamps_ns) and list(target.labels) == LABELS
        for one, other in zip(source, target, strict=True):
            assert np.array_equal(one.pixels, other.pixels) and one.metadata == other.metadata
    (session,) = json.loads((day / "recording.json").read_text())["sessions"]
    assert session["camera"] == "a box" and session["frames"] == 50 and session["extracted"]["from"] == "day1.mkv"
    assert read_texts((day / "door/00000012.png").read_bytes())["Session"] == session["id"]
    assert not list(day.rglob(".*"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": 7}, range(0, 50, 7)),
        ({"fps": 2}, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]),
        ({"fps": 100}, range(50)),
        ({"start": 1, "end": 2.5}, range(10, 25)),
        ({"start": 3.95}, range(40, 50)),
        ({"end": 0.1}, [0]),
        ({"labelled": True}, [*range(10, 30), *range(35, 50)]),
        ({"labelled": True, "start": 2, "every": 4}, [20, 24, 28, 37, 41, 45, 49]),
        ({"start": 100}, []),
    ],
)
def test_some_frames(tmp_path: Path, options: dict[str, float], expected: list[int]) -> None:
    video, day = recorded(tmp_path / "day1.mkv"), tmp_path / "some"
    assert extract(video, day, **options) == Extracted(len(expected), 0)  # type: ignore[arg-type]
    assert sorted(int(name[-12:-4]) for name in names(day)) == list(expected)


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    video, day = recorded(tmp_path / "day1.mkv"), tmp_path / "day1"
    assert extract(video, day, every=5) == Extracted(10, 0)
    os.rename(day / "00000005.png", day / "door/00000005.png")  # somebody labelled it
    kept = {name: (day / name).stat().st_mtime_ns for name in names(day)}
    told: list[tuple[int, int]] = []
    assert extract(video, day, progress=lambda *told_now: told.append(told_now)) == Extracted(40, 10)
    assert told[0] == (11, 50) and told[-1] == (50, 50)
    assert {name: (day / name).stat().st_mtime_ns for name in kept} == kept
    assert len(names(day)) == 50
    assert extract(video, day) == Extracted(0, 50)
    (day / "00000001.png").unlink()
    assert extract(video, day) == Extracted(1, 49)
    with open_recording(day) as recording:
        assert all(np.array_equal(frame.pixels, picture(frame.metadata["n"])) for frame in recording)


def test_killed_it_goes_on_too(tmp_path: Path) -> None:
    video, day = tmp_path / "long.mkv", tmp_path / "day1"
    write_video(video, [Fraction(n, 10) for n in range(400)])
    lines = ["from pathlib import Path", "from storage.convert.extract import extract"]
    program = "\n".join([*lines, f"extract(Path({str(video)!r}), Path({str(day)!r}))"])
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", program])
        before = len(list(day.glob("*"))) if day.exists() else 0
        while child.poll() is None and (not day.exists() or len(list(day.glob(".*.part"))) + before < 30):
            time.sleep(0.002)
        time.sleep(0.03)
        child.send_signal(signal.SIGKILL)
        child.wait()
    done = extract(video, day)
    assert done.written + done.present == 400 and done.present > 0
    with open_recording(day) as recording:
        assert len(recording) == 400
        for n, frame in enumerate(recording):
            assert np.array_equal(frame.pixels, picture(n)) and frame.timestamp_ns == n * 10**8
    assert not list(day.glob(".*"))


@pytest.mark.parametrize("command", ["extract", "convert", "export"])
def test_a_full_disk_is_one_line_and_what_is_there_is_whole(tmp_path: Path, command: str) -> None:
    noise = np.random.default_rng(1)
    with Recorder(tmp_path / "day1.mkv", fps=10) as recorder:
        for _ in range(30):
            recorder.write(noise.integers(0, 256, (100, 100, 3), np.uint8))
    script = "mount -t tmpfs -o size=500k none {0} && {1} -m storage {2} {3} {0}/out; echo $?; cp -r {0}/out {4}"
    script = script.format(tmp_path / "disk", sys.executable, command, tmp_path / "day1.mkv", tmp_path / "rescued")
    (tmp_path / "disk").mkdir()
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout == "1\n" and done.stderr.count("\n") == 1, done
    assert f"{tmp_path}/disk/out" in done.stderr and "No space left on device; what is written is whole" in done.stderr
    rescued = tmp_path / "rescued" / ("frames" if command == "export" else "")
    with open_recording(rescued) as recording, open_recording(tmp_path / "day1.mkv") as whole:
        assert 0 < len(recording) < 30
        assert all(np.array_equal(frame.pixels, whole[frame.index].pixels) for frame in recording)


def test_refused(tmp_path: Path) -> None:
    video, other = recorded(tmp_path / "day1.mkv"), tmp_path / "other"
    with Recorder(other) as recorder:
        recorder.write(picture(1))
    before = {path: path.read_bytes() for path in other.iterdir()}
    with pytest.raises(StorageError, match="holds frames that are not from there"):
        extract(video, other)
    assert {path: path.read_bytes() for path in other.iterdir()} == before
    second = tmp_path / "day2.mkv"
    write_video(second, [Fraction(0)])
    extract(video, tmp_path / "day1", end=1)
    with pytest.raises(StorageError, match="not from there"):
        extract(second, tmp_path / "day1")
    with pytest.raises(StorageError, match="is not a directory"):
        extract(video, second)
    with pytest.raises(StorageError, match="no such recording"):
        extract(tmp_path / "none.mkv", tmp_path / "new")
    with pytest.raises(StorageError, match="does not exist; create it first"):
        extract(video, tmp_path / "none" / "day1")


def test_a_label_is_no_path(tmp_path: Path) -> None:
    """What a stranger's file calls a class can't put a frame anywhere else."""
    video = tmp_path / "day1.mkv"
    for label in ("../../escaped", "/tmp/escaped", ".hidden", "", "a\0b"):
        video.unlink(missing_ok=True)
        with closing(VideoWriter(video)) as writer:
            writer.append(writer.encode(Frame(picture(0), 0, 0), label))
        with pytest.raises(StorageError, match="a class can't be named"):
            extract(video, tmp_path / "day1")
        assert sorted(os.listdir(tmp_path)) in (["day1.mkv"], ["day1", "day1.mkv"])
        assert not list((tmp_path / "day1").rglob("*.png"))
        assert not Path("/tmp/escaped").exists()


def test_damage_ends_it_in_one_line_and_the_rest_is_there(tmp_path: Path) -> None:
    video, day = recorded(tmp_path / "day1.mkv"), tmp_path / "day1"
    data = bytearray(video.read_bytes())
    data[len(data) // 2] ^= 1
    video.write_bytes(data)
    with pytest.raises(StorageError, match=r"frame \d+ is damaged"):
        extract(video, day)
    assert 10 < len(names(day)) < 50

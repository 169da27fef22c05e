"""Every format through the same command line: recorded, killed, verified, continued, and read alike."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import pi_capture.cli
import storage.cli
from pi_capture import Recorder
from storage import StorageError, open_recording
from storage.convert.convert import convert
from tests.conftest import write_video
from tests.support import PATIENCE_SECONDS, REPOSITORY

TARGETS = ("day1", "day1.h5", "day1.mkv")


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def record(target: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run(
        "pi_capture", target, 1, "--camera", "ffmpeg:lavfi:testsrc2=r=30:s=96x64", "--size", "source", *arguments
    )


def refusal(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """The one line of a command that failed and printed nothing else."""
    assert done.returncode == status and not done.stdout, done
    (line,) = done.stderr.splitlines()
    return line


def bytes_in(target: Path) -> int:
    return target.stat().st_size


@pytest.mark.parametrize("name", TARGETS)
def test_all_hold_the_same_frames_and_are_continued(tmp_path: Path, name: str) -> None:
    target, plain = tmp_path / name, tmp_path / "plain"
    for _ in range(2):
        done = record(target, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["frames"] == 30
    record(plain)
    with open_recording(target) as recording, open_recording(plain) as expected:
        assert [frame.index for frame in recording] == list(range(60))
        for frame in recording:
            same = expected[frame.index % 30]
            assert np.array_equal(frame.pixels, same.pixels) and frame.timestamp_ns == same.timestamp_ns
        assert list(recording.labels) == [None] * 60
        assert list(recording.timestamps_ns) == [frame.timestamp_ns for frame in recording]
        assert [frame.index for frame in recording[50:4:-9]] == [50, 41, 32, 23, 14, 5]
    assert run("storage", "verify", target).stdout == f"{target}: 60 frames, none broken\n"


@pytest.mark.parametrize("name", TARGETS[1:])
def test_verify_tells_what_a_kill_cut_off(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    command = [sys.executable, "-m", "tests.faults.writer", target, "7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        while (line := process.stdout.readline()).split()[-1] in ("0", "-1"):
            assert line.startswith("ACKNOWLEDGED")
        during = run("storage", "verify", target)
        assert during.returncode == 0 and "none broken" in during.stdout, during
        assert "being recorded into just now" in during.stdout
        while int(process.stdout.readline().split()[-1]) < 40:
            pass
        process.send_signal(signal.SIGKILL)
    before = target.read_bytes()
    seen = run("storage", "verify", target)
    assert seen.returncode == 0 and "had been interrupted: verify --repair" in seen.stdout
    assert target.read_bytes() == before  # it changes nothing unless it is asked to
    first, again = (run("storage", "verify", "--repair", target) for _ in range(2))
    assert first.returncode == again.returncode == 0, first
    assert "none broken" in first.stdout
    assert "had been interrupted" in first.stdout
    assert "interrupted" not in again.stdout and first.stdout.endswith(again.stdout)
    assert len(open_recording(target)) >= 40


def test_options_go_to_their_formats(tmp_path: Path) -> None:
    sizes = {}
    for name, options in {
        "deflated.h5": [],
        "plain.h5": ["--compression", "none"],
        "ffv1.mkv": [],
        "lossless.mkv": ["--codec", "h264-lossless"],
        "h264.mkv": ["--codec", "h264"],
        "small.mkv": ["--codec", "h264", "--crf", "40"],
    }.items():
        assert record(tmp_path / name, *options).returncode == 0
        sizes[name] = bytes_in(tmp_path / name)
    assert sizes["plain.h5"] > 30 * 96 * 64 * 3 > sizes["deflated.h5"] > sizes["h264.mkv"] > sizes["small.mkv"]
    for lossless in ("ffv1.mkv", "lossless.mkv"):
        for frame, same in zip(open_recording(tmp_path / lossless), open_recording(tmp_path / "plain.h5"), strict=True):
            assert np.array_equal(frame.pixels, same.pixels)


def test_options_of_other_formats_are_refused(tmp_path: Path) -> None:
    line = refusal(record(tmp_path / "day1", "--codec", "h264"), 2)
    assert "png has no --codec; video (.mkv) has" in line
    assert "hdf5 has no --crf" in refusal(record(tmp_path / "day1.h5", "--crf", "20"), 2)
    line = refusal(record(tmp_path / "x.mkv", "--compression", "none"), 2)
    assert "video has no --compression; hdf5 (.h5) has" in line
    assert "'zstd'" in refusal(record(tmp_path / "day1.h5", "--compression", "zstd"), 2)
    assert "'h265'" in refusal(record(tmp_path / "day1.mkv", "--codec", "h265"), 2)
    assert "known are png" in refusal(record(tmp_path / "day1", "--backend", "mkv"), 2)
    assert "convert" in refusal(record(tmp_path / "day1.mp4"), 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".h5", ".mkv", ".features.h5", ".mp4"])
def test_what_only_has_the_name_of_a_recording_gets_one_line_and_is_left_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_text("Remember the milk.\n")
    for command in ("info", "verify"):
        assert str(path) in refusal(run("storage", command, path))
    assert str(path) in refusal(run("storage", "convert", path, tmp_path / "out.mkv"))
    assert str(path) in refusal(record(path), 2 if suffix == ".mp4" else 1)  # nothing is recorded to .mp4
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "Remember the milk.\n"


def test_footage_is_the_same_in_every_format(tmp_path: Path, footage: tuple[Path, int]) -> None:
    import cv2

    film, count = footage
    for name in TARGETS[1:]:
        done = run("pi_capture", tmp_path / name, -1, "--camera", f"file:{film}", "--size", "source")
        assert done.returncode == 0 and f"{count} frames" in done.stderr and "none dropped" in done.stderr
    capture = cv2.VideoCapture(str(film))
    with open_recording(tmp_path / "day1.h5") as hdf5, open_recording(tmp_path / "day1.mkv") as video:
        for in_hdf5, in_video in zip(hdf5, video, strict=True):
            _, picture = capture.read()
            assert np.array_equal(in_hdf5.pixels, picture[..., ::-1])
            assert np.array_equal(in_video.pixels, in_hdf5.pixels)
            assert in_video.timestamp_ns == in_hdf5.timestamp_ns
    assert not capture.read()[0]


def _read(pickled: bytes, index: int) -> bytes:
    recording = pickle.loads(pickled)
    return bytes(recording[index].pixels.tobytes())


@pytest.mark.parametrize("name", [*TARGETS, "day1.nut"])
def test_recordings_go_to_other_processes(tmp_path: Path, name: str) -> None:
    """As the workers of a data loader get them, which have none of this process's files open."""
    with Recorder(tmp_path / "day1", fps=30) as recorder:
        for n in range(10):
            recorder.write(np.full((16, 24, 3), 20 * n, np.uint8))
    target = tmp_path / name
    if name == "day1.nut":
        write_video(target, [Fraction(n, 30) for n in range(10)], size=(24, 16))
    elif name != "day1":
        convert(tmp_path / "day1", target)
    with open_recording(target) as recording:
        expected = recording[7].pixels.tobytes()
        pickled = pickle.dumps(recording)
        duplicate = copy.deepcopy(recording)
    assert duplicate[7].pixels.tobytes() == expected  # the first one is closed
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read, (pickled, 7)) == expected


def test_a_frame_that_went_away_is_told(tmp_path: Path) -> None:
    record(tmp_path / "day1")
    recording = open_recording(tmp_path / "day1")
    (tmp_path / "day1/00000003.png").unlink()
    with pytest.raises(StorageError, match=r"00000003\.png: No such file"):
        recording[3]


@pytest.mark.parametrize("name", ["2026.03.01", "v2.0", "day.one-more", "2026.03.01/0"])
def test_a_directory_may_have_a_dot_in_its_name(tmp_path: Path, name: str) -> None:
    target, data_dir = tmp_path / name, tmp_path / name.removesuffix("/0")
    assert pi_capture.cli.main([str(target), "0.2", "--camera", "demo", "--quiet"]) == 0
    assert storage.cli.main(["verify", str(data_dir)]) == 0
    assert storage.cli.main(["convert", str(data_dir), str(tmp_path / "copy-3.1")]) == 0
    with open_recording(data_dir) as recording, open_recording(tmp_path / "copy-3.1") as copy:
        assert len(recording) == len(copy) > 0 and recording.labels == copy.labels


@pytest.mark.parametrize("name", ["day1.mkvv", "day1.png", "a.2.jpeg"])
def test_a_suffix_that_no_format_has_is_refused_with_the_way_out(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / name), "0.2", "--camera", "demo", "--quiet"]
    assert pi_capture.cli.main(words) == 1
    told = capsys.readouterr().err
    assert f"no format is known for '{Path(name).suffix}'" in told and "--backend png" in told and ".mkv" in told
    assert os.listdir(tmp_path) == []
    assert pi_capture.cli.main([*words, "--backend", "png"]) == 0
    with open_recording(tmp_path / name) as recording:
        assert len(recording) > 0

"""Videos that other programs made, read as recordings: every frame of every container, in any order, upright."""

from __future__ import annotations

import random
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from storage import StorageError, open_recording
from storage.labels.journal import write_table
from storage.movie import MovieReader
from storage.video.writer import write_labels
from tests.conftest import REFERENCE, write_video

MADE_BY = {
    "b-frames.mp4": ["-c:v", "libx264", "-g", "40", "-bf", "3"],
    "open-gop.mov": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=25"],
    "edited.mp4": ["-c:v", "libx264", "-g", "40", "-bf", "2", "-ss", "1.1"],
    "obs.mkv": ["-c:v", "libx264", "-g", "60"],
    "browser.webm": ["-c:v", "libvpx", "-g", "30", "-deadline", "realtime"],
    "simulator.nut": ["-c:v", "rawvideo"],
    "broadcast.ts": ["-c:v", "libx264", "-g", "30"],
    "disc.mpg": ["-c:v", "mpeg2video", "-bf", "2", "-r", "25"],
    "old.avi": ["-c:v", "mpeg4", "-bf", "2"],
    "h264.avi": ["-c:v", "libx264", "-bf", "2", "-g", "30"],
    "camera.avi": ["-c:v", "mjpeg"],
    "flash.flv": ["-c:v", "flv"],
    "windows.wmv": ["-c:v", "wmv2"],
}


def decoded(path: Path) -> list[np.ndarray]:
    """Every picture, as FFmpeg's own program decodes them one after the other."""
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.nut"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25", "-t", "5"]
    subprocess.run([*command, "-c:v", "rawvideo", path], check=True)
    return path


@pytest.mark.parametrize("name", MADE_BY)
def test_every_frame_in_any_order(tmp_path: Path, scene: Path, name: str) -> None:
    path = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-i", scene, *MADE_BY[name], path], check=True)
    wanted = decoded(path)
    assert len(wanted) > 90
    with open_recording(path) as recording:
        assert isinstance(recording, MovieReader)
        assert len(recording) == len(wanted)
        times = list(recording.timestamps_ns)
        assert times == sorted(set(times)) and 3.5e9 < times[-1] - times[0] < 5.1e9
        for n, frame in enumerate(recording):
            assert np.array_equal(frame.pixels, wanted[n]) and frame.timestamp_ns == times[n], f"frame {n}"
        for n in [*random.Random(1).choices(range(len(wanted)), k=30), len(wanted) - 1, 0, 31, 30, 29]:
            assert np.array_equal(recording[n].pixels, wanted[n]), f"frame {n}"


def test_times_are_the_files_own(tmp_path: Path) -> None:
    times = [Fraction(n, 1000) for n in (0, 33, 70, 71, 500, 10_000)]
    write_video(tmp_path / "clip.mkv", times)
    assert list(open_recording(tmp_path / "clip.mkv").timestamps_ns) == [int(time * 10**9) for time in times]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_phones_hold_their_cameras_anyhow(tmp_path: Path, turn: int) -> None:
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    write_video(plain, [Fraction(n, 10) for n in range(5)], codec="libx264")
    rotate = ["ffmpeg", "-v", "error", "-display_rotation", str(turn), "-i", plain, "-c", "copy", turned]
    if subprocess.run(rotate, check=False, capture_output=True).returncode:  # FFmpeg before 6 has no such option
        metadata = ["-metadata:s:v:0", f"rotate={360 - turn}"]
        subprocess.run(["ffmpeg", "-v", "error", "-i", plain, "-c", "copy", *metadata, turned], check=True)
    shown = ["ffmpeg", "-v", "error", "-i", turned, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]  # it turns them
    pixels = np.frombuffer(subprocess.run(shown, check=True, capture_output=True).stdout, np.uint8)
    with open_recording(turned) as recording:
        upright = recording[3].pixels
        assert upright.shape == ((48, 64, 3) if turn == 180 else (64, 48, 3))
        assert np.abs(pixels.reshape(-1, *upright.shape)[3].astype(int) - upright).mean() < 8


def test_cut_off_it_has_what_is_there(tmp_path: Path, scene: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "whole.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-i", scene, "-c:v", "libx264", "-g", "20", whole], check=True)
    for suffix in (".mkv", ".ts"):
        path = tmp_path / f"cut{suffix}"
        if suffix == ".ts":
            subprocess.run(["ffmpeg", "-v", "error", "-i", whole, "-c", "copy", path], check=True)
        data = (whole if suffix == ".mkv" else path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with open_recording(path) as recording:
            assert 30 < len(recording) < 100
            wanted = decoded(whole)
            for n in range(0, len(recording) - 5, 7):
                assert np.array_equal(recording[n].pixels, wanted[n])
    mp4 = tmp_path / "cut.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", whole, "-c", "copy", mp4], check=True)
    mp4.write_bytes(mp4.read_bytes()[:-500])
    with pytest.raises(StorageError, match="is not a video that can be read"):
        open_recording(mp4)
    assert capfd.readouterr().out == ""


def test_sound_alone_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "talk.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine", "-t", "1", path], check=True)
    with pytest.raises(StorageError, match="has no picture, only sound"):
        open_recording(path)


def test_labels_are_in_a_table_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, [Fraction(n, 10) for n in range(5)], codec="libx264")
    with open_recording(path) as recording:
        assert list(recording.labels) == [None] * 5
    data = path.read_bytes()
    write_labels(path, ["0", None, "door", "door, left", None])
    assert path.read_bytes() == data
    with open_recording(path) as recording:
        assert list(recording.labels) == ["0", None, "door", "door, left", None]
    (tmp_path / "clip.mp4.labels.csv").write_text("frame,class\n7,door\n")
    with pytest.raises(StorageError, match="damaged"):
        _ = open_recording(path).labels
    write_table(path, ["0"] * 5)
    assert list(open_recording(path).labels) == ["0"] * 5


@pytest.mark.reference
def test_real_footage() -> None:
    path = REFERENCE / "pedestrians.avi"
    wanted = decoded(path)
    with open_recording(path) as recording:
        assert len(recording) == len(wanted) == 795
        assert list(recording.timestamps_ns)[:3] == [0, 100_000_000, 200_000_000]
        for n in (794, 3, 500, 251, 249, 250):
            assert np.array_equal(recording[n].pixels, wanted[n])

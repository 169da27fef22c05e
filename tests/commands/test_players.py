"""What other programs take for the pictures and the sound of a file that has sensors too."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from pi_capture import Recorder
from storage import SampleTrack, open_recording
from storage.convert.convert import convert
from storage.formats.video.writer import VideoReader
from storage.matroska import elements
from storage.streams.merge import merge_streams
from tests.support import PATIENCE_SECONDS

RATE = 16_000
GYRO, SLOW = SampleTrack("gyro", 120, 3), SampleTrack("scale", 10, 2, "s16")
ROOM = SampleTrack("room", RATE, 1, "flac")


def record(path: Path, *tracks: SampleTrack, seconds: int = 2, codec: str = "ffv1") -> Path:
    """A recording whose sensors have more channels than its sound, and come before it."""
    with Recorder(path, fps=20, tracks=tracks, options={"codec": codec}) as recorder:
        for n in range(20 * seconds):
            recorder.write(np.full((48, 64, 3), n * 6, np.uint8))
        for track in tracks:
            wave = np.sin(np.arange(int(track.rate) * seconds) * 0.2) / 2
            recorder.write_samples(track.name, np.stack([wave] * track.channels, 1), 0)
    return path


def recorded(directory: Path) -> Path:
    return record(directory / "day.mkv", GYRO, SLOW, ROOM)


def recorded_on(directory: Path) -> Path:
    path = recorded(directory)
    return record(path, GYRO, SLOW, ROOM)


def merged(directory: Path) -> Path:
    sensors, sound = record(directory / "a.mkv", GYRO, SLOW), record(directory / "b.mkv", ROOM)
    merge_streams(directory / "all.mkv", [sensors, sound], offsets={"b": 0})
    return directory / "all.mkv"


@pytest.mark.parametrize("make", [recorded, recorded_on, merged])
def test_the_sound_is_taken_for_the_sound(tmp_path: Path, make: object) -> None:
    assert callable(make)
    path = make(tmp_path)
    with av.open(path) as container:
        assert container.streams.audio[0].rate == RATE
        best = container.streams.best("audio")
        assert best is not None and best.codec_context.sample_rate == RATE
    told = subprocess.run(["mkvmerge", "-J", path], capture_output=True, check=True).stdout
    audio = [track["properties"] for track in json.loads(told)["tracks"] if track["type"] == "audio"]
    flags = [(track["track_name"], track["default_track"]) for track in audio]
    assert flags == [("room", True), ("gyro", False), ("scale", False)]
    mpv = ["mpv", "--no-config", "--no-video", "--ao=null", "--length=0.1", path]
    said = subprocess.run(mpv, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS).stdout
    chosen = re.findall(r"(?:\(\+\)|●) +Audio .*'(\w+)'", said)
    assert chosen == ["room"], said
    subprocess.run(["ffmpeg", "-v", "error", "-i", path, tmp_path / "out.mp4"], check=True)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.rate for stream in container.streams.audio] == [RATE]


def test_tracks_are_read_in_the_order_in_which_they_were_declared(tmp_path: Path) -> None:
    with open_recording(recorded(tmp_path)) as recording:
        assert isinstance(recording, VideoReader)
        assert [track.name for track in recording.tracks] == ["gyro", "scale", "room"]


def test_converting_keeps_the_sound_and_not_a_sensor(tmp_path: Path) -> None:
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", recorded(tmp_path), "-map", "0:v", "-map", "0:a", "-c", "copy",
         tmp_path / "other.mkv"], check=True,
    )  # fmt: skip
    reordered = ["-map", "0:v", "-map", "0:a:1", "-map", "0:a:0", "-c", "copy", tmp_path / "sensor-first.mkv"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "other.mkv", *reordered], check=True)
    convert(tmp_path / "sensor-first.mkv", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.rate for stream in container.streams.audio] == [RATE]


@pytest.mark.parametrize("codec", ["ffv1", "h264-lossless"])
def test_mpv_shows_the_pictures(tmp_path: Path, codec: str) -> None:
    path = record(tmp_path / "day.mkv", codec=codec)
    shot = ["mpv", "--no-config", "--vo=image", "--vo-image-format=png", "--frames=1", f"--vo-image-outdir={tmp_path}"]
    subprocess.run([*shot, path], check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    assert (tmp_path / "00000001.png").stat().st_size > 0


def test_a_file_with_the_other_name_of_ffv1_is_read_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As files were written before: Matroska's own name, and nothing before what the decoder needs."""
    with monkeypatch.context() as patch:
        patch.setattr(elements, "codec_fields", lambda codec, private, size: (codec, private))
        path = record(tmp_path / "day.mkv", GYRO)
    assert b"V_FFV1" in path.read_bytes() and b"VFW" not in path.read_bytes()
    record(path, GYRO)
    with VideoReader(path) as recording:
        assert [int(frame.pixels[0, 0, 0]) for frame in recording] == [n * 6 for n in range(40)] * 2

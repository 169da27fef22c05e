"""Frames that picamera2 encodes: the real picamera2 and libcamera, on libcamera's virtual cameras.

These machines have no encoder in hardware. Its place takes the one that picamera2 has in software, under the same
interface; the hardware's own class has to answer to the same names. Two things about the one in software are adapted:
it works on several pictures at once, and its `force_key_frame` does not work with every PyAV.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pi_capture.recording.capture import record
from pi_capture.recording.recorder import Recorder
from pi_capture.sources import Encoding, open_source
from pi_capture.sources.picamera2 import h264
from storage import open_recording
from storage.formats.video.writer import VideoReader
from tests.cameras.conftest import FPS, REPOSITORY, wait_for
from tests.cameras.rig import numbered
from tests.cameras.test_libcamera import assert_losses_are_told

pytestmark = pytest.mark.cameras

RUN = f"""
import sys
from tests.cameras.rig import virtual_cameras
virtual_cameras.install({FPS})
from tests.cameras.test_libcamera_h264 import use_software
from pi_capture.cli import main
use_software()
sys.exit(main(sys.argv[1:]))
"""


def use_software() -> None:
    """Let picamera2's encoder in software pass for the one in hardware, and take what virtual cameras deliver."""
    from picamera2.encoders.libav_h264_encoder import LibavH264Encoder

    class Software(LibavH264Encoder):  # type: ignore[misc]  # picamera2 has no types
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.threads = 1

        def force_key_frame(self) -> None:
            pass

    h264.find_encoder = lambda: Software
    h264.BYTES_A_PIXEL["NV12"] = 1


@pytest.fixture
def software(virtual: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(h264, "find_encoder", h264.find_encoder)
    monkeypatch.setattr(h264, "BYTES_A_PIXEL", dict(h264.BYTES_A_PIXEL))
    use_software()
    yield


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", RUN, *map(str, arguments)]


def run_cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=120)


def packets_of(path: Path) -> tuple[int, list[bool]]:
    """Decodes every picture: how many, and which packets are keyframes."""
    with av.open(str(path)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    with av.open(str(path)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    if shutil.which("ffprobe"):
        probe = ["ffprobe", "-v", "warning", "-count_frames", "-show_entries", "stream=nb_read_frames", path]
        done = subprocess.run(probe, capture_output=True, text=True, check=True)
        assert done.stderr == "" and f"nb_read_frames={pictures}" in done.stdout
    return pictures, keys


def sessions(path: Path) -> list[dict[str, Any]]:
    with open_recording(path) as recording:
        assert isinstance(recording, VideoReader)
        return recording.sessions


def test_everything_used_is_in_both_encoders(virtual: None) -> None:
    from picamera2.encoders.h264_encoder import H264Encoder
    from picamera2.encoders.libav_h264_encoder import LibavH264Encoder
    from picamera2.outputs import Output

    for encoder in (H264Encoder, LibavH264Encoder):
        assert {"repeat", "iperiod", "framerate", "qp"} <= set(inspect.signature(encoder).parameters)
        assert set(inspect.signature(encoder.encode).parameters) == {"self", "stream", "request"}
        for name in ("name", "width", "height", "format", "stride", "output", "start", "stop", "force_key_frame"):
            assert hasattr(encoder, name)
        assert "firsttimestamp" in vars(encoder(qp=20, iperiod=10, framerate=30))
    assert [*inspect.signature(Output.outputframe).parameters][1:4] == ["frame", "keyframe", "timestamp"]


def test_a_recording(spec_of: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    arguments = (
        path,
        3,
        "--camera",
        spec_of("imx708"),
        "--size",
        "640x480",
        "--codec",
        "h264",
        "--crf",
        24,
        "--json",
        "--no-jitter",
    )
    done = run_cli(*arguments)
    print(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    with open_recording(path) as recording:
        frames = list(recording)
        times = list(recording.timestamps_ns)
    assert [frame.timestamp_ns for frame in frames] == times == sorted(set(times))
    assert_losses_are_told(frames)
    lost = summary["dropped_camera"] + summary["dropped_queue"]
    assert summary["frames"] == len(frames) and len(frames) + lost >= 3 * FPS - 2
    shown = [numbered.number_of(frame.pixels[..., 1]) for frame in frames]
    assert len(set(shown)) == 12

    pictures, keys = packets_of(path)
    assert pictures == len(keys) == len(frames)
    at = [n for n, key in enumerate(keys) if key]
    assert at[0] == 0 and max(b - a for a, b in pairwise([*at, len(keys)])) <= 30
    (session,) = sessions(path)
    assert session["encoder"] == "picamera2 Software" and session["qp"] == 24

    again = run_cli(*arguments)  # continues
    assert again.returncode == 0, again.stderr
    both, _ = packets_of(path)
    assert both == len(frames) + json.loads(again.stdout)["frames"]


def test_the_same_frames_as_pixels(software: None, spec_of: Callable[[str], str], tmp_path: Path) -> None:
    """Each packet belongs to the pixels, the time and the metadata that it comes with."""
    source = open_source(spec_of("imx708"), (640, 480))
    assert isinstance(source, Encoding)
    assert source.start_encoding("h264-lossless", 18) is None
    first = next(iter(source))
    assert first.packet is None
    assert source.start_encoding("h264", 18) == {"encoder": "picamera2 Software", "qp": 18}
    video, pixels = tmp_path / "day1.mkv", tmp_path / "day1"
    with Recorder(video, options={"codec": "h264"}) as encoded, Recorder(pixels) as plain:
        for _, frame in zip(range(100), source, strict=False):
            assert frame.packet is not None
            encoded.put(frame, wait=True)
            plain.put(frame, wait=True)
    source.close()
    packets_of(video)
    with open_recording(video) as ours, open_recording(pixels) as wanted:
        assert list(ours.timestamps_ns) == list(wanted.timestamps_ns)
        assert len(ours) == len(wanted) == 100
        for mine, theirs in zip(ours, wanted, strict=True):
            assert mine.metadata == theirs.metadata
            assert numbered.number_of(mine.pixels[..., 1]) == numbered.number_of(theirs.pixels[..., 1])
            assert np.abs(mine.pixels.astype(int) - theirs.pixels).mean() < 6


def test_killed_while_recording(spec_of: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    arguments = (path, -1, "--camera", spec_of("imx708"), "--size", "640x480", "--codec", "h264", "--no-jitter")
    recorder = subprocess.Popen(command(*arguments), cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    wait_for(lambda: path.exists() and path.stat().st_size > 50_000, "a second or more")
    os.kill(recorder.pid, signal.SIGKILL)
    recorder.wait()
    before, _ = packets_of(path)
    assert before >= FPS // 2
    verify = [sys.executable, "-m", "storage", "verify", str(path)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    print(done.stdout, done.stderr)
    assert packets_of(path)[0] == before
    with open_recording(path) as recording:
        assert len(list(recording)) == before


def test_a_slow_consumer(software: None, spec_of: Callable[[str], str], tmp_path: Path) -> None:
    """Frames that the camera drops were never encoded, so that the others are whole; each loss is told."""
    source = open_source(spec_of("imx708"), (640, 480))
    assert isinstance(source, Encoding) and source.start_encoding("h264", 18)
    with Recorder(tmp_path / "day1.mkv", options={"codec": "h264"}) as recorder:
        for n, frame in zip(range(60), source, strict=False):
            recorder.put(frame, wait=True)
            if n % 10 == 5:
                time.sleep(0.3)
    source.close()
    assert packets_of(tmp_path / "day1.mkv")[0] == 60
    with open_recording(tmp_path / "day1.mkv") as recording:
        frames = list(recording)
    assert sum(frame.metadata.get("dropped_camera", 0) for frame in frames) > 10
    assert recorder.summary().dropped_queue == 0


@pytest.mark.parametrize("size", [(127, 95), (16, 16)])
def test_what_the_encoder_can_not_take_is_encoded_as_ever(
    software: None, spec_of: Callable[[str], str], tmp_path: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "day1.mkv"
    summary = record(path, 1, camera=spec_of("imx708"), size=size, jitter=False, options={"codec": "h264"})
    assert packets_of(path)[0] == summary.frames > FPS // 2
    assert "encoder" not in sessions(path)[0]


def test_without_such_an_encoder(spec_of: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    assert h264.find_encoder() is None
    summary = record(path, 1, camera=spec_of("imx708"), size=(640, 480), jitter=False, options={"codec": "h264"})
    assert packets_of(path)[0] == summary.frames > FPS // 2
    assert "encoder" not in sessions(path)[0]


def test_an_encoder_that_falls_silent_ends_in_one_line(
    software: None, spec_of: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pi_capture.errors import CameraError

    source = open_source(spec_of("imx708"), (640, 480))
    assert isinstance(source, Encoding) and source.start_encoding("h264", 18)
    frames = iter(source)
    assert next(frames).packet is not None
    monkeypatch.setattr(h264.PacketEncoder, "put", lambda *packet: None)
    source._encoder._encoder.output.outputframe = lambda *packet: None  # type: ignore[attr-defined]  # as above
    with pytest.raises(CameraError, match=r"H.264 encoder delivered nothing for 5 s; record without --codec h264"):
        next(frames)
    source.close()

"""The Pi's own H.264 encoder: a stand-in for the driver, which encodes for real and hands packets out as late.

The encoder in hardware runs nowhere but on a Pi. picamera2's encoder in software, under the same interface, runs in
`tests/cameras/test_libcamera_h264.py`, which also checks that both have all that is used here.
"""

from __future__ import annotations

import sys
import types
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from pi_capture.errors import RecordingError
from pi_capture.recording.capture import record
from pi_capture.sources import Encoding, open_source
from pi_capture.sources.picamera2 import h264
from pi_capture.status import Summary
from storage import Frame, open_recording
from storage.formats.video.h264 import packet_from_annex_b
from storage.formats.video.writer import VideoReader
from tests.pi_capture.sources.picamera2.test_source import FIRST_NS, FRAME_NS, Picamera2, Request, pi, reported, take

__all__ = ["pi"]

SIZE = (64, 64)


class Encoder:
    """Packets come from another thread, `late` pictures after theirs."""

    late = 0
    skips: frozenset[int] = frozenset()  # pictures that it makes no packet of
    inverts = False
    error_at_start: OSError | None = None
    error_at: int | None = None
    made: list[Encoder] = []  # noqa: RUF012

    def __init__(self, *, repeat: bool, iperiod: int, framerate: int, qp: int) -> None:
        self.asked = {"repeat": repeat, "iperiod": iperiod, "framerate": framerate, "qp": qp}
        self.firsttimestamp: int | None = None
        self.output: Any = None
        self.name, self.width, self.height, self.format, self.stride = "", 0, 0, "", 0
        self.forced = self.count = self.since_key = 0
        self.keys: list[int] = []
        self.packets: list[bytes] = []
        self.stopped = 0
        self._force = False
        self._thread = ThreadPoolExecutor(1)
        self._held: deque[tuple[bytes, bool, int]] = deque()
        Encoder.made.append(self)

    def start(self) -> None:
        if self.error_at_start is not None:
            raise self.error_at_start
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = self.width, self.height
        context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 30)
        qp = str(self.asked["qp"])
        context.options = {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1", "qp": qp, "g": "1000"}
        self._context = context

    def force_key_frame(self) -> None:
        self._force = True
        self.forced += 1

    def encode(self, stream: str, request: Request) -> None:
        assert stream == "main"
        if self.count == self.error_at:
            raise OSError(5, "Input/output error")
        time_us = int(request.get_metadata()["SensorTimestamp"] / 1000)
        self.firsttimestamp = time_us if self.firsttimestamp is None else self.firsttimestamp
        if self.count not in self.skips:
            pixels = request.make_array("main")
            key = self._force or self.since_key % self.asked["iperiod"] == 0
            picture = av.VideoFrame.from_ndarray(255 - pixels if self.inverts else pixels, format="rgb24")
            picture.pts = self.count
            picture.pict_type = PictureType.I if key else PictureType.NONE
            (packet,) = self._context.encode(picture)
            if key:
                self._force, self.since_key = False, 0
                self.keys.append(self.count)
            self.since_key += 1
            self.packets.append(bytes(packet))
            self._held.append((bytes(packet), key, time_us - self.firsttimestamp))
        self.count += 1
        while len(self._held) > self.late:
            self._thread.submit(self.output.outputframe, *self._held.popleft())

    def stop(self) -> None:
        self.stopped += 1
        self._thread.shutdown()


@pytest.fixture(autouse=True)
def encoder(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Encoder]:
    """A Pi 4 whose camera shows another brightness in each frame."""

    def shown(request: Request) -> np.ndarray:
        width, height = request._camera.configuration["main"]["size"]
        return np.full(
            (height, width, 3), level((request._metadata["SensorTimestamp"] - FIRST_NS) // FRAME_NS), np.uint8
        )

    for module, name, what in (("encoders", "H264Encoder", Encoder), ("outputs", "Output", object)):
        stand_in = types.ModuleType(f"picamera2.{module}")
        setattr(stand_in, name, what)
        monkeypatch.setitem(sys.modules, f"picamera2.{module}", stand_in)
    (tmp_path / "name").write_text("bcm2835-codec-encode\n")
    monkeypatch.setattr(h264, "NODE", tmp_path / "name")
    monkeypatch.setattr(Request, "_memory", shown)
    monkeypatch.setattr(Picamera2, "script", [reported(n) for n in range(80)])
    monkeypatch.setattr(Encoder, "made", [])
    monkeypatch.setattr("pi_capture.recording.take.SETTLE_SECONDS", 0)
    return Encoder


def level(number: int) -> int:
    return 30 + number * 37 % 200


def recorded(path: Path, seconds: float = 2, **options: Any) -> Summary:
    return record(path, seconds, camera="picamera2", size=SIZE, options={"codec": "h264", **options}, jitter_seed=1)


def frames_of(path: Path) -> list[Frame]:
    """Each picture is the one that its time belongs to."""
    with open_recording(path) as recording:
        frames = list(recording)
    for frame in frames:
        assert abs(frame.pixels.mean() - level((frame.timestamp_ns - FIRST_NS) // FRAME_NS)) < 3
    return frames


def session(path: Path) -> dict[str, Any]:
    with open_recording(path) as recording:
        assert isinstance(recording, VideoReader)
        return recording.sessions[-1]


@pytest.mark.parametrize("late", [0, 1, 2])
def test_each_packet_with_its_picture_time_and_jitter(
    encoder: type[Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    monkeypatch.setattr(encoder, "late", late)
    summary = recorded(tmp_path / "day1.mkv", crf=22)
    frames = frames_of(tmp_path / "day1.mkv")
    assert summary.frames == len(frames) == 61 and summary.dropped_camera == summary.dropped_queue == 0
    assert [frame.timestamp_ns for frame in frames] == [FIRST_NS + n * FRAME_NS for n in range(1, 62)]
    assert frames[5].metadata["exposure_us"] == 19985
    drawn = [str(frame.metadata["jitter"]) for frame in frames]
    assert len(set(drawn)) > 5
    (made,) = encoder.made
    assert made.asked == {"repeat": True, "iperiod": 30, "framerate": 30, "qp": 22}
    assert (made.name, made.width, made.height, made.format, made.stride) == ("main", *SIZE, "BGR888", 192)
    assert made.keys[:3] == [0, 30, 60] and made.forced == 0 and made.stopped == 1
    assert session(tmp_path / "day1.mkv")["encoder"] == "picamera2 Encoder"
    assert session(tmp_path / "day1.mkv")["qp"] == 22
    with av.open(str(tmp_path / "day1.mkv")) as container:
        stored = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert stored == [packet_from_annex_b(data, 0).data for data in made.packets[:61]]
    assert Picamera2.opened[0].held == 0


def test_slow_frames_have_a_keyframe_each_second(
    encoder: type[Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Picamera2, "script", [reported(n * 12) for n in range(20)])  # 0.4 s apart
    recorded(tmp_path / "day1.mkv", 4)
    assert encoder.made[0].keys[:3] == [0, 3, 6]
    assert len(frames_of(tmp_path / "day1.mkv")) == 11


def test_a_picture_that_the_encoder_passes_over_is_counted(
    encoder: type[Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "skips", frozenset({7, 8, 20}))
    summary = recorded(tmp_path / "day1.mkv")
    told = {frame.index: frame.metadata.get("dropped_camera", 0) for frame in frames_of(tmp_path / "day1.mkv")}
    assert {index: count for index, count in told.items() if count} == {7: 2, 18: 1}
    assert (summary.frames, summary.dropped_camera, summary.dropped_queue) == (58, 3, 0)


def test_the_pixels_where_the_encoder_shows_something_else(
    encoder: type[Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "inverts", True)
    recorded(tmp_path / "day1.mkv")
    assert len(frames_of(tmp_path / "day1.mkv")) == 61
    assert session(tmp_path / "day1.mkv")["encoder"] == "libx264"


@pytest.mark.parametrize("codec", ["ffv1", "mjpeg", "h264-lossless"])
def test_other_codecs_leave_it_alone(encoder: type[Encoder], tmp_path: Path, codec: str) -> None:
    recorded(tmp_path / "day1.mkv", 0.5, codec=codec)
    assert encoder.made == []


@pytest.mark.parametrize("name", [None, "uvcvideo", "rpivid"])
def test_without_that_driver(encoder: type[Encoder], tmp_path: Path, name: str | None) -> None:
    if name is None:
        h264.NODE.unlink()
    else:
        h264.NODE.write_text(name)
    recorded(tmp_path / "day1.mkv", 0.5)
    assert encoder.made == [] and len(frames_of(tmp_path / "day1.mkv")) == 16
    assert "encoder" not in session(tmp_path / "day1.mkv")


@pytest.mark.parametrize(
    ("size", "takes"),
    [((1920, 1080), True), ((2560, 1440), False), ((1920, 1920), False), ((16, 64), False), ((63, 63), False)],
)
def test_sizes(encoder: type[Encoder], size: tuple[int, int], takes: bool) -> None:
    source = open_source("picamera2", size)
    assert isinstance(source, Encoding)
    assert bool(source.start_encoding("h264", 18)) is takes
    (frame,) = take(source, 1)
    assert (frame.packet is not None) is takes
    source.close()


def test_memory_that_is_no_whole_number_of_pixels_wide(encoder: type[Encoder]) -> None:
    source = open_source("picamera2", (640, 480))
    Picamera2.opened[0].configuration["main"]["stride"] = 1984
    assert isinstance(source, Encoding)
    assert source.start_encoding("h264", 18) is None
    source.close()


def test_an_encoder_that_somebody_else_has(
    encoder: type[Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "error_at_start", PermissionError(13, "Permission denied"))
    recorded(tmp_path / "day1.mkv", 0.5)
    assert len(frames_of(tmp_path / "day1.mkv")) == 16


def test_an_encoder_that_fails_ends_in_one_line(
    encoder: type[Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "error_at", 10)
    with pytest.raises(RecordingError, match=r"^the Pi's H.264 encoder failed: Input/output error; record without"):
        recorded(tmp_path / "day1.mkv")
    assert 8 <= len(frames_of(tmp_path / "day1.mkv")) <= 10  # two may be in the encoder when it fails
    assert Picamera2.opened[0].closed


def test_an_encoder_that_falls_silent_ends_in_one_line(
    encoder: type[Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h264, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(encoder, "skips", frozenset(range(5, 99)))
    with pytest.raises(RecordingError, match=r"^the Pi's H.264 encoder delivered nothing for 0 s; record without"):
        recorded(tmp_path / "day1.mkv")
    assert len(frames_of(tmp_path / "day1.mkv")) == 5

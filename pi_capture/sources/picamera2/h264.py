"""The H.264 encoder that a Raspberry Pi up to the 4 has in hardware, through picamera2.

Its encoder gets only the frames that `pi_capture.sources.picamera2.source` takes, so that each has its packet. A Pi 5
has no such encoder: there, and for pictures that it can't take, `storage.formats.video.writer` encodes the pixels.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pi_capture.errors import CameraError
from storage.formats.video.codecs import KeySchedule, find_codec, most_between_keys
from storage.formats.video.h264 import packet_from_annex_b
from storage.frame import Frame

NODE = Path("/sys/class/video4linux/video11/name")  # the one that picamera2 opens
DRIVER = "bcm2835-codec"
LEAST_SIDE, MOST_SIDE, MOST_MACROBLOCKS = 32, 1920, 8192  # macroblocks of 16x16 pixels, as H.264's level 4.0 has it
BYTES_A_PIXEL = {"BGR888": 3, "RGB888": 3}  # YUV may be in another range or matrix than BT.601's
AHEAD = 2  # frames that may be in the encoder while the next is taken; the camera has buffers for them
PATIENCE_SECONDS = 5.0


def open_encoder(stream: Mapping[str, Any], fps: float | None, crf: int) -> PacketEncoder | None:
    """Start the Pi's encoder. Returns None if there is none, or none for such pictures.

    Parameters
    ----------
    stream : mapping
        picamera2's configuration of the stream to encode.
    fps : float or None
    crf : int
        1 to 51; becomes the quantiser of all pictures, which is the same scale.
    """
    encoder_class = find_encoder()
    if encoder_class is None or not _can_take(stream):
        return None
    most_between = most_between_keys(find_codec("h264"), stream["size"])
    encoder = encoder_class(repeat=True, iperiod=most_between, framerate=round(fps or 30), qp=crf)
    encoder.name = "main"
    encoder.width, encoder.height = stream["size"]
    encoder.format, encoder.stride = stream["format"], stream["stride"]
    packets = PacketEncoder(encoder, most_between)
    try:
        encoder.output = _output(packets.put)
        encoder.start()
    except (OSError, RuntimeError):  # it is in use, or not permitted, or takes no such pictures after all
        with suppress(Exception):  # of what has been started
            encoder.stop()
        return None
    return packets


def find_encoder() -> Any:
    """Return picamera2's class for the encoder in hardware; None where there is no such encoder."""
    try:
        if not NODE.read_text().startswith(DRIVER):
            return None
    except OSError:
        return None
    from picamera2.encoders import H264Encoder

    return H264Encoder


def _can_take(stream: Mapping[str, Any]) -> bool:
    width, height = stream["size"]
    if stream["format"] not in BYTES_A_PIXEL or min(width, height) < LEAST_SIDE or max(width, height) > MOST_SIDE:
        return False
    if -(-width // 16) * -(-height // 16) > MOST_MACROBLOCKS:
        return False
    # The driver counts a row's memory in whole pixels.
    return int(stream["stride"]) % BYTES_A_PIXEL[stream["format"]] == 0


def _output(put: Callable[[bytes, int], None]) -> Any:
    """Return the object that picamera2 hands packets to."""
    from picamera2.outputs import Output

    class Packets(Output):  # type: ignore[misc]  # picamera2 has no types
        def outputframe(
            self, frame: bytes, keyframe: bool = True, timestamp: int = 0, packet: Any = None, audio: bool = False
        ) -> None:
            put(bytes(frame), timestamp)

    return Packets()


class PacketEncoder:
    """Gives frames their packets: `encode` a request, `add` its frame, `take` frames that are complete.

    One thread does that. Packets may come from another one (`put`); any thread may call `close`.

    Parameters
    ----------
    encoder
        picamera2's, which makes a keyframe every `most_between` pictures. Where frames come slowly one is forced each
        second.
    most_between : int
    """

    def __init__(self, encoder: Any, most_between: int) -> None:
        self._encoder = encoder
        self._most_between = most_between
        self._keys = KeySchedule(most_between)
        self._since_key = 0
        self._frames: deque[tuple[int, Frame]] = deque()  # with their time by the encoder's clock
        self._packets: deque[tuple[int, bytes]] = deque()
        self._arrived = threading.Condition()
        self._number = 0
        self._lost = 0  # frames that the encoder passed over
        self._closed = False

    @property
    def name(self) -> str:
        return f"picamera2 {type(self._encoder).__name__}"

    def encode(self, request: Any, sensor_ns: int) -> None:
        """Encode a request's picture; the request may be released then. Raises CameraError if the driver can't."""
        if self._keys.is_due(sensor_ns // 1000):
            if 0 < self._since_key < self._most_between:  # the others the encoder makes by itself
                self._encoder.force_key_frame()
            self._since_key = 0
        self._since_key += 1
        try:
            self._encoder.encode("main", request)
        except OSError as error:
            raise CameraError(
                f"the Pi's H.264 encoder failed: {error.strerror}; record without --codec h264"
            ) from error

    def add(self, frame: Frame, sensor_ns: int) -> None:
        """Add the frame of the request that was encoded last."""
        self._frames.append((sensor_ns // 1000, frame))

    def put(self, data: bytes, timestamp_us: int) -> None:
        """Put a packet from picamera2, which counts microseconds from the first picture it encoded."""
        with self._arrived:
            self._packets.append((self._encoder.firsttimestamp + timestamp_us, data))
            self._arrived.notify()

    def take(self) -> Frame | None:
        """Return the oldest frame, with its packet; None if that has not come, and the encoder has room for another.

        Raises
        ------
        CameraError
            The encoder has stopped.
        """
        while (arrived := self._next_packet()) is not None:
            time_us, data = arrived
            number, self._number = self._number, self._number + 1
            while self._frames and self._frames[0][0] < time_us - 1:  # by one, its rounding may differ
                self._lost += 1 + self._frames.popleft()[1].metadata.get("dropped_camera", 0)
            if self._frames and self._frames[0][0] <= time_us + 1:
                return self._complete(self._frames.popleft()[1], data, number)
        return None

    def _next_packet(self) -> tuple[int, bytes] | None:
        with self._arrived:
            while not self._packets:
                if self._closed or len(self._frames) <= AHEAD:
                    return None
                if not self._arrived.wait(PATIENCE_SECONDS):
                    raise CameraError(
                        f"the Pi's H.264 encoder delivered nothing for {PATIENCE_SECONDS:.0f} s; "
                        "record without --codec h264"
                    )
            return self._packets.popleft()

    def _complete(self, frame: Frame, data: bytes, number: int) -> Frame:
        metadata = frame.metadata
        if self._lost:
            metadata = {**metadata, "dropped_camera": metadata.get("dropped_camera", 0) + self._lost}
            self._lost = 0
        try:
            packet = packet_from_annex_b(data, number)
        except ValueError:  # the writer encodes the pixels of a frame without packet
            packet = None
        return replace(frame, metadata=metadata, packet=packet)

    def close(self) -> None:
        """Give the encoder back; threads that wait for a packet get none."""
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()
        self._encoder.stop()

"""Raspberry Pi cameras, through picamera2 and libcamera.

The Pi's image processor delivers frames at their final size in RGB; `pi_capture.sources.pixels` converts what another
camera delivers. Controls and metadata that only a Pi camera has are used where the camera advertises them.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pi_capture.errors import CameraError, UsageError
from pi_capture.sources import Camera, Focus, Size, SourceInfo
from pi_capture.sources.gaps import GapCounter
from pi_capture.sources.picamera2.setup import AF_CONTINUOUS, BUFFERS, PIXEL_FORMATS, RGB, set_up, within
from pi_capture.sources.pixels import JpegDecoder, RgbConverter, picture_from_memory
from storage.frame import Frame

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

    from pi_capture.sources.picamera2.h264 import PacketEncoder

METADATA = {
    "ExposureTime": "exposure_us",
    "AnalogueGain": "analogue_gain",
    "DigitalGain": "digital_gain",
    "ColourGains": "colour_gains",
    "ColourTemperature": "colour_temperature_k",
    "Lux": "lux",
    "LensPosition": "lens_position",
    "FrameDuration": "duration_us",
}
"""The metadata of libcamera that is kept, and its names in a frame's metadata."""

USB_ID = re.compile(r"/usb|-[0-9a-f]{4}:[0-9a-f]{4}$")  # the bus, or the maker's and the product's number
REQUESTS_AHEAD = 2  # frames that may be waiting for us; the camera keeps the other buffers
PATIENCE_SECONDS = 5.0
HDR_FRAMES = 20  # after so many, HDR shows in the metadata wherever there is any
NEAR_ENOUGH = 0.05  # dioptres

# libcamera's AfModeEnum (the third is `AF_CONTINUOUS`), AfTriggerEnum, AfStateEnum and HdrModeEnum
AF_MANUAL, AF_AUTO = range(2)
AF_START = 0
AF_FOCUSED, AF_FAILED = 2, 3
HDR_SINGLE_EXPOSURE = 3


def open(address: str, size: Size | None, fps: float | None) -> Picamera2Source:
    """Open a Raspberry Pi camera.

    Parameters
    ----------
    address : str
        The camera's number, as ``rpicam-hello --list-cameras`` shows it; empty for the first.
    size : (int, int) or None
        Width and height of the frames wanted, in pixels; None for the sensor's largest mode at the wanted rate.
    fps : float or None
        Wanted frames per second; None for the camera's own, at most 30.

    Raises
    ------
    UsageError
        The address is no number.
    CameraError
        picamera2 isn't installed or doesn't work, there is no such camera, or another program uses it.
    """
    if address and not address.isdecimal():
        raise UsageError(f"picamera2:{address}: give the camera's number, such as picamera2:0")
    number = int(address or 0)
    picamera2 = _import_picamera2()
    found = len(picamera2.global_camera_info())
    if not found:
        raise CameraError("no Raspberry Pi camera found; check its cable, and what rpicam-hello --list-cameras says")
    if number >= found:
        raise CameraError(f"there is no Raspberry Pi camera {number}; this machine has {found}, counted from 0")
    try:
        camera = picamera2(number)
    except Exception as error:  # libcamera's are RuntimeErrors, picamera2's anything
        raise CameraError(_why_not_opened(number, error)) from error
    try:
        source = Picamera2Source(camera, set_up(camera, number, size, fps))
        camera.start()  # last: while libraries load, frames would be lost
        return source
    except CameraError:
        camera.close()
        raise
    except Exception as error:
        camera.close()
        raise CameraError(f"Raspberry Pi camera {number} can't be set up: {_last_line(error)}") from error


def list_cameras() -> list[Camera]:
    """Return the Raspberry Pi cameras connected; none without picamera2. For USB cameras see `sources.v4l2`."""
    try:
        cameras = _import_picamera2().global_camera_info()
    except CameraError:
        return []
    return [
        Camera(f"picamera2:{number}", str(camera.get("Model", camera["Id"])))
        for number, camera in enumerate(cameras)
        if not USB_ID.search(camera["Id"])
    ]


class Picamera2Source:
    """A Raspberry Pi camera, running: `pi_capture.sources.Source`, and `Controllable` to `Encoding` there.

    A frame's metadata holds what libcamera reported for this very frame, by the names of `METADATA`, and
    ``dropped_camera`` where its sensor timestamp shows that frames before it were lost.
    """

    def __init__(self, camera: Any, info: SourceInfo) -> None:
        self.info = info
        self._camera = camera
        self._ranges: Mapping[str, tuple[Any, Any, Any]] = camera.camera_controls
        self._stream = stream = camera.camera_configuration()["main"]
        self._as_delivered = stream["format"] == RGB and tuple(stream["size"]) == info.size
        self._converter = RgbConverter(info.size)
        self._jpeg = JpegDecoder() if stream["format"] == "MJPEG" else None
        self._jobs: deque[Any] = deque()
        self._lock = threading.Lock()  # held while requests are asked for and their memory is read
        self._closing = threading.RLock()  # a second call of close waits for the first
        self._closed = False
        self._index = 0
        self._gaps = GapCounter()
        self._vanished: RuntimeError | None = None  # why libcamera could not take a request back
        self._torn = 0  # JPEGs that could not be decoded since the last that could
        self._clock_offset_ns: int | None = None
        self._latest: Mapping[str, Any] = {}
        self._encoder: PacketEncoder | None = None
        self._dioptres: float | None = None  # where the lens was asked to go
        self._focus_asked = self._hdr_asked = 0  # before which frame

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._next, None)

    def close(self) -> None:
        """Stop the camera and give it back; a thread that waits for a frame gets none."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            with self._lock:
                if self._encoder is not None:
                    self._encoder.close()
                self._camera.cancel_all_and_flush()  # wakes waiting threads; without it, stopping a dead camera hangs
                for job in self._jobs:
                    with suppress(Exception):  # cancelled, most of them
                        job.get_result(timeout=0).release()
                self._jobs.clear()
                self._camera.close()

    # -------------------------------------------------------------------------------------------------------- frames

    def _next(self) -> Frame | None:
        """Return the next frame, encoded if that was asked for; None once the source is closed."""
        while self._encoder is None or (complete := self._encoder.take()) is None:
            frame = self._next_frame()
            if self._encoder is None or frame is None:
                return frame
            self._encoder.add(frame, self._latest["SensorTimestamp"])
        return complete

    def _next_frame(self) -> Frame | None:
        """Return the next frame; None once the source is closed. If the camera fails, close it, raise CameraError."""
        try:
            return self._wait_for_frame()
        except CancelledError:
            return None
        except Exception as error:  # libcamera's are RuntimeErrors, picamera2's anything
            if self._closed:
                return None
            self.close()
            if isinstance(error, CameraError):
                raise
            raise CameraError(_why_it_stopped(self.info.camera, self._vanished or error)) from error

    def _wait_for_frame(self) -> Frame | None:
        patience = time.monotonic() + PATIENCE_SECONDS
        while (job := self._next_job()) is not None:
            request = job.get_result(timeout=0 if self._vanished else PATIENCE_SECONDS)
            with self._lock:
                if self._closed:  # close has released it
                    return None
                self._jobs.popleft()
                try:
                    pixels = self._pixels(request)
                    self._latest = request.get_metadata()
                    if self._encoder is not None and pixels is not None:
                        self._encoder.encode(request, self._latest["SensorTimestamp"])
                finally:
                    self._release(request)
            if pixels is not None:
                return self._frame(pixels, self._latest)
            self._torn += 1
            if time.monotonic() > patience:
                raise CameraError(f"{self.info.camera} delivers torn pictures only; try another cable or USB port")
        return None

    def _next_job(self) -> Any:
        """Return the job that brings the next frame; None once the source is closed."""
        with self._lock:
            if self._closed:
                return None
            while not self._vanished and len(self._jobs) < REQUESTS_AHEAD:
                self._jobs.append(self._camera.capture_request(wait=False))
            if not self._jobs and self._vanished:
                raise self._vanished
            return self._jobs[0]

    def _release(self, request: Any) -> None:
        """Give a request's memory back. A camera that vanished takes none; only earlier frames still come."""
        try:
            request.release()
        except RuntimeError as error:
            self._vanished = error

    def _pixels(self, request: Any) -> NDArray[np.uint8] | None:
        """Copy a request's pixels out of the camera's memory; None for a torn JPEG."""
        if self._as_delivered:
            pixels: NDArray[np.uint8] = request.make_array("main")
            return pixels
        memory = request.make_buffer("main")
        picture = self._jpeg.decode(memory.tobytes()) if self._jpeg else self._picture(memory)
        return None if picture is None else self._converter.to_rgb(picture)

    def _picture(self, memory: NDArray[np.uint8]) -> av.VideoFrame:
        stream, colours = self._stream, self._camera.camera_configuration().get("colour_space")
        return picture_from_memory(
            memory,
            PIXEL_FORMATS[stream["format"]],
            stream["size"],
            stream["stride"],
            full_range=colours is not None and colours.range.name == "Full",
            bt709=colours is not None and colours.ycbcrEncoding.name == "Rec709",
        )

    def _frame(self, pixels: NDArray[np.uint8], reported: Mapping[str, Any]) -> Frame:
        timestamp_ns = self._monotonic(reported.get("SensorTimestamp"))
        duration_us = reported.get("FrameDuration")
        duration_ns = duration_us * 1000 if duration_us else round(1e9 / self.info.fps) if self.info.fps else 0
        dropped = max(self._gaps.missing_before(timestamp_ns, duration_ns), self._torn if self._index else 0)
        self._torn = 0
        metadata = {name: _plain(reported[theirs]) for theirs, name in METADATA.items() if theirs in reported}
        if dropped:
            metadata["dropped_camera"] = dropped
        frame = Frame(pixels, self._index, timestamp_ns, metadata)
        self._index += 1
        return frame

    def _monotonic(self, sensor_ns: int | None) -> int:
        """Return the sensor's timestamp on the monotonic clock; some drivers include the time spent suspended."""
        now_ns = time.monotonic_ns()
        if sensor_ns is None:
            return now_ns
        if self._clock_offset_ns is None:
            boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            on_boot_clock = abs(boot_ns - sensor_ns) < abs(now_ns - sensor_ns)
            self._clock_offset_ns = now_ns - boot_ns if on_boot_clock else 0
        return sensor_ns + self._clock_offset_ns

    # ------------------------------------------------------------------------------------------- encoding and controls

    def start_encoding(self, codec: str, crf: int) -> Mapping[str, Any] | None:
        """See `pi_capture.sources.Encoding`: H.264, with ``crf`` for the quantiser, where the Pi can."""
        from pi_capture.sources.picamera2.h264 import open_encoder

        if codec != "h264" or tuple(self._stream["size"]) != self.info.size:
            return None
        with self._lock:
            if self._closed:
                return None
            self._encoder = open_encoder(self._stream, self.info.fps, crf)
        return {"encoder": self._encoder.name, "qp": crf} if self._encoder is not None else None

    def lock_exposure(self) -> Mapping[str, Any]:
        """Hold exposure, gain and white balance at their present values.

        Returns
        -------
        mapping
            ``exposure_us``, ``analogue_gain`` and ``colour_gains`` (red, blue), as far as the camera has them.
        """
        if not self._latest:
            self._latest = self._camera.capture_metadata(wait=False).get_result(timeout=PATIENCE_SECONDS)
        controls = ("ExposureTime", "AnalogueGain", "ColourGains")
        held = {name: self._latest[name] for name in controls if name in self._latest and name in self._ranges}
        if held:
            self.set_controls({"AeEnable": False, "AwbEnable": False, **held})
        return {METADATA[name]: _plain(value) for name, value in held.items()}

    def set_focus(self, focus: Focus) -> bool:
        """See `pi_capture.sources.Focusing`.

        After a search libcamera leaves the lens alone: it is not moved to the position that was reported with the
        last frame, as it may have been on its way still.
        """
        if "AfMode" not in self._ranges:
            return False
        self._focus_asked, self._dioptres = self._index, None
        if focus == "auto":
            self.set_controls({"AfMode": AF_CONTINUOUS})
        elif focus == "once":
            self.set_controls({"AfMode": AF_AUTO, "AfTrigger": AF_START})
        else:
            self._dioptres = 1 / float(focus)
            _, nearest, _ = self._ranges["LensPosition"]
            if self._dioptres > nearest:
                raise UsageError(f"--focus {focus}: {self.info.camera} focuses from {1 / nearest:.2f} m on")
            self.set_controls({"AfMode": AF_MANUAL, "LensPosition": self._dioptres})
        return True

    @property
    def focused(self) -> bool | None:
        if self._index <= self._focus_asked + BUFFERS:  # this frame may have been on its way before
            return None
        if self._dioptres is None:
            return {AF_FOCUSED: True, AF_FAILED: False}.get(self._latest.get("AfState", 0))
        position = self._latest.get("LensPosition")
        return True if position is not None and abs(position - self._dioptres) < NEAR_ENOUGH else None

    def set_hdr(self) -> None:
        """Ask for the HDR of a Pi 5's image processor, which works with any sensor, at its full size and rate.

        The HDR of a Camera Module 3 itself needs another control of the sensor, set before libcamera looks at it. That
        control stays set for all other programs, and leaves a quarter of the pixels.
        """
        self._hdr_asked = self._index
        self.set_controls({"HdrMode": HDR_SINGLE_EXPOSURE})

    @property
    def hdr(self) -> bool | None:
        """Told by a frame: a Pi 4 takes the control as well, and does nothing."""
        if self._latest.get("HdrMode") == HDR_SINGLE_EXPOSURE:
            return True
        return False if "HdrMode" not in self._ranges or self._index > self._hdr_asked + HDR_FRAMES else None

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Ask for new control values, by libcamera's names, within what this camera can do; others are left out."""
        known = {name: within(value, self._ranges[name]) for name, value in controls.items() if name in self._ranges}
        if known and not self._closed:
            self._camera.set_controls(known)


def _plain(value: Any) -> Any:
    """Return a value of libcamera's metadata as JSON has it."""
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


# ---------------------------------------------------------------------------------------------------- what can go wrong


def _import_picamera2() -> Any:
    """Return the class Picamera2; libcamera and picamera2 log only errors from now on."""
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    if not (log := logging.getLogger("picamera2")).level:
        log.setLevel(logging.CRITICAL)
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise CameraError(
            f"picamera2 can't be imported ({_last_line(error)}): run 'sudo apt install python3-picamera2', and make "
            "the virtual environment with --system-site-packages"
        ) from error
    except Exception as error:
        if "numpy.dtype size changed" in str(error):
            raise CameraError(
                "picamera2 needs a newer simplejpeg beside this numpy: run 'pip install --upgrade simplejpeg'"
            ) from error
        raise CameraError(f"picamera2 can't be imported: {_last_line(error)}") from error
    return Picamera2


def _why_not_opened(number: int, error: BaseException) -> str:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    reason = _last_line(causes[-1])
    if any("busy" in str(cause).lower() for cause in causes):
        return f"Raspberry Pi camera {number} is in use by another program; close that one first"
    return f"Raspberry Pi camera {number} can't be opened: {reason}"


def _why_it_stopped(camera: str, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{camera} delivered no picture for {PATIENCE_SECONDS:.0f} s; check the camera's cable"
    return f"{camera} stopped: {_last_line(error)}"


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__

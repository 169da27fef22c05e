"""USB cameras, through the kernel's Video4Linux2 interface.

The kernel numbers and dates every frame: so frames that the camera or the driver lost are counted, and a camera that
was unplugged or hangs is noticed. For the kernel's calls see `pi_capture.sources.v4l2.ioctl`, for the way to RGB
`pi_capture.sources.pixels`.
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pi_capture.errors import CameraError
from pi_capture.sources import Camera, Size, SourceInfo
from pi_capture.sources.pixels import JpegDecoder, RgbConverter, picture_from_memory
from pi_capture.sources.v4l2 import ioctl as v4l2
from pi_capture.sources.v4l2.modes import DEFAULT_FPS, PIXEL_FORMATS, choose_interval, choose_mode, offered
from storage.frame import Frame

if TYPE_CHECKING:
    import av

BUFFERS = 6  # the driver fills them while this process is held up: a fifth of a second
PATIENCE_SECONDS = 5.0

NOT_CAMERAS = ("bcm2835-isp", "bcm2835-codec", "unicam", "rp1-cfe", "pispbe", "rpi-hevc", "rpivid")
"""Drivers of a Raspberry Pi's own video hardware: their nodes deliver nothing by themselves."""


def open(address: str, size: Size | None, fps: float | None) -> V4l2Source:
    """Open a USB camera.

    Parameters
    ----------
    address : str
        ``/dev/videoN``, or N; empty for the first camera.
    size : (int, int) or None
        Width and height of the frames wanted, in pixels. The camera is set to the smallest size it offers that covers
        them at the wanted rate. None: the largest size at the wanted rate.
    fps : float or None
        Wanted frames per second; None for the camera's own, at most 30.

    Raises
    ------
    CameraError
        There is no such camera, it is busy, this user may not open it, or it delivers nothing that can be read.
    """
    path = _path(address)
    fd = _open_node(path)
    try:
        with _as_camera_errors(path):
            capability = _capture_capability(fd, path)
            pix, rate = _set_up(fd, path, size, fps)
            buffers = _map_buffers(fd, path)
        info = SourceInfo(
            camera=f"v4l2:{path}",
            model=_model(capability),
            size=size or (pix.width, pix.height),
            fps=rate,
            live=True,
            details={
                "driver": capability.driver.decode("utf-8", "replace"),
                "pixel_format": v4l2.fourcc_name(pix.pixelformat),
                "captured_size": [pix.width, pix.height],
            },
        )
        return V4l2Source(info, fd=fd, path=path, pix=pix, buffers=buffers)
    except BaseException:
        os.close(fd)
        raise


def list_cameras() -> list[Camera]:
    """Return the USB cameras plugged in, by number."""
    cameras = []
    for node in sorted(Path("/sys/class/video4linux").glob("video*"), key=lambda node: int(node.name[5:])):
        model = _model_of(f"/dev/{node.name}", node)
        if model is not None:
            cameras.append(Camera(f"v4l2:/dev/{node.name}", model))
    return cameras


class V4l2Source:
    """A camera, opened and set up; it runs from the first frame asked for. See `pi_capture.sources.Source`.

    ``metadata["dropped_camera"]`` counts, by the driver's numbers, the frames before one that were lost or torn: torn
    pictures are never passed on.
    """

    def __init__(
        self,
        info: SourceInfo,
        *,
        fd: int,
        path: str,
        pix: v4l2.PixelFormat,
        buffers: Sequence[mmap.mmap],
    ) -> None:
        self.info = info
        self._fd = fd
        self._path = path
        self._pix = pix
        self._buffers = buffers
        self._converter = RgbConverter(info.size)
        self._decoder = JpegDecoder() if PIXEL_FORMATS[pix.pixelformat] == "mjpeg" else None
        self._wake = os.eventfd(0)
        self._lock = threading.RLock()  # held while the device or its buffers are touched
        self._closing = threading.RLock()  # a second call of close waits for the first
        self._running = self._closed = False
        self._index = 0
        self._losses = LossCounter()
        self._last_ns = 0

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._next, None)

    def close(self) -> None:
        """Stop the camera and give it back; a thread that waits for a frame gets none."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._wake, 1)
            with self._lock:
                with suppress(OSError):
                    v4l2.stream_off(self._fd)
                for buffer in self._buffers:
                    buffer.close()
                os.close(self._fd)
                os.close(self._wake)

    def _next(self) -> Frame | None:
        """Return the next whole frame; None once the source is closed."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while True:
            taken = self._take(patience)
            if taken is None:
                return None
            picture = self._decoder.decode(taken.data) if self._decoder and taken.data else taken.picture
            if picture is None:  # torn
                self._losses.torn()
                continue
            dropped = self._losses.lost_before(taken.sequence)
            # Some drivers use the camera's own clock, which can run back a little.
            self._last_ns = max(taken.timestamp_ns, self._last_ns + 1)
            metadata = {"dropped_camera": dropped} if dropped else {}
            frame = Frame(self._converter.to_rgb(picture), self._index, self._last_ns, metadata)
            self._index += 1
            return frame

    def _take(self, patience: float) -> _Taken | None:
        """Copy the oldest filled buffer and hand it back to the driver at once, so that the driver never runs out."""
        with self._lock:
            if self._closed:
                return None
            with _as_camera_errors(self._path):
                self._start()
                self._wait(patience)
                if self._closed:
                    return None
                buffer = v4l2.dequeue_buffer(self._fd)
                taken = self._copy(buffer)
                v4l2.queue_buffer(self._fd, buffer.index)
                return taken

    def _start(self) -> None:
        if self._running:
            return
        for index in range(len(self._buffers)):
            v4l2.queue_buffer(self._fd, index)
        v4l2.stream_on(self._fd)
        self._running = True

    def _wait(self, patience: float) -> None:
        """Wait until a buffer is filled or `close` was called."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._closed:
            left = patience - time.monotonic()
            if left <= 0:
                raise CameraError(self._why_no_picture())
            ready = dict(poll.poll(left * 1000))
            if self._wake in ready or ready.get(self._fd, 0) & select.POLLIN:
                return
            if self._fd in ready:
                raise OSError(_why_it_failed(self._fd), "the stream ended")

    def _why_no_picture(self) -> str:
        if self._losses.torn_lately:
            return f"{self._path} delivers torn pictures only; try another cable or USB port"
        return f"{self._path} delivered no picture for {PATIENCE_SECONDS:.0f} s; unplug it and plug it in again"

    def _copy(self, buffer: v4l2.Buffer) -> _Taken:
        now_ns = time.monotonic_ns()
        filled_ns = buffer.timestamp.sec * 1_000_000_000 + buffer.timestamp.usec * 1000
        monotonic = buffer.flags & v4l2.BUF_FLAG_TIMESTAMP_MASK == v4l2.BUF_FLAG_TIMESTAMP_MONOTONIC
        believable = monotonic and 0 <= now_ns - filled_ns < PATIENCE_SECONDS * 1e9
        timestamp_ns = filled_ns if believable else now_ns
        memory, used = self._buffers[buffer.index], buffer.bytesused
        if buffer.flags & v4l2.BUF_FLAG_ERROR or not used:
            return _Taken(buffer.sequence, timestamp_ns)
        if self._decoder is not None:
            return _Taken(buffer.sequence, timestamp_ns, data=memory[:used])
        return _Taken(buffer.sequence, timestamp_ns, picture=self._picture(memory, used))

    def _picture(self, memory: mmap.mmap, used: int) -> av.VideoFrame | None:
        import numpy as np

        pix = self._pix
        jpeg_colours = pix.quantization == 0 and pix.colorspace == v4l2.COLORSPACE_JPEG
        hd_colours = pix.ycbcr_enc == 0 and pix.colorspace == v4l2.COLORSPACE_REC709
        try:
            return picture_from_memory(
                np.frombuffer(memory, np.uint8, used),
                PIXEL_FORMATS[pix.pixelformat],
                (pix.width, pix.height),
                pix.bytesperline,
                full_range=pix.quantization == v4l2.QUANTIZATION_FULL_RANGE or jpeg_colours,
                bt709=pix.ycbcr_enc == v4l2.YCBCR_ENC_709 or hd_colours,
            )
        except ValueError:  # less than a picture arrived
            return None


@dataclass(frozen=True, slots=True)
class _Taken:
    """The content of a buffer: a JPEG, a picture, or neither if it is torn."""

    sequence: int
    timestamp_ns: int
    data: bytes = b""
    picture: av.VideoFrame | None = None


class LossCounter:
    """Counts lost frames by the driver's numbers, and torn ones where a driver doesn't number them."""

    def __init__(self) -> None:
        self._last: int | None = None
        self.torn_lately = 0  # since the last whole frame

    def torn(self) -> None:
        """Note a frame that can't be used."""
        self.torn_lately += 1

    def lost_before(self, sequence: int) -> int:
        """Return how many frames were lost since the last whole one; before the first, none."""
        last, self._last = self._last, sequence
        torn, self.torn_lately = self.torn_lately, 0
        if last is None:
            return 0
        missing = (sequence - last - 1) & 0xFFFFFFFF
        return max(torn, missing if missing < 0x80000000 else 0)  # else the driver counts anew


def _set_up(fd: int, path: str, size: Size | None, fps: float | None) -> tuple[v4l2.PixelFormat, float | None]:
    """Choose and set format, size and rate. Returns what the driver has set, the rate in frames per second."""
    modes = list(offered(fd, size, fps or DEFAULT_FPS))
    if not modes:
        names = ", ".join(v4l2.fourcc_name(found.pixelformat) for found in v4l2.enum_formats(fd)) or "nothing"
        raise CameraError(f"{path} offers no format that can be read here (it offers {names})")
    mode = choose_mode(modes, size, fps)
    pix = v4l2.set_format(fd, mode.pixel_format, *mode.size)
    if pix.pixelformat not in PIXEL_FORMATS:
        raise CameraError(f"{path} insists on the format {v4l2.fourcc_name(pix.pixelformat)}, which can't be read here")
    interval = choose_interval(mode.intervals, fps)
    numerator, denominator = v4l2.set_interval(fd, interval.numerator, interval.denominator)
    return pix, round(denominator / numerator, 3) if numerator else None


# ------------------------------------------------------------------------------------------------- opening and failing


def _path(address: str) -> str:
    if address.isdecimal():
        return f"/dev/video{address}"
    if address:
        return address
    cameras = list_cameras()
    if not cameras:
        raise CameraError("no USB camera found: there is no /dev/video* that delivers pictures; check the cable")
    return cameras[0].spec.partition(":")[2]


def _open_node(path: str) -> int:
    with _as_camera_errors(path):
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _capture_capability(fd: int, path: str) -> v4l2.Capability:
    try:
        capability = v4l2.query_capability(fd)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            raise CameraError(f"{path} is not a camera; --list-cameras shows those there are") from error
        raise
    if not _delivers_pictures(capability):
        raise CameraError(f"{path} is a video device but delivers no pictures; --list-cameras shows those that do")
    return capability


def _delivers_pictures(capability: v4l2.Capability) -> bool:
    can: int = capability.capabilities
    if can & v4l2.CAP_DEVICE_CAPS:
        can = capability.device_caps
    streams = can & v4l2.CAP_VIDEO_CAPTURE and can & v4l2.CAP_STREAMING and not can & v4l2.CAP_IO_MC
    return bool(streams) and not capability.driver.decode("ascii", "replace").startswith(NOT_CAMERAS)


def _model_of(path: str, node: Path) -> str | None:
    """Return the name of the camera behind a node; None if the node isn't a camera."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:  # list it: opening it says what to do
        name, index = ((node / entry).read_text().strip() for entry in ("name", "index"))
        return name if index == "0" and not name.startswith(NOT_CAMERAS) else None
    except OSError:
        return None
    try:
        capability = v4l2.query_capability(fd)
        known = any(description.pixelformat in PIXEL_FORMATS for description in v4l2.enum_formats(fd))
        return _model(capability) if known and _delivers_pictures(capability) else None
    except OSError:
        return None
    finally:
        os.close(fd)


def _model(capability: v4l2.Capability) -> str:
    card: str = capability.card.decode("utf-8", "replace")
    name, _, again = card.partition(": ")  # uvcvideo gives the product's name twice, the second cut short
    return name if name.startswith(again) else card


def _map_buffers(fd: int, path: str) -> list[mmap.mmap]:
    buffers: list[mmap.mmap] = []
    for index in range(v4l2.request_buffers(fd, BUFFERS)):
        buffer = v4l2.query_buffer(fd, index)
        buffers.append(mmap.mmap(fd, buffer.length, mmap.MAP_SHARED, offset=buffer.m.offset))
    if not buffers:
        raise CameraError(f"{path} grants no buffers")
    return buffers


def _why_it_failed(fd: int) -> int:
    """Return the error number of a stream that ended: the device's if it is gone, else that of its input."""
    try:
        v4l2.query_capability(fd)
    except OSError as error:
        return error.errno or errno.EIO
    return errno.EIO


REASONS = {
    errno.ENOENT: "{path}: no such camera; --list-cameras shows those there are",
    errno.ENXIO: "{path}: no such camera; --list-cameras shows those there are",
    errno.EACCES: "no permission to open {path}: run 'sudo usermod -aG video $USER' and log in again",
    errno.EPERM: "no permission to open {path}: run 'sudo usermod -aG video $USER' and log in again",
    errno.EBUSY: "{path} is in use by another program; close that one first",
    errno.ENODEV: "{path} was unplugged",
    errno.EIO: "{path} stopped with an input error; unplug it and plug it in again",
    errno.ENOSPC: "{path}: not enough USB bandwidth; try a smaller --size or --fps, or another USB port",
}


@contextmanager
def _as_camera_errors(path: str) -> Iterator[None]:
    """Turn the kernel's errors into CameraError with a line for the user."""
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno or 0, "{path}: " + (error.strerror or str(error)))
        if error.errno == errno.EIO and not os.path.exists(path):
            reason = REASONS[errno.ENODEV]
        raise CameraError(reason.format(path=path)) from error

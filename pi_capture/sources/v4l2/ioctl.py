"""The part of the kernel's Video4Linux2 interface that `pi_capture.sources.v4l2.source` speaks.

Names, numbers and layouts are those of ``linux/videodev2.h`` on 64-bit machines. Each function is one ioctl, and raises
the kernel's `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
from collections.abc import Iterator
from ctypes import c_char, c_int32, c_long, c_uint8, c_uint32, c_ulong

BUF_TYPE_VIDEO_CAPTURE = 1
MEMORY_MMAP = 1
FIELD_NONE = 1
PRIV_MAGIC = 0xFEEDCAFE

CAP_VIDEO_CAPTURE = 0x00000001
CAP_STREAMING = 0x04000000
CAP_IO_MC = 0x20000000
CAP_DEVICE_CAPS = 0x80000000
CAP_TIMEPERFRAME = 0x1000

BUF_FLAG_ERROR = 0x0040
BUF_FLAG_TIMESTAMP_MASK = 0xE000
BUF_FLAG_TIMESTAMP_MONOTONIC = 0x2000

FMT_FLAG_EMULATED = 0x0002
TYPE_DISCRETE = 1
COLORSPACE_REC709 = 3
COLORSPACE_JPEG = 7
YCBCR_ENC_709 = 2
QUANTIZATION_FULL_RANGE = 1


class Capability(ctypes.Structure):
    _fields_ = (
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus_info", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_char * 32),
        ("pixelformat", c_uint32),
        ("mbus_code", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class FrameSize(ctypes.Structure):
    """``v4l2_frmsizeenum``. Of a discrete size, ``min_width`` is the width and ``max_width`` the height."""

    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("type", c_uint32),
        ("min_width", c_uint32),
        ("max_width", c_uint32),
        ("step_width", c_uint32),
        ("min_height", c_uint32),
        ("max_height", c_uint32),
        ("step_height", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class Fraction(ctypes.Structure):
    _fields_ = (("numerator", c_uint32), ("denominator", c_uint32))


class FrameInterval(ctypes.Structure):
    """``v4l2_frmivalenum``. Of a discrete interval, only ``min`` counts."""

    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("type", c_uint32),
        ("min", Fraction),
        ("max", Fraction),
        ("step", Fraction),
        ("reserved", c_uint32 * 2),
    )


class PixelFormat(ctypes.Structure):
    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("bytesperline", c_uint32),
        ("sizeimage", c_uint32),
        ("colorspace", c_uint32),
        ("priv", c_uint32),
        ("flags", c_uint32),
        ("ycbcr_enc", c_uint32),
        ("quantization", c_uint32),
        ("xfer_func", c_uint32),
    )


class _FormatUnion(ctypes.Union):
    _fields_ = (("pix", PixelFormat), ("raw", c_uint8 * 200), ("align", c_ulong))


class Format(ctypes.Structure):
    _fields_ = (("type", c_uint32), ("fmt", _FormatUnion))


class CaptureParameters(ctypes.Structure):
    _fields_ = (
        ("capability", c_uint32),
        ("capturemode", c_uint32),
        ("timeperframe", Fraction),
        ("extendedmode", c_uint32),
        ("readbuffers", c_uint32),
        ("reserved", c_uint32 * 4),
    )


class _ParametersUnion(ctypes.Union):
    _fields_ = (("capture", CaptureParameters), ("raw", c_uint8 * 200))


class StreamParameters(ctypes.Structure):
    _fields_ = (("type", c_uint32), ("parm", _ParametersUnion))


class RequestBuffers(ctypes.Structure):
    _fields_ = (
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("flags", c_uint8),
        ("reserved", c_uint8 * 3),
    )


class TimeVal(ctypes.Structure):
    _fields_ = (("sec", c_long), ("usec", c_long))


class _BufferMemory(ctypes.Union):
    _fields_ = (("offset", c_uint32), ("userptr", c_ulong), ("fd", c_int32))


class Buffer(ctypes.Structure):
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytesused", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("timestamp", TimeVal),
        ("timecode", c_uint8 * 16),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("m", _BufferMemory),
        ("length", c_uint32),
        ("reserved2", c_uint32),
        ("request_fd", c_int32),
    )


_WRITE, _READ = 1, 2


def _code(direction: int, number: int, argument: type[ctypes.Structure] | type[c_int32]) -> int:
    return direction << 30 | ctypes.sizeof(argument) << 16 | ord("V") << 8 | number


VIDIOC_QUERYCAP = _code(_READ, 0, Capability)
VIDIOC_ENUM_FMT = _code(_READ | _WRITE, 2, FormatDescription)
VIDIOC_S_FMT = _code(_READ | _WRITE, 5, Format)
VIDIOC_REQBUFS = _code(_READ | _WRITE, 8, RequestBuffers)
VIDIOC_QUERYBUF = _code(_READ | _WRITE, 9, Buffer)
VIDIOC_QBUF = _code(_READ | _WRITE, 15, Buffer)
VIDIOC_DQBUF = _code(_READ | _WRITE, 17, Buffer)
VIDIOC_STREAMON = _code(_WRITE, 18, c_int32)
VIDIOC_STREAMOFF = _code(_WRITE, 19, c_int32)
VIDIOC_G_PARM = _code(_READ | _WRITE, 21, StreamParameters)
VIDIOC_S_PARM = _code(_READ | _WRITE, 22, StreamParameters)
VIDIOC_ENUM_FRAMESIZES = _code(_READ | _WRITE, 74, FrameSize)
VIDIOC_ENUM_FRAMEINTERVALS = _code(_READ | _WRITE, 75, FrameInterval)


def fourcc(text: str) -> int:
    """Return the number of a pixel format such as ``YUYV``."""
    return int.from_bytes(text.encode("ascii"), "little")


def fourcc_name(code: int) -> str:
    return (code & 0x7FFFFFFF).to_bytes(4, "little").decode("ascii", "replace").strip()


def query_capability(fd: int) -> Capability:
    capability = Capability()
    fcntl.ioctl(fd, VIDIOC_QUERYCAP, capability)
    return capability


def enum_formats(fd: int) -> Iterator[FormatDescription]:
    for index in range(256):
        description = FormatDescription(index=index, type=BUF_TYPE_VIDEO_CAPTURE)
        if not _answers(fd, VIDIOC_ENUM_FMT, description):
            return
        yield description


def enum_frame_sizes(fd: int, pixel_format: int) -> Iterator[FrameSize]:
    for index in range(256):
        size = FrameSize(index=index, pixel_format=pixel_format)
        if not _answers(fd, VIDIOC_ENUM_FRAMESIZES, size):
            return
        yield size
        if size.type != TYPE_DISCRETE:
            return


def enum_frame_intervals(fd: int, pixel_format: int, width: int, height: int) -> Iterator[FrameInterval]:
    for index in range(256):
        interval = FrameInterval(index=index, pixel_format=pixel_format, width=width, height=height)
        if not _answers(fd, VIDIOC_ENUM_FRAMEINTERVALS, interval):
            return
        yield interval
        if interval.type != TYPE_DISCRETE:
            return


def set_format(fd: int, pixel_format: int, width: int, height: int) -> PixelFormat:
    """Ask for a format. Returns the one that the driver set, which may be another."""
    wanted = Format(type=BUF_TYPE_VIDEO_CAPTURE)
    pix = wanted.fmt.pix
    pix.width, pix.height, pix.pixelformat, pix.field, pix.priv = width, height, pixel_format, FIELD_NONE, PRIV_MAGIC
    fcntl.ioctl(fd, VIDIOC_S_FMT, wanted)
    return PixelFormat.from_buffer_copy(wanted.fmt.pix)


def set_interval(fd: int, numerator: int, denominator: int) -> tuple[int, int]:
    """Ask for the seconds between frames. Returns what the driver set, (0, 0) if unknown."""
    parameters = StreamParameters(type=BUF_TYPE_VIDEO_CAPTURE)
    if not _answers(fd, VIDIOC_G_PARM, parameters):
        return 0, 0
    capture = parameters.parm.capture
    if capture.capability & CAP_TIMEPERFRAME and numerator:
        capture.timeperframe.numerator, capture.timeperframe.denominator = numerator, denominator
        fcntl.ioctl(fd, VIDIOC_S_PARM, parameters)
    return capture.timeperframe.numerator, capture.timeperframe.denominator


def request_buffers(fd: int, count: int) -> int:
    request = RequestBuffers(count=count, type=BUF_TYPE_VIDEO_CAPTURE, memory=MEMORY_MMAP)
    fcntl.ioctl(fd, VIDIOC_REQBUFS, request)
    granted: int = request.count
    return granted


def query_buffer(fd: int, index: int) -> Buffer:
    buffer = _buffer(index)
    fcntl.ioctl(fd, VIDIOC_QUERYBUF, buffer)
    return buffer


def queue_buffer(fd: int, index: int) -> None:
    fcntl.ioctl(fd, VIDIOC_QBUF, _buffer(index))


def dequeue_buffer(fd: int) -> Buffer:
    """Return the oldest filled buffer. Raises `BlockingIOError` if there is none and the device doesn't block."""
    buffer = _buffer(0)
    fcntl.ioctl(fd, VIDIOC_DQBUF, buffer)
    return buffer


def stream_on(fd: int) -> None:
    fcntl.ioctl(fd, VIDIOC_STREAMON, c_int32(BUF_TYPE_VIDEO_CAPTURE))


def stream_off(fd: int) -> None:
    fcntl.ioctl(fd, VIDIOC_STREAMOFF, c_int32(BUF_TYPE_VIDEO_CAPTURE))


def _buffer(index: int) -> Buffer:
    return Buffer(index=index, type=BUF_TYPE_VIDEO_CAPTURE, memory=MEMORY_MMAP)


def _answers(fd: int, code: int, argument: ctypes.Structure) -> bool:
    """Call an ioctl; returns False at the end of a list, and if the driver doesn't know the call."""
    try:
        fcntl.ioctl(fd, code, argument)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
            return False
        raise
    return True

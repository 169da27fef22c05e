"""The pixel format, size and rate that a USB camera is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pi_capture.sources import Size
from pi_capture.sources.v4l2 import ioctl as v4l2

DEFAULT_FPS = 30.0

PIXEL_FORMATS = {
    v4l2.fourcc("YUYV"): "yuyv422",
    v4l2.fourcc("UYVY"): "uyvy422",
    v4l2.fourcc("NV12"): "nv12",
    v4l2.fourcc("NV21"): "nv21",
    v4l2.fourcc("YU12"): "yuv420p",
    v4l2.fourcc("RGB3"): "rgb24",
    v4l2.fourcc("BGR3"): "bgr24",
    v4l2.fourcc("MJPG"): "mjpeg",
    v4l2.fourcc("JPEG"): "mjpeg",
    v4l2.fourcc("GREY"): "gray",
}
"""The formats that can be read, by FFmpeg's names; earlier ones are preferred."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A pixel format and size that a camera offers, and the seconds a frame takes; none if unknown."""

    pixel_format: int
    size: Size
    intervals: tuple[Fraction, ...]


def choose_mode(modes: Sequence[Mode], size: Size | None, fps: float | None) -> Mode:
    """Return the mode to record in.

    First come those that cover the wanted size, then those that reach the wanted rate (30 if none is given), then the
    smallest; without a wanted size, and where none covers it, the largest. Between formats, `PIXEL_FORMATS` decides.
    """
    wanted_fps = fps or DEFAULT_FPS
    preference = list(PIXEL_FORMATS)

    def rank(mode: Mode) -> tuple[bool, float, int, int]:
        width, height = mode.size
        covers = size is not None and width >= size[0] and height >= size[1]
        fastest = float(1 / min(mode.intervals)) if mode.intervals else wanted_fps
        lacking = max(0.0, 1 - fastest / wanted_fps)
        area = width * height
        return (
            not covers,
            lacking if lacking > 0.05 else 0.0,  # 29.97 is as good as 30
            area if covers else -area,
            preference.index(mode.pixel_format),
        )

    return min(modes, key=rank)


def choose_interval(intervals: Sequence[Fraction], fps: float | None) -> Fraction:
    """Return the seconds a frame shall take: of the slowest rate that reaches the wanted one, else the fastest; 0: any.

    Without a wanted rate, of the fastest that isn't above 30.
    """
    if not intervals:
        return 1 / Fraction(fps).limit_denominator(1000) if fps else Fraction(0)
    if fps is None:
        slow_enough = [interval for interval in intervals if interval >= Fraction(0.95 / DEFAULT_FPS)]
        return min(slow_enough) if slow_enough else max(intervals)
    fast_enough = [interval for interval in intervals if interval <= Fraction(1.05 / fps)]
    return max(fast_enough) if fast_enough else min(intervals)


def offered(fd: int, wanted: Size | None, fps: float) -> Iterator[Mode]:
    for description in v4l2.enum_formats(fd):
        code = description.pixelformat
        if code not in PIXEL_FORMATS or description.flags & v4l2.FMT_FLAG_EMULATED:
            continue
        for size in _sizes(fd, code, wanted):
            yield Mode(code, size, tuple(_intervals(fd, code, size, fps)))


def _sizes(fd: int, code: int, wanted: Size | None) -> Iterator[Size]:
    found = False
    for offer in v4l2.enum_frame_sizes(fd, code):
        found = True
        if offer.type == v4l2.TYPE_DISCRETE:
            yield offer.min_width, offer.max_width  # the union's first two numbers
            continue
        yield offer.max_width, offer.max_height
        if wanted is not None:
            yield (
                _step_up(wanted[0], offer.min_width, offer.max_width, offer.step_width),
                _step_up(wanted[1], offer.min_height, offer.max_height, offer.step_height),
            )
    if not found:  # the driver lists no sizes
        yield wanted or (1920, 1080)


def _step_up(wanted: int, least: int, most: int, step: int) -> int:
    step = max(step, 1)
    return min(most, least + -(-max(0, wanted - least) // step) * step)


def _intervals(fd: int, code: int, size: Size, fps: float) -> Iterator[Fraction]:
    wanted = 1 / Fraction(fps).limit_denominator(1000)
    for offer in v4l2.enum_frame_intervals(fd, code, *size):
        least, most = (Fraction(end.numerator, end.denominator or 1) for end in (offer.min, offer.max))
        if least > 0:
            yield least
        if offer.type != v4l2.TYPE_DISCRETE:
            yield from (interval for interval in (wanted, most) if least <= interval <= most)

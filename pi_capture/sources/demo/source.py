"""A drawn room as a camera: a figure performs the gestures of the five classes.

Frames come at a camera's times, and are lost if they are not read in time. Each has its true class. For what happens in
the room see `pi_capture.sources.demo.play`, for how it looks `pi_capture.sources.demo.scene`.
"""

from __future__ import annotations

import math
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from pi_capture.errors import UsageError
from pi_capture.sources import Size, SourceInfo
from pi_capture.sources.demo.play import CLASSES
from storage.frame import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pi_capture.sources.demo.scene import Room

SIZE = (640, 480)
SMALLEST_SIDE = 16
FPS = 30.0
FPS_RANGE = (0.01, 10_000.0)
PICTURES_PER_SECOND = 120  # a faster camera sees each picture several times, each time with other noise
BUFFERED_SECONDS = 0.15  # what a camera's few buffers hold; a slow camera holds one frame


def open(address: str, size: Size | None = None, fps: float | None = None) -> DemoSource:
    """Open the drawn room.

    Parameters
    ----------
    address : str
        The seed, a whole number; "" is 0. The same seed shows the same frames.
    size : (int, int) or None
        Width and height of the frames, in pixels, each 16 or more; None for 640x480.
    fps : float or None
        Frames per second, 0.01 to 10000; None for 30.

    Raises
    ------
    UsageError
        The seed is no whole number, or no picture has that size or that rate.
    """
    try:
        seed = int(address or "0")
    except ValueError:
        raise UsageError(f"demo:{address[:20]}: the seed must be a whole number, as in demo:7") from None
    width, height = size or SIZE
    if min(width, height) < SMALLEST_SIDE:
        raise UsageError(f"demo: {width}x{height} is too small; at least {SMALLEST_SIDE}x{SMALLEST_SIDE} is drawn")
    rate = FPS if fps is None else float(fps)
    slowest, fastest = FPS_RANGE
    if not slowest <= rate <= fastest:
        raise UsageError(f"demo: {fps} frames per second can't be; give {slowest:g} to {fastest:g}")
    return DemoSource(seed, (width, height), rate)


def draw(seed: int, number: int, fps: float, size: Size) -> tuple[NDArray[np.uint8], int]:
    """Draw any frame: frame `number` shows the room at scene time ``number / fps`` seconds.

    Parameters
    ----------
    seed : int
        Of the room.
    number : int
        0, 1, 2 …
    fps : float
        Frames per second. Above 120, each picture is shown for several frames, with the noise of each.
    size : (int, int)
        Width and height in pixels.

    Returns
    -------
    ndarray, shape (height, width, 3), uint8
        Red, green, blue; C-contiguous; its own memory.
    int
        The true class: 0 none, 1 door, 2 light, 3 music, 4 stop. It changes when a gesture is half formed, or half
        dissolved; each takes 0.3 s.

    Examples
    --------
    >>> pixels, label = draw(seed=0, number=0, fps=30, size=(128, 96))
    >>> pixels.shape, label
    ((96, 128, 3), 0)
    """
    room = _room(seed, size)
    picture, label = room.picture(_picture_of(number, fps) / fps)
    return room.with_noise(picture, number), label


@lru_cache(maxsize=2)
def _room(seed: int, size: Size) -> Room:
    from pi_capture.sources.demo.scene import Room

    return Room(seed, size)


def _picture_of(number: int, fps: float) -> int:
    """Return the first frame that shows the same picture as this one."""
    return number - number % math.ceil(fps / PICTURES_PER_SECOND)


class DemoSource:
    """The drawn room as a live camera; an iterator over the frames from the moment the first is asked for.

    Frame n is taken exactly n / fps after the first, and delivered no earlier. If it is asked for more than a period
    (and more than 0.15 s) late, the newest comes instead, and its ``dropped_camera`` counts the lost ones.
    """

    def __init__(self, seed: int, size: Size, fps: float) -> None:
        self._fps = fps
        self._room = _room(seed, size)
        self._patience = max(1, math.floor(BUFFERED_SECONDS * fps + 1e-6))
        self._closed = threading.Event()
        self._start_ns: int | None = None
        self._number = self._delivered = 0
        self._drawn: tuple[int, NDArray[np.uint8], int] | None = None
        self.info = SourceInfo(
            camera=f"demo:{seed}",
            model="drawn room",
            size=size,
            fps=fps,
            live=True,
            details={"classes": list(CLASSES)},
        )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        if self._start_ns is None:
            self._take(0)  # the first picture takes longest, and a camera that is switched on loses no frames
            self._start_ns = time.monotonic_ns()
        newest = math.floor((time.monotonic_ns() - self._start_ns) * self._fps / 1e9)
        late = newest - self._number
        dropped = late if late >= self._patience else 0
        number = self._number + dropped
        taken_ns = self._start_ns + round(number * 1e9 / self._fps)
        pixels, label = self._take(number)
        while not self._closed.is_set() and (early_ns := taken_ns - time.monotonic_ns()) > 0:
            self._closed.wait(early_ns / 1e9)
        if self._closed.is_set():
            raise StopIteration
        metadata: dict[str, Any] = {"label": label}
        if dropped:
            metadata["dropped_camera"] = dropped
        frame = Frame(pixels, self._delivered, taken_ns, metadata)
        self._number, self._delivered = number + 1, self._delivered + 1
        return frame

    def _take(self, number: int) -> tuple[NDArray[np.uint8], int]:
        """The frame as `draw` has it; a picture that is shown for several frames is drawn once."""
        first = _picture_of(number, self._fps)
        if self._drawn is None or self._drawn[0] != first:
            self._drawn = (first, *self._room.picture(first / self._fps))
        _, picture, label = self._drawn
        return self._room.with_noise(picture, number), label

    def close(self) -> None:
        self._closed.set()

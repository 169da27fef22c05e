"""Pictures that are ready before they are needed: a thread decodes ahead of the cursor, and examines frames when idle.

Only that thread reads the recording. A bounded number of pictures is kept.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise, zip_longest
from typing import TYPE_CHECKING

from classify.changes import BLOCK, Changes, reach, signature
from storage.frame import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT_BYTES = 64_000_000
LARGEST_SIDE = 1280  # of a kept picture
AHEAD = 24  # frames decoded in the direction of travel
QUIET_SECONDS = 0.015  # after a frame is looked at, no changes are looked for: it is being drawn
TIMES_AT_ONCE = 32
AROUND = 4  # frames shown small on either side
SLOWEST, FASTEST, ASSUMED = 1.0, 60.0, 10.0  # frames a second


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of a frame.

    Attributes
    ----------
    pixels : ndarray, shape (height, width, 3), uint8, RGB, or None
        None if it is unreadable.
    error : str
        Why it is unreadable, with the file.
    """

    pixels: NDArray[np.uint8] | None
    error: str = ""


class Pictures:
    """The pictures of frames 0 to `count` - 1.

    Parameters
    ----------
    count : int
    read : callable
        Gives a frame, or raises StorageError, OSError or ValueError. Called from one thread only, not the caller's.
    start : int
        Where looking begins.
    times : iterable of int
        When each frame is shown, in nanoseconds; advanced by that thread.
    kept_bytes : int
        What the kept pictures may take.

    Attributes
    ----------
    changes : Changes
        What is known so far.
    times : list of int
        When the frames are shown, from the first one on, as far as it is known so far.
    knows_times : bool
        Whether nothing more will come to `times`.
    arrivals : int
        Grows with every picture, block of changes and time of the frame looked at that becomes known.
    """

    def __init__(
        self,
        count: int,
        read: Callable[[int], Frame],
        start: int = 0,
        times: Iterable[int] = (),
        *,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._count = count
        self._read = read
        self._most_bytes = kept_bytes
        self.changes = Changes(count)
        self.times: list[int] = []
        self.knows_times = False
        self._more_times = iter(times)
        self.arrivals = 0
        self._kept: OrderedDict[int, Picture] = OrderedDict()
        self._kept_bytes = 0
        self._picture_bytes = 1
        self._wanted: list[int] = []
        self._cursor = start
        self._unreadable: list[int] = []
        self._interval_ns: list[int] = []
        self._quiet_until = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self.look_at(start)
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    def get(self, position: int) -> Picture:
        """The picture of a frame; waits until it is decoded."""
        with self._changed:
            while (picture := self._kept.get(position)) is None:
                self._wanted.insert(0, position)
                self._changed.notify_all()
                self._changed.wait()
            self._kept.move_to_end(position)
            return picture

    def peek(self, position: int) -> Picture | None:
        """The picture of a frame if it is there already."""
        return self._kept.get(position)

    def look_at(self, cursor: int, step: int = 1, beside: Iterable[int] = ()) -> None:
        """Make ready what is seen at a frame, and what comes when it is left in steps of `step` frames.

        `beside` are other frames that are seen with it, in place of those on either side.
        """
        room = max(4, self._most_bytes // self._picture_bytes)
        ahead = [cursor + step * n for n in range(1, AHEAD + 1)]
        around = list(beside) or [cursor + by * way for by in range(1, AROUND + 1) for way in (1, -1)]
        wanted = [cursor, *ahead[:2], *around, *ahead[2:]]
        with self._changed:
            self._cursor = cursor
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            wanted = [n for n in dict.fromkeys(wanted) if 0 <= n < self._count][:room]
            for n in reversed(wanted):
                if n in self._kept:
                    self._kept.move_to_end(n)  # so that these go last
            self._wanted = [n for n in wanted if n not in self._kept]
            self._changed.notify_all()

    def take_unreadable(self) -> list[int]:
        """The frames that were found to be unreadable since the last call."""
        with self._changed:
            found, self._unreadable = self._unreadable, []
        return found

    @property
    def fps(self) -> float:
        """Frames per second, as far as the frames' times tell."""
        intervals = self._interval_ns[:256]
        between = statistics.median(intervals) if intervals else 0
        return min(FASTEST, max(SLOWEST, 1e9 / between)) if between > 0 else ASSUMED

    def close(self) -> None:
        """End the thread; nothing is read any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    # ------------------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        learn = zip_longest(self._learn_times(), self._examine())
        while True:
            with self._changed:
                if self._closed:
                    return
                position = self._wanted.pop(0) if self._wanted else None
                if position is None and (quiet := self._quiet_until - time.monotonic()) > 0:
                    self._changed.wait(quiet)
                    continue
            if position is not None:
                if position not in self._kept:
                    self._load(position)
            elif next(learn, None) is None:
                with self._changed:
                    if not self._wanted and not self._closed:
                        self._changed.wait()

    def _learn_times(self) -> Iterator[int]:
        """Learn when frames are shown, some at a time."""
        while not self.knows_times:
            known = len(self.times)
            try:
                self.times += islice(self._more_times, TIMES_AT_ONCE)
            except Exception:  # as in `_load`: then no more are known
                self._more_times = iter(())
            self.knows_times = len(self.times) < known + TIMES_AT_ONCE
            if self.knows_times or known <= self._cursor < len(self.times):
                self.arrivals += 1
            yield known

    def _load(self, position: int) -> tuple[Picture, Frame | None]:
        frame: Frame | None = None
        try:
            frame = self._read(position)
            picture = Picture(_fit(frame.pixels))
        except OSError as error:
            picture = Picture(None, f"{error.filename}: {error.strerror}")
        # A library may raise anything, and the window would wait for ever without this thread.
        except Exception as error:
            picture = Picture(None, str(error) or type(error).__name__)
        with self._changed:
            self._keep(position, picture)
            if picture.pixels is None:
                self._unreadable.append(position)
            self._changed.notify_all()
        return picture, frame

    def _keep(self, position: int, picture: Picture) -> None:
        if position in self._kept:
            return
        self._kept[position] = picture
        self._kept_bytes += _size(picture)
        self._picture_bytes = max(self._picture_bytes, _size(picture))
        self.arrivals += 1
        while self._kept_bytes > self._most_bytes and len(self._kept) > 1:
            oldest = next(iter(self._kept))
            self._kept_bytes -= _size(self._kept.pop(oldest))

    def _examine(self) -> Iterator[int]:
        """Examine block after block, beginning at the cursor, a frame at a time."""
        while (block := self._next_block()) is not None:
            signatures: list[NDArray[np.float32]] = []
            unreadable: list[int] = []
            times: list[int] = []
            for position in reach(block, self._count):
                try:
                    frame = self._read(position)
                    signatures.append(signature(frame.pixels))
                    times.append(frame.timestamp_ns)
                except Exception:  # as in `_load`
                    unreadable.append(position)
                    signatures.append(signatures[-1] if signatures else signature(_black()))
                yield position
            with self._changed:
                self.changes.add(block, signatures)
                self._unreadable += unreadable
                if len(self._interval_ns) < 256:
                    self._interval_ns += [after - before for before, after in pairwise(times)]
                self.arrivals += 1
                self._changed.notify_all()

    def _next_block(self) -> int | None:
        """The first block that has not been examined: where the cursor is, after it, and then before it."""
        at = self.changes.known_until(min(self._cursor, self._count - 1)) // BLOCK
        if at < self.changes.blocks and not self.changes.is_known(at):
            return at
        return next((n for n in range(self.changes.blocks) if not self.changes.is_known(n)), None)


def _fit(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture no larger than a window can show."""
    height, width, _ = pixels.shape
    if max(height, width) <= LARGEST_SIDE:
        return pixels
    import numpy as np
    from PIL import Image

    scale = LARGEST_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX), np.uint8)


def _size(picture: Picture) -> int:
    return 0 if picture.pixels is None else picture.pixels.nbytes


def _black() -> NDArray[np.uint8]:
    import numpy as np

    return np.zeros((1, 1, 3), np.uint8)

"""Keep only frames with motion, and some before and after.

Motion is the difference of a small grey picture to the average of the last ones. A change of light changes the whole
picture alike, and does not count as motion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pi_capture.errors import UsageError
from storage.frame import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALL_SIDE = 64  # pixels of the small picture's longer side, at least
NOTICEABLE = (12.0, 40.0)  # grey levels of 255: in a picture without noise, and in one of nothing but noise
NOISE = 5.0  # times the standard deviation of the noise is noticeable
DEVIATION = 1.4826  # a normal distribution's standard deviation, from the median of what it strays
LEARNING = 0.08  # of each picture goes into the usual one
PRE_ROLL_BYTES = 64_000_000  # what the pre-roll may hold, however long it was asked to be
COUNTED = ("dropped_camera", "not_kept")


@dataclass(frozen=True, slots=True)
class MotionWish:
    """What counts as motion, and how much around it is kept."""

    threshold: float = 1.0  # percent of the small picture that must have changed
    pre_roll: float = 2.0  # seconds kept before motion begins
    post_roll: float = 5.0  # seconds kept after it was last seen

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 100:
            raise UsageError(
                f"--on-motion {self.threshold:g}: give the percent of the picture that must change, as in 1"
            )
        if self.pre_roll < 0 or self.post_roll < 0:
            raise UsageError("--pre-roll and --post-roll are seconds, 0 or more")


class Motion:
    """Picks the frames to keep.

    Frames that are not kept are counted in the next one that is: ``not_kept`` in its metadata, beside ``gap_ns``, the
    time since the last one kept, and ``gap``, if the camera was gone meanwhile.

    Attributes
    ----------
    not_kept : int
        How many frames were not kept so far, those in the pre-roll included.
    """

    def __init__(self, wish: MotionWish) -> None:
        self._wish = wish
        self._usual: NDArray[np.float32] | None = None
        self._before: deque[Frame] = deque()
        self._gone = dict.fromkeys(COUNTED, 0)  # since the last frame that was kept
        self._gap: str | None = None  # why the camera was gone before one of those
        self._keep_until_ns: int | None = None
        self._last_kept_ns: int | None = None
        self.not_kept = 0

    def pick(self, frame: Frame) -> Iterator[Frame]:
        """Yield the frames to keep now that this one came, oldest first: none, this one, or more."""
        if self.changed_percent(frame.pixels) >= self._wish.threshold:
            self._keep_until_ns = frame.timestamp_ns + round(self._wish.post_roll * 1e9)
        self._before.append(frame)
        self.not_kept += 1
        self._forget(frame)
        if self._keep_until_ns is not None and frame.timestamp_ns <= self._keep_until_ns:
            while self._before:
                self.not_kept -= 1
                yield self._with_gap(self._before.popleft())

    def changed_percent(self, pixels: NDArray[np.uint8]) -> float:
        """Return how much of the picture differs from the average, and add the picture to the average."""
        import numpy as np

        small = small_grey(pixels)
        if self._usual is None or self._usual.shape != small.shape:
            self._usual = small
            return 0.0
        difference = small - self._usual
        self._usual += LEARNING * difference
        strays = np.abs(difference - np.median(difference))
        noticeable = np.clip(NOISE * DEVIATION * np.median(strays), *NOTICEABLE)
        return float(np.mean(strays > noticeable) * 100)

    def _forget(self, newest: Frame) -> None:
        """Drop frames that are too old for the pre-roll, or too many."""
        oldest_ns = newest.timestamp_ns - round(self._wish.pre_roll * 1e9)
        most = max(1, PRE_ROLL_BYTES // newest.pixels.nbytes)
        while self._before and (self._before[0].timestamp_ns < oldest_ns or len(self._before) > most):
            gone = self._before.popleft()
            self._gone["not_kept"] += 1
            self._gone["dropped_camera"] += gone.metadata.get("dropped_camera", 0)
            self._gap = gone.metadata.get("gap", self._gap)

    def _with_gap(self, frame: Frame) -> Frame:
        metadata: dict[str, Any] = dict(frame.metadata)
        if self._gone["not_kept"]:
            for name, count in self._gone.items():
                if count:
                    metadata[name] = metadata.get(name, 0) + count
            if self._last_kept_ns is not None:
                metadata["gap_ns"] = frame.timestamp_ns - self._last_kept_ns
            if self._gap is not None:
                metadata.setdefault("gap", self._gap)
            self._gone, self._gap = dict.fromkeys(COUNTED, 0), None
            frame = replace(frame, metadata=metadata)
        self._last_kept_ns = frame.timestamp_ns
        return frame


def small_grey(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a small picture of the green, the brightest part: each pixel the average of a block."""
    import numpy as np

    height, width, _ = pixels.shape
    side = max(1, max(height, width) // SMALL_SIDE)
    rows, columns = height // side, width // side
    blocks = pixels[: rows * side, : columns * side, 1].reshape(rows, side, columns, side)
    small: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return small

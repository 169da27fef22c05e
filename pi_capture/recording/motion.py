"""Motion: the difference of a small grey picture to the average of the last ones.

A change of light changes the whole picture alike, and does not count as motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pi_capture.errors import UsageError
from pi_capture.recording.around import Around, check_rolls
from storage.frame import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALL_SIDE = 64  # pixels of the small picture's longer side, at least
NOTICEABLE = (12.0, 40.0)  # grey levels of 255: in a picture without noise, and in one of nothing but noise
NOISE = 5.0  # times the standard deviation of the noise is noticeable
DEVIATION = 1.4826  # a normal distribution's standard deviation, from the median of what it strays
LEARNING = 0.08  # of each picture goes into the usual one


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
        check_rolls(self.pre_roll, self.post_roll)


class Motion(Around):
    """Picks the frames with motion, and some around them."""

    def __init__(self, wish: MotionWish) -> None:
        super().__init__(self._moves, wish.pre_roll, wish.post_roll)
        self._threshold = wish.threshold
        self._usual: NDArray[np.float32] | None = None

    def _moves(self, frame: Frame) -> bool:
        return self.changed_percent(frame.pixels) >= self._threshold

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


def small_grey(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a small picture of the green, the brightest part: each pixel the average of a block."""
    import numpy as np

    height, width, _ = pixels.shape
    side = max(1, max(height, width) // SMALL_SIDE)
    rows, columns = height // side, width // side
    blocks = pixels[: rows * side, : columns * side, 1].reshape(rows, side, columns, side)
    small: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return small

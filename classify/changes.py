"""Where frames visibly change, by small signatures of them.

A change is a frame that differs from those before it more than its surroundings do: a gesture begins, a door is open.
A change of light all over the picture does not count: exposure and white balance may vary from frame to frame.
`classify.pictures` reads the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 128
"""Frames are examined in blocks of so many."""
SIDE = 8  # of a signature, in cells
STEP = 2  # frames on either side that are compared
APART = 3  # of two changes nearer than this, the stronger counts
STRONGEST_CELLS = 4  # of SIDE * SIDE: what moves is often small
FACTOR = 1.5  # a change is so many times stronger than the median of its block
FAINTEST = 0.04  # of the picture's contrast

UNKNOWN = -1


def signature(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a small picture of a picture, the same for any brightness, contrast and colour of the light.

    Parameters
    ----------
    pixels : ndarray, shape (height, width, 3), uint8, RGB

    Returns
    -------
    ndarray, shape (SIDE, SIDE, 3), float32
        Mean 0 and standard deviation about 1 in each colour.
    """
    import numpy as np
    from PIL import Image

    small = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    mean, deviation = small.mean((0, 1)), small.std((0, 1))
    return np.asarray((small - mean) / (deviation + 4), np.float32)


def reach(block: int, count: int) -> range:
    """The frames whose signatures a block needs: its own and some on either side."""
    margin = APART + STEP
    return range(max(0, block * BLOCK - margin), min(count, (block + 1) * BLOCK + margin))


class Changes:
    """The changes found so far among `count` frames.

    Attributes
    ----------
    scores : ndarray, shape (count,), float32
        How much each frame differs from those before it, as a share of the picture's contrast; 0 where not known yet.
    """

    def __init__(self, count: int) -> None:
        import numpy as np

        self.count = count
        self.scores = np.zeros(count, np.float32)
        self._found: list[list[int] | None] = [None] * -(-count // BLOCK)

    @property
    def blocks(self) -> int:
        return len(self._found)

    def is_known(self, block: int) -> bool:
        return self._found[block] is not None

    def known_until(self, position: int) -> int:
        """The first frame from a position on that has not been examined yet; `count` if all have."""
        block = position // BLOCK
        while block < len(self._found) and self._found[block] is not None:
            block += 1
        return max(position, min(self.count, block * BLOCK))

    def add(self, block: int, signatures: Sequence[NDArray[np.float32]]) -> None:
        """Take the signatures of the frames in `reach` of a block."""
        import numpy as np

        frames = reach(block, self.count)
        first, stop = block * BLOCK, min((block + 1) * BLOCK, self.count)
        stack = np.stack(signatures)
        scores = np.zeros(len(frames), np.float32)
        for n in range(1, len(frames)):
            step = stack[n : n + STEP].mean(0) - stack[max(0, n - STEP) : n].mean(0)
            cells = np.sqrt((step * step).mean(-1)).ravel()
            scores[n] = np.partition(cells, -STRONGEST_CELLS)[-STRONGEST_CELLS:].mean()
        if frames[0] > 0:
            scores[0] = scores[1]  # there is nothing before it to compare with
        own = scores[first - frames[0] : stop - frames[0]]
        least = max(FAINTEST, FACTOR * float(np.median(own)))
        self.scores[first:stop] = own
        self._found[block] = [
            first + n
            for n, score in enumerate(own)
            if score > least and score == scores[max(0, first + n - frames[0] - APART) :][: 2 * APART + 1].max()
        ]

    def after(self, position: int) -> int:
        """The next change after a frame; `count` if there is none; `UNKNOWN` if that is not known yet."""
        for block in range(position // BLOCK, len(self._found)):
            found = self._found[block]
            if found is None:
                return UNKNOWN
            for change in found:
                if change > position:
                    return change
        return self.count

    def before(self, position: int) -> int:
        """The last change before a frame; 0 if there is none; `UNKNOWN` if that is not known yet."""
        for block in range(min(position, self.count - 1) // BLOCK, -1, -1):
            found = self._found[block]
            if found is None:
                return UNKNOWN
            for change in reversed(found):
                if change < position:
                    return change
        return 0

    def between(self, first: int, stop: int) -> list[int]:
        """The changes known in a stretch."""
        blocks = self._found[max(0, first) // BLOCK : -(-stop // BLOCK)]
        return [change for found in blocks for change in found or () if first <= change < stop]

    def strongest(self, first: int, stop: int) -> int:
        """The frame of a stretch that differs most from those before it."""
        import numpy as np

        return first + int(np.argmax(self.scores[first:stop])) if first < stop else first

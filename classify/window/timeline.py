"""The labels of many frames as rows of coloured columns: the whole recording, and the frames about the cursor."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from classify.session import NONE
from classify.window.canvas import Box, Canvas, Colour
from storage.learn.proposals import Proposal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASS_COLOURS: tuple[Colour, ...] = (
    (134, 146, 166),
    (80, 156, 245),
    (245, 182, 66),
    (66, 190, 130),
    (229, 107, 65),
    (139, 111, 184),
    (45, 255, 181),
    (189, 81, 123),
    (135, 108, 78),
)
"""Colours that people tell apart who see no red, no green or no blue; the test measures how well."""
FOREIGN = (210, 212, 218)
UNLABELLED = (40, 44, 54)
UNREADABLE = (120, 28, 40)
CURSOR = (255, 255, 255)
CURVE = (72, 79, 95)
TICK = (150, 158, 176)
LANE = 5  # pixels: the height of what is proposed
PITCH = 5  # pixels of a frame in the row about the cursor


def label_colour(label: int) -> Colour:
    """Return the colour of a label, `NONE` included."""
    if label == NONE:
        return UNLABELLED
    return CLASS_COLOURS[label] if label < len(CLASS_COLOURS) else FOREIGN


@cache
def palette() -> NDArray[np.uint8]:
    """Return the colours of all labels, shape (256, 3)."""
    import numpy as np

    return np.array([label_colour(label) for label in range(256)], np.uint8)


@dataclass(frozen=True, slots=True)
class Near:
    """The labels of all frames, and what is known of those about the cursor.

    Attributes
    ----------
    cursor : int
    labels : bytearray
        The label of each frame.
    unreadable, changes : list of int
        Positions of unreadable frames, and of visible changes, ascending.
    scores : ndarray, shape (frames,), float32
        How much each frame differs from those before it.
    """

    cursor: int
    labels: bytearray
    unreadable: list[int]
    changes: list[int]
    scores: NDArray[np.float32]


class WholeTimeline:
    """All labels in one row. What it drew last is kept, as most keys change little."""

    def __init__(self) -> None:
        self._key: tuple[int, int, int, int] | None = None
        self._columns: NDArray[np.uint8] | None = None

    def draw(self, canvas: Canvas, box: Box, near: Near, revision: int, zoom: int = 1) -> None:
        """Draw into a box. `revision` changes whenever the labels do."""
        x, y, width, height = box
        count, cursor = len(near.labels), near.cursor
        first, stop = zoomed_stretch(cursor, count, zoom)
        key = (revision, width, first, stop)
        if self._columns is None or self._key != key:
            self._key, self._columns = key, palette()[_in_columns(near.labels[first:stop], width)]
        canvas.paste(x, y, self._columns[None].repeat(height, 0))
        if zoom > 1:  # which part of the recording it is
            begins, ends = x + first * width // count, x + stop * width // count
            canvas.fill((x, y + height + 2, width, 2), UNLABELLED)
            canvas.fill((begins, y + height + 2, max(3, ends - begins), 2), TICK)
        at = x + min(width - 1, (cursor - first) * width // max(1, stop - first))
        canvas.fill((at - 2, y - 3, 5, height + 6), (0, 0, 0))
        canvas.fill((at - 1, y - 2, 3, height + 4), CURSOR)


def zoomed_stretch(cursor: int, count: int, zoom: int) -> tuple[int, int]:
    """Return the frames that the long timeline shows: all, or a part that moves on when the cursor nears its end."""
    shown = -(-count // zoom)
    step = max(1, shown // 2)
    first = max(0, min(cursor // step * step - step // 2, count - shown))
    return first, first + shown


def _in_columns(labels: bytearray, width: int) -> NDArray[np.uint8]:
    """Return the commonest label of each of `width` equal parts."""
    import numpy as np

    values = np.frombuffer(bytes(labels), np.uint8)
    if len(values) <= width:
        return values[np.arange(width) * len(values) // width]
    counts = np.bincount(_first_bins(len(values), width) + values, minlength=width * 256).reshape(width, 256)
    return np.asarray(counts.argmax(1), np.uint8)


@lru_cache(maxsize=1)
def _first_bins(count: int, width: int) -> NDArray[np.intp]:
    """Return for each frame the first of the 256 counters of its column."""
    import numpy as np

    return np.arange(count, dtype=np.intp) * width // count * 256


def draw_near(canvas: Canvas, box: Box, near: Near) -> None:
    """Draw the frames about the cursor, which is in the middle, by the colours of their labels; above them, changes."""
    import numpy as np

    x, y, width, height = box
    labels, cursor, pitch = near.labels, near.cursor, PITCH
    first, stop = near_stretch(width, cursor, len(labels))
    if first >= stop:
        return
    curve = height * 2 // 5
    left = near_left(x, width, cursor, first)
    values = np.frombuffer(bytes(labels[first:stop]), np.uint8)
    colours = palette()[values]
    colours[[position - first for position in _within(near.unreadable, first, stop)]] = UNREADABLE
    columns = colours.repeat(pitch, 0)
    columns[pitch - 1 :: pitch] = columns[pitch - 1 :: pitch] // 2
    canvas.paste(left, y + curve + 2, columns[None].repeat(height - curve - 2, 0))
    shown = near.scores[first:stop]
    heights = np.minimum(curve, shown / max(1e-6, float(np.max(shown, initial=0.0))) * curve).astype(int).tolist()
    for n, tall in enumerate(heights):
        canvas.fill((left + n * pitch, y + curve - tall, pitch - 1, tall), CURVE)
    for position in _within(near.changes, first, stop):
        tall = heights[position - first]
        canvas.fill((left + (position - first) * pitch, y + curve - tall, pitch - 1, tall), TICK)
    at = left + (cursor - first) * pitch
    canvas.frame((at - 2, y + curve, pitch + 3, height - curve + 2), CURSOR, 2)


def draw_proposals(canvas: Canvas, box: Box, near: Near, proposals: Sequence[Proposal], zoom: int = 1) -> None:
    """Draw a second lane over the long timeline: what is proposed where no label is, fainter if less certain."""
    x, y, width, _ = box
    first, stop = zoomed_stretch(near.cursor, len(near.labels), zoom)
    scale = width / max(1, stop - first)
    for run in proposals:
        begins, ends = max(run.start, first), min(run.stop, stop)
        if begins < ends and near.labels.find(NONE, begins, ends) >= 0:
            left = x + int((begins - first) * scale)
            canvas.fill((left, y - LANE - 3, max(1, int((ends - begins) * scale)), LANE), _faded(run))


def _faded(run: Proposal) -> Colour:
    red, green, blue = (
        round(run.certainty * colour + (1 - run.certainty) * ground)
        for colour, ground in zip(label_colour(run.label), UNLABELLED, strict=True)
    )
    return red, green, blue


def _within(positions: list[int], first: int, stop: int) -> list[int]:
    return positions[bisect_left(positions, first) : bisect_left(positions, stop)]


def near_stretch(width: int, cursor: int, count: int) -> tuple[int, int]:
    """Return the frames that `draw_near` shows."""
    half = width // PITCH // 2
    return max(0, cursor - half), min(count, cursor + half)


def near_left(x: int, width: int, cursor: int, first: int) -> int:
    """Return where `draw_near` puts its first frame."""
    return x + width // 2 - PITCH // 2 - (cursor - first) * PITCH

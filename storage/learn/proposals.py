"""What a model proposes to a person who labels: runs of frames, which of them may go unseen, and labels it doubts.

People accept wrong proposals where correcting is work. So nothing is taken unseen before the model has earned it: see
`Gate`. Labels are arrays of class numbers here; `NONE` stands for none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from storage.labels.history import NONE
from storage.learn.smoothing import smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]

CHANGES = 0.01  # how likely another class begins at a frame, while a person looks at every run
SURE = 0.95
LIKELY = 0.85  # a run that is less certain is looked at piece by piece
STEADY = 0.1  # of a run's frames may be less certain than the run is said to be
APART = 5  # frames of one run that are learnt from; those between are near copies of them
UNCLEAR = 2  # frames on either side of a border that are not learnt from
LAST, RIGHT = 15, 14  # so many of the last proposals shown must have been right
SHOWN_OF_SURE = 5  # one of so many sure runs is shown all the same


@dataclass(frozen=True, slots=True)
class Proposal:
    """Frames from `start` up to, but without, `stop` that have one class, as far as the model knows.

    Attributes
    ----------
    start, stop : int
    label : int
    certainty : float
        Of nine tenths of its frames at least.
    """

    start: int
    stop: int
    label: int
    certainty: float

    @property
    def is_sure(self) -> bool:
        return self.certainty >= SURE

    @property
    def is_likely(self) -> bool:
        return self.certainty >= LIKELY


def propose(certainties: Floats, labels: NDArray[np.uint8]) -> list[Proposal]:
    """Runs for all frames without a label, in the order of time. Labels that are known are believed.

    Parameters
    ----------
    certainties : ndarray, shape (N, C), float32
        Of each class. NaN where a frame could not be described: then what is around it decides.
    labels : ndarray, shape (N,), uint8
        The label of each frame, or `NONE`.
    """
    classes = certainties.shape[1]
    believed = np.where(np.isfinite(certainties), certainties, np.float32(1 / classes))
    known = np.flatnonzero(labels < classes)
    believed[known] = np.eye(classes, dtype=np.float32)[labels[known]]
    smoothed = smooth(believed, changes=CHANGES)
    smoothed[labels != NONE] = labels[labels != NONE]
    found = []
    for start, stop in runs_of(smoothed):
        open_frames = start + np.flatnonzero(labels[start:stop] == NONE)
        if len(open_frames):
            label = int(smoothed[start])
            certainty = float(np.quantile(believed[open_frames, label], STEADY)) if label < classes else 1.0
            found.append(Proposal(int(open_frames[0]), int(open_frames[-1]) + 1, label, certainty))
    return found


def lessons(labels: NDArray[np.uint8], classes: int, most: int) -> Integers:
    """The labelled frames to learn from: not those beside a border, and of a long run only some.

    Parameters
    ----------
    labels : ndarray, shape (N,), uint8
    classes : int
        Labels from here on are not learnt.
    most : int
        How many at most.

    Returns
    -------
    ndarray, shape (M,), int64
        Positions, ascending.
    """
    found: list[int] = []
    for start, stop in runs_of(labels):
        if labels[start] < classes:
            inner = range(start + UNCLEAR, stop - UNCLEAR, APART)
            found += inner or [(start + stop - 1) // 2]
    chosen = np.linspace(0, len(found) - 1, min(most, len(found))).astype(np.int64)
    return np.asarray(found, np.int64)[chosen]


def doubted(certainties: Floats, labels: NDArray[np.uint8]) -> list[Proposal]:
    """Runs of labels that held-out certainties contradict, with the class they propose; the least likely label first.

    How certain a label is by a model that has not learnt from it is its self-confidence (Northcutt, Jiang, Chuang,
    "Confident learning", 2021).

    Parameters
    ----------
    certainties : ndarray, shape (N, C), float32
        Each frame's by a head that was fitted without it and what is near it; NaN where nothing is known.
    labels : ndarray, shape (N,), uint8
    """
    classes = certainties.shape[1]
    judged = (labels < classes) & np.isfinite(certainties).all(axis=1)
    believed = np.where(judged[:, None], certainties, np.float32(1 / classes))
    proposed = np.where(judged, smooth(believed, changes=CHANGES), labels)
    contradicted = np.where(proposed != labels, proposed + (NONE + 1) * labels.astype(np.int64), -1)
    found = []
    for start, stop in runs_of(contradicted):
        if contradicted[start] >= 0:
            of_label = float(certainties[start:stop, labels[start]].mean())
            found.append((of_label, Proposal(start, stop, int(proposed[start]), 1 - of_label)))
    return [proposal for _, proposal in sorted(found, key=lambda pair: pair[0])]


def unseen(proposals: Iterable[Proposal], before: int = 0) -> list[Proposal]:
    """The sure ones that may be taken unseen: all but one of five.

    `before` is how many of them were taken or left out earlier.
    """
    sure = [proposal for proposal in proposals if proposal.is_sure]
    return [one for number, one in enumerate(sure, before + 1) if number % SHOWN_OF_SURE]


class Gate:
    """Whether a model has earned that its sure proposals are accepted unseen."""

    def __init__(self) -> None:
        self._shown: deque[bool] = deque(maxlen=LAST)

    @property
    def is_open(self) -> bool:
        return self.right >= RIGHT

    @property
    def right(self) -> int:
        """How many of the last `LAST` proposals shown were right."""
        return sum(self._shown)

    def note(self, *, right: bool) -> None:
        """A person has looked at a proposal: was it right in class and end?"""
        self._shown.append(right)

    def forget(self) -> None:
        """What was noted last does not count."""
        if self._shown:
            self._shown.pop()

    def correct(self) -> None:
        """What was taken for right last was not: its end came too early."""
        if self._shown:
            self._shown[-1] = False


def runs_of(values: NDArray[np.uint8] | Integers) -> Sequence[tuple[int, int]]:
    """Runs of equal values: where each starts, and ends."""
    borders = (np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()
    starts = [0, *borders] if len(values) else []
    return list(zip(starts, [*borders, len(values)], strict=False))

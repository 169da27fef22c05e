"""Certainties over time: what a camera sees goes on for a while, so one odd frame does not begin another class.

Both ways are those of a hidden Markov model whose states stay (Rabiner, "A tutorial on hidden Markov models", 1989):
`smooth` knows the whole recording (Viterbi's algorithm), `Smoother` only what came before (the forward algorithm).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANGES_A_FRAME = 1e-3  # neighbouring frames are near copies: they mislead together, so this is less than is counted
CHANGES_A_SECOND = 0.05
DOUBT = 0.01  # a share of every certainty that is given to all classes alike: no single frame is proof


def smooth(
    certainties: NDArray[np.float32], *, changes: float = CHANGES_A_FRAME, seams: Iterable[int] = ()
) -> NDArray[np.int64]:
    """The most likely class of each frame of a recording, given all of its frames.

    Parameters
    ----------
    certainties : ndarray, shape (N, C), float32
        In the order of time.
    changes : float
        How likely another class begins at a frame.
    seams : iterable of int
        Frames before which time has passed, or a new recording begins: there any class may begin.

    Returns
    -------
    ndarray, shape (N,), int64
    """
    count, classes = certainties.shape
    if count == 0 or classes < 2:
        return np.zeros(count, np.int64)
    scores = np.log(_doubted(certainties))
    stay, change = np.log1p(-changes), np.log(changes / (classes - 1))
    free = set(seams)
    came_from = np.empty((count, classes), np.int64)
    own = np.arange(classes)
    best = scores[0]
    for frame in range(1, count):
        leader = int(best.argmax())
        kept, left = (best, best[leader]) if frame in free else (best + stay, best[leader] + change)
        stays = kept >= left
        came_from[frame] = np.where(stays, own, leader)
        best = np.where(stays, kept, left) + scores[frame]
    labels = np.empty(count, np.int64)
    labels[-1] = best.argmax()
    for frame in range(count - 1, 0, -1):
        labels[frame - 1] = came_from[frame, labels[frame]]
    return labels


@dataclass(slots=True)
class Smoother:
    """Smooths while frames come: which class is shown, and how certain that is.

    Attributes
    ----------
    classes : int
        How many there are.
    hold : float
        For so many seconds another class must lead without a break before it is shown.
    label : int or None
        The class that is shown; None before the first one has led for `hold` seconds.
    certainties : ndarray, shape (classes,), float32
        Of each class, after all frames so far.
    """

    classes: int
    hold: float = 0.0
    label: int | None = None
    certainties: NDArray[np.float32] = field(init=False)
    _before: float | None = None
    _leader: int | None = None
    _leads_since: float = 0.0

    def __post_init__(self) -> None:
        self.certainties = np.full(self.classes, 1 / self.classes, np.float32)

    def update(self, certainties: NDArray[np.float32], seconds: float) -> int | None:
        """Take the next frame; returns `label`.

        Parameters
        ----------
        certainties : ndarray, shape (classes,), float32
        seconds : float
            When the frame was taken, on any clock that does not run back.
        """
        passed = 0.0 if self._before is None else max(0.0, seconds - self._before)
        self._before = seconds
        stay = float(np.exp(-CHANGES_A_SECOND * passed))
        belief = (stay * self.certainties + (1 - stay) / self.classes) * _doubted(certainties)
        self.certainties = (belief / belief.sum()).astype(np.float32)
        leader = int(self.certainties.argmax())
        if leader != self._leader:
            self._leader, self._leads_since = leader, seconds
        if seconds - self._leads_since >= self.hold:
            self.label = leader
        return self.label


def _doubted(certainties: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    doubted: NDArray[np.float64] = certainties.astype(np.float64) * (1 - DOUBT) + DOUBT / certainties.shape[-1]
    return doubted

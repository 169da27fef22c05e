"""The linear layer on top of descriptions: multinomial logistic regression, in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]

STRENGTH = 1e-2  # of the regularisation, when each number has variance 1
MOST_OF_CLASS = 1000  # frames, evenly spaced: neighbours are near copies, so more cost time and teach nothing
STEPS = 40  # at most; more of them change no certainty that matters
SETTLED = 1e-4  # the largest change of a weight in a step, after which no more are taken
BLOCK = 4096  # frames that are judged at a time: each takes a few times its size while it is
LEAST_SCALE = 1e-6  # numbers that differ less than this among the frames say nothing
UNLEARNT = -30.0  # the bias of a class without frames: e^-30 is no certainty


@dataclass(frozen=True, slots=True)
class Head:
    """What was learnt: from a description of D numbers to the certainties of C classes.

    Attributes
    ----------
    mean, scale : ndarray, shape (D,), float32
        A description is standardised first: (description - mean) / scale.
    weights : ndarray, shape (D, C), float32
    bias : ndarray, shape (C,), float32
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: Floats

    def certainties(self, descriptions: Floats) -> Floats:
        """The certainty of each class, for frames or for one.

        Parameters
        ----------
        descriptions : ndarray, shape (N, D) or (D,), float32

        Returns
        -------
        ndarray, shape (N, C) or (C,), float32
            Each row sums to 1. Classes count as equally frequent.
        """
        if descriptions.ndim == 1:
            return self._judge(descriptions)
        blocks = [self._judge(descriptions[first : first + BLOCK]) for first in range(0, len(descriptions), BLOCK)]
        return np.concatenate(blocks) if blocks else np.empty((0, len(self.bias)), np.float32)

    def _judge(self, descriptions: Floats) -> Floats:
        return _softmax(np.dot((descriptions - self.mean) / self.scale, self.weights) + self.bias)


def fit_head(descriptions: Floats, labels: Integers, classes: int, *, strength: float = STRENGTH) -> Head:
    """Learn a head from labelled descriptions.

    Each class weighs the same, however many frames it has; of many, `MOST_OF_CLASS` are taken. The likelihood is
    maximised by steps whose length a bound on its curvature gives (Böhning, "Multinomial logistic regression
    algorithm", 1992), accelerated as Nesterov did: one matrix of D by D is inverted, and there is no step size to
    choose. The same input gives the same head.

    Parameters
    ----------
    descriptions : ndarray, shape (N, D), float32
    labels : ndarray, shape (N,), int64
        From 0 to `classes` - 1.
    classes : int
        A class without frames gets no certainty.
    strength : float
        Of the regularisation: how much large weights cost.
    """
    chosen = np.concatenate([_evenly(np.flatnonzero(labels == number)) for number in range(classes)])
    descriptions, labels = descriptions[chosen], labels[chosen]
    mean = descriptions.mean(axis=0)
    scale = np.maximum(descriptions.std(axis=0), LEAST_SCALE)
    inputs = np.ones((len(descriptions), descriptions.shape[1] + 1), np.float32)  # the last column is the bias
    np.subtract(descriptions, mean, out=inputs[:, :-1])
    inputs[:, :-1] /= scale
    counts = np.bincount(labels, minlength=classes)
    present = np.flatnonzero(counts)
    weight = (1 / (np.maximum(counts, 1) * len(present))).astype(np.float32)[labels]  # of each frame; the sum is 1
    wanted = (labels[:, None] == present).astype(np.float32)
    shrink = np.full(inputs.shape[1], strength, np.float32)
    shrink[-1] = LEAST_SCALE  # the bias is free
    curvature = (inputs * weight[:, None]).T @ inputs / 2 + np.diag(shrink)
    inverse = np.linalg.inv(curvature.astype(np.float64)).astype(np.float32)
    found = ahead = np.zeros((inputs.shape[1], len(present)), np.float32)
    momentum = 1.0
    for _ in range(STEPS):
        error = (_softmax(inputs @ ahead) - wanted) * weight[:, None]
        before, found = found, ahead - inverse @ (inputs.T @ error + shrink[:, None] * ahead)
        if np.abs(found - before).max() < SETTLED:
            break
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = found + (momentum - 1) / grown * (found - before)
        momentum = grown
    weights = np.zeros((descriptions.shape[1], classes), np.float32)
    bias = np.full(classes, UNLEARNT, np.float32)
    weights[:, present], bias[present] = found[:-1], found[-1]
    return Head(mean, scale, weights, bias)


def _evenly(numbers: Integers) -> Integers:
    if len(numbers) <= MOST_OF_CLASS:
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, MOST_OF_CLASS).round().astype(np.int64)]


def _softmax(scores: NDArray[Any]) -> Floats:
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), np.float32)

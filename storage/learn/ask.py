"""Which frames to ask a person about first: typical ones, of as many kinds as there are questions.

A few labels teach most if they are of frames that stand for many others (TypiClust: Hacohen, Dekel, Weinshall, "Active
learning on a budget", 2022): frames are put into clusters, and of each cluster the frame is asked for that has the
nearest neighbours. The first frames of a recording are all alike and teach little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Integers = NDArray[np.int64]

NEIGHBOURS = 20
ROUNDS = 15  # of k-means
CANDIDATES = 5  # for the next centre, of which the best is taken
MOST = 2000  # frames that are looked at; of a longer recording, every so many
COMPARED = 500  # frames of a cluster that distances are computed among


def typical(descriptions: Floats, count: int, known: Sequence[int] = ()) -> list[int]:
    """The most typical frames, of the largest clusters first; none of a cluster that holds a frame that is known.

    Parameters
    ----------
    descriptions : ndarray, shape (N, D), float32
        NaN for frames that can't be asked for.
    count : int
        How many to find; there are fewer if there are not as many kinds of frames.
    known : sequence of int
        Positions of frames that have a label already.
    """
    usable = np.flatnonzero(np.isfinite(descriptions).all(axis=1))
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, min(MOST, len(usable))).astype(np.int64))]
    asked = np.unique(np.r_[chosen, np.intersect1d(usable, np.asarray(known, np.int64))])
    if not len(asked):
        return []
    points = _standardised(descriptions[asked])
    is_known = np.isin(asked, np.asarray(known, np.int64))
    clusters = _clusters(points, min(len(asked), count + int(is_known.sum())), np.random.default_rng(0))
    sizes = np.bincount(clusters)
    found: list[int] = []
    for cluster in np.argsort(-sizes, kind="stable"):
        members = np.flatnonzero(clusters == cluster)
        if len(members) and not is_known[members].any() and len(found) < count:
            found.append(int(asked[members[_densest(points[members])]]))
    return found


def _standardised(descriptions: Floats) -> Floats:
    scale = descriptions.std(axis=0, dtype=np.float32)
    scaled: Floats = (descriptions - descriptions.mean(axis=0, dtype=np.float32)) / scale.clip(np.float32(1e-6))
    return scaled


def _clusters(points: Floats, count: int, random: np.random.Generator) -> Integers:
    """The cluster of each point: k-means, whose first centres are drawn far from each other (greedy k-means++)."""
    centres = points[[random.integers(len(points))]]
    nearest = _distances(points, centres)[:, 0]
    while len(centres) < count and nearest.sum() > 0:
        drawn = random.choice(len(points), CANDIDATES, p=nearest / nearest.sum())
        then = np.minimum(nearest[:, None], _distances(points, points[drawn]))
        best = int(then.sum(axis=0).argmin())
        centres, nearest = np.concatenate([centres, points[drawn[[best]]]]), then[:, best]
    for _ in range(ROUNDS):
        clusters = _distances(points, centres).argmin(axis=1)
        for cluster in np.unique(clusters):
            centres[cluster] = points[clusters == cluster].mean(axis=0)
    return np.asarray(_distances(points, centres).argmin(axis=1), np.int64)


def _densest(points: Floats) -> int:
    """The point whose nearest neighbours are nearest."""
    others = points[np.unique(np.linspace(0, len(points) - 1, min(COMPARED, len(points))).astype(np.int64))]
    distances = np.sort(_distances(points, others), axis=1)
    return int(distances[:, : NEIGHBOURS + 1].mean(axis=1).argmin())


def _distances(points: Floats, others: Floats) -> NDArray[np.float64]:
    """Squared distances: shape (points, others)."""
    lengths = (points.astype(np.float64) ** 2).sum(axis=1)[:, None] + (others.astype(np.float64) ** 2).sum(axis=1)
    return np.asarray(np.maximum(lengths - 2.0 * (points @ others.T), 0.0), np.float64)

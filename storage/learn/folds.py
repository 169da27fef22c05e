"""Held-out certainties: each frame judged by a head that has seen neither it nor any frame near it.

Neighbouring frames are near copies, so what is left out of a fit is whole stretches of time, with a gap on either side.
`storage.care.spans` cuts the stretches, as it does for ``python -m storage split``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from storage.care.spans import TRAIN, count_classes, cut, find_fault, lengths, with_gaps
from storage.convert.transfer import by_session
from storage.learn.head import fit_head
from storage.recording import Recording
from storage.sessions import wall_offset_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

FOLDS = 5
GAP_SECONDS = 2.0
FAR_APART = 1e6  # seconds between recordings whose clocks have nothing to do with each other


def common_seconds(recordings: Sequence[Recording]) -> Floats:
    """When the frames of some recordings were taken, in seconds on one axis, recording after recording: shape (N,).

    What cameras recorded lies on it by the wall clock, so that two views of one moment are near each other. So are two
    copies of one recording, whose sessions have one id. All else is far apart.
    """
    seconds = np.concatenate([np.array(recording.timestamps_ns, np.int64) for recording in recordings]) / 1e9
    groups: dict[object, list[Integers]] = {}
    begin = 0
    for recording in recordings:
        for part in by_session(recording):
            indices = begin + np.asarray(part.indices, np.int64)
            offset = wall_offset_ns(part.facts)
            group: object = part.facts.get("id") or begin
            if offset is not None:
                seconds[indices] += offset / 1e9
                group = "wall clock"
            groups.setdefault(group, []).append(indices)
        begin += len(recording)
    at = 0.0
    for parts in groups.values():
        of_group = np.concatenate(parts)
        seconds[of_group] += at - seconds[of_group].min()
        at = float(seconds[of_group].max()) + FAR_APART
    return seconds


def make_folds(seconds: Floats, labels: Integers, *, seed: int = 0) -> Integers:
    """Divide frames into folds of whole stretches, such that each fold has its share of each class.

    Parameters
    ----------
    seconds : ndarray, shape (N,), float64
        Times on one axis, in any order.
    labels : ndarray, shape (N,), int64
    seed : int
        Another seed divides differently.

    Returns
    -------
    ndarray, shape (N,), int64
        The fold of each frame.
    """
    order = np.argsort(seconds, kind="stable")
    times, codes = seconds[order], np.unique(labels[order], return_inverse=True)[1]
    best: tuple[float, Integers] | None = None
    for length in lengths(times, 1 / FOLDS):
        starts = cut(times, codes, GAP_SECONDS, length)
        of_stretch = _deal(count_classes(starts, codes), np.random.default_rng(seed))
        found = np.repeat(of_stretch, np.diff([*starts, len(codes)]))
        sides = (with_gaps(times, found == fold, GAP_SECONDS) for fold in range(FOLDS))
        fault = sum(find_fault(one, codes, 1 / FOLDS) for one in sides)
        if best is None or fault < best[0]:
            best = fault, found
        if fault == 0:
            break
    assert best is not None
    in_order = np.empty_like(best[1])
    in_order[order] = best[1]
    return in_order


def _deal(counts: Integers, random: np.random.Generator) -> Integers:
    """The fold of each stretch, from the frames of each class in it (stretches, classes): the largest are dealt first,
    each to the fold that has least of what the stretch holds."""
    share = counts / counts.sum(axis=0)
    have = np.zeros((FOLDS, counts.shape[1]))
    found = np.zeros(len(counts), np.int64)
    shuffled = random.permutation(len(counts))
    for stretch in shuffled[np.argsort(-share[shuffled].max(axis=1), kind="stable")]:
        fold = int((have @ share[stretch]).argmin())
        found[stretch] = fold
        have[fold] += share[stretch]
    return found


def far_from(held_out: Booleans, seconds: Floats) -> Booleans:
    """Which frames are not among some, nor within `GAP_SECONDS` of one of them: all of shape (N,), in any order."""
    order = np.argsort(seconds, kind="stable")
    far = np.empty(len(seconds), np.bool_)
    far[order] = with_gaps(seconds[order], held_out[order], GAP_SECONDS) == TRAIN
    return far


def held_out_certainties(
    descriptions: NDArray[np.float32],
    seconds: Floats,
    labels: Integers,
    classes: int,
    of_fold: Integers,
    *,
    done: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """The certainties of each frame, by a head that was fitted without its fold and what lies within `GAP_SECONDS`.

    Parameters
    ----------
    descriptions : ndarray, shape (N, D), float32
    seconds : ndarray, shape (N,), float64
        Times on one axis, in any order.
    labels : ndarray, shape (N,), int64
    classes : int
    of_fold : ndarray, shape (N,), int64
        As `make_folds` gives it.
    done : callable
        Called after each fit. What it raises ends the work.

    Returns
    -------
    ndarray, shape (N, classes), float32
        NaN for the frames of a fold beside which no two classes are left to fit: no head can judge these.
    """
    certainties = np.full((len(labels), classes), np.nan, np.float32)
    for fold in np.unique(of_fold):
        held_out = of_fold == fold
        learnt_from = far_from(held_out, seconds)
        if len(np.unique(labels[learnt_from])) > 1:
            head = fit_head(descriptions[learnt_from], labels[learnt_from], classes)
            certainties[held_out] = head.certainties(descriptions[held_out])
        done()
    return certainties

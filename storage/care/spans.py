"""Which frames to hold out for validation: whole stretches of time, with a gap around them that is on neither side; or
all frames of some hosts, sessions or recordings.

Frames next to each other are near copies. A network that has seen one of them knows the other, so a random choice of
frames measures memory. This module only decides; `storage.care.split` moves the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.names import natural_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]

TRAIN, VAL, GAP = 0, 1, 2

STRETCHES = (600.0, 300.0, 120.0, 60.0, 30.0, 15.0, 8.0, 4.0, 2.0, 1.0)
"""Lengths in seconds that are tried when none is asked for."""
AT_LEAST = 4  # stretches to hold out, if possible: one alone has one light, one mood
FAR_OFF = 0.25  # a class is badly balanced if its share of held-out frames is off by more than this part of it
GAP_SHARE = 0.15  # more frames than this lost in gaps are too many
TRIES = 256  # stretches looked at before the best of them is taken
ROUNDS = 8  # of exchanging stretches for better ones


@dataclass(frozen=True, slots=True)
class Division:
    """The result of `divide`: the side of each frame.

    Attributes
    ----------
    sides : ndarray, shape (N,), int64
        `TRAIN`, `VAL` or `GAP` for each frame.
    stretch : float
        The length of the stretches in seconds that was used.
    held_out : int
        How many stretches are held out; neighbouring ones count as one.
    """

    sides: Integers
    stretch: float
    held_out: int


def divide(
    seconds: Floats, classes: Sequence[str], *, val: float, gap: float, stretch: float | None, seed: int
) -> Division:
    """Divide frames into training, validation, and the gaps between the two.

    No frame for training is taken within `gap` seconds of one for validation. Stretches begin and end where the class
    changes, if it changes often enough. They are chosen such that each class has the wanted share of its frames held
    out, as well as stretches allow. The same input gives the same division.

    Parameters
    ----------
    seconds : ndarray, shape (N,), float64
        Capture times on one common axis, in any order.
    classes : sequence of str, length N
        The class of each frame.
    val : float
        The wanted share for validation, between 0 and 1.
    gap : float
        In seconds.
    stretch : float or None
        About how long a stretch is, in seconds; None for the longest of `STRETCHES` that balances the classes and
        leaves a choice.
    seed : int
        Another seed chooses other stretches.
    """
    import numpy as np

    order = np.argsort(seconds, kind="stable")
    seconds = seconds[order]
    _, codes = np.unique(np.asarray(classes, dtype=object)[order].astype(str), return_inverse=True)
    best: tuple[float, Division] | None = None
    for length in [stretch] if stretch else lengths(seconds, val):
        starts = cut(seconds, codes, gap, length)
        chosen = _choose(count_classes(starts, codes), val, np.random.default_rng(seed))
        sides = with_gaps(seconds, np.repeat(chosen, np.diff([*starts, len(codes)])), gap)
        fault = find_fault(sides, codes, val)
        if best is None or fault < best[0]:
            in_order = np.empty_like(sides)
            in_order[order] = sides
            held_out = int(chosen[0]) + int(np.count_nonzero(chosen[1:] & ~chosen[:-1]))
            best = fault, Division(in_order, length, held_out)
        if fault == 0:
            break
    assert best is not None
    return best[1]


def divide_groups(
    seconds: Floats,
    classes: Sequence[str],
    groups: Sequence[str | None],
    hosts: Sequence[str | None],
    *,
    val: float,
    gap: float,
    seed: int,
) -> tuple[Integers, list[str]]:
    """Divide frames into training and validation such that no group is in both.

    Groups are chosen as `divide` chooses stretches. Within `gap` seconds of a frame for validation, no frame for
    training is of the same host. Frames whose group is not known (None) are in neither. The same input gives the same
    division.

    Parameters
    ----------
    seconds : ndarray, shape (N,), float64
        Capture times on one common axis, in any order.
    classes, groups, hosts : sequences of length N
        Of each frame.
    val, gap, seed
        As in `divide`.

    Returns
    -------
    ndarray, shape (N,), int64
        `TRAIN`, `VAL` or `GAP` for each frame.
    list of str
        The groups that are held out.

    Raises
    ------
    ValueError
        There is one group at most.
    """
    import numpy as np

    names = sorted({group for group in groups if group is not None}, key=natural_key)
    if len(names) < 2:
        raise ValueError(*names)
    known = np.array([group is not None for group in groups])
    numbers = {name: number for number, name in enumerate(names)}
    of_group = np.array([numbers[group] for group in groups if group is not None])
    _, codes = np.unique(np.asarray(classes, dtype=object)[known].astype(str), return_inverse=True)
    counts = np.zeros((len(names), int(codes.max()) + 1), np.int64)
    np.add.at(counts, (of_group, codes), 1)
    chosen = _choose(counts, val, np.random.default_rng(seed))
    if not chosen.any():  # each is far more than the share that is wanted
        chosen[_cost(counts, counts.sum(axis=0), val).argmin()] = True
    held_out = np.zeros(len(groups), np.bool_)
    held_out[known] = chosen[of_group]
    sides = np.full(len(groups), GAP, np.int64)
    of_host = np.unique([host or "" for host in hosts], return_inverse=True)[1]
    for host in range(int(of_host.max()) + 1):
        inside = np.flatnonzero((of_host == host) & known)
        inside = inside[np.argsort(seconds[inside], kind="stable")]
        sides[inside] = with_gaps(seconds[inside], held_out[inside], gap)
    return sides, [name for name, out in zip(names, chosen, strict=True) if out]


def lengths(seconds: Floats, val: float) -> list[float]:
    """The lengths to try, best first: those that hold out enough stretches, longest first; then longer ones."""
    import numpy as np

    recorded = float(np.minimum(np.diff(seconds), 10.0).sum())
    fit = [length for length in STRETCHES if length * AT_LEAST <= recorded * val]
    return fit + [length for length in reversed(STRETCHES) if length not in fit]


def cut(seconds: Floats, codes: Integers, gap: float, stretch: float) -> list[int]:
    """Where each stretch starts: at long pauses; else, once it is long enough, where the class changes or time does."""
    import numpy as np

    pauses = np.diff(seconds)
    must = pauses >= max(gap, stretch)
    may = must | (codes[1:] != codes[:-1]) | (pauses >= max(gap, 1.0))
    starts = [0]
    for cut in [*(np.flatnonzero(may) + 1).tolist(), len(codes)]:
        while seconds[cut - 1] - seconds[starts[-1]] >= 2 * stretch:  # nothing changes for long: cut by the clock
            starts.append(int(np.searchsorted(seconds, seconds[starts[-1]] + stretch)))
        if cut < len(codes) and (must[cut - 1] or seconds[cut] - seconds[starts[-1]] >= stretch):
            starts.append(cut)
    return starts


def count_classes(starts: list[int], codes: Integers) -> Integers:
    """Frames of each class in each stretch: shape (stretches, classes)."""
    import numpy as np

    present = np.zeros((len(codes), int(codes.max()) + 1), np.int64)
    present[np.arange(len(codes)), codes] = 1
    counts: Integers = np.add.reduceat(present, starts, axis=0)
    return counts


def _choose(counts: Integers, val: float, random: np.random.Generator) -> Booleans:
    """Choose the stretches to hold out: add the best of some until none helps, then exchange them while that helps."""
    import numpy as np

    total = counts.sum(axis=0)
    chosen = np.zeros(len(counts), bool)
    have = np.zeros_like(total)
    while True:
        candidates = random.permutation(np.flatnonzero(~chosen))[:TRIES]
        costs = _cost(have + counts[candidates], total, val)
        if not len(costs) or costs.min() >= _cost(have, total, val):
            break
        best = candidates[costs.argmin()]
        chosen[best] = True
        have = have + counts[best]
    for _ in range(ROUNDS):
        better = False
        for given_up in random.permutation(np.flatnonzero(chosen)):
            candidates = random.permutation(np.flatnonzero(~chosen))[:TRIES]
            costs = _cost(have - counts[given_up] + counts[candidates], total, val)
            if len(costs) and costs.min() < _cost(have, total, val) - 1e-9:
                best = candidates[costs.argmin()]
                chosen[given_up], chosen[best] = False, True
                have = have - counts[given_up] + counts[best]
                better = True
        if not better:
            break
    return chosen


def _cost(have: Integers, total: Integers, val: float) -> Floats:
    """How far the held-out shares are from the wanted one, over all classes; a class missing on a side adds much."""
    missing = (have == 0) | (have == total)
    cost: Floats = ((have / (val * total) - 1) ** 2 + 10 * missing).sum(axis=-1)
    return cost


def with_gaps(seconds: Floats, held_out: Booleans, gap: float) -> Integers:
    """`TRAIN`, `VAL` or `GAP` for each frame, of those held out (shape (N,), as `seconds`, which ascend)."""
    import numpy as np

    sides = np.where(held_out, VAL, TRAIN).astype(np.int64)
    times = np.concatenate([[-np.inf], seconds[held_out], [np.inf]])
    after = np.searchsorted(times, seconds)
    distance = np.minimum(seconds - times[after - 1], times[np.minimum(after, len(times) - 1)] - seconds)
    sides[~held_out & (distance < gap)] = GAP
    return sides


def find_fault(sides: Integers, codes: Integers, val: float) -> float:
    """How bad a division is; 0 if it is good."""
    import numpy as np

    total = np.bincount(codes)
    held_out = np.bincount(codes[sides == VAL], minlength=len(total))
    left = np.bincount(codes[sides == TRAIN], minlength=len(total))
    missing = np.count_nonzero(held_out == 0) + np.count_nonzero(left == 0)
    off = np.abs(held_out / (val * total) - 1).max()
    lost = np.count_nonzero(sides == GAP) / len(sides)
    return 100.0 * missing + max(0.0, float(off) - FAR_OFF) + max(0.0, lost - GAP_SHARE)

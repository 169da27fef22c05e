"""Runs of frames: names that count up, written short."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise

Run = str | tuple[str, int]
"""A frame's name; or the first of a number of names that count up."""


def to_runs(names: Iterable[Run]) -> tuple[Run, ...]:
    """Write frames' names short where they count up; runs among them are joined with what they meet.

    >>> to_runs(["00000007.png", "00000008.png", "00000009.png", "door/00000010.png"])
    (('00000007.png', 3), 'door/00000010.png')
    """
    runs: list[Run] = []
    first, count = "", 0
    head, number, width, tail = "", 0, 0, ""
    for run in names:
        name, more = (run, 1) if isinstance(run, str) else run
        if width and name == f"{head}{number + count:0{width}d}{tail}":
            count += more
            continue
        if count:
            runs.append(first if count == 1 else (first, count))
        first, count = name, more
        head, number, width, tail = _parts(name)
    if count:
        runs.append(first if count == 1 else (first, count))
    return tuple(runs)


def from_runs(runs: Iterable[Run], known: Collection[str] | None = None) -> Iterator[str]:
    """Read back the names that `to_runs` wrote; of these the `known` ones, if given, however many a run claims to have.

    >>> list(from_runs([("00000098.png", 3), "cat.jpg"]))
    ['00000098.png', '00000099.png', '00000100.png', 'cat.jpg']
    >>> list(from_runs([("00000098.png", 9_000_000)], {"00000099.png", "cat.jpg"}))
    ['00000099.png']
    """
    for run in runs:
        first, count = (run, 1) if isinstance(run, str) else run
        if count == 1:
            names: Iterable[str] = (first,)
        else:
            head, number, width, tail = _parts(first)
            numbers: Iterable[int] = range(number, number + count)
            if known is not None and count > len(known):
                parts = map(_parts, known)
                numbers = sorted(
                    {n for before, n, _, after in parts if (before, after) == (head, tail) and n in numbers}
                )
            names = (f"{head}{n:0{width}d}{tail}" for n in numbers)
        yield from names if known is None else filter(known.__contains__, names)


def pieces(runs: Iterable[Run]) -> dict[str, int]:
    """Cut runs wherever one of them begins or ends, so that each holds a piece whole or not at all: its first name, and
    how many names it is. However long the runs are, there are few more pieces than runs; some lie between them.

    >>> pieces([("08.png", 9_000_000), "10.png", "cat.jpg"])
    {'cat.jpg': 1, '08.png': 2, '10.png': 1, '11.png': 8999997}
    """
    found: dict[str, int] = {}
    cuts: dict[tuple[str, str], tuple[set[int], set[int]]] = {}
    for run in runs:
        first, count = (run, 1) if isinstance(run, str) else run
        head, number, width, tail = _parts(first)
        if not width:
            found[first] = 1
            continue
        numbers, widths = cuts.setdefault((head, tail), (set(), set()))
        numbers |= {number, number + count}
        widths.add(width)
    for (head, tail), (numbers, widths) in cuts.items():
        for number, end in pairwise(sorted(numbers)):
            found |= {f"{head}{number:0{width}d}{tail}": end - number for width in widths}
    return found


_COUNTER = re.compile(r"(?P<head>.*?)(?P<digits>[0-9]{1,18})(?P<tail>(?:\.[^./]*)?)", re.DOTALL)


def _parts(name: str) -> tuple[str, int, int, str]:
    """What comes before a name's counter, the counter, its width (0 if there is none) and what comes after it."""
    match = _COUNTER.fullmatch(name)
    if match is None:
        return name, 0, 0, ""
    return match["head"], int(match["digits"]), len(match["digits"]), match["tail"]

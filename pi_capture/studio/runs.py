"""Labels of many frames, written short: ``[[start, stop, label], …]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Run = list[int]


def runs_of(labels: bytes | bytearray, first: int = 0) -> list[Run]:
    """Labels as ``[start, stop, label]``, beginning with the frame `first`.

    >>> runs_of(b"\\x01\\x01\\x00", 5)
    [[5, 7, 1], [7, 8, 0]]
    """
    import numpy as np

    array: NDArray[np.uint8] = np.frombuffer(labels, np.uint8)
    if not len(array):
        return []
    starts = [0, *(np.flatnonzero(np.diff(array)) + 1).tolist()]
    stops = [*starts[1:], len(array)]
    return [[first + start, first + stop, int(array[start])] for start, stop in zip(starts, stops, strict=True)]


def changed_runs(before: bytes, after: bytes | bytearray) -> list[Run]:
    """The labels from the first frame that has another one to the last."""
    import numpy as np

    differing = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
    if not len(differing):
        return []
    start, stop = int(differing[0]), int(differing[-1]) + 1
    return runs_of(after[start:stop], start)

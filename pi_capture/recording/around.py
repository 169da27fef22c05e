"""Keep only frames while something happens, and some before and after."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from pi_capture.errors import UsageError
from storage.frame import Frame

PRE_ROLL_BYTES = 64_000_000  # what the pre-roll may hold, however long it was asked to be
COUNTED = ("dropped_camera", "not_kept")


def check_rolls(pre_roll: float, post_roll: float) -> None:
    """Raise UsageError if these can't be seconds before and after."""
    if pre_roll < 0 or post_roll < 0:
        raise UsageError("--pre-roll and --post-roll are seconds, 0 or more")


class Around:
    """Picks the frames to keep: those for which `happens` is true, and those so many seconds before and after.

    Frames that are not kept are counted in the next one that is: ``not_kept`` in its metadata, beside ``gap_ns``, the
    time since the last one kept, and ``gap``, if the camera was gone meanwhile.

    Attributes
    ----------
    not_kept : int
        How many frames were not kept so far, those in the pre-roll included.
    """

    def __init__(self, happens: Callable[[Frame], bool], pre_roll: float, post_roll: float) -> None:
        check_rolls(pre_roll, post_roll)
        self._happens = happens
        self._pre_roll_ns, self._post_roll_ns = round(pre_roll * 1e9), round(post_roll * 1e9)
        self._before: deque[Frame] = deque()
        self._gone = dict.fromkeys(COUNTED, 0)  # since the last frame that was kept
        self._gap: str | None = None  # why the camera was gone before one of those
        self._keep_until_ns: int | None = None
        self._last_kept_ns: int | None = None
        self.not_kept = 0

    def pick(self, frame: Frame) -> Iterator[Frame]:
        """Yield the frames to keep now that this one came, oldest first: none, this one, or more."""
        if self._happens(frame):
            self._keep_until_ns = frame.timestamp_ns + self._post_roll_ns
        self._before.append(frame)
        self.not_kept += 1
        self._forget(frame)
        if self._keep_until_ns is not None and frame.timestamp_ns <= self._keep_until_ns:
            while self._before:
                self.not_kept -= 1
                yield self._with_gap(self._before.popleft())

    def _forget(self, newest: Frame) -> None:
        """Drop frames that are too old for the pre-roll, or too many."""
        oldest_ns = newest.timestamp_ns - self._pre_roll_ns
        most = max(1, PRE_ROLL_BYTES // newest.pixels.nbytes)
        while self._before and (self._before[0].timestamp_ns < oldest_ns or len(self._before) > most):
            gone = self._before.popleft()
            self._gone["not_kept"] += 1
            self._gone["dropped_camera"] += gone.metadata.get("dropped_camera", 0)
            self._gap = gone.metadata.get("gap", self._gap)

    def _with_gap(self, frame: Frame) -> Frame:
        metadata: dict[str, Any] = dict(frame.metadata)
        if self._gone["not_kept"]:
            for name, count in self._gone.items():
                if count:
                    metadata[name] = metadata.get(name, 0) + count
            if self._last_kept_ns is not None:
                metadata["gap_ns"] = frame.timestamp_ns - self._last_kept_ns
            if self._gap is not None:
                metadata.setdefault("gap", self._gap)
            self._gone, self._gap = dict.fromkeys(COUNTED, 0), None
            frame = replace(frame, metadata=metadata)
        self._last_kept_ns = frame.timestamp_ns
        return frame

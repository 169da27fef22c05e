"""A sender's clock compared with ours.

They are compared as NTP does it: of the recent answers, the quickest is the most exact. If the stream ends before an
answer comes, the frame that arrived quickest counts as if it had taken no time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DRIFT = 100e-6  # how much faster one machine's clock may be than another's
KEPT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Offset:
    """The sender's clock minus ours, in nanoseconds, and by how much that may be wrong."""

    ns: int
    uncertainty_ns: int
    at_ns: int


def measured(asked: int, came: int, answered: int, back: int) -> Offset:
    """Return the offset by one exchange: `asked` and `back` are by our clock, `came` and `answered` by the sender's.

    >>> measured(asked=100, came=1150, answered=1160, back=210)
    Offset(ns=1000, uncertainty_ns=50, at_ns=210)
    """
    return Offset((came - asked + answered - back) // 2, max(1, (back - asked - (answered - came)) // 2), back)


class SenderClock:
    """The offset of a sender's clock over one connection."""

    def __init__(self) -> None:
        self.compared: Offset | None = None  # by the answers; kept for the next connection
        self.begin()

    def begin(self) -> None:
        """Forget the answers: after a break the sender may be another one."""
        self.answers = 0  # how many have come
        self._offsets: list[Offset] = []
        self._arrival: tuple[int, int] | None = None  # the sender's clock minus ours, and when

    @property
    def offset_ns(self) -> int | None:
        """The sender's clock minus ours; None if unknown."""
        return self.compared.ns if self.compared is not None else self._arrival[0] if self._arrival else None

    def add_answer(self, note: Mapping[str, Any]) -> None:
        """Use the times in a note, if it has them."""
        back = time.monotonic_ns()
        times = [note.get(name) for name in ("asked", "came", "answered")]
        asked, came, answered = numbers = [one if type(one) is int and 0 <= one < 1 << 63 else -1 for one in times]
        if min(numbers) < 0:
            return
        self.answers += 1
        self._offsets = [one for one in self._offsets if back - one.at_ns < KEPT_SECONDS * 1e9]
        self._offsets.append(measured(asked, came, answered, back))
        self.compared = min(self._offsets, key=lambda one: one.uncertainty_ns + DRIFT * (back - one.at_ns))

    def add_arrival(self, sent_ns: int) -> int:
        """Use a frame that has just arrived. Returns the offset by the quickest of the latest frames."""
        now = time.monotonic_ns()
        seen, at_ns = self._arrival or (sent_ns - now, now)
        offset = max(sent_ns - now, seen - round(DRIFT * (now - at_ns)))
        self._arrival = offset, now
        return offset

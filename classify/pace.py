"""How long the rest will take, by the time spent at work: pauses don't count."""

from __future__ import annotations

from collections import deque

LONGEST_THOUGHT = 5.0  # seconds between two keys; of a longer pause only so much counts
MEMORY = 300.0  # seconds at work that count


class Pace:
    """Estimates how long the rest takes, from the time and the number of done frames at each key."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._worked = 0.0
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, now: float, done: int) -> None:
        """Note a key, or that something was played, at `now` seconds; `done` frames are done by then."""
        if self._last is not None:
            self._worked += min(LONGEST_THOUGHT, max(0.0, now - self._last))
        self._last = now
        self._marks.append((self._worked, done))
        while len(self._marks) > 2 and self._marks[1][0] < self._worked - MEMORY:
            self._marks.popleft()

    def minutes(self, remaining: int) -> float | None:
        """Return the minutes at work for the remaining frames; None while unknown."""
        if not remaining:
            return 0.0
        if not self._marks:
            return None
        (began, had), (now, has) = self._marks[0], self._marks[-1]
        return (now - began) / (has - had) * remaining / 60 if has > had and now > began else None

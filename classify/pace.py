"""How long the rest will take, from the time spent at work only: pauses and steps back don't distort it."""

from __future__ import annotations

from collections import deque

LONGEST_THOUGHT = 5.0  # seconds between two keys; what is longer is a pause, and only counts so much
MEMORY = 300.0  # seconds at work that are looked back upon


class Pace:
    """Told at every key what the time is and how much is done, it tells how long the rest takes."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._worked = 0.0
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, now: float, done: int) -> None:
        """A key was pressed, or something was played, at `now` seconds; `done` frames are done by now."""
        if self._last is not None:
            self._worked += min(LONGEST_THOUGHT, max(0.0, now - self._last))
        self._last = now
        self._marks.append((self._worked, done))
        while len(self._marks) > 2 and self._marks[1][0] < self._worked - MEMORY:
            self._marks.popleft()

    def minutes(self, remaining: int) -> float | None:
        """Minutes at work for the remaining frames; None as long as nothing is known."""
        if not remaining:
            return 0.0
        if not self._marks:
            return None
        (began, had), (now, has) = self._marks[0], self._marks[-1]
        return (now - began) / (has - had) * remaining / 60 if has > had and now > began else None

"""When to open a failed camera again: the number of attempts and the pauses between."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0  # a camera that was plugged in again is seen within this
STEADY_FRAMES = 30  # a camera that delivered as many has come back: a later failure is a new one


@dataclass(slots=True)
class Retry:
    """Counts attempts, and doubles the pause before each."""

    limit: int | None = None  # the most attempts in a row; None for no limit
    _failed: int = field(default=0, init=False)

    def note_success(self, frames: int) -> None:
        """Note that a take delivered so many frames before it failed."""
        if frames >= STEADY_FRAMES:
            self._failed = 0

    def next_pause(self) -> float | None:
        """Seconds to wait before the next attempt; None after the last attempt."""
        if self.limit is not None and self._failed >= self.limit:
            return None
        pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failed, 16))
        self._failed += 1
        return pause

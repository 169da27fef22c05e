"""Playing frames like a film: when the next one is due, and which frames a label given meanwhile is meant for."""

from __future__ import annotations

from collections.abc import Callable

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
PICTURES_PER_SECOND = 30.0  # at most; faster play leaves frames out
REACTION = (0.1, 0.7)  # seconds from a change to its key: the shortest, the longest
FIRST_LABEL_SECONDS = 2.0  # a first label given so soon is for all that was played


class Player:
    """Plays onwards, back, or not at all.

    Attributes
    ----------
    way : int
        1 onwards, -1 back, 0 while it stands still.
    speed : float
        One of `SPEEDS`.
    """

    def __init__(self) -> None:
        self.way = 0
        self.speed = 1.0
        self._began = self._switched = 0
        self._due = 0.0

    def start(self, way: int, cursor: int, now: float) -> None:
        self.way = way
        self._began = self._switched = cursor
        self._due = now

    def stop(self) -> None:
        self.way = 0

    def change_speed(self, by: int) -> None:
        """Play faster (1) or slower (-1)."""
        self.speed = SPEEDS[max(0, min(SPEEDS.index(self.speed) + by, len(SPEEDS) - 1))]

    def waits(self, now: float) -> float:
        """Seconds until frames are due; 0 if they are."""
        return max(0.0, self._due - now)

    def advance(self, fps: float, now: float) -> int:
        """Return how many frames to go on now, negative back. Late frames are not made up for."""
        rate = fps * self.speed
        frames = max(1, round(rate / PICTURES_PER_SECOND))
        self._due = max(self._due + frames / rate, now)
        return self.way * frames

    def meant_since(
        self, cursor: int, fps: float, strongest: Callable[[int, int], int], *, first: bool, again: bool
    ) -> int:
        """Return the frame from which on a label holds that is given while playing.

        It is meant for the strongest change of the last moments, not for the frame that is there by now. The first
        label, soon after play began, is meant for all that was played.

        Parameters
        ----------
        cursor : int
            The frame that is there by now.
        fps : float
            Frames a second at speed 1.
        strongest : callable
            Gives the frame with the strongest change in a stretch.
        first : bool
            No label was held before.
        again : bool
            The same label was held before.
        """
        since = cursor
        if self.way > 0:
            rate = fps * self.speed
            if first and cursor - self._began <= FIRST_LABEL_SECONDS * rate:
                since = self._began
            elif not again:
                soonest, latest = (max(self._switched, cursor - int(seconds * rate)) for seconds in REACTION)
                since = strongest(latest, soonest)
        self._switched = since
        return since

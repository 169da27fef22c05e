"""Whose label a frame has, and since when: of two people's labels the newer one stays, whichever arrives first."""

from __future__ import annotations

import time

import numpy as np

from classify.session import Event, Group, Redo, Undo
from pi_capture.studio.runs import Run

NOBODY = 0
_BEGAN = time.time() - time.monotonic()


def now() -> float:
    """Seconds since 1970, as this program knew them when it began: a clock that is set meanwhile makes no label old."""
    return _BEGAN + time.monotonic()


class Givers:
    """Who gave each frame its label, or took it away, and when; `frames` is what stands for the frames.

    Times are those of `now`; a page without the network says when its labels were given.
    """

    def __init__(self, frames: str, count: int) -> None:
        self.frames = frames
        self._when = np.full(count, -np.inf)
        self._who = np.full(count, NOBODY, np.int32)
        self._numbers: dict[str, int] = {}
        self._latest = -np.inf
        self._done: list[tuple[str, float]] = []  # what undo takes back next comes last
        self._undone: list[tuple[str, float]] = []
        self._left_out: dict[str, int] = {}  # changes of a client in a row that came to nothing

    def forget_order(self) -> None:
        """The recording was opened anew: what undo takes back may be of anybody."""
        self._done, self._undone, self._left_out = [], [], {}

    def newer(self, client: str, given: float) -> list[int]:
        """The frames, ascending, that others gave a label after a moment."""
        if given >= self._latest:
            return []
        found: list[int] = np.flatnonzero((self._when > given) & (self._who != self._number(client))).tolist()
        return found

    def note(self, event: Event, runs: list[Run], client: str, given: float) -> None:
        """A client's event was done; `runs` are what it changed."""
        if isinstance(event, Undo):
            self._undone += self._done[-1:]
            del self._done[-1:]
        elif isinstance(event, Redo):
            self._done += self._undone[-1:]
            del self._undone[-1:]
        else:
            if isinstance(event, Group) or not event.joined or not self._done:
                self._done.append((client, given))
            self._undone.clear()
            self._left_out.pop(client, None)
            changes = event.changes if isinstance(event, Group) else (event,)
            runs = [[start, stop, change.label] for change in changes for start, stop in change.stretches]
        self._latest = max(self._latest, given)
        for start, stop, _ in runs:
            self._when[start:stop], self._who[start:stop] = given, self._number(client)

    def left_out(self, client: str) -> None:
        """A client's change came to nothing, as all its frames have newer labels."""
        self._left_out[client] = self._left_out.get(client, 0) + 1

    def may_undo(self, client: str, given: float) -> bool:
        """Whether a client that wants the last change back can mean it: it was there, and no newer one was left out."""
        if self._left_out.get(client, 0):
            self._left_out[client] -= 1
            return False
        return not self.undoes_others(client) or self._done[-1][1] <= given

    def undoes_others(self, client: str) -> str:
        """Whose change undo takes back, if it is known to be another's; "" otherwise."""
        return self._done[-1][0] if self._done and self._done[-1][0] != client else ""

    def _number(self, client: str) -> int:
        return self._numbers.setdefault(client, len(self._numbers) + 1)

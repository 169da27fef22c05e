"""What each action of a page does to the labels of an open recording; nothing is written down here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from classify.changes import UNKNOWN, Changes
from classify.pictures import Pictures
from classify.player import SPEEDS, Player
from classify.session import BATCH, NONE, Event, Session
from pi_capture.studio.actions import Action
from pi_capture.studio.frames import Frames

QUIET_SECONDS = 0.1  # after a page needed a picture, the search for changes reads one frame in this time at most
LOOKED_INTO = 300  # frames of a run that are read before they are labelled; the others are left out of S if unreadable
PATIENCE_SECONDS = 5.0  # for the next change to be found
Done = Event | str | None
"""What an action came to: an event to be written down, or words for the person."""


class Deeds:
    """Does actions to a session, and looks for changes and unreadable frames among its frames.

    Parameters
    ----------
    session : Session
    frames : Frames
        Of the whole recording.
    indices : sequence of int
        The index in the recording of each frame of the session.
    """

    def __init__(self, session: Session, frames: Frames, indices: Sequence[int]) -> None:
        self._session, self._frames, self._indices = session, frames, indices
        self._pictures: Pictures | None = None  # which looks for changes
        if session.count:
            start = min(session.cursor, session.count - 1)
            self._pictures = Pictures(session.count, self._read_quietly, start, kept_bytes=0)
        self._of_action: dict[str, Callable[[Action], Done]] = {
            "label": self._label,
            "label_stretch": self._label_stretch,
            "label_run": self._label_run,
            "batch": self._label_batch,
            "clear": self._clear,
            "nudge": self._nudge,
            "hold": self._hold,
            "pass": self._pass,
            "switch": self._switch,
            "pause": self._pause,
            "look": self._pause,
            "undo": self._undo,
            "redo": self._redo,
        }

    @property
    def changes(self) -> Changes | None:
        """What is known of the changes so far; None without frames."""
        return None if self._pictures is None else self._pictures.changes

    @property
    def fps(self) -> float:
        """Frames per second, as far as the frames' times tell; 0 without frames."""
        return 0 if self._pictures is None else self._pictures.fps

    def do(self, action: Action) -> Done:
        """Do an action that was checked."""
        return self._of_action[action["action"]](action)

    def look_into(self, first: int, stop: int) -> None:
        """Read frames that nobody has read yet, so that unreadable ones get no label."""
        if self._pictures is None:
            return
        unknown = [
            position
            for position in range(max(0, first), min(stop, self._session.count))
            if not self._frames.seen[self._indices[position]] and not self._session.is_unreadable(position)
        ]
        for position in unknown[:LOOKED_INTO]:
            try:
                self._read(position)
            except Exception:  # what a file from elsewhere makes a library raise
                self._session.mark_unreadable(position)

    def note_unreadable(self, damaged: Sequence[int]) -> list[int]:
        """Mark frames that were found to be damaged, here or elsewhere; returns those that were not marked before."""
        found = [*damaged, *([] if self._pictures is None else self._pictures.take_unreadable())]
        new = [position for position in found if not self._session.is_unreadable(position)]
        for position in new:
            self._session.mark_unreadable(position)
        return new

    def close(self) -> None:
        """End the search for changes."""
        if self._pictures is not None:
            self._pictures.close()

    def _read(self, position: int) -> Any:
        return self._frames.read(self._indices[position])

    def _read_quietly(self, position: int) -> Any:
        """The same for the search for changes, which gives way to pictures that pages wait for."""
        time.sleep(max(0.0, self._frames.asked_at + QUIET_SECONDS - time.monotonic()))
        return self._read(position)

    # ------------------------------------------------------------------------------------------------------ the actions

    def _go(self, action: Action) -> int:
        """Look at the frame of an action; where that is."""
        if action["frame"] != self._session.cursor:
            self._session.go(action["frame"])
        return self._session.cursor

    def _label(self, action: Action) -> Done:
        frame = self._go(action)
        self.look_into(frame, frame + 1)
        event = self._session.label(action["label"])
        return event or ("" if frame >= self._session.count else "skipped: it can't be read")

    def _label_stretch(self, action: Action) -> Done:
        frame = self._go(action)
        stop = self._next_change(frame)
        if stop is None:
            return "the next change is not found yet; try again in a moment"
        self.look_into(frame, stop)
        return self._session.label_until(stop, action["label"])

    def _label_run(self, action: Action) -> Done:
        self.look_into(action["first"], action["stop"])
        return self._session.paint(action["first"], action["stop"], action["label"])

    def _label_batch(self, action: Action) -> Done:
        frame = self._go(action)
        self.look_into(frame, frame + BATCH)
        return self._session.label_until(frame + BATCH, 0)

    def _clear(self, action: Action) -> Done:
        self._go(action)
        return self._session.clear()

    def _nudge(self, action: Action) -> Done:
        self._go(action)
        return self._session.nudge(1 if action["by"] > 0 else -1) or "there is no border before this frame"

    def _hold(self, action: Action) -> Done:
        self._go(action)
        self._session.hold_on(action["on"])
        return None

    def _pass(self, action: Action) -> Done:
        frame, label = self._go(action), action["label"]
        if label != NONE:  # the page may go on after the studio was started again, which knows of no held label
            self._session.hold, self._session.held = True, label
        self.look_into(*sorted((frame, action["to"])))
        return self._session.pass_to(action["to"])

    def _pause(self, action: Action) -> Done:
        self._go(action)
        self._session.pause()
        return None

    def _undo(self, _: Action) -> Done:
        return self._session.undo() or "nothing to undo"

    def _redo(self, _: Action) -> Done:
        return self._session.redo() or "nothing to redo"

    def _switch(self, action: Action) -> Done:
        """A label while playing: for what was just seen, and what comes."""
        session, pictures, label = self._session, self._pictures, action["label"]
        if pictures is None:
            return None
        frame = session.cursor = max(0, min(action["frame"], session.count))
        player = Player()
        player.speed = min(SPEEDS, key=lambda speed: abs(speed - action["speed"]))
        player.start(1, max(0, min(action["since"], frame)), 0.0)
        first, again = session.held is None, session.held == label
        since = player.meant_since(frame, pictures.fps, pictures.changes.strongest, first=first, again=again)
        self.look_into(since, frame)
        return session.switch(label, since)

    def _next_change(self, frame: int) -> int | None:
        """The next visible change; None if it takes long to find."""
        if self._pictures is None:
            return self._session.count
        until = time.monotonic() + PATIENCE_SECONDS
        while (found := self._pictures.changes.after(frame)) == UNKNOWN:
            if time.monotonic() > until:
                return None
            time.sleep(0.02)
        return found

"""The labels of frames, what undo takes back, and how both come out of a label journal.

Labels are numbers here, and frames are positions. The labeller's window (`classify.session`) and the commands that only
ask what a journal says (`storage.labels.current`) share this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from storage.labels.journal import Applied, Classes, Entry, Labelled, Looked, Moving, Redone, Undone
from storage.labels.runs import Run, from_runs
from storage.recording import ranges_of

NONE = 255
"""The label of a frame that has none."""

Stretch = tuple[int, int]
"""Frames from the first position up to, but without, the second."""


@dataclass(slots=True)
class _Action:
    """What one undo takes back: where the cursor was and went, and each stretch's start, old labels and new label."""

    before: int
    after: int
    parts: list[tuple[int, bytes, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Keys:
    """Frames that were labelled one by one, from `start` on: an undo for each, in two bytes instead of an `_Action`."""

    start: int
    old: bytearray
    new: bytearray

    def pop(self) -> _Action:
        """Remove and return the last key as an action."""
        position = self.start + len(self.new) - 1
        return _Action(position, position + 1, [(position, bytes((self.old.pop(),)), self.new.pop())])


class LabelHistory:
    """The labels of a number of frames, and every change of them.

    Parameters
    ----------
    count : int
        Number of frames.
    labels : bytes, optional
        The label that each frame comes with; none by default.

    Attributes
    ----------
    cursor : int
        The frame looked at, 0 to `count`; `count` is past the last one.
    labels : bytearray
        The label of each frame. Only to be read.
    came_with : bytes
        The labels at the beginning.
    revision : int
        Grows with every change of a label.
    """

    def __init__(self, count: int, labels: bytes | None = None) -> None:
        self.count = count
        self.came_with = bytes([NONE]) * count if labels is None else labels
        self.labels = bytearray(self.came_with)
        self.cursor = 0
        self.revision = 0
        self._counts = [self.labels.count(label) for label in range(256)]
        self._done: list[_Action | _Keys] = []
        self._undone: list[_Action] = []

    def counted(self, label: int) -> int:
        """How many frames have a label."""
        return self._counts[label]

    @property
    def depth(self) -> int:
        """Grows by one with each change, and shrinks when that is undone. Keys that were replayed may count as one."""
        return len(self._done)

    def can_undo(self) -> bool:
        return bool(self._done)

    def can_redo(self) -> bool:
        return bool(self._undone)

    def change(self, stretches: Iterable[Stretch], label: int, after: int, *, joined: bool = False) -> bool:
        """Give a label to frames, and put the cursor at `after`.

        `joined` asks for it to be undone with the change before it; returns whether it will.
        """
        joined = joined and bool(self._done)
        action = self._take_last() if joined else _Action(self.cursor, after)
        self.cursor = action.after = after
        for start, stop in stretches:
            action.parts.append((start, self._set(start, bytes([label]) * (stop - start)), label))
        self._done.append(action)
        self._undone.clear()
        return joined

    def change_for_good(self, stretches: Iterable[Stretch], label: int) -> None:
        """Give a label to frames; undo knows nothing of it."""
        for start, stop in stretches:
            self._set(start, bytes([label]) * (stop - start))

    def change_one_by_one(self, labels: bytes) -> None:
        """Label the frames from the current one on, each by a change of its own."""
        start, self.cursor = self.cursor, self.cursor + len(labels)
        self._done.append(_Keys(start, bytearray(self._set(start, labels)), bytearray(labels)))
        self._undone.clear()

    def take_back(self) -> bool:
        """Undo the last change, and put the cursor where it was before; returns whether there was one."""
        if not self._done:
            return False
        action = self._take_last()
        for start, old, _ in reversed(action.parts):
            self._set(start, old)
        self._undone.append(action)
        self.cursor = action.before
        return True

    def make_again(self) -> bool:
        """Make the change again that was undone last; returns whether there was one."""
        if not self._undone:
            return False
        action = self._undone.pop()
        for start, old, label in action.parts:
            self._set(start, bytes([label]) * len(old))
        self._done.append(action)
        self.cursor = action.after
        return True

    def _take_last(self) -> _Action:
        """Remove and return the change that is undone next."""
        last = self._done[-1]
        action = last.pop() if isinstance(last, _Keys) else last
        if isinstance(last, _Action) or not last.new:
            self._done.pop()
        return action

    def _set(self, start: int, labels: bytes) -> bytes:
        """Give labels to the frames from a position on; returns those that they had."""
        stop = start + len(labels)
        old = bytes(self.labels[start:stop])
        for label in set(old):
            self._counts[label] -= old.count(label)
        for label in set(labels):
            self._counts[label] += labels.count(label)
        self.labels[start:stop] = labels
        self.revision += 1
        return old


# ------------------------------------------------------------------------------------------------------ from a journal


def replay(history: LabelHistory, names: Sequence[str], entries: Sequence[Entry]) -> bool:
    """Bring a history to where a journal's entries left it. Frames that are not there any more are left out.

    Parameters
    ----------
    history : LabelHistory
        A new one.
    names : sequence of str
        The frames' names in the journal, by position.
    entries : sequence of Entry

    Returns
    -------
    bool
        Whether the entries say which frame was looked at last.
    """
    positions = {name: position for position, name in enumerate(names)}
    highest = -1
    is_known = False
    at_entry = 0
    while at_entry < len(entries):
        if keys := _one_by_one(entries, at_entry, names, history.cursor):
            history.change_one_by_one(keys)
            at_entry += len(keys)
            highest, is_known = max(highest, history.cursor - 1), True
            continue
        entry = entries[at_entry]
        at_entry += 1
        match entry:
            case Classes() | Moving() | Applied():
                continue
            case Labelled(frames, number, _, joined, restored):
                found = _places(frames, positions)
                highest = max(highest, found[-1][1] - 1) if found else highest
                label = NONE if number is None else number
                if restored:
                    history.change_for_good(found, label)
                else:
                    history.change(found, label, _position(entry.at, positions, highest, history.cursor), joined=joined)
            case Undone():
                history.take_back()
            case Redone():
                history.make_again()
            case Looked():
                pass
        there = _position(entry.at, positions, highest, -1)
        if there >= 0:
            history.cursor, is_known = min(there, history.count), True
    return is_known


def _one_by_one(entries: Sequence[Entry], first: int, names: Sequence[str], cursor: int) -> bytes:
    """The labels that entries give, beginning with the `first`, while each labels the frame at the cursor and steps on.

    Most entries of most journals do, and a hundred thousand of them shall not be replayed one by one.
    """
    labels = bytearray()
    for number in range(first, len(entries)):
        entry, place = entries[number], cursor + len(labels)
        if not isinstance(entry, Labelled) or entry.joined or entry.restored or place + 1 >= len(names):
            break
        if entry.at != names[place + 1] or entry.frames != (names[place],):
            break
        labels.append(NONE if entry.label is None else entry.label)
    return bytes(labels)


def _position(at: str | None, positions: dict[str, int], highest: int, otherwise: int) -> int:
    """The position of a frame. Past the last one means after all that have labels: later frames are still to do."""
    if at is None:
        return otherwise
    return highest + 1 if at == "" else positions.get(at, otherwise)


def _places(frames: Sequence[Run], positions: dict[str, int]) -> list[Stretch]:
    """The positions of frames, as far as these are there."""
    if len(frames) == 1 and isinstance(frames[0], str):  # nearly every entry
        position = positions.get(frames[0])
        return [] if position is None else [(position, position + 1)]
    found = sorted(positions[name] for name in from_runs(frames, positions))
    return [(run.start, run.stop) for run in ranges_of(found)]

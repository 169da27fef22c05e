"""The state of labelling: which frame is looked at, which class each frame was given, and what undo takes back.

It knows frames by position only, and neither windows nor files. Every method that changes a label returns an `Event` to
be stored before anything else is shown; replaying the events on a new session gives the same session.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

NONE = 255
"""The label of a frame that has none."""
FIRST_FOREIGN = 9
"""Labels from here on stand for classes that have no key; frames come with them but are not given them."""
BATCH = 10

Stretch = tuple[int, int]
"""Frames from the first position up to, but without, the second."""


@dataclass(frozen=True, slots=True)
class Change:
    """Frames were given a label, or it was taken away (`NONE`). If joined, it continues the change before it."""

    stretches: tuple[Stretch, ...]
    label: int
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Undo:
    """The last change was taken back."""


@dataclass(frozen=True, slots=True)
class Redo:
    """The change that was taken back last was made again."""


Event = Change | Undo | Redo


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


class Session:
    """Labelling of a number of frames.

    Parameters
    ----------
    count : int
        Number of frames.
    labels : bytes, optional
        The label that each frame comes with; none by default.

    Attributes
    ----------
    cursor : int
        The frame looked at, 0 to `count`; `count` is past the last one, where everything is done.
    labels : bytearray
        The label of each frame. Only to be read.
    came_with : bytes
        The labels at the beginning.
    hold : bool
        While it is on, frames that are left by playing or jumping take the label given last, `held`.
    held : int or None
        That label.
    revision : int
        Grows with every change of a label.
    """

    def __init__(self, count: int, labels: bytes | None = None) -> None:
        self.count = count
        self.came_with = bytes([NONE]) * count if labels is None else labels
        self.labels = bytearray(self.came_with)
        self.cursor = 0
        self.hold = False
        self.held: int | None = None
        self.revision = 0
        self.unreadable: list[int] = []
        self._counts = [self.labels.count(label) for label in range(256)]
        self._done: list[_Action | _Keys] = []
        self._undone: list[_Action] = []
        self._flowing = False  # whether what is passed over next belongs to the last action

    # ------------------------------------------------------------------------------------------------------- labelling

    def label(self, label: int) -> Change | None:
        """Label the current frame and step on. None if it can't be labelled; it steps on all the same."""
        return self.label_until(self.cursor + 1, label)

    def label_until(self, stop: int, label: int) -> Change | None:
        """Label from the current frame up to, but without, `stop`, and go there; the end is as far as it goes."""
        if self.hold:
            self.held = label
        return self._change([(self.cursor, min(stop, self.count))], label, min(stop, self.count))

    def clear(self) -> Change | None:
        """Take the current frame's label away and step on."""
        return self._change([(self.cursor, min(self.cursor + 1, self.count))], NONE, min(self.cursor + 1, self.count))

    def pass_to(self, target: int) -> Change | None:
        """Play or jump to another frame. The frames that are left on the way take the held label, if one is held.

        What is passed over in one go, until `pause` or any other key, is one change to undo.
        """
        target = self._within(target)
        if not self.hold or self.held is None:
            self.cursor = target
            return None
        left = (self.cursor, target) if target > self.cursor else (target + 1, min(self.cursor + 1, self.count))
        change = self._change([left], self.held, target, joined=self._flowing)
        self._flowing = self._flowing or change is not None
        return change

    def switch(self, label: int, since: int) -> Change | None:
        """Hold a label from here on, and give it to the frames that were passed over since a position as well."""
        self.hold, self.held = True, label
        self._flowing = False
        change = self._change([(since, self.cursor)], label, self.cursor)
        self._flowing = change is not None
        return change

    def hold_on(self, on: bool) -> None:
        """Begin to hold labels, or end it; which one, the next label tells."""
        self.pause()
        self.hold, self.held = on, None

    def pause(self) -> None:
        """What is passed over next is a change of its own."""
        self._flowing = False

    def nudge(self, by: int) -> Change | None:
        """Move the border between two labels that is at the cursor, or last before it, one frame on (1) or back (-1).

        The cursor goes with it, to the first frame after the border. Unreadable frames are passed over.
        """
        border = self._border_before(self.cursor + 1)
        if border is None:
            return None
        if by < 0:
            taker, label = border - 1, self._label_at(border)
        else:
            taker, label = border, self.labels[border - 1]
        while 0 <= taker < self.count and self.is_unreadable(taker):
            taker += by
        if not 0 <= taker < self.count:
            return None
        return self._change([(taker, taker + 1)], label, taker if by < 0 else taker + 1)

    def undo(self) -> Undo | None:
        """Take the last change back, cursor and all."""
        self.pause()
        if not self._done:
            return None
        action = self._take_last()
        for start, old, _ in reversed(action.parts):
            self._set(start, old)
        self._undone.append(action)
        self.cursor = action.before
        return Undo()

    def redo(self) -> Redo | None:
        """Make the change again that was taken back last."""
        self.pause()
        if not self._undone:
            return None
        action = self._undone.pop()
        for start, old, label in action.parts:
            self._set(start, bytes([label]) * len(old))
        self._done.append(action)
        self.cursor = action.after
        return Redo()

    # ---------------------------------------------------------------------------------------------------- looking about

    def go(self, position: int) -> None:
        """Look at another frame, whatever is held."""
        self.pause()
        self.cursor = self._within(position)

    def next_border(self) -> int:
        """Where the next frame is that is labelled differently from the one before it; the end if none is."""
        if self.cursor >= self.count:
            return self.count
        rest = self.labels[self.cursor :]
        return self.count - len(rest.lstrip(rest[:1]))

    def previous_border(self) -> int:
        """The same backwards; the beginning if there is none."""
        return self._border_before(self.cursor) or 0

    def next_unlabelled(self) -> int | None:
        """The next frame that has no label but could have one, going on at the beginning after the end."""
        for start, stop in ((self.cursor + 1, self.count), (0, self.cursor + 1)):
            found = self.labels.find(NONE, start, stop)
            while found >= 0 and self.is_unreadable(found):
                found = self.labels.find(NONE, found + 1, stop)
            if found >= 0:
                return found
        return None

    def next_unreadable(self) -> int | None:
        """The next frame that is known to be unreadable, going on at the beginning after the end."""
        if not self.unreadable:
            return None
        following = bisect_left(self.unreadable, self.cursor + 1)
        return self.unreadable[following % len(self.unreadable)]

    # ------------------------------------------------------------------------------------------------------------ facts

    @property
    def at_end(self) -> bool:
        return self.cursor == self.count

    @property
    def current(self) -> int:
        """The label of the current frame; `NONE` at the end."""
        return self._label_at(self.cursor)

    def counted(self, label: int) -> int:
        """How many frames have a label."""
        return self._counts[label]

    @property
    def labelled(self) -> int:
        """How many frames have any label."""
        return self.count - self._counts[NONE]

    @property
    def remaining(self) -> int:
        """How many frames have no label but could have one, as far as it is known."""
        return self._counts[NONE] - sum(self.labels[position] == NONE for position in self.unreadable)

    def can_undo(self) -> bool:
        return bool(self._done)

    def can_redo(self) -> bool:
        return bool(self._undone)

    def is_unreadable(self, position: int) -> bool:
        found = bisect_left(self.unreadable, position)
        return found < len(self.unreadable) and self.unreadable[found] == position

    def mark_unreadable(self, position: int) -> None:
        """From now on the frame can't be labelled."""
        if not self.is_unreadable(position):
            insort(self.unreadable, position)
            self.revision += 1

    def changes(self) -> Iterator[tuple[int, int]]:
        """Position and label of every frame whose label is not what it came with. Unreadable frames are left out."""
        for position, (label, before) in enumerate(zip(self.labels, self.came_with, strict=True)):
            if label != before and not self.is_unreadable(position):
                yield position, label

    # ----------------------------------------------------------------------------------------------------------- replay

    def replay(
        self,
        stretches: Iterable[Stretch],
        label: int,
        cursor: int | None,
        *,
        joined: bool = False,
        undoable: bool = True,
    ) -> None:
        """Make a change as it was made before, and put the cursor where it was put."""
        after = self.cursor if cursor is None else self._within(cursor)
        self.pause()
        if undoable:
            self._do(stretches, label, after, joined=joined)
            return
        for start, stop in stretches:
            self._set(start, bytes([label]) * (stop - start))
        self.cursor = after

    def replay_keys(self, labels: bytes) -> None:
        """Label the frames from the current one on as they were labelled before: one by one, each by its own key."""
        self.pause()
        start, self.cursor = self.cursor, self.cursor + len(labels)
        self._done.append(_Keys(start, bytearray(self._set(start, labels)), bytearray(labels)))
        self._undone.clear()

    # ------------------------------------------------------------------------------------------------------------ parts

    def _change(self, stretches: Iterable[Stretch], label: int, after: int, *, joined: bool = False) -> Change | None:
        if not joined:
            self._flowing = False
        changed = tuple(self._readable(stretches))
        if not changed:
            self.cursor = after
            return None
        return Change(changed, label, self._do(changed, label, after, joined=joined))

    def _do(self, stretches: Iterable[Stretch], label: int, after: int, *, joined: bool) -> bool:
        """Make a change, to be undone with the one before it if they are joined; returns whether they are."""
        joined = joined and bool(self._done)
        action = self._take_last() if joined else _Action(self.cursor, after)
        self.cursor = action.after = after
        for start, stop in stretches:
            action.parts.append((start, self._set(start, bytes([label]) * (stop - start)), label))
        self._done.append(action)
        self._undone.clear()
        return joined

    def _take_last(self) -> _Action:
        """Remove and return the action that undo takes back next."""
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

    def _readable(self, stretches: Iterable[Stretch]) -> Iterator[Stretch]:
        """The stretches without the unreadable frames in them."""
        for start, stop in stretches:
            gaps = self.unreadable[bisect_left(self.unreadable, start) : bisect_left(self.unreadable, stop)]
            for after, before in pairwise([start - 1, *gaps, stop]):
                if after + 1 < before:
                    yield after + 1, before

    def _border_before(self, position: int) -> int | None:
        """The last border before a position: a frame labelled differently from the one before it."""
        at = position - 1
        if at < 1:
            return None
        label = self._label_at(at)
        if self.labels[at - 1] != label:
            return at
        return len(self.labels[:at].rstrip(bytes([label]))) or None

    def _label_at(self, position: int) -> int:
        return self.labels[position] if position < self.count else NONE

    def _within(self, position: int) -> int:
        return max(0, min(position, self.count))

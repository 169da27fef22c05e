"""The state of labelling: the current frame, the label of each frame, and what undo takes back.

It knows frames by position, and neither windows nor files. Every method that changes a label returns an `Event` to
be stored before anything else is shown; replaying the events on a new session gives the same session.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from storage.labels.history import NONE, LabelHistory, Stretch
from storage.labels.journal import MAX_LABEL, Proposed

__all__ = [
    "BATCH",
    "FIRST_FOREIGN",
    "MOST_CLASSES",
    "NONE",
    "Change",
    "Event",
    "Group",
    "Redo",
    "Session",
    "Stretch",
    "Undo",
]

MOST_CLASSES = MAX_LABEL + 1
FIRST_FOREIGN = MOST_CLASSES
"""Labels from here on are of classes that have no key: frames may come with them, but keys don't give them."""
BATCH = 10


@dataclass(frozen=True, slots=True)
class Change:
    """Frames were given a label, or it was taken away (`NONE`). If joined, it continues the change before it.

    `proposed` is the model whose proposal it was; None if a person gave the label.
    """

    stretches: tuple[Stretch, ...]
    label: int
    joined: bool = False
    proposed: Proposed | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Changes that are made, kept and undone together: all of them or none."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Undo:
    """The last change was taken back."""


@dataclass(frozen=True, slots=True)
class Redo:
    """The change that was taken back last was made again."""


Event = Change | Group | Undo | Redo


class Session(LabelHistory):
    """Labelling of a number of frames; the parameters are those of `LabelHistory`.

    Attributes
    ----------
    hold : bool
        While it is on, frames that are left by playing or jumping take the label given last, `held`.
    held : int or None
        That label.
    unreadable : list of int
        The frames that are known to be unreadable, ascending.
    spared : sequence of int
        Frames that changes leave as they are, ascending.
    left_out : list of int
        Those of them that a change was for; whoever sets `spared` empties it.
    """

    def __init__(self, count: int, labels: bytes | None = None) -> None:
        super().__init__(count, labels)
        self.hold = False
        self.held: int | None = None
        self.unreadable: list[int] = []
        self.spared: Sequence[int] = ()
        self.left_out: list[int] = []
        self._flowing = False  # whether frames passed over next belong to the last change

    # ------------------------------------------------------------------------------------------------------- labelling

    def label(self, label: int) -> Change | None:
        """Label the current frame and step on. Returns None if it can't be labelled; it steps on all the same."""
        return self.label_until(self.cursor + 1, label)

    def label_until(self, stop: int, label: int) -> Change | None:
        """Label from the current frame up to, but without, `stop`, and go there, or to the end."""
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

    def paint(self, start: int, stop: int, label: int) -> Change | None:
        """Label from one frame up to, but without, another (`NONE` takes labels away); the cursor stays where it is."""
        return self._change([(self._within(start), self._within(stop))], label, self.cursor)

    def give(
        self, parts: Iterable[tuple[int, int, int]], after: int, proposed: Proposed | None = None, *, anew: bool = False
    ) -> Change | Group | None:
        """Give labels at once, to the frames without one, or with `anew` to all. `parts` are start, stop and label.

        `after` is where the cursor goes; `proposed` the model that proposed it.
        """
        self.pause()
        changes: list[Change] = []
        for start, stop, label in parts:
            stretches = tuple(self._readable([(start, stop)] if anew else self.open_frames(start, stop)))
            if stretches:
                joined = self.change(stretches, label, after, joined=bool(changes))
                changes.append(Change(stretches, label, joined, proposed))
        if not changes:
            self.cursor = after
            return None
        return changes[0] if len(changes) == 1 else Group(tuple(changes))

    def switch(self, label: int, since: int) -> Change | None:
        """Hold a label from here on, and give it also to the frames passed over since a position."""
        self.hold, self.held = True, label
        self._flowing = False
        change = self._change([(since, self.cursor)], label, self.cursor)
        self._flowing = change is not None
        return change

    def hold_on(self, on: bool) -> None:
        """Begin or end holding a label; the next label is the one."""
        self.pause()
        self.hold, self.held = on, None

    def pause(self) -> None:
        """End the present change: frames passed over next belong to another."""
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
        """Take the last change back, and the cursor with it."""
        self.pause()
        return Undo() if self.take_back() else None

    def redo(self) -> Redo | None:
        """Make the change again that was taken back last."""
        self.pause()
        return Redo() if self.make_again() else None

    # ---------------------------------------------------------------------------------------------------- looking about

    def go(self, position: int) -> None:
        """Look at another frame, whatever is held."""
        self.pause()
        self.cursor = self._within(position)

    def next_border(self) -> int:
        """Return the next frame whose label differs from the one before it; the end if there is none."""
        if self.cursor >= self.count:
            return self.count
        rest = self.labels[self.cursor :]
        return self.count - len(rest.lstrip(rest[:1]))

    def previous_border(self) -> int:
        """Return the same backwards; the beginning if there is none."""
        return self._border_before(self.cursor) or 0

    def next_unlabelled(self) -> int | None:
        """Return the next frame that has no label but could have one; after the end, from the beginning on."""
        for start, stop in ((self.cursor + 1, self.count), (0, self.cursor + 1)):
            found = self.labels.find(NONE, start, stop)
            while found >= 0 and self.is_unreadable(found):
                found = self.labels.find(NONE, found + 1, stop)
            if found >= 0:
                return found
        return None

    def open_frames(self, start: int, stop: int) -> Iterator[Stretch]:
        """The stretches without a label between two frames, unreadable frames and all."""
        while (start := self.labels.find(NONE, start, stop)) >= 0:
            rest = self.labels[start:stop]
            yield start, (start := stop - len(rest.lstrip(bytes([NONE]))))

    def unsettled_border(self, position: int) -> Stretch | None:
        """Two known frames with different labels, and none with a label between them.

        They are the first ones of which the second comes after a position; else, going on at the beginning, the first.
        """
        for start, stop in ((position, self.count), (0, position)):
            first = len(self.labels[:start].rstrip(bytes([NONE])))
            for begin, end in self.open_frames(first, self.count):
                if begin >= stop:
                    break
                if begin > 0 and end < self.count and self.labels[begin - 1] != self.labels[end]:
                    return begin - 1, end
        return None

    def next_alike(self) -> int | None:
        """Return the first frame of the next stretch that has the current frame's label."""
        found = self.labels.find(self.current, self.next_border())
        return None if found < 0 else found

    def previous_alike(self) -> int | None:
        """Return the last frame of the stretch before this one that has the current frame's label."""
        own = self._border_before(self.cursor + 1) or 0
        found = self.labels.rfind(self.current, 0, own)
        return None if found < 0 else found

    def next_unreadable(self) -> int | None:
        """Return the next frame that is known to be unreadable; after the end, from the beginning on."""
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

    @property
    def labelled(self) -> int:
        """How many frames have any label."""
        return self.count - self._counts[NONE]

    @property
    def remaining(self) -> int:
        """How many frames have no label, without those known to be unreadable."""
        return self._counts[NONE] - sum(self.labels[position] == NONE for position in self.unreadable)

    def is_unreadable(self, position: int) -> bool:
        found = bisect_left(self.unreadable, position)
        return found < len(self.unreadable) and self.unreadable[found] == position

    def mark_unreadable(self, position: int) -> None:
        """Note that a frame can't be labelled."""
        if not self.is_unreadable(position):
            insort(self.unreadable, position)
            self.revision += 1

    def changes(self) -> Iterator[tuple[int, int]]:
        """Yield position and label of every readable frame whose label is not the one it came with."""
        for position, (label, before) in enumerate(zip(self.labels, self.came_with, strict=True)):
            if label != before and not self.is_unreadable(position):
                yield position, label

    # ------------------------------------------------------------------------------------------------------------ parts

    def _change(self, stretches: Iterable[Stretch], label: int, after: int, *, joined: bool = False) -> Change | None:
        if not joined:
            self._flowing = False
        changed = tuple(self._readable(stretches))
        if not changed:
            self.cursor = after
            return None
        return Change(changed, label, self.change(changed, label, after, joined=joined))

    def _readable(self, stretches: Iterable[Stretch]) -> Iterator[Stretch]:
        """Yield the stretches without the unreadable and the spared frames in them."""
        for start, stop in stretches:
            gaps = self.unreadable[bisect_left(self.unreadable, start) : bisect_left(self.unreadable, stop)]
            spared = self.spared[bisect_left(self.spared, start) : bisect_left(self.spared, stop)]
            self.left_out += spared
            gaps = sorted({*gaps, *spared}) if spared else gaps
            for after, before in pairwise([start - 1, *gaps, stop]):
                if after + 1 < before:
                    yield after + 1, before

    def _border_before(self, position: int) -> int | None:
        """Return the last border before a position: a frame whose label differs from the one before it."""
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

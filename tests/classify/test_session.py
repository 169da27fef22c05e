"""The labelling state against the simplest model of it: a list of labels, and copies of it to go back to."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from classify.session import NONE, Session

CLASSES = st.integers(0, 8)


class Labelling(RuleBasedStateMachine):
    """A person who presses keys at random."""

    @initialize(count=st.integers(1, 40), unreadable=st.sets(st.integers(0, 39), max_size=6))
    def begin(self, count: int, unreadable: set[int]) -> None:
        self.session = Session(count)
        self.unreadable = {position for position in unreadable if position < count}
        for position in self.unreadable:
            self.session.mark_unreadable(position)
        self.labels = [NONE] * count
        self.before: list[list[int]] = []
        self.after: list[list[int]] = []

    def expect(self, start: int, stop: int, label: int) -> None:
        given = set(range(start, min(stop, len(self.labels)))) - self.unreadable
        if given:  # a key that labels nothing is nothing to undo
            self.before.append(self.labels)
            self.after.clear()
            self.labels = [label if position in given else old for position, old in enumerate(self.labels)]

    @rule(label=CLASSES)
    def a_digit(self, label: int) -> None:
        at = self.session.cursor
        self.session.label(label)
        self.expect(at, at + 1, label)

    @rule(label=CLASSES, frames=st.integers(1, 50))
    def a_stretch(self, label: int, frames: int) -> None:
        at = self.session.cursor
        self.session.label_until(min(at + frames, self.session.count), label)
        self.expect(at, at + frames, label)

    @rule()
    def take_away(self) -> None:
        at = self.session.cursor
        self.session.clear()
        self.expect(at, at + 1, NONE)

    @rule(position=st.integers(-5, 60))
    def go(self, position: int) -> None:
        self.session.go(position)

    @rule()
    def undo(self) -> None:
        assert self.session.can_undo() == bool(self.before)
        if self.session.undo() is not None:
            self.after.append(self.labels)
            self.labels = self.before.pop()

    @rule()
    def redo(self) -> None:
        assert self.session.can_redo() == bool(self.after)
        if self.session.redo() is not None:
            self.before.append(self.labels)
            self.labels = self.after.pop()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "session"):
            return
        assert list(self.session.labels) == self.labels
        assert self.session.labelled == sum(label != NONE for label in self.labels)
        assert 0 <= self.session.cursor <= self.session.count
        assert all(self.session.labels[position] == NONE for position in self.unreadable)


TestLabelling = Labelling.TestCase
TestLabelling.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

"""Writes the events of a session, which knows frames by position, to the label journal, which knows them by name.

`storage.labels.history.replay` reads them back.
"""

from __future__ import annotations

from collections.abc import Sequence

from classify.session import NONE, Change, Event, Group, Undo
from storage.labels.journal import Classes, Entry, LabelJournal, Labelled, Looked, Redone, Request, Undone
from storage.labels.runs import to_runs


class Keeper:
    """Adds the events of a session to a journal.

    Parameters
    ----------
    journal : LabelJournal
    names : sequence of str
        The frames' names, by position.
    classes : Classes
        What the labels stand for.
    cursor : int
        Where the session is.
    """

    def __init__(self, journal: LabelJournal, names: Sequence[str], classes: Classes, cursor: int) -> None:
        self._journal = journal
        self._names = names
        self._written = self._looked = cursor
        lines = [entry for entry in journal.entries if isinstance(entry, Classes)]
        self._first: list[Entry] = [] if lines and lines[-1] == classes else [classes]

    def name_classes(self) -> None:
        """Write down what the classes are, without waiting for a label; durable on return."""
        self._journal.append(*self._first)
        self._journal.sync()
        self._first = []

    def look(self, cursor: int) -> None:
        """Note the frame that is looked at now; `flush` or the next event writes it down."""
        self._looked = cursor

    def flush(self) -> None:
        """Write down which frame is looked at. It is not synced: a power cut may cost this, but no label."""
        if self._looked != self._written:
            self._journal.append(*self._first, Looked(self._name(self._looked)))
            self._first = []
            self._written = self._looked

    def keep(self, event: Event, cursor: int, by: Request | None = None) -> None:
        """Write an event down, and where the cursor is after it; `LabelJournal.sync` makes it durable.

        `by` is the request that asked for it, if one did.
        """
        at = self._name(cursor)
        entries: list[Entry]
        if isinstance(event, Change):
            entries = [self._labelled(event, at, by)]
        elif isinstance(event, Group):
            lines = len(event.changes)
            entries = [self._labelled(change, at, by, 0 if change.joined else lines) for change in event.changes]
        else:
            entries = [Undone(at, by) if isinstance(event, Undo) else Redone(at, by)]
        before = [Looked(self._name(self._looked))] if self._looked != self._written else []
        self._journal.append(*self._first, *before, *entries)
        self._first = []
        self._written = self._looked = cursor

    def _labelled(self, change: Change, at: str, by: Request | None, lines: int = 0) -> Labelled:
        frames = to_runs(self._names[position] for span in change.stretches for position in range(*span))
        label = None if change.label == NONE else change.label
        return Labelled(frames, label, at, change.joined, by=by, proposed=change.proposed, lines=lines)

    def _name(self, cursor: int) -> str:
        return self._names[cursor] if cursor < len(self._names) else ""

"""Between the session, which knows frames by position, and the label journal, which knows them by name.

`replay` brings a session to where a journal ends; a `Keeper` adds what happens from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from classify.session import NONE, Change, Event, Session, Stretch, Undo
from storage.labels.journal import (
    Classes,
    Entry,
    LabelJournal,
    Labelled,
    Looked,
    Moving,
    Redone,
    Run,
    Undone,
    from_runs,
    to_runs,
)


def replay(session: Session, names: Sequence[str], entries: Sequence[Entry]) -> bool:
    """Bring a session to where a journal's entries left it. Frames that are not there any more are left out.

    Returns whether the entries tell which frame was looked at last.
    """
    positions = {name: position for position, name in enumerate(names)}
    highest = -1
    cursor: int | None = None
    at_entry = 0
    while at_entry < len(entries):
        if keys := _one_by_one(entries, at_entry, names, session.cursor):
            session.replay_keys(keys)
            at_entry += len(keys)
            cursor = session.cursor
            highest = max(highest, cursor - 1)
            continue
        entry = entries[at_entry]
        at_entry += 1
        match entry:
            case Classes() | Moving():
                there = None
            case Labelled(frames, label, at, joined, restored):
                found = _places(frames, positions)
                highest = max(highest, found[-1][1] - 1) if found else highest
                there = _position(at, positions, highest)
                session.replay(found, NONE if label is None else label, there, joined=joined, undoable=not restored)
            case Undone(at):
                session.undo()
                there = _position(at, positions, highest)
            case Redone(at):
                session.redo()
                there = _position(at, positions, highest)
            case Looked(at):
                there = _position(at, positions, highest)
        if there is not None:
            cursor = there
            session.go(cursor)
    return cursor is not None


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


def _position(at: str | None, positions: dict[str, int], highest: int) -> int | None:
    """Where a frame is. Past the last one is after all that were labelled: what came since is still to do."""
    if at is None:
        return None
    return highest + 1 if at == "" else positions.get(at)


def _places(frames: Sequence[Run], positions: dict[str, int]) -> list[Stretch]:
    """Where frames are, as far as they are there."""
    if len(frames) == 1 and isinstance(frames[0], str):  # nearly every entry
        position = positions.get(frames[0])
        return [] if position is None else [(position, position + 1)]
    return list(_stretches(sorted(positions[name] for name in from_runs(frames) if name in positions)))


def _stretches(positions: Iterable[int]) -> Iterator[Stretch]:
    """Ascending positions as stretches."""
    start = previous = None
    for position in positions:
        if previous is None or position > previous + 1:
            if start is not None and previous is not None:
                yield start, previous + 1
            start = position
        previous = position
    if start is not None and previous is not None:
        yield start, previous + 1


class Keeper:
    """Adds to a journal what happens in a session.

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
        told = [entry for entry in journal.entries if isinstance(entry, Classes)]
        self._first: list[Entry] = [] if told and told[-1] == classes else [classes]

    def look(self, cursor: int) -> None:
        """Another frame is looked at; `flush`, or what happens next, writes it down."""
        self._looked = cursor

    def flush(self) -> None:
        """Write down which frame is looked at. Not synced: a power cut may cost it, but no label."""
        if self._looked != self._written:
            self._journal.append(*self._first, Looked(self._name(self._looked)))
            self._first = []
            self._written = self._looked

    def keep(self, event: Event, cursor: int) -> None:
        """Write an event down, and where the cursor is after it; `LabelJournal.sync` makes it durable."""
        at = self._name(cursor)
        entry: Entry
        if isinstance(event, Change):
            frames = to_runs(self._names[position] for span in event.stretches for position in range(*span))
            entry = Labelled(frames, None if event.label == NONE else event.label, at, event.joined)
        else:
            entry = Undone(at) if isinstance(event, Undo) else Redone(at)
        before = [Looked(self._name(self._looked))] if self._looked != self._written else []
        self._journal.append(*self._first, *before, entry)
        self._first = []
        self._written = self._looked = cursor

    def _name(self, cursor: int) -> str:
        return self._names[cursor] if cursor < len(self._names) else ""

"""The labels of a recording as they stand: those that it came with, and on top those that wait in its label journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from storage.errors import StorageError
from storage.labels.classes import known_classes, renumbered
from storage.labels.journal import (
    Entry,
    LabelJournal,
    Labelled,
    Redone,
    Undone,
    from_runs,
    journal_path,
)
from storage.png import PngReader
from storage.recording import Recording


def frame_names(recording: Recording) -> list[str]:
    """What the label journal calls the frames of a recording."""
    return recording.names if isinstance(recording, PngReader) else [f"{n:08d}" for n in range(len(recording))]


def labels_as_they_stand(recording: Recording) -> list[str | None]:
    """The class of each frame, None for those without one, with what the journal beside the recording says.

    Raises
    ------
    StorageError
        The journal is damaged, or a window has it open.
    """
    path = journal_path(recording.path, recording.of_track)
    if not path.exists():
        return list(recording.labels)
    with LabelJournal(path) as journal:
        return replay(recording, journal.entries)


def labels_wait_beside(path: Path) -> bool:
    """Whether a label journal beside a recording has labels that are not applied yet, or may get some from a window."""
    beside = journal_path(path)
    if not beside.exists():
        return False
    try:
        with LabelJournal(beside) as journal:
            return waiting(journal.entries)
    except StorageError:
        return True


def waiting(entries: Sequence[Entry]) -> bool:
    """Whether a journal has labels that are not applied yet."""
    return any(isinstance(entry, Labelled) for entry in entries)


def replay(recording: Recording, entries: Iterable[Entry]) -> list[str | None]:
    """The labels of a recording after all that a journal says."""
    entries = list(entries)
    known = known_classes(entries)
    labels = list(recording.labels)
    positions = {name: position for position, name in enumerate(frame_names(recording))} if waiting(entries) else {}
    done: list[list[Change]] = []
    undone: list[list[Change]] = []
    for entry in renumbered(entries, known):
        match entry:
            case Labelled(frames, number, _, joined, restored):
                label = None if number is None else known.directories[number]
                places = [positions[name] for name in from_runs(frames) if name in positions]
                changes = [(place, labels[place], label) for place in places]
                if not restored:
                    undone.clear()
                    if not (joined and done):
                        done.append([])
                    done[-1] += changes
                for place in places:
                    labels[place] = label
            case Undone() if done:
                undone.append(done.pop())
                for place, before, _ in reversed(undone[-1]):
                    labels[place] = before
            case Redone() if undone:
                done.append(undone.pop())
                for place, _, after in done[-1]:
                    labels[place] = after
            case _:
                pass
    return labels


Change = tuple[int, str | None, str | None]
"""A frame by its place, its label before and after."""

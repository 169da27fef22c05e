"""The present labels of a recording: those stored in it, and on top of them those in its label journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from storage.errors import StorageError
from storage.labels.classes import DEFAULT, known_classes, renumbered
from storage.labels.journal import (
    MAX_LABEL,
    Classes,
    Entry,
    LabelJournal,
    Labelled,
    Redone,
    Undone,
    from_runs,
    journal_path,
    to_runs,
)
from storage.recording import Recording


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
    positions = {name: position for position, name in enumerate(recording.names)} if waiting(entries) else {}
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


def keep_waiting(
    path: Path,
    names: Sequence[str],
    journal: LabelJournal,
    before: Sequence[str | None],
    wanted: Sequence[str | None],
) -> None:
    """Add the changes to the label journal, as one action of a person.

    `names` are `Recording.names`. Raises `StorageError` if there are more classes than keys for them.
    """
    given: dict[str | None, list[str]] = {}
    for name, old, new in zip(names, before, wanted, strict=True):
        if old != new:
            given.setdefault(new, []).append(name)
    if not given:
        return
    classes = _classes_with(path, journal, [label for label in given if label is not None])
    numbers = {directory: number for number, directory in enumerate(classes.directories)}
    entries: list[Entry] = [] if classes in journal.entries[-1:] else [classes]
    for count, (label, frames) in enumerate(given.items()):
        entries.append(Labelled(to_runs(frames), None if label is None else numbers[label], joined=count > 0))
    journal.append(*entries)
    journal.sync()


def _classes_with(path: Path, journal: LabelJournal, labels: Sequence[str]) -> Classes:
    """The classes of the journal, followed by those that it lacks."""
    classes = known_classes(journal.entries)
    if not classes.names and set(labels) <= set(DEFAULT.directories):
        classes = DEFAULT
    more = tuple(label for label in labels if label not in classes.directories)
    if len(classes.directories) + len(more) > MAX_LABEL + 1:
        raise StorageError(
            f"{path}: there would be {len(classes.directories) + len(more)} classes, and python -m classify has keys "
            f"for {MAX_LABEL + 1}; nothing was changed"
        )
    return Classes((*classes.names, *more), (*classes.directories, *more))

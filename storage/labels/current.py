"""The present labels of a recording: those stored in it, and on top of them those in its label journal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeGuard

from storage.errors import StorageError
from storage.labels.beside import journal_path, live_path
from storage.labels.classes import DEFAULT, known_classes, renumbered
from storage.labels.history import NONE, LabelHistory
from storage.labels.history import replay as replay_journal
from storage.labels.journal import MAX_LABEL, Classes, Entry, LabelJournal, Labelled
from storage.labels.live import entries_waiting
from storage.labels.runs import from_runs, to_runs
from storage.recording import Recording

_UNTOUCHED = 254
"""The label of a frame of which the journal says nothing; `MAX_LABEL` and the number of classes are far below it."""


def labels_as_they_stand(recording: Recording) -> list[str | None]:
    """The class of each frame, None for those without one, with what the journal beside the recording says, and the
    live labels that wait for it.

    Raises
    ------
    StorageError
        The journal is damaged or of another recording, or a window has it open.
    """
    path = journal_path(recording.path, recording.of_track)
    entries: list[Entry] = []
    if path.exists():
        with LabelJournal(path) as journal:
            journal.belongs_to(recording)
            entries = journal.entries
    return replay(recording, [*entries, *entries_waiting(recording, entries)])


def labels_wait_beside(path: Path) -> bool:
    """Whether a label journal beside a recording has labels that are not applied yet, or may get some from a window.

    Or from keys that were pressed while it was recorded.
    """
    if live_path(path).exists():
        return True
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


def is_about_sorted(entry: Entry) -> TypeGuard[Labelled]:
    """Whether an entry of a journal is about frames in a class directory."""
    return isinstance(entry, Labelled) and any("/" in (run if isinstance(run, str) else run[0]) for run in entry.frames)


def refuse_waiting(path: Path, entries: Sequence[Entry], moving: Collection[str] | None = None) -> None:
    """Raise `StorageError` if labels wait for sorted frames (of those that are `moving`), which lose them by moving."""
    about = filter(is_about_sorted, entries)
    if any(moving is None or any(True for _ in from_runs(entry.frames, moving)) for entry in about):
        raise StorageError(
            f"{path} has new labels of sorted frames, and nothing was moved; apply them first: S in "
            f"'python -m classify {path}'"
        )


def replay(recording: Recording, entries: Sequence[Entry]) -> list[str | None]:
    """The labels of a recording after all that a journal says."""
    if not waiting(entries):
        return list(recording.labels)
    names, known = recording.names, known_classes(entries)
    history = LabelHistory(len(names), bytes([_UNTOUCHED]) * len(names))
    replay_journal(history, names, renumbered(entries, known))
    return [
        before if label == _UNTOUCHED else None if label == NONE else known.directories[label]
        for label, before in zip(history.labels, recording.labels, strict=True)
    ]


def keep_waiting(
    path: Path,
    names: Sequence[str],
    journal: LabelJournal,
    before: Sequence[str | None],
    wanted: Sequence[str | None],
    *,
    restored: bool = False,
) -> None:
    """Add the changes to the label journal, as one action of a person; or `restored`, as those given elsewhere.

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
        number = None if label is None else numbers[label]
        entries.append(Labelled(to_runs(frames), number, joined=count > 0 and not restored, restored=restored))
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

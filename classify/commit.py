"""What S does: frames of a data directory move into their class directories, and back.

Labels of other recordings are written into the file, if the format can (`Format.write_labels`), or into a table beside
it. For how moves survive a crash see `storage.durable.moves`. Labels are forgotten only when their frames have moved.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classify.frames import Opened
from classify.session import NONE, Session
from storage.care.split import is_split
from storage.durable.moves import complete, last_facts, move_files, undo
from storage.errors import StorageError
from storage.formats.png.directory import MOVES_NAME
from storage.formats.table import label_writer
from storage.labels.classes import DEFAULT, known_classes
from storage.labels.current import is_about_sorted, refuse_waiting
from storage.labels.journal import Classes, Entry, LabelJournal, Labelled, Moving
from storage.labels.origins import applied
from storage.labels.runs import to_runs
from storage.labels.table import write_table


@dataclass(frozen=True, slots=True)
class Placement:
    """A frame's name, its label, and its class directory; both are None for a frame that lost its label."""

    name: str
    label: int | None
    directory: str | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of the labels.

    Attributes
    ----------
    counts : Counter
        Frames by class directory; "" for those that went back to the ones without a class.
    renamed : dict
        Frames that got another name, as theirs was taken: where they were to go, and where they are.
    missing : list of str
        Frames that are not there any more.
    table : path or None
        The table that the labels were written to.
    """

    counts: Counter[str] = field(default_factory=Counter)
    renamed: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    table: Path | None = None


def save(opened: Opened, session: Session, journal: LabelJournal) -> Applied:
    """Apply the labels. Then frames have other names: open the recording again to go on.

    Raises
    ------
    StorageError
        It can't be done; the labels are kept.
    """
    _check_still_there(opened)
    path, classes = opened.recording.path, opened.classes
    if opened.directory is None:
        labels = [opened.class_of(label) for label in session.labels]
        return write_labels(path, journal, labels, classes, opened.recording.of_track)
    placements = [
        Placement(opened.names[position], None if label == NONE else label, opened.class_of(label))
        for position, label in session.changes()
    ]
    return move_labelled(path, journal, placements, classes) if placements else Applied()


def _check_still_there(opened: Opened) -> None:
    """Refuse to apply labels if another directory now has the recording's name: the labels would be lost."""
    path, was = opened.recording.path, opened.directory
    try:
        now = path.stat()
    except FileNotFoundError:
        raise StorageError(
            f"{path} is not there any more; nothing was changed. Move it back, and the same command goes on"
        ) from None
    if stat.S_ISDIR(now.st_mode) if was is None else not os.path.samestat(was, now):
        raise StorageError(
            f"{path} is not the recording that was opened; nothing was changed. Move the right one back, "
            "and the same command goes on with its labels"
        )


def move_labelled(data_dir: Path, journal: LabelJournal, placements: Sequence[Placement], classes: Classes) -> Applied:
    """Move frames of a data directory into their class directories, and forget their labels.

    Raises
    ------
    StorageError
        Nothing was moved, or moving was interrupted and goes on at the next start. The labels are kept either way.
    """
    for directory in {place.directory for place in placements if place.directory is not None}:
        if (data_dir / directory).is_symlink():
            link = data_dir / directory
            raise StorageError(f"{link} is a symbolic link, not a directory in {data_dir}; nothing was moved")
    by_label: dict[int | None, list[str]] = {}
    for place in placements:
        by_label.setdefault(place.label, []).append(place.name)
    facts = {
        "labels": journal.name,
        "classes": classes.names,
        "directories": classes.directories,
        "given": [[label, to_runs(names)] for label, names in by_label.items()],
    }
    pairs = [(place.name, os.path.join(place.directory or "", os.path.basename(place.name))) for place in placements]
    journal.append(Moving())
    journal.sync()
    moved = move_files(data_dir / MOVES_NAME, pairs, facts=facts)
    _forget(journal, classes)
    gone = set(moved.missing)
    counts = Counter(place.directory or "" for place in placements if place.name not in gone)
    return Applied(counts, moved.renamed, moved.missing)


def write_labels(
    path: Path, journal: LabelJournal, labels: Sequence[str | None], classes: Classes, of_track: str = ""
) -> Applied:
    """Write the labels of a recording that is one file into it, or into a table beside it.

    `of_track` is `storage.recording.Recording.of_track`.

    Raises
    ------
    StorageError
        They can't be written, or the file has more or fewer frames by now; they are kept in the journal.
    """
    counts = Counter(label for label in labels if label is not None)
    write = label_writer(path, of_track)
    if write is None:  # labels are still read from the journal
        return Applied(counts, table=write_table(path, labels, of_track))
    try:
        write(labels, list(dict.fromkeys([*classes.directories, *(label for label in labels if label is not None)])))
    except ValueError as error:  # it was recorded into since, or it is another file
        raise StorageError(
            f"{path} has changed since the window opened ({error}); nothing was written, the labels are kept, and the "
            "same command goes on"
        ) from None
    _forget(journal, classes)
    return Applied(counts)


def finish(data_dir: Path, journal: LabelJournal) -> bool:
    """Complete an interrupted move into class directories, or back. Returns whether there was one.

    Raises
    ------
    StorageError
        It can't be completed.
    """
    moves = data_dir / MOVES_NAME
    completed = complete(moves) is not None
    if journal.entries and isinstance(journal.entries[-1], Moving):
        facts = last_facts(moves)
        if facts is not None and facts.get("labels") == journal.name:  # all has moved, but the labels are still there
            _forget(journal, _classes_then(facts))
            completed = True
    return completed


def take_back(data_dir: Path, journal: LabelJournal) -> tuple[int, list[str], dict[str, str]]:
    """Take the last S back; the frames have their labels again, in the journal. Open the recording again to go on.

    Returns
    -------
    int, list of str, dict
        How many frames are back, which are not there any more, and which got another name since theirs was taken.

    Raises
    ------
    StorageError
        There is nothing to take back, or it can't be.
    """
    if not data_dir.is_dir():
        raise StorageError(
            f"{data_dir}: S moved nothing, so there is nothing to move back; take labels back in the window"
        )
    if is_split(data_dir):
        raise StorageError(f"{data_dir} is split; take that back first: python -m storage split {data_dir} --undo")
    finish(data_dir, journal)
    facts = last_facts(data_dir / MOVES_NAME)
    if facts is None:
        raise StorageError(f"{data_dir}: there is nothing to undo")
    refuse_waiting(data_dir, [each for each in journal.entries if is_about_sorted(each) and not each.restored])
    # Labels first: labels of frames that are not there do no harm.
    journal.append(*_restored(facts, journal))
    journal.sync()
    moved = undo(data_dir / MOVES_NAME)
    return moved.count, moved.missing, moved.renamed


def _forget(journal: LabelJournal, classes: Classes) -> None:
    """Forget the labels, which are applied. Names given to classes stay known, and what a model proposed."""
    journal.clear(*([classes] if classes != DEFAULT else []), *applied(journal.read()))


def _restored(facts: dict[str, Any], journal: LabelJournal) -> list[Entry]:
    """Return the labels of a move as entries for the journal, with the numbers that classes had then."""
    then, now = _classes_then(facts), known_classes(journal.entries)
    entries: list[Entry] = [then]
    for label, runs in facts.get("given", ()):
        frames = tuple(run if isinstance(run, str) else (str(run[0]), int(run[1])) for run in runs)
        entries.append(Labelled(frames, label, restored=True))
    return [*entries, *([now] if now.names and now != then else [])]


def _classes_then(facts: dict[str, Any]) -> Classes:
    """Return the classes of the labels when their frames moved."""
    return Classes(tuple(map(str, facts.get("classes", ()))), tuple(map(str, facts.get("directories", ()))))

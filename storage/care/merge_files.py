"""Several recordings that are files into one, session after session, as they are stored: nothing is encoded anew.

Sessions are known by their ids. So a merge that is repeated adds nothing, and one with more files adds these. What a
format does to the bytes is in its `storage.formats.contract.Append`: all sessions of a merge are added, or none.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from storage.durable.files import appearing, is_locked
from storage.errors import StorageError, no_directory
from storage.formats.contract import Part
from storage.formats.table import find_append, find_format, open_recording
from storage.labels import PERSON
from storage.labels.beside import refuse_left_over
from storage.labels.classes import classes_together, keep_classes, recorded_classes
from storage.labels.current import labels_as_they_stand
from storage.labels.journal import Classes
from storage.labels.origins import keep_origins, origins
from storage.names import printable
from storage.recording import number_name
from storage.sessions import close_interrupted, spans_of


@dataclass(slots=True)
class Merged:
    """The result of a merge.

    Attributes
    ----------
    counts : Counter
        Frames added to each class; "" counts those without one.
    sessions : int
        Sessions that were added.
    present : int
        Frames that were there already.
    conflicts : list of (path, str)
        Files whose frames have another label in the result, or lost theirs, and how many.
    notes : list of str
        What a person should know of the files.
    """

    counts: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    present: int = 0
    conflicts: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Session:
    """A session of a file: its part, and of each frame the time and who gave the label."""

    part: Part
    times_ns: Sequence[int]
    origins: Sequence[str | None]

    @property
    def id(self) -> str:
        return str(self.part.session["id"])


def merge_files(out: Path, inputs: Sequence[Path], *, progress: Callable[[int, int], None] | None = None) -> Merged:
    """Add the sessions of recordings that are files to another one of the same format; durable on return.

    Parameters
    ----------
    out : path
        The file to add to; made if it is not there.
    inputs : sequence of path
        They are not changed.
    progress : callable, optional
        Told how many of how many frames are done.

    Raises
    ------
    StorageError
        The files can't be one as they are stored, one is damaged or being recorded into, or the disk is full: nothing
        was added. Damaged frames go along.
    """
    append = find_append(out)
    if append is None or out.suffix.lower() in find_format(out).also_reads:
        raise StorageError(f"{out}: such files can't be merged; convert them first, to .mkv or .h5")
    _check(out, inputs)
    there = [out] if out.exists() else []
    classes = classes_together([*there, *inputs])
    old = _sessions_of(out, classes, Merged(), without_lost_labels=False) if there else []
    known, frames = {session.id: session for session in old}, sum(len(session.times_ns) for session in old)
    merged, new = Merged(), list[_Session]()
    for path in inputs:
        differing = 0
        for session in _sessions_of(path, classes, merged):
            if (before := known.get(session.id)) is None:
                known[session.id] = session
                new.append(session)
                continue
            if list(before.times_ns) != list(session.times_ns):
                raise StorageError(
                    f"{path}: its session {session.id} is in {before.part.path} too, with {len(before.times_ns)} "
                    f"frames and not these {len(session.times_ns)}; merge into a new file, from the longer one "
                    "(nothing was added)"
                )
            merged.present += len(session.times_ns)
            differing += sum(a != b for a, b in zip(before.part.labels, session.part.labels, strict=True))
        if differing:
            merged.conflicts.append((path, f"{differing} of its frames are there already, with another label"))
    if not new:
        return merged
    given = {number_name(frames + at): origin for at, origin in enumerate(o for one in new for o in one.origins)}

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, len(given))

    parts = [session.part for session in new]
    if there:
        keep_classes(out, classes)
        keep_origins(out, given)  # first: without it, a model's labels would count as a person's
        try:
            merged.notes += append(out, parts, classes.directories, after=len(old), progress=tell)
        except (StorageError, OSError) as error:
            keep_origins(out, dict.fromkeys(given, PERSON))
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{error.filename or out}: {error.strerror}; nothing was added") from None
    else:
        with appearing(out) as made:
            refuse_left_over(out)
            merged.notes += append(made, parts, classes.directories, after=0, progress=tell)
            keep_origins(made, given)
            keep_classes(made, classes)
    merged.sessions = len(new)
    merged.counts.update(label or "" for part in parts for label in part.labels)
    return merged


def _check(out: Path, inputs: Sequence[Path]) -> None:
    if not out.parent.is_dir():
        raise no_directory(out.parent)
    suffix = find_format(out).suffix
    real = [os.path.realpath(path) for path in inputs]
    for path, place in zip(inputs, real, strict=True):
        if not path.exists():
            raise StorageError(f"{path}: no such recording")
        if (row := find_format(path)).suffix != suffix:
            kind = f"a {row.suffix} file" if row.suffix else "a directory"
            other = quote(str(path.with_name(f"{path.name.removesuffix(row.suffix)}{suffix}")))
            raise StorageError(
                f"{path} is {kind}, and {out} is to be a {suffix} file; convert it first: python -m storage convert "
                f"{quote(str(path))} {other}"
            )
        if real.count(place) > 1 or (out.exists() and os.path.samefile(path, out)):
            raise StorageError(f"{path} is given twice")
    for path in (*inputs, out):
        if is_locked(path):
            raise StorageError(f"{path} is being recorded into; merge it when that has ended")


def _sessions_of(path: Path, classes: Classes, merged: Merged, *, without_lost_labels: bool = True) -> list[_Session]:
    """The sessions of a file, oldest first, with its labels by the directories of `classes`.

    Raises StorageError if labels can't be read, unless such frames may be `without_lost_labels`.
    """
    place_of = dict(zip(classes.names, classes.directories, strict=True))
    with open_recording(path) as recording:
        recording.lost_labels = [] if without_lost_labels else None
        own = recorded_classes(recording)
        places: dict[str | None, str | None] = {
            place: place_of.get(name, place) for place, name in zip(own.directories, own.names, strict=True)
        }
        sessions: list[dict[str, Any]] = [dict(session) for session in recording.sessions]
        spans = spans_of(sessions, len(recording))
        if spans is None:
            why = "was cut off" if recording.interrupted else "is damaged, or was not recorded by this program"
            raise StorageError(
                f"{path} {why}: what it knows of its sessions is missing; make one session of it first: "
                f"python -m storage convert {quote(str(path))} {quote(str(path.with_name(f'whole-{path.name}')))}"
            )
        merged.notes += [f"{path}: {damage}" for damage in recording.damage]
        close_interrupted(sessions, len(recording))
        labels = [places.get(label, label) for label in labels_as_they_stand(recording)]
        times, given = list(recording.timestamps_ns), origins(recording)
        if recording.lost_labels:
            lost = "; ".join(dict.fromkeys(recording.lost_labels))
            merged.conflicts.append((path, f"{lost}: such frames go along without a class"))
    return [
        _Session(
            Part(path, span, labels[span.start : span.stop], {"merged_from": printable(path.name), **session}),
            times[span.start : span.stop],
            given[span.start : span.stop],
        )
        for session, span in zip(sessions, spans, strict=True)
    ]

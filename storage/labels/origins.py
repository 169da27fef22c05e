"""Who gave the labels: a person, or a model whose proposal was accepted, seen or unseen.

The label journal tells it, before labels are applied and afterwards. Frames are known by their base names, which
sorting them into class directories does not change. `keep_origins` tells it to the journal of another recording.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from storage.errors import StorageError
from storage.labels import PERSON, SEEN, UNSEEN, current
from storage.labels.beside import journal_path
from storage.labels.history import NONE, LabelHistory, replay
from storage.labels.journal import Applied, Entry, LabelJournal, Labelled, read_journal
from storage.labels.live import entries_beside
from storage.labels.runs import Run, from_runs, pieces, to_runs
from storage.recording import Recording

_CODES = (PERSON, SEEN, UNSEEN)
_SEEN_BY_A_PERSON = {PERSON: None, SEEN: True, UNSEEN: False}
"""What a journal's `Applied` says of each."""


def origins(recording: Recording) -> list[str | None]:
    """`PERSON`, `SEEN` or `UNSEEN` for each frame of a recording that has a label; None for the others.

    A window may be labelling it meanwhile. Where the journal can't be read, all labels count as a person's.
    """
    entries: list[Entry] = []
    with suppress(StorageError, OSError):
        entries = entries_beside(recording)
    by_model = proposed(entries, map(os.path.basename, recording.names))
    labels = current.replay(recording, entries)
    return [
        None if label is None else by_model.get(os.path.basename(name), PERSON)
        for name, label in zip(recording.names, labels, strict=True)
    ]


def count_origins(recording: Recording) -> Counter[str]:
    """How many labels of a recording come from where."""
    return Counter(origin for origin in origins(recording) if origin is not None)


def applied(entries: Sequence[Entry]) -> list[Applied]:
    """What a journal keeps of its labels once they are applied: which of them a model proposed."""
    if not _tell_proposals(entries):
        return []
    mentioned = (entry.frames for entry in entries if isinstance(entry, Labelled | Applied))
    counts = pieces(run for frames in mentioned for run in _based(frames))  # as in a line that claims millions
    return as_entries(proposed(entries, counts), counts)  # of each piece the first name stands for all


def as_entries(given: Mapping[str, str | None], counts: Mapping[str, int] | None = None) -> list[Applied]:
    """The entries of a journal that tell who gave labels that are applied.

    `given` is by base names of frames; with `counts`, each is the first of so many.
    """
    named = [((name, counts[name] if counts else 1), given[name]) for name in sorted(given)]
    of_kind = {kind: [run for run, origin in named if origin == kind] for kind in _CODES}
    return [Applied(to_runs(runs), _SEEN_BY_A_PERSON[kind]) for kind, runs in of_kind.items() if runs]


def applied_origins(data_dir: Path, frames: Iterable[str]) -> dict[str, str]:
    """`SEEN` or `UNSEEN` for those of some sorted frames, by their base names, whose class a model proposed.

    Labels that wait in the journal don't count. Raises `StorageError` if it is damaged, OSError if it can't be read.
    """
    return proposed([entry for entry in read_journal(journal_path(data_dir)) if isinstance(entry, Applied)], frames)


def keep_origins(path: Path, given: Mapping[str, str | None]) -> None:
    """Store who gave the labels of frames that come into a recording, by their base names; durable on return.

    For a new recording this comes before `storage.labels.classes.keep_classes`: so its journal says a version that
    knows of it.

    Raises
    ------
    StorageError
        A window labels the recording, or the journal is damaged or can't be written.
    """
    known = proposed(read_journal(journal_path(path)), given)
    new = {name: origin for name, origin in given.items() if origin and known.get(name, PERSON) != origin}
    if new:
        with LabelJournal(journal_path(path)) as journal:
            journal.append(*as_entries(new))
            journal.sync()


def forget_origins(path: Path, first: int) -> None:
    """Forget who gave labels to frames of a file that did not come: those from that number on, which others get now.

    A merge that was killed has said so before they were there. A journal that is damaged or open elsewhere stays.
    """
    with suppress(StorageError, OSError):
        entries = read_journal(journal_path(path))
        claims = pieces(run for entry in entries if isinstance(entry, Applied) for run in _based(entry.frames))
        late = {name: PERSON for name in proposed(entries, claims) if name.isdecimal() and int(name) >= first}
        if late:
            with LabelJournal(journal_path(path)) as journal:
                journal.append(*as_entries(late, claims))
                journal.sync()


def proposed(entries: Sequence[Entry], frames: Iterable[str]) -> dict[str, str]:
    """Those of some frames, by their base names, whose last label a model proposed.

    Who gave it is replayed as the labels are, undo and all.
    """
    if not _tell_proposals(entries):
        return {}
    names = list(dict.fromkeys(frames))
    history = LabelHistory(len(names))
    positions = {name: position for position, name in enumerate(names)}
    code_of = {seen: _CODES.index(origin) for origin, seen in _SEEN_BY_A_PERSON.items()}
    for entry in entries:
        if not isinstance(entry, Applied):
            continue
        for position in map(positions.__getitem__, from_runs(_based(entry.frames), positions)):
            history.change_for_good([(position, position + 1)], code_of[entry.seen])
    replay(history, names, [_coded(entry) for entry in entries])
    return {name: _CODES[code] for name, code in zip(names, history.labels, strict=True) if code not in (0, NONE)}


def _tell_proposals(entries: Iterable[Entry]) -> bool:
    """Whether entries say that a model proposed some labels: those of most journals don't, and may be many."""
    return any(isinstance(entry, Applied) or (isinstance(entry, Labelled) and entry.proposed) for entry in entries)


def _coded(entry: Entry) -> Entry:
    """The same change, with the number of who gave the label in place of the label."""
    if not isinstance(entry, Labelled):
        return entry
    frames: tuple[Run, ...] = () if entry.restored else _based(entry.frames)
    if entry.label is None:
        return replace(entry, frames=frames)
    code = 0 if entry.proposed is None else 1 if entry.proposed.seen else 2
    return replace(entry, frames=frames, label=code)


def _based(frames: Iterable[Run]) -> tuple[Run, ...]:
    """The same frames by their base names, in which they count up."""
    return tuple(
        os.path.basename(run) if isinstance(run, str) else (os.path.basename(run[0]), run[1]) for run in frames
    )

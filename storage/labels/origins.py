"""Who gave the labels: a person, or a model whose proposal was accepted, seen or unseen.

The label journal tells it, before labels are applied and afterwards. Frames are known by their base names, which
sorting them into class directories does not change.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from storage.errors import StorageError
from storage.labels import current
from storage.labels.history import NONE, LabelHistory, replay
from storage.labels.journal import Applied, Entry, Labelled, journal_path, read_journal
from storage.labels.runs import Run, from_runs, pieces, to_runs
from storage.recording import Recording

PERSON, SEEN, UNSEEN = "person", "model, seen", "model, unseen"
_CODES = (PERSON, SEEN, UNSEEN)


def origins(recording: Recording) -> list[str | None]:
    """`PERSON`, `SEEN` or `UNSEEN` for each frame of a recording that has a label; None for the others.

    A window may be labelling it meanwhile. Where the journal can't be read, all labels count as a person's.
    """
    entries: list[Entry] = []
    with suppress(StorageError, OSError):
        entries = read_journal(journal_path(recording.path, recording.of_track))
    proposed = _proposed(entries, map(os.path.basename, recording.names))
    labels = current.replay(recording, entries)
    return [
        None if label is None else proposed.get(os.path.basename(name), PERSON)
        for name, label in zip(recording.names, labels, strict=True)
    ]


def count_origins(recording: Recording) -> Counter[str]:
    """How many labels of a recording come from where."""
    return Counter(origin for origin in origins(recording) if origin is not None)


def applied(entries: Sequence[Entry]) -> list[Applied]:
    """What a journal keeps of its labels once they are applied: which of them a model proposed."""
    mentioned = (entry.frames for entry in entries if isinstance(entry, Labelled | Applied))
    counts = pieces(run for frames in mentioned for run in _based(frames))  # as in a line that claims millions
    proposed = sorted(_proposed(entries, counts).items())  # of each piece the first name stands for all
    of_kind = {kind: [(name, counts[name]) for name, one in proposed if one == kind] for kind in (SEEN, UNSEEN)}
    return [Applied(to_runs(runs), kind == SEEN) for kind, runs in of_kind.items() if runs]


def _proposed(entries: Sequence[Entry], frames: Iterable[str]) -> dict[str, str]:
    """Those of some frames, by their base names, whose last label a model proposed.

    Who gave it is replayed as the labels are, undo and all.
    """
    told = [entry for entry in entries if isinstance(entry, Applied)]
    if not told and not any(isinstance(entry, Labelled) and entry.proposed for entry in entries):
        return {}
    names = list(dict.fromkeys(frames))
    history = LabelHistory(len(names))
    positions = {name: position for position, name in enumerate(names)}
    for entry in told:
        for position in map(positions.__getitem__, from_runs(_based(entry.frames), positions)):
            history.change_for_good([(position, position + 1)], _CODES.index(SEEN if entry.seen else UNSEEN))
    replay(history, names, [_coded(entry) for entry in entries])
    return {name: _CODES[code] for name, code in zip(names, history.labels, strict=True) if code not in (0, NONE)}


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

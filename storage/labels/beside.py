"""Where the labels of a recording lie: the label journal and others, in its directory or beside its file."""

from __future__ import annotations

import os
from pathlib import Path

from storage.errors import StorageError

JOURNAL_NAME, LIVE_NAME = "labels.jsonl", "live.jsonl"
LABEL_ENDINGS = (f".{JOURNAL_NAME}", ".labels.csv", f".{LIVE_NAME}")
"""Endings of the files that lie beside a recording that is one file, and hold labels of it."""


def journal_path(recording: Path, of_track: str = "") -> Path:
    """Where a recording's label journal lies; `of_track` is `storage.recording.Recording.of_track`."""
    return path_beside(recording, JOURNAL_NAME, of_track)


def live_path(recording: Path) -> Path:
    """Where a recording's live labels lie until they are adopted."""
    return path_beside(recording, LIVE_NAME)


def path_beside(recording: Path, name: str, of_track: str = "") -> Path:
    """Where a file about a recording lies: in a data directory; beside a file, whose name comes before its own.

    ``day1/labels.csv``, ``day1.mp4.labels.csv``; of a further track of pictures: ``all.mkv.B.labels.csv``.
    """
    if recording.is_dir():
        return recording / name
    return recording.with_name(".".join(filter(None, (recording.name, of_track, name))))


def files_beside(recording: Path, endings: tuple[str, ...] = LABEL_ENDINGS) -> list[Path]:
    """The label files of a recording that is one file, and of its further tracks."""
    with os.scandir(recording.parent) as entries:
        names = [e.name for e in entries if e.name.startswith(f"{recording.name}.") and e.name.endswith(endings)]
    found = []
    for path in map(recording.with_name, sorted(names)):
        owner = path.with_name(path.name.rsplit(".", 2)[0])  # day1.mkv.h5 may be a recording too
        if path.is_file() and not path.is_symlink() and (owner == recording or not owner.exists()):
            found.append(path)
    return found


def refuse_left_over(recording: Path, endings: tuple[str, ...] = LABEL_ENDINGS) -> None:
    """Raise StorageError if label files lie where a new recording is made, whose labels they would become."""
    for path in files_beside(recording, endings):
        raise StorageError(f"{path} is of another recording; move it away, or choose another name")

"""The recordings of a folder: which there are, and what is known of each.

Pages know a recording by an identifier made of its name; a path never comes from a page. Links are no recordings, and
nothing outside of the folder is looked at.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pi_capture.studio.answers import RefusedError, identifier
from pi_capture.studio.frames import Frames, reason
from pi_capture.studio.runs import runs_of
from storage.care.listing import first_entries, recording_test
from storage.care.split import is_held_out, is_split, places_before
from storage.durable.files import is_locked
from storage.durable.moves import last_facts
from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.png.directory import FRAME_NAME, MOVES_NAME, SPLIT_NAME
from storage.formats.table import Format, find_format, open_recording
from storage.labels.beside import journal_path
from storage.labels.classes import known_classes
from storage.labels.current import replay
from storage.labels.live import entries_beside
from storage.names import natural_key, printable
from storage.recording import Recording

NAMELESS = ("", ".mkv", ".h5", ".model")
"""What pages ask for while the field of the name is empty."""
MOST_KNOWN = 500  # recordings, of each of which facts and a picture of 10 kB are kept


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording of the folder.

    Attributes
    ----------
    id : str
        16 hexadecimal digits.
    name : str
        As the file system has it; `storage.names.printable` makes it fit to be shown.
    path : path
    changed : float
        When, in seconds since 1970.
    """

    id: str
    name: str
    path: Path
    changed: float


class Folder:
    """A folder of recordings.

    Raises
    ------
    StorageError
        It is no directory.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise StorageError(f"{path} is no directory; make it first: mkdir {path}")
        self.path = path.resolve()
        self._is_recording = recording_test()
        self._of: dict[Path, _Known] = {}
        self._counting = threading.Lock()  # one large recording is counted at a time

    def entries(self) -> list[Entry]:
        """The recordings, the newest first."""
        with os.scandir(self.path) as entries:
            found = [self._entry(entry) for entry in entries if not entry.name.startswith(".")]
        return sorted(filter(None, found), key=lambda one: (-one.changed, one.name))

    def find(self, id: str) -> Entry:
        """A recording by its identifier. Raises RefusedError if there is none (any more)."""
        with os.scandir(self.path) as entries:
            named = (entry for entry in entries if identifier(entry.name) == id and not entry.name.startswith("."))
            for found in filter(None, map(self._entry, named)):
                return found
        raise RefusedError("there is no such recording any more", 404)

    def place(self, name: str) -> Path:
        """Where a new recording of that name goes. Raises RefusedError if it can't be one's."""
        if name in NAMELESS:
            raise RefusedError("give it a name")
        reasons = {
            "it begins with . or -": name.startswith((".", "-")),
            "it has a / in it": "/" in name,
            "it has something unprintable in it": not name.isprintable(),
            "it is too long": len(os.fsencode(name)) > 200,
        }
        for why in (why for why, is_so in reasons.items() if is_so):
            raise RefusedError(f"{printable(name[:60])!r} can't be its name: {why}")
        if (self.path / name).is_symlink():
            raise RefusedError(f"{printable(name)!r} can't be recorded into; choose another name")
        return self.path / name

    def _entry(self, entry: os.DirEntry[str]) -> Entry | None:
        try:
            if not self._is_recording(entry):
                return None
            changed = entry.stat(follow_symlinks=False).st_mtime
        except OSError:  # it has gone, or may not be looked at
            return None
        return Entry(identifier(entry.name), entry.name, self.path / entry.name, changed)

    def facts(self, entry: Entry, *, settled: bool = True) -> dict[str, Any]:
        """What is known of a recording; counted anew only when it has changed. Never raises: what is wrong is told.

        `settled` is False while it changes all the time: then it is counted once.
        """
        return {"id": entry.id, "name": printable(entry.name), **self._known(entry, settled=settled).facts}

    def class_numbers(self) -> dict[str, int]:
        """The number of each class, by which it has its colour: in the first recording by name that has it."""
        numbers: dict[str, int] = {}
        for entry in sorted(self.entries(), key=lambda one: natural_key(one.name)):
            for number, one in enumerate(self.facts(entry, settled=False)["classes"]):
                numbers.setdefault(one["name"], number)
        return numbers

    def picture(self, entry: Entry, *, settled: bool = True) -> bytes:
        """A picture from its middle, JPEG. Raises RefusedError if there is none."""
        if not (picture := self._known(entry, settled=settled).picture):
            raise RefusedError("there is no picture to show of it", 404)
        return picture

    def _known(self, entry: Entry, *, settled: bool) -> _Known:
        with self._counting:
            version = _version(entry.path)
            known = self._of.get(entry.path)
            if known is None or (settled and known.version != version):
                if len(self._of) >= MOST_KNOWN:
                    self._of.clear()
                known = self._of[entry.path] = _Known(version, *_look_at(entry.path))
            return known


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a recording as long as its version stays."""

    version: object
    facts: dict[str, Any]
    picture: bytes


# ---------------------------------------------------------------------------------------------------------------- facts


def _version(path: Path) -> object:
    """What changes when a recording, its labels or its classes do."""
    places = [path, journal_path(path), path / SPLIT_NAME, path / MOVES_NAME]
    try:
        if path.is_dir():
            places += [Path(e.path) for e in first_entries(str(path)) if e.is_dir(follow_symlinks=False)]
    except OSError:
        pass
    return tuple(_stamp(place) for place in places)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.lstat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


def _look_at(path: Path) -> tuple[dict[str, Any], bytes]:
    """The facts of a recording, and a picture of it."""
    nothing: dict[str, Any] = {"frames": 0, "seconds": 0.0, "size": None, "classes": [], "unlabelled": 0, "waiting": 0}
    nothing["interrupted"] = False
    try:
        row = find_format(path)
        with open_recording(path) as recording:
            return {**nothing, **_facts(path, row, recording), "problem": None}, _picture(recording)
    except Exception as error:  # what a file from elsewhere makes a library raise
        why = reason(error).replace(f"{path.parent}/", "")
        told = {**nothing, "format": "", "state": "broken", "can": [], "begun": None, "problem": why}
        return {**told, "bytes": bytes_of(path)}, b""


def _picture(recording: Recording) -> bytes:
    try:
        return Frames(recording).thumbnail(len(recording) // 2) if len(recording) else b""
    except Exception:  # the frame is damaged, or there are no pictures
        return b""


def _facts(path: Path, row: Format, recording: Recording) -> dict[str, Any]:
    stored = recording.labels
    labels, directories, names = _labels_and_classes(recording)
    sorted_, as_they_stand = Counter(stored), Counter(labels)
    waiting = Counter(now for before, now in zip(stored, labels, strict=True) if now != before and now is not None)
    unlabelled = as_they_stand[None]
    return {
        "format": row.name,
        "frames": len(recording),
        "bytes": bytes_of(path),
        "seconds": round(_seconds(recording), 3),
        "size": _size(recording),
        "classes": [
            {
                "name": printable(names.get(directory, directory)),
                "directory": printable(directory),
                "frames": sorted_[directory],
                "waiting": waiting[directory],
            }
            for directory in directories
        ],
        "unlabelled": unlabelled,
        "waiting": waiting.total(),
        "state": state_of(recording, unlabelled),
        "can": _can(path, recording),
        "interrupted": recording.interrupted and not is_locked(path),
        "begun": next((one["started"] for one in recording.sessions if isinstance(one.get("started"), str)), None),
    }


def state_of(recording: Recording, unlabelled: int) -> str:
    """What is to be done with a recording, of which so many frames have no label."""
    if is_split(recording.path):
        return "split"
    if is_held_out(recording.path):
        return "held out"
    return "labelled" if len(recording) and not unlabelled else "to be labelled"


def _labels_and_classes(recording: Recording) -> tuple[list[str | None], list[str], dict[str, str]]:
    """The labels as they stand; the directories of the classes, those with keys first; and what these are called."""
    entries = entries_beside(recording)
    labels, known = replay(recording, entries), known_classes(entries)
    directories = list(dict.fromkeys([*known.directories, *recording.class_names, *filter(None, labels)]))
    return labels, directories, dict(zip(known.directories, known.names, strict=True))


def _can(path: Path, recording: Recording) -> list[str]:
    found, split = [], is_split(path)
    if recording.has_pictures and len(recording):
        found += ["label", "sheet"]
    if path.is_dir():
        if split:
            found.append("undo split")
        elif len(recording):
            found.append("split")
        if not split and last_facts(path / MOVES_NAME) is not None:
            found.append("undo apply")
    elif path.suffix.lower() in (".mkv", ".mka", ".webm", ".mp4"):
        found.append("plot")
    return found


def _size(recording: Recording) -> str | None:
    try:
        return recording.size if len(recording) and recording.has_pictures else None
    except Exception:  # the first frame is damaged
        return None


def _seconds(recording: Recording) -> float:
    """How long it is, without the pauses between sessions."""
    if not isinstance(recording, FramesAreFiles):
        shown = recording.shown_ns
        return (shown[-1] - shown[0]) / 1e9 if len(shown) else 0.0
    numbers = [int(match[1]) for name in recording.names if (match := FRAME_NAME.fullmatch(name.rpartition("/")[2]))]
    if len(numbers) < len(recording.names):  # pictures from elsewhere have no time of their own
        return 0.0
    firsts = sorted(int(session["first_index"]) for session in recording.sessions) or [0]
    places = [bisect_left(numbers, first) for first in firsts] + [len(numbers)]
    total = 0
    for begin, end in pairwise(places):
        if end > begin:
            first, last = recording.head(begin).timestamp_ns, recording.head(end - 1).timestamp_ns
            total += max(0, (last or 0) - (first or 0))
    return total / 1e9


def bytes_of(path: Path) -> int:
    """The size of a recording's files."""
    if not path.is_dir():
        stamp = _stamp(path)
        return 0 if stamp is None else stamp[1]
    total = 0
    for place, directories, _ in os.walk(path):
        directories[:] = [name for name in directories if not name.startswith(".")]
        try:
            with os.scandir(place) as entries:
                total += sum(e.stat(follow_symlinks=False).st_size for e in entries if e.is_file(follow_symlinks=False))
        except OSError:
            continue
    return total


# ------------------------------------------------------------------------------------------------ pictures of any frame


@dataclass(frozen=True, slots=True)
class Opened:
    """A recording that is open to be looked at, until its version changes."""

    recording: Recording
    frames: Frames
    version: object = None


class Open:
    """The recording that was looked at last."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._opened: Opened | None = None
        self._opening = threading.Lock()

    def get(self, path: Path) -> Opened:
        """A recording, opened if it is not. Raises StorageError if it can't be."""
        with self._opening:
            if self._opened is None or self._path != path or self._opened.version != _version(path):
                self._opened = None  # closed when its last reader is done
                version = _version(path)
                recording = open_recording(path)
                self._path, self._opened = path, Opened(recording, Frames(recording), version)
            return self._opened

    def forget(self, path: Path) -> None:
        """Whatever happens to the recording, no file of it stays open here."""
        with self._opening:
            if self._path == path:
                self._opened = None


def labels_as_runs(recording: Recording) -> dict[str, Any]:
    """The labels of a recording with those of its journal: the classes' names, and runs of numbers of them.

    Of a split one and its parts also where each frame is once that is undone.
    """
    labels, directories, names = _labels_and_classes(recording)
    numbers = {directory: number for number, directory in enumerate(directories[:255])}
    before = places_before(recording.path)
    return {
        "before": before and {"id": identifier(before[0].name), "name": printable(before[0].name), "at": before[1]},
        "count": len(recording),
        "classes": [printable(names.get(directory, directory)) for directory in numbers],
        "runs": runs_of(bytes(255 if label is None else numbers.get(label, 255) for label in labels)),
    }

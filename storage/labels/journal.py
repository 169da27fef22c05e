"""The label journal: which frame was given which class, kept the moment a key is pressed.

It is a `storage.durable.log` beside the frames: a crash costs only a torn last line. The journal names frames, and runs
of frames by the first frame's name and a count: labels stay right when a recording grows. This module stores and
returns events, in order. For what a label means see `storage.labels.classes`, for undo `storage.labels.history`. The
check at the end of each line is left out here::

    {"labels":1,"journal":"5f3a09c2"}                             version of the format, and this journal's own name
    {"classes":["none","door"],"directories":["0","1"]}           what the numbers below stand for
    {"label":1,"frames":["00000042.png"],"at":"00000043.png"}     one frame; then the frame looked at was the next
    {"label":0,"frames":[["00000043.png",10]],"at":"00000053.png"}   ten frames with names that count up
    {"label":0,"frames":["00000053.png"],"joined":true,"at":""}   belongs to what was done before; at the end, past all
    {"undo":true,"at":"00000043.png"}
    {"redo":true,"at":""}
    {"at":"00000007.png"}                                         only looked elsewhere
    {"moving":true}                                               the labels are being applied

A line that came as a request over a network ends with ``"by":["CLIENT",17]``: its sender, and the request's number.
A label that a model proposed, and that was accepted, says so with ``"model":["3f2ac07d11aa",true]``: which model, and
whether a person saw the frames. ``"lines":40`` stands in the first of 40 lines that are kept together: after a crash,
all or none. ``"of":"9c41e07b"`` in one line says of which recording all of them are (`Recording.identity`); journals of
older versions don't say it. Programs that don't know these three read the same labels. Once labels are applied, the
journal begins anew, as version 2 if it keeps which of them a model proposed::

    {"applied":[["00000042.png",10]],"seen":false}

``"seen":null`` says that a person gave them after all; a journal that begins with that has version 3.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.durable.log import Log, damaged, encode_line, read_lines, refuse_torn_end
from storage.errors import StorageError
from storage.labels.runs import Run
from storage.recording import Recording

VERSION = 3
MAX_LABEL = 8  # there are nine keys for classes
MAX_RUN = 10_000_000  # frames; more in one line are taken for damage

_MAGIC = b'{"labels":'

Request = tuple[str, int]
"""The client that asked for a change, and the number of that request."""


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes that labels mean from here on: names for people, and the class directories."""

    names: tuple[str, ...]
    directories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposed:
    """A model proposed a label: which one (its hash), and whether a person saw the frames and accepted them."""

    model: str
    seen: bool


@dataclass(frozen=True, slots=True)
class Labelled:
    """Frames were given a class.

    Attributes
    ----------
    frames : tuple of Run
    label : int or None
        The class's number; None if their label was taken away.
    at : str or None
        The frame that was looked at afterwards, "" for past the last one; None if the entry does not say.
    joined : bool
        It belongs to the entry before it: they are undone together.
    restored : bool
        It came back by undoing a move, and is not undone with the keys that came before or after it.
    by : Request or None
        The request that it was, if it was one.
    proposed : Proposed or None
        The model that proposed it; None if a person gave it.
    lines : int
        It is the first of so many entries that are kept together; 0 for one that stands alone, or is not the first.
    """

    frames: tuple[Run, ...]
    label: int | None
    at: str | None = None
    joined: bool = False
    restored: bool = False
    by: Request | None = None
    proposed: Proposed | None = None
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Undone:
    """The last change was undone."""

    at: str | None = None
    by: Request | None = None


@dataclass(frozen=True, slots=True)
class Redone:
    """The last undone change was done again."""

    at: str | None = None
    by: Request | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """Another frame was looked at; "" is past the last one."""

    at: str


@dataclass(frozen=True, slots=True)
class Moving:
    """The labels are being applied to the frames. If it is the last entry, that may have been interrupted."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Labels that are applied, and that a model had proposed: the base names of their frames, and whether a person saw
    them; None if a person gave them, whatever was said before."""

    frames: tuple[Run, ...]
    seen: bool | None


Entry = Classes | Labelled | Undone | Redone | Looked | Moving | Applied


class LabelJournal:
    """An open label journal, which no other program can open meanwhile.

    An empty journal leaves no file behind when it is closed.

    Attributes
    ----------
    name : str
        The journal's identity: it differs from those of earlier journals in the same place.
    entries : list of Entry
        What the journal held when it was opened.

    Raises
    ------
    StorageError
        Another program has it open, it can't be written to, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            ends = "close it first; the studio lets go of it a minute after its page is closed"
            self._log = Log(path, f"{path.parent}: another window, or a page of the studio, is labelling this: {ends}")
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; labels can't be kept there") from None
        try:
            self.name, self.entries, self._of, whole = _parse(path, self._log.read())
            self._says_of = self._of is not None
            self._log.cut(whole)
        except BaseException:
            self._log.close()
            raise

    def belongs_to(self, recording: Recording) -> None:
        """From its next line on, the journal says of which recording it is.

        Raises
        ------
        StorageError
            It says that it is of another one, whose file or directory lay here before.
        """
        _refuse_other(self._log.path, self._of, recording)
        self._of = self._of or recording.identity

    def append(self, *entries: Entry) -> None:
        """Add to the journal; `sync` makes it durable.

        Raises
        ------
        StorageError
            The disk did not take it. The journal is as it was.
        """
        values = list(map(_to_json, entries))
        if not self._log.size:
            seen = [entry.seen for entry in entries if isinstance(entry, Applied)]
            version = VERSION if None in seen else 2 if seen else 1
            values.insert(0, {"labels": version, "journal": self.name})
        if values and self._of and not self._says_of:
            values[0]["of"] = self._of
        try:
            self._log.append(b"".join(map(encode_line, values)))
        except OSError as error:
            raise self._failed(error) from None
        self._says_of = self._says_of or any("of" in value for value in values)

    def sync(self) -> None:
        """Return when everything appended is on the disk.

        Raises
        ------
        StorageError
            The disk lost what it had taken.
        """
        try:
            self._log.sync()
        except OSError as error:
            raise self._failed(error) from None

    def clear(self, *entries: Entry) -> None:
        """Remove all entries, which have been applied, and begin anew with some others; durable on return."""
        try:
            self._log.cut(0)
        except OSError as error:
            raise self._failed(error) from None
        self.name, self._says_of = os.urandom(4).hex(), False
        if entries:
            self.append(*entries)
        self.sync()

    def read(self) -> list[Entry]:
        """What the journal holds now.

        Raises
        ------
        StorageError
            It can't be read, or is damaged.
        """
        try:
            return _parse(self._log.path, self._log.read())[1]
        except OSError as error:
            raise StorageError(f"{self._log.path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the journal. May be called again."""
        self._log.close()

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"{self._log.path}: {error.strerror}; the last key was not kept, all before it are")

    def __enter__(self) -> LabelJournal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: Path, recording: Recording | None = None, *, torn_end: bool = True) -> list[Entry]:
    """What a journal holds, which may be open elsewhere; nothing if there is none.

    A torn end is left out; without `torn_end` it is damage, too.

    Raises
    ------
    StorageError
        It is damaged, or says that it is of another recording.
    OSError
        It can't be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    _, entries, of, end = _parse(path, data)
    if recording is not None:
        _refuse_other(path, of, recording)
    if not torn_end:
        refuse_torn_end(path, data, end)
    return entries


def _refuse_other(path: Path, of: str | None, recording: Recording) -> None:
    if of is not None and recording.identity not in (of, None):
        raise StorageError(
            f"{path} is of another recording, which was here before: nothing in it is used; move it away, or to "
            "where that recording is now, named after it"
        )


# ------------------------------------------------------------------------------------------------------------- the file


def _to_json(entry: Entry) -> dict[str, Any]:
    match entry:
        case Classes(names, directories):
            value: dict[str, Any] = {"classes": names, "directories": directories}
        case Labelled(frames, label, at, joined, restored):
            value = {"label": label, "frames": frames}
            value |= {"joined": True} if joined else {"restored": True} if restored else {}
            value |= {} if at is None else {"at": at}
        case Undone(at):
            value = {"undo": True} | ({} if at is None else {"at": at})
        case Redone(at):
            value = {"redo": True} | ({} if at is None else {"at": at})
        case Looked(at):
            value = {"at": at}
        case Moving():
            value = {"moving": True}
        case Applied(frames, seen):
            value = {"applied": frames, "seen": seen}
    if isinstance(entry, Labelled):
        value |= {"model": (entry.proposed.model, entry.proposed.seen)} if entry.proposed else {}
        value |= {"lines": entry.lines} if entry.lines else {}
    if isinstance(entry, Labelled | Undone | Redone) and entry.by is not None:
        value["by"] = entry.by
    return value


def _parse(path: Path, data: bytes) -> tuple[str, list[Entry], str | None, int]:
    """The journal's name and entries, of which recording it is, if it says so, and how many of the bytes they are.

    A torn end is left out, and so are the beginnings of lines that are kept together.
    """
    if not (data.startswith(_MAGIC) or _MAGIC.startswith(data)):
        raise StorageError(f"{path} is no label journal; move it away to go on without it")
    values, whole = read_lines(path, data)
    if not values:
        return os.urandom(4).hex(), [], None, whole
    version = values[0].get("labels")
    if version not in range(1, VERSION + 1):
        raise StorageError(f"{path} has version {version!r}, this program knows {VERSION}; update it")
    entries: list[Entry] = []
    for number, value in enumerate(values[1:], 2):
        entry = _entry(value)
        if entry is None:
            raise damaged(path, number)
        entries.append(entry)
    lines = 1 + _together(entries)
    if lines <= len(entries):
        entries, whole = entries[: lines - 1], sum(len(line) + 1 for line in data.split(b"\n", lines)[:lines])
    of = next((value["of"] for value in values[:lines] if isinstance(value.get("of"), str)), None)
    return str(values[0].get("journal")), entries, of, whole


def _together(entries: Sequence[Entry]) -> int:
    """How many entries are left without the last ones, if more lines belong to them than there are."""
    for number in range(len(entries) - 1, -1, -1):
        entry = entries[number]
        if isinstance(entry, Labelled) and number + entry.lines > len(entries):
            return number
        if not (isinstance(entry, Labelled) and entry.joined):
            break  # what is kept together is undone together
    return len(entries)


def _entry(value: Mapping[str, Any]) -> Entry | None:
    """The entry of a line; None if it is not an entry of a journal."""
    entry: Entry | None = None
    if "frames" in value:  # nearly every line: there can be a hundred thousand, and matching takes its time
        return _labelled(value)
    match value:
        case {"undo": True}:
            entry = Undone(_at(value), _by(value))
        case {"redo": True}:
            entry = Redone(_at(value), _by(value))
        case {"at": str(at)}:
            entry = Looked(at)
        case {"moving": True}:
            entry = Moving()
        case {"applied": [*frames], "seen": (bool() | None) as seen}:
            runs = [run for frame in frames if (run := _run(frame)) is not None]
            entry = Applied(tuple(runs), seen) if len(runs) == len(frames) else None
        case {"classes": [*names], "directories": [*directories]} if len(names) == len(directories):
            if all(isinstance(text, str) for text in (*names, *directories)):
                entry = Classes(tuple(names), tuple(directories))
    return entry


def _labelled(value: Mapping[str, Any]) -> Labelled | None:
    label, frames = value.get("label", -1), value["frames"]
    if not (label is None or (isinstance(label, int) and 0 <= label <= MAX_LABEL)) or not isinstance(frames, list):
        return None
    runs = [run for frame in frames if (run := _run(frame)) is not None]
    if len(runs) < len(frames):
        return None
    joined, restored = value.get("joined") is True, value.get("restored") is True
    if "model" in value or "lines" in value:
        return Labelled(tuple(runs), label, _at(value), joined, restored, _by(value), _proposed(value), _lines(value))
    return Labelled(tuple(runs), label, _at(value), joined, restored, _by(value))


def _at(value: Mapping[str, Any]) -> str | None:
    at = value.get("at")
    return at if isinstance(at, str) else None


def _by(value: Mapping[str, Any]) -> Request | None:
    match value.get("by"):
        case [str(client), int(number)]:
            return client, number
    return None


def _proposed(value: Mapping[str, Any]) -> Proposed | None:
    match value.get("model"):
        case [str(model), bool(seen)]:
            return Proposed(model, seen)
    return None


def _lines(value: Mapping[str, Any]) -> int:
    lines = value.get("lines")
    return lines if isinstance(lines, int) and 0 < lines <= MAX_RUN else 0


def _run(value: object) -> Run | None:
    if isinstance(value, str):
        return value
    match value:
        case [str(first), int(count)] if 0 < count <= MAX_RUN:
            return first, count
    return None

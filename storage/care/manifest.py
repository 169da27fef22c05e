"""Manifests: which recordings a directory holds, with the SHA-256, the hosts and the time span of each.

A manifest that is made where recordings arrive, and copied back, is a receipt: it names what is safe there.
A recording without an end has no entry. `Entry.state` lets the next manifest take an entry over without reading the
recording again: the names, sizes and times of its files on the machine that made the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from storage.care.listing import recordings_in
from storage.durable.checked import check, sealed
from storage.durable.files import is_locked, replace_file
from storage.durable.untrusted import parse_object
from storage.errors import StorageError
from storage.formats.table import open_recording
from storage.labels.beside import files_beside
from storage.sessions import SESSIONS_NAME
from storage.tracks.picture_tracks import several

VERSION = 1
CHUNK_BYTES = 1 << 20
IF_IT_STAYS_SO = "only if it stays so, verify --repair completes it"


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording in a manifest.

    Attributes
    ----------
    path : str
        From the manifest's directory, with ``/``.
    sha256 : str
        As `digest` makes it.
    files, bytes, frames : int
    hosts : list of str
        The machines that recorded it, as far as it knows them.
    begun, ended : str or None
        Wall-clock times of its first and last frame, ISO 8601; None if unknown.
    state : str
        As `state_of` makes it.
    """

    path: str
    sha256: str
    files: int
    bytes: int
    frames: int
    hosts: list[str]
    begun: str | None
    ended: str | None
    state: str


@dataclass(frozen=True, slots=True)
class Made:
    """What `make_manifest` did: all entries, how many recordings it read, and what it left out and why."""

    entries: dict[str, Entry]
    hashed: int
    unfinished: dict[Path, str]
    unreadable: dict[Path, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A recording that is not as a manifest names it: ``missing`` or ``differs``, and in which way."""

    path: str
    what: str
    reason: str


def make_manifest(
    directory: Path, known: Mapping[str, Entry], *, progress: Callable[[int, int], None] | None = None
) -> Made:
    """Make the entries of all recordings in a directory and below it; those that have not changed are taken over.

    Parameters
    ----------
    directory : path
    known : mapping
        The entries of the last manifest, by their paths.
    progress : callable, optional
        Told how many of how many recordings are done.

    Raises
    ------
    StorageError
        There is no such directory, or it is a recording.
    """
    if not directory.is_dir():
        raise StorageError(f"{directory}: no such directory")
    if (directory / SESSIONS_NAME).is_file():
        raise StorageError(
            f"{directory} is a recording; give the directory that it is in: {directory.absolute().parent}"
        )
    paths = list(recordings_in(directory))
    entries, hashed = dict[str, Entry](), 0
    unfinished, unreadable = dict[Path, str](), dict[Path, str]()
    for number, path in enumerate(paths, 1):
        name = path.relative_to(directory).as_posix()
        try:
            state = state_of(path)
            if name in known and known[name].state == state and not is_locked(path):
                entries[name] = known[name]
            elif (reason := why_unfinished(path)) is not None:
                unfinished[path] = reason
            else:
                hashed += 1
                entry = _entry(path, name, state)
                if state_of(path) == state:
                    entries[name] = entry
                else:
                    unfinished[path] = "changed while it was read"
        except FileNotFoundError:  # the recorder has removed it, or sorting has moved a frame
            unfinished[path] = "changed while it was read"
        except StorageError as error:
            why = str(error).removeprefix(f"{path} ")  # which goes on with what the file is
            unreadable[path] = why.replace(f"{path}: ", "can't be read: ", 1)
        except OSError as error:
            unreadable[path] = f"can't be read: {error.strerror}"
        if progress is not None:
            progress(number, len(paths))
    return Made(entries, hashed, unfinished, unreadable)


def why_unfinished(path: Path) -> str | None:
    """Why a recording is not complete, in words that follow its name; None if it is. No lock is taken.

    Raises
    ------
    StorageError
        It can't be read.
    """
    if is_locked(path):
        return "is being recorded into"
    if several(path):  # made elsewhere: it has no end that can be missing
        return None
    with open_recording(path) as recording:
        if not recording.interrupted:
            return None
    if path.is_dir():  # only taking its lock, which a recorder may want, would tell
        return f"has no end yet: it is being recorded into or uploaded, or was interrupted; {IF_IT_STAYS_SO}"
    return f"has no end yet: it is still being uploaded, or was interrupted; {IF_IT_STAYS_SO}"


def find_differences(
    directory: Path, entries: Mapping[str, Entry], *, progress: Callable[[int, int], None] | None = None
) -> list[Difference]:
    """Read all recordings that a manifest names, and compare them with it.

    Raises
    ------
    StorageError
        There is no such directory.
    """
    if not directory.is_dir():
        raise StorageError(f"{directory}: no such directory")
    differences = []
    for number, entry in enumerate(entries.values(), 1):
        path = directory / entry.path
        if path.is_symlink() or not path.exists():  # a link is no copy
            differences.append(Difference(entry.path, "missing", "is missing"))
        elif (reason := _difference(path, entry)) is not None:
            differences.append(Difference(entry.path, "differs", reason))
        if progress is not None:
            progress(number, len(entries))
    return differences


def digest(path: Path, pause: Callable[[], None] | None = None) -> str:
    """The SHA-256 of a recording, in hexadecimal digits.

    That of a file without label files beside it is its own. Otherwise it is the SHA-256 of what ``sha256sum`` prints of
    the files: of a directory its own without hidden ones, in the order of their names' bytes. `pause` is called after
    each megabyte.
    """
    files = list(_files(path))
    if not path.is_dir() and len(files) == 1:
        return _digest_of_file(path, pause)
    total = hashlib.sha256()
    since = 0
    place = path if path.is_dir() else path.parent
    for name, facts in files:
        total.update(f"{_digest_of_file(place / name, pause)}  ".encode() + os.fsencode(name) + b"\n")
        since += facts.st_size % CHUNK_BYTES
        if pause is not None and since >= CHUNK_BYTES:
            since = 0
            pause()
    return total.hexdigest()


def state_of(path: Path) -> str:
    """What changes when a file of a recording does: a digest of all names, sizes and times, without reading them.

    The time of the last change of a file's attributes is among them, which no program can set: a copy that was
    replaced with its old date is another one.
    """
    state = hashlib.sha256()
    for name, facts in _files(path):
        numbers = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        state.update(os.fsencode(name) + f"\0{numbers}\n".encode())
    return state.hexdigest()[:32]


def write_manifest(path: Path, entries: Mapping[str, Entry]) -> None:
    """Replace a manifest; durable on return."""
    content = {"version": VERSION, "recordings": [asdict(entry) for entry in entries.values()]}
    replace_file(path, sealed(json.dumps(content, indent=1).encode()) + b"\n")


def read_manifest(path: Path) -> dict[str, Entry]:
    """The entries of a manifest, by their paths.

    Raises
    ------
    StorageError
        It is damaged, from a newer version, or something else.
    OSError
        It can't be read, or is not there (FileNotFoundError).
    """
    text = path.read_bytes()
    try:
        if check(text.rstrip(b"\n")) is False:
            raise ValueError("its check is wrong")
        content = parse_object(text)
        version, found = content["version"], content["recordings"]
        if version == VERSION:
            return {entry.path: entry for entry in map(_checked, found)}
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error) if type(error) is ValueError else "it has other contents"
        raise StorageError(f"{path} is no whole manifest ({reason}); make or copy it anew") from None
    raise StorageError(f"{path} has version {version!r}, this program knows {VERSION}; update it")


# ---------------------------------------------------------------------------------------------------------------- parts


def _entry(path: Path, name: str, state: str) -> Entry:
    from storage.care.info import as_json, describe

    facts = as_json(describe(path))
    sizes = [one.st_size for _, one in _files(path)]
    return Entry(
        path=name,
        sha256=digest(path),
        files=len(sizes),
        bytes=sum(sizes),
        frames=facts["frames"],
        hosts=sorted({one["host"] for one in (*facts["sessions"], *facts["tracks"]) if one["host"]}),
        begun=facts["begun"],
        ended=facts["ended"],
        state=state,
    )


def _difference(path: Path, entry: Entry) -> str | None:
    try:
        sizes = [facts.st_size for _, facts in _files(path)]
        if len(sizes) != entry.files:
            return f"has {len(sizes)} of {entry.files} files"
        if sum(sizes) != entry.bytes:
            return f"has {sum(sizes)} of {entry.bytes} bytes"
        return None if digest(path) == entry.sha256 else "has other content"
    except OSError as error:
        return f"can't be read: {error.strerror}"


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The names of a recording's files, and what is known of them; without links and hidden ones.

    Those of a directory are named from there; those of a file, and of the label files beside it, from its directory.
    """
    if not path.is_dir():
        for file in (path, *files_beside(path)):
            yield file.name, file.stat()
        return
    found = []
    for directory, directories, names in os.walk(path):
        directories[:] = [name for name in directories if not name.startswith(".")]
        found += [os.path.relpath(f"{directory}/{name}", path) for name in names if not name.startswith(".")]
    for name in sorted(found, key=os.fsencode):
        if not os.path.islink(path / name):
            yield name, os.stat(path / name)


def _digest_of_file(path: Path, pause: Callable[[], None] | None) -> str:
    total = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            total.update(chunk)
            if pause is not None and len(chunk) == CHUNK_BYTES:
                pause()
    return total.hexdigest()


def _checked(value: Any) -> Entry:
    """An entry, which may come from another machine. Raises ValueError or TypeError if it can't be one."""
    entry = Entry(**value)
    parts = PurePosixPath(entry.path).parts
    if not parts or entry.path.startswith("/") or ".." in parts:
        raise ValueError(f"{entry.path!r} is no name in a directory")
    numbers = (entry.files, entry.bytes, entry.frames)
    if not re.fullmatch("[0-9a-f]{64}", entry.sha256) or not all(isinstance(number, int) for number in numbers):
        raise ValueError(f"{entry.path!r} has no SHA-256 or size")
    return entry

"""Moving many files at once so that a crash, a kill or a power cut anywhere is completed or taken back later.

`move_files` writes its plan to a journal, makes it durable, and only then renames; `complete` finishes what was
interrupted, `undo` takes the last batch back. Nothing is ever overwritten. Who moves what where, and where the journal
lies, the caller decides: labelling and `storage.care.split` are the callers.

The journal is a stack of batches, one JSON value a line::

    {"version":1,"facts":{}}                                        what the caller wants to remember of the batch
    ["00000007.png","0/00000007.png"]                               from and to, relative to the journal's directory
    ["00000008.png","0/00000008-2.png","0/00000008.png"]            the last was wanted, but is taken
    {"planned":2,"crc32":1234567890}                                before this line nothing moves, after it all does
    {"instead":[0,"0/00000007-2.png"]}                              (a name was taken after the plan was made)
    {"done":true}
    {"undoing":true}                                                all goes back; then the batch is cut off the journal
"""

from __future__ import annotations

import errno
import filecmp
import io
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.durable.files import free_name, rename_new, sync_directory
from storage.durable.log import Log
from storage.durable.untrusted import parse_json
from storage.errors import StorageError

VERSION = 1

_MAGIC = b'{"version":1,"facts":'
_DONE = b'{"done":true}\n'
_UNDOING = b'{"undoing":true}\n'


@dataclass(frozen=True, slots=True)
class Moved:
    """What a batch came to. All paths are relative to the journal's directory.

    Attributes
    ----------
    count : int
        Files that are where they should be now.
    renamed : dict
        Files whose name was taken: where they were to go, and where they went.
    missing : list of str
        What should have been moved but was not there, or was no regular file.
    """

    count: int = 0
    renamed: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def move_files(
    journal: Path,
    pairs: Iterable[tuple[str, str]],
    *,
    roots: Sequence[Path] = (),
    facts: Mapping[str, Any] | None = None,
) -> Moved:
    """Move files, as one batch that can be completed and undone; durable on return.

    Missing target directories are made, and directories that end up empty are removed. A batch that was interrupted
    before is completed first.

    Parameters
    ----------
    journal : path
        The journal's file; made if it is not there.
    pairs : iterable of (str, str)
        From and to, relative to the journal's directory, with ``/``. A target whose name is taken gets the next free
        one: ``00000042-2.png``. A source that is not there is skipped and told.
    roots : sequence of path
        The directories that files may be moved within; the journal's own if none is given.
    facts : mapping, optional
        What to remember of the batch, JSON-serialisable; `last_facts` gives it back.

    Raises
    ------
    StorageError
        Nothing was moved: a directory may not be written to, a path leads out of the roots, another program is
        moving. Or moving failed half way: then the journal has the rest.
    """
    with _opened(journal, create=True) as log:
        _complete(log, roots)
        batch, missing = _plan(journal.parent, pairs, facts or {})
        _check(journal, roots, batch)
        if batch.moves:
            _write_plan(log, batch)
            moved = _forwards(log, batch)
            missing += moved.missing
            return Moved(moved.count, moved.renamed, missing)
        return Moved(missing=missing)


def complete(journal: Path, *, roots: Sequence[Path] = ()) -> Moved | None:
    """Finish the batch that was interrupted: forwards, or back if it was being undone. None if none was.

    Raises
    ------
    StorageError
        It can't be finished, or another program is moving right now.
    """
    if not journal.is_file() or _ends_done(journal):
        return None
    with _opened(journal) as log:
        return _complete(log, roots)


def undo(journal: Path, *, roots: Sequence[Path] = ()) -> Moved:
    """Take the last batch back, also one that was interrupted; called again, the one before it.

    In the result, `Moved.renamed` has the files whose old name is taken by now.

    Raises
    ------
    StorageError
        There is nothing to undo, or it can't be undone.
    """
    if journal.is_file():
        with _opened(journal) as log:
            batch = _last_batch(log)
            if batch is not None:
                _check(journal, roots, batch)
                if not batch.undoing:
                    _append(log, _UNDOING)
                    batch.undoing = True
                return _back(log, batch)
    raise StorageError(f"{journal.parent}: there is nothing to undo")


def last_facts(journal: Path) -> dict[str, Any] | None:
    """The facts that were given to the journal's last batch, interrupted or not; None if there is no batch."""
    if not journal.is_file():
        return None
    batch, _ = _parse(journal, journal.read_bytes())
    return None if batch is None else batch.facts


def is_interrupted(journal: Path) -> bool:
    """Whether a file is a journal whose last batch has been begun but not finished."""
    with journal.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC or _ends_done(journal):
            return False
    batch, _ = _parse(journal, journal.read_bytes())
    return batch is not None and (batch.undoing or not batch.done)


def move_file(source: Path, target: Path) -> Path:
    """Move one file, which needs no journal; returns where it is. A taken name is not replaced: see `free_name`.

    Raises
    ------
    StorageError
        It can't be moved, or is not there.
    """
    given = os.fspath(target)
    if not os.path.lexists(source):
        raise StorageError(f"{source} is not there any more")
    try:
        _make_directory(os.path.dirname(given) or ".")
        while _move(os.fspath(source), given) is None:
            given = _name_instead("", given)
        for directory in {source.parent, target.parent}:
            sync_directory(directory)
    except OSError as error:
        raise StorageError(f"{source} can't be moved to {target}: {error.strerror}") from None
    return Path(given)


# ----------------------------------------------------------------------------------------------------------- the plan


@dataclass(slots=True)
class _Move:
    """One file: where from, where to, and where to it was wanted."""

    source: str
    target: str
    wanted: str


@dataclass(slots=True)
class _Batch:
    """A batch, where it begins in the journal, and how far it got."""

    start: int
    facts: dict[str, Any]
    moves: list[_Move] = field(default_factory=list)
    done: bool = False
    undoing: bool = False


def _plan(base: Path, pairs: Iterable[tuple[str, str]], facts: Mapping[str, Any]) -> tuple[_Batch, list[str]]:
    batch, missing = _Batch(0, dict(facts)), []
    files: dict[str, set[str]] = {}  # the files of each source directory that are not planned for yet
    taken: dict[str, set[str]] = {}  # the names of each target directory, and those that this batch gives
    for source, wanted in pairs:
        directory, name = os.path.split(source)
        if directory not in files:
            files[directory] = _names(base / directory, regular=True)
        if name not in files[directory]:
            missing.append(source)
            continue
        files[directory].remove(name)
        directory, name = os.path.split(wanted)
        if directory not in taken:
            taken[directory] = _names(base / directory)
        name = free_name(name, taken[directory])
        taken[directory].add(name)
        batch.moves.append(_Move(source, os.path.join(directory, name), wanted))
    return batch, missing


def _names(directory: Path, *, regular: bool = False) -> set[str]:
    try:
        with os.scandir(directory) as entries:
            return {entry.name for entry in entries if not regular or entry.is_file(follow_symlinks=False)}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}; nothing was moved") from None


def _check(journal: Path, roots: Sequence[Path], batch: _Batch) -> None:
    """Refuse, before anything moves, what would fail or leads out of the roots (journals may come from strangers)."""
    inside = [os.path.realpath(root) for root in roots or (journal.parent,)]
    for directory in sorted(_source_directories(batch) | _target_directories(batch)):
        path = os.path.realpath(journal.parent / directory)
        if not any(os.path.commonpath([root, path]) == root for root in inside):
            raise StorageError(f"{journal}: {directory} leads out of {journal.parent}; nothing was moved")
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        if not os.path.isdir(path):
            raise StorageError(f"{path} is not a directory; nothing was moved")
        if not os.access(path, os.W_OK | os.X_OK):
            raise StorageError(f"{path} may not be written to; nothing was moved")
    for move in batch.moves:
        if {os.path.basename(move.source), os.path.basename(move.target)} & {"", ".", ".."}:
            raise StorageError(f"{journal}: {move.source!r} to {move.target!r} names no file; nothing was moved")


def _source_directories(batch: _Batch) -> set[str]:
    return {os.path.dirname(move.source) for move in batch.moves}


def _target_directories(batch: _Batch) -> set[str]:
    return {os.path.dirname(move.target) for move in batch.moves}


# --------------------------------------------------------------------------------------------------------- the moving


def _complete(log: Log, roots: Sequence[Path]) -> Moved | None:
    batch = _last_batch(log)
    if batch is None or (batch.done and not batch.undoing):
        return None
    _check(log.path, roots, batch)
    return _back(log, batch) if batch.undoing else _forwards(log, batch)


def _forwards(log: Log, batch: _Batch) -> Moved:
    moved = _move_all(log, batch)
    _append(log, _DONE)
    renamed = {move.wanted: move.target for move in batch.moves if move.target != move.wanted}
    return Moved(moved.count, renamed, moved.missing)


def _back(log: Log, batch: _Batch) -> Moved:
    moved = _move_all(log, batch)
    log.cut(batch.start)
    log.sync()
    return moved


def _move_all(log: Log, batch: _Batch) -> Moved:
    """Rename every file that has not been renamed yet, and make the names durable."""
    base, back = os.fspath(log.path.parent), batch.undoing
    moved = Moved()
    count = 0
    try:
        for directory in _source_directories(batch) if back else _target_directories(batch):
            _make_directory(os.path.join(base, directory))
        for number, move in enumerate(batch.moves):
            source, target = (move.target, move.source) if back else (move.source, move.target)
            given = target
            while (there := _move(os.path.join(base, source), os.path.join(base, given))) is None:
                given = _name_instead(base, given)
                _append(log, _line({"instead": [number, given]}))
            count += there
            if not there:
                moved.missing.append(source)
            if given != target:
                moved.renamed[target] = given
                _rename_in(batch, number, given)
        for directory in _source_directories(batch) | _target_directories(batch):
            with suppress(FileNotFoundError):
                sync_directory(Path(base, directory))
        for directory in _source_directories(batch) | _target_directories(batch):
            _remove_empty(base, directory)
    except OSError as error:
        raise StorageError(
            f"{error.filename or log.path}: {error.strerror}; {count} of {len(batch.moves)} files were moved, "
            f"the same command goes on with the rest"
        ) from None
    return Moved(count, moved.renamed, moved.missing)


def _move(source: str, target: str) -> bool | None:
    """Whether the file is at `target` now. False: it is nowhere. None: another file is there."""
    try:
        rename_new(source, target)
    except FileNotFoundError:
        if os.path.lexists(source):
            raise
        return os.path.lexists(target)
    except FileExistsError:
        if not os.path.lexists(source):
            return True
        return _move_across(source, target) if os.lstat(source).st_dev != os.lstat(target).st_dev else None
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _move_across(source, target)
    return True


def _move_across(source: str, target: str) -> bool | None:
    """The same from one file system to another: the copy is durable before the original goes."""
    if not os.path.lexists(source):
        return os.path.lexists(target)
    if not os.path.lexists(target):
        directory, name = os.path.split(target)
        temporary = os.path.join(directory, f".{name}.part")
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        try:
            shutil.copy2(source, temporary, follow_symlinks=False)
            with open(temporary, "rb") as copy:
                os.fsync(copy.fileno())
            rename_new(temporary, target)
        except FileExistsError:
            os.unlink(temporary)
            return None
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_directory(Path(directory))
    elif not filecmp.cmp(source, target, shallow=False):
        return None
    os.unlink(source)
    return True


def _name_instead(base: str, path: str) -> str:
    directory, name = os.path.split(path)
    return os.path.join(directory, free_name(name, os.listdir(os.path.join(base, directory) or ".")))


def _rename_in(batch: _Batch, number: int, path: str) -> None:
    if batch.undoing:
        batch.moves[number].source = path
    else:
        batch.moves[number].target = path


def _make_directory(path: str) -> None:
    if not os.path.isdir(path):
        parent = os.path.dirname(path)
        _make_directory(parent)
        os.mkdir(path)
        sync_directory(Path(parent))


def _remove_empty(base: str, directory: str) -> None:
    """An empty directory would be a class without frames. The journal's own is never empty."""
    while os.path.basename(directory) not in ("", ".", ".."):
        path = os.path.join(base, directory)
        try:
            os.rmdir(path)
        except OSError:
            return
        directory = os.path.dirname(directory)
        sync_directory(Path(base, directory))


# -------------------------------------------------------------------------------------------------- the journal's file


@contextmanager
def _opened(journal: Path, *, create: bool = False) -> Iterator[Log]:
    """The journal, locked; without a batch in it, it is not left behind."""
    try:
        log = Log(
            journal, f"{journal.parent}: another program is moving files here; try again when it is done", create=create
        )
    except OSError as error:
        raise StorageError(f"{journal}: {error.strerror}; nothing was moved") from None
    try:
        with log:
            yield log
    except OSError as error:
        raise StorageError(f"{journal}: {error.strerror}; the same command goes on with the rest") from None


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _append(log: Log, data: bytes) -> None:
    """Add to the journal; durable on return."""
    log.append(data)
    log.sync()


def _write_plan(log: Log, batch: _Batch) -> None:
    batch.start = log.size
    rows = [
        _line([move.source, move.target] + ([move.wanted] if move.wanted != move.target else []))
        for move in batch.moves
    ]
    plan = b"".join([_line({"version": VERSION, "facts": batch.facts}), *rows])
    try:
        _append(log, plan + _line({"planned": len(rows), "crc32": zlib.crc32(plan)}))
    except OSError as error:
        log.cut(batch.start)
        raise StorageError(f"{log.path}: {error.strerror}; nothing was moved") from None


def _ends_done(journal: Path) -> bool:
    """A look at the journal's end, for the usual case: nothing to complete, and no need to read all of it."""
    with journal.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(_DONE) - 1))
        return file.read() == b"\n" + _DONE


def _last_batch(log: Log) -> _Batch | None:
    """The last batch whose plan is whole. A plan that never became whole is cut off: nothing of it has moved."""
    batch, end = _parse(log.path, log.read())
    if end < log.size:
        log.cut(end)
        log.sync()
    return batch


def _parse(journal: Path, data: bytes) -> tuple[_Batch | None, int]:
    """The last whole batch in a journal, and where what can be believed of the journal ends."""
    batch: _Batch | None = None
    draft: _Batch | None = None
    end = at = 0
    for line in io.BytesIO(data):
        start, at = at, at + len(line)
        match _value(line):
            case {"version": version, "facts": dict(facts)} if draft is None:
                if version != VERSION:
                    raise StorageError(f"{journal} has version {version!r}, this program knows {VERSION}; update it")
                draft = _Batch(start, facts)
                continue
            case [str(source), str(target), *wanted] if draft is not None:
                draft.moves.append(_Move(source, target, str(wanted[0]) if wanted else target))
                continue
            case {"planned": int(), "crc32": crc} if draft and crc == zlib.crc32(data[draft.start : start]):
                batch, draft = draft, None
            case {"instead": [int(number), str(path)]} if batch and not draft and 0 <= number < len(batch.moves):
                _rename_in(batch, number, path)
            case {"done": True} if batch and not draft:
                batch.done = True
            case {"undoing": True} if batch and not draft:
                batch.undoing = True
            case _:
                break
        end = at
    if _DONE in data[end:] or _UNDOING in data[end:]:
        raise StorageError(f"{journal} is damaged; move it away to go on without it")
    return batch, end


def _value(line: bytes) -> object:
    try:
        return parse_json(line) if line.endswith(b"\n") else None
    except ValueError:
        return None

"""Moving many files at once so that a crash, a kill or a power cut anywhere is completed or taken back later.

`move_files` writes its plan to a journal, makes it durable, and only then renames; `complete` finishes what was
interrupted, `undo` takes the last batch back. Nothing is ever overwritten. The caller decides which files move where,
and where the journal lies: labelling and `storage.care.split` call this.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.durable.files import free_name, rename_new, sync_directory, sync_file
from storage.durable.log import Log
from storage.durable.moves_journal import (
    DONE,
    MAGIC,
    UNDOING,
    Batch,
    Move,
    append,
    ends_done,
    last_batch,
    line_of,
    opened,
    parse,
    rename_in,
    write_plan,
)
from storage.errors import StorageError


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of a batch. All paths are relative to the journal's directory.

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
        one: ``00000042-2.png``. A source that is not there is skipped, and is in `Moved.missing`.
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
    with opened(journal, create=True) as log:
        _complete(log, roots)
        batch, missing = _plan(journal.parent, pairs, facts or {})
        _check(journal, roots, batch)
        if batch.moves:
            write_plan(log, batch)
            moved = _forwards(log, batch)
            missing += moved.missing
            return Moved(moved.count, moved.renamed, missing)
        return Moved(missing=missing)


def complete(
    journal: Path, *, roots: Sequence[Path] = (), once_back: Callable[[], object] | None = None
) -> Moved | None:
    """Finish the batch that was interrupted: forwards, or back if it was being undone. None if none was.

    `once_back` is as of `undo`.

    Raises
    ------
    StorageError
        It can't be finished, or another program is moving right now.
    """
    if not journal.is_file() or ends_done(journal):
        return None
    with opened(journal) as log:
        return _complete(log, roots, once_back)


def undo(journal: Path, *, roots: Sequence[Path] = (), once_back: Callable[[], object] | None = None) -> Moved:
    """Take the last batch back, also one that was interrupted; called again, the one before it.

    In the result, `Moved.renamed` has the files whose old name is taken by now. `once_back` is called when all are
    back, while the journal still has the batch: what it clears up is cleared up too if a crash comes in between.

    Raises
    ------
    StorageError
        There is nothing to undo, or it can't be undone.
    """
    if journal.is_file():
        with opened(journal) as log:
            batch = last_batch(log)
            if batch is not None:
                _check(journal, roots, batch)
                if not batch.undoing:
                    append(log, UNDOING)
                    batch.undoing = True
                return _back(log, batch, once_back)
    raise StorageError(f"{journal.parent}: there is nothing to undo")


def last_facts(journal: Path) -> dict[str, Any] | None:
    """The facts that were given to the journal's last batch, interrupted or not; None if there is no batch."""
    if not journal.is_file():
        return None
    batch, _ = parse(journal, journal.read_bytes())
    return None if batch is None else batch.facts


def is_interrupted(journal: Path) -> bool:
    """Whether a file is a journal whose last batch has been begun but not finished."""
    with journal.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC or ends_done(journal):
            return False
    batch, _ = parse(journal, journal.read_bytes())
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


def _plan(base: Path, pairs: Iterable[tuple[str, str]], facts: Mapping[str, Any]) -> tuple[Batch, list[str]]:
    batch, missing = Batch(0, dict(facts)), []
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
        batch.moves.append(Move(source, os.path.join(directory, name), wanted))
    return batch, missing


def _names(directory: Path, *, regular: bool = False) -> set[str]:
    try:
        with os.scandir(directory) as entries:
            return {entry.name for entry in entries if not regular or entry.is_file(follow_symlinks=False)}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}; nothing was moved") from None


def _check(journal: Path, roots: Sequence[Path], batch: Batch) -> None:
    """Refuse, before anything moves, what would fail or leads out of the roots: a journal may come from elsewhere."""
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


def _source_directories(batch: Batch) -> set[str]:
    return {os.path.dirname(move.source) for move in batch.moves}


def _target_directories(batch: Batch) -> set[str]:
    return {os.path.dirname(move.target) for move in batch.moves}


# --------------------------------------------------------------------------------------------------------- the moving


def _complete(log: Log, roots: Sequence[Path], once_back: Callable[[], object] | None = None) -> Moved | None:
    batch = last_batch(log)
    if batch is None or (batch.done and not batch.undoing):
        return None
    _check(log.path, roots, batch)
    return _back(log, batch, once_back) if batch.undoing else _forwards(log, batch)


def _forwards(log: Log, batch: Batch) -> Moved:
    moved = _move_all(log, batch)
    append(log, DONE)
    renamed = {move.wanted: move.target for move in batch.moves if move.target != move.wanted}
    return Moved(moved.count, renamed, moved.missing)


def _back(log: Log, batch: Batch, once_back: Callable[[], object] | None) -> Moved:
    moved = _move_all(log, batch)
    if once_back is not None:
        once_back()
    log.cut(batch.start)
    log.sync()
    return moved


def _move_all(log: Log, batch: Batch) -> Moved:
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
                append(log, line_of({"instead": [number, given]}))
            count += there
            if not there:
                moved.missing.append(source)
            if given != target:
                moved.renamed[target] = given
                rename_in(batch, number, given)
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
    """Rename; returns whether the file is at `target` now. False: it is nowhere. None: another file is there."""
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
            sync_file(temporary)
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


def _make_directory(path: str) -> None:
    if not os.path.isdir(path):
        parent = os.path.dirname(path) or "."
        _make_directory(parent)
        os.mkdir(path)
        sync_directory(Path(parent))


def _remove_empty(base: str, directory: str) -> None:
    """Remove a directory, and those above it, if empty: a class without frames. The journal's own is never empty."""
    while os.path.basename(directory) not in ("", ".", ".."):
        path = os.path.join(base, directory)
        try:
            os.rmdir(path)
        except OSError:
            return
        directory = os.path.dirname(directory)
        sync_directory(Path(base, directory))

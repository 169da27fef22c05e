"""The journal of `storage.durable.moves`: what is to be moved, durable before the first rename, and how far that got.

It is a stack of batches, one JSON value a line::

    {"version":1,"facts":{}}                                        what the caller wants to remember of the batch
    ["00000007.png","0/00000007.png"]                               from and to, relative to the journal's directory
    ["00000008.png","0/00000008-2.png","0/00000008.png"]            the last was wanted, but is taken
    {"planned":2,"crc32":1234567890}                                before this line nothing moves, after it all does
    {"instead":[0,"0/00000007-2.png"]}                              (a name was taken after the plan was made)
    {"done":true}
    {"undoing":true}                                                all goes back; then the batch is cut off the journal
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.durable.log import Log
from storage.durable.untrusted import parse_json
from storage.errors import StorageError

VERSION = 1

MAGIC = b'{"version":1,"facts":'
DONE = b'{"done":true}\n'
UNDOING = b'{"undoing":true}\n'


@dataclass(slots=True)
class Move:
    """One file: its source, its target, and the target that was asked for."""

    source: str
    target: str
    wanted: str


@dataclass(slots=True)
class Batch:
    """A batch, where it begins in the journal, and how far it got."""

    start: int
    facts: dict[str, Any]
    moves: list[Move] = field(default_factory=list)
    done: bool = False
    undoing: bool = False


def rename_in(batch: Batch, number: int, path: str) -> None:
    """Note that one file of the batch went to another name, as the planned one was taken."""
    if batch.undoing:
        batch.moves[number].source = path
    else:
        batch.moves[number].target = path


@contextmanager
def opened(journal: Path, *, create: bool = False) -> Iterator[Log]:
    """Open the journal, locked; it is removed in the end if it holds no batch."""
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


def line_of(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def append(log: Log, data: bytes) -> None:
    """Add to the journal; durable on return."""
    log.append(data)
    log.sync()


def write_plan(log: Log, batch: Batch) -> None:
    """Add a batch; durable on return. Raises StorageError, and then the journal is as it was."""
    batch.start = log.size
    rows = [
        line_of([move.source, move.target] + ([move.wanted] if move.wanted != move.target else []))
        for move in batch.moves
    ]
    plan = b"".join([line_of({"version": VERSION, "facts": batch.facts}), *rows])
    try:
        append(log, plan + line_of({"planned": len(rows), "crc32": zlib.crc32(plan)}))
    except OSError as error:
        log.cut(batch.start)
        raise StorageError(f"{log.path}: {error.strerror}; nothing was moved") from None


def ends_done(journal: Path) -> bool:
    """Look at the journal's end only: usually there is nothing to complete, and no need to read all of it."""
    with journal.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - len(DONE) - 1))
        return file.read() == b"\n" + DONE


def last_batch(log: Log) -> Batch | None:
    """The last batch whose plan is whole. A plan that never became whole is cut off: nothing of it has moved."""
    batch, end = parse(log.path, log.read())
    if end < log.size:
        log.cut(end)
        log.sync()
    return batch


def parse(journal: Path, data: bytes) -> tuple[Batch | None, int]:
    """The last whole batch in a journal, and the position where the whole part of the journal ends."""
    batch: Batch | None = None
    draft: Batch | None = None
    end = at = 0
    for line in io.BytesIO(data):
        start, at = at, at + len(line)
        match _value(line):
            case {"version": version, "facts": dict(facts)} if draft is None:
                if version != VERSION:
                    raise StorageError(f"{journal} has version {version!r}, this program knows {VERSION}; update it")
                draft = Batch(start, facts)
                continue
            case [str(source), str(target), *wanted] if draft is not None:
                draft.moves.append(Move(source, target, str(wanted[0]) if wanted else target))
                continue
            case {"planned": int(), "crc32": crc} if draft and crc == zlib.crc32(data[draft.start : start]):
                batch, draft = draft, None
            case {"instead": [int(number), str(path)]} if batch and not draft and 0 <= number < len(batch.moves):
                rename_in(batch, number, path)
            case {"done": True} if batch and not draft:
                batch.done = True
            case {"undoing": True} if batch and not draft:
                batch.undoing = True
            case _:
                break
        end = at
    if DONE in data[end:] or UNDOING in data[end:]:
        raise StorageError(f"{journal} is damaged; move it away to go on without it")
    return batch, end


def _value(line: bytes) -> object:
    try:
        return parse_json(line) if line.endswith(b"\n") else None
    except ValueError:
        return None

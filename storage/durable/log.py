"""The append-only file of JSON lines: each is kept at once; after a crash all are whole, except a torn last line.

A `Log` is such a file, open and locked. It takes whole lines or, if the disk does not take them, stays as it was.
`encode_line` and `read_lines` are for logs whose lines are JSON objects that each carry a check (see
`storage.durable.checked`):

- A line is true when its check says so, or, in a log that an older version began, when it is JSON and no line before it
  has a check.
- The last line is torn when it has no end, or holes that read as zeros (the disk had not got all of it when the power
  went). It was never acknowledged, and is forgotten.
- Anything else is damage: the error gives the line's number, and nothing is guessed. A line that is true except for the
  byte that ended it is damage too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage.durable.checked import check, sealed
from storage.durable.files import lock_file, sync_directory, write_all
from storage.durable.untrusted import parse_json, parse_object
from storage.errors import StorageError

_HOLE = b"\0\0"
_sync_data = getattr(os, "fdatasync", os.fsync)


class Log:
    """An open append-only file of lines; no other program can open it meanwhile.

    A log without lines leaves no file behind when it is closed.

    Parameters
    ----------
    path : path
    taken : str
        The message if another program has it open.
    create : bool
        Make the file if it is not there; else FileNotFoundError is raised.

    Attributes
    ----------
    path : path
    size : int
        In bytes.

    Raises
    ------
    BusyError
        Another program has it open.
    OSError
        It can't be opened for writing, as all methods raise if the disk fails.
    """

    def __init__(self, path: Path, taken: str, *, create: bool = True) -> None:
        self.path = path
        self._file = lock_file(path, taken, create=create)
        self.size = os.fstat(self._file).st_size
        self._has_durable_name = self.size > 0

    def read(self) -> bytes:
        """The whole content."""
        with open(self._file, "rb", closefd=False) as stream:
            stream.seek(0)
            return stream.read()

    def append(self, lines: bytes) -> None:
        """Add whole lines; `sync` makes them durable. If that fails, the file is as it was."""
        try:
            write_all(self._file, lines, self.size)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise
        self.size += len(lines)

    def cut(self, size: int) -> None:
        """Forget everything from a byte on; `sync` makes it durable."""
        if size < self.size:
            os.ftruncate(self._file, size)
            self.size = size

    def sync(self) -> None:
        """Return when everything appended or cut is on the disk."""
        _sync_data(self._file)
        if not self._has_durable_name:
            sync_directory(self.path.parent)
            self._has_durable_name = True

    def close(self) -> None:
        """Close the file. May be called again."""
        if self._file < 0:
            return
        try:
            if not self.size:
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(self._file), os.lstat(self.path)):
                        self.path.unlink()
        finally:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def encode_line(value: Mapping[str, Any]) -> bytes:
    """A line with its check."""
    return sealed(json.dumps(value, separators=(",", ":")).encode()) + b"\n"


def read_lines(path: Path, data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Read the lines of a log.

    Parameters
    ----------
    path : path
        For the error.
    data : bytes
        What the file holds.

    Returns
    -------
    list of dict
        What the lines say, with the members ``"crc32"`` of those that have one.
    int
        How many of the bytes these lines are. What comes after is a torn end.

    Raises
    ------
    StorageError
        A line is damaged.
    """
    lines = data.split(b"\n")
    end = lines.pop()
    values = _values(lines)
    rest = lines[len(values) :]
    if rest:
        torn = any(_HOLE in line for line in [*rest, end]) and not any(_value(line) for line in rest)
    else:
        torn = _value(end[:-1]) is None
    if (rest or end) and not torn:
        raise damaged(path, len(values) + 1)
    return values, sum(map(len, lines[: len(values)])) + len(values)


def refuse_torn_end(path: Path, data: bytes, end: int) -> None:
    """Raise `StorageError` if `data`, what a log holds, goes on behind its whole lines."""
    if end < len(data):
        raise StorageError(
            f"{path} has a torn end, as after a power cut: what its last {len(data) - end} bytes said is lost"
        )


def damaged(path: Path, number: int) -> StorageError:
    """The error for a damaged line; `number` counts from 1."""
    return StorageError(
        f"{path} is damaged in line {number}; delete that line in a text editor to go on without it, or move the file "
        "away to go on without all of it"
    )


def _values(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    """The values of the lines, up to the first that is not true."""
    lines = lines[: _count_true(lines)]
    with suppress(ValueError):  # all at once, which is many times quicker than one by one
        values = parse_json(b"[" + b",".join(lines) + b"]")
        if len(values) == len(lines) and all(isinstance(value, dict) for value in values):
            return list(values)
    values = []
    for line in lines:
        value = _value(line)
        if value is None:
            break
        values.append(value)
    return values


def _count_true(lines: Sequence[bytes]) -> int:
    """The number of lines before the first one with a wrong or lost check."""
    is_checked = False
    for number, line in enumerate(lines):
        whole = check(line)
        if whole is False or (whole is None and is_checked):
            return number
        is_checked = whole is True
    return len(lines)


def _value(line: bytes) -> dict[str, Any] | None:
    """The value of one line; None if the line is not whole."""
    if check(line) is False:
        return None
    try:
        return parse_object(line)
    except ValueError:
        return None

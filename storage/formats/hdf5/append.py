"""Columns of equal length in one HDF5 file that grows by rows, and is whole at every moment, whatever happens.

Nothing that a reader may look at is ever changed. New rows, and then new copies of the headers and index nodes that
lead to them, are written where the file holds nothing yet. The file is synced. Only then are the 48 bytes in its first
sector that say where everything begins, the superblock, pointed at the new copies, and the file is synced again.
Whenever a crash or a power cut comes, the superblock on the disk is the old one or the new one, and what it points at
has been on the disk before: there is no torn state, so nothing to repair and no journal. What a crash left after the
end that the superblock tells belongs to nothing, and the next writer cuts it off.

So any program may open the file at any time, by an ordinary open: it sees the last commit, and goes on seeing exactly
that for as long as it has the file open. To follow a file that grows, close it and open it again. (HDF5's own way,
SWMR, promises readers an order but not durability, leaves files that must be repaired after a crash, and needs readers
that know of it.)

`storage.formats.hdf5.table` reads these files, `storage.formats.hdf5.format` knows their bytes, and what the columns
mean is their owner's business (`storage.formats.hdf5.frames`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from storage.durable.files import check_in_place, lock_descriptor, lock_file, rename_new, sync_directory, write_new
from storage.errors import GoneError, StorageError, no_directory
from storage.formats.hdf5.columns import ADDED_TO, load_column, new_column
from storage.formats.hdf5.format import (
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    DATASPACE,
    EMPTY_GROUP,
    FAN_OUT,
    LAYOUT,
    LINK,
    LINK_INFO,
    NO_ATTRIBUTES_ELSEWHERE,
    NOWHERE,
    SUPERBLOCK_SIZE,
    Bytes,
    Dataset,
    FormatError,
    Message,
    Superblock,
    decode_attribute,
    decode_fan_out,
    decode_link,
    encode_attribute,
    encode_extent,
    encode_fan_out,
    encode_header,
    encode_heap,
    encode_kind,
    encode_link,
    encode_reference,
    encode_superblock,
    only,
)
from storage.formats.hdf5.table import ROOT, Table, Value, told

ROWS = 1024  # rows in a chunk of a column whose rows are small
RESERVE_BYTES = 256 * 1024  # more than a commit writes: a file can be finished in order on a disk that filled up


@dataclass(frozen=True, slots=True)
class Column:
    """A dataset of the table.

    Attributes
    ----------
    name : str
    type : str
        One of `storage.formats.hdf5.format.TYPES`.
    shape : tuple of int
        Of one row; empty if a row is one value.
    rows : int
        Rows a chunk. With 1, each row is written when it comes.
    deflated : bool
        Rows come as zlib streams; only with one row a chunk.
    fill : bytes
        The value of rows that nobody has set; zeros if empty.
    """

    name: str
    type: str
    shape: tuple[int, ...] = ()
    rows: int = ROWS
    deflated: bool = False
    fill: bytes = b""


class TableWriter:
    """Appends rows to a table, which it makes if there is none.

    Parameters
    ----------
    path : path
    names : sequence of str
        The columns that a table here has, all of them, or none yet. What else is in the file stays as it is.

    `append` and `set_attribute` may be called while another thread is in `commit`; they wait only while that collects
    what it writes, not for the disk.

    Raises
    ------
    StorageError
        The file can't be written to, is no such table, or another program writes to it.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path = path
        self._names = names
        real = Path(os.path.realpath(path))  # two names of one file are one file
        if not real.parent.is_dir():
            raise no_directory(path.parent)
        self._guard_path = real.with_name(f".{real.name}.reserve.part")
        self._guard = self._fd = -1
        self._created = False
        try:
            self._guard = lock_file(
                self._guard_path, f"{path} is being recorded into by another program; choose another name"
            )
            self._open(real)
        except OSError as error:
            self._abandon(real)
            raise StorageError(f"{path}: {error.strerror}; nothing was recorded") from None
        except BaseException:
            self._abandon(real)
            raise
        self._changed = self._lost = False
        self._lock = threading.Lock()
        self._commit_lock = threading.Lock()

    def _open(self, path: Path) -> None:
        self._created = not os.path.lexists(path) and _create(path)
        if path.is_dir():
            raise StorageError(f"{self.path} is not a file; choose another name")
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        # Before anything is read: another writer may have the file by another name.
        lock_descriptor(
            self._fd, f"{self.path} is being recorded into or open for writing in another program; close it there"
        )
        table = Table(self.path)
        try:
            with told(self.path):
                self._load(table)
        finally:
            table.close()
        os.ftruncate(self._guard, 0)
        _write_all(self._guard, bytes(RESERVE_BYTES), 0)
        os.ftruncate(self._fd, self._end)

    def _load(self, table: Table) -> None:
        """Take up where the last commit left off."""
        self._end = self._first_end = self._committed_end = table.superblock.end
        self._extension = table.superblock.extension
        self._columns = {name: load_column(table, name) for name in self._names if name in table}
        incomplete = table.names and len(self._columns) < len(self._names)
        if incomplete or decode_fan_out(table.read, self._extension) != FAN_OUT:
            raise FormatError("was recorded by another program; choose another name")
        rows = {column.dataset.dims[0] for column in self._columns.values()}
        if len(rows) > 1:
            raise FormatError("has columns of different lengths")
        self._rows = self._durable = rows.pop() if rows else 0
        self._attributes = {owner: _attributes(messages) for owner, messages in table.messages.items()}
        self._new_attributes: dict[tuple[str, str], Value] = {}
        self._other = {owner: self._others(messages) for owner, messages in table.messages.items()}

    def _others(self, messages: Sequence[Message]) -> list[Message]:
        """What stays in an object's header as it is, whoever put it there."""
        for kind in (LINK_INFO, ATTRIBUTE_INFO):
            body = only(messages, kind)
            if body is not None and body[-16:] != b"\xff" * 16:
                raise FormatError(ADDED_TO)
        return [
            message
            for message in messages
            if message.kind not in (ATTRIBUTE, DATASPACE, LAYOUT)
            and not (message.kind == LINK and decode_link(message.body).name in self._names)
        ]

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def held(self) -> tuple[Path, int]:
        return self.path, self._fd

    @property
    def bytes_written(self) -> int:
        return self._end - self._first_end

    @property
    def columns(self) -> dict[str, Dataset]:
        """What the file has for columns; empty as long as none were added."""
        return {name: column.dataset for name, column in self._columns.items()}

    def add_columns(self, columns: Sequence[Column]) -> None:
        """Give a new table its columns."""
        with self._lock:
            for column in columns:
                dataset = Dataset(
                    column.type, (0, *column.shape), (column.rows, *column.shape), column.deflated, index=NOWHERE
                )
                kind = encode_kind(column.type, fill=column.fill, deflated=column.deflated)
                self._other[column.name] = [*kind, NO_ATTRIBUTES_ELSEWHERE]
                self._attributes[column.name] = {}
                self._columns[column.name] = new_column(dataset, column.fill)

    def set_attribute(self, name: str, value: Value, owner: str = ROOT) -> None:
        """Set an attribute of a column, or of the file; stored by the next commit."""
        with self._lock:
            self._new_attributes[owner, name] = value
            self._changed = True

    def append(self, row: Mapping[str, Bytes]) -> None:
        """Add a row: for each column its bytes. Raises OSError if the disk is full; then nothing was added."""
        with self._lock:
            places = [column.prepare(row[name], self) for name, column in self._columns.items()]
            for (name, column), place in zip(self._columns.items(), places, strict=True):
                column.take(row[name], place)
            self._rows += 1
            self._changed = True

    def replace_values(self, name: str, rows: Sequence[bytes]) -> None:
        """Give a column other values: one for each row, in its bytes. The next commit makes the change, all at once."""
        with self._lock:
            old = self._columns[name]
            empty = replace(old.dataset, dims=(0, *old.dataset.dims[1:]), index=NOWHERE)
            new = new_column(empty, old.fill)
            for row in rows:
                new.take(row, new.prepare(row, self))
            self._columns[name] = new
            self._changed = True

    def commit(self) -> int:
        """Return the number of rows that now survive a power cut: all that were appended before the call.

        Once the disk has failed to sync, nobody knows what it holds of what came last: no commit follows.

        Raises
        ------
        OSError
            The disk is full, and nothing has changed; or it failed.
        """
        with self._commit_lock:
            if self._lost or not self._changed:
                return self._durable
            with self._lock:
                root = self._write_headers()
                block, rows = Superblock(self._end, root, self._extension), self._rows
                self._changed = False
            try:
                os.fsync(self._fd)
                _write_all(self._fd, encode_superblock(block), 0)
                self._committed_end = block.end
                os.fsync(self._fd)
            except OSError:
                self._lost = True
                raise
            self._durable = rows
            return rows

    def release_reserve(self) -> None:
        """Free the room that was set aside for the last commit."""
        if self._guard >= 0:
            os.ftruncate(self._guard, 0)

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        """Let go of the file, as the last commit left it; a file that was made and has no rows goes."""
        if self.closed:
            return
        try:
            if self._created and self._committed_end == self._first_end:
                with suppress(GoneError):  # somebody else's file of that name stays
                    check_in_place(*self.held)
                    os.unlink(os.path.realpath(self.path))
            else:
                os.ftruncate(self._fd, self._committed_end)
        finally:
            self._let_go()

    def _abandon(self, path: Path) -> None:
        if self._created:
            path.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._guard >= 0:
            self._guard_path.unlink(missing_ok=True)
            os.close(self._guard)
            self._guard = -1

    def write(self, data: Bytes) -> int:
        """Write after everything else; returns the address."""
        address = self._end
        self.write_at(address, data)
        self._end = address + memoryview(data).nbytes
        return address

    def write_at(self, address: int, data: Bytes) -> None:
        """Write where nothing is that a commit leads to."""
        _write_all(self._fd, data, address)

    def _write_headers(self) -> int:
        """Write what leads to all rows; returns the root's address."""
        for column in self._columns.values():
            column.flush(self)
        self._write_attributes()
        links = []
        for name, column in self._columns.items():
            dataset = replace(column.dataset, dims=(self._rows, *column.dataset.dims[1:]), index=column.index(self))
            header = encode_header([*encode_extent(dataset), *self._other[name], *self._attribute_messages(name)])
            links.append(encode_link(name, self.write(header)))
        return self.write(encode_header([*self._other[ROOT], *self._attribute_messages(ROOT), *links]))

    def _attribute_messages(self, owner: str) -> list[Message]:
        return [Message(ATTRIBUTE, body) for body in self._attributes[owner].values()]

    def _write_attributes(self) -> None:
        for (owner, name), value in list(self._new_attributes.items()):
            self._attributes[owner][name] = _attribute(name, value, self).body
            del self._new_attributes[owner, name]


def _write_all(fd: int, data: Bytes, address: int) -> None:
    view = memoryview(data).cast("B")
    done = os.pwrite(fd, view, address)
    while done < len(view):  # a short write: the disk filled up, or a signal came
        done += os.pwrite(fd, view[done:], address + done)


def _create(path: Path) -> bool:
    """Make an empty table; False if there is something by that name meanwhile."""
    extension = encode_fan_out()
    root = encode_header([*EMPTY_GROUP, NO_ATTRIBUTES_ELSEWHERE])
    end = SUPERBLOCK_SIZE + len(extension) + len(root)
    block = Superblock(end, SUPERBLOCK_SIZE + len(extension), SUPERBLOCK_SIZE)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    write_new(part, encode_superblock(block) + extension + root)
    try:
        with part.open("rb") as file:
            os.fsync(file.fileno())
        rename_new(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def _attributes(messages: Sequence[Message]) -> dict[str, bytes]:
    """The attributes in a header, by their names; those that are none of ours by numbers."""
    bodies = [message.body for message in messages if message.kind == ATTRIBUTE]
    return {decode_attribute(body).name or f"#{number}": body for number, body in enumerate(bodies)}


def _attribute(name: str, value: Value, file: TableWriter) -> Message:
    if isinstance(value, int):
        return encode_attribute(name, "int64", (), value.to_bytes(8, "little", signed=True))
    texts = [text.encode() for text in ([value] if isinstance(value, str) else value)]
    heap = file.write(encode_heap(texts)) if any(texts) else NOWHERE
    references = [encode_reference(text, heap, number) if text else bytes(16) for number, text in enumerate(texts, 1)]
    return encode_attribute(name, "text", () if isinstance(value, str) else (len(texts),), b"".join(references))

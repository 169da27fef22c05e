"""Reads tables: columns of equal length in one HDF5 file, as `storage.formats.hdf5.append` writes them and libraries
may.

Files from strangers are safe to open: nothing is followed out of the file, nothing is believed before it is checked,
and no memory is taken for what a header only claims. The bytes are `storage.formats.hdf5.format`'s; what the columns
mean is their owner's business.
"""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from isal import igzip_lib, isal_zlib

from storage.errors import StorageError
from storage.formats.hdf5.format import (
    ATTRIBUTE,
    FOREIGN,
    LINK,
    LINK_INFO,
    NOWHERE,
    SUPERBLOCK_SIZE,
    TYPES,
    Dataset,
    Entry,
    FormatError,
    Node,
    Superblock,
    decode_attribute,
    decode_dataset,
    decode_header,
    decode_heap,
    decode_link,
    decode_node,
    decode_reference,
    decode_superblock,
    only,
)

Value = str | int | Sequence[str]
"""What an attribute may be."""

ROOT = ""
"""The owner of the attributes that belong to the whole file."""
LARGEST_CHUNK = 300_000_000  # a frame of 100 million pixels; anything larger is taken for an attack
LARGEST_BLOCK = 16_000_000  # many small rows
LEAST_ENTRY = 40  # bytes that any chunk takes in the index
CACHED = 1024  # index nodes and text heaps that a reader keeps


class Table:
    """A table at rest: its columns, its attributes, and what is in them. Several threads may read.

    Raises
    ------
    StorageError
        It is no such file, is damaged, or holds something that this program follows for nobody (links, other files).
        Here and in every method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        with told(path):
            # Before it is opened: opening a pipe would wait for ever.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise FormatError("is not a file")
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    def _open(self) -> None:
        self._nodes: dict[int, Node] = {}
        self._heaps: dict[int, dict[int, bytes]] = {}
        self._datasets: dict[str, Dataset] = {}
        self.superblock = self._read_superblock()
        self._file_size = os.fstat(self._fd).st_size
        if self.superblock.end > self._file_size:
            raise FormatError(f"is cut off: {self._file_size} of {self.superblock.end} bytes are there")
        self.messages = {ROOT: decode_header(self.read, self.superblock.root)}
        if only(self.messages[ROOT], LINK_INFO) is None:
            raise FormatError(FOREIGN)
        links = [decode_link(body) for kind, body in self.messages[ROOT] if kind == LINK]
        self._links = dict(links)
        if len(self._links) < len(links):
            raise FormatError("has two things of one name")

    def _read_superblock(self) -> Superblock:
        try:
            return decode_superblock(os.pread(self._fd, SUPERBLOCK_SIZE, 0))
        except FormatError:  # a commit may have come in between; it would not come twice
            return decode_superblock(os.pread(self._fd, SUPERBLOCK_SIZE, 0))

    @property
    def names(self) -> list[str]:
        """What is in the file."""
        return list(self._links)

    def __contains__(self, name: str) -> bool:
        """Whether there is anything by that name."""
        return name in self._links

    def dataset(self, name: str) -> Dataset:
        """What the header of a column says; what no table's column is is refused."""
        if name not in self._datasets:
            with told(self.path):
                try:
                    self._datasets[name] = self._load(name)
                except FormatError as error:
                    raise FormatError(f"is refused: {name} {error}") from None
        return self._datasets[name]

    def _load(self, name: str) -> Dataset:
        if name not in self._links:
            elsewhere = (only(self.messages[ROOT], LINK_INFO) or b"")[-16:] != b"\xff" * 16
            raise FormatError("is missing" + (", or among too many other things" if elsewhere else ""))
        address = self._links[name]
        if address is None:
            raise FormatError("is a link to somewhere else, which is not followed")
        self.messages[name] = decode_header(self.read, address)
        dataset = decode_dataset(self.messages[name])
        # Whatever is absurd is refused before anything is allocated for it.
        size, most = chunk_size(dataset), LARGEST_CHUNK if dataset.chunk[:1] == (1,) else LARGEST_BLOCK
        if not dataset.dims or 0 in dataset.chunk or dataset.chunk[1:] != dataset.dims[1:] or size > most:
            shape, chunk = (" x ".join(map(str, dims)) or "nothing" for dims in (dataset.dims, dataset.chunk))
            raise FormatError(f"has an absurd shape ({shape}, in chunks of {chunk})")
        rows, chunks = dataset.dims[0], -(-dataset.dims[0] // dataset.chunk[0])
        if chunks * LEAST_ENTRY > self._file_size:
            raise FormatError(f"claims {rows} rows, more than the file has room for")
        return dataset

    @property
    def cut_bytes(self) -> int:
        """Bytes after the last commit: what a crash cut off, or what is being written just now."""
        return self._file_size - self.superblock.end

    def attributes(self, owner: str = ROOT) -> dict[str, Value]:
        """The attributes of a column, or of the file, as far as they are texts and whole numbers."""
        found: dict[str, Value] = {}
        if owner:
            self.dataset(owner)
        with told(self.path):
            for kind, body in self.messages[owner]:
                if kind != ATTRIBUTE:
                    continue
                name, type, dims, data = decode_attribute(body)
                if type == "int64" and dims == ():
                    found[name] = int.from_bytes(data[:8], "little", signed=True)
                elif type == "text" and len(dims) <= 1 and len(data) == 16 * (count := dims[0] if dims else 1):
                    texts = [self._text(data[at : at + 16]).decode(errors="replace") for at in range(0, 16 * count, 16)]
                    found[name] = texts if dims else texts[0]
        return found

    def chunk(self, name: str, row: int) -> bytes:
        """The values of the chunk that begins with a row, as they are in memory."""
        dataset = self.dataset(name)
        with told(self.path):
            return self._chunk(dataset, row)

    def values(self, name: str) -> bytes:
        """All values of a column, one after the other."""
        return self.rows(name, 0, self.dataset(name).dims[0])

    def rows(self, name: str, start: int, stop: int) -> bytes:
        """The values of a column from one row to before another, one after the other."""
        dataset = self.dataset(name)
        step = dataset.chunk[0]
        size, first = chunk_size(dataset) // step, start - start % step
        with told(self.path):
            whole = b"".join(self._chunk(dataset, row) for row in range(first, stop, step))
        return whole[(start - first) * size : (stop - first) * size]

    def value(self, name: str, row: int) -> bytes:
        """The value in a row, or the reference to its text."""
        dataset = self.dataset(name)
        first, size = row - row % dataset.chunk[0], chunk_size(dataset) // dataset.chunk[0]
        with told(self.path):
            if dataset.deflated:
                return self._chunk(dataset, first)[size * (row - first) :][:size]
            return self.read(self._find(dataset, first).address + size * (row - first), size)

    def text(self, name: str, row: int) -> bytes:
        """The text in a row."""
        reference = self.value(name, row)
        with told(self.path):
            return self._text(reference)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the file as the last commit left it; raises `FormatError` if it has no such bytes."""
        if address + size > self.superblock.end:
            raise FormatError(f"is damaged: something is said to be at byte {address}, after its end")
        data = os.pread(self._fd, size, address)
        if len(data) < size:
            raise FormatError("has been cut off while it was read")
        return data

    def _chunk(self, dataset: Dataset, row: int) -> bytes:
        entry, size = self._find(dataset, row), chunk_size(dataset)
        if entry.size > size + size // 8 + 1024:
            raise FormatError(f"has a chunk of {entry.size} bytes where {size} were expected")
        data = self.read(entry.address, entry.size)
        if dataset.deflated and not entry.unfiltered:
            inflate = isal_zlib.decompressobj()
            try:
                data = inflate.decompress(data, size + 1)
            except igzip_lib.IsalError:  # type: ignore[misc]  # isal has no types
                raise FormatError(f"is damaged at byte {entry.address}: it can't be decompressed") from None
            if not inflate.eof:
                raise FormatError(f"is damaged at byte {entry.address}: it can't be decompressed to the end")
        if len(data) != size:
            raise FormatError(f"has a chunk of {len(data)} bytes where {size} were expected")
        return data

    def _find(self, dataset: Dataset, row: int) -> Entry:
        address = dataset.index
        above: int | None = None
        while address != NOWHERE:
            node = self._nodes.get(address) or self._load_node(address, len(dataset.dims))
            if above is not None and node.level != above - 1:
                break
            at = bisect_right(node.entries, row, key=_row) - 1
            if at < 0:
                break
            if node.level == 0:
                if node.entries[at].row != row:
                    break
                return node.entries[at]
            address, above = node.entries[at].address, node.level
        raise FormatError(f"is damaged: no chunk is known for row {row}")

    def _load_node(self, address: int, rank: int) -> Node:
        if len(self._nodes) >= CACHED:
            self._nodes.clear()
        node = self._nodes[address] = decode_node(self.read, address, rank)
        return node

    def _text(self, reference: bytes) -> bytes:
        length, address, number = decode_reference(reference)
        if not length:
            return b""
        heap = self._heaps.get(address)
        if heap is None:
            if len(self._heaps) >= CACHED:
                self._heaps.clear()
            heap = self._heaps[address] = decode_heap(self.read, address)
        text = heap.get(number, b"")
        if len(text) < length:
            raise FormatError(f"is damaged: a text is missing at byte {address}")
        return text[:length]


def _row(entry: Entry) -> int:
    return entry.row


def chunk_size(dataset: Dataset) -> int:
    size = TYPES[dataset.type][0] if dataset.type in TYPES else 1
    for length in dataset.chunk:
        size *= length
    return size


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell of bytes that make no sense, and of a disk that fails, in one line."""
    try:
        yield
    except FormatError as error:
        raise StorageError(f"{path} {error}") from None
    except (struct.error, IndexError, OverflowError):
        raise StorageError(f"{path} is damaged") from None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None

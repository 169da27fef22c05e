"""Columns of a table that grows: where their rows go, and the index that leads to them.

Each is written to in two steps: `prepare` does what can fail and returns where the row goes, `take` can't fail. What
leads to the columns, and when it counts, is `storage.formats.hdf5.append`'s business.
"""

from __future__ import annotations

from typing import Protocol

from storage.formats.hdf5.format import (
    FAN_OUT,
    NOWHERE,
    TYPES,
    Bytes,
    Dataset,
    Entry,
    FormatError,
    decode_fill,
    decode_node,
    encode_heap,
    encode_node,
    encode_reference,
)
from storage.formats.hdf5.table import Table, chunk_size

TEXT_BYTES = 64 * 1024  # texts that wait in memory for the next commit, at most
ADDED_TO = "was added to by another program; record to another name"


class File(Protocol):
    """Where columns put what they have. Both raise OSError if the disk is full."""

    def write(self, data: Bytes) -> int:
        """Write after everything else; returns the address."""

    def write_at(self, address: int, data: Bytes) -> None:
        """Write where nothing is that a commit leads to."""


class ChunkIndex:
    """The chunk index of a column that grows: for each level of the tree, the entries of its last node.

    A node is written for good once it is full. The others are written at each commit, and again at the next.
    """

    def __init__(self, rank: int, levels: list[list[Entry]]) -> None:
        self._rank = rank
        self._levels = levels
        self._root = NOWHERE
        self._current = False

    def close_full(self, end: int, file: File) -> None:
        """Write the nodes that are full, and put them into the node above. Changes nothing if it fails."""
        if len(self._levels[0]) < FAN_OUT:
            return
        levels = [list(entries) for entries in self._levels]
        for level, entries in enumerate(levels):
            if len(entries) < FAN_OUT:
                break
            node = entries[0]._replace(address=file.write(encode_node(level, entries, end, self._rank)))
            levels[level] = []
            if level + 1 == len(levels):
                levels.append([])
            levels[level + 1].append(node)
        self._levels = levels

    def add(self, entry: Entry) -> None:
        self._levels[0].append(entry)
        self._current = False

    def write(self, end: int, file: File) -> int:
        """Write the last node of each level; returns the address of the root."""
        if self._current:
            return self._root
        below: list[Entry] = []
        for level, entries in enumerate(self._levels):
            node = [*entries, *below]
            top = level == len(self._levels) - 1
            if top and level and len(node) == 1:
                below = node  # a root with one node below: that one is the root
            elif node:
                below = [node[0]._replace(address=file.write(encode_node(level, node, end, self._rank)))]
        self._root, self._current = below[0].address, True
        return self._root


class Direct:
    """A column with a chunk for each row."""

    def __init__(self, dataset: Dataset, fill: bytes, index: ChunkIndex) -> None:
        self.dataset = dataset
        self.fill = fill
        self._rows = dataset.dims[0]
        self._index = index

    def prepare(self, row: Bytes, file: File) -> int:
        self._index.close_full(self._rows, file)
        return file.write(row)

    def take(self, row: Bytes, address: int) -> None:
        self._index.add(Entry(self._rows, address, memoryview(row).nbytes))
        self._rows += 1

    def flush(self, file: File) -> None:
        """Nothing waits."""

    def index(self, file: File) -> int:
        return self._index.write(self._rows, file)


class Packed:
    """A column with many rows in a chunk. They wait in memory; room for a chunk is taken when its first row comes."""

    def __init__(
        self, dataset: Dataset, fill: bytes, index: ChunkIndex, last: Entry | None = None, rows: bytes = b""
    ) -> None:
        self.dataset = dataset
        self.fill = fill
        self._index = index
        self._step = dataset.chunk[0]
        self._rows = dataset.dims[0]
        self._end = last.row + self._step if last else 0
        self._address = last.address if last else NOWHERE
        self._chunk = bytearray(rows)
        self._flushed = len(rows)

    def prepare(self, row: Bytes, file: File) -> int:
        if self._rows < self._end:
            return self._address
        self.flush(file)
        self._index.close_full(self._end, file)
        return file.write(self.fill * (chunk_size(self.dataset) // len(self.fill)))

    def take(self, row: Bytes, address: int) -> None:
        if self._rows == self._end:
            self._index.add(Entry(self._rows, address, chunk_size(self.dataset)))
            self._end += self._step
            self._address = address
            self._chunk.clear()
            self._flushed = 0
        self._chunk += row
        self._rows += 1

    def flush(self, file: File) -> None:
        """Write the rows that wait. In the chunk they come after those that a commit leads to."""
        if self._flushed < len(self._chunk):
            file.write_at(self._address + self._flushed, bytes(memoryview(self._chunk)[self._flushed :]))
            self._flushed = len(self._chunk)

    def index(self, file: File) -> int:
        return self._index.write(self._end, file)


class Texts(Packed):
    """A column of texts: its rows are references to heaps, each of which is written once."""

    def __init__(
        self, dataset: Dataset, fill: bytes, index: ChunkIndex, last: Entry | None = None, rows: bytes = b""
    ) -> None:
        super().__init__(dataset, fill, index, last, rows)
        self._waiting: list[tuple[int, bytes]] = []
        self._waiting_bytes = 0

    def prepare(self, row: Bytes, file: File) -> int:
        if self._waiting_bytes >= TEXT_BYTES:
            self.flush(file)
        return super().prepare(row, file)

    def take(self, row: Bytes, address: int) -> None:
        super().take(bytes(16), address)
        if text := bytes(row):
            self._waiting.append((len(self._chunk) - 16, text))
            self._waiting_bytes += len(text)

    def flush(self, file: File) -> None:
        if self._waiting:
            heap = file.write(encode_heap([text for _, text in self._waiting]))
            for number, (at, text) in enumerate(self._waiting, 1):
                self._chunk[at : at + 16] = encode_reference(text, heap, number)
            self._waiting, self._waiting_bytes = [], 0
        super().flush(file)


GrowingColumn = Direct | Packed


def new_column(dataset: Dataset, fill: bytes) -> GrowingColumn:
    fill = fill or bytes(TYPES[dataset.type][0])
    index = ChunkIndex(len(dataset.dims), [[]])
    if dataset.chunk[0] == 1:
        return Direct(dataset, fill, index)
    return (Texts if dataset.type == "text" else Packed)(dataset, fill, index)


def load_column(table: Table, name: str) -> GrowingColumn:
    dataset = table.dataset(name)
    rows, step, rank = dataset.dims[0], dataset.chunk[0], len(dataset.dims)
    if dataset.type not in TYPES or not rows:
        raise FormatError(ADDED_TO)
    levels, last = _load_levels(table, dataset.index, rank)
    if last.row != rows - 1 - (rows - 1) % step or (step > 1 and dataset.deflated):
        raise FormatError(ADDED_TO)
    fill = decode_fill(table.messages[name], TYPES[dataset.type][0])
    index = ChunkIndex(rank, levels)
    if step == 1:
        return Direct(dataset, fill, index)
    used = (rows - last.row) * (chunk_size(dataset) // step)
    kind = Texts if dataset.type == "text" else Packed
    return kind(dataset, fill, index, last, table.read(last.address, used))


def _load_levels(table: Table, root: int, rank: int) -> tuple[list[list[Entry]], Entry]:
    """For each level of an index, from the leaves up, the entries of its last node that are not being added to."""
    node = decode_node(table.read, root, rank)
    levels = [node.entries]
    while node.level > 0:
        below = decode_node(table.read, levels[0].pop().address, rank)
        if below.level != node.level - 1:
            raise FormatError("has a damaged chunk index")
        node = below
        levels.insert(0, node.entries)
    if any(len(entries) > FAN_OUT - (level > 0) for level, entries in enumerate(levels)):
        raise FormatError(ADDED_TO)
    return levels, levels[0][-1]

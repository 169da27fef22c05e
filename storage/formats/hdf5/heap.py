"""Reads texts of variable length, whose bytes HDF5 keeps in global heaps: without a checksum, and as places in them.

libhdf5 before 1.14, which is what Raspberry Pi OS bookworm has, believes what a heap says: it hangs or crashes on a
damaged one. So three things hold. The texts that come with frames are read here, in any file. Heaps are checked before
libhdf5 sees them. Where libhdf5 is older, a child process reads attributes of such texts: a damaged one ends only that.
The layout is in the HDF5 File Format Specification, III.E, "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
from collections.abc import Callable

import h5py
import numpy as np

from storage.errors import StorageError
from storage.formats.hdf5.chunk import LIBRARY_LOCK, UNDONE, filters_of, read_chunk

HEAP_SIGNATURE = b"GCOL"
LARGEST_HEAP = 1 << 28
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size of the whole
_OBJECT = struct.Struct("<HH4xQ")  # number (0 is what is free), references, size; then the bytes, in whole eights
_PLACE = struct.Struct("<IQI")  # what stands for a text in a dataset: its length, its heap, its number in that
KEPT_BYTES = 16_000_000  # at most, of the heaps that were read

SAFE = (1, 14)  # libhdf5, from this version on
PATIENCE_SECONDS = 10  # for the answer of the child

ReadAt = Callable[[int, int], bytes]
"""Reads so many bytes at an address of a file; fewer at its end."""


def read_heap(read: ReadAt, address: int) -> dict[int, bytes]:
    """The objects of a global heap, by their numbers. Raises `ValueError` if it is damaged."""
    head = read(address, _HEAP.size)
    if len(head) == _HEAP.size:
        signature, version, size = _HEAP.unpack(head)
        if signature == HEAP_SIGNATURE and version == 1 and size <= LARGEST_HEAP:
            data = read(address, size)
            if len(data) == size and (objects := _objects(data)) is not None:
                return objects
    raise ValueError(f"the texts at byte {address} are no texts")


def _objects(data: bytes) -> dict[int, bytes] | None:
    objects, at = dict[int, bytes](), _HEAP.size
    while at + _OBJECT.size <= len(data):
        number, _, size = _OBJECT.unpack_from(data, at)
        start = at + _OBJECT.size
        at = start + -(-size // 8) * 8 if number else at + max(size, 1)
        if at > len(data) or (not number and size < _OBJECT.size):
            return None
        if number:
            objects[number] = data[start : start + size]
    return objects


class VariableTexts:
    """The texts of a dataset, of any length: ``texts[n]``, which raises `ValueError` if it is damaged.

    Raises
    ------
    StorageError
        They are stored in a way that only libhdf5 knows.
    """

    def __init__(self, dataset: h5py.Dataset, read: ReadAt) -> None:
        self._dataset, self._read = dataset, read
        self._rows = dataset.chunks[0] if dataset.chunks else 0
        self._filters = filters_of(dataset)
        self._places: dict[int, bytes | memoryview] = {}
        self._heaps: dict[int, dict[int, bytes]] = {}
        self._kept_bytes = 0
        sizes = dataset.file.id.get_create_plist().get_sizes()
        if sizes != (8, 8) or {*self._filters} - UNDONE or not (self._rows or dataset.id.get_offset()):
            raise StorageError(
                "is stored in a way that this program can't read safely; h5repack -f NONE writes it anew"
            )

    def __getitem__(self, index: int) -> bytes:
        length, address, number = _PLACE.unpack(self._place(index))
        if not length:
            return b""
        objects = self._heaps.get(address)
        if objects is None:
            objects = self._keep(address)
        text = objects.get(number, b"")[:length]
        if len(text) != length:
            raise ValueError("a text is not where it should be")
        return text

    def _place(self, index: int) -> bytes | memoryview:
        if not self._rows:
            return self._read(self._dataset.id.get_offset() + index * _PLACE.size, _PLACE.size)
        chunk, row = divmod(index, self._rows)
        places = self._places.get(chunk)
        if places is None:
            first, size = chunk * self._rows, self._rows * _PLACE.size
            is_there = self._dataset.id.get_chunk_info_by_coord((first,)).byte_offset is not None
            places = read_chunk(self._dataset, first, size, self._filters) if is_there else bytes(size)
            self._places[chunk] = places
        return places[row * _PLACE.size : (row + 1) * _PLACE.size]

    def _keep(self, address: int) -> dict[int, bytes]:
        objects = read_heap(self._read, address)
        size = sum(map(len, objects.values()))
        if self._kept_bytes + size > KEPT_BYTES:
            self._heaps, self._kept_bytes = {}, 0
        self._heaps[address] = objects
        self._kept_bytes += size
        return objects


def texts_in(thing: h5py.Group | h5py.Dataset, name: str) -> list[str]:
    """The texts of an attribute: one, several, or none if it is not there. Raises `ValueError` if they are damaged."""
    if name not in thing.attrs:
        return []
    is_safe = h5py.version.hdf5_version_tuple[:2] >= SAFE or not thing.attrs.get_id(name).dtype.hasobject
    return (_read_attribute if is_safe else _read_in_child)(thing, name)


def _read_attribute(thing: h5py.Group | h5py.Dataset, name: str) -> list[str]:
    values = np.ravel(thing.attrs[name])
    return [value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value) for value in values]


def _read_in_child(thing: h5py.Group | h5py.Dataset, name: str) -> list[str]:
    receiving, sending = os.pipe()
    with LIBRARY_LOCK:  # no other thread is within libhdf5
        child = os.fork()
    if not child:
        try:
            with os.fdopen(sending, "w") as pipe:
                json.dump(_read_attribute(thing, name), pipe)
        finally:
            os._exit(0)
    os.close(sending)
    parts = [b""]
    with os.fdopen(receiving, "rb", 0) as pipe:
        while select.select([pipe], [], [], PATIENCE_SECONDS)[0] and (part := pipe.read(1 << 16)):
            parts.append(part)
    os.kill(child, signal.SIGKILL)  # it has ended, or hangs
    os.waitpid(child, 0)
    try:
        texts: list[str] = json.loads(b"".join(parts))
    except ValueError:
        raise ValueError(f"the attribute {name} can't be read") from None
    return texts

"""Reads texts of variable length, whose bytes HDF5 keeps in global heaps: without a checksum, and as places in them.

libhdf5 before 1.14, which is what Raspberry Pi OS bookworm has, believes what a heap says: it hangs or crashes on a
damaged one. So heaps are checked before it sees them, and the texts that come with frames are read here instead.
The layout is in the HDF5 File Format Specification, III.E, "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

HEAP_SIGNATURE = b"GCOL"
LARGEST_HEAP = 1 << 28
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size of the whole
_OBJECT = struct.Struct("<HH4xQ")  # number (0 is what is free), references, size; then the bytes, in whole eights
PLACE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])  # what stands for a text in a dataset

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


def read_texts(read: ReadAt, places: bytes) -> list[bytes]:
    """Texts, from what a dataset holds in their place. Raises `ValueError` if they are damaged."""
    heaps: dict[int, dict[int, bytes]] = {}
    texts = []
    for length, address, number in np.frombuffer(places, PLACE).tolist():
        if length and address not in heaps:
            heaps[address] = read_heap(read, address)
        text = heaps[address].get(number, b"")[:length] if length else b""
        if len(text) != length:
            raise ValueError("a text is not where it should be")
        texts.append(text)
    return texts

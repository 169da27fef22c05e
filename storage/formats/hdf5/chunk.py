"""Reads chunks as they are stored and undoes their filters, in a third of the time that libhdf5 takes for it."""

from __future__ import annotations

import math

import h5py
import numpy as np
from h5py._objects import phil

from storage.errors import StorageError
from storage.formats.deflate import inflate

LIBRARY_LOCK = phil
"""h5py's own: libhdf5 is for one thread at a time, and h5py forgets to take the lock for direct chunks."""
UNDONE = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
"""The filters that `read_chunk` undoes."""


def filters_of(dataset: h5py.Dataset) -> list[int]:
    """HDF5's numbers of the filters that a dataset's chunks go through."""
    creation = dataset.id.get_create_plist()
    return [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]


def read_chunk(dataset: h5py.Dataset, row: int, size: int, filters: list[int]) -> bytes | memoryview:
    """The bytes of the chunk, `size` of them, that begins with a row. Raises `StorageError` if it is damaged."""
    data: bytes | memoryview
    with LIBRARY_LOCK:
        mask, data = dataset.id.read_direct_chunk((row, *(0,) * (dataset.ndim - 1)))
    for number, code in reversed([*enumerate(filters)]):
        if mask >> number & 1:
            continue
        if code == h5py.h5z.FILTER_DEFLATE:
            try:
                data = inflate(data, size + 4)  # a checksum may be inside
            except ValueError as error:
                raise StorageError(f"is damaged: {error}") from None
        elif code == h5py.h5z.FILTER_FLETCHER32:
            data = _checked(data)
        elif code == h5py.h5z.FILTER_SHUFFLE:
            data = np.frombuffer(data, np.uint8).reshape(size // math.prod(dataset.chunks), -1).T.tobytes()
    if len(data) != size:
        raise StorageError(f"is damaged: {len(data)} bytes where {size} were expected")
    return data


def _checked(data: bytes | memoryview) -> memoryview:
    """A chunk without the checksum at its end, if that is right."""
    content = memoryview(data)[:-4]
    if fletcher32(content) != int.from_bytes(data[-4:], "little"):
        raise StorageError("is damaged: its checksum is wrong")
    return content


def fletcher32(data: bytes | bytearray | memoryview) -> int:
    """The checksum that HDF5's filter of this name puts behind a chunk, little-endian.

    Two sums of big-endian 16-bit words modulo 65535: of the words, and of those sums as they grow, in which a word
    counts as often as words come from it on (`H5_checksum_fletcher32` of libhdf5). Here from the sums of the rows and
    columns of a table of words. Words are read in the other byte order, and the sums multiplied by 256: modulo 65535
    that swaps the bytes.
    """
    words = np.frombuffer(data if len(data) % 2 == 0 else bytes(data) + b"\0", "<u2")
    ahead = len(words) % BLOCK_WORDS
    head, blocks = words[:ahead].astype(np.int64), words[ahead:].reshape(-1, BLOCK_WORDS)
    rows, columns = blocks.sum(1, np.uint32), blocks.sum(0, np.uint32)
    weighted = int(head @ np.arange(len(words), len(words) - ahead, -1)) + int(_WEIGHTS @ columns)
    weighted += BLOCK_WORDS * int(np.arange(len(blocks) - 1, -1, -1) @ rows)
    return _folded(weighted * 256) << 16 | _folded((int(head.sum()) + int(rows.sum())) * 256)


BLOCK_WORDS = 4096  # sums of rows and of columns have 32 bits, for chunks of up to half a gigabyte
_WEIGHTS = np.arange(BLOCK_WORDS, 0, -1)


def _folded(value: int) -> int:
    """Modulo 65535, with 65535 for every multiple of it but 0 itself."""
    return (value - 1) % 65535 + 1 if value else 0

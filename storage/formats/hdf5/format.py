"""The bytes of an HDF5 file, as far as a recording needs them: superblock, object headers, chunk index, text heap.

Pure functions between values and bytes, after version 3 of the HDF5 File Format Specification, in structures that every
HDF5 library since 1.8 reads. Nothing here opens a file (`storage.formats.hdf5.table` does) and nothing trusts what it
decodes: bytes that make no sense raise `FormatError`, before anything is allocated for them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SIGNATURE = b"\x89HDF\r\n\x1a\n"
Bytes = bytes | bytearray | memoryview
NOWHERE = 0xFFFF_FFFF_FFFF_FFFF  # the address of what does not exist
FAN_OUT = 16  # entries in a node of a chunk index: small nodes, because every sync writes the last one of each level
FOREIGN = "is HDF5, but with headers that this program can't read; copy its frames with h5py and pi_capture.Recorder"
LARGEST_HEADER = 1 << 20
LARGEST_HEAP = 1 << 26

Read = Callable[[int, int], bytes]
"""Reads (address, size) from a file; raises `FormatError` where the file has no such bytes."""


class FormatError(ValueError):
    """These bytes are not what they should be. The message completes "FILE …"."""


def checksum(data: bytes) -> int:
    """Bob Jenkins' lookup3 hash, which HDF5 puts at the end of its superblock and headers."""
    mask = 0xFFFF_FFFF
    a: int
    b: int
    c: int
    a = b = c = (0xDEAD_BEEF + len(data)) & mask
    words = struct.unpack(f"<{-(-len(data) // 12) * 3}I", data.ljust(-(-len(data) // 12) * 12, b"\0"))
    for at in range(0, len(words) - 3, 3):
        a, b, c = (a + words[at]) & mask, (b + words[at + 1]) & mask, (c + words[at + 2]) & mask
        for turn in (4, 6, 8, 16, 19, 4):
            a = ((a - c) ^ (c << turn | c >> (32 - turn))) & mask
            c = (c + b) & mask
            a, b, c = b, c, a  # the next step does the same to the next variable
    a, b, c = (a + words[-3]) & mask, (b + words[-2]) & mask, (c + words[-1]) & mask
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - (b << turn | b >> (32 - turn))) & mask
        a, b, c = b, c, a
    return b


# ------------------------------------------------------------------------------------------------------- the superblock


@dataclass(frozen=True, slots=True)
class Superblock:
    """Where everything begins, and where the file ends as far as its contents go; bytes after `end` mean nothing."""

    end: int
    root: int
    extension: int


SUPERBLOCK_SIZE = 48


def encode_superblock(block: Superblock) -> bytes:
    """48 bytes at the start of the file: they fit in one sector, so a disk writes all of them or none."""
    body = SIGNATURE + struct.pack("<BBBBQQQQ", 2, 8, 8, 0, 0, block.extension, block.end, block.root)
    return body + struct.pack("<I", checksum(body))


def decode_superblock(data: bytes) -> Superblock:
    if not data.startswith(SIGNATURE):
        raise FormatError("is not an HDF5 file")
    if len(data) < SUPERBLOCK_SIZE:
        raise FormatError("is cut off")
    version, offset_size, length_size, _, base, extension, end, root = struct.unpack_from("<BBBBQQQQ", data, 8)
    if version not in (2, 3) or (offset_size, length_size, base) != (8, 8, 0):
        raise FormatError(FOREIGN)
    (expected,) = struct.unpack_from("<I", data, 44)
    if checksum(data[:44]) != expected:
        raise FormatError("has a damaged first sector")
    return Superblock(end, root, extension)


# ------------------------------------------------------------------------------------------------------- object headers

DATASPACE, LINK_INFO, DATATYPE, FILL_VALUE, LINK, EXTERNAL_FILES = 0x01, 0x02, 0x03, 0x05, 0x06, 0x07
LAYOUT, GROUP_INFO, FILTERS, ATTRIBUTE, CONTINUATION, TREE_K, ATTRIBUTE_INFO = 0x08, 0x0A, 0x0B, 0x0C, 0x10, 0x13, 0x15
NOTHING = 0x00


class Message(NamedTuple):
    """A part of an object's header."""

    kind: int
    body: bytes


def encode_header(messages: Sequence[Message]) -> bytes:
    content = b"".join(struct.pack("<BHB", kind, len(body), 0) + body for kind, body in messages)
    block = b"OHDR" + struct.pack("<BBI", 2, 0x02, len(content)) + content
    return block + struct.pack("<I", checksum(block))


def decode_header(read: Read, address: int) -> list[Message]:
    """The messages of an object, wherever in the file its header continues."""
    start = read(address, 6)
    version, flags = start[4], start[5]
    if start[:4] != b"OHDR" or version != 2:
        raise FormatError(FOREIGN if start[0] == 1 else f"has a damaged header at byte {address}")
    prefix = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 0x03)
    length = int.from_bytes(read(address + prefix, width), "little")
    blocks = [(address, prefix + width, prefix + width + length + 4)]
    messages: list[Message] = []
    total = 0
    while blocks:
        address, skip, size = blocks.pop(0)
        total += size
        if total > LARGEST_HEADER:
            raise FormatError("has a header of absurd size")
        block = read(address, size)
        if size < skip + 4 or checksum(block[:-4]) != int.from_bytes(block[-4:], "little"):
            raise FormatError(f"has a damaged header at byte {address}")
        for message in _messages(block[skip:-4], tracked=bool(flags & 0x04)):
            if message.kind == CONTINUATION:
                if len(message.body) < 16:
                    raise FormatError("has a damaged header")
                blocks.append((*struct.unpack_from("<Q", message.body), 4, *struct.unpack_from("<Q", message.body, 8)))
            elif message.kind != NOTHING:
                messages.append(message)
    return messages


def _messages(content: bytes, *, tracked: bool) -> list[Message]:
    messages, at, head = [], 0, 6 if tracked else 4
    while at + head <= len(content):  # what is left may be a gap too small for a message
        kind, size, flags = struct.unpack_from("<BHB", content, at)
        at += head
        if flags & 0x02 or at + size > len(content):
            raise FormatError("has a header that this program can't read")
        messages.append(Message(kind, content[at : at + size]))
        at += size
    return messages


def only(messages: Sequence[Message], kind: int) -> bytes | None:
    """The body of the message of a kind; None if there is none."""
    bodies = [message.body for message in messages if message.kind == kind]
    if len(bodies) > 1:
        raise FormatError("has a header that contradicts itself")
    return bodies[0] if bodies else None


# ----------------------------------------------------------------------------------------------------- types and shapes


def _integer(size: int, *, signed: bool) -> bytes:
    return struct.pack("<BBBBIHH", 0x10, 0x08 if signed else 0, 0, 0, size, 0, 8 * size)


TYPES: dict[str, tuple[int, bytes]] = {
    "uint8": (1, _integer(1, signed=False)),
    "int16": (2, _integer(2, signed=True)),
    "int64": (8, _integer(8, signed=True)),
    "float32": (4, struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 31, 0, 4, 0, 32, 23, 8, 0, 23, 127)),
    "text": (16, struct.pack("<BBBBI", 0x19, 0x01, 0x01, 0, 16) + _integer(1, signed=False)),
}
"""Size in bytes, and datatype message, of what a column or an attribute may hold. "text" is UTF-8 of any length."""


def type_name(body: bytes) -> str:
    """Which of `TYPES` a datatype message is; whatever else it is, "other"."""
    # The upper half of the first byte is the message's version, which says the same in other words.
    return next((name for name, (_, known) in TYPES.items() if body[:1] and _same_type(body, known)), "other")


def _same_type(body: bytes, known: bytes) -> bool:
    return body[0] & 0x0F == known[0] & 0x0F and body[1 : len(known)] == known[1:] and not any(body[len(known) :])


def encode_dataspace(dims: Sequence[int], *, growing: bool = False) -> bytes:
    limits = (NOWHERE, *dims[1:]) if growing else ()
    return struct.pack(f"<BBBB{len(dims) + len(limits)}Q", 2, len(dims), growing, bool(dims), *dims, *limits)


def decode_dataspace(body: bytes) -> tuple[int, ...]:
    if len(body) < 4 or body[0] not in (1, 2) or len(body) < (start := 4 if body[0] == 2 else 8) + 8 * body[1]:
        raise FormatError("has a shape that this program can't read")
    return struct.unpack_from(f"<{body[1]}Q", body, start)


# ------------------------------------------------------------------------------------------------------------- datasets


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a dataset's header says.

    Attributes
    ----------
    type : str
        One of `TYPES`.
    dims, chunk : tuple of int
        Shape of the whole and of one chunk.
    deflated : bool
        Whether its chunks are zlib streams.
    index : int
        Address of the root of its chunk index; `NOWHERE` while it has no chunks.
    """

    type: str
    dims: tuple[int, ...]
    chunk: tuple[int, ...]
    deflated: bool
    index: int


def encode_kind(type: str, *, fill: bytes, deflated: bool) -> list[Message]:
    """The part of a dataset's header that stays: what its values are, the value of what is missing, the filter."""
    size, datatype = TYPES[type]
    fill_value = struct.pack("<BBI", 3, 0x2B, size) + fill if fill else bytes([3, 0x0B])
    deflate = struct.pack("<BBHHHI", 2, 1, 1, 1, 1, 1)  # one filter: deflate, which may be left out of a chunk; level 1
    return [
        Message(DATATYPE, datatype),
        Message(FILL_VALUE, fill_value),
        *([Message(FILTERS, deflate)] if deflated else []),
    ]


def encode_extent(dataset: Dataset) -> list[Message]:
    """The part that changes as the dataset grows."""
    size, rank = TYPES[dataset.type][0], len(dataset.chunk)
    layout = struct.pack(f"<BBBQ{rank + 1}I", 3, 2, rank + 1, dataset.index, *dataset.chunk, size)
    return [Message(DATASPACE, encode_dataspace(dataset.dims, growing=True)), Message(LAYOUT, layout)]


def decode_fill(messages: Sequence[Message], size: int) -> bytes:
    """The value of what is missing; zeros if it was not set."""
    body = only(messages, FILL_VALUE) or b""
    return body[6:] if body[:1] == b"\x03" and len(body) == 6 + size and body[1] & 0x20 else bytes(size)


def decode_dataset(messages: Sequence[Message]) -> Dataset:
    space, datatype, layout = (only(messages, kind) for kind in (DATASPACE, DATATYPE, LAYOUT))
    if space is None or datatype is None or layout is None:
        raise FormatError("is not a dataset")
    if only(messages, EXTERNAL_FILES) is not None:
        raise FormatError("keeps its values in another file (external storage), which is not followed")
    dims = decode_dataspace(space)
    virtual = len(layout) > 1 and layout[0] == 4 and layout[1] == 3
    if virtual:
        raise FormatError("is put together from other files (a virtual dataset), which is not followed")
    rank = len(dims)
    if len(layout) < 15 + 4 * rank or layout[:3] != bytes([3, 2, rank + 1]):
        raise FormatError("is not stored in chunks with a version 1 index")
    (index,) = struct.unpack_from("<Q", layout, 3)
    return Dataset(
        type_name(datatype), dims, struct.unpack_from(f"<{rank}I", layout, 11), _decode_filters(messages), index
    )


def _decode_filters(messages: Sequence[Message]) -> bool:
    body = only(messages, FILTERS)
    if body is None:
        return False
    if len(body) < 2 or body[0] not in (1, 2):
        raise FormatError("has a header that this program can't read")
    count, start = body[1], 2 if body[0] == 2 else 8
    if count == 0:
        return False
    identifier = int.from_bytes(body[start : start + 2], "little")
    if count > 1 or identifier != 1:
        raise FormatError(f"is compressed in a way that this program can't undo (HDF5 filter {identifier})")
    return True


# ---------------------------------------------------------------------------------------------------- links, attributes


def encode_link(name: str, address: int) -> Message:
    encoded = name.encode()
    return Message(LINK, struct.pack("<BBB", 1, 0, len(encoded)) + encoded + struct.pack("<Q", address))


class Link(NamedTuple):
    """A name in a group, and the address of the object that it names; None if it leads elsewhere."""

    name: str
    address: int | None


def decode_link(body: bytes) -> Link:
    flags = body[1] if len(body) > 1 else 0xFF
    at = 2
    hard = True
    if flags & 0x08:
        hard = body[at : at + 1] == b"\0"
        at += 1
    at += (8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0)
    width = 1 << (flags & 0x03)
    length = int.from_bytes(body[at : at + width], "little")
    at += width
    end = at + length
    if body[:1] != b"\x01" or len(body) < end + (8 if hard else 0):
        raise FormatError("has a damaged header")
    address = struct.unpack_from("<Q", body, end)[0] if hard else None
    return Link(body[at:end].decode(errors="replace"), address)


EMPTY_GROUP = (
    Message(LINK_INFO, struct.pack("<BBQQ", 0, 0, NOWHERE, NOWHERE)),
    Message(GROUP_INFO, bytes(2)),
)
NO_ATTRIBUTES_ELSEWHERE = Message(ATTRIBUTE_INFO, struct.pack("<BBQQ", 0, 0, NOWHERE, NOWHERE))


def encode_attribute(name: str, type: str, dims: Sequence[int], data: bytes) -> Message:
    encoded, datatype, space = name.encode() + b"\0", TYPES[type][1], encode_dataspace(dims)
    head = struct.pack("<BBHHHB", 3, 0, len(encoded), len(datatype), len(space), 1)
    return Message(ATTRIBUTE, head + encoded + datatype + space + data)


class Attribute(NamedTuple):
    """An attribute's name, type (one of `TYPES`, or "other"), shape and stored bytes."""

    name: str
    type: str
    dims: tuple[int, ...]
    data: bytes


def decode_attribute(body: bytes) -> Attribute:
    if len(body) < 9 or body[0] not in (1, 2, 3) or (body[0] > 1 and body[1] & 0x03):
        return Attribute("", "other", (), b"")  # shared, or newer: not one of ours, and nothing is read from it
    sizes = struct.unpack_from("<HHH", body, 2)
    at = 9 if body[0] == 3 else 8
    parts = []
    for size in sizes:
        parts.append(body[at : at + size])
        at += -(-size // 8) * 8 if body[0] == 1 else size
    name, datatype, space = parts
    return Attribute(
        name.rstrip(b"\0").decode(errors="replace"), type_name(datatype), decode_dataspace(space), body[at:]
    )


# ---------------------------------------------------------------------------------------------- the index of the chunks


class Entry(NamedTuple):
    """In a leaf: a chunk, its first row, its size as it is stored, and whether its filter was left out (1) or not (0).

    Above the leaves: a node, and otherwise what its first entry says.
    """

    row: int
    address: int
    size: int
    unfiltered: int = 0


def encode_node(level: int, entries: Sequence[Entry], end: int, rank: int) -> bytes:
    """A node of a version 1 B-tree: where the chunks of rows up to `end` are.

    The neighbours to its left and right, which the format has room for, are left undefined: libraries reach a node from
    above, and a node that knew its right neighbour would have to be changed later.
    """
    zeros = (0,) * rank  # a chunk holds whole rows: it begins at 0 in every dimension but the first
    parts = [struct.pack("<4sBBHQQ", b"TREE", 1, level, len(entries), NOWHERE, NOWHERE)]
    for row, address, size, unfiltered in entries:
        parts.append(struct.pack(f"<II{rank + 2}Q", size, unfiltered, row, *zeros, address))
    parts.append(struct.pack(f"<II{rank + 1}Q", 0, 0, end, *zeros))
    return b"".join(parts).ljust(24 + FAN_OUT * (8 * rank + 24) + 8 * rank + 16, b"\0")


class Node(NamedTuple):
    """A decoded node; `level` 0 is a leaf."""

    level: int
    entries: list[Entry]


def decode_node(read: Read, address: int, rank: int) -> Node:
    head = read(address, 24)
    kind, level, count = struct.unpack_from("<BBH", head, 4)
    if head[:4] != b"TREE" or kind != 1 or not count:
        raise FormatError(f"has a damaged chunk index at byte {address}")
    size = 8 * rank + 24
    entries: list[Entry] = []
    for values in struct.iter_unpack(f"<II{rank + 2}Q", read(address + 24, count * size)):
        stored, unfiltered, row, *zeros, child = values
        if any(zeros) or unfiltered > 1 or (entries and row <= entries[-1].row):
            raise FormatError(f"has a damaged chunk index at byte {address}")
        entries.append(Entry(row, child, stored, unfiltered))
    return Node(level, entries)


def encode_fan_out() -> bytes:
    """The header that tells every reader how large the nodes are; the superblock points to it as its extension."""
    return encode_header([Message(TREE_K, struct.pack("<BHHH", 0, FAN_OUT // 2, 16, 4))])


def decode_fan_out(read: Read, address: int) -> int:
    body = None if address == NOWHERE else only(decode_header(read, address), TREE_K)
    return 2 * int.from_bytes(body[1:3], "little") if body else 64  # what the format has by default


# -------------------------------------------------------------------------------------------------- texts of any length


def encode_heap(texts: Sequence[bytes]) -> bytes:
    """A collection of texts; no more than 65535. `encode_reference` tells which."""
    parts = []
    for number, text in enumerate(texts, 1):
        parts.append(struct.pack("<HHIQ", number, 1, 0, len(text)) + text.ljust(-(-len(text) // 8) * 8, b"\0"))
    used = 16 + sum(map(len, parts))
    size = max(4096, used)  # the least that libraries take
    rest = size - used
    free = struct.pack("<HHIQ", 0, 0, 0, rest) if rest >= 16 else b""
    return b"".join([struct.pack("<4sBBHQ", b"GCOL", 1, 0, 0, size), *parts, free]).ljust(size, b"\0")


def encode_reference(text: bytes, heap: int, number: int) -> bytes:
    """What a value of type "text" is where it is used."""
    return struct.pack("<IQI", len(text), heap, number)


def decode_reference(data: bytes) -> tuple[int, int, int]:
    """Length, address of the collection and number in it."""
    length, heap, number = struct.unpack("<IQI", data)
    return length, heap, number


def decode_heap(read: Read, address: int) -> dict[int, bytes]:
    """The texts of a collection, by their numbers."""
    head = read(address, 16)
    (size,) = struct.unpack_from("<Q", head, 8)
    if head[:5] != b"GCOL\x01" or not 16 <= size <= LARGEST_HEAP:
        raise FormatError(f"has a damaged text heap at byte {address}")
    data, at = read(address, size), 16
    texts: dict[int, bytes] = {}
    while at + 16 <= size:
        number, _, _, length = struct.unpack_from("<HHIQ", data, at)
        if number == 0:
            break
        at += 16
        if length > size - at:
            raise FormatError(f"has a damaged text heap at byte {address}")
        texts[number] = data[at : at + length]
        at += -(-length // 8) * 8
    return texts

"""What of a file was durable. After a power cut this tells torn blocks from damaged ones.

After each successful sync, a checkpoint precedes the next block. It is an element that other programs pass over: a
magic, the position up to which the file was on the disk, the number of the main track's blocks up to there, and a
checksum. What is damaged before that position had been whole: each block keeps its number. What is damaged behind it
may be torn. In an older file without checkpoints nothing counts as durable.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from isal import isal_zlib

from storage.matroska.elements import Id, element

MAGIC = b"pi-capture checkpoint 1\0"
FIELDS = struct.Struct(">QQI")
FRONT = element(Id.VOID, MAGIC, bytes(FIELDS.size))[: -FIELDS.size]
SEARCH_BYTES = 1 << 20
FARTHEST_BYTES = 128_000_000  # from the end of a file: no disk leaves as much unsynced


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a file was durable.

    Attributes
    ----------
    position : int
        In bytes; an element begins there.
    blocks : int
        How many of the main track begin before it.
    """

    position: int = 0
    blocks: int = 0


def checkpoint_element(reached: Checkpoint, uuid: bytes) -> bytes:
    """A checkpoint of the file with this `uuid`."""
    return FRONT + FIELDS.pack(reached.position, reached.blocks, _checksum(reached, uuid))


def last_checkpoint(fd: int, uuid: bytes, end: int) -> Checkpoint:
    """The last whole checkpoint in a file of `end` bytes, up to `FARTHEST_BYTES` before its end; else an empty one."""
    length, limit = len(FRONT) + FIELDS.size, max(0, end - FARTHEST_BYTES)
    while end - limit >= length:
        start = max(limit, end - SEARCH_BYTES)
        data = os.pread(fd, end - start, start)
        at = data.rfind(FRONT)
        while at >= 0:
            found = _parse(data[at + len(FRONT) : at + length], uuid)
            if found is not None and found.position <= start + at:
                return found
            at = data.rfind(FRONT, 0, at + len(FRONT) - 1)
        end = start + length - 1 if start > limit else limit
    return Checkpoint()


def _parse(fields: bytes, uuid: bytes) -> Checkpoint | None:
    if len(fields) < FIELDS.size:
        return None
    position, blocks, checksum = FIELDS.unpack(fields)
    found = Checkpoint(position, blocks)
    return found if checksum == _checksum(found, uuid) else None


def _checksum(reached: Checkpoint, uuid: bytes) -> int:
    checksum: int = isal_zlib.crc32(uuid + MAGIC + struct.pack(">QQ", reached.position, reached.blocks))
    return checksum

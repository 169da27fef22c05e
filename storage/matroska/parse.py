"""The bytes of Matroska's elements, read: blocks, tracks, and the children of an element.

Every length is checked against the bytes that are there; what is wrong raises ValueError.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from isal import isal_zlib

from storage.matroska.elements import BITMAP_HEADER, FFV1, FFV1_MARK, VFW, Id
from storage.matroska.track import Block, Sound, Track


def is_intact(content: bytes) -> bool:
    """Whether the content of an element has the checksum that it begins with."""
    (checksum,) = struct.unpack_from("<I", content, 2) if len(content) > 6 else (0,)
    return content[:2] == b"\xbf\x84" and checksum == isal_zlib.crc32(memoryview(content)[6:])


LATEST = (1 << 63) // 1000
"""The largest time, in microseconds, that is one in nanoseconds too."""


def parse_cluster(data: bytes, length: int) -> Block:
    """The block of a cluster; if only its front is there, without its packet.

    Raises
    ------
    ValueError
        It is damaged, or more of it is needed.
    """
    time = duration = None
    facts, since_reference = b"", 0
    at = 0
    while at < length:
        kind, start, end = parse_element(data, at)
        at = end
        if kind == Id.BLOCK_GROUP:
            at = start  # its elements follow each other like the cluster's
        elif kind == Id.TIMESTAMP:
            time = parse_number(data[start:end])
            if time > LATEST:
                raise ValueError("a time is damaged")
        elif kind == Id.BLOCK_ADDITIONS:
            facts = _facts(data[start:end])
        elif kind == Id.BLOCK_DURATION:
            duration = parse_number(data[start:end])
        elif kind == Id.REFERENCE_BLOCK:
            since_reference = -int.from_bytes(data[start:end], "big", signed=True)
        elif kind == Id.BLOCK:
            if time is None or end != length or start + 4 > len(data):
                break
            return Block(data[start] & 0x7F, time, data[start + 4 : end], facts, duration, since_reference)
        elif kind != Id.CRC32:
            break
    raise ValueError("there is a block of another kind")


def _facts(additions: bytes) -> bytes:
    return children(children(additions).get(Id.BLOCK_MORE, b"")).get(Id.BLOCK_ADDITIONAL, b"")


def parse_tracks(data: bytes) -> dict[int, Track]:
    tracks = {}
    for kind, content in elements_in(data):
        if kind == Id.TRACK_ENTRY:
            entry = children(content)
            video = children(entry.get(Id.VIDEO, b""))
            size = parse_number(video.get(Id.PIXEL_WIDTH, b"")), parse_number(video.get(Id.PIXEL_HEIGHT, b""))
            audio = children(entry.get(Id.AUDIO, b""))
            number = parse_number(entry.get(Id.TRACK_NUMBER, b""))
            if not 0 < number < 127:
                raise ValueError("its list of tracks is")
            tracks[number] = Track(
                number,
                parse_number(entry.get(Id.TRACK_TYPE, b"")),
                *_codec(entry.get(Id.CODEC_ID, b"").decode("ascii", "replace"), entry.get(Id.CODEC_PRIVATE, b"")),
                entry.get(Id.NAME, b"").decode("utf-8", "replace"),
                size if video else None,
                sound=_sound(audio) if audio else None,
            )
    return tracks


def _codec(name: str, private: bytes) -> tuple[str, bytes]:
    """Matroska's own name of a codec, and the decoder's settings; older files have FFV1 under it."""
    if name == VFW and private[16:20] == FFV1_MARK and len(private) >= BITMAP_HEADER.size:
        return FFV1, private[BITMAP_HEADER.size :]
    return name, private


def _sound(audio: dict[int, bytes]) -> Sound:
    try:
        (rate,) = struct.unpack(">d", audio[Id.SAMPLING_FREQUENCY])
        found = Sound(rate, parse_number(audio[Id.CHANNELS]), parse_number(audio.get(Id.BIT_DEPTH, b"")))
    except (KeyError, struct.error):
        raise ValueError("its list of tracks is") from None
    if not (0 < found.rate < math.inf and 0 < found.channels < 256):
        raise ValueError("its list of tracks is")
    return found


# -------------------------------------------------------------------------------------------------------- the elements


def children(data: bytes) -> dict[int, bytes]:
    """The content of each element in there, the last one of each kind."""
    return dict(elements_in(data))


def elements_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    return ((kind, data[start:end]) for kind, start, end in parse_elements(data))


def parse_elements(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Identifier, start and end of the content of each element. Raises ValueError if one doesn't fit."""
    at = 0
    while at < len(data):
        kind, start, at = parse_element(data, at)
        if at > len(data):
            raise ValueError("an element is cut off")
        yield kind, start, at


def parse_element(data: bytes, at: int) -> tuple[int, int, int]:
    """The same for the element that begins there; its end may lie behind the data."""
    try:
        width = 9 - data[at].bit_length()
        start = at + width
        kind = int.from_bytes(data[at:start], "big")
        length_width = 9 - data[start].bit_length()
    except IndexError:
        raise ValueError("an element is cut off") from None
    if width > 4 or length_width > 8:
        raise ValueError("an element is damaged")
    body = start + length_width
    if body > len(data):
        raise ValueError("an element is cut off")
    return kind, body, body + (int.from_bytes(data[start:body], "big") & ((1 << 7 * length_width) - 1))


def parse_number(data: bytes) -> int:
    if len(data) > 8:
        raise ValueError("a number is damaged")
    return int.from_bytes(data, "big")

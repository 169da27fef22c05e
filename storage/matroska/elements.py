"""The bytes of Matroska's elements (RFC 9559), as `storage.matroska.muxer` writes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from isal import isal_zlib

from storage.matroska.track import Block, Track

MUXER = "pi-capture"
TICK_NS = 1000
"""Times in a file are in microseconds."""
HEAD_BYTES = 512  # rewritten in place: one sector of any disk, so it is the old or the new, never a mix
EPOCH_2001_NS = 978_307_200_000_000_000  # Matroska counts dates from 2001 on
SEEK_BYTES = 21
VFW = "V_MS/VFW/FOURCC"
"""The name of FFV1 that every player knows; old ones don't know Matroska's own."""
FFV1, FFV1_MARK = "V_FFV1", b"FFV1"
BITMAP_HEADER = struct.Struct("<IiiHH4sIiiII")  # Windows' BITMAPINFOHEADER, before the decoder's settings
UNKNOWN_SIZE = b"\x01" + b"\xff" * 7


class Id:
    """Identifiers of elements, as in RFC 9559."""

    EBML, EBML_VERSION, EBML_READ_VERSION = 0x1A45DFA3, 0x4286, 0x42F7
    EBML_MAX_ID_LENGTH, EBML_MAX_SIZE_LENGTH = 0x42F2, 0x42F3
    DOC_TYPE, DOC_TYPE_VERSION, DOC_TYPE_READ_VERSION = 0x4282, 0x4287, 0x4285
    SEGMENT, VOID, CRC32 = 0x18538067, 0xEC, 0xBF
    SEEK_HEAD, SEEK, SEEK_ID, SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
    INFO, TIMESTAMP_SCALE, DURATION, DATE, SEGMENT_UUID = 0x1549A966, 0x2AD7B1, 0x4489, 0x4461, 0x73A4
    MUXING_APP, WRITING_APP = 0x4D80, 0x5741
    TRACKS, TRACK_ENTRY, TRACK_NUMBER, TRACK_UID, TRACK_TYPE = 0x1654AE6B, 0xAE, 0xD7, 0x73C5, 0x83
    FLAG_DEFAULT, FLAG_LACING, MAX_BLOCK_ADDITION_ID, NAME, LANGUAGE = 0x88, 0x9C, 0x55EE, 0x536E, 0x22B59C
    CODEC_ID, CODEC_PRIVATE = 0x86, 0x63A2
    VIDEO, PIXEL_WIDTH, PIXEL_HEIGHT, FLAG_INTERLACED = 0xE0, 0xB0, 0xBA, 0x9A
    COLOUR, MATRIX, RANGE, TRANSFER, PRIMARIES = 0x55B0, 0x55B1, 0x55B9, 0x55BA, 0x55BB
    AUDIO, SAMPLING_FREQUENCY, CHANNELS, BIT_DEPTH = 0xE1, 0xB5, 0x9F, 0x6264
    CODEC_DELAY, SEEK_PRE_ROLL = 0x56AA, 0x56BB
    CLUSTER, TIMESTAMP, BLOCK_GROUP, BLOCK = 0x1F43B675, 0xE7, 0xA0, 0xA1
    BLOCK_DURATION, REFERENCE_BLOCK = 0x9B, 0xFB
    BLOCK_ADDITIONS, BLOCK_MORE, BLOCK_ADD_ID, BLOCK_ADDITIONAL = 0x75A1, 0xA6, 0xEE, 0xA5
    CUES, CUE_POINT, CUE_TIME, CUE_TRACK_POSITIONS = 0x1C53BB6B, 0xBB, 0xB3, 0xB7
    CUE_TRACK, CUE_CLUSTER_POSITION = 0xF7, 0xF1
    TAGS, TAG, TARGETS, SIMPLE_TAG, TAG_NAME, TAG_STRING = 0x1254C367, 0x7373, 0x63C0, 0x67C8, 0x45A3, 0x4487
    TAG_TRACK_UID = 0x63C5


def element(identifier: int, *parts: bytes) -> bytes:
    """An element, with the shortest length field."""
    body = b"".join(parts)
    return encode_id(identifier) + encode_size(len(body)) + body


def checksum(*parts: bytes) -> bytes:
    """The first child of an element whose other content is this."""
    found = 0
    for part in parts:
        found = isal_zlib.crc32(part, found)
    return element(Id.CRC32, struct.pack("<I", found))


def void(length: int) -> bytes:
    """An element of `length` bytes in all, at least two, that every reader passes over."""
    front = void_front(length)
    return front + bytes(length - len(front))


def void_front(length: int) -> bytes:
    """The first two to nine bytes of such an element."""
    width = 1 if length < 128 else min(8, length - 1)
    return bytes([Id.VOID]) + encode_size(length - 1 - width, width)


def unsigned(number: int) -> bytes:
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def encode_id(identifier: int) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")


def encode_size(number: int, width: int = 0) -> bytes:
    """A length field; all ones would mean unknown."""
    while not width or number >= (1 << 7 * width) - 1:
        width += 1
    return (number | 1 << 7 * width).to_bytes(width, "big")


def head(
    uuid: bytes,
    date: int,
    positions: Mapping[int, int] | None = None,
    end: int | None = None,
    duration: int | None = None,
) -> bytes:
    """The first `HEAD_BYTES` of a file, up to the tracks.

    Parameters
    ----------
    uuid, date
        Of the file; `date` in nanoseconds since 1970.
    positions : mapping
        Where `Id.CUES` and `Id.TAGS` begin in the file, if they are there.
    end : int, optional
        The length of a finished file.
    duration : int, optional
        Its microseconds.
    """
    start = ebml_header() + encode_id(Id.SEGMENT)
    size = UNKNOWN_SIZE if end is None else encode_size(end - SEGMENT_BODY, 8)
    found = {Id.TRACKS: HEAD_BYTES, **(positions or {})}
    seeks = [
        seek_entry(kind, found[kind] - SEGMENT_BODY) if kind in found else void(SEEK_BYTES)
        for kind in (Id.TRACKS, Id.CUES, Id.TAGS)
    ]
    info = element(
        Id.INFO,
        element(Id.TIMESTAMP_SCALE, unsigned(TICK_NS)),
        void(11) if duration is None else element(Id.DURATION, struct.pack(">d", duration)),
        element(Id.DATE, struct.pack(">q", date - EPOCH_2001_NS)),
        element(Id.SEGMENT_UUID, uuid),
        element(Id.MUXING_APP, MUXER.encode()),
        element(Id.WRITING_APP, MUXER.encode()),
    )
    known = start + size + element(Id.SEEK_HEAD, *seeks) + info
    return known + void(HEAD_BYTES - len(known))


def ebml_header() -> bytes:
    return element(
        Id.EBML,
        element(Id.EBML_VERSION, b"\1"),
        element(Id.EBML_READ_VERSION, b"\1"),
        element(Id.EBML_MAX_ID_LENGTH, b"\4"),
        element(Id.EBML_MAX_SIZE_LENGTH, b"\x08"),
        element(Id.DOC_TYPE, b"matroska"),
        element(Id.DOC_TYPE_VERSION, b"\4"),
        element(Id.DOC_TYPE_READ_VERSION, b"\2"),
    )


SEGMENT_BODY = len(ebml_header()) + 12
"""Where the segment's content begins: Matroska counts positions from there."""


def seek_entry(kind: int, position: int) -> bytes:
    """Where an element is, in bytes from the begin of the segment's content."""
    return element(
        Id.SEEK, element(Id.SEEK_ID, encode_id(kind)), element(Id.SEEK_POSITION, struct.pack(">Q", position))
    )


def track_entry(track: Track, uuid: bytes) -> bytes:
    codec, private = codec_fields(track.codec, track.private, track.size)
    parts = [
        element(Id.TRACK_NUMBER, unsigned(track.number)),
        element(Id.TRACK_UID, unsigned(track_uid(uuid, track.number))),
        element(Id.TRACK_TYPE, unsigned(track.kind)),
        element(Id.FLAG_DEFAULT, unsigned(int(track.default))),
        element(Id.FLAG_LACING, b"\0"),
        element(Id.MAX_BLOCK_ADDITION_ID, b"\1"),
        element(Id.NAME, _utf8(track.name)),
        element(Id.LANGUAGE, b"und"),
        element(Id.CODEC_ID, codec.encode()),
    ]
    if private:
        parts.append(element(Id.CODEC_PRIVATE, private))
    if track.size:
        matrix, reach = (0, 2) if track.rgb else (6, 1)
        colour = [(Id.MATRIX, matrix), (Id.RANGE, reach), (Id.TRANSFER, 13 if track.rgb else 6), (Id.PRIMARIES, 1)]
        parts.append(
            element(
                Id.VIDEO,
                element(Id.PIXEL_WIDTH, unsigned(track.size[0])),
                element(Id.PIXEL_HEIGHT, unsigned(track.size[1])),
                element(Id.FLAG_INTERLACED, b"\2"),
                element(Id.COLOUR, *(element(kind, unsigned(value)) for kind, value in colour)),
            )
        )
    if track.sound:
        bits = [element(Id.BIT_DEPTH, unsigned(track.sound.bits))] if track.sound.bits else []
        if track.sound.delay_ns:
            parts.append(element(Id.CODEC_DELAY, unsigned(track.sound.delay_ns)))
        if track.sound.roll_ns:
            parts.append(element(Id.SEEK_PRE_ROLL, unsigned(track.sound.roll_ns)))
        parts.append(
            element(
                Id.AUDIO,
                element(Id.SAMPLING_FREQUENCY, struct.pack(">d", track.sound.rate)),
                element(Id.CHANNELS, unsigned(track.sound.channels)),
                *bits,
            )
        )
    return element(Id.TRACK_ENTRY, *parts)


def codec_fields(codec: str, private: bytes, size: tuple[int, int] | None) -> tuple[str, bytes]:
    """The name of a track's codec in a file, and the decoder's settings there; `size` is that of pictures."""
    if codec != FFV1 or size is None:
        return codec, private
    (width, height), length = size, BITMAP_HEADER.size + len(private)
    header = BITMAP_HEADER.pack(length, width, height, 1, 24, FFV1_MARK, width * height * 3 & 0xFFFFFFFF, 0, 0, 0, 0)
    return VFW, header + private


def track_uid(uuid: bytes, number: int) -> int:
    return int.from_bytes(uuid[:6], "big") << 8 | number


def tag_entry(track: int | None, texts: Mapping[str, str]) -> bytes:
    """Tags of the track with that UID, or of the file."""
    target = b"" if track is None else element(Id.TAG_TRACK_UID, unsigned(track))
    simple = [
        element(Id.SIMPLE_TAG, element(Id.TAG_NAME, name.encode()), element(Id.TAG_STRING, _utf8(text)))
        for name, text in texts.items()
    ]
    return element(Id.TAG, element(Id.TARGETS, target), *simple)


def _utf8(text: str) -> bytes:
    """A text; question marks stand for bytes of another encoding, which the name of a file may have."""
    return text.encode(errors="replace")


def cluster_bytes(block: Block) -> bytes:
    """A cluster with one block. The small fields come first, so that an index is made without reading packets.

    One that is damaged gets a wrong checksum.
    """
    group = []
    if block.facts:
        more = element(Id.BLOCK_MORE, element(Id.BLOCK_ADD_ID, b"\1"), element(Id.BLOCK_ADDITIONAL, block.facts))
        group.append(element(Id.BLOCK_ADDITIONS, more))
    if block.duration is not None:
        group.append(element(Id.BLOCK_DURATION, unsigned(block.duration)))
    if block.since_reference:
        group.append(element(Id.REFERENCE_BLOCK, struct.pack(">q", -block.since_reference)))
    start = encode_size(block.track) + b"\0\0\0"  # at the cluster's own time; no flags
    group.append(encode_id(Id.BLOCK) + encode_size(len(start) + len(block.data), 4) + start)
    front = b"".join(group)
    front = (
        element(Id.TIMESTAMP, struct.pack(">Q", block.time))
        + encode_id(Id.BLOCK_GROUP)
        + encode_size(len(front) + len(block.data), 4)
        + front
    )
    length = 6 + len(front) + len(block.data)
    crc = checksum(front, block.data) if block.intact else checksum(front, block.data, b"damaged")
    return b"".join([encode_id(Id.CLUSTER), encode_size(length, 4), crc, front, block.data])


def cue_points(times: Sequence[int], positions: Sequence[int], track: int) -> bytes:
    return b"".join(
        element(
            Id.CUE_POINT,
            element(Id.CUE_TIME, unsigned(time)),
            element(
                Id.CUE_TRACK_POSITIONS,
                element(Id.CUE_TRACK, unsigned(track)),
                element(Id.CUE_CLUSTER_POSITION, unsigned(at - SEGMENT_BODY)),
            ),
        )
        for time, at in zip(times, positions, strict=True)
    )

"""Matroska files, written by appending only: what stands in the file is never touched again, but for its first bytes.

Each block is a cluster of its own, written in one go and with a checksum. So a recording that is cut off at any moment
is a Matroska file up to its last whole cluster, any FFmpeg tool plays it, and finishing it later takes no copy: the
index goes to the end, and the first 512 bytes learn where it is. FFmpeg's own muxer keeps to whole milliseconds, can't
continue a file and, on a full disk, can't finish one. What is in the blocks is `storage.video`'s business; reading is
`storage.matroska_read`'s.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from isal import isal_zlib

from storage.matroska_table import BlockTable

MUXER = "pi-capture"
TICK_NS = 1000
"""Times in a file are in microseconds; FFmpeg's muxer knows milliseconds only."""
HEAD_BYTES = 512  # what is rewritten in place: one sector of any disk, so that it is the old or the new, never a mix
CUE_MICROSECONDS = 500_000  # the players' index takes memory while it comes together; ours is a table on the disk
MAX_BYTES = (1 << 28) - (1 << 20)  # of a packet with its facts


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
    FLAG_LACING, MAX_BLOCK_ADDITION_ID, NAME, LANGUAGE = 0x9C, 0x55EE, 0x536E, 0x22B59C
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


EPOCH_2001_NS = 978_307_200_000_000_000  # Matroska counts dates from 2001 on
VIDEO_TRACK, AUDIO_TRACK, SUBTITLE_TRACK = 1, 2, 17
SEEK_BYTES = 21
UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
TABLE_TAG = "BLOCKS"
"""The tag that tells where the table of blocks is."""

Tags = Mapping[int | None, Mapping[str, str]]
"""The tags of each track, by its number, and under None those of the file."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What a track of samples has.

    Attributes
    ----------
    rate : float
        Samples a second, nominally.
    channels : int
    bits : int
        Of a sample; 0 where the codec has no such thing.
    delay_ns, roll_ns : int
        What a decoder puts before the first sample, and what it needs to hear before any other.
    """

    rate: float
    channels: int
    bits: int = 0
    delay_ns: int = 0
    roll_ns: int = 0


@dataclass(frozen=True, slots=True)
class Track:
    """A track of a file.

    Attributes
    ----------
    number : int
        1 to 126; what blocks call it.
    kind : int
        `VIDEO_TRACK`, `AUDIO_TRACK` or `SUBTITLE_TRACK`.
    codec : str
        Matroska's name for it, such as ``V_FFV1``.
    private : bytes
        What the decoder needs before the first block.
    name : str
    size : (int, int) or None
        Width and height of a video's pictures, in pixels.
    rgb : bool
        Whether its pictures are RGB in full range, rather than YUV in BT.601's.
    sound : Sound or None
        Of a track of samples.
    """

    number: int
    kind: int
    codec: str
    private: bytes = b""
    name: str = ""
    size: tuple[int, int] | None = None
    rgb: bool = False
    sound: Sound | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A packet of a track, as it stands in a file.

    Attributes
    ----------
    track : int
    time : int
        In microseconds of the file's own time.
    data : bytes
    facts : bytes
        Whatever else is to be known about the packet; FFmpeg tools carry it along as "block additional".
    duration : int or None
        In microseconds, of a subtitle or of samples.
    since_reference : int
        0 for a packet that is decoded on its own; else microseconds since the one that it needs.
    """

    track: int
    time: int
    data: bytes
    facts: bytes = b""
    duration: int | None = None
    since_reference: int = 0


class Muxer:
    """Appends blocks to an open file, which it neither locks nor closes.

    Parameters
    ----------
    fd : int
        Open for reading and writing.
    table : BlockTable
        Has a row for each block that is there already.
    uuid : bytes, optional
        The file's own 16 bytes.
    date : int, optional
        When it was begun, in nanoseconds since 1970.
    end : int
        Where to append: its length up to which it is whole; 0 for a new file.
    duration : int
        Microseconds of what is there already.
    tags_at : sequence of int
        Where its tags are.
    keys : iterable of (int, int)
        Time and position of the keyframes that are there.
    main_track : int
        The number of the track that the players' index is about.
    """

    def __init__(
        self,
        fd: int,
        table: BlockTable,
        *,
        uuid: bytes | None = None,
        date: int | None = None,
        end: int = 0,
        duration: int = 0,
        tags_at: Sequence[int] = (),
        keys: Iterable[tuple[int, int]] = (),
        main_track: int = 1,
    ) -> None:
        self._fd = fd
        self._table = table
        self._uuid = uuid or secrets.token_bytes(16)
        self._date = time.time_ns() if date is None else date
        self._end = end
        self._duration = duration
        self._tags_at = list(tags_at)
        self._main_track = main_track
        self._cues = array("q"), array("q")
        for key in keys:
            self._index(*key)

    @property
    def end(self) -> int:
        """The length of the file, in bytes."""
        return self._end

    def close(self) -> None:
        """Let go of the table."""
        self._table.close()

    def begin(self, tracks: Sequence[Track], tags: Tags) -> None:
        """Write all that comes before the first block."""
        entries = b"".join(track_entry(track, self._uuid) for track in tracks)
        self._append(head(self._uuid, self._date) + element(Id.TRACKS, checksum(entries), entries))
        self._append_tags(tags)

    def reopen(self, index_at: int | None, tags: Tags) -> None:
        """Go on where a file ends: it counts as unfinished from now on, and its index becomes empty space."""
        positions = {Id.TAGS: self._tags_at[-1]} if self._tags_at else {}
        _write_at(self._fd, head(self._uuid, self._date, positions), 0)
        os.fsync(self._fd)  # before anything is appended: a finished file that is too long would look like damage
        if index_at is not None:
            self.make_void(index_at)
        self._append_tags(tags)

    def add(self, block: Block, mark: int = 0) -> int:
        """Append a block.

        Parameters
        ----------
        block : Block
        mark : int
            What the table is to have about it.

        Returns
        -------
        int
            How many bytes it took.

        Raises
        ------
        OSError
            It could not be written; the file ends where it ended before.
        """
        if len(block.data) + len(block.facts) > MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if block.duration is not None:
            self._pad()
        at = self._append(cluster_bytes(block))
        self._duration = max(self._duration, block.time + (block.duration or 0))
        key = not block.since_reference
        self._table.add(block.track, block.time, at, key=key, mark=mark)
        if key and block.track == self._main_track:
            self._index(block.time, at)
        return self._end - at

    def finish(self, tags: Tags) -> None:
        """Append the table, the tags and the index, and let the head tell of them; all is on the disk on return.

        On a disk without room for table and index they are left out: readers do without.
        """
        tags = {**tags, None: {name: text for name, text in tags[None].items() if name != TABLE_TAG}}
        with suppress(OSError):
            if self._table.is_complete():
                at = self._append_to_void_later(Id.VOID, self._table.size, self._table.content())
                tags[None] = {**tags[None], TABLE_TAG: str(at)}
        self._append_tags(tags)
        positions = {Id.TAGS: self._tags_at[-1]}
        with suppress(OSError):
            positions[Id.CUES] = self._append_index()
        os.fsync(self._fd)
        _write_at(self._fd, head(self._uuid, self._date, positions, self._end, self._duration), 0)
        os.fsync(self._fd)
        for at in self._tags_at[:-1]:
            self.make_void(at)
        os.fsync(self._fd)

    # ------------------------------------------------------------------------------------- what can be taken back later

    def _append_tags(self, tags: Tags) -> None:
        body = b"".join(_tag(track, texts, self._uuid) for track, texts in tags.items())
        self._tags_at.append(self._append_to_void_later(Id.TAGS, len(body), [body]))

    def _append_index(self) -> int:
        points = _cue_points(*self._cues, self._main_track)
        return self._append_to_void_later(Id.CUES, len(points), [points])

    def _append_to_void_later(self, identifier: int, size: int, body: Iterable[bytes]) -> int:
        start = self._end
        try:
            self._pad()
            at = self._append(_id(identifier) + _size(size, 8))
            for part in body:
                self._append(part)
        except OSError:
            os.ftruncate(self._fd, start)
            self._end = start
            raise
        return at

    def _pad(self) -> None:
        """See to it that the next twelve bytes, an element's identifier and length, don't lie across two sectors."""
        gap = -self._end % HEAD_BYTES
        if 0 < gap < 12:
            self._append(void(gap if gap > 1 else gap + HEAD_BYTES))

    def make_void(self, at: int) -> None:
        """Turn tags, an index or a subtitle into empty space, in one go."""
        front = os.pread(self._fd, 12, at)
        width = 9 - front[4].bit_length()
        size = int.from_bytes(front[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        _write_at(self._fd, void_front(4 + width + size), at)

    def _index(self, time: int, at: int) -> None:
        """Put a keyframe into the players' index, unless there is one close before it."""
        times, positions = self._cues
        if not times or time - times[-1] >= CUE_MICROSECONDS:
            times.append(time)
            positions.append(at)

    def _append(self, data: bytes) -> int:
        """Write to the end, or leave the file as it was; returns where."""
        at = self._end
        try:
            _write_at(self._fd, data, at)
        except OSError:
            os.ftruncate(self._fd, at)
            raise
        self._end += len(data)
        return at


def _write_at(fd: int, data: bytes, at: int) -> None:
    written = os.pwrite(fd, data, at)
    while written < len(data):  # a short write: the disk filled up, or a signal came
        written += os.pwrite(fd, data[written:], at + written)


# -------------------------------------------------------------------------------------------------------- the elements


def element(identifier: int, *parts: bytes) -> bytes:
    """An element with a length of as few bytes as it takes."""
    body = b"".join(parts)
    return _id(identifier) + _size(len(body)) + body


def checksum(*parts: bytes) -> bytes:
    """The element that an element begins with whose other content is this."""
    found = 0
    for part in parts:
        found = isal_zlib.crc32(part, found)
    return element(Id.CRC32, struct.pack("<I", found))


def void(length: int) -> bytes:
    """An element of so many bytes in all, at least two, that everybody passes over."""
    front = void_front(length)
    return front + bytes(length - len(front))


def void_front(length: int) -> bytes:
    """What makes the next `length` bytes, at least two, such an element: its first two to nine bytes."""
    width = 1 if length < 128 else min(8, length - 1)
    return bytes([Id.VOID]) + _size(length - 1 - width, width)


def unsigned(number: int) -> bytes:
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def _id(identifier: int) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")


def _size(number: int, width: int = 0) -> bytes:
    """A length; all ones would mean that it is unknown."""
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
    """The first `HEAD_BYTES` of a file: up to the tracks, and of the same length whatever is known.

    Parameters
    ----------
    uuid, date
        Of the file; `date` in nanoseconds since 1970.
    positions : mapping
        Where in the file `Id.CUES` and `Id.TAGS` begin, as far as they are there.
    end : int, optional
        The length of a finished file.
    duration : int, optional
        Its microseconds.
    """
    start = ebml_header() + _id(Id.SEGMENT)
    size = UNKNOWN_SIZE if end is None else _size(end - SEGMENT_BODY, 8)
    found = {Id.TRACKS: HEAD_BYTES, **(positions or {})}
    seeks = [_seek(kind, found[kind]) if kind in found else void(SEEK_BYTES) for kind in (Id.TRACKS, Id.CUES, Id.TAGS)]
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
"""What positions in a file are counted from."""


def _seek(kind: int, at: int) -> bytes:
    return element(
        Id.SEEK, element(Id.SEEK_ID, _id(kind)), element(Id.SEEK_POSITION, struct.pack(">Q", at - SEGMENT_BODY))
    )


def track_entry(track: Track, uuid: bytes) -> bytes:
    parts = [
        element(Id.TRACK_NUMBER, unsigned(track.number)),
        element(Id.TRACK_UID, unsigned(_track_uid(uuid, track.number))),
        element(Id.TRACK_TYPE, unsigned(track.kind)),
        element(Id.FLAG_LACING, b"\0"),
        element(Id.MAX_BLOCK_ADDITION_ID, b"\1"),
        element(Id.NAME, track.name.encode()),
        element(Id.LANGUAGE, b"und"),
        element(Id.CODEC_ID, track.codec.encode()),
    ]
    if track.private:
        parts.append(element(Id.CODEC_PRIVATE, track.private))
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


def _track_uid(uuid: bytes, number: int) -> int:
    return int.from_bytes(uuid[:6], "big") << 8 | number


def _tag(track: int | None, texts: Mapping[str, str], uuid: bytes) -> bytes:
    target = b"" if track is None else element(Id.TAG_TRACK_UID, unsigned(_track_uid(uuid, track)))
    simple = [
        element(Id.SIMPLE_TAG, element(Id.TAG_NAME, name.encode()), element(Id.TAG_STRING, text.encode()))
        for name, text in texts.items()
    ]
    return element(Id.TAG, element(Id.TARGETS, target), *simple)


def cluster_bytes(block: Block) -> bytes:
    """A cluster with one block in it. What is small comes first: an index is made without reading the packets."""
    group = []
    if block.facts:
        more = element(Id.BLOCK_MORE, element(Id.BLOCK_ADD_ID, b"\1"), element(Id.BLOCK_ADDITIONAL, block.facts))
        group.append(element(Id.BLOCK_ADDITIONS, more))
    if block.duration is not None:
        group.append(element(Id.BLOCK_DURATION, unsigned(block.duration)))
    if block.since_reference:
        group.append(element(Id.REFERENCE_BLOCK, struct.pack(">q", -block.since_reference)))
    start = _size(block.track) + b"\0\0\0"  # at the cluster's own time; no flags
    group.append(_id(Id.BLOCK) + _size(len(start) + len(block.data), 4) + start)
    front = b"".join(group)
    front = (
        element(Id.TIMESTAMP, struct.pack(">Q", block.time))
        + _id(Id.BLOCK_GROUP)
        + _size(len(front) + len(block.data), 4)
        + front
    )
    length = 6 + len(front) + len(block.data)
    return b"".join([_id(Id.CLUSTER), _size(length, 4), checksum(front, block.data), front, block.data])


def _cue_points(times: Sequence[int], positions: Sequence[int], track: int) -> bytes:
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

"""Reads the Matroska files that `storage.matroska.muxer` writes, whole or cut off: tracks, tags, where each block is.

Of a file with a table only the table is read, of others the small fields at the front of each cluster. Every length is
checked against the file's, and each block has a checksum. Other Matroska files are read through FFmpeg
(`storage.formats.movie.reader`).
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace

from storage.matroska.checkpoint import Checkpoint, last_checkpoint
from storage.matroska.elements import (
    EPOCH_2001_NS,
    HEAD_BYTES,
    MUXER,
    SEGMENT_BODY,
    TICK_NS,
    UNKNOWN_SIZE,
    Id,
    unsigned,
)
from storage.matroska.muxer import TABLE_TAG
from storage.matroska.parse import (
    children,
    elements_in,
    is_intact,
    parse_cluster,
    parse_element,
    parse_elements,
    parse_number,
    parse_tracks,
)
from storage.matroska.statistics import Statistics, parse_statistics
from storage.matroska.table import read_table
from storage.matroska.track import SUBTITLE_TRACK, Block, Blocks, Track, no_blocks

MAX_TRACKS_BYTES = 1 << 20
SEARCH_BYTES = 1 << 16  # read at once, in search of the next cluster
LEAST_EFFORT = 64_000_000  # bytes that all searches in a file may look at, beside twice its size
SMALL_EFFORT = 4096  # what an element counts as that is smaller than any block: a crafted file could have millions
MAX_TAGS_BYTES = 1 << 26
SECTOR_BYTES = 512
LEAST_BLOCK_BYTES = 32  # less than any cluster takes: no file can claim millions of blocks in a few bytes
FRONT_BYTES = 512  # of a cluster: nearly always enough for all but its packet


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of a file: its identity, and where things are in it if it was finished.

    ``end`` is None while it is being written, or was cut off; `date` is in nanoseconds since 1970, `duration` in
    microseconds.
    """

    uuid: bytes
    date: int
    end: int | None
    duration: int
    index_at: int | None
    tags_at: int | None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds.

    Attributes
    ----------
    head : Head
    tracks : dict
        By number.
    tags : dict
        Those of the file that were written last.
    track_tags : dict of dict
        Those of its tracks, by their number.
    tags_at : list of int
        Where tags are, the last ones last.
    blocks : dict of Blocks
        By the number of their track; of every track, even without blocks.
    gaps : list of (int, int)
        Begin and end of what is damaged, or can't be decoded because of that, with something whole behind it.
    statistics : dict of Statistics
        By the number of their track; none for a finished file of an older version.
    end : int
        Where the last whole cluster, index or tags end.
    size : int
        The length of the file.
    """

    head: Head
    tracks: dict[int, Track]
    tags: dict[str, str]
    track_tags: dict[int | None, dict[str, str]]
    tags_at: list[int]
    blocks: dict[int, Blocks]
    gaps: list[tuple[int, int]]
    statistics: dict[int, Statistics]
    end: int
    size: int

    @property
    def finished(self) -> bool:
        """Whether it was closed, and nothing has been cut off since."""
        return self.head.end is not None and self.head.end <= self.size


def read_head(fd: int) -> Head | None:
    """The head of a file; None if it is not one of `storage.matroska.muxer`'s."""
    data = os.pread(fd, HEAD_BYTES, 0)
    try:
        kind, _, end = next(parse_elements(data))
        if kind != Id.EBML or int.from_bytes(data[end : end + 4], "big") != Id.SEGMENT:
            return None
        size = None if data[end + 4 : end + 12] == UNKNOWN_SIZE else int.from_bytes(data[end + 5 : end + 12], "big")
        level1 = children(data[end + 12 :])
        info = children(level1[Id.INFO])
        if info[Id.MUXING_APP] != MUXER.encode() or info[Id.TIMESTAMP_SCALE] != unsigned(TICK_NS):
            return None
        seeks = [children(seek) for kind, seek in elements_in(level1[Id.SEEK_HEAD]) if kind == Id.SEEK]
        positions = {
            parse_number(seek[Id.SEEK_ID]): SEGMENT_BODY + parse_number(seek[Id.SEEK_POSITION]) for seek in seeks
        }
        return Head(
            uuid=info[Id.SEGMENT_UUID],
            date=struct.unpack(">q", info[Id.DATE])[0] + EPOCH_2001_NS,
            end=None if size is None else SEGMENT_BODY + size,
            duration=round(struct.unpack(">d", info[Id.DURATION])[0]) if Id.DURATION in info else 0,
            index_at=positions.get(Id.CUES),
            tags_at=positions.get(Id.TAGS),
        )
    except (ValueError, KeyError, struct.error, StopIteration, OverflowError):
        return None


def read_contents(fd: int, head: Head, *, checked_from: int | None = None) -> Contents:
    """Find everything in a file.

    Parameters
    ----------
    fd : int
    head : Head
        What `read_head` found in it.
    checked_from : int, optional
        If it is not finished, verify the checksums of clusters that begin so many bytes before its end, or later, and
        of all that may be torn.

    Raises
    ------
    ValueError
        It is damaged before its first block.
    """
    size = os.fstat(fd).st_size
    kind, at, end = element_at(fd, HEAD_BYTES, size)
    if kind != Id.TRACKS or end > HEAD_BYTES + MAX_TRACKS_BYTES or not is_intact(data := os.pread(fd, end - at, at)):
        raise ValueError("its list of tracks is")
    tracks = parse_tracks(data)
    if head.end is not None and head.end <= size and head.tags_at and head.tags_at < head.end:
        tags = _read_tags(fd, head.tags_at, head.end) or {None: {}}
        found = _read_table(fd, head, tags[None])
        if found is not None:
            blocks = {number: found.get(number) or no_blocks() for number in tracks}
            of_file, statistics = tags.pop(None), _statistics(tracks, tags, blocks)
            return Contents(head, tracks, of_file, tags, [head.tags_at], blocks, [], statistics, head.end, size)
    return _walk(fd, head, tracks, end, checked_from=checked_from)


def read_block(fd: int, at: int, *, damaged: bool = False) -> Block:
    """The block whose cluster begins there.

    Raises
    ------
    ValueError
        It is damaged; where `damaged` ones are asked for too, there is nothing like a block.
    """
    front = os.pread(fd, 8, at)
    if len(front) < 8 or int.from_bytes(front[:4], "big") != Id.CLUSTER or front[4] >> 4 != 1:
        raise ValueError("there is no block where the index says so")
    length = int.from_bytes(front[4:], "big") & 0x0FFFFFFF
    data = os.pread(fd, length, at + 8)
    if len(data) == length and is_intact(data):
        return parse_cluster(data, length)
    if not damaged:
        raise ValueError("its bytes have changed since they were written")
    return replace(parse_cluster(data, length), intact=False)


def is_damaged(fd: int, at: int) -> bool:
    """Whether there is no whole block at a place where one begins."""
    try:
        read_block(fd, at)
    except ValueError:
        return True
    return False


def begins_element(fd: int, at: int) -> bool:
    """Whether what begins there is of the muxer, appended to a finished file; it may be torn, or zeros."""
    front = os.pread(fd, min(4, SECTOR_BYTES - at % SECTOR_BYTES), at)  # the next sector may have arrived alone
    known = (kind.to_bytes(4, "big") for kind in (Id.CLUSTER, Id.TAGS, Id.CUES))
    return not any(front) or front[0] == Id.VOID or any(kind.startswith(front) for kind in known)


def read_front(fd: int, at: int) -> Block:
    """The same without its packet, and unchecked. Raises ValueError if there is none."""
    front = os.pread(fd, FRONT_BYTES, at)
    kind, start, end = parse_element(front, 0)
    if kind != Id.CLUSTER:
        raise ValueError("there is no block where the index says so")
    return _parse_front(fd, front[start:], at + start, end - start)[0]


# -------------------------------------------------------------------------------------------------------- without index


def _walk(fd: int, head: Head, tracks: dict[int, Track], at: int, *, checked_from: int | None) -> Contents:
    """Go from cluster to cluster.

    Damaged blocks that had been durable still count, so that those behind them keep their numbers; to read one raises.
    Others may be torn by a power cut: they are a gap, or if nothing whole follows, the end.
    """
    length = os.fstat(fd).st_size
    end = length if head.end is None else min(head.end, length)
    checkpoint = last_checkpoint(fd, head.uuid, end)
    durable = checkpoint.position if head.end is None else end
    check_at = end if checked_from is None or head.end == length else min(durable, end - checked_from)
    found = _Found(tracks, durable)
    effort = 2 * end + LEAST_EFFORT
    sure = at  # up to where the lengths of elements are known to be right
    while at < end:
        try:
            kind, behind = found.take(fd, at, end, check=at >= check_at)
            if behind - at < LEAST_BLOCK_BYTES:
                effort -= SMALL_EFFORT
                if effort < 0:
                    break
            sure = behind if kind == Id.CLUSTER else at
            at = behind
        except (ValueError, KeyError):
            next_at, effort = _next_cluster(fd, sure + 1, end, effort)
            if sure < checkpoint.position:
                next_at = min(next_at or end, checkpoint.position)
            if next_at is None:
                break
            found.miss(sure, next_at)
            at = sure = next_at
    found.place_lost(checkpoint)
    tags = dict(found.tags)
    blocks = found.blocks()
    of_file, gaps = tags.pop(None), sorted(found.gaps)
    return Contents(head, tracks, of_file, tags, found.tags_at, blocks, gaps, found.statistics, at, length)


class _Found:
    """What a walk through a file has found; the file was durable up to `durable`."""

    def __init__(self, tracks: dict[int, Track], durable: int) -> None:
        self.tags: dict[int | None, dict[str, str]] = {None: {}}
        self.tags_at: list[int] = []
        self.gaps: list[tuple[int, int]] = []
        self.statistics = {number: Statistics() for number in tracks}
        self._tracks = tracks
        self._blocks: dict[int, tuple[list[int], list[int], list[bool]]] = {number: ([], [], []) for number in tracks}
        self._main = min((number for number in tracks if tracks[number].kind != SUBTITLE_TRACK), default=0)
        self._durable = durable
        self._lost: list[tuple[int, int]] = []
        self._waiting: set[int] = set()

    def take(self, fd: int, at: int, end: int, *, check: bool) -> tuple[int, int]:
        """Note the element that begins there; returns what it is, and where the next one begins.

        Raises
        ------
        ValueError, KeyError
            It is damaged.
        """
        front = os.pread(fd, FRONT_BYTES, at)
        kind, start, stop = parse_element(front, 0)
        if at + stop > end:
            raise ValueError("an element is cut off")
        if kind == Id.CLUSTER:
            intact = not check or is_intact(os.pread(fd, stop - start, at + start))
            if not intact and at >= self._durable:
                raise ValueError("a cluster is damaged")
            block, size = _parse_front(fd, front[start:], at + start, stop - start)
            times, positions, keys = self._blocks[block.track]
            key = not block.since_reference
            if key or block.track not in self._waiting or times[-1:] == [block.time - block.since_reference]:
                self._waiting.discard(block.track)
                times.append(block.time if intact else _just_after(times))
                positions.append(at)
                keys.append(key)
                self.statistics[block.track].add_block(self._tracks[block.track], block, size)
            else:
                self.gaps.append((at, at + stop))
        elif kind == Id.TAGS:
            self.tags = _read_tags(fd, at, end) or self.tags
            self.tags_at.append(at)
        elif kind not in (Id.VOID, Id.CUES):
            raise ValueError("there is an element of another kind")
        return kind, at + stop

    def miss(self, at: int, end: int) -> None:
        """Note damage. Blocks that need what was there can't be decoded."""
        if at < self._durable:
            self._lost.append((at, end))
            return
        self.gaps.append((at, end))
        self._waiting = set(self._blocks)

    def place_lost(self, checkpoint: Checkpoint) -> None:
        """Count the main track's missing blocks where something was lost: one each, the rest at the largest place."""
        if not self._lost:
            return
        times, positions, keys = self._blocks.get(self._main, ([], [], []))
        places = sum(at < checkpoint.position for at, _ in self._lost)
        missing = checkpoint.blocks - bisect_left(positions, checkpoint.position)
        rows = list(zip(positions, times, keys, strict=True))
        for at, end in sorted(self._lost, key=lambda lost: lost[0] - lost[1]):
            count = 1  # behind the checkpoint of a finished file
            if at < checkpoint.position:
                fitting = 1 + (end - at) // LEAST_BLOCK_BYTES
                count = max(0, min(missing, 1 + max(0, missing - places), fitting))
                missing, places = missing - count, places - 1
            rows += [(at + number, -1, False) for number in range(count)]
            if not count:
                self.gaps.append((at, end))
        for column in (times, positions, keys):
            column.clear()
        for position, time, key in sorted(rows):
            times.append(time if time >= 0 else _just_after(times))
            positions.append(position)
            keys.append(key)

    def blocks(self) -> dict[int, Blocks]:
        import numpy as np

        return {
            number: Blocks(np.array(times, np.int64), np.array(positions, np.int64), np.array(keys, np.bool_))
            for number, (times, positions, keys) in self._blocks.items()
        }


def _just_after(times: list[int]) -> int:
    """The time of a block whose own is damaged."""
    return times[-1] + 1 if times else 0


def _next_cluster(fd: int, at: int, end: int, effort: int) -> tuple[int | None, int]:
    """Where the next whole cluster begins, and how much is left of `effort`, the bytes that may be looked at.

    All searches in a file share it: a crafted file could take very long.
    """
    mark = Id.CLUSTER.to_bytes(4, "big")
    while at < end and effort > 0:
        data = os.pread(fd, SEARCH_BYTES, at)
        found = data.find(mark)
        if found < 0:
            effort -= len(data)
            at += max(1, len(data) - 3)
            continue
        at += found
        front = os.pread(fd, 8, at)
        length = int.from_bytes(front[4:], "big") & 0x0FFFFFFF
        if len(front) == 8 and front[4] >> 4 == 1 and at + 8 + length <= end:
            effort -= length
            if is_intact(os.pread(fd, length, at + 8)):
                return at, effort
        effort -= SEARCH_BYTES
        at += 1
    return None, effort


def _parse_front(fd: int, front: bytes, at: int, length: int) -> tuple[Block, int]:
    """The block of a cluster, perhaps without the end of its packet, and how many bytes the packet has."""
    try:
        block = parse_cluster(front, length)
    except ValueError:
        front = os.pread(fd, length, at)
        block = parse_cluster(front, length)
    return block, len(block.data) + max(0, length - len(front))


# ------------------------------------------------------------------------------------------------------ tags and table


def are_tags_whole(fd: int, at: int) -> bool:
    """Whether the tags that begin there can be read, and match their checksum; those of older files have none."""
    size = os.fstat(fd).st_size
    if _read_tags(fd, at, size) is None:
        return False
    _, start, end = element_at(fd, at, size)
    body = os.pread(fd, end - start, start)
    return is_intact(body) or next((kind for kind, _, _ in parse_elements(body)), Id.TAG) == Id.TAG


def _read_tags(fd: int, at: int, size: int) -> dict[int | None, dict[str, str]] | None:
    """The tags that begin there, those of the file under None; None if there are none."""
    tags: dict[int | None, dict[str, str]] = {None: {}}
    try:
        kind, start, end = element_at(fd, at, size)
        if kind != Id.TAGS or end - start > MAX_TAGS_BYTES:
            return None
        for kind, tag in elements_in(os.pread(fd, end - start, start)):
            texts = tags[None]
            for inner, simple in elements_in(tag if kind == Id.TAG else b""):
                if inner == Id.TARGETS and (uid := children(simple).get(Id.TAG_TRACK_UID)):
                    texts = tags.setdefault(parse_number(uid) & 0xFF, {})
                elif inner == Id.SIMPLE_TAG:
                    found = children(simple)
                    texts[found[Id.TAG_NAME].decode()] = found.get(Id.TAG_STRING, b"").decode()
    except (ValueError, KeyError):
        return None
    return tags


def _read_table(fd: int, head: Head, tags: dict[str, str]) -> dict[int, Blocks] | None:
    """The blocks of each track by the file's table; None if it has none, or not all of them are in the file."""
    at = tags.get(TABLE_TAG, "")
    if not (at.isascii() and at.isdigit() and len(at) < 20) or head.end is None or int(at) >= head.end:
        return None
    try:
        kind, start, end = element_at(fd, int(at), head.end)
    except ValueError:
        return None
    rows = read_table(fd, start, end) if kind == Id.VOID else None
    if rows is None or (len(rows) and not 0 < rows["position"].min() <= rows["position"].max() < head.end):
        return None
    return {
        track: Blocks(mine["time"], mine["position"], mine["key"], mine["mark"])
        for track in set(rows["track"].tolist())
        for mine in [rows[rows["track"] == track]]
    }


def _statistics(
    tracks: Mapping[int, Track], tags: Mapping[int | None, Mapping[str, str]], blocks: Mapping[int, Blocks]
) -> dict[int, Statistics]:
    """What the tags of a finished file tell of its tracks."""
    found = {}
    for number, track in tracks.items():
        times = blocks[number].times
        begin_ns = int(times.min()) * TICK_NS if len(times) else 0
        one = parse_statistics(track, tags.get(number, {}), len(times), begin_ns)
        if one is not None:
            found[number] = one
    return found


def element_at(fd: int, at: int, size: int) -> tuple[int, int, int]:
    """Identifier, start and end of the content of the element there, in a file of `size` bytes."""
    kind, start, end = parse_element(os.pread(fd, 12, at), 0)
    if at + end > size:
        raise ValueError("an element is cut off")
    return kind, at + start, at + end

"""Matroska files, written by appending: of what is in the file, only the first bytes change.

Each block is a cluster of its own with a checksum, written in one go. A recording that is cut off at any moment is a
Matroska file up to its last whole cluster, and any FFmpeg tool plays it. To finish it takes no copy: the index goes to
the end, and the first 512 bytes tell where it is. `storage.matroska.checkpoint` notes what was durable.

FFmpeg's own muxer keeps whole milliseconds only, can't continue a file, and can't finish one on a full disk. For what
is in the blocks see `storage.formats.video`, for reading `storage.matroska.reader`.
"""

from __future__ import annotations

import errno
import os
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from storage.durable.files import write_all
from storage.matroska.checkpoint import Checkpoint, checkpoint_element
from storage.matroska.elements import (
    HEAD_BYTES,
    Id,
    checksum,
    cluster_bytes,
    cue_points,
    element,
    encode_id,
    encode_size,
    head,
    tag_entry,
    track_entry,
    track_uid,
    void,
    void_front,
)
from storage.matroska.parse import parse_element
from storage.matroska.statistics import Statistics, with_totals
from storage.matroska.table import BlockTable
from storage.matroska.track import Block, Tags, Track

CUE_MICROSECONDS = 500_000  # the players' index is kept in memory while it grows; our table is on the disk
MAX_BYTES = (1 << 28) - (1 << 20)  # of a packet with its facts
TABLE_TAG = "BLOCKS"
"""The tag with the position of the table of blocks."""


class Muxer:
    """Appends blocks to an open file. The caller locks and closes it.

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
        Where to append: the length of its whole part; 0 for a new file.
    duration : int
        Microseconds of what is there already.
    tracks : mapping of Track
        Those that are there, by number.
    statistics : mapping of Statistics
        What is there of each track; a track that is left out gets none.
    tags_at : sequence of int
        Where its tags are.
    keys : iterable of (int, int)
        Time and position of the keyframes that are there.
    main_track : int
        The number of the track that the players' index and the checkpoints are about.
    main_blocks : int
        How many blocks of that track are there.
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
        tracks: Mapping[int, Track] | None = None,
        statistics: Mapping[int, Statistics] | None = None,
        tags_at: Sequence[int] = (),
        keys: Iterable[tuple[int, int]] = (),
        main_track: int = 1,
        main_blocks: int = 0,
    ) -> None:
        self._fd = fd
        self._table = table
        self._uuid = uuid or os.urandom(16)
        self._date = time.time_ns() if date is None else date
        self._end = end
        self._duration = duration
        self._tracks = dict(tracks or {})
        self._statistics = dict(statistics or {})
        self._tags_at = list(tags_at)
        self._main_track = main_track
        self._main_blocks = main_blocks
        self._durable = self._written_down = Checkpoint()
        self._cues = array("q"), array("q")
        for key in keys:
            self._index(*key)

    @property
    def end(self) -> int:
        """The length of the file, in bytes."""
        return self._end

    @property
    def reached(self) -> Checkpoint:
        """What is in the file now. A sync that begins later makes it durable."""
        return Checkpoint(self._end, self._main_blocks)

    def synced(self, reached: Checkpoint) -> None:
        """A sync succeeded that began when the file had `reached` that; a checkpoint precedes the next block."""
        self._durable = reached

    def close(self) -> None:
        """Let go of the table."""
        self._table.close()

    def begin(self, tracks: Sequence[Track], tags: Tags) -> None:
        """Write what comes before the first block."""
        self._tracks = {track.number: track for track in tracks}
        self._statistics = {track.number: Statistics() for track in tracks}
        entries = b"".join(track_entry(track, self._uuid) for track in tracks)
        self._append(head(self._uuid, self._date) + element(Id.TRACKS, checksum(entries), entries))
        self._append_tags(tags)

    def reopen(self, index_at: int | None, tags: Tags) -> None:
        """Go on where a file ends: it is unfinished from now on, and its index becomes empty space."""
        positions = {Id.TAGS: self._tags_at[-1]} if self._tags_at else {}
        write_all(self._fd, head(self._uuid, self._date, positions), 0)
        self._write_totals(dict.fromkeys(self._tracks, 0))
        os.fsync(self._fd)  # before anything is appended: a finished file that is too long would look like damage
        if index_at is not None:
            self.make_void(Id.CUES, index_at)
        self.synced(self.reached)
        self._append_checkpoint()
        self._append_tags(tags)

    def add(self, block: Block, mark: int = 0) -> int:
        """Append a block.

        Parameters
        ----------
        block : Block
        mark : int
            Goes into its row of the table.

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
        self._append_checkpoint()
        if block.duration is not None:
            self._pad()
        at = self._append(cluster_bytes(block))
        self._duration = max(self._duration, block.time + (block.duration or 0))
        key = not block.since_reference
        self._table.add(block.track, block.time, at, key=key, mark=mark)
        if block.track in self._statistics:
            self._statistics[block.track].add_block(self._tracks[block.track], block, len(block.data))
        if block.track == self._main_track:
            self._main_blocks += 1
            if key:
                self._index(block.time, at)
        return self._end - at

    def finish(self, tags: Tags) -> None:
        """Append the table, the tags and the index, and put their places into the head; on return all is durable.

        Without room for the table and the index they are left out: readers do without.
        """
        tags = {**tags, None: {name: text for name, text in tags[None].items() if name != TABLE_TAG}}
        tags |= {track: {**tags.get(track, {}), **found.tags()} for track, found in self._statistics.items()}
        with suppress(OSError):
            if self._table.is_complete():
                at = self._append_to_void_later(Id.VOID, self._table.size, self._table.content())
                tags[None] = {**tags[None], TABLE_TAG: str(at)}
        self._append_tags(tags)
        positions = {Id.TAGS: self._tags_at[-1]}
        with suppress(OSError):
            positions[Id.CUES] = self._append_index()
        os.fsync(self._fd)
        self._write_totals({track: found.samples for track, found in self._statistics.items()})
        write_all(self._fd, head(self._uuid, self._date, positions, self._end, self._duration), 0)
        os.fsync(self._fd)
        for at in self._tags_at[:-1]:
            self.make_void(Id.TAGS, at)
        os.fsync(self._fd)

    def _write_totals(self, samples: Mapping[int, int]) -> None:
        """Put the number of samples into the list of tracks, for FLAC, if one sector has all that changes.

        More sectors could be a mix after a power cut, and the file would have no tracks.
        """
        front = os.pread(self._fd, 12, HEAD_BYTES)
        _, start, end = parse_element(front, 0)
        body = os.pread(self._fd, end - start, HEAD_BYTES + start)
        changed = with_totals(body[len(checksum()) :], samples)
        old, new = front[:start] + body, front[:start] + checksum(changed) + changed
        if new != old and new[HEAD_BYTES:] == old[HEAD_BYTES:]:
            write_all(self._fd, new[:HEAD_BYTES], HEAD_BYTES)

    def _append_checkpoint(self) -> None:
        durable = self._durable  # read once: another thread syncs
        if durable != self._written_down:
            self._append(checkpoint_element(durable, self._uuid))
            self._written_down = durable

    # ------------------------------------------------------------------------------------- what can be taken back later

    def _append_tags(self, tags: Tags) -> None:
        uids = {track: None if track is None else track_uid(self._uuid, track) for track in tags}
        body = b"".join(tag_entry(uids[track], texts) for track, texts in tags.items())
        body = checksum(body) + body
        self._tags_at.append(self._append_to_void_later(Id.TAGS, len(body), [body]))

    def _append_index(self) -> int:
        points = cue_points(*self._cues, self._main_track)
        return self._append_to_void_later(Id.CUES, len(points), [points])

    def _append_to_void_later(self, identifier: int, size: int, body: Iterable[bytes]) -> int:
        start = self._end
        try:
            self._pad()
            at = self._append(encode_id(identifier) + encode_size(size, 8))
            for part in body:
                self._append(part)
        except OSError:
            os.ftruncate(self._fd, start)
            self._end = start
            raise
        return at

    def _pad(self) -> None:
        """Keep the next twelve bytes, an element's identifier and length, within one sector."""
        gap = -self._end % HEAD_BYTES
        if 0 < gap < 12:
            self._append(void(gap if gap > 1 else gap + HEAD_BYTES))

    def make_void(self, kind: int, at: int) -> None:
        """Turn tags, an index or a subtitle into empty space, in one go. If another kind is there, it stays."""
        front = os.pread(self._fd, 12, at)
        if len(front) < 12 or int.from_bytes(front[:4], "big") != kind or not front[4]:
            return
        width = 9 - front[4].bit_length()
        size = int.from_bytes(front[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        write_all(self._fd, void_front(4 + width + size), at)

    def _index(self, time: int, at: int) -> None:
        """Put a keyframe into the players' index, unless one is close before it."""
        times, positions = self._cues
        if not times or time - times[-1] >= CUE_MICROSECONDS:
            times.append(time)
            positions.append(at)

    def _append(self, data: bytes) -> int:
        """Write to the end, or leave the file as it was; returns the position."""
        at = self._end
        try:
            write_all(self._fd, data, at)
        except OSError:
            os.ftruncate(self._fd, at)
            raise
        self._end += len(data)
        return at

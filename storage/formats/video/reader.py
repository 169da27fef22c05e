"""Reads the video recordings that `storage.formats.video.writer` makes: any frame, and what is beside the pictures."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import NoPictureError, StorageError
from storage.forks import renew_after_fork
from storage.formats.video.codecs import CODECS, Decoder
from storage.formats.video.file import (
    CHECKED_TAIL_BYTES,
    LABELS,
    PICTURES,
    codec_of,
    facts_of,
    is_ours,
    sessions_of,
    timestamps_of,
)
from storage.frame import Frame
from storage.matroska.elements import TICK_NS
from storage.matroska.reader import Contents, are_tags_whole, read_block, read_contents, read_head
from storage.matroska.track import Block, no_blocks
from storage.recording import Recording
from storage.tracks.sample_reader import SampleReader, clocks_of
from storage.tracks.samples import StoredSamples, tracks_of

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray


def open_video(path: Path, track: str | int | None = None) -> Recording:
    """Open any video: one of `VideoWriter`'s, or what a phone or another program made.

    `track` is a track of pictures, by its name or its number among all tracks; the first one if not given. A file that
    has only sound or sensors is a recording without frames.

    Raises
    ------
    StorageError
        It is no media file, has no such track, or is damaged.
    """
    if not is_ours(path):
        from storage.formats.movie.reader import MovieReader

        try:
            return MovieReader(path, track)
        except NoPictureError:
            if track is not None:
                raise
        from storage.formats.movie.sound import SoundReader

        return SoundReader(path)
    if track is not None:
        from storage.tracks.picture_tracks import choose, find_picture_tracks

        choose(find_picture_tracks(path), track, path)  # there is one at most
    return VideoReader(path)


class VideoReader(Recording):
    """The frames that one of `VideoWriter`'s files has when it is opened, also while it is being written.

    Any frame is read by itself, or from the keyframe before it. Several threads may read at once.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from None
        try:
            head = read_head(self._fd)
            if head is None:
                raise StorageError(f"{path} was not recorded by this program")
            try:
                self._contents = read_contents(self._fd, head, checked_from=CHECKED_TAIL_BYTES)
                has_pictures = PICTURES in self._contents.tracks
                self._codec = codec_of(self._contents) if has_pictures else CODECS[0]
                self._sample_tracks = tracks_of(self._contents)
            except ValueError as error:
                raise StorageError(f"{path} is damaged: {error}") from None
        except BaseException:
            os.close(self._fd)
            raise
        track = self._contents.tracks[PICTURES] if has_pictures else None
        self._size, self._private = (track.size or (0, 0), track.private) if track else ((0, 0), b"")
        self._pictures = self._contents.blocks[PICTURES] if has_pictures else no_blocks()
        self.begin_anew()
        renew_after_fork(self)

    def begin_anew(self) -> object:
        """See `storage.forks`."""
        given_up = vars(self).get("_idle"), vars(self).get("_decoder")
        self._idle: list[Decoder] = []  # where pictures stand alone: one for each thread that reads at once
        self._in_order = threading.Lock()
        self._decoder: Decoder | None = None  # the only one, where they don't
        self._next = -1  # the frame that it can decode next
        return given_up

    @property
    def contents(self) -> Contents:
        """Where everything is in the file."""
        return self._contents

    @property
    def sessions(self) -> list[dict[str, Any]]:
        return sessions_of(self._contents)

    @property
    def tracks(self) -> Sequence[SampleReader]:
        clocks = clocks_of(self.sessions)
        return [
            StoredSamples(self._fd, number, track, self._contents, clocks)
            for number, track in self._sample_tracks.items()
        ]

    @property
    def interrupted(self) -> bool:
        return not self._contents.finished

    @property
    def damage(self) -> list[str]:
        found = [f"bytes {start} to {end} are torn; what was in them is lost" for start, end in self._contents.gaps]
        whole, end = self._contents.end, self._contents.head.end
        if end is not None and whole < end:  # it had been finished
            found.append(f"its last {end - whole} bytes are damaged or cut off; copy it again if you can")
        for at in self._contents.tags_at:
            if not are_tags_whole(self._fd, at):
                found.append(f"the tags in byte {at}, with what is known of the sessions, are damaged")
        if not self.sessions and self._contents.tags.get("SESSIONS", "[]") != "[]":
            found.append("what is known of the sessions can't be understood")
        for at in self._label_positions:
            try:
                self.block(at, f"the label in byte {at}")
            except StorageError as error:
                found.append(str(error).removeprefix(f"{self._path}: "))
        return found

    @property
    def _label_positions(self) -> list[int]:
        positions: list[int] = self._contents.blocks.get(LABELS, no_blocks()).positions.tolist()
        return positions

    @property
    def independent(self) -> bool:
        return self._codec.intra

    @cached_property
    def labels(self) -> Sequence[str | None]:
        import numpy as np

        times = self._pictures.times
        labels: list[str | None] = [None] * len(times)
        for at in self._label_positions:
            try:
                block = self.block(at, f"the label in byte {at}")
            except StorageError as error:
                if self.lost_labels is None:
                    raise
                self.lost_labels.append(str(error).removeprefix(f"{self._path}: "))
                continue
            name = block.data.decode("utf-8", "replace")
            first, end = np.searchsorted(times, [block.time, block.time + (block.duration or 0)]).tolist()
            labels[first:end] = [name] * (end - first)
        return labels

    @cached_property
    def shown_ns(self) -> Sequence[int]:
        return [time * TICK_NS for time in self._pictures.times.tolist()]

    @cached_property
    def timestamps_ns(self) -> Sequence[int]:
        if self._pictures.marks is not None:
            return list(map(int, self._pictures.marks.tolist()))
        return timestamps_of(self._fd, self._pictures)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int) -> Frame:
        block, pixels = self._read(index)
        timestamp_ns, metadata = facts_of(block)
        return Frame(pixels, index, timestamp_ns, metadata)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return self._read(index)[1]

    def _read(self, index: int) -> tuple[Block, NDArray[np.uint8]]:
        if self._codec.intra:
            try:
                decoder = self._idle.pop()
            except IndexError:
                decoder = self._new_decoder()
            try:
                return self._decoded(decoder, index)
            finally:
                self._idle.append(decoder)
        with self._in_order:
            return self._read_in_order(index)

    def _read_in_order(self, index: int) -> tuple[Block, NDArray[np.uint8]]:
        """Decode from where the decoder is, or from the last keyframe, whichever is nearer."""
        import numpy as np

        if self._decoder is None:
            self._decoder = self._new_decoder()
        keys = np.flatnonzero(self._pictures.keys[: index + 1])
        if not len(keys):
            raise StorageError(f"{self._path}: frame {index} is damaged: there is no keyframe before it")
        start = int(keys[-1])
        if start <= self._next <= index:
            start = self._next
        else:
            self._decoder.restart()
        self._next = -1
        for position in range(start, index):
            self._picture(self._decoder, position)
        decoded = self._decoded(self._decoder, index)
        self._next = index + 1
        return decoded

    def _picture(self, decoder: Decoder, index: int) -> tuple[Block, av.VideoFrame]:
        block = self.block(int(self._pictures.positions[index]), f"frame {index}")
        try:
            return block, decoder.decode(block.data)
        except ValueError as error:
            raise StorageError(f"{self._path}: frame {index} is damaged: {error}") from None

    def _decoded(self, decoder: Decoder, index: int) -> tuple[Block, NDArray[np.uint8]]:
        block, picture = self._picture(decoder, index)
        return block, decoder.to_rgb(picture)

    def block(self, at: int, what: str) -> Block:
        """The block at a byte of the file. Raises `StorageError` about `what` is there if it is damaged."""
        try:
            return read_block(self._fd, at)
        except ValueError as error:
            raise StorageError(f"{self._path}: {what} is damaged: {error}") from None

    def damaged_block(self, index: int) -> Block:
        """A damaged frame's block: what is left of it, where the index says that it is."""
        pictures = self._pictures
        try:
            block = read_block(self._fd, int(pictures.positions[index]), damaged=True)
        except ValueError:
            block = Block(PICTURES, 0, b"", intact=False)
        since = 0 if pictures.keys[index] else max(1, int(pictures.times[index] - pictures.times[index - 1]))
        time = int(pictures.times[index])
        return replace(block, track=PICTURES, time=time, duration=None, since_reference=since)

    def _new_decoder(self) -> Decoder:
        return Decoder(self._codec, self._size, self._private, threads=os.cpu_count() or 1)

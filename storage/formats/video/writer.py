"""Recordings as one Matroska file: lossless FFV1 by default, each frame with its own time and facts.

For the file's structure see `storage.matroska.muxer`, for the codecs `storage.formats.video.codecs`. `open_video` reads
these files and, through `storage.formats.movie.reader`, those of other programs.

The one class is long, since pictures, samples and labels go into one file under one lock.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.durable.files import reserve_unnamed
from storage.errors import StorageError
from storage.formats.video.clock import RecordingClock
from storage.formats.video.codecs import (
    CODECS,
    Encoder,
    KeySchedule,
    Size,
    check_crf,
    find_codec,
    most_between_keys,
    usual_crf,
)
from storage.formats.video.file import (
    LABELS,
    PICTURES,
    codec_of,
    frames_of,
    make_tags,
    muxer_for,
    open_locked,
    publish,
    recover,
    repair,
    sessions_of,
)
from storage.formats.video.labels import LabelTrack
from storage.formats.video.packets import PacketChain
from storage.formats.video.reader import VideoReader, open_video
from storage.formats.video.samples import SampleTracks
from storage.frame import Frame, Packet
from storage.matroska.muxer import Muxer
from storage.matroska.track import SUBTITLE_TRACK, VIDEO_TRACK, Block, Track
from storage.sessions import new_session
from storage.tracks.sample_track import SampleTrack
from storage.tracks.samples import FIRST_TRACK, Packed, tracks_of, why_not_continued

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VideoReader", "VideoWriter", "open_video", "repair"]

WAITING_BYTES = 64_000_000  # of samples that come before the first picture


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A frame on its way to the file: its packet, or its pixels where the codec needs them in order.

    ``made`` is the packet that the camera made, if it did.
    """

    size: Size
    timestamp_ns: int
    facts: bytes
    label: str | None
    packet: bytes | None = None
    private: bytes = b""
    pixels: NDArray[np.uint8] | None = None
    made: Packet | None = None


class VideoWriter:
    """Makes a Matroska file, or continues one that it made.

    A new file is called ``.NAME.part`` until its first frames are on the disk. From then on it has its name, and plays
    up to the last frame appended, whatever happens. If a crash leaves it without an index, the next writer adds it.

    Parameters
    ----------
    target : path
    codec : str, optional
        One of `storage.formats.video.codecs.CODECS`; by default that of the file if there is one, else ``ffv1``.
    crf : int, optional
        Quality of ``h264`` (1 to 51, 18 if not given) and ``mjpeg`` (2 to 31; 2): lower is better and larger.
    tracks : sequence of SampleTrack
        Of sensors and sound. A file that is continued has the same.
    pictures : bool
        Whether frames will come; samples wait for the first of them.
    more_tracks : bool
        Whether `add_tracks` adds others before the first frame.

    Raises
    ------
    StorageError
        The target can't be written to, another recorder has it, or it can't be continued so.
    """

    def __init__(
        self,
        target: Path,
        *,
        codec: str | None = None,
        crf: int | None = None,
        tracks: Sequence[SampleTrack] = (),
        pictures: bool = True,
        more_tracks: bool = False,
    ) -> None:
        wanted = find_codec(codec) if codec is not None else None
        self._path = target
        self._blocks = self._durable_blocks = 0
        try:
            self._fd, self._hidden = open_locked(target)
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}; choose a name that you may write to") from None
        try:
            self._found, _ = recover(self._fd, self._hidden or target, named=self._hidden is None)
            if self._found is not None and self._hidden is not None:  # a crash left it before it got its name
                if any(map(len, self._found.blocks.values())):
                    self._path, self._hidden = publish(self._hidden, target), None
                else:
                    self._found = None
            self._pictures = pictures
            self._samples = SampleTracks(tracks)
            if not more_tracks:
                self._check_tracks()
            self._codec = wanted or (codec_of(self._found) if self._found and pictures else None) or CODECS[0]
            check_crf(self._codec, crf)
            self._sessions = sessions_of(self._found) if self._found else []
            if self._found is not None and pictures and codec_of(self._found) != self._codec:
                raise StorageError(f"{target} is {self._found.tags.get('CODEC')}, not {codec}; choose another name")
            self._reserve = reserve_unnamed(target.parent)
        except OSError as error:
            self._let_go()
            raise StorageError(f"{target}: {error.strerror}; nothing was recorded into it") from None
        except BaseException:
            self._let_go()
            raise
        if crf is None and codec is None and self._sessions:
            crf = self._sessions[-1].get("crf")
        self._crf = crf
        self._first = frames_of(self._found) if self._found else 0
        self._size = self._found.tracks[PICTURES].size if self._found and pictures else None
        codec_facts = {"codec": self._codec.name, "crf": crf} if pictures else {}
        self._session = {**new_session(self._first), **codec_facts}

        self._muxer: Muxer | None = None
        self._pool = threading.local()  # each thread's encoder, where pictures stand alone
        self._encoder: Encoder | None = None  # the only one, where they don't
        self._keys: KeySchedule | None = None
        self._chain: PacketChain | None = None  # of packets that are stored as the camera made them
        self._clock = RecordingClock(self._found)
        self._labels = LabelTrack()
        self._appended = self._durable = self._bytes = 0
        self._lock = threading.Lock()  # of the muxer and the clock: pictures and samples come from several threads
        self._sync_lock = threading.Lock()
        self._sync_failed = False

    @property
    def next_index(self) -> int:
        return self._first

    @property
    def held(self) -> tuple[Path, int]:
        with self._sync_lock:  # which gives the file its name
            return self._hidden or self._path, self._fd

    @property
    def bytes_written(self) -> int:
        return self._bytes

    @property
    def lossless(self) -> bool:
        return self._codec.lossless

    @property
    def takes_packets(self) -> tuple[str, int] | None:
        """The codec and the quality of packets that it stores as they are, if frames carry them.

        If the first packet does not show its frame, this writer encodes the pixels itself.
        """
        if self._codec.name != "h264" or (self._muxer is not None and self._chain is None):
            return None
        return self._codec.name, self._crf or usual_crf(self._codec)

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._session = {**self._session, **facts}  # not in place: another thread may be storing it

    def encode(self, frame: Frame, label: str | None = None) -> _Encoded:
        height, width, _ = frame.pixels.shape
        size = width, height
        if self._size is not None and size != self._size:
            raise StorageError(
                f"{self._path} has frames of {self._size[0]}x{self._size[1]}, these are {width}x{height}; "
                "choose another name"
            )
        content = {"timestamp_ns": frame.timestamp_ns, **({"metadata": frame.metadata} if frame.metadata else {})}
        facts = json.dumps(content, separators=(",", ":")).encode()
        if not self._codec.intra:
            made = frame.packet if frame.packet is not None and frame.packet.codec == self._codec.name else None
            return _Encoded(size, frame.timestamp_ns, facts, label, pixels=frame.pixels, made=made)
        encoder: Encoder | None = getattr(self._pool, "encoder", None)
        if encoder is None or encoder.size != size:
            encoder = self._pool.encoder = Encoder(self._codec, size, self._crf, threads=1)
        packet = self._packet(encoder, frame.pixels)
        return _Encoded(size, frame.timestamp_ns, facts, label, packet, encoder.private)

    def append(self, encoded: _Encoded) -> None:
        key = True
        with self._lock:
            self._clock.begin(min(encoded.timestamp_ns, self._samples.earliest_ns))
            time = self._clock.place(encoded.timestamp_ns)
        packet, private = encoded.packet, encoded.private
        if self._muxer is None and encoded.made is not None:
            self._chain = self._chain_from(encoded.made, encoded.pixels)
            if self._chain is None:
                self.describe({"encoder": self._codec.encoder})
        if self._chain is not None:
            made = self._next_made(self._chain, encoded.made)
            packet, private, key = made.data, made.private, made.key
        elif packet is None:
            assert encoded.pixels is not None
            if self._encoder is None:
                self._encoder = Encoder(self._codec, encoded.size, self._crf, threads=os.cpu_count() or 1)
                self._keys = KeySchedule(most_between_keys(self._codec, encoded.size))
            assert self._keys is not None
            key = self._keys.is_due(time)
            packet, private = self._packet(self._encoder, encoded.pixels, key=key), self._encoder.private
        with self._lock:
            self._append_picture(encoded, time, packet, private, key=key)

    def _append_picture(self, encoded: _Encoded, time: int, packet: bytes, private: bytes, *, key: bool) -> None:
        if self._muxer is None:
            self._muxer = self._begin(encoded.size, private)
        labels = self._labels.place(time, encoded.label)
        since = 0 if key else time - self._clock.last
        picture = Block(PICTURES, time, packet, encoded.facts, since_reference=since)
        try:
            self._add([*((block, 0) for block in labels), (picture, encoded.timestamp_ns)])
        except OSError:
            if self._keys is not None:
                self._keys.restart()  # the decoder will not have seen this picture
            raise
        self._clock.advance(time)
        if self._chain is not None and encoded.made is not None:
            self._chain.stored(encoded.made)
        self._appended += 1
        self._append_waiting()

    def begin_at(self, timestamp_ns: int) -> None:
        with self._lock:
            self._clock.begin(timestamp_ns)

    def add_tracks(self, tracks: Sequence[SampleTrack]) -> None:
        with self._lock:
            self._samples.add(tracks)
            self._check_tracks()

    def append_samples(self, name: str, timestamp_ns: int, samples: NDArray[Any]) -> None:
        self._append_packed(name, self._samples.packers[name].put(timestamp_ns, samples))

    def pad_samples(self, name: str, timestamp_ns: int, count: int) -> None:
        self._append_packed(name, self._samples.packers[name].pad(timestamp_ns, count))

    def flush_samples(self, name: str) -> None:
        self._append_packed(name, self._samples.packers[name].flush())

    def describe_track(self, name: str, facts: Mapping[str, Any]) -> None:
        self._samples.facts[name] = {**self._samples.facts[name], **facts}

    def sync(self) -> int:
        with self._sync_lock:
            appended, blocks = self._appended, self._blocks
            if blocks == self._durable_blocks:
                return self._durable
            if self._sync_failed:
                raise OSError(
                    errno.EIO, os.strerror(errno.EIO)
                )  # what it failed to write may be lost, and later syncs still succeed
            assert self._muxer is not None
            with self._lock:
                reached = self._muxer.reached
            try:
                os.fsync(self._fd)
            except OSError:
                self._sync_failed = True
                raise
            self._muxer.synced(reached)
            if self._hidden is not None:
                self._path = publish(self._hidden, self._path)
                self._hidden = None
            self._durable, self._durable_blocks = appended, blocks
            return self._durable

    def close(self) -> int:
        if self._fd < 0:
            return self._durable
        self._reserve.close()  # room to finish in, should the disk be full
        try:
            self._end_samples()
            if self._muxer is not None:
                self._end_labels(self._muxer)
                self.sync()
                self._session["frames"] = self._appended
                if self._samples.packers:
                    self._session["tracks"] = self._samples.facts
                with _full_disk_ignored():
                    self._muxer.finish(self._tags(ended=True))
        finally:
            if self._muxer is not None:
                self._muxer.close()
            self._let_go()
        return self._durable

    # ------------------------------------------------------------------------------------------------------- the parts

    def _packet(self, encoder: Encoder, pixels: NDArray[np.uint8], *, key: bool = True) -> bytes:
        try:
            return encoder.encode(pixels, key=key)
        except ValueError as error:
            raise StorageError(f"{self._path}: {error}; use --codec ffv1") from None

    def _check_tracks(self) -> None:
        """Raise StorageError if the file has other tracks."""
        if self._found is None:
            return
        if self._pictures != (PICTURES in self._found.tracks):
            has, gets = ("no pictures", "has some") if self._pictures else ("pictures", "has none")
            raise StorageError(f"{self._path} has {has}, this recording {gets}; choose another name")
        tracks = [packer.track for packer in self._samples.packers.values()]
        reason = why_not_continued(list(tracks_of(self._found).values()), tracks)
        if reason is not None:
            raise StorageError(f"{self._path} {reason}; record the same, or choose another name")
        self._samples.go_on(tracks_of(self._found), self._found.track_tags)

    def _chain_from(self, first: Packet, pixels: NDArray[np.uint8] | None) -> PacketChain | None:
        """None if the packets show other pictures, or the file began with other settings."""
        if self._found is not None and self._found.tracks[PICTURES].private != first.private:
            return None
        chain = PacketChain(self._codec, first)
        return chain if pixels is not None and chain.shows(pixels) else None

    def _next_made(self, chain: PacketChain, made: Packet | None) -> Packet:
        if made is None:
            raise StorageError(f"{self._path}: the camera's encoder stopped; record again to go on")
        try:
            chain.check(made)
        except ValueError as error:
            raise StorageError(f"{self._path}: {error}; record again to go on") from None
        return made

    def _begin(self, size: Size | None, private: bytes) -> Muxer:
        """Write what comes before this writer's first block; `size` is None without pictures."""
        if self._found is not None and size is not None and private != self._found.tracks[PICTURES].private:
            raise StorageError(f"{self._path} was encoded with other settings; repeat them, or choose another name")
        self._session["clock"] = self._clock.facts()
        self._pictures = size is not None or (self._found is not None and PICTURES in self._found.tracks)
        main = PICTURES if self._pictures else FIRST_TRACK
        muxer = muxer_for(self._fd, self._path.parent, self._found, main_track=main)
        if self._found is None:
            os.ftruncate(self._fd, 0)
            rgb = self._codec.pixel_format == "bgr0"
            name = str(self._session.get("track_name") or "")
            labels = f"{name}-labels" if name else "labels"
            tracks = [Track(LABELS, SUBTITLE_TRACK, "S_TEXT/UTF8", name=labels), *self._samples.entries()]
            if size is not None:
                camera = Track(PICTURES, VIDEO_TRACK, self._codec.track, private, name or "camera", size, rgb)
                tracks.insert(0, camera)
            muxer.begin(tracks, self._tags(ended=False))
        else:
            muxer.reopen(self._found.head.index_at if self._found.finished else None, self._tags(ended=False))
        self._size = size
        return muxer

    def _add(self, blocks: Iterable[tuple[Block, int]]) -> None:
        """Append blocks, each with its mark."""
        assert self._muxer is not None
        before = self._muxer.end
        try:
            for block, mark in blocks:
                self._muxer.add(block, mark)
                self._blocks += 1
        finally:
            self._bytes += self._muxer.end - before

    def _append_packed(self, name: str, blocks: Iterable[Packed]) -> None:
        """Append the blocks of a track, or keep them until the file has begun."""
        for packed in blocks:
            with self._lock:
                self._samples.waiting.append((name, packed))
                if self._muxer is None and not self._pictures:
                    self._begin_without_pictures()
                if self._muxer is not None:
                    self._append_waiting()
                elif self._samples.waiting_bytes > WAITING_BYTES:
                    raise StorageError(f"{self._path}: samples came, but no picture; say that there will be none")

    def _append_waiting(self) -> None:
        waiting, self._samples.waiting = self._samples.waiting, []
        for name, packed in waiting:
            self._add([self._samples.place(name, packed, self._clock)])

    def _begin_without_pictures(self) -> None:
        self._clock.begin(self._samples.earliest_ns)
        self._muxer = self._begin(None, b"")

    def _end_samples(self) -> None:
        with _full_disk_ignored():
            for name, packer in self._samples.packers.items():
                self._append_packed(name, packer.finish())
            with self._lock:
                if self._muxer is None and self._samples.waiting:
                    self._begin_without_pictures()
                    self._append_waiting()

    def _end_labels(self, muxer: Muxer) -> None:
        with _full_disk_ignored():
            for block in self._labels.place(self._clock.last + self._clock.step, None):
                muxer.add(block)

    def _tags(self, *, ended: bool) -> dict[int | None, dict[str, str]]:
        codec = self._codec.name if self._pictures else None
        tags = make_tags(codec, self._first + self._appended, [*self._sessions, self._session])
        return {None: tags, **self._samples.tags(ended=ended)}

    def _let_go(self) -> None:
        if self._hidden is not None and not self._blocks:
            self._hidden.unlink()
        os.close(self._fd)
        self._fd = -1


@contextmanager
def _full_disk_ignored() -> Iterator[None]:
    """Ignore a full disk: the file is whole without its index, and `append` has raised already."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise

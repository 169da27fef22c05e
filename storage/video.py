"""Recordings as one Matroska file: lossless FFV1 by default, each frame with its own time and facts.

How a file is built, and why nothing can tear it, is in `storage.matroska`; what the codecs are asked for is in
`storage.video_codecs`. Videos that other programs made are read by `storage.movie`; `open_video` tells them apart.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.frame import Frame, Packet
from storage.labels import write_table
from storage.matroska import SUBTITLE_TRACK, VIDEO_TRACK, Block, Muxer, Track
from storage.matroska_read import Contents, read_block, read_contents, read_front, read_head
from storage.packets import PacketChain
from storage.recording import Recording
from storage.sessions import new_session
from storage.video_codecs import (
    CODECS,
    Decoder,
    Encoder,
    KeySchedule,
    Size,
    check_crf,
    find_codec,
    most_between_keys,
    usual_crf,
)
from storage.video_file import (
    CHECKED_TAIL_BYTES,
    LABELS,
    PICTURES,
    codec_of,
    facts_of,
    is_ours,
    make_tags,
    muxer_for,
    open_locked,
    publish,
    recover,
    repair,
    reserve,
    sessions_of,
)

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VideoReader", "VideoWriter", "open_video", "repair", "write_labels"]

LABEL_SECONDS = 1.0
DEFAULT_STEP_US, MOST_STEP_US = 33_333, 1_000_000


# --------------------------------------------------------------------------------------------------------- the writer


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

    Until its first frames are on the disk a new file is called ``.NAME.part``; then it gets its name, and from that
    moment on it is a video that plays up to the last frame appended, whatever happens. A file that a crash left without
    its index gets it when the next writer opens it.

    Parameters
    ----------
    target : path
    codec : str, optional
        One of `storage.video_codecs.CODECS`; by default that of the file if there is one, else ``ffv1``.
    crf : int, optional
        Quality of ``h264`` (1 to 51, 18 if not given) and ``mjpeg`` (2 to 31; 2): lower is better and larger.

    Raises
    ------
    StorageError
        The target can't be written to, another recorder has it, or it is no recording that can be continued so.
    """

    def __init__(self, target: Path, *, codec: str | None = None, crf: int | None = None) -> None:
        wanted = find_codec(codec) if codec is not None else None
        self._path = target
        try:
            self._fd, self._hidden = open_locked(target)
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}; choose a name that you may write to") from None
        try:
            self._found, _ = recover(self._fd, self._hidden or target, named=self._hidden is None)
            if self._found is not None and self._hidden is not None:  # a crash left it before it got its name
                self._path, self._hidden = publish(self._hidden, target), None
            self._codec = wanted or (codec_of(self._found) if self._found else None) or CODECS[0]
            check_crf(self._codec, crf)
            self._sessions = sessions_of(self._found) if self._found else []
            if self._found is not None and codec_of(self._found) != self._codec:
                raise StorageError(f"{target} is {self._found.tags.get('CODEC')}, not {codec}; choose another name")
            self._reserve = reserve(target.parent)
        except OSError as error:
            self._let_go()
            raise StorageError(f"{target}: {error.strerror}; nothing was recorded") from None
        except BaseException:
            self._let_go()
            raise
        if crf is None and codec is None and self._sessions:
            crf = self._sessions[-1].get("crf")
        self._crf = crf
        self._first = len(self._found.blocks[PICTURES]) if self._found else 0
        self._size = self._found.tracks[PICTURES].size if self._found else None
        self._session = {**new_session(self._first), "codec": self._codec.name, "crf": crf}

        self._muxer: Muxer | None = None
        self._pool = threading.local()  # each thread's encoder, where pictures stand alone
        self._encoder: Encoder | None = None  # the only one, where they don't
        self._keys: KeySchedule | None = None
        self._chain: PacketChain | None = None  # of packets that are stored as the camera made them
        self._clock = _Clock(self._found)
        self._labels = _LabelTrack()
        self._appended = self._durable = self._bytes = 0
        self._sync_lock = threading.Lock()
        self._sync_failed = False

    @property
    def next_index(self) -> int:
        return self._first

    @property
    def bytes_written(self) -> int:
        return self._bytes

    @property
    def lossless(self) -> bool:
        """Whether the frames come back pixel-identical. A lossy codec smooths noise away, and with it small changes of
        brightness and colour from one frame to the next: the variation that jitter is there to add.
        """
        return self._codec.lossless

    @property
    def takes_packets(self) -> tuple[str, int] | None:
        """The codec and the quality of packets that it stores as they are, should frames carry them.

        Whether they really show the frames is seen at the first; if not, this writer encodes the pixels itself.
        """
        if self._codec.name != "h264" or (self._muxer is not None and self._chain is None):
            return None
        return self._codec.name, self._crf or usual_crf(self._codec)

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._session = {**self._session, **facts}  # not in place: another thread may be storing it

    def encode(self, frame: Frame, label: str | None = None) -> _Encoded:
        """As in `storage.formats.Writer`; `label` is the frame's class."""
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
        packet, private, time = encoded.packet, encoded.private, self._clock.place(encoded.timestamp_ns)
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
        if self._muxer is None:
            self._muxer = self._begin(encoded.size, private)
        labels = self._labels.place(time, encoded.label)
        before = self._muxer.end
        try:
            for block in labels:
                self._muxer.add(block)
            since = 0 if key else time - self._clock.last
            picture = Block(PICTURES, time, packet, encoded.facts, since_reference=since)
            self._muxer.add(picture, encoded.timestamp_ns)
        except OSError:
            if self._keys is not None:
                self._keys.restart()  # the decoder will not have seen this picture
            raise
        finally:
            self._bytes += self._muxer.end - before
        self._clock.advance(time)
        if self._chain is not None and encoded.made is not None:
            self._chain.stored(encoded.made)
        self._appended += 1

    def sync(self) -> int:
        with self._sync_lock:
            appended = self._appended
            if appended == self._durable:
                return self._durable
            if self._sync_failed:
                raise OSError(errno.EIO, os.strerror(errno.EIO))  # what that took may be lost, and later syncs lie
            try:
                os.fsync(self._fd)
            except OSError:
                self._sync_failed = True
                raise
            if self._hidden is not None:
                self._path = publish(self._hidden, self._path)
                self._hidden = None
            self._durable = appended
            return self._durable

    def close(self) -> int:
        if self._fd < 0:
            return self._durable
        self._reserve.close()  # room to finish in, should the disk be full
        try:
            if self._muxer is not None:
                self._end_labels(self._muxer)
                self.sync()
                self._session["frames"] = self._appended
                with _full_disk_is_told_already():
                    self._muxer.finish(self._tags())
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

    def _chain_from(self, first: Packet, pixels: NDArray[np.uint8] | None) -> PacketChain | None:
        """None where the packets show something else than the pictures, or the file began with other settings."""
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

    def _begin(self, size: Size, private: bytes) -> Muxer:
        """Write what comes before this session's first frame."""
        if self._found is not None and private != self._found.tracks[PICTURES].private:
            raise StorageError(f"{self._path} was encoded with other settings; repeat them, or choose another name")
        muxer = muxer_for(self._fd, self._path.parent, self._found)
        if self._found is None:
            os.ftruncate(self._fd, 0)
            rgb = self._codec.pixel_format == "bgr0"
            pictures = Track(PICTURES, VIDEO_TRACK, self._codec.track, private, "camera", size, rgb)
            muxer.begin([pictures, Track(LABELS, SUBTITLE_TRACK, "S_TEXT/UTF8", name="labels")], self._tags())
        else:
            muxer.reopen(self._found.head.index_at if self._found.finished else None, self._tags())
        self._size = size
        return muxer

    def _end_labels(self, muxer: Muxer) -> None:
        with _full_disk_is_told_already():
            for block in self._labels.place(self._clock.last + self._clock.step, None):
                muxer.add(block)

    def _tags(self) -> dict[str, str]:
        return make_tags(self._codec.name, self._first + self._appended, [*self._sessions, self._session])

    def _let_go(self) -> None:
        if self._hidden is not None and os.fstat(self._fd).st_size == 0:
            self._hidden.unlink()
        os.close(self._fd)
        self._fd = -1


class _Clock:
    """The file's own time: it begins at 0, goes on without a gap where a recording was continued, and never back."""

    def __init__(self, found: Contents | None) -> None:
        times = found.blocks[PICTURES].times[-2:].tolist() if found else []
        self.step = min(times[1] - times[0], MOST_STEP_US) if len(times) == 2 else DEFAULT_STEP_US
        self.last = times[-1] if times else -self.step
        self._origin_ns: int | None = None

    def place(self, timestamp_ns: int) -> int:
        """The time of a frame, in microseconds."""
        if self._origin_ns is None:
            self._origin_ns = timestamp_ns - (self.last + self.step) * 1000
        return max((timestamp_ns - self._origin_ns) // 1000, self.last + 1)

    def advance(self, time: int) -> None:
        """A frame of that time was stored."""
        self.step, self.last = min(time - self.last, MOST_STEP_US), time


class _LabelTrack:
    """Turns the label of each frame into subtitles.

    A label that goes on is written each second, as it may be cut off at any moment; `once` is for what can't be.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self._label: str | None = None
        self._since = 0

    def place(self, time: int, label: str | None) -> list[Block]:
        """The blocks that end where a frame with that label comes."""
        if label == self._label and (label is None or self._once or time - self._since < LABEL_SECONDS * 1e6):
            return []
        ended = self._label
        self._label, since, self._since = label, self._since, time
        return [Block(LABELS, since, ended.encode(), duration=time - since)] if ended is not None else []


def write_labels(path: Path, labels: Sequence[str | None]) -> None:
    """Give each frame of a recording its class, None for those that have none; all of them, or after a crash none.

    Those of a video that another program made go into a table beside it (`storage.labels.write_table`).

    Raises
    ------
    StorageError
        The file is being recorded into, or can't be written to.
    ValueError
        There are not as many labels as frames.
    """
    if not is_ours(path):
        write_table(path, labels)
        return
    fd = -1
    try:
        fd, hidden = open_locked(path, create=False)
        found, _ = recover(fd, path, named=hidden is None)
        if found is None or hidden is not None:
            raise StorageError(f"{path} holds no frame")
        times = found.blocks[PICTURES].times.tolist()
        if len(times) != len(labels):
            raise ValueError(f"{len(labels)} labels for {len(times)} frames")
        muxer = muxer_for(fd, path.parent, found, without_labels=True)
        runs = _LabelTrack(once=True)
        end = times[-1] + (times[-1] - times[-2] if len(times) > 1 else DEFAULT_STEP_US)
        for time, label in zip([*times, end], [*labels, None], strict=True):
            for block in runs.place(time, label):
                muxer.add(block)
        muxer.finish(found.tags)  # from here on these count
        muxer.close()
        old = [found.head.index_at, *found.blocks[LABELS].positions.tolist()]
        for at in old:
            if at is not None:
                muxer.make_void(at)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; the labels are as they were") from None
    finally:
        if fd >= 0:
            os.close(fd)


@contextmanager
def _full_disk_is_told_already() -> Iterator[None]:
    """A file without its index is whole all the same, and the frame that found the disk full has raised before."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


# --------------------------------------------------------------------------------------------------------- the reader


def open_video(path: Path) -> Recording:
    """Open any video: one of `VideoWriter`'s, or what a phone or another program made.

    Raises
    ------
    StorageError
        It is no video, or it is damaged.
    """
    if is_ours(path):
        return VideoReader(path)
    from storage.movie import MovieReader

    return MovieReader(path)


class VideoReader(Recording):
    """The frames of one of `VideoWriter`'s files, also while it is being written: those that it has when it is opened.

    Any frame is read by itself, or from the keyframe before it. Several threads may read at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
                self._codec = codec_of(self._contents)
            except ValueError as error:
                raise StorageError(f"{path} is damaged: {error}") from None
        except BaseException:
            os.close(self._fd)
            raise
        track = self._contents.tracks[PICTURES]
        assert track.size is not None
        self._size, self._private = track.size, track.private
        self._pictures = self._contents.blocks[PICTURES]
        self._pool = threading.local()  # each thread's decoder, where pictures stand alone
        self._in_order = threading.Lock()
        self._decoder: Decoder | None = None  # the only one, where they don't
        self._next = -1  # the frame that it can decode next

    @property
    def path(self) -> Path:
        return self._path

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What is known of each recording session, oldest first (see `storage.sessions`)."""
        return sessions_of(self._contents)

    @property
    def finished(self) -> bool:
        """False while it is being recorded, and after a crash until `storage.video_file.repair` has seen it."""
        return self._contents.finished

    @property
    def independent(self) -> bool:
        """Whether each frame is read without others, so that several threads read faster than one."""
        return self._codec.intra

    @cached_property
    def labels(self) -> Sequence[str | None]:
        import numpy as np

        times = self._pictures.times
        labels: list[str | None] = [None] * len(times)
        for at in self._contents.blocks[LABELS].positions.tolist() if LABELS in self._contents.blocks else []:
            block = self._block(at, "a label")
            name = block.data.decode("utf-8", "replace")
            first, end = np.searchsorted(times, [block.time, block.time + (block.duration or 0)]).tolist()
            labels[first:end] = [name] * (end - first)
        return labels

    @cached_property
    def timestamps_ns(self) -> Sequence[int]:
        if self._pictures.marks is not None:
            return list(map(int, self._pictures.marks.tolist()))
        try:
            return [facts_of(read_front(self._fd, at))[0] for at in self._pictures.positions.tolist()]
        except ValueError as error:
            raise StorageError(f"{self._path} is damaged: {error}") from None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int) -> Frame:
        if self._codec.intra:
            decoder: Decoder | None = getattr(self._pool, "decoder", None)
            if decoder is None:
                decoder = self._pool.decoder = self._new_decoder()
            return self._frame(decoder, index)
        with self._in_order:
            return self._read_in_order(index)

    def _read_in_order(self, index: int) -> Frame:
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
        frame = self._frame(self._decoder, index)
        self._next = index + 1
        return frame

    def _picture(self, decoder: Decoder, index: int) -> tuple[Block, av.VideoFrame]:
        block = self._block(int(self._pictures.positions[index]), f"frame {index}")
        try:
            return block, decoder.decode(block.data)
        except ValueError as error:
            raise StorageError(f"{self._path}: frame {index} is damaged: {error}") from None

    def _frame(self, decoder: Decoder, index: int) -> Frame:
        block, picture = self._picture(decoder, index)
        timestamp_ns, metadata = facts_of(block)
        return Frame(decoder.to_rgb(picture), index, timestamp_ns, metadata)

    def _block(self, at: int, what: str) -> Block:
        try:
            return read_block(self._fd, at)
        except ValueError as error:
            raise StorageError(f"{self._path}: {what} is damaged: {error}") from None

    def _new_decoder(self) -> Decoder:
        return Decoder(self._codec, self._size, self._private, threads=os.cpu_count() or 1)

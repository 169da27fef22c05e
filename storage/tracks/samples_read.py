"""The samples of a sensor or of sound, out of any media file, and when each was taken."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import cached_property, partial
from itertools import dropwhile, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.matroska.reader import is_damaged, read_contents, read_head
from storage.names import printable
from storage.tracks.demux import (
    COARSE_NS,
    Track,
    channel_labels,
    facts_of_packet,
    open_media,
    packets_of,
    tag_of,
    time_of,
    to_ns,
    zero_of,
)
from storage.tracks.sample_reader import Clock, SampleReader, clocks_of, interleaved
from storage.tracks.sample_track import SampleBlock, SampleTrack, check_samples

if TYPE_CHECKING:
    import numpy as np
    from av.container import InputContainer
    from av.stream import Stream
    from numpy.typing import NDArray

ROUNDED_NS = 1_500_000  # by so much, rounding to milliseconds twice may shift a time
BLOCKS_AHEAD = 64  # decoded at once
WARM_UP_NS = 1_000_000_000


def true_rate(track: Track) -> float:
    """Samples a second: as measured while recording, else as the file states."""
    return measured_rate(track) or track.rate or 1.0


def measured_rate(track: Track) -> float | None:
    """Samples a second as this program measured them, if it did."""
    try:
        rate = float(tag_of(track.tags, "measured_rate"))
    except ValueError:
        return None
    return rate if 0 < rate < float("inf") else None


def decode_samples(path: Path, track: Track) -> Iterator[SampleBlock]:
    """The samples of a track, in order: a block for each packet, timed in the file's time.

    Where a file knows only whole milliseconds, as those of FFmpeg do, samples are counted from the begin on, until
    there is a gap. Damaged blocks are left out (`find_damaged`).

    Raises
    ------
    StorageError
        The file is damaged, or FFmpeg can't decode it.
    """
    for _, block in _timed(path, track):
        yield block


def _timed(path: Path, track: Track) -> Iterator[tuple[int, SampleBlock]]:
    """The blocks of `decode_samples`, each with the time that the file gives it."""
    step_ns = 1e9 / true_rate(track)
    begin_ns, counted = 0, -1  # since the last gap
    for own_ns, samples, padding, rounded in _decoded(path, track):
        expected_ns = begin_ns + round(counted * step_ns)
        if counted < 0 or not rounded or abs(own_ns - expected_ns) > ROUNDED_NS:
            begin_ns, counted, expected_ns = own_ns, 0, own_ns
        counted += len(samples)
        yield own_ns, SampleBlock(expected_ns, samples, padding)


def _decoded(path: Path, track: Track, from_ns: int | None = None) -> Iterator[tuple[int, NDArray[Any], bool, bool]]:
    """What FFmpeg decodes of a track, from about a time on: its time, samples, are they padding, is the time rounded.

    Raises
    ------
    StorageError
        As `decode_samples`.
    """
    import av
    import numpy as np

    damaged, whole = find_damaged(path, track)
    with open_media(path) as container:
        zero = zero_of(container)
        rounded = Fraction(container.streams[track.number].time_base or 1) * 1_000_000_000 > COARSE_NS
        if from_ns is not None:
            with suppress(av.error.FFmpegError):  # it can't be sought: from its beginning, then
                container.seek((from_ns + zero) // 1000)
        for packet in packets_of(container, track.number):
            before = bisect_right(damaged, packet.pos or 0, key=lambda place: place.start)
            if before and packet.pos in damaged[before - 1]:
                continue
            whole -= 1
            padding = facts_of_packet(packet).get("padding") is True
            try:
                decoded: Any = packet.decode()
            except av.error.FFmpegError as error:
                at = time_of(packet, zero) / 1e9
                raise StorageError(f"{path}: track {track.name} is damaged at {at:.3f} s: {error.strerror}") from None
            for frame in decoded:
                samples = np.ascontiguousarray(interleaved(frame, track.channels or 1))
                if samples.dtype == np.uint8:
                    samples = (samples.astype(np.int16) - 128) * 256
                own_ns = time_of(packet, zero) if frame.pts is None else to_ns(frame.pts, frame.time_base) - zero
                yield own_ns, samples, padding, rounded
    if whole > 0 and from_ns is None:  # FFmpeg goes by the lengths of all that lies before
        raise StorageError(f"{path}: {whole} blocks of track {track.name} can't be reached: a length is damaged")


def find_damaged(path: Path, track: Track) -> tuple[list[range], int]:
    """Where blocks lie whose bytes have changed since this program wrote them, in order; and how many have not.

    FFmpeg would not see it. Each ends where the next one begins: its own length may be what has changed. Of files of
    other programs nothing is known.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = read_head(fd)
        contents = read_contents(fd, head) if head is not None else None
        if contents is None or track.number >= len(contents.tracks):
            return [], 0
        blocks = contents.blocks[list(contents.tracks)[track.number]]
        damaged = sorted(at for at in blocks.positions.tolist() if is_damaged(fd, at))
        begins = [at for others in contents.blocks.values() for at in others.positions.tolist()] if damaged else []
        begins = [*sorted(begins), contents.size]
        return [range(at, begins[bisect_right(begins, at)]) for at in damaged], len(blocks) - len(damaged)
    except ValueError:
        return [], 0
    finally:
        os.close(fd)


def times_ns(block: SampleBlock, rate: float) -> NDArray[np.int64]:
    """When each sample of a block was taken."""
    import numpy as np

    steps: NDArray[np.int64] = np.rint(np.arange(len(block.samples)) * (1e9 / rate)).astype(np.int64)
    return steps + block.begin_ns


def scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples as floats; integers, which are sound, from -1 to 1."""
    if samples.dtype.kind == "i":
        samples = samples / float(1 << (samples.itemsize * 8 - 1))
    return samples.astype("float32", copy=False)


# -------------------------------------------------------------------------------------------------- an open recording's


def rounded_clocks(sessions: Sequence[Mapping[str, Any]]) -> list[Clock]:
    """The clock of each session that has one, in a file that keeps times to a millisecond."""
    return [replace(clock, begins_us=clock.begins_us - 1000) for clock in clocks_of(sessions)]


def sample_tracks_in(container: InputContainer, tracks: Sequence[Track]) -> list[tuple[Track, SampleTrack]]:
    """Those of a file's tracks that are sound or of a sensor, each with what `SampleReader.track` tells of it."""
    described = [(one, _sample_track_of(one, container.streams[one.number])) for one in tracks]
    return [(one, samples) for one, samples in described if samples is not None]


def _sample_track_of(track: Track, stream: Stream) -> SampleTrack | None:
    """None if it is none, or can't be decoded."""
    if track.kind not in ("sensor", "sound") or not track.rate or not track.channels:
        return None
    form: Any = stream.codec_context
    narrow = form.format is not None and form.format.bits <= 16
    codec = track.codec if narrow and track.codec in ("flac", "opus") else "s16" if narrow else "f32"
    if track.codec == "opus" and track.channels <= 2:  # FFmpeg decodes it to floats, and this program to integers
        codec = "opus"
    labels = tuple(channel_labels(track)) if tag_of(track.tags, "channel_labels") else ()
    unit, source = tag_of(track.tags, "unit"), tag_of(track.tags, "source")
    return SampleTrack(printable(track.name), track.rate, track.channels, codec, unit, labels, source)


class DecodedSamples(SampleReader):
    """A track of samples in a file that FFmpeg's muxer, or another program, wrote.

    All of it is decoded once, to find where its blocks are, when it is first asked for; then only what is read.
    """

    checked = False
    resolution_ns = 1_000_000

    def __init__(self, path: Path, track: Track, described: SampleTrack, clocks: Sequence[Clock]) -> None:
        super().__init__(described, {name.upper(): text for name, text in track.tags.items()}, clocks)
        self._path, self._track = path, track
        self._ahead: tuple[int, list[SampleBlock]] = 0, []

    @cached_property
    def _index(self) -> NDArray[np.int64]:
        """Of each block: the time that the file gives it, its time, and how many samples it has."""
        import numpy as np

        found = [(own_ns, block.begin_ns, len(block.samples)) for own_ns, block in _timed(self._path, self._track)]
        return np.array(found, np.int64).reshape(-1, 3)

    @cached_property
    def _times_ns(self) -> NDArray[np.int64]:
        return self._on_the_pictures_clock(self._index[:, 1])

    @property
    def seconds(self) -> float:
        if not len(self):
            return 0.0
        return float(self._index[-1, 1] - self._index[0, 1]) / 1e9 + float(self._index[-1, 2]) / self.rate

    def __len__(self) -> int:
        return len(self._index)

    def blocks(self, first: int = 0, end: int | None = None) -> Iterator[SampleBlock]:
        if not first and end is None:
            yield from map(self._as_told, decode_samples(self._path, self._track))
            return
        for at in range(first, len(self) if end is None else min(end, len(self))):
            begin, ahead = self._ahead
            if not 0 <= at - begin < len(ahead):
                begin, ahead = self._ahead = at, self._from(at)
            yield ahead[at - begin]

    def _from(self, first: int) -> list[SampleBlock]:
        """Some blocks from there on, decoded from a second before them on, as some decoders need to warm up."""
        index = self._index[first : first + BLOCKS_AHEAD]
        from_ns = int(index[0, 0]) - WARM_UP_NS
        found = dropwhile(lambda one: one[0] < index[0, 0], _decoded(self._path, self._track, from_ns))
        run = list(islice(found, len(index)))
        if [(one[0], len(one[1])) for one in run] != list(map(tuple, index[:, ::2].tolist())):
            run = list(islice(_decoded(self._path, self._track), first, first + len(index)))  # it can't be sought
        begins = self._index[first:, 1].tolist()
        return [self._as_told(SampleBlock(begin, one[1], one[2])) for begin, one in zip(begins, run, strict=False)]

    def _as_told(self, block: SampleBlock) -> SampleBlock:
        """A block of the file's time, as this reader gives it."""
        import numpy as np

        begin_ns = int(self._on_the_pictures_clock(np.array([block.begin_ns]))[0])
        kept = scaled if self.track.kept_as.dtype == "<f4" else partial(check_samples, self.track)
        return SampleBlock(begin_ns, kept(block.samples), block.padding)

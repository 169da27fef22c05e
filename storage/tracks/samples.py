"""Tracks of samples in a Matroska file: what a sensor or a microphone gave, as audio that any FFmpeg tool plays.

A track's samples are gathered into blocks of a fifth of a second, each with the time of its first sample; this module
turns samples into blocks (`Packer`) and blocks into samples (`StoredSamples`). For when a block goes into the file,
and on which clock, see `storage.formats.video.writer`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.matroska.elements import TICK_NS
from storage.matroska.reader import Contents, read_block, read_front
from storage.matroska.track import AUDIO_TRACK, Block, Sound, Track
from storage.tracks.sample_reader import Clock, SampleReader, interleaved
from storage.tracks.sample_track import CODECS, SampleBlock, SampleTrack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_SECONDS = 0.2
PAD_SAMPLES = 1 << 16  # made at once, of a pause that may have taken hours
FIRST_TRACK = 3  # pictures and labels come before
MAX_TRACKS = 60
PADDING = json.dumps({"padding": True}).encode()
"""The facts of a block that was not measured: it fills a pause."""
COUNTS = ("SAMPLES", "PADDED")
"""Tags of a track that its blocks tell, too."""
SUMMED = (*COUNTS, "CAME_BEFORE", "LOST")
"""Tags of a track that count over all sessions."""
AT_THE_END = (*SUMMED, "MEASURED_RATE", "DRIFT_PPM")
"""Tags of a track that are known when a session ends: a file without an end has none of them."""
LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # FFmpeg's, by the number of channels
FLAC_MARK = b"fLaC\x80\0\0\x22"  # before the 34 bytes that FFmpeg knows a stream by


# ----------------------------------------------------------------------------------------------------------- to blocks


@dataclass(frozen=True, slots=True)
class Packed:
    """A block of a track on its way to the file: its first sample's time, and how many samples it has."""

    timestamp_ns: int
    data: bytes
    count: int
    padding: bool = False


class Packer:
    """Gathers a track's samples into blocks. One thread at a time uses it.

    Attributes
    ----------
    private : bytes
        What a decoder needs before the first block.
    """

    def __init__(self, track: SampleTrack) -> None:
        self.track = track
        self._codec = track.kept_as
        self._encoder: Any = None
        self.private, self.delay = b"", 0
        self._size = max(1, round(track.rate * BLOCK_SECONDS))
        if self._codec.encoder is not None:
            self._renew_encoder()
        self._end_ns: int | None = None
        self._parts: list[tuple[int, NDArray[Any]]] = []
        self._count = 0

    def put(self, timestamp_ns: int, samples: NDArray[Any]) -> list[Packed]:
        """Add samples, as `check_samples` returns them, the first of that time; returns the blocks that are full."""
        if len(samples):
            self._parts.append((timestamp_ns, samples))
            self._count += len(samples)
        full = []
        while self._count >= self._size:
            full.append(self._take(self._whole() if self._encoder is None else self._size))
        return full

    def pad(self, timestamp_ns: int, count: int) -> Iterator[Packed]:
        """Fill a pause of so many samples: with NaN among floats, zeros among integers."""
        import numpy as np

        yield from self.flush()
        fill = np.nan if self._codec.dtype == "<f4" else 0
        for done in range(0, count, PAD_SAMPLES):
            part = np.full((min(PAD_SAMPLES, count - done), self.track.channels), fill, self._codec.dtype)
            for block in self.put(timestamp_ns + self._ns(done), part):
                yield Packed(block.timestamp_ns, block.data, block.count, padding=True)
        for block in self.flush():
            yield Packed(block.timestamp_ns, block.data, block.count, padding=True)

    def flush(self) -> list[Packed]:
        """Return the samples that wait as a shorter block; of a codec that can't make one, nothing."""
        if not self._count or self._codec.name == "opus":
            return []
        last = self._take(self._count)
        if self._codec.encoder is not None:
            self._renew_encoder()  # FFmpeg's encoders take one short frame, their last
        return [last]

    def finish(self) -> list[Packed]:
        """Return the last blocks."""
        if self._codec.name != "opus" or self._end_ns is None:
            return self.flush()
        import numpy as np

        missing = self._size - self._count
        silence = np.zeros((missing + self._size, self.track.channels), self._codec.dtype)  # the encoder is late
        return self.put(self._end_ns, silence)

    def _whole(self) -> int:
        """The size of the next block: samples that came together stay so, as their time is known; not too many."""
        sizes = accumulate(len(part) for _, part in self._parts)
        whole = next(size for size in sizes if size >= self._size)
        return whole if whole < 2 * self._size else self._size

    def _take(self, count: int) -> Packed:
        import numpy as np

        timestamp_ns = self._parts[0][0]
        taken, left = [], count
        while left:
            began, part = self._parts[0]
            taken.append(part[:left])
            if len(part) > left:
                self._parts[0] = began + self._ns(left), part[left:]
            else:
                del self._parts[0]
            left -= len(taken[-1])
        self._count -= count
        self._end_ns = timestamp_ns + self._ns(count)
        samples = np.concatenate(taken)
        data = samples.tobytes() if self._encoder is None else self._encode(samples)
        return Packed(timestamp_ns, data, count)

    def _ns(self, samples: int) -> int:
        return round(samples / self.track.rate * 1e9)

    def _encode(self, samples: NDArray[Any]) -> bytes:
        import av

        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=self._encoder.layout.name)
        frame.sample_rate = int(self.track.rate)
        packets = self._encoder.encode(frame)
        if not packets:
            packets = self._encoder.encode(None)
        return bytes(packets[0])

    def _renew_encoder(self) -> None:
        import av

        assert self._codec.encoder is not None
        encoder: Any = av.CodecContext.create(self._codec.encoder, "w")
        encoder.sample_rate, encoder.format = int(self.track.rate), "s16"
        encoder.layout = LAYOUTS[self.track.channels - 1]
        encoder.open()
        self._encoder, self._size = encoder, encoder.frame_size
        if not self.private:
            extra = bytes(encoder.extradata)
            self.private = FLAC_MARK + extra if self._codec.name == "flac" else extra


def entry_of(number: int, packer: Packer) -> Track:
    """The entry of a track in a file's list of tracks."""
    track, codec = packer.track, packer.track.kept_as
    delay_ns = roll_ns = 0
    if codec.name == "opus":
        delay_ns, roll_ns = opus_delay_ns(packer.private), 80_000_000
    sound = Sound(track.rate, track.channels, codec.bits, delay_ns, roll_ns)
    return Track(number, AUDIO_TRACK, codec.track, packer.private, track.name, sound=sound, default=track.is_sound)


def opus_delay_ns(private: bytes) -> int:
    """How long an Opus decoder gives nothing before the first sample, in nanoseconds."""
    return int(struct.unpack_from("<H", private, 10)[0]) * 1_000_000_000 // 48000 if len(private) >= 12 else 0


def block_of(number: int, time: int, packed: Packed, rate: float) -> Block:
    """A block as it stands in a file, `time` in its microseconds."""
    facts = PADDING if packed.padding else b""
    return Block(number, time, packed.data, facts, duration=max(1, round(packed.count / rate * 1e6)))


def is_padding(block: Block) -> bool:
    return block.facts == PADDING


# ------------------------------------------------------------------------------------------------------- from a file


def tracks_of(found: Contents) -> dict[int, SampleTrack]:
    """The tracks of samples that a file has, by their numbers.

    Raises
    ------
    ValueError
        It has one that we did not make.
    """
    tracks = {}
    for number, entry in sorted(found.tracks.items()):
        if entry.kind == AUDIO_TRACK:
            sound, tags = entry.sound, found.track_tags.get(number, {})
            fitting = [codec.name for codec in CODECS if codec.track == entry.codec]
            if not fitting or sound is None:
                raise ValueError(f"its codec {entry.codec!r} is none of ours")
            labels = tuple(tags["CHANNEL_LABELS"].split("|")) if "CHANNEL_LABELS" in tags else ()
            unit, source = tags.get("UNIT", ""), tags.get("SOURCE", "")
            tracks[number] = SampleTrack(entry.name, sound.rate, sound.channels, fitting[0], unit, labels, source)
    return tracks


def why_not_continued(found: Sequence[SampleTrack], wanted: Sequence[SampleTrack]) -> str | None:
    """Why samples of the wanted tracks can't go into a file that has others; None if they can."""
    has, gets = ({_kind(track) for track in tracks} for tracks in (found, wanted))
    if has == gets:
        return None
    there = ", ".join(_described(track) for track in found) or "no sensors and no sound"
    new = ", ".join(_described(track) for track in wanted) or "none"
    return f"has {there}; this recording has {new}"


def _kind(track: SampleTrack) -> tuple[Any, ...]:
    return track.name, track.rate, track.channels, track.codec, track.unit, track.labels


def _described(track: SampleTrack) -> str:
    rest = filter(None, (track.codec, track.unit, "|".join(track.labels)))
    return f"{track.name} ({track.rate:g} a second, {track.channels} channels, {', '.join(rest)})"


class StoredSamples(SampleReader):
    """A track of samples as this program stores it."""

    checked = True
    resolution_ns = TICK_NS

    def __init__(self, fd: int, number: int, track: SampleTrack, found: Contents, clocks: Sequence[Clock]) -> None:
        super().__init__(track, found.track_tags.get(number, {}), clocks)
        self._fd = fd
        self._blocks = found.blocks[number]
        self._private = found.tracks[number].private
        self._delay_ns = opus_delay_ns(self._private) if track.codec == "opus" else 0

    @cached_property
    def _times_ns(self) -> NDArray[np.int64]:
        return self._on_the_pictures_clock(self._blocks.times * TICK_NS)

    @property
    def seconds(self) -> float:
        if not len(self):
            return 0.0
        last = _front(self._fd, int(self._blocks.positions[-1]))
        duration = (last.duration or 0) if last else 0
        return float(self._blocks.times[-1] - self._blocks.times[0] + duration) / 1e6

    def __len__(self) -> int:
        return len(self._blocks)

    def blocks(self, first: int = 0, end: int | None = None) -> Iterator[SampleBlock]:
        import numpy as np

        codec = self.track.kept_as
        decoder = None if codec.encoder is None else self._new_decoder()
        for at in range(first, len(self) if end is None else min(end, len(self))):
            try:
                block = read_block(self._fd, int(self._blocks.positions[at]))
                if decoder is None:
                    samples = np.frombuffer(block.data, codec.dtype).reshape(-1, self.track.channels)
                else:
                    samples = _decode(decoder, block.data, self.track.channels)
            except ValueError as error:
                raise StorageError(f"samples of {self.name} are damaged: {error}") from None
            late_ns = self._delay_ns if at > first else 0  # before its first samples the decoder leaves the delay out
            yield SampleBlock(int(self._times_ns[at]) - late_ns, samples, is_padding(block))

    def _new_decoder(self) -> Any:
        import av

        decoder = av.CodecContext.create("flac" if self.track.codec == "flac" else "libopus", "r")
        decoder.extradata = self._private[8:] if self.track.codec == "flac" else self._private
        return decoder


def _decode(decoder: Any, data: bytes, channels: int) -> NDArray[Any]:
    import av
    import numpy as np

    try:
        frames = decoder.decode(av.Packet(data))
    except av.error.FFmpegError as error:
        raise ValueError(str(error)) from None
    parts = [interleaved(frame, channels) for frame in frames]
    return np.concatenate(parts).astype("<i2") if parts else np.zeros((0, channels), "<i2")


def marks_of(fd: int, found: Contents, number: int) -> list[int]:
    """The mark of each block of a track: 1 for padding, else 0, also where it is damaged."""
    fronts = (_front(fd, at) for at in found.blocks[number].positions.tolist())
    return [int(front is not None and is_padding(front)) for front in fronts]


def recounted_tags(fd: int, found: Contents) -> dict[int | None, dict[str, str]]:
    """The tags of all tracks, with samples and padding counted by the blocks; what is damaged counts for none."""
    tags = {number: dict(has) for number, has in found.track_tags.items()}
    for number, track in tracks_of(found).items():
        counts = 0, 0
        for at in found.blocks[number].positions.tolist():
            if (front := _front(fd, at)) is not None:
                counts = counted(counts, front, track.rate)
        tags.setdefault(number, {}).update(zip(COUNTS, map(str, counts), strict=True))
    return tags


def joined_tags(before: Mapping[str, str], more: Mapping[str, str], stated: float) -> dict[str, str]:
    """The tags of a track of samples, from those of its sessions so far and of one that follows.

    What counts is added up. The rate is that of all samples; if it was not measured in each session, it is left out.
    """
    joined = {name: text for name, text in {**more, **before}.items() if name not in AT_THE_END}
    for name in SUMMED:
        known = [int(tags[name]) for tags in (before, more) if tags.get(name, "").isdecimal()]
        joined |= {name: str(sum(known))} if known else {}
    seconds = [_measured_seconds(tags) for tags in (before, more)]
    if None not in seconds and (lasting := sum(filter(None, seconds))):
        rate = sum(int(joined.get(name, 0)) for name in COUNTS) / lasting
        joined |= {"MEASURED_RATE": f"{rate:.9g}", "DRIFT_PPM": f"{(rate / stated - 1) * 1e6:.1f}"}
    return joined


def _measured_seconds(tags: Mapping[str, str]) -> float | None:
    """How long the samples of a track lasted by its measured rate; None if that is not known."""
    count = sum(int(text) for name in COUNTS if (text := tags.get(name, "")).isdecimal())
    try:
        rate = float(tags.get("MEASURED_RATE", "nan"))
    except ValueError:
        rate = 0.0
    return count / rate if 0 < rate < float("inf") else None if count else 0.0


def counted(counts: tuple[int, int], block: Block, rate: float) -> tuple[int, int]:
    """The numbers of samples and of those that are padding, with those of a block."""
    samples, padded = counts
    count = round((block.duration or 0) * rate / 1e6)
    return (samples, padded + count) if is_padding(block) else (samples + count, padded)


def _front(fd: int, at: int) -> Block | None:
    """As `storage.matroska.reader.read_front`; None where that is damaged."""
    try:
        return read_front(fd, at)
    except ValueError:
        return None

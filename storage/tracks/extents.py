"""How far each track of a media file goes, and how much is in it, without decoding anything."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.matroska.elements import TICK_NS
from storage.matroska.reader import read_block, read_contents, read_front, read_head
from storage.tracks.containers import reason_of
from storage.tracks.demux import Track, duration_of, frame_period_of, open_media, tag_of, time_of, zero_of
from storage.tracks.label_track import Cue, intervals_of

if TYPE_CHECKING:
    from av.packet import Packet

NO_LENGTH_NS = 1_000_000  # what FFmpeg makes up for a picture that Matroska tells no length of


@dataclass(frozen=True, slots=True)
class Extent:
    """Begin and end of a track in nanoseconds of the file's time, and how much it holds.

    `count` is pictures, samples of each channel, or labels; None where only decoding would show it.
    """

    begin_ns: int
    end_ns: int
    count: int | None

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9

    def rate(self, track: Track) -> float | None:
        """Samples a second as the file states, pictures as they come."""
        if track.kind != "pictures":
            return track.rate
        return round(self.count / self.seconds, 3) if self.count and self.seconds else None


def read_extents(path: Path, tracks: Sequence[Track]) -> dict[int, Extent]:
    """The extent of each track, by its number: from the table of blocks if the file has one, else from all packets.

    Raises
    ------
    StorageError
        The file can't be read.
    """
    return extents_by_table(path, tracks) or _by_packets(path, tracks)


def extents_by_table(path: Path, tracks: Sequence[Track]) -> dict[int, Extent]:
    """The extents by the table of blocks alone; empty if the file has none, or was cut off."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = read_head(fd)
        if head is None or head.end is None:
            return {}
        contents = read_contents(fd, head)
        if len(contents.tracks) != len(tracks):
            return {}
        extents = {}
        for track, number in zip(tracks, contents.tracks, strict=True):
            blocks = contents.blocks[number]
            times = [time * TICK_NS for time in blocks.times.tolist()]
            if track.kind == "labels":
                found = [read_block(fd, at) for at in blocks.positions.tolist()]
                cues = [Cue(block.time * TICK_NS, (block.duration or 0) * TICK_NS, block.data) for block in found]
                extents[track.number] = _of_labels(track, cues)
            else:
                lasting = times[-1] - times[-2] if len(times) > 1 else 0
                if times and track.kind != "pictures":  # the last block of samples is as long as it says
                    lasting = (read_front(fd, int(blocks.positions[-1])).duration or 0) * TICK_NS
                end = times[-1] + lasting if times else 0
                counts = [tag_of(track.tags, name) for name in ("samples", "padded")]
                samples = sum(map(int, counts)) if all(text.isdigit() for text in counts) else None
                count = len(times) if track.kind == "pictures" else samples
                extents[track.number] = Extent(times[0] if times else 0, end, count)
        return extents
    except ValueError:
        return {}
    finally:
        os.close(fd)


def _by_packets(path: Path, tracks: Sequence[Track]) -> dict[int, Extent]:
    """The extents by the packets of all tracks, in one pass."""
    import av

    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    counts: dict[int, int | None] = {track.number: 0 for track in tracks}
    cues: dict[int, list[Cue]] = {}
    latest: dict[int, list[int]] = {}  # when the last two pictures are shown, if how long is not told
    by_number = {track.number: track for track in tracks}
    with open_media(path) as container:
        zero = zero_of(container)
        period_ns = frame_period_of(container)
        try:
            for packet in container.demux():
                track = by_number.get(packet.stream_index)
                timeless = packet.pts is None and packet.dts is None
                if not packet.size or track is None or (timeless and not period_ns):
                    continue
                number, time, lasting = track.number, time_of(packet, zero), duration_of(packet)
                if period_ns and track.kind == "pictures":
                    time, lasting = (counts[number] or 0) * period_ns, period_ns
                begins[number] = min(begins.get(number, time), time)
                ends[number] = max(ends.get(number, 0), time + lasting)
                if track.kind == "pictures" and lasting <= NO_LENGTH_NS:
                    latest[number] = sorted({*latest.get(number, ()), time})[-2:]
                if track.kind == "labels":
                    cues.setdefault(number, []).append(Cue(time, lasting, bytes(packet)))
                counted, before = _counted(track, packet), counts[number]
                counts[number] = None if counted is None or before is None else before + counted
        except av.error.EOFError:
            pass
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise StorageError(f"{path} is damaged: {reason_of(error)}") from None
    for number, times in latest.items():
        ends[number] = max(ends[number], times[-1] + (times[-1] - times[0]))  # as in a table of blocks
    extents = {number: Extent(begins.get(number, 0), ends.get(number, 0), count) for number, count in counts.items()}
    return extents | {number: _of_labels(by_number[number], found) for number, found in cues.items()}


def _counted(track: Track, packet: Packet[Any]) -> int | None:
    """The pictures or samples of a packet; None where its duration is too coarse for that."""
    if track.kind not in ("sensor", "sound"):
        return 1
    plain = re.fullmatch(r"pcm_[suf](\d+)\w*", track.codec)
    if plain and track.channels:
        return packet.size * 8 // (int(plain[1]) * track.channels)
    lasting = (packet.duration or 0) * Fraction(packet.time_base or 0) * Fraction(track.rate or 0)
    return int(lasting) if lasting > 0 and lasting.denominator == 1 else None


def _of_labels(track: Track, cues: Sequence[Cue]) -> Extent:
    found = intervals_of(cues, track.codec)
    ends = [one.end_ns for one in found]
    return Extent(found[0].start_ns if found else 0, max(ends, default=0), len(found))

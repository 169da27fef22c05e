"""Where the frames of another program's video are: the place and the time of each, found without decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.formats.movie.clock import FileClock
from storage.formats.movie.decode import is_counted, is_untimed
from storage.formats.movie.order import stands_alone
from storage.formats.video.file import parse_facts
from storage.tracks.containers import reason_of
from storage.tracks.demux import Track, duration_of, frame_period_of, stored_beside, time_of, zero_of
from storage.tracks.label_track import Cue

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

KEYS_IN_NAME_ONLY = ("apng",)  # its demuxer takes any picture of full size for a keyframe


def mark_of(packet: av.Packet[Any], *, counted: bool, untimed: bool) -> int | None:
    """What identifies a packet: its time, in its stream's time base, or its position in a file without times."""
    if untimed:
        return packet.pos
    return packet.dts if counted or packet.pts is None else packet.pts


@dataclass(frozen=True, slots=True)
class Places:
    """Where the frames of a video are.

    Attributes
    ----------
    begin_ns : int
        The time of the first frame on the file's clock, in nanoseconds.
    shown_ns, timestamps_ns : list of int
        The time of each frame in nanoseconds of the file's time; and its timestamp.
    exact : bool
        Whether our recorder gave all of the timestamps.
    metadata : dict
        By frame, of those that have any.
    keys : list of int
        The frames that are keyframes.
    seeks : list of int
        Where to seek for each keyframe: in the stream's time base, or in bytes in a file without times.
    of_packet : list of int
        The frame that each packet holds, in the file's order; -1 for one that is never shown.
    numbers : dict
        The number of the packet of each keyframe, by its `mark_of`.
    counted, untimed : bool
        See `storage.formats.movie.decode.is_counted` and `is_untimed`.
    """

    begin_ns: int
    shown_ns: list[int]
    timestamps_ns: list[int]
    exact: bool
    metadata: Mapping[int, Mapping[str, Any]]
    keys: list[int]
    seeks: list[int]
    of_packet: list[int]
    numbers: Mapping[int | None, int]
    counted: bool
    untimed: bool

    def number_of_key(self, packet: av.Packet[Any]) -> int | None:
        """The number of a packet; None if it is not of one of `keys`."""
        if not packet.is_keyframe:
            return None
        return self.numbers.get(mark_of(packet, counted=self.counted, untimed=self.untimed))


@dataclass(frozen=True, slots=True)
class _Shown:
    """A packet that holds a frame: its number, part of the file, its `mark_of`, and what it is."""

    number: int
    part: int
    mark: int
    seek: int
    key: bool
    facts: bytes


def find_places(
    container: InputContainer, stream: VideoStream, path: Path, label_tracks: Sequence[Track]
) -> tuple[Places, list[tuple[Track, list[Cue]]]]:
    """The places of a video, and its labels, from all packets; nothing is decoded."""
    import av

    zero = zero_of(container)
    cues: list[tuple[Track, list[Cue]]] = [(track, []) for track in label_tracks]
    beside = {track.number: cues_of_track for track, cues_of_track in cues}
    counted, untimed = is_counted(container), is_untimed(container)
    keyed = container.format.name not in KEYS_IN_NAME_ONLY
    found: list[_Shown] = []
    count = part = 0
    try:
        for packet in container.demux([stream, *(container.streams[number] for number in beside)]):
            if packet.stream_index in beside:
                if packet.size and not (packet.pts is None and packet.dts is None):
                    beside[packet.stream_index].append(Cue(time_of(packet, zero), duration_of(packet), bytes(packet)))
                continue
            if not packet.size:
                continue
            mark = mark_of(packet, counted=counted, untimed=untimed)
            if mark is not None and not packet.is_discard:
                seek = mark if untimed or packet.dts is None else packet.dts
                if packet.is_keyframe and found and seek <= found[-1].seek:
                    part += 1  # files that were joined: their times start anew
                key = packet.is_keyframe and keyed and (not counted or stands_alone(packet, stream))
                found.append(_Shown(count, part, mark, seek, key, stored_beside(packet)))
            count += 1
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if not found:
            raise StorageError(f"{path} is damaged: {reason_of(error)}") from None
    if not found:
        raise StorageError(f"{path} holds no picture")
    found.sort(key=lambda shown: (shown.part, shown.mark))
    base, start = Fraction(stream.time_base or Fraction(1, 1000)), found[0].mark if counted else 0
    clock = FileClock(round(1e9 / float(stream.average_rate or 25)))
    if untimed:
        period_ns = frame_period_of(container)
        times = [shown.number * period_ns for shown in found]
    else:
        times = [clock.date(round((shown.mark - start) * base * 1_000_000_000)) for shown in found]
    exact = [parse_facts(shown.facts) for shown in found]
    of_packet = [-1] * count
    for place, shown in enumerate(found):
        of_packet[shown.number] = place
    # A time that occurs in several parts can't be sought.
    keys = [(place, shown) for place, shown in enumerate(found) if place and shown.key and not part]
    places = Places(
        begin_ns=times[0],
        shown_ns=[time - zero for time in times],
        timestamps_ns=[known[0] if known else time for known, time in zip(exact, times, strict=True)],
        exact=all(known is not None for known in exact),
        metadata={index: known[1] for index, known in enumerate(exact) if known and known[1]},
        keys=[0, *(place for place, _ in keys)],
        seeks=[found[0].seek, *(shown.seek for _, shown in keys)],
        of_packet=of_packet,
        numbers={shown.mark: shown.number for _, shown in keys},
        counted=counted,
        untimed=untimed,
    )
    return places, cues

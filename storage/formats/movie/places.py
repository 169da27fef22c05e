"""Where the frames of another program's video are: the place and the time of each, found without decoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.formats.movie.clock import SLIP_NS, FileClock
from storage.formats.movie.decode import indexed_times, is_counted, is_untimed
from storage.formats.movie.order import stands_alone
from storage.formats.video.file import parse_facts
from storage.tracks.containers import reason_of
from storage.tracks.demux import Track, duration_of, frame_period_of, stored_beside, time_of, zero_of
from storage.tracks.label_track import Cue

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

NEVER = -(1 << 63)  # before all times
KEYS_IN_NAME_ONLY = ("apng",)  # its demuxer takes any picture of full size for a keyframe


def mark_of(packet: av.Packet[Any], *, counted: bool) -> int | None:
    """What identifies a packet: its time, in its stream's time base, or its position in a file that counts."""
    if counted:  # a count that FFmpeg takes up behind a seek is of the file's index, also of packets that are lost
        return packet.pos
    return packet.dts if packet.pts is None else packet.pts


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
    disorder : int
        How many pictures may come before their turn: times may contradict the order in which pictures are decoded.
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
    disorder: int

    def number_of_key(self, packet: av.Packet[Any]) -> int | None:
        """The number of a packet; None if it is not of one of `keys`."""
        if not packet.is_keyframe:
            return None
        return self.numbers.get(mark_of(packet, counted=self.counted))


@dataclass(frozen=True, slots=True)
class _Shown:
    """A packet that holds a frame: its number, its part of the file, its time if it has one, and what it is.

    In each part, frames are shown by their turns.
    """

    number: int
    part: int
    at: int | None
    turn: int
    mark: int | None
    seek: int
    key: bool
    facts: bytes


def _packets(
    container: InputContainer, stream: VideoStream, cues: Sequence[tuple[Track, list[Cue]]], zero: int
) -> Iterator[_Shown]:
    """The packets of a video that are shown; its labels go into `cues`."""
    beside = {track.number: cues_of_track for track, cues_of_track in cues}
    counted, untimed = is_counted(container), is_untimed(container)
    slip = SLIP_NS / 1e9 / (stream.time_base or Fraction(1, 1000))
    keyed = container.format.name not in KEYS_IN_NAME_ONLY
    indexed = indexed_times(container, stream)
    last: _Shown | None = None
    number = part = 0
    for packet in container.demux([stream, *(container.streams[number] for number in beside)]):
        if packet.stream_index in beside:
            if packet.size and not (packet.pts is None and packet.dts is None):
                beside[packet.stream_index].append(Cue(time_of(packet, zero), duration_of(packet), bytes(packet)))
            continue
        if not packet.size:
            continue
        if not packet.is_discard:
            mark = mark_of(packet, counted=counted)
            at = indexed.get(packet.pos or 0, packet.dts or 0) if counted and not untimed else mark
            turn = at if at is not None else last.turn if last else NEVER
            seek = turn if counted or packet.dts is None else packet.dts
            if last and seek <= last.seek - (0 if packet.is_keyframe else slip):
                part += 1  # files that were joined: their times start anew
            key = packet.is_keyframe and mark is not None and keyed and (not counted or stands_alone(packet, stream))
            last = _Shown(number, part, at, turn, mark, seek, key, stored_beside(packet))
            yield last
        number += 1


def find_places(
    container: InputContainer, stream: VideoStream, path: Path, label_tracks: Sequence[Track]
) -> tuple[Places, list[tuple[Track, list[Cue]]]]:
    """The places of a video, and its labels, from all packets; nothing is decoded."""
    import av

    zero, base = zero_of(container), Fraction(stream.time_base or Fraction(1, 1000))
    cues: list[tuple[Track, list[Cue]]] = [(track, []) for track in label_tracks]
    counted, untimed = is_counted(container), is_untimed(container)
    depth = stream.codec_context.has_b_frames
    found: list[_Shown] = []
    try:
        for shown in _packets(container, stream, cues, zero):
            found.append(shown)  # those before a failure count
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if not found:
            raise StorageError(f"{path} is damaged: {reason_of(error)}") from None
    if not found:
        raise StorageError(f"{path} holds no picture")
    if depth:  # else they are shown as they come, whatever their times
        found.sort(key=lambda shown: (shown.part, shown.turn))
    start = found[0].turn if counted else 0
    clock = FileClock(round(1e9 / float(stream.average_rate or 25)))
    if untimed:
        period_ns = frame_period_of(container)
        times = [shown.number * period_ns for shown in found]
    else:
        own = (None if shown.at is None else round((shown.at - start) * base * 1_000_000_000) for shown in found)
        times = [clock.date(at) for at in own]
    exact = [parse_facts(shown.facts) for shown in found]
    of_packet = [-1] * (1 + max(shown.number for shown in found))
    for place, shown in enumerate(found):
        of_packet[shown.number] = place
    contradictory = depth and any(number - place > depth for number, place in enumerate(of_packet) if place >= 0)
    # A time that occurs in several parts can't be sought.
    keys = [(place, shown) for place, shown in enumerate(found) if place and shown.key and not found[-1].part]
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
        disorder=depth + 2 if contradictory else 0,
    )
    return places, cues

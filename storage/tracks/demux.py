"""The tracks of a media file of any program: what they are, and their packets with times in nanoseconds.

Pictures, sensors and sound, labels as subtitles: FFmpeg takes the file apart, and each track is read by itself, in its
own order. So a track with an entry every few minutes neither waits for the others nor makes them wait.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from storage.durable.untrusted import parse_object
from storage.errors import StorageError
from storage.labels.intervals import IntervalError, check_times
from storage.names import free_name
from storage.tracks.containers import CONTAINERS, COVER_PICTURE, LABEL_FILES, SOUND_FILES, open_container, reason_of
from storage.tracks.sample_track import LOWEST_SOUND_RATE

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

Kind = Literal["pictures", "sensor", "sound", "labels", "other"]
CLOCKS_OF_THEIR_OWN = ("mpeg", "mpegts", "asf", "flv")  # kinds of files whose times begin anywhere
NO_TIMES, USUAL_RATE = 0x80, 25  # FFmpeg's AVFMT_NOTIMESTAMPS, and the rate that it takes such files to have
COARSE_NS = 100_000  # times in coarser steps are rounded


@dataclass(frozen=True, slots=True)
class Track:
    """A track of a file.

    Attributes
    ----------
    number : int
        Its place among the file's tracks, from 0 on, as FFmpeg counts them.
    kind : str
        ``sensor`` is a track of samples that is no sound: by its tags, or because it has too few a second for one.
    name : str
        Its own, or else after its kind; different for each track of a file.
    codec : str
        FFmpeg's name.
    rate : float or None
        Stated samples, or pictures, a second.
    channels : int
    size : (int, int) or None
        Width and height of pictures, in pixels.
    tags : mapping
        What else the file says about it.
    """

    number: int
    kind: Kind
    name: str
    codec: str
    rate: float | None
    channels: int
    size: tuple[int, int] | None
    tags: Mapping[str, str]


def open_media(path: Path) -> InputContainer:
    """Open a file with pictures, sound, sensors or labels; no other file is read for it.

    Raises
    ------
    StorageError
        There is none, or it is nothing of the kind.
    """
    form = LABEL_FILES.get(path.suffix.lower())
    if form is not None:
        container = open_container(path, ((form, ()),), "a file of labels")
        try:
            check_times(path.read_text("utf-8-sig", "replace"))
        except IntervalError as error:
            container.close()
            raise StorageError(f"{path}: {error}") from None
        return container
    return open_container(path, (*CONTAINERS, *SOUND_FILES), "a recording, video, sound (.srt, .vtt, .ass: labels)")


def read_tracks(path: Path) -> list[Track]:
    """The tracks of a file. Raises StorageError if it can't be read, or has none."""
    with open_media(path) as container:
        found = tracks_of(container)
    if not found:
        raise StorageError(f"{path} holds no track")
    return found


def tracks_of(container: InputContainer) -> list[Track]:
    """The tracks of an open file."""
    names: set[str] = set()
    tracks = []
    for stream in container.streams:
        kind = _kind(stream)
        name = free_name(tag_of(stream.metadata, "title", "name") or kind, names)
        context: Any = stream.codec_context
        sampled = kind in ("sensor", "sound")
        rate: Any = getattr(context, "sample_rate", None) if sampled else getattr(stream, "average_rate", None)
        tracks.append(
            Track(
                number=stream.index,
                kind=kind,
                name=name,
                codec="" if context is None else context.name,
                rate=_stated_rate(stream, rate) if rate else None,
                channels=int(getattr(context, "channels", 0)) if sampled else 0,
                size=(int(context.width), int(context.height)) if kind == "pictures" and context is not None else None,
                tags=dict(stream.metadata),
            )
        )
    return tracks


def file_names(tracks: Sequence[Track], reserved: Iterable[str] = ()) -> dict[int, str]:
    """A name of a file for each track, by its number; names that differ only in case are one on some disks."""
    taken, names = set(reserved), {}
    for track in tracks:
        plain = re.sub(r"[^\w.+-]+", "_", track.name).strip("._")[:80] or "track"
        names[track.number] = free_name(plain, taken, str.lower)
    return names


def packets_of(container: InputContainer, number: int) -> Iterator[Packet[Any]]:
    """The packets of one track that have something in them, in the file's order.

    Raises
    ------
    StorageError
        The file is damaged there.
    """
    import av

    try:
        for packet in container.demux(container.streams[number]):
            if packet.size and not (packet.pts is None and packet.dts is None):
                yield packet
    except av.error.EOFError:
        return
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise StorageError(f"{container.name.removeprefix('file:')} is damaged: {reason_of(error)}") from None


def time_of(packet: Packet[Any], zero_ns: int = 0) -> int:
    """When a packet is shown or heard, in nanoseconds of the file's time."""
    ticks = packet.dts if packet.pts is None else packet.pts
    return to_ns(ticks or 0, packet.time_base) - zero_ns


def duration_of(packet: Packet[Any]) -> int:
    """How long a packet goes on, in nanoseconds; 0 if unknown."""
    return to_ns(packet.duration or 0, packet.time_base)


def to_ns(ticks: int, base: Fraction) -> int:
    """Ticks in whole nanoseconds; without making a Fraction, as it is done for every packet."""
    return (2 * ticks * base.numerator * 1_000_000_000 + base.denominator) // (2 * base.denominator)


def zero_of(container: InputContainer) -> int:
    """What the file's own clock shows where the file's time begins, in nanoseconds."""
    if container.format.name in CLOCKS_OF_THEIR_OWN and container.start_time is not None:
        return int(container.start_time) * 1000
    return 0


def frame_period_of(container: InputContainer) -> int:
    """Nominal nanoseconds from one picture to the next of a file that keeps no times at all; 0 for any other."""
    if not container.format.flags & NO_TIMES or not container.streams.video:
        return 0
    return round(1_000_000_000 / (container.streams.video[0].guessed_rate or USUAL_RATE))


def stored_beside(packet: Packet[Any]) -> bytes:
    """What this program stored beside a packet, in JSON; FFmpeg and mkvmerge carry it along. Empty for other files."""
    if not packet.has_sidedata("matroska_block_additional"):
        return b""
    return bytes(packet.get_sidedata("matroska_block_additional"))[8:]


def facts_of_packet(packet: Packet[Any]) -> dict[str, Any]:
    """What this program stored beside a packet, as a mapping; empty for other files."""
    text = stored_beside(packet)
    try:
        return parse_object(text) if text else {}
    except ValueError:
        return {}


def channel_labels(track: Track) -> list[str]:
    """What a sensor's channels are called; ``ch1``, ``ch2`` … where the file does not say."""
    names = [name.strip() for name in tag_of(track.tags, "channel_labels").split("|")]
    if len(names) != track.channels or len(set(names)) != len(names) or not all(names):
        return [f"ch{number}" for number in range(1, track.channels + 1)]
    return names


def tag_of(tags: Mapping[str, str], *names: str) -> str:
    """The first of these tags that is there; Matroska and FFmpeg disagree on upper and lower case."""
    by_name = {name.lower(): text for name, text in tags.items()}
    return next((by_name[name] for name in names if by_name.get(name)), "")


# ------------------------------------------------------------------------------------------------------------ the parts


def _stated_rate(stream: Stream, rate: Any) -> float:
    """The rate of a track, also where FFmpeg knows only the whole part of it."""
    try:
        stated = float(tag_of(stream.metadata, "stated_rate"))
    except ValueError:
        return float(rate)
    return stated if int(rate) == int(stated) else float(rate)


def _kind(stream: Stream) -> Kind:
    if stream.type == "video":
        return "other" if stream.disposition.value & COVER_PICTURE else "pictures"
    if stream.type == "audio":
        rate = getattr(stream.codec_context, "sample_rate", 0) or 0
        codec = getattr(stream.codec_context, "name", "")
        floats = codec.startswith("pcm_f") and tag_of(stream.metadata, "stated_rate")  # a sensor of this program
        return "sensor" if floats or rate < LOWEST_SOUND_RATE else "sound"
    return "labels" if stream.type == "subtitle" else "other"

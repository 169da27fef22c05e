"""Several media files into one Matroska file, track by track, as they are: nothing is decoded or encoded again.

Where each file lies in time is found by `storage.streams.align`. The packets are put in order here, from one reader a
track, so that the muxer never waits for a track that has no packet for minutes, and memory holds one packet a
track.
"""

from __future__ import annotations

import heapq
import io
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.convert.transfer import Progress
from storage.durable.files import appearing
from storage.errors import StorageError
from storage.formats.movie.decode import is_counted, is_untimed
from storage.labels.beside import refuse_left_over
from storage.matroska.completion import complete
from storage.matroska.statistics import Statistics
from storage.names import free_name, printable
from storage.streams.align import Alignment, SyncEvent, align
from storage.tracks.containers import LABEL_FILES
from storage.tracks.demux import (
    Track,
    duration_of,
    open_media,
    packets_of,
    read_tracks,
    tag_of,
    time_of,
    to_ns,
    tracks_of,
    zero_of,
)
from storage.tracks.extents import extents_by_table
from storage.tracks.label_track import INPUT_TAG, LABELS_TAG, carries_labels
from storage.tracks.pauses import Pauses
from storage.tracks.samples_read import true_rate
from storage.tracks.wall_clock import moved_sessions

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

OF_THE_OLD_FILE = {"blocks", "frames", "codec", "encoder", "duration", "title", "creation_time"} | {
    *("residual", "clock_drift_ppm"),
    *("bps", "number_of_frames", "number_of_bytes", "_statistics_tags"),
    *("_statistics_writing_app", "_statistics_writing_date_utc"),
}
"""Tags that would not be true of the new one, or are written anew."""
MUXER_OPTIONS = {"max_interleave_delta": "1", "avoid_negative_ts": "disabled"}  # the order is made here
MOV_TEXT, SESSIONS = "mov_text", "SESSIONS"
READ_AHEAD = 16  # packets
TICK_NS = 1_000_000  # FFmpeg's muxer keeps to milliseconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge.

    Attributes
    ----------
    alignments : list of Alignment
        One for each input, in their order.
    tracks : list of (path, Track, str)
        The file that each track is from, the track there, and its name now.
    left_out : list of (path, Track)
        Tracks that no Matroska file holds: attachments, data of cameras.
    begin_seconds : float
        When the first file's time 0 is in the new one: later than 0 if another one begins before it.
    packets : int
    seconds : float
        From the begin of the earliest file to the end of the latest track.
    """

    alignments: list[Alignment]
    tracks: list[tuple[Path, Track, str]]
    left_out: list[tuple[Path, Track]]
    begin_seconds: float
    packets: int
    seconds: float


def merge_streams(
    target: Path,
    inputs: Sequence[Path],
    *,
    offsets: Mapping[str, float] | None = None,
    sync_on: SyncEvent | None = None,
    progress: Progress | None = None,
) -> Merged:
    """Bring all tracks of several files together in one Matroska file.

    Parameters
    ----------
    target : path
        A ``.mkv`` or ``.mka`` that does not exist yet; it appears when it is whole.
    inputs : sequence of path
        The first one's time is the time of the new file, unless another begins before it.
    offsets : mapping, optional
        For a file, by its path, name or stem: how many seconds after the first one's begin it begins.
    sync_on : str, optional
        What to find the others by: ``flash``, ``click`` or ``cross-correlation`` (see `storage.streams.align`).
    progress : callable, optional
        Called with the seconds of the new file that are done; the total is not known yet: it is 0.

    Raises
    ------
    StorageError
        A file can't be read, aligned or stored in Matroska; or the target exists.
    """
    if target.suffix.lower() not in (".mkv", ".mka"):
        raise StorageError(f"{target}: streams are merged into .mkv (or .mka, if there is no picture)")
    with appearing(target) as temporary:
        refuse_left_over(target)
        for path in inputs:
            _refuse_frames_alone(path)
        alignments = align(inputs, offsets or {}, sync_on)
        main = next((one.path for one in alignments if _has_pictures(one.path)), alignments[0].path)
        with ExitStack() as open_files:
            job = _Job(temporary, open_files)
            for alignment in alignments:
                job.add(alignment, describes_all=alignment.path == main)
            begin, packets, seconds, statistics = job.run(progress)
        try:
            complete(temporary, statistics)
        except (ValueError, KeyError) as error:  # it is whole without that
            log.warning("%s: without statistics, and with names as FFmpeg writes them (%s)", target, error)
    return Merged(alignments, job.tracks, job.left_out, begin, packets, seconds)


def _refuse_frames_alone(path: Path) -> None:
    """Raise StorageError for a recording of a format without tracks."""
    if path.is_dir() or (path.suffix.lower() == ".h5" and path.exists()):
        raise StorageError(
            f"{path} has frames, but no tracks to merge; make a .mkv of it first: "
            f"python -m storage convert {path} {path.with_suffix('.mkv')}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A track being read: where from, by how much its times change on the way, and what is said of it then."""

    path: Path
    track: Track
    container: InputContainer
    stream: Stream
    zero_ns: int
    alignment: Alignment
    tags: dict[str, str]

    def place(self, time_ns: int) -> int:
        """When something is, in the first file's time, by its time in this file."""
        return self.alignment.place(self.alignment.pauses[self.track.number].at(time_ns))

    def ended(self, time_ns: int) -> int:
        """When something ends, in the first file's time: it does not go on in a pause."""
        return self.alignment.place(self.alignment.pauses[self.track.number].until(time_ns))


class _Job:
    """The new file, and what flows into it."""

    def __init__(self, path: Path, open_files: ExitStack) -> None:
        import av

        self._open_files = open_files
        self._out: OutputContainer = av.open(str(path), "w", format="matroska", options=dict(MUXER_OPTIONS))
        open_files.callback(self._close)
        self._sources: list[_Source] = []
        self._names: set[str] = set()
        self._inputs = 0
        self._clocked: list[tuple[dict[str, str], Alignment, Pauses]] = []  # tags, and what moves what they tell of
        self.tracks: list[tuple[Path, Track, str]] = []
        self.left_out: list[tuple[Path, Track]] = []

    def add(self, alignment: Alignment, *, describes_all: bool) -> None:
        """Prepare the tracks of a file; its tags become those of the new one, or of its first track."""
        path = alignment.path
        self._inputs += 1
        container = self._open(path)
        tags = _lasting(container.metadata)
        zero = zero_of(container)
        found = tracks_of(container)
        if describes_all:
            self._out.metadata.update(tags)
            main = next((track for track in found if track.kind == "pictures"), found[0])
            self._clocked.append((self._out.metadata, alignment, alignment.pauses[main.number]))
            tags = {}
        known = extents_by_table(path, found)
        all_labels = path.suffix.lower() in LABEL_FILES
        for track in found:
            if track.kind == "other":
                self.left_out.append((path, track))
                continue
            if track.kind == "labels" and track.number in known and not known[track.number].count:
                continue  # it has no labels yet: its name is free for a track that has
            own = self._open(path)  # keeps to the track's order, whatever the file's is
            stream = own.streams[track.number]
            name = free_name(_name(path, track, alone=len(found) == 1), self._names)
            facts = {
                "MERGED_FROM": printable(path.name),
                "ALIGNED_BY": alignment.how,
                "OFFSET": f"{alignment.offset_ns / 1e9:.6f}",
                INPUT_TAG.upper(): ".".join(filter(None, (str(self._inputs), tag_of(track.tags, INPUT_TAG)))),
            }
            if alignment.residual_ns is not None:
                facts["RESIDUAL"] = f"{alignment.residual_ns / 1e9:.6f}"
            if alignment.drift is not None:
                facts["CLOCK_DRIFT_PPM"] = f"{alignment.drift * 1e6:.1f}"
            if alignment.drift and track.rate and track.kind in ("sensor", "sound"):
                rate = true_rate(track) * (1 + alignment.drift)
                facts["MEASURED_RATE"] = f"{rate:.9g}"
                facts["DRIFT_PPM"] = f"{(rate / track.rate - 1) * 1e6:.1f}"
            if track.kind == "labels" and (all_labels or carries_labels(track, found)):
                facts[LABELS_TAG.upper()] = "frames"
            facts = {**tags, **_lasting(track.tags), **facts, "title": name}
            self._clocked.append((facts, alignment, alignment.pauses[track.number]))
            tags = {}
            self._sources.append(_Source(path, track, own, stream, zero, alignment, facts))

    def run(self, progress: Progress | None) -> tuple[float, int, float, list[Statistics]]:
        """Move all packets, in the order of their times.

        Returns
        -------
        float
            Seconds by which all are moved, so that none comes before 0.
        int
            How many packets there were.
        float
            When the last one ends, in seconds.
        list of Statistics
            Of each track, in the new file's order.
        """
        import av

        if not self._sources:
            raise StorageError("there is no track to merge")
        # Players and FFmpeg take the first track of a kind, or the default one: sensors are never meant.
        self._sources.sort(key=lambda source: source.track.kind == "sensor")
        outs = self._new_tracks()
        readers = [_Reader(source) for source in self._sources]
        shift = max(0, -min((reader.begin_ns for reader in readers), default=0))
        for tags, alignment, pauses in self._clocked:
            if SESSIONS in tags:
                move = partial(_moved, alignment, pauses, shift)
                tags[SESSIONS] = moved_sessions(tags[SESSIONS], move, even=not alignment.drift)
        for source, out in outs.items():
            out.metadata.update(source.tags)
        count, end = 0, 0
        try:
            for reader, packet in _in_order(readers):
                end = max(end, reader.stamp(packet, shift))
                packet.stream = outs[reader.source]
                self._out.mux(packet)
                count += 1
                if progress is not None and count % 100 == 0:
                    progress(end // 1_000_000_000, 0)
            self._out.close()
        except av.error.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from None
        return shift / 1e9, count, end / 1e9, [reader.statistics for reader in readers]

    def _open(self, path: Path) -> InputContainer:
        return self._open_files.enter_context(open_media(path))

    def _close(self) -> None:
        import av

        with suppress(av.error.FFmpegError, OSError):  # it failed before, or is complete
            self._out.close()

    def _new_tracks(self) -> dict[_Source, Stream]:
        """A track of the new file for each source; the first pictures and the first sound are the default ones."""
        outs: dict[_Source, Stream] = {}
        unmarked = {"pictures", "sound"}
        for source in self._sources:
            out = outs[source] = self._new_track(source.path, source.track, source.stream)
            if source.track.kind in unmarked:
                from av.stream import Disposition

                out.disposition = Disposition.default
                unmarked.discard(source.track.kind)
            self.tracks.append((source.path, source.track, source.tags["title"]))
        return outs

    def _new_track(self, path: Path, track: Track, stream: Stream) -> Stream:
        template = _plain_text_stream(self._open_files) if track.codec == MOV_TEXT else stream
        try:
            out: Stream = self._out.add_stream_from_template(template)
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{path}: its track {track.name} ({track.codec}) can't be kept as it is: {error}"
            ) from None
        return out


class _Reader:
    """The packets of a track, the first ones read ahead: pictures may be shown before those that they come after."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self._packets = packets_of(source.container, source.stream.index)
        if source.stream.codec_context.name == MOV_TEXT:
            self._packets = (plain for packet in self._packets if (plain := _plain_text(packet)) is not None)
        self._ahead = deque(islice(self._packets, READ_AHEAD))
        self.statistics = Statistics()
        self._last = -1  # decoding time of the last packet, in milliseconds
        times = [source.place(time_of(packet, source.zero_ns)) for packet in self._ahead]
        self.begin_ns = min(times, default=source.place(0))
        timeless = is_counted(source.container) or any(packet.pts is None for packet in self._ahead)
        reordered = getattr(source.stream.codec_context, "has_b_frames", False)
        pictures = source.track.kind == "pictures"
        if (pictures and is_untimed(source.container)) or (timeless and reordered):
            sound = any(track.kind == "sound" for track in tracks_of(source.container))
            better = source.path.with_suffix(".mp4" if sound else ".mkv")
            raise StorageError(
                f"{source.path} does not say when its pictures are shown, only their order in the file; "
                f"convert it first: python -m storage convert {source.path} {better}"
            )

    def __iter__(self) -> Iterator[tuple[int, Packet[Any]]]:
        """Packets, each with the time when it is due, in nanoseconds of the new file but for the common shift."""
        while self._ahead:
            packet = self._ahead.popleft()
            due: Any = packet.pts if packet.dts is None else packet.dts
            yield self._place(due, packet), packet
            self._ahead.extend(islice(self._packets, 1))

    def stamp(self, packet: Packet[Any], shift: int) -> int:
        """Give a packet its times and place in the new file; returns when it ends, in nanoseconds."""
        base = Fraction(packet.time_base) * 1_000_000_000
        shown: Any = packet.dts if packet.pts is None else packet.pts
        decoded: Any = packet.pts if packet.dts is None else packet.dts
        lasting = duration_of(packet)
        shown_ns = self._place(shown, packet) + shift
        rate = self.source.track.rate or 0
        samples = round(lasting * rate / 1e9) if base * Fraction(rate) <= 1e9 else 0  # coarser times don't tell them
        if self.source.track.kind == "labels":  # one may go on over a pause
            lasting = max(0, self.source.ended(time_of(packet, self.source.zero_ns) + lasting) + shift - shown_ns)
        # Two packets a millisecond stay in order, and so do those of a file that has its times wrong.
        decoded_ms = max(round((self._place(decoded, packet) + shift) / TICK_NS), self._last)
        packet.time_base = Fraction(TICK_NS, 1_000_000_000)
        packet.dts, packet.pts = decoded_ms, max(round(shown_ns / TICK_NS), decoded_ms)
        packet.duration = round(lasting / TICK_NS)
        self._last = decoded_ms
        self.statistics.add(packet.size, shown_ns, shown_ns + lasting, samples)
        return int(shown_ns + lasting)

    def _place(self, ticks: int, packet: Packet[Any]) -> int:
        return self.source.place(to_ns(ticks, packet.time_base) - self.source.zero_ns)


def _in_order(readers: Sequence[_Reader]) -> Iterator[tuple[_Reader, Packet[Any]]]:
    """The packets of all tracks by the time when each is due."""
    runs = [_due(number, reader) for number, reader in enumerate(readers)]
    for _, number, packet in heapq.merge(*runs, key=lambda item: item[:2]):
        yield readers[number], packet


def _due(number: int, reader: _Reader) -> Iterator[tuple[int, int, Packet[Any]]]:
    for due, packet in reader:
        yield due, number, packet


def _moved(alignment: Alignment, pauses: Pauses, shift: int, time_ns: int) -> int:
    return alignment.place(pauses.at(time_ns)) + shift


def _plain_text_stream(open_files: ExitStack) -> Any:
    """A track of plain subtitles, for those of .mp4, which Matroska has not."""
    import av

    text = io.BytesIO(b"1\n00:00:00,000 --> 00:00:01,000\n-\n")
    return open_files.enter_context(av.open(text, format="srt")).streams[0]


def _plain_text(packet: Packet[Any]) -> Packet[Any] | None:
    """A text of .mp4 without its length before it and its colours behind it; None if it is a pause."""
    from av.packet import Packet

    data = bytes(packet)
    text = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if not text:
        return None
    plain = Packet(text)
    plain.pts, plain.dts, plain.duration, plain.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    return plain


def _name(path: Path, track: Track, *, alone: bool) -> str:
    """What a track is called among others: as in its file, or after that if it has no name."""
    if any(name.lower() in ("title", "name") for name in track.tags):
        return track.name
    return printable(path.stem if alone else f"{path.stem}-{track.kind}")


def _lasting(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in tags.items() if name.lower().split("-")[0] not in OF_THE_OLD_FILE}


def _has_pictures(path: Path) -> bool:
    return any(track.kind == "pictures" for track in read_tracks(path))

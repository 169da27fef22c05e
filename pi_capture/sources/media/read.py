"""Reads the pictures of a video, stream or device through FFmpeg.

It opens a `Place`, decodes it, leaves damaged pictures out and dates the others (`pi_capture.sources.media.clock`).
`pi_capture.sources.media.source` makes frames of them.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pi_capture.errors import CameraError
from pi_capture.sources.media.clock import Clock, LiveClock
from storage.formats.movie.clock import FileClock
from storage.formats.movie.decode import decode, indexed_times, is_counted, is_untimed

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

PATIENCE_SECONDS = 5.0
DEFAULT_FPS = 30.0
HIGHEST_FPS = 10_000  # what claims more is the unit of a clock
LONGEST_DELAY = 1024  # packets that a decoder may hold
PILED_UP_PACKETS, PILED_UP_BYTES = 600, 32 << 20  # as much as FFmpeg reads ahead when it opens a stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where FFmpeg finds pictures, and what is known before they are opened.

    Attributes
    ----------
    url : str
        For FFmpeg only: it may hold a password.
    name : str
        What it is called in messages.
    form : str or None
        FFmpeg's name of the format; None to find out.
    tries : sequence of mappings
        Options to open it with; if they are refused, the next are tried.
    live : bool or None
        Whether it goes on without us; with None, it does if it has no known end.
    device : bool
        Its timestamps may be of this machine's clocks.
    patience : float or None
        Seconds to wait for it; None for files, which can always be read.
    files : int
        Of a sequence of numbered pictures, how many there are; else 0.
    """

    url: str
    name: str
    form: str | None = None
    tries: tuple[Mapping[str, str], ...] = ({},)
    live: bool | None = None
    device: bool = False
    patience: float | None = PATIENCE_SECONDS
    files: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of an open stream.

    Attributes
    ----------
    codec : str
        FFmpeg's name.
    fps : float or None
        Nominal pictures a second, if it has such a rate.
    live : bool
        Whether it goes on without us.
    """

    codec: str
    fps: float | None
    live: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture. Let go of it soon: FFmpeg uses its memory again.

    Attributes
    ----------
    image : av.VideoFrame
    timestamp_ns : int
        As `storage.frame.Frame` has it.
    lost : int
        How many before this one came damaged.
    facts : Facts
        Of the stream.
    """

    image: av.VideoFrame
    timestamp_ns: int
    lost: int
    facts: Facts


def read(place: Place) -> Generator[Picture]:
    """Open a place and read to its end. The container is closed here, after its pictures."""
    container = _open(place)
    try:
        pictures = _Reader(container, place).pictures()
        try:
            yield from pictures
        finally:
            pictures.close()
    finally:
        container.close()


def _open(place: Place) -> InputContainer:
    import av

    failure: Exception | None = None
    for options in place.tries:
        try:
            return av.open(
                place.url,
                mode="r",
                format=place.form,
                container_options=dict(options),
                metadata_errors="replace",
                timeout=place.patience,
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            failure = error
    assert failure is not None
    raise CameraError(_why_not_opened(place, failure)) from None


def _why_not_opened(place: Place, error: Exception) -> str:
    import av

    name = place.name
    if isinstance(error, av.error.ExitError | TimeoutError):
        return f"{name}: nothing came for {place.patience:g} s; check the address, and that it is switched on"
    if isinstance(error, av.error.InvalidDataError | av.error.EOFError):
        return f"{name} is not a video, or was cut off" if place.patience is None else f"{name} is not a video stream"
    if isinstance(error, av.error.ProtocolNotFoundError):
        return f"{name}: FFmpeg doesn't know this protocol here"
    if "://" in place.url and getattr(error, "errno", None) == errno.EIO:
        return f"{name} can't be reached; check the address"
    return f"can't open {name}: {_reason(error)}"


def _reason(error: Exception) -> str:
    """Return the reason without the address, as PyAV's own text has it: it may hold a password."""
    return getattr(error, "strerror", None) or type(error).__name__


class _Reader:
    """Decodes the video of a container, and dates its pictures."""

    def __init__(self, container: InputContainer, place: Place) -> None:
        self._container = container
        self._place = place
        stream = self._stream = _video_stream(container, place)
        live = not _has_an_end(container) if place.live is None else place.live
        # Such formats keep no times: FFmpeg makes them up from a nominal rate, which no live camera keeps.
        # So do its pipes: joined pictures, and YUV4MPEG.
        self._untimed = is_untimed(container) or (live and container.format.name.endswith("pipe"))
        rate = stream.guessed_rate if self._untimed else stream.average_rate or stream.guessed_rate
        fps = float(rate) if rate and 0 < rate <= HIGHEST_FPS and not (live and self._untimed) else None
        self._facts = Facts(stream.codec_context.name, fps, live)
        period_ns = round(1e9 / (fps or DEFAULT_FPS))
        self._live_clock = LiveClock(period_ns, same_machine=place.device) if live else None
        self._warned = False
        self._clock: Clock = self._live_clock or FileClock(period_ns)
        # Several threads decode as many pictures at once, and hand each out as many pictures late.
        stream.thread_type = "AUTO" if not live or (fps or 0) >= DEFAULT_FPS / 2 else "SLICE"
        self._counted = is_counted(container)
        self._indexed = indexed_times(container, stream)
        self._period_ns = period_ns
        self._own_ns: list[int | None] = [None] * LONGEST_DELAY  # of the latest packets, by their numbers
        self._arrival_ns = 0  # of the latest packet
        self._end = 0  # of all packets so far, in the stream's unit
        self._count = 0  # of them
        self._latest_packet_ns = self._latest_image_ns = -1  # of what arrived, and of what could be decoded

    def pictures(self) -> Generator[Picture]:
        import av

        lost = 0
        try:
            pictures = decode(self._numbered(), self._stream, counted=self._counted, lossy=self._facts.live)
            for number, image in pictures:
                if image is None:
                    lost += 1
                    continue
                own_ns = self._own_ns[number % LONGEST_DELAY]
                self._latest_image_ns = max(self._latest_image_ns, own_ns or 0)
                timestamp_ns = self._clock.date(own_ns, self._arrival_ns)
                self._warn_of_a_jump()
                yield Picture(image, timestamp_ns, lost, self._facts)
                del image  # else the traceback of a failure would keep it
                lost = 0
        except av.error.InvalidDataError as error:
            if self._place.patience is not None:
                raise CameraError(self._why_it_stopped(error)) from None
            lost += 1  # a file that was cut off
        except (av.error.FFmpegError, OSError) as error:
            if not (self._place.files and isinstance(error, FileNotFoundError)):  # a hole in a sequence
                raise CameraError(self._why_it_stopped(error)) from None
        if self._facts.live:
            raise CameraError(f"{self._place.name} ended: the other side closed it")
        if self._latest_image_ns >= 0:
            self._warn_of_what_is_missing(lost)

    def _warn_of_a_jump(self) -> None:
        if not self._warned and self._live_clock is not None and self._live_clock.jumped:
            self._warned = True
            log.warning("%s: its clock jumped; the times of the frames go on without a jump", self._place.name)

    def _numbered(self) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Yield packets and their numbers; the own time of each is kept for its picture."""
        number = 0
        for packet, arrival_ns in self._packets():
            if not packet.size:
                continue
            own_ns = self._own_time(packet, number)
            if own_ns is not None and not packet.is_discard:
                self._latest_packet_ns = max(self._latest_packet_ns, own_ns)
            self._own_ns[number % LONGEST_DELAY], self._arrival_ns = own_ns, arrival_ns
            self._count += 1
            yield number, packet
            number += 1

    def _packets(self) -> Iterator[tuple[Packet[VideoStream], int]]:
        """Yield packets, and when they arrived."""
        arriving = self._arriving()
        if self._live_clock is not None and not self._place.device and not self._untimed:
            yield from self._piled_up(arriving)
        yield from arriving

    def _arriving(self) -> Iterator[tuple[Packet[VideoStream], int]]:
        for packet in self._container.demux(self._stream):
            arrival_ns = time.monotonic_ns()
            self._note(packet, arrival_ns)
            yield packet, arrival_ns

    def _piled_up(
        self, arriving: Iterator[tuple[Packet[VideoStream], int]]
    ) -> Iterator[tuple[Packet[VideoStream], int]]:
        """Yield the packets that FFmpeg read to examine a stream, and the first that had to be waited for.

        They come at once, long after their time. So the clock gets all their times before the first is decoded.
        """
        import av

        packets: deque[tuple[Packet[VideoStream], int]] = deque()
        size = 0
        before: tuple[int, int] | None = None
        failure: Exception | None = None
        try:
            for packet, arrival_ns in arriving:
                packets.append((packet, arrival_ns))
                size += packet.size
                if packet.size == 0 or len(packets) >= PILED_UP_PACKETS or size >= PILED_UP_BYTES:
                    break
                if packet.dts is None:
                    continue
                own_ns = self._ns(packet.dts)
                if before is not None and arrival_ns - before[0] > (own_ns - before[1]) / 2:
                    break
                before = arrival_ns, own_ns
        except (av.error.FFmpegError, OSError) as error:
            failure = error
        while packets:
            yield packets.popleft()
        if failure is not None:
            raise failure

    def _note(self, packet: Packet[VideoStream], arrival_ns: int) -> None:
        time_in_stream = packet.dts if packet.pts is None else packet.pts
        if time_in_stream is None:
            return
        self._end = max(self._end, time_in_stream + (packet.duration or 0))
        if self._live_clock is not None and not self._untimed and packet.pts is not None:
            self._live_clock.hear(self._ns(packet.pts), arrival_ns)

    def _own_time(self, packet: Packet[VideoStream], number: int) -> int | None:
        if self._untimed:
            return None if self._facts.live else number * self._period_ns
        own = self._indexed.get(packet.pos, packet.dts) if self._counted else packet.pts
        return None if own is None else self._ns(own)

    def _ns(self, time_in_stream: int) -> int:
        return round(time_in_stream * (self._stream.time_base or Fraction(1)) * 1_000_000_000)

    def _why_it_stopped(self, error: Exception) -> str:
        import av

        name = self._place.name
        if isinstance(error, av.error.ExitError | TimeoutError):
            return f"{name}: nothing came for {self._place.patience:g} s"
        if self._place.patience is None:
            return f"{name} can't be read any further: {_reason(error)}"
        return f"{name} stopped delivering: {_reason(error)}"

    def _warn_of_what_is_missing(self, lost: int) -> None:
        """Warn at the end of a file, as no frame follows that could count the loss."""
        container, stream, name = self._container, self._stream, self._place.name
        missing_ns = 0
        if stream.duration:
            missing_ns = self._ns((stream.start_time or 0) + stream.duration - self._end)
        elif container.duration and len(container.streams) == 1:  # else the sound may be longer
            missing_ns = 1000 * ((container.start_time or 0) + container.duration) - self._ns(self._end)
        if self._count < self._place.files:
            left_out = self._place.files - self._count + lost
            log.warning("%s: its last %d pictures are left out: damaged, or behind a missing one", name, left_out)
        elif missing_ns > 2e9 / (self._facts.fps or DEFAULT_FPS):
            log.warning("%s breaks off: its last %.1f s are missing", name, missing_ns / 1e9)
        elif lost or self._latest_image_ns < self._latest_packet_ns:
            log.warning("%s breaks off: its last frames are damaged", name)


def _has_an_end(container: InputContainer) -> bool:
    """Whether a network has it as a whole, such as a file."""
    if container.format.name == "mpjpeg":  # pictures as they come: a length of all is one that a camera made up
        return False
    if container.format.name in ("hls", "dash"):  # a playlist
        return container.duration is not None
    return container.size > 0


def _video_stream(container: InputContainer, place: Place) -> VideoStream:
    from av.stream import Disposition

    if container.format.name == "tty" and place.form is None:  # FFmpeg would draw the text
        raise CameraError(f"{place.name} is text, not a video")
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:  # the cover of a piece of music
            continue
        if stream.codec_context is None:
            raise CameraError(f"{place.name}: FFmpeg has no decoder for it here")
        return stream
    raise CameraError(f"{place.name} has no picture, only sound or other data")

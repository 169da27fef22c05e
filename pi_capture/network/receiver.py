"""Frames that another machine sends while it records them (`pi_capture.network.sender`), as a source.

A frame's timestamp is on our monotonic clock (see `pi_capture.network.clock`); the sender's own is in its metadata.
For samples see `pi_capture.network.samples`. `pi_capture.sources.media.source` receives streams of FFmpeg tools.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pi_capture.errors import CameraError
from pi_capture.live.labels import checked_names
from pi_capture.network.address import SILENCE_SECONDS, Address
from pi_capture.network.clock import SenderClock
from pi_capture.network.door import introduction
from pi_capture.network.samples import Arrivals
from pi_capture.network.sender import PING
from pi_capture.network.transport import AGAIN_SECONDS, FIRST_SECONDS, TcpWay, Way
from pi_capture.samples.clock import Arrived
from pi_capture.sources import Size, Source, SourceInfo
from pi_capture.sources.media.clock import Thinner
from pi_capture.sources.pixels import RgbConverter
from storage.durable.untrusted import parse_object
from storage.formats.video.codecs import CODECS, Decoder
from storage.frame import Frame
from storage.matroska.stream import BrokenOffError, Incoming, Tracks
from storage.matroska.track import Block
from storage.tracks.sample_track import SampleTrack

PICTURES = 1  # the number of their track
PINGS_AT_FIRST, PING_SECONDS = 8, 1.0
MOST_LOST = 1_000_000  # frames at once; a sender may say anything
MOST_PIXELS = 64_000_000  # of a picture; no camera module has more
BEGIN_SECONDS = 16.0  # for the introduction and the comparison of clocks
EARLY_BYTES = 256_000_000  # of pictures that wait until the clocks are compared


def open(address: str, size: Size | None, fps: float | None) -> Source:
    """Receive what another machine sends.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT`` of a sender that waits, or ``tcp://ADDRESS:PORT?listen`` to wait for one.
    size, fps
        See `pi_capture.sources.open_source`.

    Raises
    ------
    UsageError, CameraError
        There is no sender, or it sends something else than video.
    """
    place = Address.parse(address, "--camera")
    way = TcpWay(place)
    try:
        return _open_first(place, way, size, fps)
    except BaseException:
        way.close()
        raise


def _open_first(place: Address, way: TcpWay, size: Size | None, fps: float | None) -> Source:
    """Wait for the first connection that sends video. Raises CameraError."""
    until = time.monotonic() + FIRST_SECONDS
    left = FIRST_SECONDS
    refused: CameraError | None = None
    while True:
        try:
            connection = way.meet(left, threading.Event())
        except CameraError as error:
            raise refused or error from None
        try:
            if _is_foreign(connection, place):
                return _open_foreign(connection, place, way, size, fps)
            return StreamSource(place, way, connection, size, fps)
        except CameraError as error:  # any program may have connected
            left = until - time.monotonic()
            if not place.listen or left <= 0:
                raise
            refused = error


def _is_foreign(connection: socket.socket, place: Address) -> bool:
    """Whether the stream is another program's. Raises CameraError if nothing comes that can be received."""
    try:
        return introduction(connection) is None
    except (OSError, ValueError) as error:
        connection.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise CameraError(f"{place}: {reason}; check the address, and the sender") from None


def _open_foreign(
    connection: socket.socket, place: Address, way: TcpWay, size: Size | None, fps: float | None
) -> Source:
    """Open another program's stream with FFmpeg, whose reads have no time limit of their own."""
    from pi_capture.sources.media.read import Place
    from pi_capture.sources.media.source import MediaSource

    connection.setblocking(True)
    opened = threading.Event()
    with connection:  # FFmpeg has its own copy
        watch = threading.Thread(
            target=_hang_up_for_a_sender, args=(connection, way, opened), name="opening", daemon=True
        )
        watch.start()
        try:
            options = {"fd": str(connection.fileno())}
            source = MediaSource(
                Place("fd:", str(place), tries=(options,), live=True), str(place), str(place), size, fps
            )
        except BaseException:
            _hang_up(connection)  # else a thread of FFmpeg would wait until the other side sends
            raise
        finally:
            opened.set()
            watch.join()
    way.close()
    return source


def _hang_up_for_a_sender(connection: socket.socket, way: TcpWay, opened: threading.Event) -> None:
    """End the connection as soon as a `--stream-to` connects."""
    while not opened.wait(0.1):
        if way.sender_waits():
            _hang_up(connection)
            return


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class StreamSource:
    """A sender as a camera. If the connection breaks, the sender has half a minute to come back."""

    def __init__(
        self,
        place: Address,
        way: Way,
        connection: socket.socket,
        size: Size | None,
        fps: float | None,
    ) -> None:
        self._place, self._way = place, way
        self._closed = threading.Event()
        self._clock = SenderClock()
        self._wanted = size
        self._hello: Mapping[str, Any] = {}
        self._index = self._lost = self._number = 0
        self._last_ns = -1
        self._connection = connection
        self._end: object = None  # the number of the frame that the sender would have sent next
        self._early: list[Block] = []  # came while the clocks were compared
        self._arrivals = Arrivals()
        self.heard_at = time.monotonic()
        self.classes: tuple[str, ...] = ()
        self._label: int | None = None
        self._start_label: Callable[[int | None, int], None] | None = None
        self._store_samples: Callable[[Arrived], None] | None = None
        self._say: Callable[[str], None] = lambda line: None
        try:
            self._begin()
        except _BrokenConnectionError:
            self._connection.close()
            raise CameraError(f"{self._place}: the connection broke off as it began") from None
        except BaseException:
            self._connection.close()
            raise
        facts = self._hello.get("facts")
        self._thinner = Thinner(fps) if fps is not None else None
        compared = self._clock.compared
        self.info = SourceInfo(
            camera=str(place),
            model=str(facts.get("model") or "another machine") if isinstance(facts, dict) else "another machine",
            size=self._size,
            fps=None,
            live=True,
            details={
                "sender": facts,
                "clocks": "compared" if compared else "not compared: frames are dated by when they arrive",
                "clock_offset_ns": compared.ns if compared else None,
                "clock_uncertainty_ns": compared.uncertainty_ns if compared else None,
                "codec": self._codec.name,
                "captured_size": list(self._own),
            },
        )

    @property
    def missing(self) -> int:
        """See `pi_capture.sources.Accompanied`."""
        return self._lost

    @property
    def tracks(self) -> Sequence[SampleTrack]:
        """Sensors and sound that the sender has."""
        return self._arrivals.tracks

    def give_samples_to(self, store: Callable[[Arrived], None], say: Callable[[str], None]) -> None:
        """See `pi_capture.sources.Accompanied`."""
        self._store_samples, self._say = store, say

    def give_labels_to(self, start: Callable[[int | None, int], None]) -> None:
        """See `pi_capture.sources.Accompanied`."""
        self._start_label = start

    def __iter__(self) -> Iterator[Frame]:
        while not self._closed.is_set():
            try:
                yield from self._frames()
                return
            except _BrokenConnectionError:
                if self._closed.wait(0.1):
                    return
            self._meet_again()

    def close(self) -> None:
        """Hang up; a thread that waits for a frame gets none."""
        self._closed.set()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._way.close()

    # ---------------------------------------------------------------------------------------------------- a connection

    def _meet_again(self) -> None:
        """Wait for the sender again. A connection of another program, or one that breaks at once, is passed over.

        Raises CameraError if none has come in time.
        """
        until = time.monotonic() + AGAIN_SECONDS
        self.heard_at = until  # a sender that may come back does not count as silent
        while True:
            self._connection.close()
            try:
                self._connection = self._way.meet(until - time.monotonic(), self._closed)
                self._begin()
                return
            except (_BrokenConnectionError, CameraError):
                if self._closed.is_set():
                    return
                if time.monotonic() >= until:
                    raise CameraError(f"{self._place}: the sender has vanished; what came before is safe") from None

    def _begin(self) -> None:
        """Read a sender's introduction, and compare the clocks. Raises CameraError and _BrokenConnectionError."""
        self._connection.settimeout(SILENCE_SECONDS)
        self._until = time.monotonic() + BEGIN_SECONDS
        self._incoming = Incoming(self._receive)
        self._clock.begin()
        self._early.clear()
        self._early_bytes = 0
        self._ended = False  # before the clocks were compared
        self._next_ping = 0.0
        try:
            tracks = self._next()
            hello = self._next()
            if not isinstance(tracks, Tracks) or not isinstance(hello, dict):
                raise ValueError("no tracks")
            if self._hello and machine_of(hello) != machine_of(self._hello):
                raise ValueError("another machine than at first")
            track = tracks.tracks[PICTURES]
            self._codec = next(codec for codec in CODECS if codec.track == track.codec and codec.name == hello["codec"])
            if track.size is None or not 0 < track.size[0] * track.size[1] <= MOST_PIXELS:
                raise ValueError("pictures of an impossible size")
            self._own = track.size
            self._connect_labels(hello, first=not self._hello)
            self._hello = hello
            if left_out := self._arrivals.connect(tracks.tracks, hello):
                self._say(f"{self._place}: not kept, as they were not there at first: {', '.join(left_out)}")
            self._incoming.most = 1_000_000 + 4 * track.size[0] * track.size[1]
            self._decoder = Decoder(self._codec, track.size, track.private, threads=os.cpu_count() or 1)
            self._size = self._wanted or track.size
            self._converter = RgbConverter(self._size)
            self._compare_clocks()
            self._until = float("inf")
            self.heard_at = time.monotonic()
        except (ValueError, KeyError, StopIteration) as error:
            raise CameraError(f"{self._place} is no stream that can be received ({error})") from None

    def _connect_labels(self, hello: Mapping[str, Any], *, first: bool) -> None:
        """Take the classes of this connection's labels. Raises ValueError."""
        names = hello.get("classes")
        classes = checked_names(tuple(map(str, names))) if isinstance(names, list) and names else ()
        self.classes = classes if first else self.classes
        self._labelled = bool(classes) and classes == self.classes
        if classes and not self._labelled:
            self._say(f"{self._place}: labels are not kept: their classes are not those of the beginning")

    def _compare_clocks(self) -> None:
        """Ask for the time a few times; frames that come meanwhile are kept."""
        for _ in range(PINGS_AT_FIRST):
            self._ping()
            before = self._clock.answers
            while self._clock.answers == before:
                if not self._receive_early():
                    return
                if self._early_bytes > EARLY_BYTES:
                    raise ValueError("it does not tell the time")

    def _receive_early(self) -> bool:
        """Keep the next block for later; False if there will be none."""
        element = self._next()
        if isinstance(element, Block):
            self._early.append(element)
            self._early_bytes += len(element.data)
        elif element is not None and not isinstance(element, Tracks):
            self._ended = not self._read_note(element)
        return element is not None and not self._ended

    def _ping(self) -> None:
        self._next_ping = time.monotonic() + PING_SECONDS
        with suppress(OSError):  # who sent all has hung up, perhaps, before all is read
            self._connection.sendall(PING.pack(b"PING", time.monotonic_ns()))

    def _read_note(self, note: Mapping[str, Any]) -> bool:
        """Read a note of the sender. Returns False if it is the end."""
        self._clock.add_answer(note)
        self._end = note.get("end")
        return "end" not in note

    def _count_lost(self, number: object) -> None:
        """Count the frames as lost that should have come before that number."""
        if type(number) is int and self._index:
            self._lost += max(0, min(number - self._number, MOST_LOST))

    def _frames(self) -> Iterator[Frame]:
        early, self._early = self._early, []
        for block in early:
            yield from self._block(block)
        while not self._ended and (element := self._next()) is not None:
            if time.monotonic() >= self._next_ping:
                self._ping()
            if isinstance(element, Block):
                yield from self._block(element)
            elif isinstance(element, Tracks):
                return
            else:
                self._ended = not self._read_note(element)
        if not self._ended:
            raise _BrokenConnectionError
        self._count_lost(self._end)

    def _block(self, block: Block) -> Iterator[Frame]:
        if block.track == PICTURES:
            yield from self._frame(block)
        elif self._store_samples is not None:
            offset = self._clock.offset_ns
            try:
                arrived = self._arrivals.receive(block, offset) if offset is not None else None
            except ValueError as error:
                raise CameraError(f"{self._place}: damaged samples came ({error}); what came before is safe") from None
            if arrived is not None:
                self._store_samples(arrived)

    def _frame(self, block: Block) -> Iterator[Frame]:
        """Yield the frame of a packet, unless the wanted rate leaves it out."""
        try:
            picture = self._decoder.decode(block.data)
            facts = parse_object(block.facts)
            sent_ns, number, metadata = facts["timestamp_ns"], facts["number"], dict(facts["metadata"])
            label = facts.get("label") if self._labelled else None
            if type(sent_ns) is not int or type(number) is not int or abs(sent_ns) >= 1 << 62 or number < 0:
                raise ValueError("impossible numbers")
            if label is not None and (type(label) is not int or not 0 <= label < len(self.classes)):
                raise ValueError("a label of no class")
        except (ValueError, KeyError, TypeError) as error:
            raise CameraError(f"{self._place}: a damaged picture came ({error}); what came before it is safe") from None
        self._count_lost(number)
        self._number = number + 1
        metadata.pop("dropped_queue", None)
        lost_there = metadata.pop("dropped_camera", 0)
        self._lost += lost_there if type(lost_there) is int and 0 <= lost_there < MOST_LOST else 0
        compared = self._clock.compared
        offset = compared.ns if compared is not None else self._clock.add_arrival(sent_ns)
        timestamp_ns = max(sent_ns - offset, self._last_ns + 1)
        if self._thinner is not None and not self._thinner.takes(timestamp_ns):
            return
        self._last_ns = timestamp_ns
        if label != self._label and self._start_label is not None:
            self._label = label
            self._start_label(label, timestamp_ns)
        metadata |= {"dropped_camera": self._lost} if self._lost else {}
        metadata["sender_timestamp_ns"] = sent_ns
        if compared is not None:
            metadata |= {"clock_offset_ns": compared.ns, "clock_uncertainty_ns": compared.uncertainty_ns}
        frame = Frame(self._converter.to_rgb(picture), self._index, timestamp_ns, metadata)
        self._index, self._lost = self._index + 1, 0
        yield frame

    def _next(self) -> Any:
        try:
            return self._incoming.next()
        except (OSError, BrokenOffError):
            raise _BrokenConnectionError from None
        except ValueError as error:
            raise CameraError(f"{self._place}: what came is not a stream ({error})") from None

    def _receive(self, count: int) -> bytes:
        """Read so many bytes; fewer at the end."""
        data, asked = bytearray(), False
        while len(data) < count:
            if time.monotonic() > self._until:
                raise TimeoutError("it took too long to begin")
            try:
                more = self._connection.recv(min(count - len(data), 1 << 20))
            except TimeoutError:
                if asked or self._closed.is_set():
                    raise
                self._ping()  # a slow camera's sender answers, one that has vanished does not
                asked = True
                continue
            if not more:
                break
            self.heard_at = max(self.heard_at, time.monotonic())
            data += more
        return bytes(data)


def machine_of(hello: Mapping[str, Any]) -> object:
    """Return the token of a sender's machine."""
    facts = hello.get("facts")
    return facts.get("machine") if isinstance(facts, dict) else None


class _BrokenConnectionError(Exception):
    """The connection ended before the sender said so."""

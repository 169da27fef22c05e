"""Send frames to another machine while they are recorded here. The recording never waits for that.

Live labels go with their frames, samples of sensors and sound beside them (`pi_capture.network.samples`). Frames that
the connection can't take are dropped and counted. A broken connection is made again. The stream, which any FFmpeg tool
reads as well, is described in `storage.matroska.stream`; for its receiver see `pi_capture.network.receiver`.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pi_capture.errors import UsageError
from pi_capture.network.address import SILENCE_SECONDS, Address, connect_to
from pi_capture.network.door import Door
from pi_capture.network.samples import Outgoing
from pi_capture.network.tls import check_identity
from pi_capture.recording.machine import machine_token
from pi_capture.redact import public

if TYPE_CHECKING:
    from pi_capture.live.labels import LiveLabels
    from pi_capture.network.samples import Waiting
    from pi_capture.samples.clock import Dated
    from storage.formats.video.codecs import Codec
    from storage.frame import Frame
    from storage.tracks.sample_track import SampleTrack

QUEUE_BYTES, QUEUE_FRAMES = 32_000_000, (4, 256)
SEND_BUFFER_BYTES = 512 * 1024  # more would be late, and make the comparison of clocks less exact
BACKOFF_SECONDS = (0.5, 8.0)
FLUSH_SECONDS = 3.0  # at the end, for a receiver that takes nothing of the last frames, …
MOST_FLUSH_SECONDS = 30.0  # … and for one that does
KEY_SECONDS = 1.0
SAMPLES_SECONDS = 0.2  # that samples wait for a frame to go with
SENT_FACTS = ("host", "camera", "boot_id", "started", "wall_minus_monotonic_ns")
"""The facts of the recording that are sent."""
PING = struct.Struct(">4sQ")
"""A receiver's question for the time: ``PING``, and its own time in nanoseconds."""


class Sender:
    """Sends frames to an address.

    Those of `facts` that `SENT_FACTS` names go to the receiver, without secrets. `say` is called from another thread
    when a connection begins and ends. `labels` are the live labels of the recording.

    Raises
    ------
    CameraError
        The address can't be listened at.
    UsageError
        There is no such codec.
    """

    def __init__(
        self,
        address: Address,
        facts: Mapping[str, Any],
        say: Callable[[str], None],
        labels: LiveLabels | None = None,
    ) -> None:
        from storage.errors import StorageError
        from storage.formats.video.codecs import find_codec

        try:
            self._codec: Codec = find_codec(address.codec)
        except StorageError as error:
            raise UsageError(f"--stream-to: {error}") from None
        self._address, self._say, self._labels = address, say, labels
        sent = public({name: facts[name] for name in SENT_FACTS if name in facts})
        # By these a receiver recognises a sender that comes back, and one that was started again.
        self._facts = {**sent, "sender": secrets.token_hex(8), "machine": machine_token()}
        if address.identity:
            check_identity(address.identity)
        self._door = Door(address, say, asks=False) if address.listen else None
        self._queue: deque[tuple[int, Frame]] = deque()
        self.samples = Outgoing()
        self._ready = threading.Condition()
        self._connected = self._over = False
        self._offered = self.sent = self.dropped = 0  # frames; `sent` went into a connection
        self._moved = 0  # grows while the receiver takes something, or asks
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="send", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame) -> None:
        """Send a frame if there is a connection with room for it. Returns at once."""
        fewest, most = QUEUE_FRAMES
        with self._ready:
            number, self._offered = self._offered, self._offered + 1
            if not self._connected or len(self._queue) >= max(fewest, min(most, QUEUE_BYTES // frame.pixels.nbytes)):
                self.dropped += 1
                return
            self._queue.append((number, frame))
            self._ready.notify()

    def begin_samples(self, tracks: Sequence[SampleTrack]) -> None:
        """Expect samples of these tracks; called before the first frame."""
        with self._ready:
            self.samples.begin(tracks)

    def offer_samples(self, name: str, piece: Dated) -> None:
        """Send samples as `offer` sends frames. A pause only moves the number of the next sample."""
        with self._ready:
            self.samples.put(name, piece, connected=self._connected)

    def close(self) -> None:
        """Send what still waits, as long as the receiver takes it, and end."""
        with self._ready:
            self._over = True
            self._ready.notify()
        until, moved = time.monotonic() + MOST_FLUSH_SECONDS, -1
        while self._thread.is_alive() and moved != self._moved and time.monotonic() < until:
            moved = self._moved
            self._thread.join(FLUSH_SECONDS)
        if self._thread.is_alive() and self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            self._thread.join(FLUSH_SECONDS)
        if self._door is not None:
            self._door.close()
        with self._ready:
            self.dropped += len(self._queue)
            self._queue.clear()

    # ------------------------------------------------------------------------------------------------- its own thread

    def _run(self) -> None:
        wait, said = BACKOFF_SECONDS[0], ""
        while not self._over:
            try:
                connection = self._connect()
                if connection is None:
                    continue
            except OSError as error:
                reason = error.strerror or str(error)
                if reason != said:
                    self._say(f"--stream-to {self._address}: {reason}; the recording goes on, and this is tried again")
                said = reason
                self._pause(wait)
                wait = min(2 * wait, BACKOFF_SECONDS[1])
                continue
            wait, said = BACKOFF_SECONDS[0], ""
            self._say(f"--stream-to {self._address}: connected")
            before = self._offered - self.sent
            try:
                with connection:
                    self._connection = connection
                    self._serve(connection)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error) or "it broke off"
                if not self._over:
                    lost = self._offered - self.sent - before
                    more = f", {lost} frames were dropped on the wire" if lost else ""
                    self._say(f"--stream-to {self._address}: connection lost ({reason}){more}; the recording goes on")
            finally:
                with self._ready:
                    self._connected = False
                    self._queue.clear()
                    self.dropped = self._offered - self.sent  # with the frame that broke off
                    self.samples.clear()
                self._connection = None
            self._pause(wait)

    def _pause(self, seconds: float) -> None:
        with self._ready:
            self._ready.wait_for(lambda: self._over, seconds)

    def _connect(self) -> socket.socket | None:
        if self._door is None:
            return connect_to(self._address, SILENCE_SECONDS)
        visitor = self._door.next()
        return None if visitor is None else visitor.connection

    def _serve(self, connection: socket.socket) -> None:
        """Send frames and samples until the recording or the connection ends."""
        from storage.matroska.stream import note

        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        connection.settimeout(SILENCE_SECONDS)
        writing = threading.Lock()
        with self._ready:
            self._connected = True
        stream: _Stream | None = None
        while (item := self._next_item(begun=stream is not None)) is not None:
            queued, waiting = item
            data = b""
            begins = stream is None
            if queued is not None:
                if stream is None:
                    stream = _Stream(self._codec, queued[1], self.samples, self._labels)
                data = stream.picture(*queued)
                if begins:
                    data = stream.opening({"facts": dict(self._facts), "codec": self._codec.name}) + data
            assert stream is not None
            more, count = stream.samples_bytes(waiting)
            with writing:
                connection.sendall(data + more)
            self._moved += 1
            self.sent += queued is not None
            self.samples.sent += count
            if begins:
                threading.Thread(target=answer, args=(connection, writing), name="answer", daemon=True).start()
        with writing, suppress(OSError):
            connection.sendall(note({"end": self._offered}))
            connection.shutdown(socket.SHUT_WR)
            # The receiver hangs up when it has read all. To close before that resets the connection if a question for
            # the time is unread, and what has not gone out is lost.
            while connection.recv(4096):
                self._moved += 1

    def _next_item(self, *, begun: bool) -> tuple[tuple[int, Frame] | None, list[Waiting]] | None:
        """The next frame and all samples, which come with it or alone; None when the recording has ended.

        A stream begins with a frame.
        """
        with self._ready:
            while not self._queue:
                if self._over and not (begun and self.samples.any):
                    return None
                if self._over or (not self._ready.wait(SAMPLES_SECONDS) and begun and self.samples.any):
                    return None, self.samples.pop_all()
            return self._queue.popleft(), self.samples.pop_all()


class _Stream:
    """The bytes that go over one connection. Their time begins with the first frame."""

    def __init__(self, codec: Codec, first: Frame, samples: Outgoing, labels: LiveLabels | None) -> None:
        from storage.formats.video.codecs import Encoder

        self._codec, self._samples, self._labels = codec, samples, labels
        self._size = first.pixels.shape[1], first.pixels.shape[0]
        self._encoder = Encoder(codec, self._size, None, threads=1 if codec.intra else os.cpu_count() or 1)
        self._origin_ns, self._last, self._key_at = first.timestamp_ns, -1, -(1 << 62)
        self._last_samples: dict[int, int] = {}

    def opening(self, hello: Mapping[str, Any]) -> bytes:
        """Return what a stream begins with; to be called when the first picture is encoded."""
        from storage.matroska.stream import note, opening
        from storage.matroska.track import VIDEO_TRACK, Track

        rgb = self._codec.pixel_format == "bgr0"
        pictures = Track(1, VIDEO_TRACK, self._codec.track, self._encoder.private, "camera", self._size, rgb)
        classes = {"classes": self._labels.names} if self._labels is not None else {}
        described = {**hello, **classes, "tracks": self._samples.described()}
        return opening([pictures, *self._samples.entries()]) + note(described)

    def picture(self, number: int, frame: Frame) -> bytes:
        from storage.matroska.elements import cluster_bytes
        from storage.matroska.track import Block

        time_us = max((frame.timestamp_ns - self._origin_ns) // 1000, self._last + 1)
        key = self._codec.intra or time_us - self._key_at >= KEY_SECONDS * 1e6
        self._key_at = time_us if key else self._key_at
        packet = self._encoder.encode(frame.pixels, key=key)
        facts = {"timestamp_ns": frame.timestamp_ns, "metadata": dict(frame.metadata), "number": number}
        if self._labels is not None:
            facts["label"] = self._labels.label_at(frame.timestamp_ns)
        since = 0 if key else time_us - self._last
        self._last = time_us
        return cluster_bytes(Block(1, time_us, packet, json.dumps(facts).encode(), since_reference=since))

    def samples_bytes(self, waiting: Sequence[Waiting]) -> tuple[bytes, int]:
        """Return samples as bytes, and how many they are."""
        from storage.matroska.elements import cluster_bytes

        found = list(self._samples.blocks(waiting, self._origin_ns, self._last_samples))
        return b"".join(cluster_bytes(block) for block, _ in found), sum(count for _, count in found)


def answer(connection: socket.socket, writing: threading.Lock) -> None:
    """Answer a receiver that asks for the time. Hang up if it sends anything else."""
    from storage.matroska.stream import note

    data = b""
    try:
        while True:
            try:
                more = connection.recv(4096)
            except TimeoutError:
                continue  # an FFmpeg tool never asks
            if not more:
                return
            came = time.monotonic_ns()
            data += more
            while len(data) >= PING.size:
                mark, asked = PING.unpack_from(data)
                data = data[PING.size :]
                if mark != b"PING":
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                with writing:
                    connection.sendall(note({"asked": asked, "came": came, "answered": time.monotonic_ns()}))
    except OSError:
        return

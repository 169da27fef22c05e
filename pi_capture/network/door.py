"""Who connects is met at the door: each in a thread of its own, with a deadline, and heard out up to a bound.

A client that is silent, slow or wrong does not delay the others.
"""

from __future__ import annotations

import io
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pi_capture.network.address import SILENCE_SECONDS, Address, listen_at, prepare
from pi_capture.network.tls import secure
from pi_capture.redact import public
from storage.matroska.stream import BrokenOffError, Incoming, Tracks, is_ours

FRONT_BYTES = 64 * 1024  # more than a stream's first words take
OPENING_BYTES = 512  # of which ours can be told
MOST_STRANGERS = 8  # who are listened to at a time; the first of them goes when one more comes
TELL_SECONDS = 10.0  # between lines about strangers
ACCEPT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who was met: its connection, of which all is still to be read, and what a sender says of itself.

    `facts` is None for a stream of another program, and empty where nothing was asked.
    """

    connection: socket.socket
    facts: Mapping[str, Any] | None


class Door:
    """Waits for connections at an address. Raises CameraError if it can't.

    Parameters
    ----------
    place : Address
    say : callable, optional
        Told of strangers, not too often.
    asks : bool
        Whether who comes has to say who it is; a receiver doesn't.
    """

    def __init__(self, place: Address, say: Callable[[str], None] = lambda line: None, *, asks: bool = True) -> None:
        self._place, self._say, self._asks = place, say, asks
        self._listener = listen_at(place)
        self._listener.settimeout(ACCEPT_SECONDS)
        self._lock = threading.Lock()
        self._meeting: list[socket.socket] = []
        self._met: queue.SimpleQueue[Visitor] = queue.SimpleQueue()
        self._closed = False
        self._told = -TELL_SECONDS
        self.complaint = ""
        """Why the last one who came was sent away."""

    def next(self) -> Visitor | None:
        """Who was met; None if nobody was for a moment. Raises OSError if connections can't be taken."""
        with suppress(queue.Empty):
            return self._met.get_nowait()
        with suppress(TimeoutError, ConnectionError):
            self._meet(self._listener.accept()[0])
        with suppress(queue.Empty):
            return self._met.get_nowait()
        return None

    def close(self) -> None:
        """Accept no more clients."""
        self._listener.close()
        with self._lock:
            self._closed = True
            for connection in self._meeting:
                _shut(connection)
        with suppress(queue.Empty):
            while True:
                self._met.get_nowait().connection.close()

    def send_away(self, reason: str) -> None:
        """Tell of somebody who was."""
        self.complaint = reason
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            self._say(f"{self._place}: hung up on {reason}")

    def _meet(self, connection: socket.socket) -> None:
        with self._lock:
            while len(self._meeting) >= MOST_STRANGERS:
                _shut(self._meeting.pop(0))
            self._meeting.append(connection)
        threading.Thread(target=self._hear, args=(connection,), name="meet", daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        heard = connection
        try:
            prepare(connection)
            if self._place.identity:
                heard = secure(connection, self._place.identity, server=True, seconds=SILENCE_SECONDS)
            visitor = Visitor(heard, introduction(heard) if self._asks else {})
        except (OSError, ValueError) as error:
            heard.close()
            connection.close()
            reason = getattr(error, "strerror", None) or str(error) or "it broke off"
            if not self._closed:
                self.send_away(f"a program that is no --stream-to ({reason})")
            return
        finally:
            with self._lock, suppress(ValueError):
                self._meeting.remove(connection)
        self._met.put(visitor)
        if self._closed:
            heard.close()


def introduction(connection: socket.socket) -> dict[str, Any] | None:
    """What a sender says of itself, None if something else comes; all that was sent stays to be read.

    Raises
    ------
    ValueError, OSError
        Nothing came, not all in time, or too much.
    """
    until = time.monotonic() + SILENCE_SECONDS
    known = -1
    while (left := until - time.monotonic()) > 0:
        connection.settimeout(left)
        front = connection.recv(FRONT_BYTES, socket.MSG_PEEK)
        if len(front) == known:
            time.sleep(0.05)
            continue
        known = len(front)
        if not front:
            raise ValueError("nothing came")
        if not is_ours(front) and (known >= OPENING_BYTES or front[:4] != b"\x1a\x45\xdf\xa3"[:known]):
            return None
        incoming = Incoming(io.BytesIO(front).read)
        try:
            tracks, hello = incoming.next(), incoming.next()
        except BrokenOffError:
            tracks = hello = None
        if tracks is None or hello is None:
            if known >= FRONT_BYTES:
                raise ValueError("it says too much of itself")
            continue
        facts = hello.get("facts") if isinstance(hello, Mapping) else None
        if not isinstance(tracks, Tracks) or not isinstance(facts, dict):
            raise ValueError("it says nothing of itself")
        told: dict[str, Any] = public(facts)
        return told
    raise TimeoutError(0, f"nothing came for {SILENCE_SECONDS:.0f} s")


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)

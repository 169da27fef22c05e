"""Accept connections: each is checked in a thread of its own, with a deadline and a bound in bytes.

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

FRONT_BYTES = 64 * 1024  # more than the introduction of a stream takes
OPENING_BYTES = 512  # by which our stream is recognised
MOST_UNCHECKED = 8  # connections that are checked at a time; one more closes the oldest
REPORT_SECONDS = 10.0  # between lines about refused connections
ACCEPT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client: its connection, of which nothing has been read, and the facts in a sender's introduction.

    `facts` is None for a stream of another program, and empty if no introduction was asked for.
    """

    connection: socket.socket
    facts: Mapping[str, Any] | None


class Door:
    """Accepts connections at an address. Raises CameraError if it can't.

    `say` is called now and then with a line about a refused connection. With `asks`, a client must introduce itself: a
    sender does, a receiver doesn't.
    """

    def __init__(self, place: Address, say: Callable[[str], None] = lambda line: None, *, asks: bool = True) -> None:
        self._place, self._say, self._asks = place, say, asks
        self._listener = listen_at(place)
        self._listener.settimeout(ACCEPT_SECONDS)
        self._lock = threading.Lock()
        self._checking: list[socket.socket] = []
        self._checked: queue.SimpleQueue[Visitor] = queue.SimpleQueue()
        self._closed = False
        self._reported_at = -REPORT_SECONDS
        self.complaint = ""
        """Why the last connection was refused."""

    def next(self) -> Visitor | None:
        """Return the next client; None if none came for a moment. Raises OSError if none can be accepted."""
        with suppress(queue.Empty):
            return self._checked.get_nowait()
        with suppress(TimeoutError, ConnectionError):
            self._accept(self._listener.accept()[0])
        with suppress(queue.Empty):
            return self._checked.get_nowait()
        return None

    def close(self) -> None:
        """Accept no more clients."""
        self._listener.close()
        with self._lock:
            self._closed = True
            for connection in self._checking:
                _shut(connection)
        with suppress(queue.Empty):
            while True:
                self._checked.get_nowait().connection.close()

    def refuse(self, reason: str) -> None:
        """Report a connection that was refused, at most every `REPORT_SECONDS`."""
        self.complaint = reason
        if time.monotonic() - self._reported_at >= REPORT_SECONDS:
            self._reported_at = time.monotonic()
            self._say(f"{self._place}: hung up on {reason}")

    def _accept(self, connection: socket.socket) -> None:
        with self._lock:
            while len(self._checking) >= MOST_UNCHECKED:
                _shut(self._checking.pop(0))
            self._checking.append(connection)
        threading.Thread(target=self._check, args=(connection,), name="meet", daemon=True).start()

    def _check(self, connection: socket.socket) -> None:
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
            if not self._closed and self._place.identity and heard is connection:
                self.refuse(f"one without this identity ({reason}); both need the same file as --identity")
            elif not self._closed:
                self.refuse(f"a program that is no --stream-to ({reason})")
            return
        finally:
            with self._lock, suppress(ValueError):
                self._checking.remove(connection)
        self._checked.put(visitor)
        if self._closed:
            heard.close()


def introduction(connection: socket.socket) -> dict[str, Any] | None:
    """Return the facts of a sender, None for another stream. Nothing is taken from the connection.

    Raises
    ------
    ValueError, OSError
        Nothing came, not all in time, or too much.
    """
    until = time.monotonic() + SILENCE_SECONDS
    known, front = -1, b""
    while (left := until - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            front = connection.recv(FRONT_BYTES, socket.MSG_PEEK)
        except TimeoutError:
            break
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
        shown: dict[str, Any] = public(facts)
        return shown
    if front and not is_ours(front):  # slower than a sender
        return None
    raise TimeoutError(0, f"nothing came for {SILENCE_SECONDS:.0f} s")


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)

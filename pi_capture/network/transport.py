"""How a receiver gets the connection to a sender, over TCP or TLS."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from typing import Protocol

from pi_capture.errors import CameraError
from pi_capture.network.address import SILENCE_SECONDS, Address, connect_to
from pi_capture.network.door import Door, Visitor
from pi_capture.network.tls import check_identity

log = logging.getLogger(__name__)

FIRST_SECONDS = 60.0  # to wait for a sender at the beginning
AGAIN_SECONDS = 30.0  # for one that was connected before


class Way(Protocol):
    """How to get a connection to a sender, at first and after a break."""

    def meet(self, seconds: float, closed: threading.Event) -> socket.socket:
        """Return a connection to the sender, within so many seconds. Raises CameraError."""

    def close(self) -> None:
        """Stop waiting for clients."""


class TcpWay:
    """Over TCP or TLS: wait for a connection, or make one."""

    def __init__(self, place: Address) -> None:
        self._place = place
        if place.identity:
            check_identity(place.identity)
        self._door = Door(place, lambda line: log.warning("%s", line)) if place.listen else None
        self._waiting: list[Visitor] = []

    def meet(self, seconds: float, closed: threading.Event) -> socket.socket:
        if self._door is None:
            return _connect(self._place, seconds, closed)
        until = time.monotonic() + seconds
        reason = "no sender connected"
        while time.monotonic() < until and not closed.is_set():
            try:
                if (visitor := self._door.next()) is not None:
                    self._waiting.append(visitor)
                if self._waiting:
                    first = min(self._waiting, key=lambda visitor: visitor.facts is None)
                    self._waiting.remove(first)
                    return first.connection
            except OSError as error:
                reason = error.strerror or str(error)
                closed.wait(0.5)
        reason = self._door.complaint or reason
        start = f"python -m pi_capture DIRECTORY -1 --stream-to {self._place.scheme}://…"
        raise CameraError(f"{self._place}: {reason}; start the sender: {start}")

    def sender_waits(self) -> bool:
        """Whether a sender has connected meanwhile; `meet` returns its connection before any other."""
        with suppress(OSError):
            if self._door is not None and (visitor := self._door.next()) is not None:
                self._waiting.append(visitor)
        return any(visitor.facts is not None for visitor in self._waiting)

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
        for visitor in self._waiting:
            visitor.connection.close()


def _connect(place: Address, seconds: float, closed: threading.Event) -> socket.socket:
    """Return a connection to a sender that waits. Raises CameraError."""
    until = time.monotonic() + seconds
    reason = "no answer"
    while time.monotonic() < until and not closed.is_set():
        try:
            return connect_to(place, SILENCE_SECONDS)
        except socket.gaierror:
            raise CameraError(f"{place} can't be reached; check the address") from None
        except TimeoutError:
            continue
        except OSError as error:
            reason = error.strerror or str(error)
            if seconds == FIRST_SECONDS:
                break
            closed.wait(0.5)
    raise CameraError(f"{place} can't be reached ({reason}); check the address, and whether the sender runs")

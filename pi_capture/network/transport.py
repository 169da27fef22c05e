"""How a receiver gets the connection to a sender: over TCP or TLS, or through the program that speaks SRT."""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Protocol

from pi_capture.errors import CameraError
from pi_capture.network.address import SILENCE_SECONDS, Address, connect_to
from pi_capture.network.door import Door
from pi_capture.network.srt import Relay, check_program
from pi_capture.network.tls import check_identity

FIRST_SECONDS = 60.0  # to wait for a sender at the beginning
AGAIN_SECONDS = 30.0  # for one that was connected before


class Way(Protocol):
    """How to get a connection to a sender, at first and after a break.

    `answers` tells whether the sender can be asked for the time.
    """

    @property
    def answers(self) -> bool: ...
    def meet(self, seconds: float, closed: threading.Event) -> socket.socket:
        """Return a connection to the sender, within so many seconds. Raises CameraError."""

    def close(self) -> None:
        """Stop waiting for clients."""


class TcpWay:
    """Over TCP or TLS: wait for a connection, or make one."""

    answers = True

    def __init__(self, place: Address) -> None:
        self._place = place
        if place.identity:
            check_identity(place.identity)
        self._door = Door(place) if place.listen else None

    def meet(self, seconds: float, closed: threading.Event) -> socket.socket:
        if self._door is None:
            return _connect(self._place, seconds, closed)
        until = time.monotonic() + seconds
        reason = "nobody connected"
        while time.monotonic() < until and not closed.is_set():
            try:
                if (visitor := self._door.next()) is not None:
                    return visitor.connection
            except OSError as error:
                reason = error.strerror or str(error)
                closed.wait(0.5)
        reason = self._door.complaint or reason
        start = f"python -m pi_capture DIRECTORY -1 --stream-to {self._place.scheme}://…"
        raise CameraError(f"{self._place}: {reason}; start the sender: {start}")

    def close(self) -> None:
        if self._door is not None:
            self._door.close()


class SrtWay:
    """Through the program that speaks SRT: a new one for each connection."""

    answers = False

    def __init__(self, place: Address) -> None:
        check_program()
        self._place = place
        self._relay: Relay | None = None

    def meet(self, seconds: float, closed: threading.Event) -> socket.socket:
        until = time.monotonic() + seconds
        reason = "nobody connected"
        while time.monotonic() < until and not closed.is_set():
            self.close()
            self._relay = relay = Relay(self._place, sending=False)
            while time.monotonic() < until and not closed.is_set():
                if select.select([relay.connection], [], [], 0.25)[0]:
                    if relay.connection.recv(1, socket.MSG_PEEK):
                        return relay.connection
                    break
            reason = "nobody connected" if relay.nobody_came and self._place.listen else relay.complaint() or reason
            if not self._place.listen and seconds == FIRST_SECONDS:
                raise CameraError(f"{self._place} can't be reached ({reason}); check the address, and the sender")
            closed.wait(0.5)
        raise CameraError(f"{self._place}: {reason}; check the address, and the sender")

    def close(self) -> None:
        if self._relay is not None:
            self._relay.close()


def _connect(place: Address, seconds: float, closed: threading.Event) -> socket.socket:
    """A connection to a sender that waits. Raises CameraError."""
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

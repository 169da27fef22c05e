"""How a sender is met: over TCP, or through the program that speaks SRT. What it then says is `stream`'s business."""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Protocol

from pi_capture.errors import CameraError
from pi_capture.network.address import SILENCE_SECONDS, Address, connect_to, listen_at, prepare
from pi_capture.network.srt import Relay, check_program

FIRST_SECONDS = 60.0  # to wait for a sender at the beginning
AGAIN_SECONDS = 30.0  # for one that was there


class Way(Protocol):
    """How a sender is met, and met again after a connection broke off.

    `answers` is whether it can be asked for the time: whether anything goes back to it.
    """

    @property
    def answers(self) -> bool: ...
    def meet(self, seconds: float, closed: threading.Event) -> socket.socket:
        """A connection to the sender, who may take so long. Raises CameraError."""

    def close(self) -> None:
        """Wait for nobody any more."""


class TcpWay:
    """Over TCP: its own socket waits, or it connects."""

    answers = True

    def __init__(self, place: Address) -> None:
        self._place = place
        self._listener = listen_at(place) if place.listen else None

    def meet(self, seconds: float, closed: threading.Event) -> socket.socket:
        return _meet(self._place, self._listener, seconds, closed)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()


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


def _meet(place: Address, listener: socket.socket | None, seconds: float, closed: threading.Event) -> socket.socket:
    """A connection to the sender, who may take some time. Raises CameraError."""
    until = time.monotonic() + seconds
    reason = "nobody connected"
    failure: OSError | None = None
    while time.monotonic() < until and not closed.is_set():
        try:
            connection = listener.accept()[0] if listener is not None else connect_to(place, SILENCE_SECONDS)
            prepare(connection)
            return connection
        except TimeoutError:
            continue
        except OSError as error:
            reason, failure = error.strerror or str(error), error
            if isinstance(error, socket.gaierror) or seconds == FIRST_SECONDS:
                break
            closed.wait(0.5)
    if isinstance(failure, socket.gaierror):
        raise CameraError(f"{place} can't be reached; check the address")
    if listener is None:
        raise CameraError(f"{place} can't be reached ({reason}); check the address, and whether the sender runs")
    raise CameraError(f"{place}: {reason}; start the sender: python -m pi_capture DIRECTORY -1 --stream-to tcp://…")

"""Connections of browsers, bounded: nobody keeps others out by opening many, or by never asking anything.

uvicorn counts connections, but waits for ever for the first request of one. Those that are still agreeing about TLS it
does not see at all; asyncio keeps 0.3 MB for each, and gives it a minute.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

from h11 import LocalProtocolError
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 128
HEAD_SECONDS = 10.0
"""What a client may take to say what it wants."""


_arriving: dict[int, socket.socket] = {}
"""Accepted connections that are not a protocol's yet, by file descriptor, the longest waiting first."""


class BoundedListener(socket.socket):
    """A socket that listens; of too many connections that only begin, the oldest is ended."""

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        _arriving.pop(connection.fileno(), None)  # one that has ended since had the same number
        _arriving[connection.fileno()] = connection
        if len(_arriving) > MOST_CONNECTIONS:
            oldest = _arriving.pop(next(iter(_arriving)))
            with suppress(OSError):  # it has ended already
                oldest.shutdown(socket.SHUT_RDWR)  # asyncio closes it
        return connection, address


class BoundedProtocol(H11Protocol):
    """A connection that is closed if no request comes in time, or if it is the longest idle one of too many."""

    _head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # uvloop's say so too
        super().connection_made(transport)
        _arriving.pop(transport.get_extra_info("socket").fileno(), None)
        self._await_head()
        others = [
            one for one in self.connections if isinstance(one, BoundedProtocol) and not one.transport.is_closing()
        ]
        if len(others) > MOST_CONNECTIONS:
            idle = (one for one in others if one is not self and one.is_idle)
            longest = min(idle, key=lambda one: one.head_due_at, default=self)
            longest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if not self.is_idle:
            self._forget_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, also within the body of a request that is being answered, or was."""
        with suppress(LocalProtocolError):
            super().send_400_response(msg)
        self.transport.close()
        if not self.is_idle:
            self.cycle.disconnected = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.is_idle and not self.transport.is_closing():
            self._await_head()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def head_due_at(self) -> float:
        return self._head_due.when() if self._head_due is not None else 0.0

    def _await_head(self) -> None:
        self._forget_head()
        self._head_due = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _forget_head(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

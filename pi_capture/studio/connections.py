"""Connections of browsers, bounded: nobody keeps others out by opening many, or by never asking anything.

uvicorn counts connections, but waits for ever for the first request of one.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 128
HEAD_SECONDS = 10.0
"""What a client may take to say what it wants."""


class BoundedProtocol(H11Protocol):
    """A connection that is closed if no request comes in time, or if it is the longest idle one of too many."""

    _head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # uvloop's say so too
        super().connection_made(transport)
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

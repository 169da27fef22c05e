"""A page that is told what happens while it labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

BEAT_SECONDS = 15.0
WAITING_EVENTS = 256  # for a page; one that does not take them begins anew


class Listener:
    """A page that is told what happens."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, Mapping[str, Any]] | None] = asyncio.Queue(WAITING_EVENTS)
        self._loop = asyncio.get_running_loop()

    def tell(self, name: str, value: Mapping[str, Any]) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the server ends
            self._loop.call_soon_threadsafe(self._put, (name, value))

    async def __aiter__(self) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """What happens, until the page has missed something; now and then nothing, so that a dead page is noticed."""
        while True:
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    told = await self.queue.get()
            except TimeoutError:
                told = ("beat", {})
            if told is None:
                return
            yield told

    def _put(self, told: tuple[str, Mapping[str, Any]]) -> None:
        if not self.queue.full():
            self.queue.put_nowait(told)
            return
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)  # it ends, and the page begins anew with the whole state

"""Samples on their way to the file: a bounded queue and the thread that empties it, beside that of the pictures.

Whoever reads a sensor must never wait for the disk: what finds the queue full is lost, counted, and replaced by padding
of the same length, so that the track keeps its time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

QUEUE_BYTES = 16_000_000  # a minute and more of sound
ITEM_BYTES = 500  # beside the samples


class SampleWriter(Protocol):
    """What a format's writer has that takes samples (`storage.video.writer.VideoWriter`)."""

    def append_samples(self, name: str, timestamp_ns: int, samples: NDArray[Any]) -> None: ...
    def pad_samples(self, name: str, timestamp_ns: int, count: int) -> None: ...
    def flush_samples(self, name: str) -> None: ...
    def describe_track(self, name: str, facts: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Item:
    """Samples; or, without any, padding of so many; or, if that is none either, the wish to have written what waits."""

    name: str
    timestamp_ns: int
    count: int
    samples: NDArray[Any] | None = None

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        return ITEM_BYTES + (self.samples.nbytes if self.samples is not None else 0)


class SampleQueue:
    """Takes samples from several threads and has one write them.

    Parameters
    ----------
    writer : SampleWriter
    names : iterable of str
        Of the tracks.
    fail : callable
        Told the error that ends the recording; what comes after it is lost.
    """

    def __init__(self, writer: SampleWriter, names: Iterable[str], fail: Callable[[Exception], None]) -> None:
        self._writer = writer
        self._fail = fail
        self.lost: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        self.padded: dict[str, int] = {}
        self.add(names)
        self._items: deque[_Item] = deque()
        self._bytes = 0
        self._closed = self._failed = False
        self._changed = threading.Condition()
        self._missing: dict[str, _Item] = {}  # padding for what was lost since the last samples that were taken
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
        self._thread.start()

    def add(self, names: Iterable[str]) -> None:
        """More tracks, before samples of any come."""
        more = dict.fromkeys(names, 0)
        self.lost, self.stored, self.padded = ({**counts, **more} for counts in (self.lost, self.stored, self.padded))

    def put(self, name: str, timestamp_ns: int, samples: NDArray[Any], *, wait: bool) -> bool:
        """Add samples; with ``wait=False`` they are lost if the queue is full, and False is returned."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._bytes < QUEUE_BYTES or self._failed or self._closed)
            taken = self._add(_Item(name, timestamp_ns, len(samples), samples))
            self.lost[name] += 0 if taken else len(samples)
            return taken

    def pad(self, name: str, timestamp_ns: int, count: int) -> None:
        """Add padding for a pause of so many samples."""
        with self._changed:
            self._add(_Item(name, timestamp_ns, count))

    def _add(self, item: _Item) -> bool:
        """Add it, behind the padding for what was lost before; or if the queue is full, make padding of it too."""
        missing = self._missing.pop(item.name, None)
        if self._failed or self._closed or self._bytes >= QUEUE_BYTES:
            before = missing or _Item(item.name, item.timestamp_ns, 0)
            if before.count + item.count:
                self._missing[item.name] = replace(before, count=before.count + item.count)
            return False
        for one in (missing, item):
            if one is not None:
                self._items.append(one)
                self._bytes += one.bytes
        self._changed.notify_all()
        return True

    def flush(self, name: str) -> None:
        """Have what waits for a block to be full written soon."""
        self.pad(name, 0, 0)

    def close(self) -> None:
        """Have everything written; then the writer may be closed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while (item := self._take()) is not None:
            try:
                if not self._failed:
                    self._write(item)
            except Exception as error:
                self._failed = True
                self._fail(error)
            if self._failed and item.samples is not None:
                self.lost[item.name] += item.count

    def _take(self) -> _Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= item.bytes
            self._changed.notify_all()
            return item

    def _write(self, item: _Item) -> None:
        if item.samples is not None:
            self._writer.append_samples(item.name, item.timestamp_ns, item.samples)
            self.stored[item.name] += item.count
        elif item.count:
            self._writer.pad_samples(item.name, item.timestamp_ns, item.count)
            self.padded[item.name] += item.count
        else:
            self._writer.flush_samples(item.name)

"""Samples on their way to the file: a bounded queue and the thread that empties it, beside that of the pictures.

Whoever reads a sensor must never wait for the disk: what finds the queue full is lost, counted, and replaced by padding
of the same length, so that the track keeps its time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pi_capture.status import TrackSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.formats.contract import KeepsSamples
    from storage.tracks.sample_track import SampleTrack

QUEUE_BYTES = 16_000_000  # a minute and more of sound
ITEM_BYTES = 500  # beside the samples


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
    writer : KeepsSamples, optional
        There are no tracks without it.
    tracks : sequence of SampleTrack
    fail : callable
        Told the error that ends the recording; what comes after it is lost.
    """

    def __init__(
        self, writer: KeepsSamples | None, tracks: Sequence[SampleTrack], fail: Callable[[Exception], None]
    ) -> None:
        self._keeper = writer
        self._fail = fail
        self._tracks: dict[str, SampleTrack] = {}
        self._lost: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        self._padded: dict[str, int] = {}
        self._measured: dict[str, float] = {}
        self._came_before: dict[str, int] = {}
        self._due_ns: dict[str, int] = {}  # the time of the sample that follows, in a program's own time
        self._items: deque[_Item] = deque()
        self._bytes = 0
        self._closed = self._failed = False
        self._changed = threading.Condition()
        self._missing: dict[str, _Item] = {}  # padding for what was lost since the last samples that were taken
        self._thread: threading.Thread | None = None
        self.add(tracks)

    def add(self, tracks: Sequence[SampleTrack]) -> None:
        """More tracks, before samples of any come."""
        more = dict.fromkeys((track.name for track in tracks), 0)
        with self._changed:  # new tables, since other threads may be reading the old ones
            counts = self._lost, self._stored, self._padded
            self._lost, self._stored, self._padded = ({**before, **more} for before in counts)
            self._tracks = {**self._tracks, **{track.name: track for track in tracks}}
        if self._tracks and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
            self._thread.start()

    @property
    def _writer(self) -> KeepsSamples:
        assert self._keeper is not None, "tracks in a format that keeps no samples"
        return self._keeper

    @property
    def names(self) -> list[str]:
        """Of the tracks."""
        return list(self._tracks)

    @property
    def stored(self) -> int:
        """How many samples the writer has."""
        return sum(self._stored.values())

    def summaries(self) -> dict[str, TrackSummary]:
        """What each track came to, so far."""
        return {
            name: TrackSummary(
                self._stored[name],
                self._padded[name],
                self._lost[name],
                track.rate,
                self._measured.get(name),
                self._came_before.get(name, 0),
            )
            for name, track in self._tracks.items()
        }

    def describe(self, name: str, facts: Mapping[str, Any]) -> None:
        """Add facts about a track, JSON-serialisable: ``measured_rate``, ``came_before``."""
        self._writer.describe_track(name, facts)
        if facts.get("measured_rate"):
            self._measured[name] = float(facts["measured_rate"])
        self._came_before[name] = int(facts.get("came_before", self._came_before.get(name, 0)))

    def write(self, name: str, samples: NDArray[Any], timestamp_ns: int | None, now_ns: int) -> None:
        """Add a program's samples at a time, or behind those before; waits while the disk is behind.

        Parameters
        ----------
        name : str
            Of the track.
        samples : ndarray
            As `storage.tracks.sample_track.check_samples` takes them. A gap before them is padded.
        timestamp_ns : int or None
            When the first one was.
        now_ns : int
            When the track's first one was, if it is not given.

        Raises
        ------
        ValueError
            There is no such track, they don't fit it, or they begin before those that are there end.
        """
        from storage.tracks.sample_track import check_samples

        if name not in self._tracks:
            raise ValueError(f"there is no track {name!r}; there are {', '.join(self._tracks) or 'none'}")
        track = self._tracks[name]
        array = check_samples(track, samples)
        due_ns = self._due_ns.get(name)
        if timestamp_ns is None:
            timestamp_ns = now_ns if due_ns is None else due_ns
        if due_ns is not None:
            apart = round((timestamp_ns - due_ns) / 1e9 * track.rate)
            if apart < -1 and timestamp_ns < due_ns - 1_000_000:
                raise ValueError(
                    f"samples of {name} for {timestamp_ns / 1e9:g} s come when {due_ns / 1e9:g} s is reached"
                )
            if apart > 0:
                self.pad(name, due_ns, apart)
            else:
                timestamp_ns = due_ns
        self.put(name, timestamp_ns, array, wait=True)
        self._due_ns[name] = timestamp_ns + round(len(array) / track.rate * 1e9)

    def put(self, name: str, timestamp_ns: int, samples: NDArray[Any], *, wait: bool) -> bool:
        """Add samples; with ``wait=False`` they are lost if the queue is full, and False is returned."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._bytes < QUEUE_BYTES or self._failed or self._closed)
            taken = self._add(_Item(name, timestamp_ns, len(samples), samples))
            self._lost[name] += 0 if taken else len(samples)
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
        if self._thread is not None:
            self._thread.join()
        for name, lost in self._lost.items():
            if lost:
                self._writer.describe_track(name, {"lost": lost})

    def _run(self) -> None:
        while (item := self._take()) is not None:
            try:
                if not self._failed:
                    self._write(item)
            except Exception as error:
                self._failed = True
                self._fail(error)
            if self._failed and item.samples is not None:
                with self._changed:
                    self._lost[item.name] += item.count

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
            with self._changed:
                self._stored[item.name] += item.count
        elif item.count:
            self._writer.pad_samples(item.name, item.timestamp_ns, item.count)
            with self._changed:
                self._padded[item.name] += item.count
        else:
            self._writer.flush_samples(item.name)

"""A bounded queue of samples on their way to the file, and the thread that writes them.

Reading a sensor must never wait for the disk. Samples that find the queue full are lost and counted; padding of the
same length replaces them, so that later samples keep their times.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pi_capture.samples.clock import Dated
from pi_capture.samples.sink import SampleSink
from pi_capture.status import TrackSummary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.formats.contract import KeepsSamples
    from storage.tracks.sample_track import SampleTrack

QUEUE_BYTES = 16_000_000  # more than a minute of sound
FLUSH = Dated(0, 0)
"""A request to flush, in the queue."""


class SampleQueue(SampleSink):
    """Takes samples from several threads and has one thread write them.

    `writer` was opened with `tracks`. `fail` is called with the error that ends the recording; later samples are lost.
    `check` raises if the recording is closed or has failed. `describe` takes facts of the session.
    """

    def __init__(
        self, writer: KeepsSamples, tracks: Sequence[SampleTrack], fail: Callable[[Exception], None],
        check: Callable[[], None], describe: Callable[[Mapping[str, Any]], None],
    ) -> None:  # fmt: skip
        self._writer = writer
        self._fail = fail
        self._check = check
        self._describe = describe
        self._tracks: dict[str, SampleTrack] = {}
        self._lost: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        self._padded: dict[str, int] = {}
        self._measured: dict[str, float] = {}
        self._came_before: dict[str, int] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self._due_ns: dict[str, int] = {}  # the time of the next sample, in a program's own time
        self._items: deque[tuple[str, Dated]] = deque()
        self._bytes = 0
        self._closed = self._failed = False
        self._changed = threading.Condition()
        self._missing: dict[str, Dated] = {}  # padding for what was lost since the last samples that were queued
        self._thread: threading.Thread | None = None
        self._begin(tracks)

    def add_tracks(self, tracks: Sequence[SampleTrack]) -> None:
        self._writer.add_tracks(tracks)
        self._begin(tracks)

    def begin_at(self, timestamp_ns: int) -> None:
        self._writer.begin_at(timestamp_ns)

    def _begin(self, tracks: Sequence[SampleTrack]) -> None:
        more = dict.fromkeys((track.name for track in tracks), 0)
        with self._changed:  # new tables, since other threads may be reading the old ones
            counts = self._lost, self._stored, self._padded
            self._lost, self._stored, self._padded = ({**before, **more} for before in counts)
            self._tracks = {**self._tracks, **{track.name: track for track in tracks}}
        if self._tracks and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
            self._thread.start()

    @property
    def track_names(self) -> list[str]:
        return list(self._tracks)

    @property
    def stored(self) -> int:
        """How many samples were written."""
        return sum(self._stored.values())

    def summaries(self) -> dict[str, TrackSummary]:
        """Return the counts of each track so far."""
        return {
            name: TrackSummary(
                self._stored[name],
                self._padded[name],
                self._lost[name],
                track.rate,
                self._measured.get(name),
                self._came_before.get(name, 0),
                self._problems.get(name, ()),
            )
            for name, track in self._tracks.items()
        }

    def describe_track(self, name: str, facts: Mapping[str, Any]) -> None:
        self._writer.describe_track(name, facts)
        if facts.get("measured_rate"):
            self._measured[name] = float(facts["measured_rate"])
        self._came_before[name] = int(facts.get("came_before", self._came_before.get(name, 0)))

    def note_problems(self, name: str, problems: Sequence[str]) -> None:
        with self._changed:
            if tuple(problems) == self._problems.get(name, ()):
                return
            self._problems = {**self._problems, name: tuple(problems)}
            self._describe({"problems": {name: list(found) for name, found in self._problems.items() if found}})

    def write(self, name: str, samples: NDArray[Any], timestamp_ns: int | None, now: Callable[[], int]) -> None:
        """Add a program's samples: see `Recorder.write_samples`. `now` dates a track's first one by default."""
        from storage.tracks.sample_track import check_samples

        if name not in self._tracks:
            raise ValueError(f"there is no track {name!r}; there are {', '.join(self._tracks) or 'none'}")
        track = self._tracks[name]
        array = check_samples(track, samples)
        due_ns = self._due_ns.get(name)
        if timestamp_ns is None:
            timestamp_ns = now() if due_ns is None else due_ns
        if due_ns is not None:
            apart = round((timestamp_ns - due_ns) / 1e9 * track.rate)
            if apart < -1 and timestamp_ns < due_ns - 1_000_000:
                raise ValueError(
                    f"samples of {name} for {timestamp_ns / 1e9:g} s come when {due_ns / 1e9:g} s is reached"
                )
            if apart > 0:
                self.put(name, Dated(due_ns, apart))
            else:
                timestamp_ns = due_ns
        self.put(name, Dated(timestamp_ns, len(array), array), wait=True)
        self._due_ns[name] = timestamp_ns + round(len(array) / track.rate * 1e9)

    def put(self, name: str, piece: Dated, *, wait: bool = False) -> None:
        self._check()
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._bytes < QUEUE_BYTES or self._failed or self._closed)
            self._add(name, piece)

    def flush(self, name: str) -> None:
        with self._changed:
            self._add(name, FLUSH)

    def _add(self, name: str, piece: Dated) -> None:
        """Queue a piece behind the padding for earlier losses; if the queue is full, replace it by padding."""
        missing = self._missing.pop(name, None)
        if self._failed or self._closed or self._bytes >= QUEUE_BYTES:
            self._lost[name] += piece.count if piece.samples is not None else 0
            before = missing or Dated(piece.timestamp_ns, 0)
            if before.count + piece.count:
                self._missing[name] = replace(before, count=before.count + piece.count)
            return
        for one in (missing, piece):
            if one is not None:
                self._items.append((name, one))
                self._bytes += one.bytes
        self._changed.notify_all()

    def close(self) -> None:
        """Write all that waits. The writer may be closed after that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        for name, lost in self._lost.items():
            if lost:
                self._writer.describe_track(name, {"lost": lost})

    def _run(self) -> None:
        while (item := self._next_item()) is not None:
            name, piece = item
            try:
                if not self._failed:
                    self._write(name, piece)
            except Exception as error:
                self._failed = True
                self._fail(error)
            if self._failed and piece.samples is not None:
                with self._changed:
                    self._lost[name] += piece.count

    def _next_item(self) -> tuple[str, Dated] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= item[1].bytes
            self._changed.notify_all()
            return item

    def _write(self, name: str, piece: Dated) -> None:
        if piece is FLUSH:
            self._writer.flush_samples(name)
            return
        if piece.samples is not None:
            self._writer.append_samples(name, piece.timestamp_ns, piece.samples)
        else:
            self._writer.pad_samples(name, piece.timestamp_ns, piece.count)
        with self._changed:
            counts = self._stored if piece.samples is not None else self._padded
            counts[name] += piece.count

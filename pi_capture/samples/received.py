"""Samples that come with the pictures of another machine, on their way to the recorder.

They are dated already (`pi_capture.network.samples`). For this machine's sensors see `pi_capture.samples.local`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pi_capture.samples.clock import (
    LONGEST_START_NS,
    SECOND,
    SLACK_SECONDS,
    Arrived,
    Dated,
    Window,
    least_pause_seconds,
    rate_facts,
)
from storage.names import free_name
from storage.tracks.sample_track import TAKEN_NAMES

if TYPE_CHECKING:
    from pi_capture.samples.sink import SampleSink
    from storage.tracks.sample_track import SampleTrack


class ReceivedTracks:
    """Tracks of a recording whose samples a source brings.

    `sink` is that of a recorder without frames yet, made with ``more_tracks=True``. The tracks' names get the `prefix`,
    and a number if there is such a track already. Raises StorageError if a continued recording has other tracks.
    """

    def __init__(self, sink: SampleSink, tracks: Sequence[SampleTrack], prefix: str = "") -> None:
        self._sink = sink
        used = {*sink.track_names, *TAKEN_NAMES, *(prefix + name for name in TAKEN_NAMES)}
        self._names = {track.name: free_name(prefix + track.name, used) for track in tracks}
        sink.add_tracks([replace(track, name=self._names[track.name]) for track in tracks])
        self._windows = {track.name: Window() for track in tracks}
        self._tracks = {track.name: track for track in tracks}
        self._open = set(self._tracks)
        self._seen: dict[str, float] = {}  # when the last samples came, by our clock
        self._takes: dict[str, float] = {}  # the longest from some to the next, where none were missing
        self._interrupted: set[str] = set()
        self._rates: dict[str, float] = {}
        self._reached = dict.fromkeys(self._windows, -(1 << 62))
        self._begin_ns = 0
        self._end_ns: int | None = None

    def go_on(self, tracks: Sequence[SampleTrack]) -> list[str]:
        """Go on with another source where one ended. Returns the names of its tracks that are left out."""
        new = {track.name: track for track in tracks}
        self._open = {name for name, track in self._tracks.items() if name in new and new[name].fits(track)}
        self._interrupted = set(self._seen)
        return [name for name in new if name not in self._open]

    def begin(self, begin_ns: int, end_ns: int | None) -> None:
        """Set the time from which and until which samples are kept."""
        self._begin_ns, self._end_ns = begin_ns, end_ns
        for window in self._windows.values():
            window.begin(begin_ns, end_ns)

    @property
    def complete(self) -> bool:
        """Whether all samples up to the end have come."""
        return self._end_ns is None or all(reached >= self._end_ns for reached in self._reached.values())

    def store(self, arrived: Arrived) -> None:
        """Store samples. Raises RecordingError if the recording has failed."""
        if arrived.name not in self._open:
            return
        name, last = self._names[arrived.name], arrived.pieces[-1]
        pieces = [*self._pause_before(arrived), *arrived.pieces]
        now = time.monotonic()
        if len(pieces) == 1:
            took = now - self._seen.get(arrived.name, now)
            self._takes[arrived.name] = max(took, self._takes.get(arrived.name, 0.0))
        self._seen[arrived.name] = now
        self._reached[arrived.name] = last.timestamp_ns + round(last.count / arrived.rate * 1e9)
        self._rates[arrived.name] = arrived.rate
        for piece in self._windows[arrived.name].passed(pieces, 1e9 / arrived.rate):
            self._sink.put(name, piece)

    def _pause_before(self, arrived: Arrived) -> list[Dated]:
        """Return the pause since the source before, if it is to be padded."""
        if arrived.name not in self._interrupted:
            return []
        self._interrupted.discard(arrived.name)
        began = self._reached[arrived.name]
        missing = round((arrived.pieces[0].timestamp_ns - began) / SECOND * arrived.rate)
        passed = time.monotonic() - self._seen[arrived.name] + SLACK_SECONDS
        missing = min(missing, round(passed * arrived.rate))
        return [Dated(began, missing)] if missing > 0 else []

    def end(self, last_ns: int | None) -> list[str]:
        """Note the measured rates in the recording, and what was silent up to the last frame; returns the problems."""
        for name, rate in self._rates.items():
            if rate != (stated := self._tracks[name].rate):
                self._sink.describe_track(self._names[name], rate_facts(rate, stated))
        problems: list[str] = []
        for name in (name for name in self._tracks if name in self._open):
            if last_ns is not None and (problem := self._silence(name, last_ns)) is not None:
                self._sink.note_problems(self._names[name], [problem])
                problems.append(problem)
        return problems

    def _silence(self, name: str, last_ns: int) -> str | None:
        """Return a message if nothing came for longer than the sender may keep it back, and than is usual."""
        rate = self._rates.get(name, self._tracks[name].rate)
        usual = least_pause_seconds(rate) + self._takes.get(name, 0.0) + LONGEST_START_NS / SECOND
        seconds = (last_ns - max(self._reached[name], self._begin_ns)) / SECOND
        if seconds <= usual:
            return None
        if name not in self._seen:
            return f"{self._names[name]}: no samples came"
        return f"{self._names[name]}: nothing came in the last {seconds:.3g} s; the recording went on without it"

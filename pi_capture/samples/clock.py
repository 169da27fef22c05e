"""The time of each sample of a sensor, from the times at which chunks of samples arrived.

A chunk arrives after its last sample was taken; how long after depends on pipes and schedulers. A line is drawn through
the earliest arrival of each second, over the count of samples. Times that are read off that line have no jitter and,
over hours, no drift. After a delay the count catches up with the line; after a pause it doesn't: samples are missing.
The shorter the pause, the longer it takes to tell it from a delay.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECOND = 1_000_000_000
SLACK_SECONDS = 10.0  # that a stream may pad beyond the time that has passed
START_NS = SECOND  # samples are kept back so long, for the first line, …
LONGEST_START_NS, LONGEST_START_SAMPLES = 3 * SECOND, 1 << 20  # … and longer, if they come at another rate than stated
DECIDE_NS = SECOND  # late samples may catch up for so long before they count as a pause
LATE_NS, LATE_SAMPLES = 250_000_000, 3
NONSENSE = 100  # times the stated rate: a flood, which no rate is measured of; at that rate a pause would be gigabytes
STEP_NS = 50_000_000  # of a short pause, once the line is known well: all samples after it are late by as much …
STEP_DECIDE_NS, STEP_CHUNKS = 2 * SECOND, 10  # … for so long, and so many chunks
WINDOWS = 600  # seconds that the line goes through: few enough to follow a clock that warms up
LEAST_WINDOWS, LEAST_SPAN_NS = 3, 1.5 * SECOND  # with less the stated rate is the better guess
KNOWN_SPAN_NS = 4 * SECOND  # with less the rate counts as unknown
BESIDE_BYTES = 500  # that samples take in memory beside their numbers
KEPT_BACK_BYTES = 16_000_000
KEPT_BACK_NS = 60 * SECOND  # of samples, until the recording begins
PIECE_SECONDS, MOST_PIECES = 0.2, 64  # of a chunk; the first is at most that of `storage.tracks.samples`
TRUSTED = 0.05  # how far the stated rate may be off and still be used for the first line


@dataclass(frozen=True, slots=True)
class Dated:
    """Samples and the time of the first. Without samples it is a pause, as long as `count` samples."""

    timestamp_ns: int
    count: int
    samples: NDArray[Any] | None = None

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        return BESIDE_BYTES + (self.samples.nbytes if self.samples is not None else 0)

    def within(self, begin_ns: int, end_ns: int | None, period: float) -> Dated | None:
        """Return the part from one time up to another; the samples are `period` nanoseconds apart."""
        first = self.before(begin_ns, period)
        last = self.count
        if end_ns is not None:
            last = min(last, max(0, -int((self.timestamp_ns - end_ns) // period)))
        if first >= last:
            return None
        if first == 0 and last == self.count:
            return self
        samples = self.samples[first:last] if self.samples is not None else None
        return Dated(self.timestamp_ns + round(first * period), last - first, samples)

    def before(self, begin_ns: int, period: float) -> int:
        """Count the samples from before a time."""
        return min(self.count, max(0, -int((self.timestamp_ns - begin_ns) // period)))


@dataclass(frozen=True, slots=True)
class Arrived:
    """Samples that came, after the pause before them, by our clock; `rate` is the measured one in samples a second."""

    name: str
    pieces: Sequence[Dated]
    rate: float


class Window:
    """Passes on the samples of a track that lie in the recording, and keeps them back until it begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun, self._begin_ns = False, 0
        self._end_ns: int | None = None
        self._kept_back: deque[Dated] = deque()
        self._bytes = 0
        self.came_before = 0  # samples left out: too early, or kept back too long

    @property
    def first_ns(self) -> int | None:
        """The time of the first sample that is kept back."""
        return self._kept_back[0].timestamp_ns if self._kept_back else None

    def begin(self, begin_ns: int | None, end_ns: int | None) -> None:
        """Set the times at which the recording begins and ends; None keeps all samples. Any thread may call it."""
        with self._lock:
            self._begin_ns = -(1 << 62) if begin_ns is None else begin_ns
            self._end_ns = end_ns
            self._begun = True

    def passed(self, dated: Iterable[Dated], period: float) -> Iterator[Dated]:
        """Yield what lies in the recording, of these and of those that were kept back."""
        for piece in dated:
            self._kept_back.append(piece)
            self._bytes += piece.bytes
        with self._lock:
            begun, begin_ns, end_ns = self._begun, self._begin_ns, self._end_ns
        if not begun:
            while self._kept_back and (
                self._kept_back[-1].timestamp_ns - self._kept_back[0].timestamp_ns > KEPT_BACK_NS
                or self._bytes > KEPT_BACK_BYTES
            ):
                dropped = self._kept_back.popleft()
                self._bytes -= dropped.bytes
                self.came_before += dropped.count if dropped.samples is not None else 0
            return
        self._bytes = 0
        while self._kept_back:
            piece = self._kept_back.popleft()
            self.came_before += piece.before(begin_ns, period) if piece.samples is not None else 0
            kept = piece.within(begin_ns, end_ns, period)
            if kept is not None:
                yield kept


def least_pause_seconds(rate: float) -> float:
    """How late samples must be to count as missing ones before them: less may be a delay on the way."""
    return max(LATE_NS / 1e9, LATE_SAMPLES / rate)


def rate_facts(measured: float, stated: float) -> dict[str, float]:
    """Return what a recording keeps of a track's rate, in samples a second."""
    return {"measured_rate": round(measured, 6), "drift_ppm": round((measured / stated - 1) * 1e6, 1)}


class SampleClock:
    """Dates the samples of one sensor; `rate` is its stated samples a second.

    With `device_rate` a device was asked for that rate: what comes faster in the first seconds had been held up.

    Attributes
    ----------
    fitted : bool
        Whether the line goes through enough seconds for the rate to be known well.
    """

    def __init__(self, rate: float, *, device_rate: bool = False) -> None:
        self._rate = rate
        self._device_rate = device_rate
        self._most = max(1, round(rate * PIECE_SECONDS))
        self._shortest = 1e9 / (NONSENSE * rate)  # period that is believed
        self._period = 1e9 / rate  # the line: its slope in nanoseconds a sample, …
        self._offset = 0.0  # … and where it begins, after the first arrival
        self._first_ns: int | None = None
        self._count = 0  # of samples handed out and missing
        self._held: list[tuple[NDArray[Any], int]] = []
        self._held_count = 0
        self._starting, self._start_ns = True, START_NS
        self._late_since: int | None = None
        self._least_late = math.inf
        self._last_arrival = self._silence = 0.0
        # A second, and the index and the arrival of its earliest chunk.
        self._window: tuple[int, float, float] | None = None
        self._window_late = math.inf
        self._points: deque[tuple[float, float]] = deque(maxlen=WINDOWS)
        self.fitted = self._off_at_first = False

    @property
    def measured_rate(self) -> float | None:
        """Samples a second, as they came; None while too few have come."""
        return 1e9 / self._period if self.fitted or self._off_at_first else None

    @property
    def reached_ns(self) -> int | None:
        """About when the last sample was taken that came; None before the first. Any thread may ask."""
        return None if self._first_ns is None else self._first_ns + round(self._at(self._count + self._held_count - 1))

    @property
    def awaits_more(self) -> bool:
        """Whether samples are late, and those that follow will show if some are missing. Any thread may ask."""
        return self._late_since is not None

    def date(self, samples: NDArray[Any], arrival_ns: int) -> list[Dated]:
        """Add a chunk that arrived; returns the samples of this and earlier chunks that could be dated, in order."""
        if not len(samples):
            return []
        if self._first_ns is None:
            self._first_ns = arrival_ns
            self._offset = -(len(samples) - 1) * self._period
        self._held.append((samples, arrival_ns))
        self._held_count += len(samples)
        arrival = float(arrival_ns - self._first_ns)
        if self._starting:
            if arrival < self._start_ns:
                return []
            may_wait = arrival < LONGEST_START_NS and self._held_count < LONGEST_START_SAMPLES
            if may_wait and self._first_period() is None:
                self._start_ns = int(arrival) + START_NS // 2
                return []
            self._start()
            return self._release()
        index = self._count + self._held_count - 1
        late = arrival - self._at(index)
        silence, self._last_arrival = arrival - self._last_arrival, arrival
        if late > min(self._least_step(), self._least_pause()):
            self._least_late = min(self._least_late, late)
            if self._late_since is None:
                self._late_since, self._silence = arrival_ns, silence
            is_long = self._least_late > self._least_pause()
            lasts = arrival_ns - self._late_since >= (DECIDE_NS if is_long else STEP_DECIDE_NS)
            if is_long or not lasts or len(self._held) >= STEP_CHUNKS:
                return self._decide() if lasts else []
        self._late_since, self._least_late = None, math.inf
        self._note(index, arrival, late)
        return self._release()

    def finish(self) -> list[Dated]:
        """Return the samples that are held, after the last chunk."""
        if not self._held:
            return []
        if self._starting:
            self._start()
        pause = self._pause() if self._late_since is not None and self._least_late > self._least_pause() else []
        return [*pause, *self._release()]

    # ------------------------------------------------------------------------------------------------------- the parts

    def _at(self, index: int) -> float:
        """Return the time of a sample, in nanoseconds since the first arrival."""
        return self._offset + index * self._period

    def _least_pause(self) -> float:
        return least_pause_seconds(1e9 / self._period) * 1e9

    def _least_step(self) -> float:
        """Return how late all samples must be from one moment on to count as a short pause; infinity if none is."""
        if not self.fitted or self._window is None:
            return math.inf
        index, arrival = self._points[-1]
        usual = max(0.0, min(arrival - self._at(int(index)), self._window_late))
        return usual + max(STEP_NS, LATE_SAMPLES * self._period)

    def _release(self) -> list[Dated]:
        assert self._first_ns is not None
        dated = []
        for chunk, _ in self._held:
            # Who stores them knows the stated rate only: at another one, many samples at once have several times.
            most = len(chunk) if self.measured_rate is None else max(self._most, len(chunk) // MOST_PIECES)
            for samples in (chunk[at : at + most] for at in range(0, len(chunk), most)):
                dated.append(Dated(self._first_ns + round(self._at(self._count)), len(samples), samples))
                self._count += len(samples)
        self._held, self._held_count = [], 0
        return dated

    def _decide(self) -> list[Dated]:
        """Decide what late samples mean that did not catch up: a pause, or a wrong first line."""
        if self.fitted or self._silence > self._least_late / 2:
            return [*self._pause(), *self._release()]
        self._points.clear()  # the sensor was never silent: the first line was wrong
        self._late_since, self._least_late, self._window = None, math.inf, None
        self._start()
        return self._release()

    def _pause(self) -> list[Dated]:
        """Count the samples that never came before those that are held."""
        assert self._first_ns is not None
        missing = round(self._least_late / self._period)
        began = self._first_ns + round(self._at(self._count))
        self._count += missing
        self._late_since, self._least_late = None, math.inf
        return [Dated(began, missing)]

    def _arrivals(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the index of the last sample of each chunk that is held, and when it arrived."""
        import numpy as np

        assert self._first_ns is not None
        counts = self._count + np.cumsum([len(samples) for samples, _ in self._held]) - 1.0
        return counts, np.array([arrival - self._first_ns for _, arrival in self._held], float)

    def _first_period(self) -> float | None:
        """Return the period of the chunks that are held: the stated one if it fits; None if they don't tell."""
        counts, arrivals = self._arrivals()
        stated, came = 1e9 / self._rate, _period_below(counts, arrivals)
        if self._device_rate or len(counts) < 2 or (came > 0 and abs(stated / came - 1) <= TRUSTED):
            return stated
        if len(counts) < 8 or arrivals[-1] - arrivals[0] <= START_NS / 2:
            return None
        half = len(counts) // 2
        halves = [_period_below(counts[part], arrivals[part]) for part in (slice(half), slice(half, None))]
        return came if all(one > self._shortest and abs(came / one - 1) < TRUSTED for one in halves) else None

    def _start(self) -> None:
        """Find a first line through the chunks that are held."""
        self._starting = False
        counts, arrivals = self._arrivals()
        self._last_arrival = float(arrivals[-1])
        stated = 1e9 / self._rate
        self._period = self._first_period() or stated
        self._off_at_first = self._period != stated
        late = arrivals - counts * self._period
        self._offset = float(late.min())
        for index, arrival in zip(counts.tolist(), arrivals.tolist(), strict=True):
            self._note(index, arrival, arrival - self._at(index))

    def _note(self, index: float, arrival: float, late: float) -> None:
        """Keep the earliest arrival of each second; draw the line anew when a second is over."""
        second = int(arrival // SECOND)
        if self._window is not None and self._window[0] == second:
            if late < self._window_late:
                self._window, self._window_late = (second, index, arrival), late
            return
        if self._window is not None:
            self._points.append(self._window[1:])
            self._draw()
            late = arrival - self._at(int(index))
        self._window, self._window_late = (second, index, arrival), late

    def _draw(self) -> None:
        import numpy as np

        if self._window_late < -max(LATE_NS / 4, 2 * self._period):  # it runs faster than before
            recent = list(self._points)[-LEAST_WINDOWS:]
            self._points.clear()
            self._points.extend(recent)
        indices, arrivals = np.array(self._points).T
        if len(indices) >= LEAST_WINDOWS and arrivals[-1] - arrivals[0] >= LEAST_SPAN_NS:
            period, offset = _fit(indices, arrivals)
            if period > self._shortest:
                self._period, self._offset, self.fitted = period, offset, arrivals[-1] - arrivals[0] >= KNOWN_SPAN_NS
                return
        self._offset = float((arrivals - indices * self._period).min())


def _period_below(indices: NDArray[Any], arrivals: NDArray[Any]) -> float:
    """Return the slope, at the middle, of what the points hang down to: chunks arrive late, but never early."""
    hull: list[tuple[float, float]] = []
    for x, y in zip(indices.tolist(), arrivals.tolist(), strict=True):
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-2][0]) >= (y - hull[-2][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((x, y))
    middle = indices.mean()
    return next(((y - v) / (x - u) for (u, v), (x, y) in pairwise(hull) if x >= middle), 0.0)


def _fit(indices: NDArray[Any], arrivals: NDArray[Any]) -> tuple[float, float]:
    """Return slope and offset of the line through points, leaving out those far from it."""
    import numpy as np

    kept = np.ones(len(indices), np.bool_)
    slope = offset = 0.0
    for _ in range(4):
        x, y = indices[kept], arrivals[kept]
        if len(x) < 2 or x[0] == x[-1]:
            break
        middle = x.mean()
        slope = float(((x - middle) * (y - y.mean())).sum() / ((x - middle) ** 2).sum())
        offset = float(y.mean() - slope * middle)
        away = np.abs(arrivals - offset - slope * indices)
        kept = away <= 3 * np.median(away[kept]) + 1000
    return slope, offset

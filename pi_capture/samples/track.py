"""A sensor, or sound, of this machine: a thread, from its source to the recording.

It can neither end nor delay the recording. A problem is reported at once, and again at the end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pi_capture.errors import CameraError, RecordingError
from pi_capture.samples.clock import LATE_NS, SECOND, Dated, SampleClock, Window, least_pause_seconds, rate_facts
from pi_capture.samples.sensors import Command, SampleSource
from pi_capture.samples.sink import SampleSink

if TYPE_CHECKING:
    from pi_capture.samples.local import SampleWatch

SILENT_SECONDS = 5.0
USUAL_CHUNKS = 10  # the latest ones, which show how long nothing comes of a sensor that writes rarely
BURST_NS = 2_000_000_000  # by then all has come that a sensor had buffered before
MEASURED_NS = 6_000_000_000  # by then an even rate is known
OFF_RATE, FAR_OFF_RATE = 0.02, 0.5  # what is told of a rate: once it is known well, and at once
SAID_PAUSES = 5
CHECK = "Check rate, and channels and format if it prints binary numbers"
NOTE_SECONDS = 1.0  # between two looks at what a recording is to keep of its sensors' problems


class LocalTrack:
    """Stores what `source` brings; `say` is called from its thread with a line about it."""

    def __init__(
        self,
        source: SampleSource,
        sink: SampleSink,
        watches: Sequence[SampleWatch],
        say: Callable[[str], None],
        goes_on_without: Callable[[LocalTrack], bool],
    ) -> None:
        self._source = source
        self._sink = sink
        self._watches = watches
        self._say = say
        self._goes_on_without = goes_on_without
        self._name, self._rate = source.track.name, source.track.rate
        self._clock = SampleClock(self._rate, device_rate=source.device_rate)
        self._thread = threading.Thread(target=self._run, name=f"track {self._name}", daemon=True)
        self._window = Window()
        self._begin_ns: int | None = None  # of the recording; None once the first sample in it was seen
        self._storing = threading.Lock()
        self._ran_before = isinstance(source, Command) and source.reads_standard_input
        self._stopping = False
        self._problems: list[str] = []
        self._ended_early: str | None = None
        self._pauses = 0
        self._noted_at = 0.0
        self._earliest_ns = self._latest_ns = self._count = 0  # when samples came, and how many after the first ones
        self._takes_ns: deque[int] = deque(maxlen=USUAL_CHUNKS)  # from one chunk to the next
        self._silence: str | None = None  # while it is silent, or if it was at the end
        self.came = False
        self.first_ns: int | None = None
        self.ended = False

    def start(self) -> None:
        self._source.start()
        self._thread.start()

    def begin(self, begin_ns: int | None, end_ns: int | None) -> None:
        self._begin_ns = begin_ns
        self._window.begin(begin_ns, end_ns)
        self._store([])  # its thread may have ended

    @property
    def awaits_its_time(self) -> bool:
        """Whether it is kept from its first sample on, and the time of that is not known yet."""
        return self._ran_before and self.first_ns is None

    @property
    def kept_from_ns(self) -> int | None:
        """The time of the first sample, if it is kept even from before the recording."""
        with self._storing:
            return self._window.first_ns if self._ran_before else None

    def note_what_came_before(self) -> None:
        if self._window.came_before:
            self._sink.describe_track(self._name, {"came_before": self._window.came_before})

    def note_problems(self, *, early_end_is_fine: bool) -> None:
        """Keep the problems so far with the recording: it may be killed before its end."""
        self._noted_at = time.monotonic()
        self._sink.note_problems(self._name, self.problems(early_end_is_fine=early_end_is_fine))

    def lacks_samples(self, end_ns: int) -> bool:
        """Whether samples up to that time may still come."""
        reached_ns = self._clock.reached_ns
        if self.ended or reached_ns is None:
            return False
        period = SECOND / (self._clock.measured_rate or self._rate)
        return self._clock.awaits_more or reached_ns + period < end_ns

    def is_silent(self, now_ns: int) -> bool:
        """Whether nothing has come for longer than a pause that would be seen, and than its chunks take."""
        rate = self._clock.measured_rate or self._rate
        usual_ns = max(self._takes_ns, default=0)
        return self.came and not self.ended and now_ns - self._latest_ns > least_pause_seconds(rate) * SECOND + usual_ns

    def note_silence(self, end_ns: int) -> None:
        """Say if it was silent at the end of the recording; what was late would have come since."""
        if self.is_silent(end_ns):
            seconds = (end_ns - self._latest_ns) / SECOND
            self._silence = f"{self._name}: nothing came in the last {seconds:.3g} s; the recording went on without it"
            self._say(self._silence)

    def end(self) -> None:
        self._stopping = True
        self._source.stop()

    def join(self, seconds: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))

    def problems(self, *, early_end_is_fine: bool) -> list[str]:
        found = [*self._problems, *([self._silence] if self._silence else ()), *self._source.problems]
        if self._ended_early is not None and not early_end_is_fine:
            found.insert(0, self._ended_early)
        return found

    # ------------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        silent_since = time.monotonic()
        said_silence = off_rate = False
        try:
            for samples in self._source.chunks():
                now_ns = time.monotonic_ns()
                if samples is not None:
                    took_ns = round(len(samples) / (self._clock.measured_rate or self._rate) * SECOND)
                    self._takes_ns.append(max(took_ns, now_ns - self._latest_ns if self.came else 0))
                    self._store(self._clock.date(samples, now_ns))
                    self._count += len(samples) if self._earliest_ns else 0  # the first may have come late
                    self._earliest_ns, self._latest_ns = self._earliest_ns or now_ns, now_ns
                    self.came, self._silence = True, None
                    if not off_rate and (off := self._off_rate() or self._flood(MEASURED_NS)) is not None:
                        off_rate = True
                        self._problem(off)
                elif self.came:
                    self._store([])
                    self._sink.flush(self._name)
                    self._warn_of_silence(now_ns)
                elif not said_silence and time.monotonic() - silent_since > SILENT_SECONDS:
                    said_silence = True
                    self._say(f"{self._name}: nothing came for {SILENT_SECONDS:g} s; does it buffer?")
                if time.monotonic() > self._noted_at + NOTE_SECONDS:
                    self.note_problems(early_end_is_fine=False)
            if not self._stopping:
                self._tell_its_end(goes_on=self._goes_on_without(self))
        except CameraError as error:
            self._problem(str(error))
        except RecordingError:
            pass  # the recorder raises it when it is closed
        except Exception as error:
            self._problem(f"{self._name}: {type(error).__name__}: {error}")
        finally:
            self._source.stop()
            self._finish()
            self._goes_on_without(self)
            self.note_problems(early_end_is_fine=False)
            self.ended = True

    def _warn_of_silence(self, now_ns: int) -> None:
        seconds = (now_ns - self._latest_ns) / SECOND
        if self._silence is None and seconds > SILENT_SECONDS and self.is_silent(now_ns) and not self._stopping:
            self._silence = f"{self._name}: nothing came any more; the recording went on without it"
            self._say(f"{self._name}: nothing came for {seconds:.3g} s; the recording goes on without it")

    def _tell_its_end(self, *, goes_on: bool) -> None:
        went_on = "; the recording went on without it" if goes_on else ", and with it the recording"
        self._ended_early = f"{self._name} ended too early{went_on}"
        self._say(f"{self._name} ended{'; the recording goes on' if goes_on else went_on}")

    def _problem(self, text: str) -> None:
        self._problems.append(text)
        self._say(text)

    def _off_rate(self) -> str | None:
        if (rate := self._clock.measured_rate) is None:
            return None
        off = abs(rate / self._rate - 1)
        if off < (OFF_RATE if self._clock.fitted else FAR_OFF_RATE):
            return None
        if off * (self._latest_ns - self._earliest_ns) < LATE_NS:  # as it may look on a busy machine
            return None
        gives = f"{self._name} gives {float(f'{rate:.3g}'):g} samples a second, not {self._rate:g}"
        return f"{gives}; their times are right if they come evenly. {CHECK}"

    def _flood(self, least_ns: int) -> str | None:
        """Return a message if samples come so many and so unevenly that no rate can be measured."""
        span_ns = self._latest_ns - self._earliest_ns
        rate = self._count / span_ns * 1e9 if span_ns >= least_ns else 0.0
        if self._clock.measured_rate is not None or rate < 2 * self._rate:
            return None
        return f"{self._name} gives {rate:.4g} samples a second, not {self._rate:g}: their times are wrong. {CHECK}"

    def _finish(self) -> None:
        try:
            self._store(self._clock.finish())
            if not self.came and not self._problems:
                self._problems.append(f"{self._name}: no samples came")
            if not self._problems and (flood := self._flood(BURST_NS)) is not None:
                self._problem(flood)
            if (rate := self._clock.measured_rate) is not None:
                self._sink.describe_track(self._name, rate_facts(rate, self._rate))
        except (RecordingError, ValueError):
            pass  # the recorder raises it, or is closed already

    def _store(self, dated: Sequence[Dated]) -> None:
        with self._storing:
            if dated and self.first_ns is None:
                self.first_ns = dated[0].timestamp_ns
            for piece in self._window.passed(dated, 1e9 / (self._clock.measured_rate or self._rate)):
                self._sink.put(self._name, piece)
                self._note_late_begin(piece)
                self._note_pause(piece)
                for watch in self._watches:
                    watch.offer_samples(self._name, piece)

    def _note_late_begin(self, piece: Dated) -> None:
        begin_ns, self._begin_ns = self._begin_ns, None
        late = 0.0 if begin_ns is None else (piece.timestamp_ns - begin_ns) / SECOND
        if late > least_pause_seconds(self._clock.measured_rate or self._rate):
            self._say(f"{self._name} began {late:.2f} s after the recording")

    def _note_pause(self, piece: Dated) -> None:
        if piece.samples is None:
            self._pauses += 1
            if self._pauses <= SAID_PAUSES:
                self._say(f"{self._name} paused for {piece.count / self._rate:.2f} s; padded")

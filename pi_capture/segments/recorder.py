"""A recording that is cut into segments, each a recording of its own. No frame is lost or doubled between them.

When the present segment is full, the next one is opened in the background, frames go there from one frame to the next,
and the full one is closed in the background. For the segments' names see `pi_capture.segments.series`, for their
removal `pi_capture.segments.retention`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pi_capture.errors import RecordingError, UsageError
from pi_capture.recording.recorder import Recorder
from pi_capture.recording.sink import FrameSink
from pi_capture.segments.retention import Keep, Retention
from pi_capture.segments.series import Series
from pi_capture.status import Status, Summary, added_up, measured_rate
from storage.amounts import parse_amount, parse_size, parse_time
from storage.durable.files import lock_file
from storage.errors import StorageError
from storage.formats.table import open_writer
from storage.frame import Frame

SWITCH_SECONDS = 0.05  # a camera's buffers last so long; if opening takes longer, the full segment goes on
TIDY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limit:
    """When a segment is full. One of the three is given."""

    frames: int | None = None
    nanoseconds: int | None = None
    bytes: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``1h``, ``10min``, ``2GB``, ``1000frames``.

        Raises
        ------
        UsageError
            It is none of these.
        """
        amount = parse_amount(text)
        if amount and amount[1].lower() in ("frame", "frames") and amount[0] >= 1:
            return cls(frames=int(amount[0]))
        if seconds := parse_time(text):
            return cls(nanoseconds=round(seconds * 1e9))
        if (size := parse_size(text)) is not None:
            return cls(bytes=size)
        raise UsageError(f"--segment {text}: give a time, a size or a number of frames: 1h, 10min, 2GB, 1000frames")


class SegmentedRecorder(FrameSink):
    """Records frames as `Recorder` does, into one segment after another.

    The segments' names begin with `target`: ``day1`` or ``day1.mkv``. `keep` says which to remove; by default none.
    `say` is called from any thread with a line about each segment that was removed or could not be repaired. For the
    others see `Recorder`.

    Raises
    ------
    UsageError, StorageError
        The target or these options can't be used.
    """

    def __init__(
        self,
        target: Path,
        limit: Limit,
        keep: Keep | None = None,
        *,
        backend: str | None = None,
        sync_interval: float = 1.0,
        options: Mapping[str, Any] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._target = target
        self._say = say or (lambda _: None)
        self._limit = limit
        self._backend, self._sync_interval, self._options = backend, sync_interval, options
        self._series = Series.of(target, backend)
        try:
            self._lock = lock_file(
                self._series.lock_path, f"{target} is being recorded into by another program; choose another name"
            )
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}; choose a directory that you may write to") from None
        self._facts: dict[str, Any] = {}
        self._end = threading.Event()
        self._retention = Retention(self._series, keep, end=self._end) if keep is not None else None
        try:
            there, begun = self._series.segments(), self._series.begun()
            # When the power went, one may have been open and another being closed.
            for path in {segment.path for segment in (*there[-2:], *begun)}:
                self._repair(path)
            self._number = max((segment.number for segment in (*there, *begun)), default=0)
            self._current = self._open()
        except BaseException:
            self._unlock()
            raise
        self._frames = 0  # in the current segment
        self._first_ns: int | None = None  # its first frame's time
        self._span_ns: tuple[int, int] | None = None  # of all segments
        self._next: Recorder | None = None
        self._opening: threading.Thread | None = None
        self._old: Recorder | None = None
        self._closing: threading.Thread | None = None
        self._done = Status.total([])  # of the segments that are closed
        self._segments = 1
        self._failure: Exception | None = None
        self._summary: Summary | None = None
        self._tidy_soon = threading.Event()
        self._tidying = threading.Thread(target=self._tidy_regularly, name="tidy", daemon=True)
        if self._retention is not None:
            self._tidying.start()

    def put(self, frame: Frame, *, wait: bool) -> bool:
        if self._is_full(frame) and self._may_begin_with(frame):
            self._switch(wait)
        if self._failure is not None:
            raise RecordingError(str(self._failure), self.summary())
        if self._first_ns is None:
            self._first_ns = frame.timestamp_ns
        self._span_ns = (self._span_ns[0] if self._span_ns else frame.timestamp_ns), frame.timestamp_ns
        self._frames += 1
        return self._current.put(frame, wait=wait)

    @property
    def samples(self) -> None:
        """None: sensors and sound are not cut into segments."""

    def miss(self, count: int) -> None:
        self._current.miss(count)

    # ----------------------------------------------------------------------------------------- from segment to segment

    def _is_full(self, frame: Frame) -> bool:
        if self._first_ns is None:
            return False
        limit = self._limit
        if limit.frames is not None:
            return self._frames >= limit.frames
        if limit.nanoseconds is not None:
            return frame.timestamp_ns - self._first_ns >= limit.nanoseconds
        return limit.bytes is not None and self._current.bytes_written >= limit.bytes

    def _may_begin_with(self, frame: Frame) -> bool:
        """Whether a segment can begin with this frame: it is decoded without others."""
        return frame.packet is None or self.takes_packets is None or frame.packet.follows(None)

    def _switch(self, wait: bool) -> None:
        """Go on in the next segment, if it is open and the one before is closed. Waits `SWITCH_SECONDS` at most."""
        patience = None if wait else SWITCH_SECONDS
        if self._closing is not None:
            self._closing.join(patience if wait else 0)
            if self._closing.is_alive():
                return
        if self._opening is None:
            self._opening = threading.Thread(target=self._open_next, name="open segment", daemon=True)
            self._opening.start()
            self._opening.join(patience)
        if self._next is None:
            return
        self._opening.join()
        self._next.take_losses_from(self._current)
        self._next.describe(self._facts)  # some facts came while it was being opened
        self._old, self._current, self._next, self._opening = self._current, self._next, None, None
        self._frames, self._first_ns = 0, None
        self._segments += 1
        self._closing = threading.Thread(target=self._close_old, args=(self._old,), name="close segment", daemon=True)
        self._closing.start()

    def _open_next(self) -> None:
        try:
            self._next = self._open()
        except Exception as error:
            self._failure = error

    def _open(self) -> Recorder:
        self._number += 1
        self._newest = self._series.new_path(self._number)
        return Recorder(
            self._newest,
            backend=self._backend,
            sync_interval=self._sync_interval,
            facts={**self._facts, "segment": self._number},
            options=self._options,
        )

    def _close_old(self, old: Recorder) -> None:
        try:
            old.close("next segment")
        except RecordingError as error:
            self._failure = error
        self._done, self._old = Status.total([self._done, old.status()]), None
        self._tidy_soon.set()

    def _repair(self, path: Path) -> None:
        """Complete a segment that a crash may have interrupted, as the next recording into it would."""
        try:
            open_writer(path, self._backend).close()
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        except (StorageError, OSError) as error:
            self._say(f"{path} was left as it is: {error}")

    def _tidy_regularly(self) -> None:
        while not self._end.is_set():
            self._tidy()
            self._tidy_soon.wait(TIDY_SECONDS)
            self._tidy_soon.clear()

    def _tidy(self) -> None:
        if self._retention is not None:
            recorders = (self._current, self._old)
            in_use = {recorder.target for recorder in recorders if recorder is not None}
            for line in self._retention.tidy({*in_use, self._newest}):  # which may not be the current one yet
                self._say(line)

    # --------------------------------------------------------------------------------------------------- state and end

    @property
    def failed(self) -> bool:
        return self._failure is not None or self._current.failed

    @property
    def lossless(self) -> bool:
        return self._current.lossless

    @property
    def takes_packets(self) -> tuple[str, int] | None:
        return self._current.takes_packets

    @property
    def target(self) -> Path:
        return self._target

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Add facts to those kept with this segment and all that follow."""
        self._facts = {**self._facts, **facts}
        self._current.describe(facts)

    def status(self) -> Status:
        done, old, present = self._done, self._old, self._current.status()
        total = Status.total([done, present, *([old.status()] if old is not None else [])])
        return replace(total, queue_fill=present.queue_fill)  # of the segment that frames come into

    def summary(self) -> Summary:
        counts = added_up([self.status()])
        fps = measured_rate(counts["frames"], self._span_ns)
        current = self._current.summary()
        return replace(
            current,
            **counts,
            seconds=round(counts["frames"] / fps, 3) if fps else 0.0,
            fps=round(fps, 3),
            path=str(self._target),
            segments=self._segments,
            newest=current.path if current.frames else "",
        )

    def close(self, end: str = "finished") -> Summary:
        if self._summary is not None:
            return self._summary
        for thread in (self._opening, self._closing):
            if thread is not None:
                thread.join()
        if self._next is not None:
            with suppress(RecordingError):  # all frames are in the other
                self._next.close()  # it is empty: closing removes it
        failure: Exception | None = self._failure
        try:
            self._current.close(end)
        except RecordingError as error:
            failure = error
        self._summary = self.summary()
        self._end.set()
        self._tidy_soon.set()
        if self._retention is not None:
            self._tidying.join()
            self._tidy()
        self._unlock()
        if failure is not None:
            raise RecordingError(str(failure), self._summary)
        return self._summary

    def _unlock(self) -> None:
        self._series.lock_path.unlink(missing_ok=True)
        os.close(self._lock)

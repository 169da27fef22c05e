"""Takes the frames of a camera as a recorder does, and has them looked at instead of stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pi_capture.errors import RecordingError
from pi_capture.recording.verdicts import Watching
from pi_capture.status import Status, Summary
from storage.frame import Frame


class WatchSink:
    """A `pi_capture.recording.sink.FrameSink` that stores nothing: its ``frames`` were looked at."""

    target = Path()
    samples = None
    lossless = True
    takes_packets = None

    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        self._lost = 0  # by the camera
        self._first_ns: int | None = None
        self._last_ns = 0

    @property
    def failed(self) -> bool:
        return self._watching.failure is not None

    def describe(self, facts: Mapping[str, object]) -> None:
        """Nothing is kept."""

    def put(self, frame: Frame, *, wait: bool) -> bool:
        self._watching.noted(frame, wait=wait)
        self._lost += frame.metadata.get("dropped_camera", 0)
        self._first_ns = frame.timestamp_ns if self._first_ns is None else self._first_ns
        self._last_ns = frame.timestamp_ns
        return True

    def miss(self, count: int) -> None:
        self._lost += count

    def status(self) -> Status:
        seen, skipped = self._watching.seen, self._watching.skipped
        return Status(seen, seen, skipped, self._lost, 0, 0, captured=seen + skipped)

    def summary(self) -> Summary:
        seen, skipped = self._watching.seen, self._watching.skipped
        seconds = 0.0 if self._first_ns is None else (self._last_ns - self._first_ns) / 1e9
        return Summary(
            seen, seconds, seen / seconds if seconds else 0.0, skipped, self._lost, 0, 0, path="", backend="watch",
            size=None, captured=seen + skipped,
        )  # fmt: skip

    def close(self, end: str = "finished") -> Summary:
        self._watching.close()
        if self._watching.failure is not None:
            raise RecordingError("; ".join(self._watching.problems), self.summary()) from self._watching.failure
        return self.summary()

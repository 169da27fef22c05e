"""Where samples go: what the tracks of a recording need of its recorder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pi_capture.status import Status, Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.tracks.sample_track import SampleTrack


class SampleSink(Protocol):
    """Keeps samples of several tracks, as `pi_capture.recording.recorder.Recorder` does; any thread may call it.

    All that store raise RecordingError if that has failed.
    """

    @property
    def track_names(self) -> Sequence[str]: ...
    def add_tracks(self, tracks: Sequence[SampleTrack]) -> None: ...
    def begin_at(self, timestamp_ns: int) -> None: ...
    def put_samples(self, name: str, timestamp_ns: int, samples: NDArray[Any], *, wait: bool) -> bool: ...
    def pad_samples(self, name: str, timestamp_ns: int, count: int) -> None: ...
    def flush_samples(self, name: str) -> None: ...
    def describe_track(self, name: str, facts: Mapping[str, Any]) -> None: ...


class SampleRecorder(Protocol):
    """How a recording of samples alone stands, and its end."""

    @property
    def failed(self) -> bool: ...
    def status(self) -> Status: ...
    def close(self, end: str = ...) -> Summary: ...

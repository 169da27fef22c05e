"""Where samples go: what the tracks of a recording need of its recorder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pi_capture.status import Status, Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.tracks.sample_track import SampleTrack


class SampleSink(Protocol):
    """Stores samples of several tracks: `pi_capture.samples.queue.SampleQueue`. Any thread may call it."""

    @property
    def track_names(self) -> Sequence[str]: ...

    def add_tracks(self, tracks: Sequence[SampleTrack]) -> None:
        """Add tracks before the first frame. Raises StorageError if the continued file has others, or a name twice."""

    def begin_at(self, timestamp_ns: int) -> None:
        """Set the earliest time of all that comes, before the first frame."""

    def put_samples(self, name: str, timestamp_ns: int, samples: NDArray[Any], *, wait: bool) -> bool:
        """Add samples as `check_samples` of `storage.tracks.sample_track` returns them.

        With ``wait=False`` samples that find the queue full are lost and counted, and False is returned. Raises
        RecordingError if the recording has failed.
        """

    def pad_samples(self, name: str, timestamp_ns: int, count: int) -> None:
        """Fill a pause of `count` samples; `timestamp_ns` is the time of the first."""

    def flush_samples(self, name: str) -> None:
        """Write the samples so far soon, though their block isn't full."""

    def describe_track(self, name: str, facts: Mapping[str, Any]) -> None:
        """Add facts about a track, JSON-serialisable: ``measured_rate``, ``came_before``."""


class SampleRecorder(Protocol):
    """The recorder of samples without pictures."""

    @property
    def failed(self) -> bool: ...
    def status(self) -> Status: ...
    def close(self, end: str = ...) -> Summary: ...

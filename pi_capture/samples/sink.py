"""What the tracks of a recording need of its recorder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pi_capture.samples.clock import Dated
    from storage.tracks.sample_track import SampleTrack


class SampleSink(Protocol):
    """Stores samples of several tracks: `pi_capture.samples.queue.SampleQueue`. Any thread may call it."""

    @property
    def track_names(self) -> Sequence[str]: ...

    def add_tracks(self, tracks: Sequence[SampleTrack]) -> None:
        """Add tracks before the first frame. Raises StorageError if the continued file has others, or a name twice."""

    def begin_at(self, timestamp_ns: int) -> None:
        """Set the earliest time of all frames and samples, before the first frame."""

    def put(self, name: str, piece: Dated, *, wait: bool = False) -> None:
        """Add samples as `check_samples` of `storage.tracks.sample_track` returns them, or a pause, which is padded.

        Without `wait`, samples that find the queue full are lost and counted. Raises RecordingError if the recording
        has failed.
        """

    def flush(self, name: str) -> None:
        """Write the samples so far, even if their block isn't full."""

    def describe_track(self, name: str, facts: Mapping[str, Any]) -> None:
        """Add facts about a track, JSON-serialisable: ``measured_rate``, ``came_before``."""

    def note_problems(self, name: str, problems: Sequence[str]) -> None:
        """Keep with the recording what is wrong with a track, in place of what was noted before."""

"""What stores the frames: one recording, or a series of segments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pi_capture.samples.sink import SampleSink
from pi_capture.status import Status, Summary
from storage.frame import Frame


class FrameSink(Protocol):
    """What `Recorder` and `SegmentedRecorder` have in common."""

    @property
    def target(self) -> Path:
        """The target as it was given."""

    @property
    def samples(self) -> SampleSink | None:
        """Where samples of sensors and sound go; None if the format keeps none."""

    @property
    def lossless(self) -> bool:
        """Whether the frames come back as they went in."""

    @property
    def takes_packets(self) -> tuple[str, int] | None:
        """Codec and quality of packets that are stored as they are; None if pixels are encoded."""

    @property
    def failed(self) -> bool:
        """Whether the recording can't go on; `close` raises the reason."""

    def describe(self, facts: Mapping[str, object]) -> None:
        """Add facts to those kept with the recording, JSON-serialisable."""

    def put(self, frame: Frame, *, wait: bool) -> bool:
        """Add a frame as a source delivers it; it gets its number here.

        With ``wait=False`` a frame that finds the queue full is dropped and counted, and False is returned.

        Raises
        ------
        RecordingError
            The recording has failed, as on a full disk.
        """

    def miss(self, count: int) -> None:
        """Count frames that the camera lost after the last one that came."""

    def status(self) -> Status:
        """The counts at this moment."""

    def summary(self) -> Summary:
        """The summary so far."""

    def close(self, end: str = "finished") -> Summary:
        """Store all frames durably; returns the summary.

        Raises
        ------
        RecordingError
            Some frames could not be stored; the others are safe.
        """

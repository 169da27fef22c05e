"""Where the frames go that are kept: into one recording, or into a series of them."""

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
        """Where to, as it was asked for."""

    @property
    def samples(self) -> SampleSink | None:
        """Where samples of sensors and sound go; None if none can be kept."""

    @property
    def lossless(self) -> bool:
        """Whether the frames come back as they went in."""

    @property
    def takes_packets(self) -> tuple[str, int] | None:
        """The codec and the quality of packets that are kept as they are, if frames bring them; None: pixels are."""

    @property
    def failed(self) -> bool:
        """Whether the recording can't go on; `close` tells why."""

    def describe(self, facts: Mapping[str, object]) -> None:
        """Add facts to those kept with the recording, JSON-serialisable."""

    def put(self, frame: Frame, *, wait: bool) -> bool:
        """Add a frame as a source delivers it; it is numbered here.

        With ``wait=False`` a frame that finds the queue full is dropped and counted, and False is returned.

        Raises
        ------
        RecordingError
            The recording had to end, because the disk is full, say.
        """

    def miss(self, count: int) -> None:
        """Count frames that the camera lost after the last one that came."""

    def status(self) -> Status:
        """How the recording stands now."""

    def summary(self) -> Summary:
        """What the recording came to, so far."""

    def close(self, end: str = "finished") -> Summary:
        """Store everything that was taken, durably, and tell what the recording came to.

        Raises
        ------
        RecordingError
            Some of it could not be stored; what could is safe.
        """

"""Sensors and sound beside the pictures: this machine's, and those that a source sends with its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from pi_capture.errors import CameraError
from pi_capture.sources import Accompanied, Source
from storage.formats.table import format_with_samples
from storage.frame import Frame

if TYPE_CHECKING:
    from pi_capture.samples.local import LocalTracks
    from pi_capture.samples.received import ReceivedTracks
    from pi_capture.samples.sink import SampleSink


class Accompaniment:
    """The samples of a whole recording, however often its camera is opened.

    `tracks` are this machine's. A source's samples go into `samples`; if that is None, they are not kept.
    """

    def __init__(self, tracks: LocalTracks, samples: SampleSink | None) -> None:
        self.tracks = tracks
        self._samples = samples
        self._received: ReceivedTracks | None = None

    def join(self, source: Source, say: Callable[[str], None]) -> None:
        """Keep the samples of a source from now on, if the recording can."""
        tracks = source.tracks if isinstance(source, Accompanied) else ()
        if self._received is not None:
            if left_out := self._received.go_on(tracks):
                say(f"{source.info.camera}: not kept, as they were not there at first: {', '.join(left_out)}")
        elif self._samples is not None:
            from pi_capture.samples.received import ReceivedTracks

            self._received = ReceivedTracks(self._samples, tracks)
        if self._received is not None and isinstance(source, Accompanied):
            source.give_samples_to(self._received.store, say)
        elif tracks:
            names = ", ".join(track.name for track in tracks)
            better = f"record to a {format_with_samples().suffix}, in one piece, for them"
            say(f"{source.info.camera} sends {names}, which are not kept; {better}")

    def begin(self, first_ns: int, until_ns: int | None) -> None:
        """Set the time from which and until which samples are kept."""
        self.tracks.begin(first_ns, until_ns)
        if self._received is not None:
            self._received.begin(first_ns, until_ns)

    def wait_for_the_rest(self, frames: Iterator[Frame]) -> None:
        """Read frames after the last one until all samples in time have come."""
        with suppress(CameraError):
            while self._received is not None and not self._received.complete and next(frames, None) is not None:
                pass

    def end(self, last_ns: int | None) -> list[str]:
        """End the tracks of the source, after a last frame of that time; returns the problems."""
        return [] if self._received is None else self._received.end(last_ns)

"""Select the frames to record: those in time and, if asked, those around motion or a class."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

from pi_capture.recording.around import Around
from storage.frame import Frame

ROUNDED = 0.001  # frames: timestamps are whole nanoseconds; a frame that is due at the end isn't one before it


class Gate:
    """Lets frames pass, from the first take of a recording to its last.

    It ends after `seconds`, by the timestamps; -1 for no end. Without `around` all frames until then pass.
    """

    def __init__(self, seconds: float, around: Around | None = None) -> None:
        self._seconds = seconds
        self._around = around
        self.last_ns: int | None = None  # of the last frame in time
        self._gap: dict[str, Any] = {}
        self.frames = 0  # that came in time
        self.reopened = 0  # how often the camera was opened again and delivered
        self.until_ns: int | None = None  # the end, known from the first frame on
        self.time_is_up = False  # a frame came after the end
        self.lost_before_the_end = 0  # frames in time that the camera lost before that one

    def passing(self, frame: Frame) -> list[Frame]:
        """Return the frames to record now that this one came, oldest first; none after the end."""
        if self.last_ns is None and not self.endless:
            self.until_ns = frame.timestamp_ns + round(self._seconds * 1e9)
        if self.until_ns is not None and frame.timestamp_ns >= self.until_ns:
            self.time_is_up = True
            self.lost_before_the_end = self._lost_in_time(frame, self.until_ns)
            return []
        if self._gap:
            if self.last_ns is not None:
                self._gap["gap_ns"] = frame.timestamp_ns - self.last_ns
            frame, self._gap = replace(frame, metadata={**frame.metadata, **self._gap}), {}
            self.reopened += 1
        self.last_ns = frame.timestamp_ns
        self.frames += 1
        return [frame] if self._around is None else list(self._around.pick(frame))

    def note_gap(self, cause: str) -> None:
        """Note in the next frame that the camera was gone before it: the cause, and how long."""
        self._gap = {"gap": cause}

    def _lost_in_time(self, late: Frame, until_ns: int) -> int:
        lost: int = late.metadata.get("dropped_camera", 0)
        if not lost or self.last_ns is None:
            return 0
        apart = (late.timestamp_ns - self.last_ns) / (lost + 1)
        return min(lost, ceil((until_ns - self.last_ns) / apart - ROUNDED) - 1)

    @property
    def endless(self) -> bool:
        """Whether the recording has no end of its own."""
        return self._seconds < 0

    @property
    def keeps_all(self) -> bool:
        """Whether every frame in time passes, so that packets can be decoded."""
        return self._around is None

    @property
    def not_kept(self) -> int:
        """How many frames did not pass as nothing happened, those in the pre-roll included."""
        return self._around.not_kept if self._around is not None else 0

"""Which frames pass from the camera to the recorder: those before the end, and of these, if asked, those that move."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

from pi_capture.recording.motion import Motion
from storage.frame import Frame


class Gate:
    """Lets frames pass, from the first take of a recording to its last.

    Parameters
    ----------
    seconds : float
        How long frames pass, by their timestamps; -1 for ever.
    motion : Motion, optional
        Picks those that pass; all do without it.

    Attributes
    ----------
    frames : int
        How many came in time.
    reopened : int
        How often the camera had been gone, and came back.
    until_ns : int or None
        When time is up, once the first frame has come; None for never.
    time_is_up : bool
        A frame came that was too late.
    lost_before_the_end : int
        Of the frames that the camera lost before that one, how many would not have been.
    """

    def __init__(self, seconds: float, motion: Motion | None = None) -> None:
        self._seconds = seconds
        self._motion = motion
        self._last_ns: int | None = None
        self._gap: dict[str, Any] = {}
        self.frames = self.reopened = self.lost_before_the_end = 0
        self.until_ns: int | None = None
        self.time_is_up = False

    def passing(self, frame: Frame) -> list[Frame]:
        """The frames to record now that this one has come, oldest first; none if its time is past the end."""
        if self._last_ns is None and not self.endless:
            self.until_ns = frame.timestamp_ns + round(self._seconds * 1e9)
        if self.until_ns is not None and frame.timestamp_ns >= self.until_ns:
            self.time_is_up = True
            self.lost_before_the_end = self._lost_in_time(frame, self.until_ns)
            return []
        if self._gap:
            if self._last_ns is not None:
                self._gap["gap_ns"] = frame.timestamp_ns - self._last_ns
            frame, self._gap = replace(frame, metadata={**frame.metadata, **self._gap}), {}
            self.reopened += 1
        self._last_ns = frame.timestamp_ns
        self.frames += 1
        return [frame] if self._motion is None else list(self._motion.pick(frame))

    def note_gap(self, cause: str) -> None:
        """The camera was gone before the next frame; why goes with that frame, and how long."""
        self._gap = {"gap": cause}

    def _lost_in_time(self, late: Frame, until_ns: int) -> int:
        lost: int = late.metadata.get("dropped_camera", 0)
        if not lost or self._last_ns is None:
            return 0
        apart = (late.timestamp_ns - self._last_ns) / (lost + 1)
        return min(lost, ceil((until_ns - self._last_ns) / apart) - 1)

    @property
    def endless(self) -> bool:
        """Whether frames pass until somebody ends it."""
        return self._seconds < 0

    @property
    def keeps_all(self) -> bool:
        """Whether each frame passes: packets of which some are missing can't be decoded."""
        return self._motion is None

    @property
    def not_kept(self) -> int:
        """How many frames did not pass because nothing moved; those that wait to be a pre-roll among them."""
        return self._motion.not_kept if self._motion is not None else 0

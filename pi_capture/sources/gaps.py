"""Frames that the camera itself lost, which show as gaps in its timestamps."""

from __future__ import annotations

import math

SLACK = 0.25  # frames
FADING = 0.9  # a frame


class GapCounter:
    """Counts the frames missing between one frame and the next.

    Only for cameras that report how long each frame took: a camera that slows down in the dark has lost nothing.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._behind = 0.0  # how much later than due the last frame came, in frames

    def missing_before(self, timestamp_ns: int, duration_ns: int) -> int:
        """Frames lost between the last timestamp and this one, at `duration_ns` a frame (0: unknown, none lost).

        A late timestamp is no loss if the next one makes up for it: only lateness that adds up counts. It fades, so
        that a duration that is a little off never adds up to a frame.
        """
        last, self._last_ns = self._last_ns, timestamp_ns
        if last is None or duration_ns <= 0:
            return 0
        self._behind = max(-SLACK, FADING * self._behind + (timestamp_ns - last) / duration_ns - 1)
        missing = max(0, math.floor(self._behind + SLACK))
        self._behind -= missing
        return missing

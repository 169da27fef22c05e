"""Frames that the camera itself lost, seen as gaps in its timestamps."""

from __future__ import annotations


class GapCounter:
    """Counts the frames missing between one frame and the next.

    Only for cameras that tell how long each frame took: a camera that slows down in the dark has lost nothing.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def missing_before(self, timestamp_ns: int, duration_ns: int) -> int:
        """Frames lost between the last timestamp and this one, at `duration_ns` a frame (0: unknown, none lost)."""
        last, self._last_ns = self._last_ns, timestamp_ns
        if last is None or duration_ns <= 0:
            return 0
        return max(0, round((timestamp_ns - last) / duration_ns) - 1)

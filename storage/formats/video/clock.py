"""The own time of a video recording while it is written."""

from __future__ import annotations

from storage.formats.video.file import PICTURES
from storage.matroska.reader import Contents
from storage.tracks.samples import tracks_of

DEFAULT_STEP_US, MOST_STEP_US = 33_333, 1_000_000


class RecordingClock:
    """The file's own time: it begins at 0, never goes back, and has no gap where a recording was continued."""

    def __init__(self, found: Contents | None) -> None:
        times = found.blocks[PICTURES].times[-2:].tolist() if found and PICTURES in found.tracks else []
        self.step = min(times[1] - times[0], MOST_STEP_US) if len(times) == 2 else DEFAULT_STEP_US
        self.last = times[-1] if times else -self.step
        self.begins = self.last + self.step
        if found and tracks_of(found):
            self.begins = max(self.begins, found.head.duration)
        self._origin_ns: int | None = None

    def begin(self, timestamp_ns: int) -> None:
        """Set the timestamp of what is stored first; only the first call counts."""
        if self._origin_ns is None:
            self._origin_ns = timestamp_ns - self.begins * 1000

    def facts(self) -> dict[str, int]:
        """The facts by which `storage.tracks.sample_reader.Clock` turns the file's time into timestamps again."""
        assert self._origin_ns is not None
        return {"begins_us": self.begins, "origin_ns": self._origin_ns}

    def place_samples(self, timestamp_ns: int, last: int) -> int:
        """The time of a block of samples whose track's last one has the time `last`."""
        assert self._origin_ns is not None
        return max((timestamp_ns - self._origin_ns) // 1000, self.begins, last + 1)

    def place(self, timestamp_ns: int) -> int:
        """The time of a frame, in microseconds."""
        assert self._origin_ns is not None
        return max((timestamp_ns - self._origin_ns) // 1000, self.last + 1)

    def advance(self, time: int) -> None:
        """A frame of that time was stored."""
        self.step, self.last = min(time - self.last, MOST_STEP_US), time

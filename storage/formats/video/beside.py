"""What a video recording has beside its pictures while it is written: its own time, its labels, its sensors and sound.

The frames, and the order in which everything goes to the file, are `storage.formats.video.writer`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from storage.errors import StorageError
from storage.formats.video.file import LABELS, PICTURES
from storage.matroska.reader import Contents
from storage.matroska.track import Block, Track
from storage.tracks.sample_track import SampleTrack
from storage.tracks.samples import (
    FIRST_TRACK,
    MAX_TRACKS,
    Packed,
    Packer,
    block_of,
    entry_of,
    tracks_of,
)

LABEL_SECONDS = 1.0
DEFAULT_STEP_US, MOST_STEP_US = 33_333, 1_000_000


class FileClock:
    """The file's own time: it begins at 0, goes on without a gap where a recording was continued, and never back."""

    def __init__(self, found: Contents | None) -> None:
        times = found.blocks[PICTURES].times[-2:].tolist() if found and PICTURES in found.tracks else []
        self.step = min(times[1] - times[0], MOST_STEP_US) if len(times) == 2 else DEFAULT_STEP_US
        self.last = times[-1] if times else -self.step
        self.begins = self.last + self.step
        if found and tracks_of(found):
            self.begins = max(self.begins, found.head.duration)
        self._origin_ns: int | None = None

    def begin(self, timestamp_ns: int) -> None:
        """What this writer stores first has that timestamp; only the first call counts."""
        if self._origin_ns is None:
            self._origin_ns = timestamp_ns - self.begins * 1000

    def facts(self) -> dict[str, int]:
        """What turns the file's time into timestamps again (`storage.tracks.samples.Clock`)."""
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


class SampleTracks:
    """A writer's tracks of samples: what gathers them, what waits for the first picture, and what is known of each."""

    def __init__(self, tracks: Sequence[SampleTrack]) -> None:
        self.packers: dict[str, Packer] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.waiting: list[tuple[str, Packed]] = []
        self._numbers: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self.add(tracks)

    def add(self, tracks: Sequence[SampleTrack]) -> None:
        """More tracks, before the first block is written. Raises StorageError if they can't be in one file."""
        names = [*self.packers, *(track.name for track in tracks)]
        if len(set(names)) < len(names):
            raise StorageError(f"several tracks are called {max(names, key=names.count)!r}; each needs its own name")
        if len(names) > MAX_TRACKS:
            raise StorageError(f"{len(names)} sensors are too many for one file; {MAX_TRACKS} at most")
        self.packers = {**self.packers, **{track.name: Packer(track) for track in tracks}}
        self.facts = {name: self.facts.get(name, {"samples": 0, "padded": 0}) for name in names}
        self._numbers = {name: number for number, name in enumerate(names, FIRST_TRACK)}
        self._last = dict.fromkeys(names, -1)

    def number_as(self, found: Mapping[int, SampleTrack]) -> None:
        """Take the numbers that the tracks have in a file."""
        self._numbers = {track.name: number for number, track in found.items()}

    @property
    def earliest_ns(self) -> int:
        return min((packed.timestamp_ns for _, packed in self.waiting), default=1 << 63)

    @property
    def waiting_bytes(self) -> int:
        return sum(len(packed.data) for _, packed in self.waiting)

    def entries(self) -> list[Track]:
        """For the file's list of tracks: sound comes first, as programs take the first audio track for it."""
        packers = sorted(self.packers.items(), key=lambda item: not item[1].track.is_sound)
        return [entry_of(self._numbers[name], packer) for name, packer in packers]

    def tags(self) -> dict[int | None, dict[str, str]]:
        tags: dict[int | None, dict[str, str]] = {}
        for name, packer in self.packers.items():
            facts = {key.upper(): str(value) for key, value in self.facts[name].items() if value is not None}
            tags[self._numbers[name]] = {**packer.track.tags(), **facts}
        return tags

    def place(self, name: str, packed: Packed, clock: FileClock) -> tuple[Block, int]:
        """The block that it becomes, and its mark."""
        time = self._last[name] = clock.place_samples(packed.timestamp_ns, self._last[name])
        facts = self.facts[name]
        facts["padded" if packed.padding else "samples"] += packed.count
        rate = self.packers[name].track.rate
        return block_of(self._numbers[name], time, packed, rate), int(packed.padding)


class LabelTrack:
    """Turns the label of each frame into subtitles.

    A label that goes on is written each second, as it may be cut off at any moment; `once` is for what can't be.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self._label: str | None = None
        self._since = 0

    def place(self, time: int, label: str | None) -> list[Block]:
        """The blocks that end where a frame with that label comes."""
        if label == self._label and (label is None or self._once or time - self._since < LABEL_SECONDS * 1e6):
            return []
        ended = self._label
        self._label, since, self._since = label, self._since, time
        return [Block(LABELS, since, ended.encode(), duration=time - since)] if ended is not None else []

"""The sensors and the sound of a video recording while it is written: what comes beside its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from storage.errors import StorageError
from storage.formats.video.clock import RecordingClock
from storage.matroska.track import Block, Track
from storage.tracks.sample_track import TAKEN_NAMES, SampleTrack
from storage.tracks.samples import AT_THE_END, FIRST_TRACK, MAX_TRACKS, Packed, Packer, block_of, entry_of, joined_tags


class SampleTracks:
    """A writer's tracks of samples: what gathers them, what waits for the first picture, and what is known of each."""

    def __init__(self, tracks: Sequence[SampleTrack]) -> None:
        self.packers: dict[str, Packer] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.waiting: list[tuple[str, Packed]] = []
        self._numbers: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._before: dict[str, Mapping[str, str]] = {}  # the tags after the sessions before this one
        self.add(tracks)

    def add(self, tracks: Sequence[SampleTrack]) -> None:
        """More tracks, before the first block is written. Raises StorageError if they can't be in one file."""
        names = [*self.packers, *(track.name for track in tracks)]
        if len(set(names)) < len(names):
            raise StorageError(f"several tracks are called {max(names, key=names.count)!r}; each needs its own name")
        if taken := set(names).intersection(TAKEN_NAMES):
            raise StorageError(f"a sensor can't be called {min(taken)}: that is another track; choose another name")
        if len(names) > MAX_TRACKS:
            raise StorageError(f"{len(names)} sensors are too many for one file; {MAX_TRACKS} at most")
        self.packers = {**self.packers, **{track.name: Packer(track) for track in tracks}}
        self.facts = {name: self.facts.get(name, {"samples": 0, "padded": 0}) for name in names}
        self._numbers = {name: number for number, name in enumerate(names, FIRST_TRACK)}
        self._last = dict.fromkeys(names, -1)

    def go_on(self, found: Mapping[int, SampleTrack], tags: Mapping[int | None, Mapping[str, str]]) -> None:
        """Take the numbers that the tracks have in a file, and go on counting from its tags."""
        self._numbers = {track.name: number for number, track in found.items()}
        self._before = {
            name: {fact: text for fact, text in tags.get(number, {}).items() if fact in AT_THE_END}
            for name, number in self._numbers.items()
        }

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

    def tags(self, *, ended: bool) -> dict[int | None, dict[str, str]]:
        """What the file's tags say of each track; before the session has ended nothing that is known only then."""
        tags: dict[int | None, dict[str, str]] = {}
        for name, packer in self.packers.items():
            facts = {key.upper(): str(value) for key, value in self.facts[name].items() if value is not None}
            if ended:
                facts = joined_tags(self._before.get(name, {}), facts, packer.track.rate)
            else:
                facts = {fact: text for fact, text in facts.items() if fact not in AT_THE_END}
            tags[self._numbers[name]] = {**packer.track.tags(), **facts}
        return tags

    def place(self, name: str, packed: Packed, clock: RecordingClock) -> tuple[Block, int]:
        """The block of packed samples, and its mark."""
        time = self._last[name] = clock.place_samples(packed.timestamp_ns, self._last[name])
        facts = self.facts[name]
        facts["padded" if packed.padding else "samples"] += packed.count
        rate = self.packers[name].track.rate
        return block_of(self._numbers[name], time, packed, rate), int(packed.padding)

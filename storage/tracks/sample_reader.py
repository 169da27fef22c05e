"""What every track of samples in an open recording can do, whoever wrote the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.tracks.sample_track import SampleBlock, SampleTrack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OPUS_RATE = 48000  # that its decoder gives, whatever was encoded


@dataclass(frozen=True, slots=True)
class Clock:
    """How timestamps follow from the file's time: ``time * 1000 + origin_ns`` from ``begins_us`` on."""

    begins_us: int
    origin_ns: int


def clocks_of(sessions: Sequence[Mapping[str, Any]]) -> list[Clock]:
    """The clock of each session that has one."""
    known = [session.get("clock") for session in sessions]
    pairs = [(clock.get("begins_us"), clock.get("origin_ns")) for clock in known if isinstance(clock, dict)]
    return [Clock(begins, origin) for begins, origin in pairs if isinstance(begins, int) and isinstance(origin, int)]


class SampleReader(ABC):
    """One track of samples of an open recording; read lazily, block by block.

    Attributes
    ----------
    track : SampleTrack
        Its name, stated rate, channels, unit, and what the channels are called.
    facts : dict
        What else its tags say, as texts, where it is known. ``MEASURED_RATE``: samples a second. ``DRIFT_PPM``: by how
        many millionths that is more than stated. ``SAMPLES``, ``PADDED``: how many were measured, and how many stand
        for missing ones. ``CAME_BEFORE``: how many came before the first picture and were not kept. Of a merged file
        also ``MERGED_FROM``: the name of the file that it was in. ``ALIGNED_BY``: how that was placed, in the words of
        the merge's report. ``OFFSET``: when its time 0 is, in seconds of the first file's time. ``RESIDUAL``: how far
        off that may be, in seconds. ``CLOCK_DRIFT_PPM``: by how many millionths its clock ran faster than the first
        file's, which is undone; 0 if no difference showed.
    checked : bool
        Whether each block has a checksum, so that no changed sample is taken for a measured one. If not, only what
        can't be decoded is known to be damaged.
    resolution_ns : int
        In which steps the file keeps the time of a block, in nanoseconds.
    """

    checked: bool
    resolution_ns: int
    _delay_ns = 0  # after the first block, by which samples were taken before the time of theirs

    def __init__(self, track: SampleTrack, facts: Mapping[str, str], clocks: Sequence[Clock]) -> None:
        self.track = track
        self.facts = dict(facts)
        self._clocks = clocks

    @property
    def name(self) -> str:
        return self.track.name

    @property
    def rate(self) -> float:
        """Samples a second: as measured, where that is known; else as stated."""
        try:
            rate = float(self.facts["MEASURED_RATE"])
        except (KeyError, ValueError):
            rate = self.track.rate
        return rate / self.track.rate * OPUS_RATE if self.track.codec == "opus" else rate

    @property
    @abstractmethod
    def seconds(self) -> float:
        """How long it goes on in the file's time."""

    @abstractmethod
    def __len__(self) -> int:
        """How many blocks there are."""

    @abstractmethod
    def blocks(self, first: int = 0, end: int | None = None) -> Iterator[SampleBlock]:
        """The blocks from `first` up to `end`, in order. Raises StorageError where one is damaged."""

    @property
    @abstractmethod
    def _times_ns(self) -> NDArray[np.int64]:
        """The time of each block, as the pictures' timestamps."""

    def read(self, begin_ns: int | None = None, end_ns: int | None = None) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The samples from one time up to another, all of them by default.

        Returns
        -------
        ndarray, int64
            The time of each sample, in nanoseconds, as the pictures' timestamps.
        ndarray, shape (n, channels)
            The samples, float32 or int16, as they were recorded. Of other programs' files, what has more than 16 bits
            is float32 too: sound from -1 to 1.

        Raises
        ------
        StorageError
            One of them is damaged.
        """
        import numpy as np

        times = self._times_ns
        first, last = 0, len(times)
        if (times[1:] >= times[:-1]).all():  # not so after a boot, which starts the clock anew
            first = 0 if begin_ns is None else max(0, int(np.searchsorted(times, begin_ns, "right")) - 1)
            last = len(times) if end_ns is None else int(np.searchsorted(times, end_ns, "left"))
        stamps: list[NDArray[np.int64]] = []
        parts: list[NDArray[Any]] = []
        for at, block in enumerate(self.blocks(first, last), first):
            parts.append(block.samples)
            steps = np.arange(len(block.samples)) * self._step_ns(at, block)
            stamps.append(block.begin_ns + np.rint(steps).astype(np.int64))
        if not parts:
            return np.zeros(0, np.int64), np.zeros((0, self.track.channels), self.track.kept_as.dtype)
        found, samples = np.concatenate(stamps), np.concatenate(parts)
        kept = np.ones(len(found), np.bool_)
        if begin_ns is not None:
            kept &= found >= begin_ns
        if end_ns is not None:
            kept &= found < end_ns
        return found[kept], samples[kept]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.track.channels} channels, {self.rate:g} a second>"

    def _step_ns(self, at: int, block: SampleBlock) -> float:
        """From one sample to the next in a block: up to the next block, unless there is a gap."""
        usual = 1e9 / self.rate
        if at + 1 < len(self) and len(block.samples):
            step = float(self._times_ns[at + 1] - self._delay_ns - block.begin_ns) / len(block.samples)
            if 0 < step < 2 * usual:
                return step
        return usual

    def _on_the_pictures_clock(self, times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times of the file's own as the pictures' timestamps."""
        import numpy as np

        if not self._clocks:
            return times_ns
        begins = np.array([clock.begins_us * 1000 for clock in self._clocks])
        origins = np.array([clock.origin_ns for clock in self._clocks])
        shifts: NDArray[np.int64] = origins[np.maximum(np.searchsorted(begins, times_ns, "right") - 1, 0)]
        return times_ns + shifts


def interleaved(frame: Any, channels: int) -> NDArray[Any]:
    """The samples of a decoded frame of sound: shape (n, channels)."""
    samples: NDArray[Any] = frame.to_ndarray()
    return samples.T if frame.format.is_planar else samples.reshape(-1, channels)

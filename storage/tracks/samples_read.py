"""The samples of a sensor or of sound, out of any media file, and when each was taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.tracks.demux import COARSE_NS, Track, facts_of_packet, open_media, packets_of, tag_of, time_of, zero_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROUNDED_NS = 1_500_000  # what whole milliseconds are off, twice


@dataclass(frozen=True, slots=True)
class Part:
    """Samples that follow each other.

    Attributes
    ----------
    begin_ns : int
        When the first one was taken, in nanoseconds of the file's time.
    samples : ndarray, shape (n, channels)
        As they are stored: int16, int32, float32 or float64.
    padding : bool
        Whether they were not measured: the recorder filled a pause.
    """

    begin_ns: int
    samples: NDArray[Any]
    padding: bool = False


def true_rate(track: Track) -> float:
    """Samples a second: as measured while recording, or else as the file states."""
    return measured_rate(track) or track.rate or 1.0


def measured_rate(track: Track) -> float | None:
    """Samples a second as this program measured them, if it did."""
    try:
        rate = float(tag_of(track.tags, "measured_rate"))
    except ValueError:
        return None
    return rate if 0 < rate < float("inf") else None


def decode_samples(path: Path, track: Track) -> Iterator[Part]:
    """The samples of a track, in order and in parts as large as its packets.

    Where a file knows only whole milliseconds, as those of FFmpeg do, samples are counted from the begin on, until
    there is a gap.

    Raises
    ------
    StorageError
        The file is damaged, or FFmpeg can't decode it.
    """
    import av

    from storage.errors import StorageError

    step_ns = 1e9 / true_rate(track)
    begin_ns, counted = 0, -1  # of a stretch without a gap
    with open_media(path) as container:
        zero = zero_of(container)
        rounded = Fraction(container.streams[track.number].time_base or 1) * 1_000_000_000 > COARSE_NS
        for packet in packets_of(container, track.number):
            padding = facts_of_packet(packet).get("padding") is True
            try:
                decoded: Any = packet.decode()
            except av.error.FFmpegError as error:
                at = time_of(packet, zero) / 1e9
                raise StorageError(f"{path}: track {track.name} is damaged at {at:.3f} s: {error.strerror}") from None
            for frame in decoded:
                samples = _interleaved(frame, track.channels or 1)
                own_ns = time_of(packet, zero) if frame.pts is None else _ns(frame) - zero
                expected_ns = begin_ns + round(counted * step_ns)
                if counted < 0 or not rounded or abs(own_ns - expected_ns) > ROUNDED_NS + step_ns / 2:
                    begin_ns, counted, expected_ns = own_ns, 0, own_ns
                counted += len(samples)
                yield Part(expected_ns, samples, padding)


def times_ns(part: Part, rate: float) -> NDArray[np.int64]:
    """When each sample of a part was taken."""
    import numpy as np

    steps: NDArray[np.int64] = np.rint(np.arange(len(part.samples)) * (1e9 / rate)).astype(np.int64)
    return steps + part.begin_ns


def scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples as floats; integers, which are sound, from -1 to 1."""
    if samples.dtype.kind == "i":
        samples = samples / float(1 << (samples.itemsize * 8 - 1))
    return samples.astype("float32", copy=False)


def _interleaved(frame: Any, channels: int) -> NDArray[Any]:
    import numpy as np

    samples: NDArray[Any] = frame.to_ndarray()
    samples = np.ascontiguousarray(samples.T) if frame.format.is_planar else samples.reshape(-1, channels)
    return (samples.astype(np.int16) - 128) * 256 if samples.dtype == np.uint8 else samples


def _ns(frame: Any) -> int:
    ticks: int = frame.pts
    return round(ticks * Fraction(frame.time_base) * 1_000_000_000)

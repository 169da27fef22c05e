"""What can be compared between recordings: the brightness of pictures, and how loud sound or sensors are, over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.tracks.demux import Track, open_media, packets_of, to_ns, zero_of
from storage.tracks.pauses import Pauses
from storage.tracks.samples_read import decode_samples, scaled, true_rate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SECONDS = 2 * 3600  # of a file, pauses included, are looked at, so that memory stays bounded
SMALL = 32  # pixels: a picture's brightness needs no more
LEAST_FLASH = 4.0  # of 255


@dataclass(frozen=True, slots=True)
class Signal:
    """Something measured over time.

    Attributes
    ----------
    times : ndarray, float64
        Seconds of the file's time and of the pauses in it: the middle of what each value covers.
    values : ndarray, float32
    step_seconds : float
        How exactly a moment is known: how long a value covers.
    least_rise : float
        Smaller ones are noise.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float32]
    step_seconds: float
    least_rise: float = 0.0


def brightness(path: Path, track: Track, pauses: Pauses) -> Signal:
    """The mean brightness of each picture, 0 to 255, over the first two hours.

    Raises
    ------
    StorageError
        There is none that can be decoded.
    """
    import av
    import numpy as np
    from av.video.reformatter import VideoReformatter

    times: list[float] = []
    values: list[float] = []
    small = VideoReformatter()
    with open_media(path) as container:
        stream: Any = container.streams[track.number]
        stream.thread_type = "AUTO"
        zero = zero_of(container)
        for packet in packets_of(container, track.number):
            try:
                pictures: Any = packet.decode()
            except av.error.FFmpegError:
                continue
            for picture in pictures:
                if picture.pts is None:
                    continue
                gray = small.reformat(picture, width=SMALL, height=SMALL, format="gray").to_ndarray()
                times.append(pauses.at(to_ns(picture.pts, picture.time_base) - zero) / 1e9)
                values.append(float(gray.mean()))
            if times and times[-1] > MOST_SECONDS:
                break
    if not times:
        raise StorageError(f"{path} holds no picture that can be decoded")
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.04
    # It got brighter at some time since the picture before.
    return Signal(np.asarray(times) - step / 2, np.asarray(values, np.float32), step, LEAST_FLASH)


def envelope(path: Path, track: Track, rate: int, pauses: Pauses) -> Signal:
    """How much a track of samples moves, in `rate` steps a second at most, over the first two hours.

    Raises
    ------
    StorageError
        There is no sample that can be decoded.
    """
    import numpy as np

    own_rate = true_rate(track) if track.rate else float(rate)
    per_step = max(1, round(own_rate / rate))
    times: list[NDArray[np.float64]] = []
    values: list[NDArray[np.float32]] = []
    kept, kept_at = np.empty(0, np.float32), 0.0
    last: NDArray[np.float32] | None = None
    for block in decode_samples(path, track):
        begin, samples = pauses.at(block.begin_ns) / 1e9, scaled(block.samples)
        if begin > MOST_SECONDS:
            break
        if abs(kept_at + len(kept) / own_rate - begin) > per_step / own_rate:  # nobody knows what moved before it
            kept, last = kept[:0], None
        kept_at = begin - len(kept) / own_rate
        first = samples[:1] if last is None else last
        moved = np.abs(np.diff(samples, axis=0, prepend=first))
        moved = np.nan_to_num(moved, posinf=0.0).max(axis=1)  # a pause is filled with NaN: nothing moved there
        last = samples[-1:]
        kept = np.concatenate([kept, moved])
        whole = len(kept) // per_step
        if whole:
            values.append(kept[: whole * per_step].reshape(whole, per_step).max(axis=1))
            times.append(kept_at + np.arange(whole) * per_step / own_rate)
            kept, kept_at = kept[whole * per_step :], kept_at + whole * per_step / own_rate
    if not values:
        raise StorageError(f"{path}: its track {track.name} holds no sample that can be decoded")
    # The first of a step's changes is the one since the sample before it, and the last one that up to its last sample.
    middle = (per_step / 2 - 1) / own_rate
    return Signal(np.concatenate(times) + middle, np.concatenate(values), per_step / own_rate)

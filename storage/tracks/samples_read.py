"""The samples of a sensor or of sound, out of any media file, and when each was taken."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.matroska.reader import is_damaged, read_contents, read_head
from storage.tracks.demux import (
    COARSE_NS,
    Track,
    facts_of_packet,
    open_media,
    packets_of,
    tag_of,
    time_of,
    to_ns,
    zero_of,
)
from storage.tracks.sample_track import SampleBlock
from storage.tracks.samples import interleaved

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROUNDED_NS = 1_500_000  # by so much, rounding to milliseconds twice may shift a time


def true_rate(track: Track) -> float:
    """Samples a second: as measured while recording, else as the file states."""
    return measured_rate(track) or track.rate or 1.0


def measured_rate(track: Track) -> float | None:
    """Samples a second as this program measured them, if it did."""
    try:
        rate = float(tag_of(track.tags, "measured_rate"))
    except ValueError:
        return None
    return rate if 0 < rate < float("inf") else None


def decode_samples(path: Path, track: Track) -> Iterator[SampleBlock]:
    """The samples of a track, in order: a block for each packet, timed in the file's time.

    Where a file knows only whole milliseconds, as those of FFmpeg do, samples are counted from the begin on, until
    there is a gap. Damaged blocks are left out (`find_damaged`).

    Raises
    ------
    StorageError
        The file is damaged, or FFmpeg can't decode it.
    """
    import av
    import numpy as np

    step_ns = 1e9 / true_rate(track)
    begin_ns, counted = 0, -1  # since the last gap
    damaged, whole = find_damaged(path, track)
    with open_media(path) as container:
        zero = zero_of(container)
        rounded = Fraction(container.streams[track.number].time_base or 1) * 1_000_000_000 > COARSE_NS
        for packet in packets_of(container, track.number):
            before = bisect_right(damaged, packet.pos or 0, key=lambda place: place.start)
            if before and packet.pos in damaged[before - 1]:
                continue
            whole -= 1
            padding = facts_of_packet(packet).get("padding") is True
            try:
                decoded: Any = packet.decode()
            except av.error.FFmpegError as error:
                at = time_of(packet, zero) / 1e9
                raise StorageError(f"{path}: track {track.name} is damaged at {at:.3f} s: {error.strerror}") from None
            for frame in decoded:
                samples = np.ascontiguousarray(interleaved(frame, track.channels or 1))
                if samples.dtype == np.uint8:
                    samples = (samples.astype(np.int16) - 128) * 256
                own_ns = time_of(packet, zero) if frame.pts is None else to_ns(frame.pts, frame.time_base) - zero
                expected_ns = begin_ns + round(counted * step_ns)
                if counted < 0 or not rounded or abs(own_ns - expected_ns) > ROUNDED_NS + step_ns / 2:
                    begin_ns, counted, expected_ns = own_ns, 0, own_ns
                counted += len(samples)
                yield SampleBlock(expected_ns, samples, padding)
    if whole > 0:  # FFmpeg goes by the lengths of all that lies before
        raise StorageError(f"{path}: {whole} blocks of track {track.name} can't be reached: a length is damaged")


def find_damaged(path: Path, track: Track) -> tuple[list[range], int]:
    """Where blocks lie whose bytes have changed since this program wrote them, in order; and how many have not.

    FFmpeg would not see it. Each ends where the next one begins: its own length may be what has changed. Of files of
    other programs nothing is known.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = read_head(fd)
        contents = read_contents(fd, head) if head is not None else None
        if contents is None or track.number >= len(contents.tracks):
            return [], 0
        blocks = contents.blocks[list(contents.tracks)[track.number]]
        damaged = sorted(at for at in blocks.positions.tolist() if is_damaged(fd, at))
        begins = [at for others in contents.blocks.values() for at in others.positions.tolist()] if damaged else []
        begins = [*sorted(begins), contents.size]
        return [range(at, begins[bisect_right(begins, at)]) for at in damaged], len(blocks) - len(damaged)
    except ValueError:
        return [], 0
    finally:
        os.close(fd)


def times_ns(block: SampleBlock, rate: float) -> NDArray[np.int64]:
    """When each sample of a block was taken."""
    import numpy as np

    steps: NDArray[np.int64] = np.rint(np.arange(len(block.samples)) * (1e9 / rate)).astype(np.int64)
    return steps + block.begin_ns


def scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples as floats; integers, which are sound, from -1 to 1."""
    if samples.dtype.kind == "i":
        samples = samples / float(1 << (samples.itemsize * 8 - 1))
    return samples.astype("float32", copy=False)

"""Samples of a sensor as CSV and as NPY, of sound as WAV: written as they are read, in memory that stays the same.

Each function returns how many samples of each channel it wrote, and the time of the first one, in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.tracks.demux import Track, channel_labels
from storage.tracks.sample_track import SampleBlock
from storage.tracks.samples_read import decode_samples, times_ns, true_rate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NPY_FRONT = b"\x93NUMPY\x01\x00"
LONGEST_SOUND_GAP_NS = 50_000_000  # more is filled with silence
SILENT_SECONDS = 1.0  # written at once
PCM = {"int16": "pcm_s16le", "int32": "pcm_s32le", "float32": "pcm_f32le", "float64": "pcm_f64le"}


def write_csv(target: Path, source: Path, track: Track, wall: Callable[[int], int] | None) -> tuple[int, int]:
    """A line for each sample: its time, the wall clock's if that is known, and a number a channel.

    A number has as many digits as it takes to get the same float back. What the recorder put into a pause is left out.
    """
    rate, count, begin = true_rate(track), 0, 0
    columns = ["time_s", *(["unix_s"] if wall is not None else []), *channel_labels(track)]
    with target.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(map(_quoted, columns)) + "\n")
        for block in decode_samples(source, track):
            if block.padding:
                continue
            begin = begin if count else block.begin_ns
            count += len(block.samples)
            numbers = block.samples.astype("U32").tolist()
            for time, row in zip(times_ns(block, rate).tolist(), numbers, strict=True):
                unix = [] if wall is None else [unix_text(wall(time))]
                file.write(",".join([f"{time / 1e9:.6f}", *unix, *row]) + "\n")
    return count, begin


def write_npy(target: Path, source: Path, track: Track) -> tuple[int, int]:
    """A structured array with ``time_ns`` and a field for each channel, of the type in which it is stored."""
    import numpy as np

    rate, count, begin = true_rate(track), 0, 0
    kind: np.dtype[Any] | None = None
    with target.open("wb") as file:
        file.write(_npy_head(np.dtype([("time_ns", "<i8")]), 0))
        for block in decode_samples(source, track):
            if block.padding:
                continue
            if kind is None:
                begin = block.begin_ns
                names = [f"{name}_" if name == "time_ns" else name for name in channel_labels(track)]
                stored = block.samples.dtype.newbyteorder("<")
                kind = np.dtype([("time_ns", "<i8"), *((name, stored) for name in names)])
                file.seek(0)
                file.write(_npy_head(kind, 0))
            rows = np.empty(len(block.samples), kind)
            rows["time_ns"] = times_ns(block, rate)
            for number, name in enumerate(kind.names[1:] if kind.names else ()):
                rows[name] = block.samples[:, number]
            file.write(rows.tobytes())
            count += len(rows)
        if kind is not None:
            file.seek(0)
            file.write(_npy_head(kind, count))
    return count, begin


def write_wav(target: Path, source: Path, track: Track) -> tuple[int, int]:
    """Sound without loss, in integers or floats as it is stored; of more than 4 GB as RF64, which FFmpeg and sox know.

    Pauses become silence, so that sample n is n / rate seconds after the first.
    """
    import av
    import numpy as np

    stated = track.rate or 1.0
    wav: _Wav | None = None
    count, begin, end = 0, 0, 0
    try:
        for block in decode_samples(source, track):
            if wav is None:
                wav = _Wav(target, track, block)
                begin = end = block.begin_ns
            if block.begin_ns - end > LONGEST_SOUND_GAP_NS:
                missing = round((block.begin_ns - end) * stated / 1e9)
                for done in range(0, missing, round(SILENT_SECONDS * stated)):
                    silent = min(round(SILENT_SECONDS * stated), missing - done)
                    wav.write(np.zeros((silent, block.samples.shape[1]), block.samples.dtype))
                count += missing
            wav.write(block.samples)
            count += len(block.samples)
            end = block.begin_ns + round(len(block.samples) * 1e9 / stated)
        if wav is None:
            raise StorageError(f"{source}: its track {track.name} holds no sample")
        wav.close()
    except av.error.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from None
    return count, begin


class _Wav:
    """A .wav being written, by FFmpeg's muxer."""

    def __init__(self, path: Path, track: Track, first: SampleBlock) -> None:
        import av

        self._container = av.open(str(path), "w", format="wav", options={"rf64": "auto"})
        codec = PCM[first.samples.dtype.name]
        channels = first.samples.shape[1]
        layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels}C")  # which speaker is which is not known
        rate = round(track.rate or 1)
        self._stream = self._container.add_stream(codec, rate=rate, layout=layout)
        self._tick = Fraction(1, rate)
        self._written = 0

    def write(self, samples: NDArray[Any]) -> None:
        from av.packet import Packet

        if len(samples):
            packet = Packet(samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes())
            packet.stream = self._stream
            packet.pts = packet.dts = self._written
            packet.time_base = self._tick
            self._container.mux(packet)
            self._written += len(samples)

    def close(self) -> None:
        self._container.close()


def unix_text(time_ns: int) -> str:
    """Seconds since 1970 with all microseconds, which a float does not have."""
    return f"{time_ns // 1_000_000_000}.{time_ns // 1000 % 1_000_000:06d}"


def _npy_head(kind: np.dtype[Any], count: int) -> bytes:
    """The front of an .npy file, of the same length whatever the count is."""
    fields = [(name, kind[name].str) for name in kind.names or ()]
    text = repr({"descr": fields, "fortran_order": False, "shape": (count,)})
    room = len(text) + 20 - len(str(count))
    length = -(-(len(NPY_FRONT) + 2 + room + 1) // 64) * 64
    body = text.encode("latin-1") + b" " * (length - len(NPY_FRONT) - 2 - 1 - len(text)) + b"\n"
    return NPY_FRONT + len(body).to_bytes(2, "little") + body


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(character in text for character in ',"\n') else text

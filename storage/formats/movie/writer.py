"""Videos for other programs: H.264 as every player, browser and simulator takes it, with sound if there is any.

They are made from a recording: after a crash nothing of one is left (see `storage.convert.convert`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.formats.video.codecs import BT601
from storage.frame import Frame
from storage.tracks.containers import open_movie
from storage.tracks.demux import tracks_of

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

SUFFIXES = (".mp4", ".mov", ".m4v")
USUAL_CRF = 18
MICROSECONDS = Fraction(1, 1_000_000)
BROADCAST = Fraction(1, 90_000)  # whole ticks for each frame of 24, 25, 30, 50, 60 and the NTSC rates
SOUND_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)


class MovieWriter:
    """Makes an MP4 or MOV file: yuv420p, BT.601, the index in front. See `FrameWriter`; `sync` makes nothing durable.

    Parameters
    ----------
    path : path
        It is overwritten.
    crf : int
        0 (best) to 51.
    fps : float, optional
        The constant rate that the frames' times have been given, for the file to have it without rounding.
    sound : (path, int), optional
        A video whose sound goes along, from that time in it on, in nanoseconds.
    """

    def __init__(
        self, path: Path, *, crf: int = USUAL_CRF, fps: float | None = None, sound: tuple[Path, int] | None = None
    ) -> None:
        import av

        if not 0 <= crf <= 51:
            raise StorageError(f"--crf {crf}: H.264 takes 0 (best) to 51")
        self._time_base = BROADCAST if fps else MICROSECONDS
        self._rate = Fraction(fps or 30).limit_denominator(1001)
        self._crf = crf
        self._source, self._sound_from = (_open_sound(sound[0]), sound[1]) if sound is not None else (None, 0)
        self._container: OutputContainer = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream: VideoStream | None = None
        self._sound: Iterator[av.Packet[AudioStream]] = iter(())
        self._ahead: av.Packet[AudioStream] | None = None
        self._origin_ns = 0
        self._last = -1
        self._count = 0
        self._bytes = 0

    @property
    def bytes_written(self) -> int:
        return self._bytes

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Keep the date; the format has no room for other facts."""
        if facts.get("started"):
            self._container.metadata["creation_time"] = str(facts["started"])

    def encode(self, frame: Frame, label: str | None = None) -> tuple[int, av.VideoFrame]:
        """The frame with colour at half the resolution: an odd last row or column is cut off."""
        import av

        height, width, _ = frame.pixels.shape
        if height < 2 or width < 2:
            raise StorageError(f"pictures of {width}x{height} are too small for H.264")
        pixels = frame.pixels[: height // 2 * 2, : width // 2 * 2]
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        return frame.timestamp_ns, picture

    def append(self, encoded: tuple[int, av.VideoFrame]) -> None:
        timestamp_ns, picture = encoded
        if self._stream is None:
            self._origin_ns = timestamp_ns
            self._stream = self._begin(picture)
        ticks = round((timestamp_ns - self._origin_ns) / 1e9 / self._time_base)
        picture.pts = self._last = max(ticks, self._last + 1)
        picture.time_base = self._time_base
        self._count += 1
        self._mux_sound(picture.pts * self._time_base)
        self._mux(self._stream.encode(picture))

    def sync(self) -> int:
        return self._count

    def close(self) -> int:
        if self._stream is not None:
            self._mux(self._stream.encode(None))
            self._mux_sound(None)
            self._stream = None
        self._container.close()
        if self._source is not None:
            self._source.close()
        return self._count

    def _begin(self, picture: av.VideoFrame) -> VideoStream:
        stream: VideoStream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = self._time_base
        stream.codec_context.thread_count = os.cpu_count() or 1
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = BT601
        stream.options = {"crf": str(self._crf), "preset": "veryfast"}
        if self._source is not None:
            self._sound = _sound_packets(self._source, self._container, self._sound_from)
            self._ahead = next(self._sound, None)
        return stream

    def _mux_sound(self, until: Fraction | None) -> None:
        """Put in the sound that comes before a time; all of it for None."""
        while (packet := self._ahead) is not None:
            time = None if packet.pts is None else packet.pts * packet.time_base
            if until is not None and time is not None and time > until:
                return
            self._mux([packet])
            self._ahead = next(self._sound, None)

    def _mux(self, packets: list[av.Packet[Any]]) -> None:
        for packet in packets:
            self._bytes += packet.size
            self._container.mux(packet)


def _open_sound(path: Path) -> InputContainer | None:
    """The file, if there is sound in it."""
    container = open_movie(path)
    if _sound_of(container) is not None:
        return container
    container.close()
    return None


def _sound_of(container: InputContainer) -> AudioStream | None:
    """The first sound of a file; sensors, which Matroska calls audio too, are none."""
    numbers = [track.number for track in tracks_of(container) if track.kind == "sound"]
    return next((stream for stream in container.streams.audio if stream.index in numbers), None)


def _sound_packets(source: InputContainer, target: OutputContainer, from_ns: int) -> Iterator[av.Packet[AudioStream]]:
    """The first sound of a file as AAC, from the time on that the first frame had."""
    import av

    found = _sound_of(source)
    assert found is not None
    rate = next((rate for rate in SOUND_RATES if rate <= found.rate), SOUND_RATES[-1])
    stream: AudioStream = target.add_stream("aac", rate=rate)
    layout = "stereo" if found.channels > 1 else "mono"
    stream.codec_context.layout = layout
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    clock = Fraction(1, rate)

    def packets() -> Iterator[av.Packet[AudioStream]]:
        for frame in _sound_frames(source, found):
            for part in resampler.resample(frame):
                if part.pts is not None:
                    start = part.pts * Fraction(part.time_base or clock) - Fraction(from_ns, 1_000_000_000)
                    if start < 0:
                        continue
                    part.pts, part.time_base = round(start / clock), clock
                yield from stream.encode(part)
        yield from stream.encode(None)

    return packets()


def _sound_frames(source: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    import av

    try:
        for packet in source.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue
    except (av.error.FFmpegError, OSError, ValueError):
        return

"""Sound, from a device or a filter graph, read through FFmpeg.

As `pi_capture.sensors` has it, this module says what is recorded and hands out samples as they come. A PulseAudio or
PipeWire server is asked through FFmpeg where that knows it, and else through ``parec``.
"""

from __future__ import annotations

import shlex
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pi_capture.errors import CameraError, UsageError
from pi_capture.sensors import Command, SampleSource, Sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODECS = {"flac": "flac", "opus": "opus", "pcm": "s16"}
"""What the command line calls them, and `storage.samples`."""
KINDS = ("alsa", "pulse", "lavfi")
PULSE_RATE, PULSE_CHANNELS = 48000, 2
OPUS_RATE = 48000
LOCAL_ONLY = {"protocol_whitelist": "file,crypto,data"}  # a graph that names files must not reach the network
TRIES: Mapping[str, tuple[Mapping[str, str], ...]] = {"alsa": ({}, {"channels": "1"}), "lavfi": (LOCAL_ONLY,)}


def open_sound(spec: str, codec: str = "flac", name: str = "sound") -> SampleSource:
    """Open what sound is recorded from.

    Parameters
    ----------
    spec : str
        ``alsa:DEVICE``, ``pulse:SOURCE`` or ``lavfi:GRAPH``.
    codec : str
        One of `CODECS`.
    name : str
        Of the track.

    Raises
    ------
    UsageError
        The text form is none that is known.
    CameraError
        There is no such device, or it is busy.
    """
    import av

    kind, _, address = spec.partition(":")
    if kind not in KINDS or not address:
        raise UsageError(f"--audio {spec!r}: give alsa:DEVICE (alsa:default, say), pulse:SOURCE or lavfi:GRAPH")
    if codec not in CODECS:
        raise UsageError(f"unknown audio codec {codec!r}; known are {', '.join(CODECS)}")
    if kind == "pulse" and kind not in av.formats_available:
        return _from_parec(address, codec, name)
    if kind not in av.formats_available:
        raise CameraError(f"{spec}: FFmpeg has no {kind} here")
    return Sound(spec, codec, name)


def _from_parec(source: str, codec: str, name: str) -> SampleSource:
    from storage.samples import SampleTrack

    if shutil.which("parec") is None:
        raise CameraError(f"pulse:{source}: parec is missing: apt install pulseaudio-utils")
    command = f"exec parec --raw --format=s16le --rate={PULSE_RATE} --channels={PULSE_CHANNELS} --latency-msec=20"
    if source != "default":
        command += f" --device={shlex.quote(source)}"
    track = SampleTrack(name, PULSE_RATE, PULSE_CHANNELS, CODECS[codec], source=f"pulse:{source}")
    return Command(Sensor(track, command, "s16le"))


class Sound:
    """Sound that FFmpeg reads. A graph that runs ahead of time is held to its own rate."""

    def __init__(self, spec: str, codec: str, name: str) -> None:
        from storage.samples import SampleTrack

        kind, _, address = spec.partition(":")
        self._spec = spec
        self._paced = kind == "lavfi"
        self._stopped = threading.Event()
        self._container = _open(spec, kind, address)
        if not self._container.streams.audio:
            self._container.close()
            raise CameraError(f"{spec} has no sound")
        self._stream = self._container.streams.audio[0]
        rate = OPUS_RATE if codec == "opus" else int(self._stream.rate)
        channels = self._stream.channels
        try:
            self.track = SampleTrack(name, rate, channels, CODECS[codec], source=spec)
        except ValueError as error:
            self._container.close()
            raise CameraError(f"{spec}: {error}") from None

    def start(self) -> None:
        pass

    def chunks(self) -> Iterator[NDArray[Any] | None]:
        import av

        resampler: Any = av.AudioResampler(format="s16", layout=self._stream.layout, rate=int(self.track.rate))
        begun, count = time.monotonic(), 0
        try:
            for frame in self._container.decode(self._stream):
                if self._stopped.is_set():
                    return
                for part in resampler.resample(frame):
                    samples = part.to_ndarray().reshape(-1, self.track.channels)
                    count += len(samples)
                    if self._paced:
                        self._stopped.wait(begun + count / self.track.rate - time.monotonic())
                    yield samples
        except (av.error.FFmpegError, OSError) as error:
            if not isinstance(error, av.error.EOFError) and not self._stopped.is_set():
                raise CameraError(f"{self._spec} stopped: {error.strerror or type(error).__name__}") from None
        finally:
            self._container.close()

    def stop(self) -> None:
        self._stopped.set()

    def take_lines(self) -> list[str]:
        return []

    @property
    def problems(self) -> list[str]:
        return []


def _open(spec: str, kind: str, address: str) -> Any:
    import av

    failure: Exception | None = None
    for options in TRIES.get(kind, ({},)):
        try:
            return av.open(address, mode="r", format=kind, container_options=dict(options), metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            failure = error
    reason = getattr(failure, "strerror", None) or failure
    raise CameraError(f"can't open {spec}: {reason}")

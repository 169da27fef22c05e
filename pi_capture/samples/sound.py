"""Sound from a device, a sound server or a filter graph.

The system's own ``arecord`` and ``parec`` read devices: the ALSA in PyAV's wheels finds neither the system's
configuration nor its plugins, and the wheels have no PulseAudio. FFmpeg makes the sound of graphs.
"""

from __future__ import annotations

import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pi_capture.errors import CameraError, UsageError
from pi_capture.redact import without_secrets
from pi_capture.samples.sensors import Command, SampleSource, Sensor
from storage.tracks.sample_track import SampleTrack

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODECS = {"flac": "flac", "opus": "opus", "pcm": "s16"}
"""The names on the command line, and those in `storage.tracks.samples`."""
RATE, CHANNELS = 48000, 2  # what devices are asked for
PROGRAMS = {
    "alsa": (f"arecord -q -t raw -f S16_LE -r {RATE} -c {CHANNELS} --buffer-time=1000000 -D", "alsa-utils"),
    "pulse": (f"parec --raw --format=s16le --rate={RATE} --channels={CHANNELS} -d", "pulseaudio-utils"),
}
LATENCY = {"pulse": " --latency-msec=20"}


def open_sound(spec: str, codec: str, name: str, say: Callable[[str], None]) -> SampleSource:
    """Open a source of sound.

    Parameters
    ----------
    spec : str
        ``alsa:DEVICE``, ``pulse:SOURCE`` (PipeWire's too) or ``lavfi:GRAPH``.
    codec : str
        One of `CODECS`.
    name : str
        Of the track.
    say : callable
        Called from another thread with the complaints of a device's program.

    Raises
    ------
    UsageError
        The text form is unknown.
    CameraError
        There is no such graph, or no program to read such a device.
    """
    kind, _, address = spec.partition(":")
    if kind not in (*PROGRAMS, "lavfi") or not address:
        raise UsageError(f"--audio {spec!r}: give alsa:DEVICE (alsa:default, say), pulse:SOURCE or lavfi:GRAPH")
    if codec not in CODECS:
        raise UsageError(f"unknown audio codec {codec!r}; known are {', '.join(CODECS)}")
    if kind == "lavfi":
        return Graph(address, codec, name)
    command, package = PROGRAMS[kind]
    program = command.split()[0]
    if shutil.which(program) is None:
        raise CameraError(f"{spec}: {program} is missing: apt install {package}")
    if kind == "pulse":
        address = {"default": "@DEFAULT_SOURCE@"}.get(address, address)
    track = SampleTrack(name, RATE, CHANNELS, CODECS[codec], source=without_secrets(spec))
    read = f"exec {command} {shlex.quote(address)}{LATENCY.get(kind, '')}"
    return Command(Sensor(track, read, "s16le", title=spec, device_rate=True), say)


class Graph:
    """The sound of a filter graph, slowed down to its own rate: FFmpeg would run ahead."""

    device_rate = True

    def __init__(self, graph: str, codec: str, name: str) -> None:
        self._spec = f"lavfi:{graph}"
        self._stopped = threading.Event()
        self._started = False
        self._container = self._open(graph)
        if not self._container.streams.audio:
            self._container.close()
            raise CameraError(f"{self._spec} has no sound")
        self._stream = self._container.streams.audio[0]
        rate = RATE if codec == "opus" else int(self._stream.rate)
        try:
            source = without_secrets(self._spec)
            self.track = SampleTrack(name, rate, self._stream.channels, CODECS[codec], source=source)
        except ValueError as error:
            self._container.close()
            raise CameraError(f"{self._spec}: {error}") from None

    def start(self) -> None:
        self._started = True

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
                    self._stopped.wait(begun + count / self.track.rate - time.monotonic())
                    yield samples
        except (av.error.FFmpegError, OSError) as error:
            if not isinstance(error, av.error.EOFError) and not self._stopped.is_set():
                raise CameraError(f"{self._spec} stopped: {error.strerror or type(error).__name__}") from None
        finally:
            self._container.close()

    def stop(self) -> None:
        self._stopped.set()
        if not self._started:  # else its thread closes it
            self._container.close()

    @property
    def problems(self) -> list[str]:
        return []

    def _open(self, graph: str) -> Any:
        import av

        from pi_capture.sources.media.source import LOCAL_ONLY

        try:
            return av.open(graph, mode="r", format="lavfi", container_options=LOCAL_ONLY, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CameraError(f"can't open {self._spec}: {reason}") from None

"""The recording loop: from a source to a recorder, until time is up or somebody says stop.

The loop itself is `_keep`; everything else here happens once, before or after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi_capture.errors import CameraError, RecordingError
from pi_capture.jitter import SETTLE_SECONDS, Jitter
from pi_capture.live_tracks import LiveTracks, check_target, closing_streams, open_streams, record_tracks
from pi_capture.recorder import Recorder, Status, Summary
from pi_capture.sensors import Sensor
from pi_capture.sources import Controllable, Encoding, Size, Source, open_source
from storage.frame import Frame

if TYPE_CHECKING:
    from pi_capture.live_labels import LiveLabels

TICK_SECONDS = 0.25
LOSSY_JITTER = (
    "a lossy codec smooths away some of the variation of white balance and gain between frames, and keeps its own "
    "blocks instead: for training data, record without --codec (lossless), or with --no-jitter"
)
START_SECONDS = 2.0  # that sensors get to begin
PATIENCE_SECONDS = 2.0  # for a camera that is in the middle of a frame when we stop


def record(
    target: Path | str,
    seconds: float = -1,
    *,
    camera: str = "auto",
    size: Size | None = (128, 128),
    fps: float | None = None,
    backend: str | None = None,
    jitter: bool | None = None,
    jitter_seed: int | None = None,
    countdown: float = 0,
    sync_interval: float = 1.0,
    options: Mapping[str, Any] | None = None,
    sensors: Sequence[Sensor | str] = (),
    audio: Sequence[str] = (),
    audio_codec: str = "flac",
    stop: threading.Event | None = None,
    say: Callable[[str], None] | None = None,
    progress: Callable[[Status], None] | None = None,
    live_labels: LiveLabels | None = None,
    watch: Callable[[Frame, bool], None] | None = None,
) -> Summary:
    """Record from a camera, a file or a screen, and from sensors and microphones beside it or alone.

    Parameters
    ----------
    target : path
        ``day1`` for a data directory, ``day1/0`` for a class directory in one.
    seconds : float
        How long, by the frames' timestamps; -1 until `stop` is set, or the file ends.
    camera, size, fps
        See `pi_capture.sources.open_source`; the camera ``none`` records sensors and sound only.
    backend, sync_interval, options
        See `Recorder`.
    jitter : bool, optional
        Vary gain and white balance (see `pi_capture.jitter`); by default only a Raspberry Pi camera's.
    jitter_seed : int, optional
        Makes the variation repeatable.
    countdown : float
        Seconds of warning before a live camera's first frame is kept.
    sensors : sequence
        See `pi_capture.sensors.parse_sensor`; they go into a Matroska file with the pictures.
    audio : sequence of str
        See `pi_capture.sound.open_sound`.
    audio_codec : str
        ``flac``, ``opus`` or ``pcm``.
    stop : threading.Event, optional
        Set it to end the recording.
    say, progress : callable, optional
        Told, from the calling thread, a line now and then, and the status a few times a second.

    live_labels : LiveLabels, optional
        Labels the frames, as somebody gives them meanwhile.

    watch : callable, optional
        Shown each frame from the camera's thread, and whether it was recorded: those of the countdown are not. It
        must return at once.

    Raises
    ------
    UsageError, CameraError, StorageError
        Nothing was recorded: the camera can't be opened, or the target not be written.
    RecordingError
        The recording ended before its time; what had been recorded is safe.
    """
    stop = stop or threading.Event()
    say = say or (lambda line: None)
    if sensors or audio or camera == "none":
        check_target(target, backend, any_samples=bool(sensors or audio))
    streams = open_streams(sensors, audio, audio_codec)
    with closing_streams(streams):
        recorder = Recorder(
            target,
            backend=backend,
            sync_interval=sync_interval,
            options=options,
            tracks=[stream.track for stream in streams],
            pictures=camera != "none",
        )
        tracks = LiveTracks(streams, recorder)
        if camera == "none":
            recorder.describe({"camera": "none", "live": True})
            problems = record_tracks(tracks, recorder, seconds, stop=stop, say=say, progress=progress)
            return _or_problems(recorder.close("stopped" if stop.is_set() else "finished"), problems)
        try:
            source = open_source(camera, size, fps)
        except BaseException:
            recorder.close()
            raise
        loop = _Loop(source, recorder, tracks, seconds=seconds, countdown=countdown, stop=stop)
        if jitter or (jitter is None and source.info.camera.startswith("picamera2")):
            loop.prepare_jitter(jitter_seed, say, asked=bool(jitter))
        loop.watch = watch
        return _record_pictures(
            loop, recorder, source, tracks, live_labels=live_labels, stop=stop, say=say, progress=progress
        )


def _record_pictures(
    loop: _Loop,
    recorder: Recorder,
    source: Source,
    tracks: LiveTracks,
    *,
    live_labels: LiveLabels | None,
    stop: threading.Event,
    say: Callable[[str], None],
    progress: Callable[[Status], None] | None,
) -> Summary:
    info = source.info
    if live_labels is not None:
        try:
            live_labels.begin(recorder, None if info.live else lambda: recorder.next_timestamp_ns)
        except BaseException:
            source.close()
            recorder.close()
            raise
    recorder.describe(
        {
            "camera": info.camera,
            "model": info.model,
            "fps": info.fps,
            "live": info.live or bool(tracks),
            "details": dict(info.details),
        }
    )
    thread = threading.Thread(target=loop.run, name="capture", daemon=True)
    try:
        tracks.start()
        thread.start()
        while thread.is_alive() and not stop.is_set() and not recorder.failed:
            thread.join(TICK_SECONDS)
            for line in (
                *loop.take_lines(),
                *tracks.take_lines(),
                *(live_labels.take_lines() if live_labels else ()),
            ):
                say(line)
            if progress is not None and loop.keeping:
                progress(recorder.status())
    except KeyboardInterrupt:  # the normal end for a program that installed no handler of its own
        pass
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join(PATIENCE_SECONDS)
            source.close()
            thread.join(PATIENCE_SECONDS)
    problems = tracks.end(early_end_is_fine=loop.endless)
    for line in tracks.take_lines():
        say(line)
    try:
        summary = _finish(recorder, loop, stopped=thread.is_alive())
    except BaseException:
        if live_labels is not None:
            live_labels.end(in_order=False)
        raise
    if live_labels is not None:
        live_labels.end(in_order=True)
    return _or_problems(summary, problems)


def _or_problems(summary: Summary, problems: Sequence[str]) -> Summary:
    """The summary; but if something was wrong with a sensor, RecordingError, or CameraError if nothing came at all."""
    if problems and not summary.bytes:
        raise CameraError("; ".join(problems))
    if problems:
        raise RecordingError("; ".join(problems), summary)
    return summary


def _finish(recorder: Recorder, loop: _Loop, *, stopped: bool) -> Summary:
    if loop.failure is not None:
        summary = recorder.close(f"failed: {loop.failure}")
        if isinstance(loop.failure, CameraError) and summary.frames == 0:
            raise loop.failure
        known = isinstance(loop.failure, CameraError)
        raise RecordingError(str(loop.failure) if known else repr(loop.failure), summary) from loop.failure
    return recorder.close("stopped: the camera hung" if stopped else loop.end)


class _Loop:
    """The thread that takes frames from the source. It shares nothing but what is written here."""

    def __init__(
        self,
        source: Source,
        recorder: Recorder,
        tracks: LiveTracks,
        *,
        seconds: float,
        countdown: float,
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._recorder = recorder
        self._tracks = tracks
        self._seconds = seconds
        self._countdown = countdown if source.info.live else 0
        self._stop = stop
        self._steer: Controllable | None = None
        self._jitter_seed: int | None = None
        self._jitter: Jitter | None = None
        self._lines: list[str] = []
        self.watch: Callable[[Frame, bool], None] | None = None
        self.keeping = False
        self.failure: Exception | None = None
        self.end = "stopped"

    @property
    def endless(self) -> bool:
        return self._seconds < 0

    def prepare_jitter(self, seed: int | None, say: Callable[[str], None], *, asked: bool) -> None:
        if isinstance(self._source, Controllable):
            self._steer, self._jitter_seed = self._source, seed
        elif asked:
            say(f"{self._source.info.camera} has no exposure controls: recording without jitter")

    def take_lines(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def run(self) -> None:
        try:
            frames = iter(self._source)
            if self._steer is not None:
                self._lines.append(f"settling exposure for {SETTLE_SECONDS:.0f} s")
                self._pass_over(frames, SETTLE_SECONDS)
                self._lock(self._steer)
            for left in range(round(self._countdown), 0, -1):
                self._lines.append(f"recording in {left} …")
                self._pass_over(frames, 1.0)
            self._wait_for_tracks(frames)
            if (asked := self._recorder.takes_packets) and isinstance(self._source, Encoding):
                self._recorder.describe(self._source.start_encoding(*asked) or {})
            self.keeping = True
            self._keep(frames)
        except RecordingError:
            pass  # the recorder tells it again when it is closed
        except Exception as error:
            if not self._stop.is_set() or not isinstance(error, CameraError):
                self.failure = error

    def _pass_over(self, frames: Iterator[Frame], seconds: float) -> None:
        """Let the camera run without keeping its frames."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.is_set():
            frame = next(frames, None)
            if frame is not None and self.watch is not None:
                self.watch(frame, False)

    def _wait_for_tracks(self, frames: Iterator[Frame]) -> None:
        """Let all begin together: a sensor's program may take a moment to start."""
        until = time.monotonic() + START_SECONDS
        while not self._tracks.under_way and time.monotonic() < until and not self._stop.is_set():
            if self._source.info.live:
                next(frames, None)
            else:
                self._stop.wait(0.02)

    def _lock(self, camera: Controllable) -> None:
        locked = camera.lock_exposure()
        if not locked:
            self._steer = None
            self._lines.append(f"{self._source.info.camera} has no exposure controls: recording without jitter")
            return
        self._jitter = Jitter(locked, self._jitter_seed)
        if not self._recorder.lossless:
            self._lines.append(LOSSY_JITTER)
        self._recorder.describe({"locked": dict(locked), "jitter": {"seed": self._jitter_seed}})

    def _keep(self, frames: Iterator[Frame]) -> None:
        wait = not self._source.info.live
        until_ns: float | None = None
        drawn = self._vary()
        for frame in self._at_their_pace(frames) if self._tracks and wait else frames:
            if self._stop.is_set():
                return
            if until_ns is None:
                until_ns = float("inf") if self._seconds < 0 else frame.timestamp_ns + self._seconds * 1e9
                self._tracks.begin(frame.timestamp_ns, None if self._seconds < 0 else round(until_ns))
            if frame.timestamp_ns >= until_ns:
                self.end = "finished"
                return
            if drawn is not None:
                frame = replace(frame, metadata={**frame.metadata, "jitter": drawn})  # noqa: PLW2901 (the same frame)
            self._recorder.put(frame, wait=wait)
            if self.watch is not None:
                self.watch(frame, True)
            drawn = self._vary()
        self.end = "finished"

    def _at_their_pace(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The pictures of a file as if they were seen now: beside live sensors they need their clock."""
        begun: tuple[int, int] | None = None
        for frame in frames:
            now_ns = time.monotonic_ns()
            begun = begun or (now_ns, frame.timestamp_ns)
            due_ns = begun[0] + frame.timestamp_ns - begun[1]
            if due_ns > now_ns:
                self._stop.wait((due_ns - now_ns) / 1e9)
            metadata = {**frame.metadata, "source_timestamp_ns": frame.timestamp_ns}
            yield replace(frame, timestamp_ns=due_ns, metadata=metadata)

    def _vary(self) -> dict[str, object] | None:
        """Ask for the next frame's values; what was drawn goes with it, what was applied its own metadata tells."""
        if self._jitter is None or self._steer is None:
            return None
        controls, drawn = self._jitter.draw()
        self._steer.set_controls(controls)
        return drawn

"""The recording, from its beginning to its end: one take of the camera after another, until time is up or somebody
says stop.

This is the side that watches; frames come in a take's own thread (`pi_capture.recording.take`) and are stored by a
recorder's.
"""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pi_capture.errors import CameraError, RecordingError, UsageError
from pi_capture.recording.motion import Motion, MotionWish
from pi_capture.recording.recorder import Recorder
from pi_capture.recording.retry import Retry
from pi_capture.recording.schedule import Schedule
from pi_capture.recording.take import Intake, Preparation, Take, Watch
from pi_capture.samples.live import LiveTracks, SampleWatch, check_target, closing_streams, open_streams, record_tracks
from pi_capture.samples.sensors import Sensor
from pi_capture.segments.recorder import SegmentedRecorder, open_recorder
from pi_capture.sources import Accompanied, Size, Source, open_source
from pi_capture.status import Status, Summary
from storage.errors import StorageError

if TYPE_CHECKING:
    from pi_capture.live.labels import LiveLabels

TICK_SECONDS = 0.25
FROM_OTHERS = ("tcp://", "tls://", "srt://")  # cameras that may bring sensors and sound
GAPS_KEPT = 100  # in the facts; each is told with the frame after it as well
WEDGED_SECONDS = 60.0  # after which an interpreter that a camera's library blocks as a whole is given up


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
    sensors: Sequence[str | Sensor] = (),
    audio: Sequence[str] = (),
    audio_codec: str = "flac",
    segment: str | None = None,
    keep: Sequence[str] = (),
    retry: int | None = None,
    between: Sequence[str] = (),
    on_motion: float | None = None,
    pre_roll: float = 2.0,
    post_roll: float = 5.0,
    stop: threading.Event | None = None,
    say: Callable[[str], None] | None = None,
    progress: Callable[[Status], None] | None = None,
    live_labels: LiveLabels | None = None,
    watch: Watch | None = None,
    watch_samples: Sequence[SampleWatch] = (),
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
        Vary gain and white balance (see `pi_capture.recording.jitter`); by default only a Raspberry Pi camera's.
    jitter_seed : int, optional
        Makes the variation repeatable.
    countdown : float
        Seconds of warning before a live camera's first frame is kept.
    sensors : sequence
        See `pi_capture.samples.sensors.parse_sensor`; they go into a Matroska file with the pictures.
    audio : sequence of str
        See `pi_capture.samples.sound.open_sound`.
    audio_codec : str
        ``flac``, ``opus`` or ``pcm``.
    segment : str, optional
        Cut the recording into recordings of this length: ``1h``, ``2GB``, ``1000frames`` (see
        `pi_capture.segments.recorder`).
    keep : sequence of str
        Remove the oldest of them that nobody labelled when there are more: ``20GB``, ``7d``, ``min-free=2GB``.
    retry : int, optional
        Open a live camera again when it fails or ends, as often in a row; -1 for no end. Without it, the recording
        ends.
    between : sequence of str
        Hours of the day to record at (see `Schedule.parse`); the camera is free at others.
    on_motion : float, optional
        Keep only what moves: at least this percent of the picture (see `pi_capture.recording.motion`).
    pre_roll, post_roll : float
        Seconds kept before and after motion.
    stop : threading.Event, optional
        Set it to end the recording.
    say, progress : callable, optional
        Told, from the calling thread, a line now and then, and the status a few times a second.
    live_labels : LiveLabels, optional
        Labels the frames, as somebody gives them meanwhile.
    watch : callable, optional
        Shown each frame from the camera's thread, and whether it was recorded: those of the countdown are not. It
        must return at once.
    watch_samples : sequence of SampleWatch
        Shown the samples of `sensors` and `audio`.

    Raises
    ------
    UsageError, CameraError, StorageError
        Nothing was recorded: the camera can't be opened, or the target not be written.
    RecordingError
        The recording ended before its time; what had been recorded is safe.
    """
    if retry is not None and retry < -1:
        raise UsageError(f"--retry {retry}: give how often, or nothing for no end")
    schedule = Schedule.parse(between)
    motion = Motion(MotionWish(on_motion, pre_roll, post_roll)) if on_motion is not None else None
    stop, say, progress = stop or threading.Event(), say or (lambda line: None), progress or (lambda status: None)
    if sensors or audio or camera == "none":
        check_target(target, backend, any_samples=bool(sensors or audio))
    if segment and live_labels is not None:
        raise UsageError("--live-labels: the labels of a recording in segments can't be kept; leave out --segment")
    if schedule.windows and (sensors or audio):
        raise UsageError("--between: sensors and sound are recorded all the time; leave out --between")
    streams = open_streams(sensors, audio, audio_codec)
    with closing_streams(streams):
        recorder = open_recorder(
            Path(target),
            segment,
            keep,
            backend=backend,
            sync_interval=sync_interval,
            options=options,
            tracks=[stream.track for stream in streams],
            pictures=camera != "none",
            more_tracks=camera.startswith(FROM_OTHERS),
        )
        tracks = LiveTracks(streams, cast("Recorder", recorder), watch_samples)  # one in segments has none
        if camera == "none":
            recorder.describe({"camera": "none", "live": True})
            problems = record_tracks(tracks, cast("Recorder", recorder), seconds, stop=stop, say=say, progress=progress)
            return _unless(problems, recorder.close("stopped" if stop.is_set() else "finished"))
        recording = _Recording(
            recorder=recorder,
            open_camera=lambda: open_source(camera, size, fps),
            intake=Intake(recorder, seconds, motion, tracks, watch),
            preparation=Preparation(countdown, jitter, jitter_seed),
            retry=Retry(None if retry == -1 else retry or 0),
            schedule=schedule,
            tracks=tracks,
            live_labels=live_labels,
            stop=stop,
            say=say,
            progress=progress,
        )
        return recording.run()


class _Recording:
    """Takes, and the pauses between them."""

    def __init__(
        self,
        *,
        recorder: Recorder | SegmentedRecorder,
        open_camera: Callable[[], Source],
        intake: Intake,
        preparation: Preparation,
        retry: Retry,
        schedule: Schedule,
        tracks: LiveTracks,
        live_labels: LiveLabels | None,
        stop: threading.Event,
        say: Callable[[str], None],
        progress: Callable[[Status], None],
    ) -> None:
        self._recorder = recorder
        self._open_camera = open_camera
        self._intake = intake
        self._preparation = preparation
        self._retry = retry
        self._schedule = schedule
        self._tracks = tracks
        self._live_labels = live_labels
        self._labelling = False
        self._lines: list[str] = []  # from the take's thread
        self._stop = stop
        self._say = say
        self._progress = progress
        self._size: Size | None = None  # the frames', once there are any
        self._gaps: list[dict[str, Any]] = []
        self._hung = False
        self._paused = ""
        self._failure: Exception | None = None
        self._end = "stopped"

    def run(self) -> Summary:
        try:
            self._tracks.start()
            while self._wait_for_the_hour() and self._take():
                pass
        except KeyboardInterrupt:  # the normal end for a program that installed no handler of its own
            pass
        except BaseException:
            self._recorder.close("failed")
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()
        return self._finish()

    def _take(self) -> bool:
        """Open the camera and record what it delivers; whether to go on after that."""
        self._alive()
        take = Take(
            self._open_camera, self._intake, self._recorder, self._preparation, begin=self._begin, size=self._size
        )
        cause = silent = None
        try:
            while take.alive and not self._stop.is_set() and not self._recorder.failed:
                take.wait(TICK_SECONDS)
                self._look_after(take)
                if not self._schedule.is_open():
                    cause = "schedule"
                    break
                if (silent := take.silent_for()) is not None:
                    break
        finally:
            self._hung = not take.end()
            self._look_after(take)
        if self._stop.is_set() or self._recorder.failed:
            self._failure = None if take.failure is None or isinstance(take.failure, CameraError) else take.failure
            return False
        if cause is not None and not self._hung and take.failure is None:
            self._note_gap(cause, "outside the hours of the schedule")
            return True
        return self._go_on_after(take, silent)

    def _begin(self, source: Source) -> None:
        """A camera is open: its first time, labels begin to count. Called from the take's thread."""
        if self._live_labels is not None and not self._labelling:
            recorder = cast("Recorder", self._recorder)
            self._live_labels.begin(recorder, None if source.info.live else lambda: recorder.next_timestamp_ns)
            self._labelling = True
        elif isinstance(source, Accompanied) and source.classes:
            self._take_labels_of(source)

    def _take_labels_of(self, source: Accompanied) -> None:
        """Labels come from another machine, as if its keys were pressed here."""
        from pi_capture.live.labels import LiveLabels

        if self._live_labels is None:
            labels = LiveLabels(tuple(source.classes))
            try:
                if not isinstance(self._recorder, Recorder):
                    raise UsageError("the labels of a recording in segments can't be kept")
                labels.begin(self._recorder)
            except (UsageError, StorageError) as error:
                self._lines.append(f"the sender's labels are not kept: {str(error).removeprefix('--live-labels: ')}")
                return
            self._live_labels, self._labelling = labels, True
        if self._live_labels.names == tuple(source.classes):
            source.give_labels_to(self._live_labels.start)

    def _go_on_after(self, take: Take, silent: float | None) -> bool:
        """Whether the camera is to be opened again after it failed, or ended; waits before that."""
        live = take.source is None or take.source.info.live
        if take.finished and not (live and self._retrying and not self._intake.time_is_up):
            self._end = "finished"
            return False
        if self._hung:
            self._failure = CameraError(
                "the camera hangs in a call that can't be interrupted; start the recorder again"
            )
            return False
        self._failure = take.failure or CameraError(
            f"the camera delivered nothing for {silent:.0f} s" if silent is not None else "the camera's stream ended"
        )
        if not (self._retrying and live) or isinstance(self._failure, UsageError):
            return False
        self._retry.note_success(take.frames)
        pause = self._retry.next_pause()
        if pause is None:
            return False
        self._say(f"{_text(self._failure)}; opening it again in {pause:g} s")
        if take.frames:
            self._note_gap("camera", _text(self._failure))
        self._failure = None
        self._rest(pause)
        return not self._stop.is_set() and not self._recorder.failed

    def _wait_for_the_hour(self) -> bool:
        """Wait, without the camera, for the schedule; False if the recording ends instead."""
        if not self._schedule.is_open():
            self._say(f"waiting for the hours {self._schedule}; the camera is free until then")
            self._paused = "schedule"
            while not self._schedule.is_open() and not self._stop.is_set() and not self._recorder.failed:
                self._rest(TICK_SECONDS)
            self._paused = ""
        return not self._stop.is_set() and not self._recorder.failed

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set() and not self._recorder.failed:
            self._alive()
            self._stop.wait(min(left, TICK_SECONDS))
            if self._intake.frames or self._paused:
                self._progress(self.status())

    def _look_after(self, take: Take) -> None:
        self._alive()
        labels = self._live_labels.take_lines() if self._live_labels else ()
        lines, self._lines = self._lines, []
        for line in (*lines, *take.take_lines(), *self._recorder.take_lines(), *self._tracks.take_lines(), *labels):
            self._say(line)
        if take.frames and self._size is None and take.source is not None:
            self._size = take.source.info.size
        if take.keeping:
            self._progress(self.status())

    def _alive(self) -> None:
        """Put off the end that comes if no thread of this interpreter can run any more."""
        if self._retrying:
            faulthandler.dump_traceback_later(WEDGED_SECONDS, exit=True, file=2)  # a notebook's sys.stderr is no file

    @property
    def _retrying(self) -> bool:
        return self._retry.limit != 0

    def _note_gap(self, cause: str, why: str) -> None:
        if self._intake.frames == 0:
            return
        self._intake.note_gap(cause)
        self._gaps = [*self._gaps, {"cause": cause, "why": why, "after_frame": self._intake.frames}][-GAPS_KEPT:]
        self._recorder.describe({"gaps": self._gaps})

    def status(self) -> Status:
        status = self._recorder.status()
        not_kept = self._intake.not_kept
        return replace(status, captured=status.captured + not_kept, not_kept=not_kept, paused=self._paused)

    # ---------------------------------------------------------------------------------------------------------- the end

    def _finish(self) -> Summary:
        failure = self._failure
        if failure is None or self._intake.frames:
            self._stop.set()  # whoever waits for it learns that the recording ends
        problems = self._tracks.end(early_end_is_fine=self._intake.endless)
        end = f"failed: {failure}" if failure else "stopped: the camera hung" if self._hung else self._end
        try:
            counts = {"not_kept": self._intake.not_kept, "reopened": self._intake.gaps}
            self._recorder.describe({name: count for name, count in counts.items() if count})
            self._intake.end()
            summary = self._complete(self._recorder.close(end))
        except RecordingError as error:
            failure = failure or error
            raise RecordingError(str(error), self._complete(error.summary)) from error
        finally:
            for line in (*self._recorder.take_lines(), *self._tracks.take_lines()):
                self._say(line)
            if self._live_labels is not None:
                self._live_labels.end(in_order=failure is None)
        if failure is None:
            return _unless(problems, summary)
        if isinstance(failure, CameraError | UsageError | StorageError) and summary.frames == 0:
            raise failure
        raise RecordingError(_text(failure), summary) from failure

    def _complete(self, summary: Summary) -> Summary:
        not_kept = self._intake.not_kept
        return replace(summary, captured=summary.captured + not_kept, not_kept=not_kept, reopened=self._intake.gaps)


def _text(failure: Exception) -> str:
    return str(failure) if isinstance(failure, CameraError | UsageError | StorageError) else repr(failure)


def _unless(problems: Sequence[str], summary: Summary) -> Summary:
    """The summary; but if something was wrong with a sensor, RecordingError, or CameraError if nothing came at all."""
    if problems and not summary.bytes:
        raise CameraError("; ".join(problems))
    if problems:
        raise RecordingError("; ".join(problems), summary)
    return summary

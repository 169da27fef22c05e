"""The recording from beginning to end: one take of the camera after another, until time is up or it is stopped.

The first three methods of `_Recording` are a frame's whole way. `run` and `_record_take` run in the calling thread and
watch. `_deliver` runs in the take's thread (`pi_capture.recording.take`): it reads a frame from the camera, asks the
gate whether it passes (`pi_capture.recording.gate`), and puts it into the recorder, whose threads encode and store it
(`pi_capture.recording.recorder`). How a recording goes on and ends is decided here alone, which makes the file a long
one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from pi_capture.errors import CameraError, RecordingError, UsageError
from pi_capture.recording.accompaniment import Accompaniment
from pi_capture.recording.around import Around
from pi_capture.recording.gate import Gate
from pi_capture.recording.observers import Lines, Observers, Watch, nothing
from pi_capture.recording.options import RecordKeywords, RecordOptions
from pi_capture.recording.recorder import Recorder
from pi_capture.recording.retry import Retry
from pi_capture.recording.schedule import Schedule
from pi_capture.recording.sink import FrameSink
from pi_capture.recording.take import Take
from pi_capture.recording.watchdog import Watchdog
from pi_capture.samples.local import LocalTracks, SampleWatch, check_target, open_streams
from pi_capture.sources import Accompanied, Encoding, Size, Source, open_source
from pi_capture.sources.table import brings_tracks
from pi_capture.status import Status, Summary
from storage.errors import StorageError
from storage.frame import Frame

if TYPE_CHECKING:
    from pi_capture.live.labels import LiveLabels
    from pi_capture.recording.verdicts import Watching
    from storage.tracks.sample_track import SampleTrack

TICK_SECONDS = 0.25
START_SECONDS = 2.0  # for sensors to begin
REST_SECONDS = 1.5  # in which samples of another machine may come after the last frame
GAPS_KEPT = 100  # in the facts; the frame after a gap has it as well
WEDGED_SECONDS = 60.0  # after which an interpreter that a camera's library blocks is ended
TOLD = (CameraError, UsageError, StorageError, ModuleNotFoundError)
"""What is told in one line by its own words."""
IN_SEGMENTS = "the labels of a recording in segments can't be kept"
NO_PICTURES = (
    "--live-labels: labels belong to pictures, and --camera none has none; record pictures as well, or the classes as "
    "one more --sensor that prints their number at a steady rate"
)


def record(
    target: Path | str,
    seconds: float = -1,
    *,
    stop: threading.Event | None = None,
    say: Callable[[str], None] | None = None,
    progress: Callable[[Status], None] | None = None,
    live_labels: LiveLabels | None = None,
    watch: Watch | None = None,
    watch_samples: Sequence[SampleWatch] = (),
    **options: Unpack[RecordKeywords],
) -> Summary:
    """Record from a camera, a file or a screen, and from sensors and microphones beside it or alone.

    Parameters
    ----------
    target : path
        ``day1`` for a data directory, ``day1/0`` for a class directory in one.
    seconds : float
        How long, by the frames' timestamps; -1 until `stop` is set or the file ends.
    stop, say, progress, live_labels, watch, watch_samples : optional
        See `pi_capture.recording.observers.Observers`.
    camera, size, fps, backend, options, sync_interval, jitter, jitter_seed, focus, hdr, countdown, sensors, audio,
    audio_codec, segment, keep, retry, between, on_motion, model, hold, on_class, pre_roll, post_roll : optional
        See `pi_capture.RecordOptions`, which has their defaults.

    Raises
    ------
    UsageError, CameraError, StorageError
        Nothing was recorded: the camera can't be opened, or the target can't be written.
    RecordingError
        The recording ended early; all frames until then are safe.
    """
    observers = Observers(
        stop=stop or threading.Event(),
        say=say or nothing,
        progress=progress or nothing,
        live_labels=live_labels,
        watch=watch,
        watch_samples=watch_samples,
    )
    return capture(Path(target), seconds, RecordOptions(**options), observers)


def capture(target: Path, seconds: float, options: RecordOptions, observers: Observers) -> Summary:
    """Record as `record` does, with the options and the callbacks in two objects."""
    schedule = Schedule.parse(options.between)
    lines = Lines(observers.say)
    watching = open_watching(options, lines.put) if options.model is not None else None
    gate = Gate(seconds, _around(options, watching))
    if options.has_samples:
        check_target(target, options.backend)
    if options.segment and observers.live_labels is not None:
        raise UsageError(f"--live-labels: {IN_SEGMENTS}; leave out --segment")
    if not options.has_pictures and observers.live_labels is not None:
        raise UsageError(NO_PICTURES)
    streams = open_streams(options.sensors, options.audio, options.audio_codec, lines.put)
    try:
        recorder = open_recorder(target, options, [stream.track for stream in streams], lines.put)
        tracks = LocalTracks(
            streams, recorder.samples, observers.watch_samples, lines.put, pictures=options.has_pictures
        )
        if not options.has_pictures:
            return _record_tracks(tracks, recorder, seconds, observers, lines)
        return _Recording(
            recorder, options, observers, gate=gate, schedule=schedule, tracks=tracks, lines=lines, watching=watching
        ).run()
    finally:
        for stream in streams:
            stream.stop()


def deliver(sink: FrameSink, seconds: float, options: RecordOptions, observers: Observers) -> Summary:
    """Give the frames of a camera to a sink, as `capture` gives them to a recorder."""
    schedule, lines = Schedule.parse(options.between), Lines(observers.say)
    no_tracks = LocalTracks((), None, (), lines.put)
    return _Recording(
        sink, options, observers, gate=Gate(seconds), schedule=schedule, tracks=no_tracks, lines=lines
    ).run()


def open_watching(options: RecordOptions, say: Callable[[str], None]) -> Watching:
    """Open the model that looks at the frames. Raises StorageError, and UsageError for a class that it doesn't know."""
    from pi_capture.recording.verdicts import Watching
    from storage.learn.classifier import open_classifier

    assert options.model is not None
    classifier = open_classifier(options.model)
    for name in options.on_class:
        if name not in classifier.classes:
            raise UsageError(f"--on-class {name}: {options.model} knows {', '.join(classifier.classes)}")
    return Watching(classifier, options.hold, say=say)


def _around(options: RecordOptions, watching: Watching | None) -> Around | None:
    """What is kept, and what around it; None if all is."""
    if options.on_motion is not None:
        from pi_capture.recording.motion import Motion, MotionWish

        return Motion(MotionWish(options.on_motion, options.pre_roll, options.post_roll))
    if watching is not None and options.on_class:
        return Around(watching.holds(options.on_class), options.pre_roll, options.post_roll)
    return None


def open_recorder(
    target: Path, options: RecordOptions, tracks: Sequence[SampleTrack], say: Callable[[str], None]
) -> FrameSink:
    """Open the recorder that the options ask for; `say` is called with lines about segments, from any thread.

    Raises
    ------
    UsageError, StorageError
        The target or the options can't be used.
    """
    backend, interval, asked = options.backend, options.sync_interval, options.options
    if options.segment is not None:
        from pi_capture.segments.recorder import Limit, SegmentedRecorder
        from pi_capture.segments.retention import Keep

        keep = Keep.parse(options.keep) if options.keep else None
        limit = Limit.parse(options.segment)
        return SegmentedRecorder(target, limit, keep, backend=backend, sync_interval=interval, options=asked, say=say)
    return Recorder(
        target,
        backend=backend,
        sync_interval=interval,
        options=asked,
        tracks=tracks,
        pictures=options.has_pictures,
        more_tracks=brings_tracks(options.camera),
    )


def _record_tracks(
    tracks: LocalTracks, recorder: FrameSink, seconds: float, observers: Observers, lines: Lines
) -> Summary:
    """Record sensors and sound without pictures."""
    recorder.describe({"camera": "none", "live": True})
    stop, end_ns = observers.stop, None
    try:
        tracks.begin(None)  # before they start: one may have ended at once
        tracks.start()
        while not stop.is_set() and not recorder.failed and not tracks.ended:
            if end_ns is None and seconds >= 0 and tracks.first_ns is not None:
                end_ns = tracks.first_ns + round(seconds * 1e9)
                tracks.begin(None, end_ns)
            left = TICK_SECONDS if end_ns is None else (end_ns - time.monotonic_ns()) / 1e9
            if left <= 0:
                break
            stop.wait(min(TICK_SECONDS, left))
            lines.say_all()
            observers.progress(recorder.status())
    except KeyboardInterrupt:  # as in `_Recording.run`
        pass
    except BaseException:
        recorder.close()
        raise
    problems = tracks.end(early_end_is_fine=seconds < 0)
    lines.say_all()
    return _unless(problems, recorder.close("stopped" if stop.is_set() else "finished"))


class _Recording:
    """Takes, and the pauses between them."""

    def __init__(
        self,
        recorder: FrameSink,
        options: RecordOptions,
        observers: Observers,
        *,
        gate: Gate,
        schedule: Schedule,
        tracks: LocalTracks,
        lines: Lines,
        watching: Watching | None = None,
    ) -> None:
        self._recorder = recorder
        self._options = options
        self._observers = observers
        self._gate = gate
        self._schedule = schedule
        self._tracks = tracks
        self._accompaniment = Accompaniment(tracks, recorder.samples)
        self._watching = watching
        self._lines = lines
        self._retry = Retry(None if options.retry == -1 else options.retry or 0)
        self._watchdog = Watchdog(WEDGED_SECONDS) if self._retrying else None
        self._stop = observers.stop
        self._live_labels = observers.live_labels
        self._labelling = False
        self._size: Size | None = None  # of the frames, once there are any
        self._gaps: list[dict[str, Any]] = []
        self._hung = False
        self._paused = ""
        self._failure: Exception | None = None
        self._end = "stopped"

    # ---------------------------------------------------------------------------------- from the camera to the recorder

    def run(self) -> Summary:
        try:
            self._tracks.start()
            while self._wait_for_the_hour() and self._record_take():
                pass
        except KeyboardInterrupt:  # the normal end for a program that installed no handler of its own
            pass
        except BaseException:
            self._recorder.close("failed")
            raise
        finally:
            if self._watchdog is not None:
                self._watchdog.close()
            if self._watching is not None:
                self._watching.close()
        return self._finish()

    def _record_take(self) -> bool:
        """Open the camera and record what it delivers; returns whether to go on after that."""
        take = Take(self._open, self._deliver, self._options, self._recorder, self._lines.put, size=self._size)
        in_hours, silent = True, None
        try:
            while take.alive and in_hours and silent is None and not self._over:
                take.wait(TICK_SECONDS)
                self._look_after(take)
                in_hours, silent = self._schedule.is_open(), take.silent_for()
        finally:
            self._hung = not take.end()
            self._look_after(take)
        if self._over:
            self._failure = None if isinstance(take.failure, CameraError) else take.failure
            return False
        if not in_hours and not self._hung and take.failure is None:
            self._note_gap("schedule", "outside the hours of the schedule")
            return True
        return self._go_on_after(take, silent)

    def _deliver(self, take: Take, source: Source) -> None:
        """In the take's thread: each frame from the camera to the recorder."""
        live = source.info.live
        self._prepare(take, source)
        for frame in take.frames_to_record(paced=bool(self._tracks) and not live):
            passing = self._gate.passing(self._noted(frame, wait=not live))
            if self._gate.time_is_up:
                self._recorder.miss(self._gate.lost_before_the_end)
                self._accompaniment.wait_for_the_rest(take.pass_over(REST_SECONDS))
                return
            if self._gate.frames == 1:
                self._accompaniment.begin(frame.timestamp_ns, self._gate.until_ns)
            for one in passing:
                self._recorder.put(one, wait=not live)
                self._show(one, recorded=True)
            if not passing:
                self._show(frame, recorded=False)
        if isinstance(source, Accompanied):
            self._recorder.miss(source.missing)

    # ------------------------------------------------------------------------------------------------ around the frames

    def _prepare(self, take: Take, source: Source) -> None:
        """In the take's thread, before its first frame to record: facts, samples, labels, exposure, packets."""
        recorder = self._recorder
        recorder.describe({**source.info.facts(), "live": source.info.live or bool(self._tracks)})
        if self._watching is not None:
            recorder.describe({"watch": self._watching.facts})
        self._accompaniment.join(source, self._lines.put)
        self._begin_labels(source)
        for frame in take.settle(source):
            self._show(frame, recorded=False)
        take.wait_until(lambda: self._tracks.under_way, START_SECONDS)
        if (codec := recorder.takes_packets) and self._gate.keeps_all and isinstance(source, Encoding):
            recorder.describe(source.start_encoding(*codec) or {})

    def _open(self) -> Source:
        return open_source(self._options.camera, self._options.size, self._options.fps)

    def _noted(self, frame: Frame, *, wait: bool) -> Frame:
        return frame if self._watching is None else self._watching.noted(frame, wait=wait)

    def _show(self, frame: Frame, *, recorded: bool) -> None:
        if self._observers.watch is not None:
            self._observers.watch(frame, recorded)

    @property
    def _over(self) -> bool:
        """Whether the recording was stopped, or nothing can be stored any more."""
        return self._stop.is_set() or self._recorder.failed

    def _begin_labels(self, source: Source) -> None:
        """Begin to keep labels: this machine's, or those that come with the frames."""
        if self._live_labels is not None and not self._labelling:
            recorder = self._in_one_piece()
            clock = None if source.info.live else lambda: recorder.next_timestamp_ns
            self._live_labels.begin(recorder, self._lines.put, clock)
            self._labelling = True
        elif isinstance(source, Accompanied) and source.classes:
            self._keep_labels_of(source)

    def _in_one_piece(self) -> Recorder:
        if not isinstance(self._recorder, Recorder):
            raise UsageError(IN_SEGMENTS)
        return self._recorder

    def _keep_labels_of(self, source: Accompanied) -> None:
        """Keep labels from another machine, as if its keys were pressed here."""
        from pi_capture.live.labels import LiveLabels

        if self._live_labels is None:
            labels = LiveLabels(tuple(source.classes))
            try:
                labels.begin(self._in_one_piece(), self._lines.put)
            except (UsageError, StorageError) as error:
                self._lines.put(f"the sender's labels are not kept: {str(error).removeprefix('--live-labels: ')}")
                return
            self._live_labels, self._labelling = labels, True
        if self._live_labels.names == tuple(source.classes):
            source.give_labels_to(self._live_labels.start)

    def _go_on_after(self, take: Take, silent: float | None) -> bool:
        """Return whether to open the camera again after it failed or ended, and wait before that."""
        live = take.source is None or take.source.info.live
        if take.finished and not (live and self._retrying and not self._gate.time_is_up):
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
        if not live or isinstance(self._failure, UsageError):
            return False
        self._retry.note_success(take.frames)
        # A camera doesn't wait for a process that is stopped: that is no failure of the camera.
        pause = 0.0 if take.was_stopped else self._retry.next_pause() if self._retrying else None
        if pause is None:
            return False
        self._observers.say(f"{_text(self._failure)}; opening it again in {pause:g} s")
        if take.frames:
            self._note_gap("camera", _text(self._failure))
        self._failure = None
        self._rest(pause)
        return not self._over

    def _wait_for_the_hour(self) -> bool:
        """Wait, without the camera, for the schedule; False if the recording ends instead."""
        if not self._schedule.is_open():
            self._observers.say(f"waiting for the hours {self._schedule}; the camera is free until then")
            self._paused = "schedule"
            while not self._schedule.is_open() and not self._over:
                self._rest(TICK_SECONDS)
            self._paused = ""
        return not self._over

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._over:
            self._stop.wait(min(left, TICK_SECONDS))
            if self._gate.frames or self._paused:
                self._observers.progress(self.status())

    def _look_after(self, take: Take) -> None:
        self._lines.say_all()
        if take.frames and self._size is None and take.source is not None:
            self._size = take.source.info.size
        if take.keeping:
            self._observers.progress(self.status())

    @property
    def _retrying(self) -> bool:
        return self._retry.limit != 0

    def _note_gap(self, cause: str, why: str) -> None:
        if self._gate.frames == 0:
            return
        self._gate.note_gap(cause)
        self._gaps = [*self._gaps, {"cause": cause, "why": why, "after_frame": self._gate.frames}][-GAPS_KEPT:]
        self._recorder.describe({"gaps": self._gaps})

    def status(self) -> Status:
        status = self._recorder.status()
        not_kept = self._gate.not_kept
        return replace(status, captured=status.captured + not_kept, not_kept=not_kept, paused=self._paused)

    # ---------------------------------------------------------------------------------------------------------- the end

    def _finish(self) -> Summary:
        failure = self._failure
        if failure is None or self._gate.frames:
            self._stop.set()  # wakes the threads that wait for the end
        problems = self._tracks.end(early_end_is_fine=self._gate.endless)
        problems += [] if self._watching is None else self._watching.problems
        end = f"failed: {failure}" if failure else "stopped: the camera hung" if self._hung else self._end
        try:
            counts = {"not_kept": self._gate.not_kept, "reopened": self._gate.reopened}
            self._recorder.describe({name: count for name, count in counts.items() if count})
            problems += self._accompaniment.end(self._gate.last_ns)
            summary = self._complete(self._recorder.close(end))
        except RecordingError as error:
            failure = failure or error
            raise RecordingError(str(error), self._complete(error.summary)) from error
        finally:
            try:
                if self._live_labels is not None:
                    self._live_labels.end(in_order=failure is None)
            finally:
                self._lines.say_all()
        if failure is None:
            return _unless(problems, summary)
        if isinstance(failure, TOLD) and summary.frames == 0:
            raise failure
        raise RecordingError(_text(failure), summary) from failure

    def _complete(self, summary: Summary) -> Summary:
        not_kept = self._gate.not_kept
        return replace(summary, captured=summary.captured + not_kept, not_kept=not_kept, reopened=self._gate.reopened)


def _text(failure: Exception) -> str:
    return str(failure) if isinstance(failure, TOLD) else repr(failure)


def _unless(problems: Sequence[str], summary: Summary) -> Summary:
    """Return the summary. Raises RecordingError for problems of sensors or a model, CameraError if all is empty."""
    if problems and not summary.bytes:
        raise CameraError("; ".join(problems))
    if problems:
        raise RecordingError("; ".join(problems), summary, has_all_frames=True)
    return summary

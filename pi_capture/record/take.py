"""One take: a camera is opened and delivers, until it ends, fails, or somebody says stop.

Everything that touches the camera happens in the take's own thread, so that a call which never comes back keeps nobody
else waiting. What becomes of a frame is decided by an `Intake`, which outlives the take: a recording has as many takes
as its camera had to be opened (see `pi_capture.record.capture`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol, cast

from pi_capture.errors import CameraError, RecordingError, UsageError
from pi_capture.record.jitter import SETTLE_SECONDS, Jitter
from pi_capture.record.motion import Motion
from pi_capture.samples.live import LiveTracks
from pi_capture.samples.received import ReceivedTracks
from pi_capture.sources import Accompanied, Controllable, Encoding, Source
from storage.frame import Frame

if TYPE_CHECKING:
    from pi_capture.record.recorder import Recorder

LOSSY_JITTER = (
    "a lossy codec smooths away some of the variation of white balance and gain between frames, and keeps its own "
    "blocks instead: for training data, record without --codec (lossless), or with --no-jitter"
)
PATIENCE_SECONDS = 2.0  # for a camera that is in the middle of a frame when we stop
OPENING_SECONDS = 90.0  # longer than any camera, than any address that doesn't answer, and than a sender is waited for
STALL_SECONDS = 15.0  # longer than a source's own patience: what is still silent then hangs in a call
STOPPED_SECONDS = 5.0  # between two looks at a take
STALL_FRAMES = 5  # of a camera that is slower than that
START_SECONDS = 2.0  # that sensors get to begin
REST_SECONDS = 1.5  # for samples that another machine sends after the last frame

Watch = Callable[[Frame, bool], None]
"""Shown a frame, and whether it was recorded."""


class Sink(Protocol):
    """Where an intake puts the frames that are kept: a recorder, or a series of them."""

    @property
    def lossless(self) -> bool: ...
    @property
    def takes_packets(self) -> tuple[str, int] | None: ...
    @property
    def keeps_samples(self) -> bool: ...
    def put(self, frame: Frame, *, wait: bool) -> bool: ...
    def miss(self, count: int) -> None: ...
    def describe(self, facts: Mapping[str, Any]) -> None: ...


class Intake:
    """What becomes of the frames, from the first take to the last.

    Parameters
    ----------
    sink : Sink
    seconds : float
        How long to keep frames, by their timestamps; -1 for ever.
    motion : Motion, optional
        Picks the frames to keep; all, without it.
    tracks : LiveTracks
        Sensors and sound beside the pictures, which begin with the first and end with the last.
    watch : callable, optional
        Shown every frame.

    Attributes
    ----------
    frames : int
        How many the camera delivered.
    gaps : int
        How often it had been gone, and came back.
    time_is_up : bool
        A frame came that was too late.
    """

    def __init__(
        self, sink: Sink, seconds: float, motion: Motion | None, tracks: LiveTracks, watch: Watch | None = None
    ) -> None:
        self._sink = sink
        self._seconds = seconds
        self._motion = motion
        self._watch = watch
        self.tracks = tracks
        self._received: ReceivedTracks | None = None
        self._until_ns: float | None = None
        self._last_ns: int | None = None
        self._gap: dict[str, Any] = {}
        self.frames = self.gaps = 0
        self.time_is_up = False

    def note_gap(self, cause: str) -> None:
        """The camera was gone before the next frame; why goes with that frame, and how long."""
        self._gap = {"gap": cause}

    def accompany(self, source: Source, say: Callable[[str], None]) -> None:
        """Take the samples in that come with a source's pictures, if the recording can keep them."""
        tracks = source.tracks if isinstance(source, Accompanied) else ()
        if self._received is not None:
            if strange := self._received.go_on(tracks):
                say(f"{source.info.camera}: not kept, as they were not there at first: {', '.join(strange)}")
        elif self._sink.keeps_samples:
            self._received = ReceivedTracks(cast("Recorder", self._sink), tracks)
        if self._received is not None and isinstance(source, Accompanied):
            source.give_samples_to(self._received.take, say)
        elif tracks:
            names = ", ".join(track.name for track in tracks)
            say(f"{source.info.camera} sends {names}, which are not kept; record to a .mkv, in one piece, for them")

    def wait_for_samples(self, frames: Iterator[Frame]) -> None:
        """The last frame has come; samples of that time may be on their way."""
        until = time.monotonic() + REST_SECONDS
        while self._received is not None and not self._received.complete and time.monotonic() < until:
            try:
                if next(frames, None) is None:
                    return
            except CameraError:
                return

    def miss(self, count: int) -> None:
        """So many frames were lost after the last one."""
        self._sink.miss(count)

    def end(self) -> None:
        """Nothing comes any more."""
        if self._received is not None:
            self._received.end()

    def add(self, frame: Frame, *, wait: bool) -> bool:
        """Take a frame in; False if its time is past the end."""
        if self._until_ns is None:
            self._until_ns = float("inf") if self.endless else frame.timestamp_ns + self._seconds * 1e9
            for tracks in (self.tracks, self._received):
                if tracks is not None:
                    tracks.begin(frame.timestamp_ns, None if self.endless else round(self._until_ns))
        if frame.timestamp_ns >= self._until_ns:
            self.time_is_up = True
            self._sink.miss(self._lost_before_the_end(frame))
            return False
        if self._gap:
            if self._last_ns is not None:
                self._gap["gap_ns"] = frame.timestamp_ns - self._last_ns
            frame, self._gap = replace(frame, metadata={**frame.metadata, **self._gap}), {}
            self.gaps += 1
        self._last_ns = frame.timestamp_ns
        self.frames += 1
        kept = [frame] if self._motion is None else self._motion.pick(frame)
        for one in kept:
            self._sink.put(one, wait=wait)
            self.show(one, recorded=True)
        if not kept:
            self.show(frame, recorded=False)
        return True

    def _lost_before_the_end(self, frame: Frame) -> int:
        """How many of the frames that the camera lost before this one, which is too late, would not have been."""
        lost: int = frame.metadata.get("dropped_camera", 0)
        if not lost or self._last_ns is None or self._until_ns is None:
            return 0
        apart = (frame.timestamp_ns - self._last_ns) / (lost + 1)
        return min(lost, ceil((self._until_ns - self._last_ns) / apart) - 1)

    def show(self, frame: Frame, *, recorded: bool) -> None:
        """Show a frame to who watches."""
        if self._watch is not None:
            self._watch(frame, recorded)

    @property
    def endless(self) -> bool:
        """Whether only somebody's word ends it."""
        return self._seconds < 0

    @property
    def keeps_all(self) -> bool:
        """Whether no frame is let go: packets of which some are missing can't be decoded."""
        return self._motion is None

    @property
    def not_kept(self) -> int:
        """How many frames were let go because nothing moved; those that wait to be a pre-roll among them."""
        return self._motion.not_kept if self._motion is not None else 0


@dataclass(frozen=True, slots=True)
class Preparation:
    """What happens before a take's first frame is kept.

    Attributes
    ----------
    countdown : float
        Seconds of warning before a live camera's first frame.
    jitter : bool or None
        Vary gain and white balance; None: if it is a Raspberry Pi's camera.
    jitter_seed : int or None
    """

    countdown: float = 0
    jitter: bool | None = None
    jitter_seed: int | None = None


class Take:
    """A thread that opens a source and hands its frames on.

    Parameters
    ----------
    open_camera : callable
        Opens it.
    intake, sink
        What becomes of the frames, and where facts about the camera go.
    preparation : Preparation
    begin : callable
        Given the source, before its first frame.
    size : (int, int), optional
        Width and height that the frames must have, because those before had it.

    Attributes
    ----------
    source : Source or None
        Once it is open.
    keeping : bool
        Whether frames are being kept already.
    frames : int
        How many it delivered.
    failure : Exception or None
        Why it ended, if it failed.
    finished : bool
        The time is up, or a source that isn't live has ended.
    """

    def __init__(
        self,
        open_camera: Callable[[], Source],
        intake: Intake,
        sink: Sink,
        preparation: Preparation,
        *,
        begin: Callable[[Source], None],
        size: tuple[int, int] | None = None,
    ) -> None:
        self._open = open_camera
        self._intake = intake
        self._sink = sink
        self._preparation = preparation
        self._begin = begin
        self._size = size
        self._stop = threading.Event()
        self._steer: Controllable | None = None
        self._jitter: Jitter | None = None
        self._lines: list[str] = []
        self._asked = time.monotonic()  # when the camera was last asked for something
        self._answered = False
        self._looked = self._asked  # at it, from the outside
        self._awake = self._asked  # since when this process runs without a stop
        self.source: Source | None = None
        self.keeping = False
        self.frames = 0
        self.failure: Exception | None = None
        self.finished = False
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------------- seen from the outside

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Until it has ended, but no longer than this."""
        self._thread.join(seconds)

    def silent_for(self) -> float | None:
        """For how many seconds the camera owes an answer, if that is longer than any camera takes.

        To be asked all the time: where nobody did, this process was stopped (Ctrl-Z, a frozen container), and the
        camera's thread with it. Its patience begins anew after that.
        """
        before, self._looked = self._looked, time.monotonic()
        if self._looked - before > STOPPED_SECONDS:
            self._awake = self._looked
        if self._answered or not self.alive:
            return None
        heard = self.source.heard_at if isinstance(self.source, Accompanied) else 0.0
        silent = self._looked - max(self._asked, self._awake, heard)
        if self.source is None:
            return silent if silent > OPENING_SECONDS else None
        info = self.source.info
        patience = max(STALL_SECONDS, STALL_FRAMES / info.fps if info.fps else 0.0)
        return silent if info.live and silent > patience else None

    def take_lines(self) -> list[str]:
        """What there is to tell."""
        lines, self._lines = self._lines, []
        return lines

    def end(self) -> bool:
        """Let go of the camera; False if it hangs in a call, and with it the thread."""
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        if self.source is not None:
            closing = threading.Thread(target=self.source.close, name="capture-close", daemon=True)
            closing.start()
            closing.join(PATIENCE_SECONDS)
        self._thread.join(PATIENCE_SECONDS)
        return not self._thread.is_alive()

    # ------------------------------------------------------------------------------------------------- seen from within

    def _run(self) -> None:
        try:
            source = self._open()
            if self._size is not None and source.info.size != self._size:
                self.source = source
                width, height = source.info.size
                raise UsageError(f"{source.info.camera} came back with {width}x{height} pixels; give --size")
            self._asked = time.monotonic()
            self.source = source
            if self._stop.is_set():  # nobody waits for it any more
                source.close()
                return
            self._deliver(source)
        except RecordingError:
            pass  # the recorder tells it again when it is closed
        except Exception as error:
            if not self._stop.is_set() or not isinstance(error, CameraError):
                self.failure = error

    def _deliver(self, source: Source) -> None:
        info = source.info
        self._sink.describe(
            {
                "camera": info.camera,
                "model": info.model,
                "fps": info.fps,
                "live": info.live or bool(self._intake.tracks),
                "details": dict(info.details),
            }
        )
        self._intake.accompany(source, self._say)
        self._begin(source)
        frames = iter(source)
        wanted = self._preparation.jitter
        if wanted or (wanted is None and info.camera.startswith("picamera2")):
            if isinstance(source, Controllable):
                self._lines.append(f"settling exposure for {SETTLE_SECONDS:.0f} s")
                self._pass_over(frames, SETTLE_SECONDS)
                self._lock(source, info.camera)
            elif wanted:
                self._lines.append(f"{info.camera} has no exposure controls: recording without jitter")
        for left in range(round(self._preparation.countdown) if info.live else 0, 0, -1):
            self._lines.append(f"recording in {left} …")
            self._pass_over(frames, 1.0)
        self._wait_for_tracks(frames, live=info.live)
        if (asked := self._sink.takes_packets) and self._intake.keeps_all and isinstance(source, Encoding):
            self._sink.describe(source.start_encoding(*asked) or {})
        self.keeping = True
        if self._intake.tracks and not info.live:
            frames = self._at_their_pace(frames)
        self._keep(frames, wait=not info.live)

    def _say(self, line: str) -> None:
        self._lines.append(line)

    def _pass_over(self, frames: Iterator[Frame], seconds: float) -> None:
        """Let the camera run without keeping its frames."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.is_set():
            if (frame := next(frames, None)) is not None:
                self._intake.show(frame, recorded=False)
            self._asked = time.monotonic()

    def _wait_for_tracks(self, frames: Iterator[Frame], *, live: bool) -> None:
        """Let all begin together: a sensor's program may take a moment to start."""
        until = time.monotonic() + START_SECONDS
        while not self._intake.tracks.under_way and time.monotonic() < until and not self._stop.is_set():
            if live:
                next(frames, None)
            else:
                self._stop.wait(0.02)
            self._asked = time.monotonic()

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

    def _lock(self, camera: Controllable, name: str) -> None:
        locked = camera.lock_exposure()
        if not locked:
            self._lines.append(f"{name} has no exposure controls: recording without jitter")
            return
        self._steer = camera
        self._jitter = Jitter(locked, self._preparation.jitter_seed)
        if not self._sink.lossless:
            self._lines.append(LOSSY_JITTER)
        self._sink.describe({"locked": dict(locked), "jitter": {"seed": self._preparation.jitter_seed}})

    def _keep(self, frames: Iterator[Frame], *, wait: bool) -> None:
        drawn = self._vary()
        self._asked = time.monotonic()
        for frame in frames:
            self._answered = True
            if self._stop.is_set():
                return
            if drawn is not None:
                frame = replace(frame, metadata={**frame.metadata, "jitter": drawn})  # noqa: PLW2901 (the same frame)
            if not self._intake.add(frame, wait=wait):
                self.finished = True
                self._intake.wait_for_samples(frames)
                return
            self.frames += 1
            drawn = self._vary()
            self._asked = time.monotonic()
            self._answered = False
        self.finished = not self._stop.is_set()
        if isinstance(self.source, Accompanied):
            self._intake.miss(self.source.missing)

    def _vary(self) -> dict[str, object] | None:
        """Ask for the next frame's values; what was drawn goes with it, what was applied its own metadata tells."""
        if self._jitter is None or self._steer is None:
            return None
        controls, drawn = self._jitter.draw()
        self._steer.set_controls(controls)
        return drawn

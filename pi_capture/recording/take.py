"""One take: a camera is opened and delivers frames until it ends, fails or is stopped.

All calls into the camera happen in the take's own thread, so that a call that never returns blocks nothing else. Each
time the camera is opened a new take begins. For what happens to the frames see `pi_capture.recording.capture`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from pi_capture.errors import CameraError, RecordingError, UsageError
from pi_capture.recording.jitter import SETTLE_SECONDS, Jitter
from pi_capture.recording.options import RecordOptions
from pi_capture.recording.sink import FrameSink
from pi_capture.sources import Accompanied, Controllable, Focusing, HighDynamicRange, Source
from storage.frame import Frame

LOSSY_JITTER = (
    "a lossy codec smooths away some of the variation of white balance and gain between frames, and keeps its own "
    "blocks instead: for training data, record without --codec (lossless), or with --no-jitter"
)
PATIENCE_SECONDS = 2.0  # for a camera that is in the middle of a frame when we stop
OPENING_SECONDS = 90.0  # longer than any camera, than any address that doesn't answer, and than a sender is waited for
STALL_SECONDS = 15.0  # longer than a source's own patience: what is still silent then hangs in a call
STOPPED_SECONDS = 5.0  # between two looks at a take
STALL_FRAMES = 5  # of a camera that is slower than that
SEARCH_SECONDS = 10.0  # for a focus, or for HDR: longer than a Pi's lens needs to go through all distances
SEARCH_FRAMES = 150  # of a camera that is slower than that


class Take:
    """A thread that opens a source with `open_camera` and calls `deliver` with it, which reads the frames.

    Facts about focus and exposure go to `recorder`; `say` is called from the thread with a line now and then. The
    frames must have the width and height `size`, if earlier takes had.
    """

    def __init__(
        self,
        open_camera: Callable[[], Source],
        deliver: Callable[[Take, Source], None],
        options: RecordOptions,
        recorder: FrameSink,
        say: Callable[[str], None],
        *,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._open = open_camera
        self._deliver = deliver
        self._options = options
        self._recorder = recorder
        self._say = say
        self._size = size
        self._stop = threading.Event()
        self._steer: Controllable | None = None
        self._jitter: Jitter | None = None
        self._asked = time.monotonic()  # when the camera was last asked for something
        self._answered = False
        self._coming: Iterator[Frame] = iter(())
        self._looked = self._asked  # at it, from the outside
        self._awake = self._asked  # since when this process runs without a stop
        self.source: Source | None = None  # once it is open
        self.keeping = False  # whether frames are recorded already
        self.frames = 0  # how many of them came
        self.failure: Exception | None = None  # why it ended, if it failed
        self.finished = False  # time is up, or a source that isn't live has ended
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------------- seen from the outside

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for its end, no longer than this."""
        self._thread.join(seconds)

    def silent_for(self) -> float | None:
        """Return the seconds since the camera should have answered, if they are more than any camera needs.

        Call it all the time. After a long pause between two calls this process was stopped (Ctrl-Z, a frozen
        container), and the time counts anew.
        """
        self._look()
        if self._answered or not self.alive:
            return None
        heard = self.source.heard_at if isinstance(self.source, Accompanied) else 0.0
        silent = self._looked - max(self._asked, self._awake, heard)
        if self.source is None:
            return silent if silent > OPENING_SECONDS else None
        info = self.source.info
        patience = max(STALL_SECONDS, STALL_FRAMES / info.fps if info.fps else 0.0)
        return silent if info.live and silent > patience else None

    @property
    def was_stopped(self) -> bool:
        """Whether this process was stopped while the camera should have answered."""
        self._look()
        return self._awake > self._asked

    def _look(self) -> None:
        before, self._looked = self._looked, time.monotonic()
        if self._looked - before > STOPPED_SECONDS:
            self._awake = self._looked

    def end(self) -> bool:
        """Close the camera. Returns False if a call into it hangs."""
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        if self.source is not None:
            closing = threading.Thread(target=self.source.close, name="capture-close", daemon=True)
            closing.start()
            closing.join(PATIENCE_SECONDS)
        self._thread.join(PATIENCE_SECONDS)
        return not self._thread.is_alive()

    # -------------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            source = self._open()
            if self._size is not None and source.info.size != self._size:
                self.source = source
                width, height = source.info.size
                raise UsageError(f"{source.info.camera} came back with {width}x{height} pixels; give --size")
            self._asked = time.monotonic()
            self.source = source
            if self._stop.is_set():  # the recording has ended
                source.close()
                return
            self._coming = iter(source)
            self._deliver(self, source)
            self.finished = not self._stop.is_set()
        except RecordingError:
            pass  # the recorder raises it again when it is closed
        except Exception as error:
            if not self._stop.is_set() or not isinstance(error, CameraError):
                self.failure = error

    def settle(self, source: Source) -> Iterator[Frame]:
        """Focus, ask for HDR and lock exposure if wanted, and count down. Yields the frames of that time.

        Raises
        ------
        UsageError
            The camera takes no focus or no HDR from here.
        """
        camera, wanted = source.info.camera, self._options.jitter
        yield from self._focus(source)
        yield from self._widen_range(source)
        if wanted or (wanted is None and not self._options.hdr and camera.startswith("picamera2")):
            if isinstance(source, Controllable):
                self._say(f"settling exposure for {SETTLE_SECONDS:.0f} s")
                yield from self.pass_over(SETTLE_SECONDS)
                self._lock(source, camera)
            elif wanted:
                self._say(f"{camera} has no exposure controls: recording without jitter")
        for left in range(round(self._options.countdown) if source.info.live else 0, 0, -1):
            if self._stop.is_set():
                return
            self._say(f"recording in {left} …")
            yield from self.pass_over(1.0)

    def _focus(self, source: Source) -> Iterator[Frame]:
        camera, focus = source.info.camera, self._options.focus
        if focus is None:
            return
        if not isinstance(source, Focusing):
            raise UsageError(f"--focus: {camera} takes none; leave it out, or take a Raspberry Pi camera")
        if not source.set_focus(focus):
            self._say(f"{camera} ({source.info.model}) has a lens that can't move: going on without --focus")
            return
        self._recorder.describe({"focus": focus})
        if focus == "auto":
            return
        yield from self._pass_over_until(lambda: source.focused is not None, source)
        if not source.focused and not self._stop.is_set():
            self._say(f"--focus {focus}: {camera} is not in focus; give it more light, or the distance in metres")

    def _widen_range(self, source: Source) -> Iterator[Frame]:
        if not self._options.hdr:
            return
        camera = source.info.camera
        if not isinstance(source, HighDynamicRange):
            raise UsageError(f"--hdr: {camera} takes none; leave it out, or take a Pi 5's own camera")
        source.set_hdr()
        yield from self._pass_over_until(lambda: source.hdr is not None, source)
        if not source.hdr and not self._stop.is_set():
            self._say(f"{camera} ({source.info.model}) has no HDR, which needs a Pi 5: going on without --hdr")
        self._recorder.describe({"hdr": source.hdr is True})

    def _pass_over_until(self, ready: Callable[[], bool], source: Source) -> Iterator[Frame]:
        patience = max(SEARCH_SECONDS, SEARCH_FRAMES / source.info.fps if source.info.fps else 0.0)
        for frame in self.pass_over(patience):
            yield frame
            if ready():
                return

    def pass_over(self, seconds: float) -> Iterator[Frame]:
        """Yield the frames of so many seconds; they are not recorded."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.is_set():
            if (frame := next(self._coming, None)) is None:
                return
            yield frame
            self._asked = time.monotonic()

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready`, no longer than `seconds`. Frames of a live camera are passed over meanwhile."""
        until = time.monotonic() + seconds
        while not ready() and time.monotonic() < until and not self._stop.is_set():
            if self.source is not None and self.source.info.live:
                next(self._coming, None)
            else:
                self._stop.wait(0.02)
            self._asked = time.monotonic()

    def frames_to_record(self, *, paced: bool) -> Iterator[Frame]:
        """Yield the frames to record until the source ends or the recording is stopped.

        If `paced`, frames of a file come at the rate of their timestamps, on the clock of the sensors beside them.
        """
        self.keeping = True
        drawn = self._vary()
        self._asked = time.monotonic()
        for frame in self._at_their_pace(self._coming) if paced else self._coming:
            self._answered = True
            if self._stop.is_set():
                return
            yield frame if drawn is None else replace(frame, metadata={**frame.metadata, "jitter": drawn})
            self.frames += 1
            drawn = self._vary()
            self._asked = time.monotonic()
            self._answered = False

    def _at_their_pace(self, frames: Iterator[Frame]) -> Iterator[Frame]:
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
            self._say(f"{name} has no exposure controls: recording without jitter")
            return
        self._steer = camera
        self._jitter = Jitter(locked, self._options.jitter_seed)
        if not self._recorder.lossless:
            self._say(LOSSY_JITTER)
        self._recorder.describe({"locked": dict(locked), "jitter": {"seed": self._options.jitter_seed}})

    def _vary(self) -> dict[str, object] | None:
        """Set drawn controls for the next frame, and return them; its metadata has the applied ones."""
        if self._jitter is None or self._steer is None:
            return None
        controls, drawn = self._jitter.draw()
        self._steer.set_controls(controls)
        return drawn

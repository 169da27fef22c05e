"""What a classifier says of frames while they come, in a thread of its own: no camera ever waits for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pi_capture.recording.observers import nothing
from storage.errors import StorageError
from storage.frame import Frame
from storage.learn.smoothing import Smoother
from storage.names import printable

if TYPE_CHECKING:
    from storage.learn.classifier import Classifier

CLOSING_SECONDS = 1.0
KEY = "watch"  # of a frame's metadata


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a classifier says of a frame.

    Attributes
    ----------
    timestamp_ns : int
        The frame's.
    name : str or None
        The class that holds, smoothed over time; None before the first one has held long enough.
    certainty : float
        Of that class, else of the most certain one, by this frame alone: 0 to 1.
    certainties : mapping
        Of each class, by this frame alone.
    milliseconds : float
        How long the classifier took.
    """

    timestamp_ns: int
    name: str | None
    certainty: float
    certainties: Mapping[str, float]
    milliseconds: float

    @property
    def alone(self) -> str:
        """The most certain class, by this frame alone."""
        return max(self.certainties, key=self.certainties.__getitem__)

    @property
    def shown(self) -> str:
        """For a line of text."""
        return printable(f"{self.name or '…'} {self.certainty:.2f}")


class Watching:
    """Shows frames to a classifier, and keeps the last verdict.

    Parameters
    ----------
    classifier : Classifier
    hold : float
        For so many seconds a class must lead before it holds.
    told : callable, optional
        Called with each frame and its verdict, in the thread that looked.
    say : callable
        Called with a line when the classifier fails.

    Attributes
    ----------
    last : Verdict or None
    seen, skipped : int
        Frames that were looked at, and live ones that were not, as a newer one came first.
    failure : Exception or None
        Why it looks at no more frames.
    """

    def __init__(
        self,
        classifier: Classifier,
        hold: float,
        told: Callable[[Frame, Verdict], None] | None = None,
        say: Callable[[str], None] = nothing,
    ) -> None:
        self._say = say
        self.classifier = classifier
        self._smoother = Smoother(len(classifier.classes), hold)
        self._told = told
        self._newest: Frame | None = None
        self._changed = threading.Condition()
        self._over = False
        self.last: Verdict | None = None
        self.seen = self.skipped = 0
        self.failure: Exception | None = None
        self._thread: threading.Thread | None = None  # once there is something for it

    def offer(self, frame: Frame) -> None:
        """Have the thread look at a frame, unless a newer one comes before there is time for it. Returns at once."""
        with self._changed:
            self.skipped += self._newest is not None
            self._newest = frame
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def look(self, frame: Frame) -> Verdict:
        """Look at a frame now. Frames come one after another, from one thread. Raises StorageError if what the
        classifier gives are no numbers.
        """
        began = time.perf_counter()
        certainties = self.classifier.certainties(frame.pixels)
        passed = time.perf_counter() - began
        values = [round(float(value), 4) for value in certainties]
        if not all(map(math.isfinite, values)):  # smoothed, one would stay in every verdict after it
            raise StorageError(f"{self.classifier.origin} gives no numbers for frame {frame.index}: {values}")
        label = self._smoother.update(certainties, frame.timestamp_ns / 1e9)
        named = dict(zip(self.classifier.classes, values, strict=True))
        name = None if label is None else self.classifier.classes[label]
        certainty = max(values) if name is None else named[name]
        self.last = verdict = Verdict(frame.timestamp_ns, name, certainty, named, round(passed * 1e3, 2))
        self.seen += 1
        if self._told is not None:
            self._told(frame, verdict)
        return verdict

    def noted(self, frame: Frame, *, wait: bool) -> Frame:
        """A frame with what was said last in its metadata: ``class``, ``certainty``, and ``timestamp_ns`` of the frame
        that it was said of, which with ``wait=True`` is this one.
        """
        if self.failure is None:
            if wait:
                self._try(frame)
            else:
                self.offer(frame)
        last = self.last
        if last is None or self.failure is not None:  # what was said before its end is not true of later frames
            return frame
        said = {"class": last.name, "certainty": last.certainty, "timestamp_ns": last.timestamp_ns}
        return replace(frame, metadata={**frame.metadata, KEY: said})

    def holds(self, names: Sequence[str]) -> Callable[[Frame], bool]:
        """Whether one of these classes holds, by what is noted in a frame; true once nothing is said any more."""
        return lambda frame: self.failure is not None or frame.metadata.get(KEY, {}).get("class") in names

    @property
    def problems(self) -> list[str]:
        """For the end of a recording."""
        return [] if self.failure is None else [f"the model failed: {self.failure!r}"]

    @property
    def facts(self) -> Mapping[str, object]:
        """For what is kept with a recording."""
        classifier = self.classifier
        return {"model": classifier.origin, "sha256": classifier.sha256, "classes": classifier.classes}

    def close(self) -> None:
        """Look at the newest frame if there is time, and end the thread."""
        with self._changed:
            self._over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        while self.failure is None and (frame := self._next()) is not None:
            self._try(frame)

    def _try(self, frame: Frame) -> None:
        try:
            self.look(frame)
        except Exception as error:  # of the classifier, or of whoever is told
            self.failure = error
            self._say(f"the model fails, and looks at no more frames: {error!r}; the recording goes on")

    def _next(self) -> Frame | None:
        with self._changed:
            while self._newest is None and not self._over:
                self._changed.wait()
            frame, self._newest = self._newest, None
            return frame

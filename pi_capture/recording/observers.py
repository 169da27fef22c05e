"""The callbacks of a recording, and the event that ends it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pi_capture.status import Status
from storage.frame import Frame

if TYPE_CHECKING:
    from pi_capture.live.labels import LiveLabels
    from pi_capture.samples.local import SampleWatch

Watch = Callable[[Frame, bool], None]
"""Called with a frame and whether it was recorded."""


def nothing(_: object) -> None:
    """Ignore a line or a status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """The callbacks of a recording, and the event that ends it.

    Attributes
    ----------
    stop : threading.Event
        Set it to end the recording.
    say, progress : callable
        Called from the calling thread: with a line now and then, with the status a few times a second.
    live_labels : LiveLabels, optional
        Labels given while recording.
    watch : callable, optional
        Called from the camera's thread with each frame and whether it was recorded; frames of the countdown are
        not. Must return at once.
    watch_samples : sequence of SampleWatch
        Called with the samples of this machine's sensors and sound.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = nothing
    progress: Callable[[Status], None] = nothing
    live_labels: LiveLabels | None = None
    watch: Watch | None = None
    watch_samples: Sequence[SampleWatch] = ()


class Lines:
    """Lines for the user: any thread may `put` one; the calling thread says them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.put: Callable[[str], None] = self._waiting.put

    def say_all(self) -> None:
        """Say those that wait."""
        with suppress(queue.Empty):
            while True:
                self._say(self._waiting.get_nowait())

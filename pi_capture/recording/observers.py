"""The callbacks of a recording, and the event that ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pi_capture.status import Status
from storage.frame import Frame

if TYPE_CHECKING:
    from pi_capture.live.labels import LiveLabels
    from pi_capture.samples.live import SampleWatch

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

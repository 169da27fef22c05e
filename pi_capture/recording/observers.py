"""Who is told of a recording while it goes on."""

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
"""Shown a frame, and whether it was recorded."""


def nothing(_: object) -> None:
    """What is done with a line or a status that nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """Who is told of a recording while it goes on, and may end it.

    Attributes
    ----------
    stop : threading.Event
        Set it to end the recording.
    say, progress : callable
        Told, from the calling thread, a line now and then, and the status a few times a second.
    live_labels : LiveLabels, optional
        Labels the frames, as somebody gives them meanwhile.
    watch : callable, optional
        Shown each frame from the camera's thread, and whether it was recorded: those of the countdown are not. It
        must return at once.
    watch_samples : sequence of SampleWatch
        Shown the samples of this machine's sensors and sound.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = nothing
    progress: Callable[[Status], None] = nothing
    live_labels: LiveLabels | None = None
    watch: Watch | None = None
    watch_samples: Sequence[SampleWatch] = ()

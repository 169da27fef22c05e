"""The counts of a recording, while it runs and at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

COUNTS = ("frames", "captured", "dropped_queue", "dropped_camera", "dropped_disk", "bytes")
"""The counts that a `Status` and a `Summary` share."""


@dataclass(frozen=True, slots=True)
class Status:
    """The counts of a running recording.

    ``frames`` were stored, of which ``durable`` survive a power cut. The others were lost: ``dropped_queue`` because
    the encoders or the disk did not keep up with a live camera, ``dropped_camera`` before they reached us, and
    ``dropped_disk`` because the disk failed. Of all that were ``captured`` each is stored, dropped by the queue or the
    disk, ``not_kept`` because nothing moved, or still on its way. ``queue_fill``, 0 to 1, is how full the queue is now.

    ``samples`` are those of sensors and sound; where there are no pictures, ``durable`` counts them. ``paused`` tells
    why there is no camera just now: "schedule", or "" if there is one.
    """

    frames: int
    durable: int
    dropped_queue: int
    dropped_camera: int
    dropped_disk: int
    bytes: int
    queue_fill: float = 0.0
    samples: int = 0
    captured: int = 0
    not_kept: int = 0
    paused: str = ""

    @property
    def dropped(self) -> int:
        """All frames that were lost."""
        return self.dropped_queue + self.dropped_camera + self.dropped_disk

    @classmethod
    def total(cls, each: Sequence[Status]) -> Self:
        """The status of several recorders together; the fullest queue counts."""
        fill = max((one.queue_fill for one in each), default=0.0)
        return cls(**added_up(each), durable=sum(one.durable for one in each), queue_fill=fill)


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """The counts of a track of samples: stored, padded where none came, lost.

    ``rate`` is samples a second, ``measured_rate`` as they came, if known. ``came_before`` counts
    those from before the first picture, which were not kept. ``problems`` tells what was wrong with it, a line each.
    """

    samples: int
    padded: int
    lost: int
    rate: float
    measured_rate: float | None = None
    came_before: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """The counts of a finished recording. ``seconds`` and ``fps`` are those of the frames' own timestamps.

    ``captured`` is the sum of ``frames``, ``dropped_queue``, ``dropped_disk`` and ``not_kept`` (because nothing moved).
    ``reopened`` is how often the camera was opened again; ``segments``, how many recordings it became, and ``newest``
    the last of them: with segments, `path` is only what their names begin with. ``tracks`` has the sensors and the
    sound, by name.
    """

    frames: int
    seconds: float
    fps: float
    dropped_queue: int
    dropped_camera: int
    dropped_disk: int
    bytes: int
    path: str
    backend: str
    size: str | None
    tracks: Mapping[str, TrackSummary] = field(default_factory=dict)
    captured: int = 0
    not_kept: int = 0
    reopened: int = 0
    segments: int = 1
    newest: str = ""


def added_up(each: Sequence[Status | Summary]) -> dict[str, Any]:
    """The `COUNTS` of several recordings together."""
    return {name: sum(getattr(one, name) for one in each) for name in COUNTS}


def measured_rate(frames: int, span_ns: tuple[int, int] | None) -> float:
    """Frames a second, from the first and the last timestamp; 0 if they don't tell."""
    span = (span_ns[1] - span_ns[0]) / 1e9 if span_ns else 0.0
    return (frames - 1) / span if frames > 1 and span > 0 else 0.0

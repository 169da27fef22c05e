"""The options of a recording, in one object from the command line to the recorder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from pi_capture.errors import UsageError
from pi_capture.recording import HOLD_SECONDS

if TYPE_CHECKING:
    from pi_capture.samples.sensors import Sensor
    from pi_capture.sources import Focus, Size


def parse_focus(text: str) -> Focus:
    """Return what ``--focus`` asks for. Raises ValueError, which says what to give."""
    if text in ("auto", "once"):
        return text
    try:
        metres = float(text)
    except ValueError:
        metres = math.nan
    if not 0 < metres < math.inf:
        raise ValueError(f"{text!r}: give auto, once, or the distance in metres, such as 0.5")
    return metres


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """How to record. Each of these is a keyword argument of `pi_capture.record` as well.

    Attributes
    ----------
    camera : str
        What to record from: see `pi_capture.sources.open_source`; ``none`` for sensors and sound only.
    size : (int, int) or None
        Width and height of the frames in pixels; None for the camera's own.
    fps : float, optional
        Wanted frames a second; by default the camera's own, at most 30, and every frame of a file.
    backend : str, optional
        The format's name; by the target's suffix if not given.
    options : mapping, optional
        Options of the format: ``compression``, ``codec``, ``crf``, ``weights`` (see `storage.formats.table`).
    sync_interval : float
        Seconds between syncs: a power cut loses these at most.
    jitter : bool, optional
        Vary gain and white balance (see `pi_capture.recording.jitter`); by default only a Raspberry Pi camera's.
    jitter_seed : int, optional
        Makes the variation repeatable.
    focus : "auto", "once" or float, optional
        Keep searching the focus, find it once before the first frame and hold it, or focus at so many metres. By
        default as the camera does: a Raspberry Pi camera whose lens moves keeps searching.
    hdr : bool
        Have the camera show dark and bright parts at once, by HDR; then there is no jitter.
    countdown : float
        Seconds of warning before a live camera's first frame is kept.
    sensors : sequence of str
        Each is what ``--sensor`` takes, ``NAME,rate=HZ[,channels=N][,format=…][,unit=…][,labels=x|y]=COMMAND``, with
        the format ``f32le``, ``s16le`` or ``text``: the command prints the numbers. They go into a Matroska file with
        the pictures.
    audio : sequence of str
        Each is what ``--audio`` takes: ``alsa:DEVICE``, ``pulse:SOURCE`` or ``lavfi:GRAPH``.
    audio_codec : str
        ``flac``, ``opus`` or ``pcm``.
    segment : str, optional
        Cut the recording into recordings of this length: ``1h``, ``2GB``, ``1000frames`` (see
        `pi_capture.segments.recorder`).
    keep : sequence of str
        Remove the oldest unlabelled segments beyond these limits: ``20GB``, ``7d``, ``min-free=2GB``.
    retry : int, optional
        Open a live camera again when it fails or ends: at most so many times in a row, -1 without limit. By default
        the recording ends.
    between : sequence of str
        Hours of the day to record at (see `Schedule.parse`); the camera is free at others.
    on_motion : float, optional
        Keep only frames with motion: at least this percent of the picture changes (see `pi_capture.recording.motion`).
    model : str, optional
        The file of a classifier, which says the class of each frame while it is recorded (see
        `pi_capture.recording.verdicts`).
    hold : float
        For so many seconds a class must lead before the model says so.
    on_class : sequence of str
        Keep only frames of these classes, by what the model says.
    pre_roll, post_roll : float
        Seconds kept before and after motion, or such a class.

    Raises
    ------
    UsageError
        An option is wrong, or two contradict each other.
    """

    camera: str = "auto"
    size: Size | None = (128, 128)
    fps: float | None = None
    backend: str | None = None
    options: Mapping[str, Any] | None = None
    sync_interval: float = 1.0
    jitter: bool | None = None
    jitter_seed: int | None = None
    focus: Focus | None = None
    hdr: bool = False
    countdown: float = 0
    sensors: Sequence[str | Sensor] = ()
    audio: Sequence[str] = ()
    audio_codec: str = "flac"
    segment: str | None = None
    keep: Sequence[str] = ()
    retry: int | None = None
    between: Sequence[str] = ()
    on_motion: float | None = None
    model: str | None = None
    hold: float = HOLD_SECONDS
    on_class: Sequence[str] = ()
    pre_roll: float = 2.0
    post_roll: float = 5.0

    def __post_init__(self) -> None:
        if self.retry is not None and self.retry < -1:
            raise UsageError(f"--retry {self.retry}: give a number of times, or no number for no limit")
        if self.keep and self.segment is None:
            raise UsageError(
                "--keep removes whole segments, and there are none without --segment, such as --segment 1h"
            )
        if self.segment is not None and self.has_samples:
            raise UsageError(
                "--segment: sensors and sound can't be cut into segments; leave it out, and make one recording after "
                "another: day1-1.mkv 3600, then day1-2.mkv 3600, …"
            )
        if self.between and self.has_samples:
            raise UsageError("--between: sensors and sound are recorded all the time; leave out --between")
        if self.on_class and self.model is None:
            raise UsageError("--on-class: give --watch MODEL, which says the class of a frame")
        if self.on_class and self.on_motion is not None:
            raise UsageError("--on-class and --on-motion: give one of the two")
        if self.model is not None and not self.has_pictures:
            raise UsageError("--watch looks at pictures, and --camera none has none")
        if self.focus is not None:
            try:
                parse_focus(str(self.focus))
            except ValueError as error:
                raise UsageError(f"--focus {error}") from None
        if self.hdr and self.jitter:
            raise UsageError("--hdr and --jitter: HDR chooses the exposure itself; give one of the two")
        if (self.hdr or self.focus is not None) and not self.has_pictures:
            raise UsageError("--focus and --hdr: --camera none has no pictures; leave them out")
        if self.camera == "none" and not self.has_samples:
            raise UsageError("--camera none: give a --sensor or --audio to record")

    @property
    def has_pictures(self) -> bool:
        return self.camera != "none"

    @property
    def has_samples(self) -> bool:
        """Whether sensors or sound of this machine are recorded."""
        return bool(self.sensors or self.audio)


class RecordKeywords(TypedDict, total=False):
    """The attributes of `RecordOptions` once more, for the type of ``record(**options)``."""

    camera: str
    size: Size | None
    fps: float | None
    backend: str | None
    options: Mapping[str, Any] | None
    sync_interval: float
    jitter: bool | None
    jitter_seed: int | None
    focus: Focus | None
    hdr: bool
    countdown: float
    sensors: Sequence[str | Sensor]
    audio: Sequence[str]
    audio_codec: str
    segment: str | None
    keep: Sequence[str]
    retry: int | None
    between: Sequence[str]
    on_motion: float | None
    model: str | None
    hold: float
    on_class: Sequence[str]
    pre_roll: float
    post_roll: float

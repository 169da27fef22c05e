"""Where frames come from: the table of sources, and how one is opened from its text form.

Each kind of source is one module with a function ``open(address, size, fps) -> Source`` and one row in `SOURCES`.
Other distributions add theirs through the entry-point group ``pi_capture.sources``: the name is the kind, the object
is such a function. Nothing heavy is imported before a source is opened.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pi_capture.errors import CameraError, UsageError
from pi_capture.redact import public
from storage.frame import Frame

if TYPE_CHECKING:
    from pi_capture.samples.clock import Arrived
    from storage.tracks.sample_track import SampleTrack

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source is and delivers. Secrets in its texts are cut out when it is made (`pi_capture.redact`).

    Attributes
    ----------
    camera : str
        The text form that opens it again, such as ``v4l2:/dev/video0``, but for its secrets.
    model : str
        What it calls itself.
    size : (int, int)
        Width and height of the frames it delivers, in pixels.
    fps : float or None
        Nominal frames per second; None where there is none.
    live : bool
        A live source can't wait: frames that don't fit the queue are dropped and counted. Others wait.
    details : mapping
        Anything worth keeping with the recording, JSON-serialisable: pixel format, locked exposure …
    """

    camera: str
    model: str
    size: Size
    fps: float | None
    live: bool
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("camera", "model", "details"):
            object.__setattr__(self, name, public(getattr(self, name)))


class Source(Protocol):
    """A camera, a file or a screen, opened.

    Iterating yields frames in capture order, ``pixels`` already at ``info.size``, in RGB. It ends when a file ends, and
    raises `CameraError` when a camera stops delivering; it never blocks for more than a few seconds without either.
    `close` may be called from another thread, and more than once.
    """

    @property
    def info(self) -> SourceInfo: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


@runtime_checkable
class Controllable(Protocol):
    """A source whose exposure can be steered while it runs (see `pi_capture.record.jitter`)."""

    def lock_exposure(self) -> Mapping[str, Any]:
        """Stop auto exposure and white balance where they are; return the values they are held at."""

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Ask for new control values, by libcamera's names. They take effect some frames later."""


@runtime_checkable
class Encoding(Protocol):
    """A source that can encode in hardware."""

    def start_encoding(self, codec: str, crf: int) -> Mapping[str, Any] | None:
        """From the next frame on, deliver each with its `storage.frame.Packet` besides its pixels, a keyframe first.

        Parameters
        ----------
        codec : str
            One of `storage.formats.video.codecs.CODECS`.
        crf : int
            The quality wanted: lower is better and larger.

        Returns
        -------
        mapping or None
            What to keep with the recording, JSON-serialisable; None if it can't encode so, and frames come as before.
        """


@runtime_checkable
class Accompanied(Protocol):
    """A source that brings sensors, sound and labels with its pictures, dated by the same clock.

    It may go without a picture for as long as it hears of its sender: `heard_at` is when it last did, by
    ``time.monotonic``.
    """

    heard_at: float

    @property
    def missing(self) -> int:
        """How many frames were lost since the last one that came."""

    @property
    def tracks(self) -> Sequence[SampleTrack]: ...

    @property
    def classes(self) -> Sequence[str]:
        """Of the frames' labels, which are given while it records; empty if none are."""

    def give_labels_to(self, start: Callable[[int | None, int], None]) -> None:
        """Tell `start` when another label begins, by its number, and at which frame's time: before that frame comes."""

    def give_samples_to(self, take: Callable[[Arrived], None], say: Callable[[str], None]) -> None:
        """Hand samples to `take`, from the thread that asks for frames; until then they are let go.

        `say` is told what can't be handed on.
        """


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that is plugged in: the text form that opens it, and what it calls itself."""

    spec: str
    model: str


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A row of the table: ``name[:address]`` on the command line, and the module that opens it."""

    name: str
    form: str
    summary: str
    module: str
    function: str = "open"

    def load(self) -> Callable[[str, Size | None, float | None], Source]:
        function: Callable[[str, Size | None, float | None], Source]
        function = getattr(importlib.import_module(self.module), self.function)
        return function


SOURCES = (
    SourceKind("picamera2", "picamera2[:N]", "Raspberry Pi camera N", "pi_capture.sources.picamera2.source"),
    SourceKind("v4l2", "v4l2[:/dev/videoN]", "USB camera", "pi_capture.sources.v4l2.source"),
    SourceKind("screen", "screen[:DISPLAY+X,Y]", "an X11 screen", "pi_capture.sources.media.source", "open_screen"),
    SourceKind("file", "file:PATH", "a video file", "pi_capture.sources.media.source", "open_file"),
    SourceKind("ffmpeg", "ffmpeg:FORMAT:URL", "any FFmpeg device", "pi_capture.sources.media.source", "open_device"),
    SourceKind("demo", "demo[:SEED]", "a drawn scene, no camera needed", "pi_capture.sources.demo.source"),
)
URL = SourceKind("url", "rtsp://…", "a network stream", "pi_capture.sources.media.source", "open_url")
STREAM = SourceKind("tcp", "tcp://…", "what another machine sends", "pi_capture.network.receiver")
CAMERAS = ("picamera2", "v4l2")
"""The kinds that ``auto`` tries and ``--list-cameras`` asks, in this order."""


def open_source(spec: str, size: Size | None = (128, 128), fps: float | None = None) -> Source:
    """Open a source from its text form.

    Parameters
    ----------
    spec : str
        ``auto``, a URL, or ``kind[:address]`` with a kind of `SOURCES`.
    size : (int, int) or None
        Width and height of the frames wanted, in pixels; None for the source's own. A picture of another shape is cut
        to the wanted shape around its centre, then scaled, as a Raspberry Pi's camera does it.
    fps : float or None
        Wanted frames per second; None for the camera's own (at most 30) and for every frame of a file.

    Raises
    ------
    UsageError
        The text form is none that is known.
    CameraError
        There is no such camera, it is busy, or it isn't a video.
    """
    if spec == "auto":
        return _open_first(size, fps)
    if spec.startswith(("tcp://", "tls://", "srt://")):
        return STREAM.load()(spec, size, fps)
    if "://" in spec and not spec.startswith(("file:", "ffmpeg:")):
        return URL.load()(spec, size, fps)
    name, _, address = spec.partition(":")
    for kind in SOURCES:
        if kind.name == name:
            return kind.load()(address, size, fps)
    for point in entry_points(group="pi_capture.sources"):
        if point.name == name:
            source: Source = point.load()(address, size, fps)
            return source
    known = ", ".join(["auto", *(kind.form for kind in SOURCES), "a URL"])
    raise UsageError(f"unknown camera {name!r}; known are {known}")  # what follows may hold a password


def list_cameras() -> list[Camera]:
    """The cameras plugged into this machine, the one that ``auto`` takes first."""
    found: list[Camera] = []
    for kind in SOURCES:
        if kind.name in CAMERAS:
            found += importlib.import_module(kind.module).list_cameras()
    return found


def _open_first(size: Size | None, fps: float | None) -> Source:
    cameras = list_cameras()
    if not cameras:
        raise CameraError(
            "no camera found: no Raspberry Pi camera (picamera2) and no USB camera (/dev/video*); "
            "check the cable, or try --camera demo"
        )
    return open_source(cameras[0].spec, size, fps)

"""The contract of a camera: what every source does, and what only some can do.

Abilities are optional: ``isinstance(source, Controllable)`` tells whether a source has one. The conformance
suite is `pi_capture.sources.testing.SourceTests`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pi_capture.redact import public
from storage.frame import Frame

if TYPE_CHECKING:
    from pi_capture.samples.clock import Arrived
    from storage.tracks.sample_track import SampleTrack

Size = tuple[int, int]
"""Width and height in pixels."""

Focus = float | str
"""``auto``: the lens keeps searching; ``once``: it searches now, then stays; or the distance in metres."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """The facts of a source. Secrets are cut out of its texts (`pi_capture.redact`).

    Attributes
    ----------
    camera : str
        The text form that opens it again, such as ``v4l2:/dev/video0``, without secrets.
    model : str
        Its own name.
    size : (int, int)
        Width and height of the frames it delivers, in pixels.
    fps : float or None
        Nominal frames per second; None where there is none.
    live : bool
        Whether it can't wait: then frames that don't fit the queue are dropped and counted.
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

    def facts(self) -> dict[str, Any]:
        """Return what a recording keeps of it, JSON-serialisable."""
        known = {"camera": self.camera, "model": self.model, "fps": self.fps, "live": self.live}
        return {**known, "details": dict(self.details)}


class Source(Protocol):
    """A camera, a file or a screen, opened.

    Iterating yields frames in capture order, ``pixels`` at ``info.size``, in RGB, C-contiguous and in memory of their
    own. It ends when a file ends, and raises `CameraError` when a camera stops; it blocks for a few seconds at most.
    `close` may be called from another thread, and more than once.
    """

    @property
    def info(self) -> SourceInfo: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


@runtime_checkable
class Controllable(Protocol):
    """A source whose exposure can be steered while it runs (see `pi_capture.recording.jitter`)."""

    def lock_exposure(self) -> Mapping[str, Any]:
        """Stop auto exposure and white balance where they are; return the values they are held at."""

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Ask for new control values, by libcamera's names. They take effect some frames later."""


@runtime_checkable
class Focusing(Protocol):
    """A source whose lens may be one that moves."""

    def set_focus(self, focus: Focus) -> bool:
        """Move the lens; this takes some frames. Returns False if it is fixed.

        Raises
        ------
        UsageError
            The lens can't focus as near as that.
        """

    @property
    def focused(self) -> bool | None:
        """Whether the last frame was in focus since `set_focus`; False if none was found, None while it searches."""


@runtime_checkable
class HighDynamicRange(Protocol):
    """A source that may have HDR: dark and bright parts are shown at once."""

    def set_hdr(self) -> None:
        """Ask for HDR; this takes some frames."""

    @property
    def hdr(self) -> bool | None:
        """Whether the last frame was taken with HDR since `set_hdr`; False if there is none, None until it shows."""


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

    It may block while its sender is alive: `heard_at` is when it last heard of it, by ``time.monotonic``.
    """

    heard_at: float

    @property
    def missing(self) -> int:
        """How many frames were lost since the last one."""

    @property
    def tracks(self) -> Sequence[SampleTrack]: ...

    @property
    def classes(self) -> Sequence[str]:
        """The classes of the frames' live labels; empty without labels."""

    def give_labels_to(self, start: Callable[[int | None, int], None]) -> None:
        """Call `start` with the number of a label and the time of its first frame, before that frame comes."""

    def give_samples_to(self, take: Callable[[Arrived], None], say: Callable[[str], None]) -> None:
        """Hand samples to `take`, in the thread that asks for frames; earlier ones are dropped.

        `say` gets a line for what can't be handed on.
        """


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that is plugged in: the text form that opens it, and its name."""

    spec: str
    model: str


class OpenSource(Protocol):
    """The function that opens a kind of source; a row of the table, or an entry point, names it."""

    def __call__(self, address: str, size: Size | None, fps: float | None) -> Source:
        """Open a source.

        Parameters
        ----------
        address : str
            What follows the kind and its colon; empty if nothing does. The whole text form if that is a URL.
        size : (int, int) or None
            Width and height of the frames wanted, in pixels; None for the source's own. A picture of another shape is
            cut around its centre, then scaled: `pi_capture.sources.pixels.RgbConverter` does it.
        fps : float or None
            Wanted frames per second; None for the source's own.

        Raises
        ------
        UsageError
            The address makes no sense.
        CameraError
            It can't be opened; the message is one line and says what to do.
        """


class ListCameras(Protocol):
    """The function that lists the plugged-in cameras of a kind, the preferred one first."""

    def __call__(self) -> Sequence[Camera]: ...

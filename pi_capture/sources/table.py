"""The table of sources, and how one is opened from its text form.

To add a camera, write a function as `OpenSource` asks for and add a row here. Other distributions add theirs through
the entry-point group ``pi_capture.sources``: the name is the kind, the object is such a function. Functions are named
as ``module:name``; nothing is imported before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from pi_capture.errors import CameraError, UsageError
from storage.entry_points import entry_points

if TYPE_CHECKING:
    from pi_capture.network import receiver
    from pi_capture.sources.contract import (
        Accompanied,
        Camera,
        Controllable,
        Encoding,
        Focusing,
        HighDynamicRange,
        ListCameras,
        OpenSource,
        Size,
        Source,
    )
    from pi_capture.sources.demo import source as demo
    from pi_capture.sources.media import source as media
    from pi_capture.sources.picamera2 import source as picamera2
    from pi_capture.sources.v4l2 import source as v4l2


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A row of the table.

    Attributes
    ----------
    name : str
        What comes before the colon of a text form.
    form, summary : str
        The whole text form, and what it opens, for people.
    open : str
        A `pi_capture.sources.contract.OpenSource`, as ``module:function``.
    list_cameras : str
        A `pi_capture.sources.contract.ListCameras`, which ``auto`` uses; empty if there is nothing to list.
    schemes : tuple of str
        The URLs that it opens, by their schemes.
    brings_tracks : bool
        Whether sensors, sound and labels may come with its pictures (`pi_capture.sources.contract.Accompanied`).
    """

    name: str
    form: str
    summary: str
    open: str
    list_cameras: str = ""
    schemes: tuple[str, ...] = ()
    brings_tracks: bool = False


HERE = "pi_capture.sources"
SOURCES = (
    SourceKind(
        *("picamera2", "picamera2[:N]", "Raspberry Pi camera N", f"{HERE}.picamera2.source:open"),
        list_cameras=f"{HERE}.picamera2.source:list_cameras",
    ),
    SourceKind(
        *("v4l2", "v4l2[:/dev/videoN]", "USB camera", f"{HERE}.v4l2.source:open"),
        list_cameras=f"{HERE}.v4l2.source:list_cameras",
    ),
    SourceKind("screen", "screen[:DISPLAY+X,Y]", "an X11 screen, from X,Y on", f"{HERE}.media.source:open_screen"),
    SourceKind(
        *("file", "file:PATH", "a video file: every frame, with its own timestamps, as fast as it decodes"),
        open=f"{HERE}.media.source:open_file",
    ),
    SourceKind(
        *("ffmpeg", "ffmpeg:FORMAT:URL", "any FFmpeg device: ffmpeg:dshow:video=Webcam, ffmpeg:lavfi:testsrc …"),
        open=f"{HERE}.media.source:open_device",
    ),
    SourceKind(
        *("demo", "demo[:SEED]", "a drawn room in which a figure performs the five actions"),
        open=f"{HERE}.demo.source:open",
    ),
    SourceKind(
        name="tcp",
        form="tcp://… tls://…",
        summary="what another machine sends with --stream-to; ?listen waits for it, ?listen&senders=2 for two. "
        "tls: encrypted, both machines need the same --identity",
        open="pi_capture.network.receiver:open",
        schemes=("tcp", "tls"),
        brings_tracks=True,
    ),
)
URL = SourceKind(
    *("url", "a URL", "a network stream, rtsp://… or http://…: any that FFmpeg opens", f"{HERE}.media.source:open_url")
)


def all_sources() -> Iterator[SourceKind]:
    """Yield the kinds of this distribution, and of others that are installed."""
    yield from SOURCES
    for point in entry_points("pi_capture.sources"):
        yield SourceKind(point.name, f"{point.name}[:ADDRESS]", f"from {point.module}", point.value)


def find_source(spec: str) -> tuple[SourceKind, str]:
    """Return the kind that a text form asks for, and the address for its function.

    Raises
    ------
    UsageError
        There is no such kind.
    """
    name, _, address = spec.partition(":")
    for kind in all_sources():
        if name in kind.schemes and address.startswith("//"):
            return kind, spec
        if kind.name == name and not kind.schemes:
            return kind, address
    if "://" in spec:
        return URL, spec
    if (meant := _meant(spec)) is not None:
        raise UsageError(f"unknown camera {spec!r}; did you mean {meant}?")
    known = ", ".join(["auto", *(kind.form for kind in SOURCES if not kind.schemes), URL.form])
    raise UsageError(f"unknown camera {name!r}; known are {known}")  # the address may hold a password


def _meant(spec: str) -> str | None:
    """Return the text form that somebody means who gives a path alone: of a device, of a file, or of a file's name."""
    if spec.startswith("/dev/video"):
        return f"v4l2:{spec}"
    if Path(spec).is_file() or re.fullmatch(r"[^:@]+\.\w{1,5}", spec):
        return f"file:{spec}"
    return None


def brings_tracks(spec: str) -> bool:
    """Whether sensors and sound may come with the pictures of the camera with that text form."""
    schemes = [scheme for kind in SOURCES if kind.brings_tracks for scheme in kind.schemes]
    return spec.startswith(tuple(f"{scheme}://" for scheme in schemes))


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
        The text form is unknown.
    CameraError
        There is no such camera, it is busy, or it isn't a video.
    """
    if spec == "auto":
        return _open_first(size, fps)
    kind, address = find_source(spec)
    opened: OpenSource = resolve_name(kind.open)
    return opened(address, size, fps)


def list_cameras() -> list[Camera]:
    """Return the cameras plugged into this machine, the one that ``auto`` opens first."""
    found: list[Camera] = []
    for kind in SOURCES:
        if kind.list_cameras:
            plugged_in: ListCameras = resolve_name(kind.list_cameras)
            found += plugged_in()
    return found


def _open_first(size: Size | None, fps: float | None) -> Source:
    cameras = list_cameras()
    if not cameras:
        raise CameraError(
            "no camera found: no Raspberry Pi camera (picamera2) and no USB camera (/dev/video*); "
            "check the cable, or try --camera demo"
        )
    return open_source(cameras[0].spec, size, fps)


if TYPE_CHECKING:

    def _proof() -> tuple[
        list[OpenSource],
        list[ListCameras],
        type[Controllable],
        type[Focusing],
        type[HighDynamicRange],
        type[Encoding],
        type[Accompanied],
    ]:
        """Let mypy check the functions of the rows against the contract."""
        of_media: list[OpenSource] = [media.open_screen, media.open_file, media.open_device, media.open_url]
        return (
            [picamera2.open, v4l2.open, demo.open, receiver.open, *of_media],
            [picamera2.list_cameras, v4l2.list_cameras],
            picamera2.Picamera2Source,
            picamera2.Picamera2Source,
            picamera2.Picamera2Source,
            picamera2.Picamera2Source,
            receiver.StreamSource,
        )

"""Video files, network streams, screens and the devices of any system, through FFmpeg.

Files and generated pictures wait to be read and keep their own timestamps; streams, screens and devices are live.
`pi_capture.sources.media.read` reads and dates pictures; `pi_capture.sources.pixels` makes RGB of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from pi_capture.errors import CameraError, UsageError
from pi_capture.redact import without_secrets
from pi_capture.sources import Size, SourceInfo
from pi_capture.sources.media.clock import Thinner
from pi_capture.sources.media.feed import open_feed
from pi_capture.sources.media.read import DEFAULT_FPS, PATIENCE_SECONDS, Picture, Place
from pi_capture.sources.pixels import RgbConverter
from storage.formats.movie.turn import Turn
from storage.frame import Frame
from storage.tracks.containers import CONTAINERS, FRONT_BYTES, kind_of

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

LIVE_DEVICES = (
    *("android_camera", "avfoundation", "decklink", "dshow", "fbdev", "gdigrab"),
    *("iec61883", "kmsgrab", "v4l2", "video4linux2", "vfwcap", "x11grab"),
)
"""FFmpeg's input devices that deliver pictures as they happen; its other formats wait to be read."""

PLAYLIST_PATIENCE = 4  # in a playlist, pictures of some seconds come at once
LOCAL_ONLY = {"protocol_whitelist": "file,crypto,data"}  # a file that names others must not reach the network
DEVICE_OPTIONS = {
    "fpsprobesize": "0",  # a device knows its rate; else FFmpeg takes 20 pictures to measure it
    "draw_mouse": "0",
}
PROTOCOL_OPTIONS = {
    "rtsp": {"rtsp_flags": "prefer_tcp"},  # many cameras' UDP loses packets
    "udp": {"overrun_nonfatal": "1"},  # else a loss ends it
}


# ------------------------------------------------------------------------------------------------- what can be opened


def open_file(address: str, size: Size | None, fps: float | None) -> MediaSource:
    """Open a video file.

    Parameters
    ----------
    address : str
        Its path; with a pattern as in ``frames/%05d.png``, a sequence of pictures.
    size : (int, int) or None
        Width and height of the frames wanted, in pixels; None for the video's own.
    fps : float or None
        At most so many frames a second of the video's own time; None for every frame.

    Raises
    ------
    CameraError
        There is no such file, or it is not a video.
    """
    if not address:
        raise UsageError("file: give the path of a video, as in file:clip.mp4")
    path = Path(address).expanduser() if address.startswith("~/") else Path(address)
    if path.is_dir():
        raise CameraError(f"{path} is a directory, not a video")
    if path.exists() and not path.is_file():
        raise CameraError(f"{path} is not a file")
    sequence = "%" in path.name and not path.exists()
    if not sequence and not path.exists():
        raise CameraError(f"{path}: no such file")
    # The prefix keeps FFmpeg from taking a name like concat:a for a protocol.
    options = {**LOCAL_ONLY, "pattern_type": "sequence" if sequence else "none"}
    files = _count_files(path) if sequence else 0
    form = _kind_of(path)
    place = Place(f"file:{path}", str(path), form=form, tries=(options,), live=False, patience=None, files=files)
    return MediaSource(place, f"file:{path}", path.name, size, fps)


def _kind_of(path: Path) -> str | None:
    """What other commands take the file for; None to have FFmpeg find it out."""
    try:
        with path.open("rb") as file:
            return kind_of(file.read(FRONT_BYTES), CONTAINERS)
    except OSError:  # a sequence of pictures; or FFmpeg says why not
        return None


def _count_files(path: Path) -> int:
    """How many files there are whose names are numbered so."""
    number = re.compile(re.sub(r"%\d*d", r"(\\d+)", re.escape(path.name), count=1))
    found = ((number.fullmatch(entry.name), entry.name) for entry in path.parent.glob("*"))
    return sum(match is not None and path.name % int(match[1]) == name for match, name in found)


def open_url(address: str, size: Size | None, fps: float | None, *, patience: float = PATIENCE_SECONDS) -> MediaSource:
    """Open a network stream.

    A video on a web server, which has a known end, is read like a file: it waits, and keeps its own timestamps.

    Parameters
    ----------
    address : str
        ``rtsp://…``, ``http://…``, ``udp://…``, ``tcp://…`` or another that FFmpeg knows. User names, passwords and
        keys in it stay secret.
    size, fps
        As for a file.
    patience : float
        Seconds after which a stream from which nothing comes counts as lost.

    Raises
    ------
    CameraError
        It can't be reached, says nothing, or is not a video.
    """
    name = without_secrets(address)
    if re.search(r"\.(m3u8|mpd)\b", address):
        patience *= PLAYLIST_PATIENCE
    options = PROTOCOL_OPTIONS.get(address.partition(":")[0].lower(), {})
    return MediaSource(Place(address, name, tries=(options,), patience=patience), name, name, size, fps)


def open_screen(address: str, size: Size | None, fps: float | None) -> MediaSource:
    """Open an X11 screen.

    Parameters
    ----------
    address : str
        ``DISPLAY+X,Y``: the display, by default that of ``$DISPLAY``, and the left top corner of what is recorded.
    size : (int, int) or None
        Width and height of the part of the screen that is recorded, pixel for pixel: nothing is cut or scaled. None
        for everything right of and below the corner.
    fps : float or None
        Frames per second; 30 if not given.

    Raises
    ------
    CameraError
        There is no such display, or the part is not on it.
    """
    match = re.fullmatch(r"([^+]*)(?:\+(\d+),(\d+))?", address)
    if match is None:
        raise UsageError(f"screen:{address}: give the corner as X,Y, as in screen::0.0+100,50")
    display = match[1] or os.environ.get("DISPLAY", "")
    if not display:
        raise CameraError("no screen: DISPLAY is not set; name one, as in screen::0.0")
    display = display if ":" in display else f":{display}"
    left, top = int(match[2] or 0), int(match[3] or 0)
    if size is None and (left or top):
        whole = _screen_size(display)
        size = max(whole[0] - left, 1), max(whole[1] - top, 1)
    try:
        return _open_part(display, (left, top), size, fps)
    except CameraError:
        width, height = _screen_size(display)  # which fails if there is no such display
        if size is None or (left + size[0] <= width and top + size[1] <= height):
            raise
        part = f"{size[0]}x{size[1]} at {left},{top}"
        raise CameraError(f"the screen {display} is {width}x{height}: it has no {part}") from None


def _open_part(display: str, corner: tuple[int, int], size: Size | None, fps: float | None) -> MediaSource:
    url = f"{display}+{corner[0]},{corner[1]}"
    options = {**DEVICE_OPTIONS, "framerate": _device_rate(fps or DEFAULT_FPS)}
    if size is not None:
        options["video_size"] = f"{size[0]}x{size[1]}"
    place = Place(url, f"screen {url}", form="x11grab", tries=(options,), live=True, device=True)
    return MediaSource(place, f"screen:{url}", "X11 screen", None, fps)


def _screen_size(display: str) -> Size:
    try:
        source = _open_part(display, (0, 0), None, None)
    except CameraError:
        raise CameraError(f"can't open the screen {display}: no such display, or this user may not see it") from None
    source.close()
    return source.info.size


def open_device(address: str, size: Size | None, fps: float | None) -> MediaSource:
    """Open any device or format that FFmpeg knows.

    Devices and network streams are live; generated pictures (``lavfi``) and files wait to be read.

    Parameters
    ----------
    address : str
        ``FORMAT:URL`` by FFmpeg's names, such as ``dshow:video=Integrated Camera`` or ``lavfi:testsrc2``.
    size, fps
        A device is asked for them; where it refuses, the frames are cut and scaled, and thinned.

    Raises
    ------
    UsageError
        FFmpeg has no such format here.
    CameraError
        The device can't be opened, or has no picture.
    """
    form, _, url = address.partition(":")
    if not form or not url:
        raise UsageError(f"ffmpeg:{address}: give FORMAT:URL, as in ffmpeg:lavfi:testsrc2")
    _check_format(form)
    name = f"ffmpeg:{form}:{without_secrets(url)}"
    if form in LIVE_DEVICES:
        place = Place(url, name, form=form, tries=_device_options(size, fps), live=True, device=True)
    elif "://" in url or url.startswith("pipe:"):
        place = Place(url, name, form=form, live=None if "://" in url else False)
    else:
        place = Place(url, name, form=form, tries=(LOCAL_ONLY,), live=False, patience=None)
    return MediaSource(place, name, name, size, fps)


def _device_options(size: Size | None, fps: float | None) -> tuple[Mapping[str, str], ...]:
    rate = {"framerate": _device_rate(fps)} if fps else {}
    shape = {"video_size": f"{size[0]}x{size[1]}"} if size else {}
    tries: list[Mapping[str, str]] = []
    for options in ({**rate, **shape}, rate, {}):
        if {**DEVICE_OPTIONS, **options} not in tries:
            tries.append({**DEVICE_OPTIONS, **options})
    return tuple(tries)


def _device_rate(fps: float) -> str:
    """Ask for one picture a second or more, else the device seems to hang; `Thinner` keeps what is due."""
    return str(fps * max(1, ceil(1 / fps)))


def _check_format(form: str) -> None:
    from av.format import ContainerFormat

    def known(name: str) -> bool:
        with suppress(ValueError):
            return bool(ContainerFormat(name, "r").is_input)
        return False

    if not known(form):
        devices = ", ".join(name for name in (*LIVE_DEVICES, "lavfi") if known(name))
        raise UsageError(f"ffmpeg:{form}: FFmpeg has no such format here; its devices are {devices}")


# ---------------------------------------------------------------------------------------------------------- the source


class MediaSource:
    """An opened video. See `pi_capture.sources.Source`.

    ``metadata["dropped_camera"]`` counts the pictures before a frame that arrived damaged: those are never passed on.
    Pictures that a network lost on the way are not counted: they have no numbers.

    Parameters
    ----------
    place : Place
        What to read.
    camera, model : str
        See `pi_capture.sources.SourceInfo`.
    size, fps
        See `pi_capture.sources.open_source`.
    """

    def __init__(self, place: Place, camera: str, model: str, size: Size | None, fps: float | None) -> None:
        self._name = place.name
        self._feed = open_feed(place)
        try:
            first = self._feed.next()
            if first is None:
                raise CameraError(f"{place.name} holds no picture that can be decoded")
        except BaseException:
            self._feed.close()
            raise
        facts, own = first.facts, (first.image.width, first.image.height)
        self._turn = Turn.of(first.image)
        wanted = size or self._turn.size(own)
        self._converter = RgbConverter(self._turn.size(wanted))
        # A live stream that is slow enough is not thinned: a frame that came early would be lost.
        slower = fps is not None and not (facts.live and facts.fps is not None and facts.fps < 1.01 * fps)
        self._thinner = Thinner(fps) if fps is not None and slower else None
        rates = [rate for rate in (fps if slower else None, facts.fps) if rate is not None]
        self.info = SourceInfo(
            camera=camera,
            model=model,
            size=wanted,
            fps=min(rates, default=None),
            live=facts.live,
            details={
                "codec": facts.codec,
                "pixel_format": first.image.format.name,
                "captured_size": list(own),
                **self._turn.details(),
            },
        )
        self._first: Picture | None = first
        self._index = self._lost = 0

    def __iter__(self) -> Iterator[Frame]:
        while (picture := self._next()) is not None:
            self._lost += picture.lost
            timestamp_ns = picture.timestamp_ns
            if self._thinner is not None and not self._thinner.takes(timestamp_ns):
                continue
            pixels = self._upright(picture.image)
            del picture  # so that FFmpeg can use its memory again meanwhile
            metadata = {"dropped_camera": self._lost} if self._lost else {}
            frame = Frame(pixels, self._index, timestamp_ns, metadata)
            self._index, self._lost = self._index + 1, 0
            yield frame

    def close(self) -> None:
        """Close the video; a thread that waits for a frame gets none."""
        self._first = None
        self._feed.close()

    def _next(self) -> Picture | None:
        first, self._first = self._first, None
        return first or self._feed.next()

    def _upright(self, image: av.VideoFrame) -> NDArray[np.uint8]:
        import av

        try:
            return self._turn.upright(self._converter.to_rgb(image))
        except (av.error.FFmpegError, ValueError):  # such as pictures in the memory of a graphics card
            raise CameraError(f"{self._name}: its pictures ({image.format.name}) can't be converted to RGB") from None

"""Everything that FFmpeg opens: video files, network streams, screens, and devices on any system.

Files and generated pictures wait to be read and keep their own timestamps. Streams, screens and devices are live: their
timestamps are put on this machine's monotonic clock. Making RGB of a picture is left to `pi_capture.sources.pixels`.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi_capture.errors import CameraError, UsageError
from pi_capture.sources import Size, SourceInfo
from pi_capture.sources.pixels import RgbConverter
from storage.frame import Frame

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

PATIENCE_SECONDS = 5.0
DEFAULT_FPS = 30.0

LIVE_DEVICES = (
    *("android_camera", "avfoundation", "decklink", "dshow", "fbdev", "gdigrab"),
    *("iec61883", "kmsgrab", "v4l2", "video4linux2", "vfwcap", "x11grab"),
)
"""FFmpeg's input devices that deliver pictures as they happen; its other formats wait to be read."""
DECODING_TIMES_ONLY = ("avi", "h264", "hevc", "m4v")
LOCAL_ONLY = {"protocol_whitelist": "file,crypto,data"}  # a file that names others must not reach the network
SECRET = re.compile(r"(?<=://)[^/@]*@")


def open_file(address: str, size: Size | None, fps: float | None) -> MediaSource:
    """Open a video file: every frame, or at most `fps` a second of its own time. It never drops one."""
    path = Path(address)
    if not address:
        raise UsageError("file: give the file's path, such as file:clip.mp4")
    if path.is_dir():
        raise CameraError(f"{path} is a directory, not a video")
    if not path.exists():
        raise CameraError(f"{path}: no such file")
    container = _open(f"file:{path}", str(path), options=LOCAL_ONLY)
    return MediaSource(container, f"file:{path}", path.name, size, fps, live=False)


def open_url(address: str, size: Size | None, fps: float | None) -> MediaSource:
    """Open a network stream. One that has a known end, such as a video on a web server, is read like a file."""
    name = SECRET.sub("", address)
    options = {"rtsp_transport": "tcp"} if address.startswith("rtsp:") else {}
    container = _open(address, name, options=options)
    recorded = address.startswith(("http:", "https:")) and container.duration is not None
    return MediaSource(container, name, name, size, fps, live=not recorded)


def open_screen(address: str, size: Size | None, fps: float | None) -> MediaSource:
    """Open an X11 screen.

    Parameters
    ----------
    address : str
        ``DISPLAY+X,Y``: the display, by default ``$DISPLAY``, and the left top corner of what is recorded.
    size : (int, int) or None
        Width and height of the part of the screen that is recorded, pixel for pixel; None for all of it.
    fps : float or None
        Pictures a second; 30 if not given.
    """
    display, _, corner = address.partition("+")
    display = display or os.environ.get("DISPLAY", "")
    if not display:
        raise CameraError("no screen: DISPLAY is not set; name one, such as screen::0.0")
    if corner and not re.fullmatch(r"\d+,\d+", corner):
        raise UsageError(f"screen:{address}: give the corner as X,Y, such as screen::0.0+100,50")
    url = (display if ":" in display else f":{display}") + (f"+{corner}" if corner else "")
    options = {"draw_mouse": "0", "framerate": str(fps or DEFAULT_FPS)}
    if size is not None:
        options["video_size"] = f"{size[0]}x{size[1]}"
    try:
        container = _open(url, f"screen {url}", form="x11grab", options=options)
    except CameraError as error:
        part = f"{size[0]}x{size[1]} at {corner or '0,0'} of " if size else ""
        raise CameraError(f"can't record {part}the screen {url}: no such display, or not that large") from error
    return MediaSource(container, f"screen:{url}", f"screen {url}", size, None, live=True, fps=fps or DEFAULT_FPS)


def open_device(address: str, size: Size | None, fps: float | None) -> MediaSource:
    """Open any format or device that FFmpeg knows: ``FORMAT:URL``."""
    form, _, url = address.partition(":")
    if not form or not url:
        raise UsageError(f"ffmpeg:{address}: give FORMAT:URL, such as ffmpeg:lavfi:testsrc")
    live = form in LIVE_DEVICES
    name = f"ffmpeg:{form}:{SECRET.sub('', url)}"
    options = {}
    if live and fps is not None:
        options["framerate"] = str(fps)
    if live and size is not None:
        options["video_size"] = f"{size[0]}x{size[1]}"
    try:
        container = _open(url, name, form=form, options=options)
    except CameraError:
        if not options:
            raise
        container = _open(url, name, form=form)  # not every device makes every size: it is scaled here then
    return MediaSource(container, name, name, size, fps, live=live)


class MediaSource:
    """An open container's video. See `pi_capture.sources.Source`.

    Parameters
    ----------
    container : av.container.InputContainer
        It is closed by the thread that reads it: FFmpeg does not survive that from another.
    camera, model : str
        What it is called.
    size, thin_to : (int, int), float
        As in `pi_capture.sources.open_source`; a source that makes its own rate gives it as `fps`.
    live : bool
        Whether it goes on without us.
    """

    def __init__(
        self,
        container: InputContainer,
        camera: str,
        model: str,
        size: Size | None,
        thin_to: float | None,
        *,
        live: bool,
        fps: float | None = None,
    ) -> None:
        self._container = container
        self._camera = camera
        self._live = live
        self._closed = threading.Event()
        self._using = threading.Lock()  # held by the thread that reads the container, while it does
        self._lost = 0
        try:
            self._stream = _video_stream(container, camera)
            # Threads that decode several pictures at once hand them out late: not for what happens now.
            self._stream.thread_type = "SLICE" if live else "AUTO"
            self._pictures = self._decode()
            self._first = next(self._pictures, None)
            if self._first is None:
                raise CameraError(f"{camera} holds no picture that can be decoded")
        except BaseException:
            container.close()
            raise
        self._turns = _turns(self._first)
        own = self._first.width, self._first.height
        upright = own if self._turns % 2 == 0 else (own[1], own[0])
        wanted = size or upright
        self._converter = RgbConverter(None if size is None else wanted if self._turns % 2 == 0 else wanted[::-1])
        rate = fps or float(self._stream.average_rate or self._stream.guessed_rate or 0) or None
        self._rate = rate
        self._thin_to = thin_to if thin_to is not None and (rate is None or thin_to < rate) else None
        self._clock = LiveClock() if live else FileClock(container.format.name, rate)
        self.info = SourceInfo(
            camera=camera,
            model=model,
            size=wanted,
            fps=self._thin_to or rate,
            live=live,
            details={
                "codec": self._stream.codec_context.name,
                "pixel_format": self._first.format.name,
                "captured_size": list(own),
                **({"rotated": 90 * self._turns} if self._turns else {}),
            },
        )

    def __iter__(self) -> Iterator[Frame]:
        index, last_slot = 0, -1
        first_ns: int | None = None
        with self._using:
            try:
                while (picture := self._next_picture()) is not None:
                    timestamp_ns = self._clock.timestamp_ns(picture)
                    if self._thin_to is not None:
                        first_ns = timestamp_ns if first_ns is None else first_ns
                        slot = int((timestamp_ns - first_ns) / 1e9 * self._thin_to + 1e-6)
                        if slot <= last_slot:
                            continue
                        last_slot = slot
                    metadata = {"dropped_camera": self._lost} if self._lost else {}
                    self._lost = 0
                    pixels = self._upright(picture)
                    del picture  # a picture that outlives its container breaks FFmpeg's next one
                    yield Frame(pixels, index, timestamp_ns, metadata)
                    index += 1
            finally:
                self._let_go()

    def close(self) -> None:
        """End the iteration, if there is one, within a picture's time."""
        self._closed.set()
        if self._using.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._using.release()

    def _let_go(self) -> None:
        # No picture may outlive the container, nor wait in the converter's crop filter: FFmpeg's next one would break.
        self._first = None
        self._pictures.close()
        self._converter = RgbConverter(self.info.size)
        self._container.close()
        self._closed.set()

    def _next_picture(self) -> av.VideoFrame | None:
        if self._closed.is_set():
            return None
        if self._first is not None:
            picture, self._first = self._first, None
            return self._catch_up(picture) if self._live else picture
        return next(self._pictures, None)

    def _catch_up(self, picture: av.VideoFrame) -> av.VideoFrame | None:
        """Pass over what was buffered while the stream was being opened: it is old, nobody knows how old.

        Pictures out of a buffer come faster than their own time passes, and a device that was kept waiting hurries to
        catch up; the first one that comes at its own pace is new.
        """
        least_ns = 0.5e9 / self._rate if self._rate else 0.0
        before, before_ns = _time_ns(picture.pts, picture), time.monotonic_ns()
        until_ns = before_ns + PATIENCE_SECONDS * 1e9
        while (found := next(self._pictures, None)) is not None:
            own, now_ns = _time_ns(found.pts, found), time.monotonic_ns()
            if own is None or before is None or now_ns > until_ns:
                return found
            if own - before > least_ns and now_ns - before_ns > (own - before) / 2:
                return found
            before, before_ns = own, now_ns
        return picture

    def _decode(self) -> Generator[av.VideoFrame]:
        """Pictures in presentation order; packets that can't be decoded are counted as lost."""
        import av

        try:
            for packet in self._container.demux(self._stream):
                if self._closed.is_set():
                    return
                try:
                    pictures = packet.decode()
                except av.error.InvalidDataError:
                    self._lost += 1
                    continue
                for picture in pictures:
                    if isinstance(picture, av.VideoFrame):
                        yield picture
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, OSError, ValueError) as error:
            what = "stopped delivering" if self._live else "is damaged: what came before it is recorded"
            raise CameraError(f"{self._camera} {what} ({_reason(error)})") from error

    def _upright(self, picture: av.VideoFrame) -> NDArray[np.uint8]:
        pixels = self._converter.to_rgb(picture)
        if not self._turns:
            return pixels
        import numpy as np

        return np.ascontiguousarray(np.rot90(pixels, self._turns))


class FileClock:
    """A file's own timestamps. A picture without one, or with one that runs back, comes a frame's time after the last.

    Some containers keep no presentation times but one time a packet, in decoding order: there the decoder's order of
    pictures is right, their ``pts`` is a guess, and the first picture is taken for time 0.
    """

    def __init__(self, container_format: str, rate: float | None) -> None:
        self._decoding_times = container_format in DECODING_TIMES_ONLY
        self._period_ns = round(1e9 / (rate or DEFAULT_FPS))
        self._start_ns: int | None = None
        self._last_ns: int | None = None

    def timestamp_ns(self, picture: av.VideoFrame) -> int:
        own = _time_ns(picture.dts if self._decoding_times else picture.pts, picture)
        if own is not None and self._decoding_times:
            self._start_ns = own if self._start_ns is None else self._start_ns
            own -= self._start_ns
        if own is None or (self._last_ns is not None and own <= self._last_ns):
            own = 0 if self._last_ns is None else self._last_ns + self._period_ns
        self._last_ns = own
        return own


class LiveClock:
    """Puts a stream's timestamps on this machine's monotonic clock, by when its first picture arrived.

    Arrival varies with the network and the load; the stream's own timestamps don't. Where they jump (a camera that was
    restarted, a wall clock that was set), the clock starts anew from the arrival.
    """

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._last_ns = 0

    def timestamp_ns(self, picture: av.VideoFrame) -> int:
        now_ns = time.monotonic_ns()
        own = _time_ns(picture.pts, picture)
        found = now_ns if own is None or self._offset_ns is None else own + self._offset_ns
        if found > now_ns + 100_000_000 or found < now_ns - PATIENCE_SECONDS * 1e9 or found <= self._last_ns:
            found = max(now_ns, self._last_ns + 1)
            self._offset_ns = None
        if own is not None and self._offset_ns is None:
            self._offset_ns = found - own
        self._last_ns = found
        return found


def _open(url: str, name: str, *, form: str | None = None, options: Mapping[str, str] | None = None) -> InputContainer:
    import av

    try:
        return av.open(
            url, format=form, options=dict(options or {}), timeout=(PATIENCE_SECONDS, PATIENCE_SECONDS), mode="r"
        )
    except av.error.InvalidDataError as error:
        raise CameraError(f"{name} is not a video") from error
    except (av.error.FFmpegError, OSError) as error:
        raise CameraError(f"can't open {name} ({_reason(error)})") from error
    except ValueError as error:
        raise CameraError(f"{name}: FFmpeg has no format {form!r} on this system") from error


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & _cover_picture():
            return stream
    raise CameraError(f"{name} has no picture, only sound or other data")


def _cover_picture() -> Any:
    from av.stream import Disposition

    return Disposition.attached_pic


def _turns(picture: av.VideoFrame) -> int:
    """Quarter turns, counter-clockwise, that put a phone's picture upright."""
    return round(picture.rotation / 90) % 4


def _time_ns(ticks: int | None, picture: av.VideoFrame) -> int | None:
    if ticks is None or picture.time_base is None:
        return None
    return round(ticks * Fraction(picture.time_base) * 1_000_000_000)


def _reason(error: BaseException) -> str:
    if type(error).__name__ in ("ExitError", "TimeoutError") or getattr(error, "errno", None) == _EXIT:
        return f"nothing came for {PATIENCE_SECONDS:.0f} s"
    return getattr(error, "strerror", None) or str(error)


_EXIT = 1414092869  # FFmpeg's AVERROR_EXIT: our own timeout interrupted it

"""Pictures on their way to a page: small ones as they are stored, larger ones as JPEG proxies, whole ones singly."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from pi_capture.live.packs import as_jpeg, packed
from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.png.codec import MAX_BYTES, SIGNATURE
from storage.formats.png.whole import fault
from storage.frame import Frame
from storage.names import printable
from storage.recording import Recording

SMALL_SIDE = 256  # pixels; a picture up to there is sent as it is stored
PROXY_SIDE = 320
PROXY_BYTES = 8_000_000  # kept of proxies, for each recording that is open
FULL_QUALITY = 90
CHUNK_BYTES = 64_000  # of a pack; a chunk costs the server a change of threads
CHUNK_SECONDS = 0.01  # so long a picture that is ready waits for the next ones of its chunk


class Frames:
    """The pictures of a recording that is open; one thread at a time decodes, as not every format can do with more.

    Attributes
    ----------
    seen : bytearray
        Which frames were read, or sent as they are stored, and so are whole; by index in the recording.
    asked_at : float
        When a page needed a picture last, as `time.monotonic` counts.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._reading = threading.Lock()
        self._proxies: OrderedDict[int, bytes] = OrderedDict()
        self._proxies_bytes = 0
        self.seen = bytearray(len(recording))
        self.asked_at = 0.0

    def pack(self, wanted: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """Records for frames: the number that each is called by, and its index in the recording."""
        chunk, begun = bytearray(), time.monotonic()
        for number, index in wanted:
            self.asked_at = time.monotonic()
            try:
                kind, body = self.small(index)
                chunk += packed({"frame": number, "type": kind, "proxy": kind == "image/jpeg", "error": ""}, body)
            except Exception as error:  # what a file from elsewhere makes a library raise; the next frame may be fine
                chunk += packed({"frame": number, "type": "", "proxy": False, "error": reason(error)})
            if len(chunk) >= CHUNK_BYTES or time.monotonic() - begun > CHUNK_SECONDS:
                yield bytes(chunk)
                chunk, begun = bytearray(), time.monotonic()
        if chunk:
            yield bytes(chunk)

    def small(self, index: int) -> tuple[str, bytes]:
        """A frame as a picture of little size: its type, and the file. Raises StorageError, OSError or ValueError."""
        proxy = self._proxies.get(index)
        if proxy is None:
            stored = self._stored(index)
            if stored is not None and max(_size(stored)) <= SMALL_SIDE:
                return "image/png", self._whole(stored, index)
            proxy = as_jpeg(self.read(index).pixels, PROXY_SIDE)
            self._keep(index, proxy)
        return "image/jpeg", proxy

    def thumbnail(self, index: int) -> bytes:
        """A frame as a JPEG of little size. Raises what `small` raises."""
        return as_jpeg(self.read(index).pixels, PROXY_SIDE)

    def full(self, index: int) -> tuple[str, bytes]:
        """The whole picture of a frame: its type, and the file. Raises StorageError, OSError or ValueError."""
        stored = self._stored(index)
        if stored is not None:
            return "image/png", self._whole(stored, index)
        pixels = self.read(index).pixels
        return "image/jpeg", as_jpeg(pixels, max(pixels.shape), FULL_QUALITY)

    def read(self, index: int) -> Frame:
        """A frame by its index in the recording. Raises StorageError, OSError or ValueError."""
        with self._reading:
            frame = self._recording.read(index)
        self.seen[index] = True
        return frame

    def _stored(self, index: int) -> bytes | None:
        """The PNG file of a frame, if it is stored so."""
        if not isinstance(self._recording, FramesAreFiles):
            return None
        path = self._recording.file(index)
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            head = file.read(24)
            if not head.startswith(SIGNATURE) or len(head) < 24 or os.fstat(file.fileno()).st_size > MAX_BYTES:
                return None
            return head + file.read()

    def _keep(self, index: int, proxy: bytes) -> None:
        with self._reading:
            if index in self._proxies:  # another request made it meanwhile
                return
            self._proxies[index] = proxy
            self._proxies_bytes += len(proxy)
            while self._proxies_bytes > PROXY_BYTES:
                self._proxies_bytes -= len(self._proxies.popitem(last=False)[1])

    def _whole(self, png: bytes, index: int) -> bytes:
        if (wrong := fault(png)) is not None:
            raise StorageError(f"frame {index} {wrong}")
        self.seen[index] = True
        return png


def _size(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def reason(error: Exception) -> str:
    """Why a frame can't be shown, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(str(error).replace("\n", " ")) or type(error).__name__

"""Hands out the pictures that FFmpeg reads; where reading may take long, a thread of its own reads them."""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

from pi_capture.errors import CameraError
from pi_capture.sources.media.read import Picture, Place, read


class Feed(Protocol):
    """Hands out pictures one by one, to one thread; `close` may be called from another."""

    def next(self) -> Picture | None:
        """Return the next picture; None at the end, and after `close`."""

    def close(self) -> None: ...


def open_feed(place: Place) -> Feed:
    """Begin to read a place. It is opened at the latest for the first picture.

    `next` raises CameraError if the place can't be opened or read.
    """
    return _OnDemand(place) if place.patience is None else _InThread(place, place.patience)


class _OnDemand:
    """Reads on demand: for files, which can always be read."""

    def __init__(self, place: Place) -> None:
        self._pictures = read(place)
        self._lock = threading.Lock()  # FFmpeg does not survive being closed while it reads

    def next(self) -> Picture | None:
        with self._lock:
            return next(self._pictures, None)

    def close(self) -> None:
        with self._lock:
            self._pictures.close()


class _InThread:
    """Reads in a thread of its own: FFmpeg may wait long for a network."""

    AHEAD = 2  # others wait in the recorder's queue

    def __init__(self, place: Place, patience: float) -> None:
        self._name = place.name
        # FFmpeg gives up by itself, but takes up to twice as long, and not at every device; opening has two steps.
        self._patience = patience
        self._longest = 2 * patience
        self._pictures: deque[Picture] = deque()
        self._error: Exception | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, args=(place,), name="media", daemon=True).start()

    def next(self) -> Picture | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._pictures or self._ended or self._closed, self._longest):
                raise CameraError(f"{self._name}: no picture came for {self._longest:g} s")
            if self._pictures:
                self._longest = self._patience
                self._changed.notify_all()
                return self._pictures.popleft()
            if self._error is not None and not self._closed:
                raise self._error
            return None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._pictures.clear()
            self._changed.notify_all()

    def _run(self, place: Place) -> None:
        pictures = read(place)
        try:
            while (picture := next(pictures, None)) is not None and self._hand_over(picture):
                del picture
        except Exception as error:
            self._error = error
        finally:
            picture = None
            pictures.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hand_over(self, picture: Picture) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._pictures) < self.AHEAD or self._closed)
            if not self._closed:
                self._pictures.append(picture)
                self._changed.notify_all()
            return not self._closed

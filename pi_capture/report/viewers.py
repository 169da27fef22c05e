"""A Unix socket by which other programs of the same user see the status and the live picture, and give labels.

A client writes lines of JSON; each is answered with a record (`pi_capture.live.packs`), whose head is the status::

    {"want": "status"}
    {"want": "pictures"}      from then on records come by themselves, with a JPEG each while there are new frames
    {"label": 1}              give that class to the frames from now on; null: no class
    {"stop": true}            end the recording, as Ctrl-C does

The recording only stores a reference to a frame here, and only while a client wants pictures. One thread serves all
clients: it encodes a picture once for all of them, and drops it for those that have not taken the last one.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pi_capture.live.packs import as_jpeg, packed

if TYPE_CHECKING:
    from pi_capture.live.labels import LiveLabels
    from storage.frame import Frame

PICTURES_PER_SECOND = 15
LARGEST_SIDE = 640  # pixels
LOOK_SECONDS = 0.02  # between looks for the next frame, while a client waits for one
STATUS_SECONDS = 0.5  # between records while no frames come
MOST_CLIENTS = 16  # one more closes the oldest
MOST_ASKED = 4096  # bytes of a line
MOST_UNREAD = 1 << 20  # bytes of answers that wait for a client


def own_directory() -> Path | None:
    """Return the directory for this process's socket; None if there is none that only this user can enter."""
    for path in _directories():
        with suppress(OSError):
            path.mkdir(mode=0o700, exist_ok=True)
            if _is_private(path):
                return path
    return None


def all_sockets() -> list[Path]:
    """Return the sockets of this user's recorders; some recorders may have ended."""
    with suppress(OSError):
        services = sorted(Path("/run/pi-capture").iterdir())
        return [path for place in (*_directories(), *services) for path in _sockets(place)]
    return [path for place in _directories() for path in _sockets(place)]


def _directories() -> Iterator[Path]:
    """Yield the best first: the one that systemd names. The last is for a user who has not logged in."""
    if service := os.environ.get("RUNTIME_DIRECTORY"):
        yield Path(service)
    uid = os.getuid()
    of_user = [os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{uid}"]
    for place in dict.fromkeys(path for path in of_user if path):
        if os.path.isdir(place):
            yield Path(place, "pi-capture")
    yield Path(f"/tmp/pi-capture-{uid}")


def _sockets(place: Path) -> list[Path]:
    try:
        return sorted(place.glob("*.sock")) if _is_private(place) else []
    except OSError:
        return []


def _is_private(path: Path) -> bool:
    facts = path.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077


@dataclass(slots=True, eq=False)
class _Client:
    """A connection, the unfinished line it has sent, and the bytes it has still to take."""

    socket: socket.socket
    asked: bytes = b""
    unread: bytearray = field(default_factory=bytearray)
    watches: bool = False


class Viewers:
    """Serves clients within this context; none where no socket can be made.

    Parameters
    ----------
    status : callable
        Gives the status, JSON-serialisable.
    stop : threading.Event
        Set when a client asks for the end.
    labels : LiveLabels, optional
        Gets the labels that clients give.
    """

    def __init__(
        self, status: Callable[[], Mapping[str, Any]], stop: threading.Event, labels: LiveLabels | None = None
    ) -> None:
        self._status, self._stop, self._labels = status, stop, labels
        self._newest: Frame | None = None
        self._watched = False
        self._next_picture = self._next_status = 0.0
        self._clients: list[_Client] = []
        self._path: Path | None = None
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._end, self._ending = os.pipe()
        self._thread = threading.Thread(target=self._run, name="viewers", daemon=True)

    def show(self, frame: Frame) -> None:
        """Show a frame to the clients that want pictures. Returns at once."""
        if self._watched:
            self._newest = frame

    def __enter__(self) -> Self:
        with suppress(OSError):  # the recording goes on without a socket
            self._listen()
            if self._listener is not None:
                self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ending)
        if self._thread.ident is not None:
            self._thread.join()
        if self._listener is not None:
            self._listener.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._selector.close()
        os.close(self._end)

    def _listen(self) -> None:
        place = own_directory()
        if place is None:
            return
        path = place / f"{os.getpid()}.sock"
        path.unlink(missing_ok=True)  # that of an earlier process with this number
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        self._path, self._listener = path, listener
        path.chmod(0o600)
        listener.listen(MOST_CLIENTS)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._end, selectors.EVENT_READ)

    # ------------------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        while True:
            for key, mask in self._selector.select(self._timeout()):
                if key.fileobj == self._end:
                    for client in list(self._clients):
                        self._disconnect(client)
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._serve(key.data, mask)
            if self._watched:
                self._show_to_all()

    def _timeout(self) -> float | None:
        if not self._watched:
            return None
        until = self._next_picture - time.monotonic()
        return until if until > 0 else LOOK_SECONDS

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:  # this process may have too many files open
            time.sleep(1)
            return
        with suppress(OSError):
            connection.setblocking(False)
            if len(self._clients) >= MOST_CLIENTS:
                self._disconnect(self._clients[0])
            client = _Client(connection)
            self._clients.append(client)
            self._selector.register(connection, selectors.EVENT_READ, client)

    def _disconnect(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.socket)
            client.socket.close()
            self._note_watching()

    def _note_watching(self) -> None:
        self._watched = any(client.watches for client in self._clients)
        if not self._watched:
            self._newest = None

    def _serve(self, client: _Client, mask: int) -> None:
        if client not in self._clients:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                self._send(client)
            if mask & selectors.EVENT_READ:
                self._receive(client)
        except OSError:
            self._disconnect(client)

    def _receive(self, client: _Client) -> None:
        """Read a client's lines. Raises OSError if it has gone, or sends something else."""
        data = client.socket.recv(MOST_ASKED)
        *lines, client.asked = (client.asked + data).split(b"\n")
        if not data or len(client.asked) > MOST_ASKED or len(client.unread) > MOST_UNREAD:
            raise ConnectionError
        for line in lines:
            try:
                self._do(client, json.loads(line))
            except (ValueError, RecursionError):
                raise ConnectionError from None
            client.unread += packed(self._status())
        self._send(client)

    def _do(self, client: _Client, asked: object) -> None:
        match asked:
            case {"want": "pictures"}:
                client.watches = True
                self._note_watching()
            case {"label": None | int() as label} if self._labels is not None:
                self._labels.press("-" if label is None else str(label), time.monotonic_ns())
            case {"stop": True}:
                self._stop.set()

    def _send(self, client: _Client) -> None:
        """Send a client what it can take now. Raises OSError if it has gone."""
        if client.unread:
            with suppress(BlockingIOError):
                sent = client.socket.send(client.unread)
                del client.unread[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unread else 0)
        self._selector.modify(client.socket, wanted, client)

    def _show_to_all(self) -> None:
        now = time.monotonic()
        frame = self._newest
        if frame is not None and now >= self._next_picture:
            self._newest = None
            self._next_picture = now + 1 / PICTURES_PER_SECOND
        elif now < self._next_status:
            return
        else:
            frame = None
        waiting = [client for client in self._clients if client.watches and not client.unread]
        if not waiting:
            return
        self._next_status = now + STATUS_SECONDS
        record = packed(self._status(), b"" if frame is None else as_jpeg(frame.pixels, LARGEST_SIDE))
        for client in waiting:
            client.unread += record
            try:
                self._send(client)
            except OSError:
                self._disconnect(client)

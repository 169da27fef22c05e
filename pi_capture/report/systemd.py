"""The signals that end a recording, an exit that does not wait for threads, and notifications to systemd.

See `pi_capture.commands.install` for how a service is installed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pi_capture.status import Status

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
ABORTED = 130  # 128 + SIGINT, as a shell reports it
STATUS_SECONDS = 1.0
ONE_PRESS_SECONDS = 0.25  # ``timeout -s INT`` signals its command and then the group of both, and so do other wrappers
ERROR, WARNING = 3, 4  # the journal's priorities


class StopSignals:
    """Within this context Ctrl-C, SIGTERM and a closed terminal set `event`; a second Ctrl-C ends the program at once.

    What comes within `ONE_PRESS_SECONDS` of the first one is the same.
    `aborted` is the line that tells it then. Under ``nohup`` a closed terminal does nothing.
    """

    def __init__(self, event: threading.Event, aborted: str = "aborted") -> None:
        self.before_abort: Callable[[], None] | None = None
        self._event = event
        self._aborted = f"\n{aborted}\n".encode()
        self._before: dict[signal.Signals, Any] = {}  # what `signal.signal` gave
        self._asked = False
        self._pressed_at: float | None = None
        # A handler runs between two steps of the main thread, which may hold the event's lock just then: to set the
        # event there would wait for ever. So another thread sets it.
        self._ask, self._asking = os.pipe()
        self._thread = threading.Thread(target=self._pass_on, name="signals", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for name in STOPPING:
            number = getattr(signal, name, None)
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._asking)
        self._thread.join()
        os.close(self._ask)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            now = time.monotonic()
            again = self._pressed_at is not None and now < self._pressed_at + ONE_PRESS_SECONDS
            self._pressed_at = self._pressed_at or now
            if again:
                return
        if number == signal.SIGINT and (self._asked or self._event.is_set()):
            with suppress(OSError):  # not print(): the signal may have interrupted one
                os.write(2, self._aborted)
            if self.before_abort is not None:
                self.before_abort()
            os._exit(ABORTED)
        if not self._asked:
            self._asked = True
            os.write(self._asking, b"!")

    def _pass_on(self) -> None:
        if os.read(self._ask, 1):
            self._event.set()


class Notifier:
    """Reports the state of a recording to systemd within this context (``sd_notify``). Without systemd it does nothing.

    The service is ready when the first frame is durable. Only frames that become durable feed its watchdog: if the
    camera, the disk or the program hangs, the feeding stops. While no frames are wanted, because nothing moves or the
    schedule says so, each status feeds it.

    `stop` is the event that ends the recording; it is set here when the recording has ended by itself. `say` is called
    with a line for the journal when the first frame is durable.
    """

    def __init__(self, environment: Mapping[str, str], stop: threading.Event, say: Callable[[str], None]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path  # with a 0: an abstract socket
        self._say = say
        self._durable = self._done = 0
        self._ready = False
        self._status_due = 0.0
        self._stop = stop
        self._ending = threading.Thread(target=self._announce_end, name="notify", daemon=True)
        if self._address:
            self._ending.start()

    def show(self, status: Status, line: str) -> None:
        """Report a status, and the line that ``systemctl status`` shows; called a few times a second."""
        if not self._address:
            return
        message = []
        now = time.monotonic()
        done = status.durable + status.not_kept
        if done > self._done or (status.paused and now >= self._status_due):
            message += ["WATCHDOG=1"] if self._ready else ["READY=1", "WATCHDOG=1"]
        if message or now >= self._status_due:
            message.append(f"STATUS={line}")
        if not message or not self._send(*message):
            return
        self._status_due = now + STATUS_SECONDS
        if self._durable == 0 and status.durable:
            self._say("recording: the first frames are on the disk")
        self._ready = self._ready or "READY=1" in message
        self._durable, self._done = status.durable, done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._address:
            self._ending.join(STATUS_SECONDS)

    def _announce_end(self) -> None:
        self._stop.wait()
        self._send("STOPPING=1", "STATUS=storing the last frames")

    def _send(self, *lines: str) -> bool:
        """Send without waiting; returns whether systemd accepted it."""
        import socket

        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True


def priority(level: int) -> str:
    """Return the prefix by which the journal knows the priority of a line on stderr; "" without a journal."""
    try:
        status = os.fstat(2)
    except OSError:
        return ""
    in_journal = os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return f"<{level}>" if in_journal else ""


def leave_running_threads(status: int) -> None:
    """End the program at once if threads still run, such as one that waits in FFmpeg for a network's next picture.

    On an orderly end such a thread crashes, as the interpreter goes away under it, or one that hangs in a camera's
    library is waited for for ever. Call it after everything is stored and printed.
    """
    if threading.active_count() == 1:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # the interpreter reports it
    os._exit(status)

"""Keys from a terminal, at the moment they are pressed. Afterwards the terminal is as it was.

Ctrl-C, Ctrl-Z and a closed window do what they always do. While this program is stopped or in the background, the shell
has the terminal. For the meaning of a key see `pi_capture.live.labels`.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from pi_capture.errors import UsageError

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])?")
"""What keys like F5 and the arrows send; it may contain digits."""

LOOK_SECONDS = 0.2


class Terminal:
    """Calls `on_key` within this context, from a thread of its own, for each key that gives one character.

    It gets the character and its time, in nanoseconds of the monotonic clock. Raises UsageError without a terminal.
    """

    def __init__(self, on_key: Callable[[str, int], None]) -> None:
        self._on_key = on_key
        self._fd = _open_terminal()
        self._before: list[Any] | None = None
        self._wanted = True
        self._setting = threading.RLock()  # a signal's handler may come while its own thread sets the terminal
        self._suspended: Any = None  # the handler of Ctrl-Z before
        self._end, self._ending = os.pipe()
        self._thread = threading.Thread(target=self._read, name="keys", daemon=True)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._suspended = signal.signal(signal.SIGTSTP, self._suspend)
        self._set_terminal()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ending)
        self._thread.join()
        self.restore()
        if self._suspended is not None:
            signal.signal(signal.SIGTSTP, self._suspended)
        os.close(self._end)
        os.close(self._fd)

    def restore(self) -> None:
        """Give the terminal back as it was, for good. May be called at any time, and more than once."""
        self._wanted = False
        self._give_back()

    def _give_back(self) -> None:
        import termios

        with self._setting:
            if self._before is not None and self._in_foreground():
                with suppress(termios.error):  # its window is closed
                    termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
                self._before = None

    def _set_terminal(self) -> None:
        """Have keys come without Return, and not be shown; done again where the shell has undone it."""
        import termios

        with self._setting, suppress(termios.error):
            if not self._wanted or not self._in_foreground():
                return
            now = termios.tcgetattr(self._fd)
            if now[3] & termios.ICANON:
                keys = [*now[:3], now[3] & ~(termios.ICANON | termios.ECHO), *now[4:6], list(now[6])]
                keys[6][termios.VMIN], keys[6][termios.VTIME] = 1, 0
                self._before = now
                termios.tcsetattr(self._fd, termios.TCSANOW, keys)

    def _in_foreground(self) -> bool:
        with suppress(OSError):
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        return False

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        wanted, self._wanted = self._wanted, False
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stops here, until the shell says to go on
        signal.signal(signal.SIGTSTP, self._suspend)
        self._wanted = wanted

    def _read(self) -> None:
        # Without this, a read in the background would stop the whole program; now it fails.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})
        while True:
            ready, _, _ = select.select([self._fd, self._end], [], [], LOOK_SECONDS)
            now = time.monotonic_ns()
            if self._end in ready:
                return
            self._set_terminal()  # no signal says that the program has come to the foreground
            if not ready:
                continue
            try:
                data = os.read(self._fd, 1024) if self._in_foreground() else None
            except BlockingIOError:  # the shell has read it, or Ctrl-C threw it away
                continue
            except OSError:
                data = None
            if data is None:
                time.sleep(0.1)
            elif not data:
                return
            else:
                for key in ESCAPES.sub("", data.decode("utf-8", "replace")):
                    self._on_key(key, now)


def _open_terminal() -> int:
    """Open this program's terminal anew: that a read never waits must not hold for the shell too."""
    if sys.platform == "win32":
        raise UsageError("--live-labels reads keys from a Linux or macOS terminal only")
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        raise UsageError(
            "--live-labels needs a terminal to read keys from, and there is none; "
            "label afterwards: python -m classify DIRECTORY"
        ) from None

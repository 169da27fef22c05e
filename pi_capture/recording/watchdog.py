"""Ends this process when no Python code can run any more, because a camera's library blocks the whole interpreter.

While this process is stopped (Ctrl-Z, a frozen container), the system's clocks go on: a single time-out would end it as
it continues. So a small process counts short ticks without a sign of life, in which this one was not stopped.
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import threading
from contextlib import suppress

TICKS = 12
BLOCKED = "pi_capture: Python is blocked as a whole; the recorder was ended\n"
WATCH = f"""
import os, select, signal, sys, time

watched, tick = os.getppid(), float(sys.argv[1])
silent = 0
while silent < {TICKS}:
    if select.select([0], [], [], tick)[0]:
        if not os.read(0, 4096):
            sys.exit()
        silent = 0
    elif os.getppid() != watched:
        sys.exit()
    else:
        with open(f"/proc/{{watched}}/stat") as file:
            silent += file.read().rpartition(")")[2].split()[0] not in "Tt"
os.kill(watched, signal.SIGABRT)
until = time.monotonic() + 5
while os.getppid() == watched:
    if time.monotonic() > until:
        os.kill(watched, signal.SIGKILL)
    time.sleep(0.05)
os.write(2, {BLOCKED.encode()!r})
"""


class Watchdog:
    """Aborts this process when its interpreter was blocked for so many seconds.

    The places where all threads are go to standard error first. It does nothing where no Python can be started, as in
    some programs that embed one.
    """

    def __init__(self, seconds: float) -> None:
        self._tick = seconds / TICKS
        self._ended = threading.Event()
        self._counter: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._counter = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", WATCH, str(self._tick)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=2,  # a notebook's sys.stderr is no file
                start_new_session=True,  # Ctrl-C and Ctrl-Z are for the recorder
            )
        self._enables = self._counter is not None and not faulthandler.is_enabled()
        if self._enables:
            faulthandler.enable(2)  # so that SIGABRT tells the places
        self._thread = threading.Thread(target=self._show_life, name="watchdog", daemon=True)
        self._thread.start()

    def _show_life(self) -> None:
        if self._counter is None or self._counter.stdin is None:
            return
        with suppress(OSError):  # it was killed
            while not self._ended.wait(self._tick / 3):
                os.write(self._counter.stdin.fileno(), b".")

    def close(self) -> None:
        """End the watch, and the process that counts."""
        self._ended.set()
        self._thread.join()
        if self._enables:
            faulthandler.disable()
        if self._counter is not None:
            self._counter.kill()  # a process forked meanwhile may hold its input open
            self._counter.communicate()

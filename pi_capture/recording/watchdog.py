"""Ends this process when no Python code can run any more, because a camera's library blocks the whole interpreter.

Only time in which the process runs counts. While it is stopped (Ctrl-Z, a frozen container) the system's clocks go on,
so a single time-out would end it as soon as it goes on. Therefore the time is counted in short ticks: faulthandler's
thread, which needs no interpreter, writes a report to a shell at each tick that finds the process silent. The shell
counts the reports, starts again when a sign of life comes, and kills the process at the last tick.
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
import time
from contextlib import suppress

TICKS = 12
BLOCKED = "Python is blocked as a whole; the recorder was killed"
COUNT = """
n=0
while read -r line; do
    case "$line" in
        alive) n=0 ;;
        Timeout*) n=$((n + 1)) ;;
    esac
    [ "$n" -gt "$2" ] && kill -KILL "$1" && exec echo "pi_capture: $3"
    [ "$n" -eq "$2" ] && [ "$line" != "" ] && echo "$line"
done
"""


class Watchdog:
    """Kills this process when `alive` was not called for so many seconds; does nothing where there is no ``/bin/sh``.

    Before that the places where all threads are go to standard error.
    """

    def __init__(self, seconds: float) -> None:
        self._tick = seconds / TICKS
        self._said = 0.0
        self._shell: subprocess.Popen[bytes] | None = None
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        with suppress(OSError):
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", COUNT, "sh", str(os.getpid()), str(TICKS), BLOCKED],
                stdin=reading,
                stdout=2,  # a notebook's sys.stderr is no file
                start_new_session=True,  # Ctrl-C and Ctrl-Z are for the recorder
            )
        os.close(reading)

    def alive(self) -> None:
        """Begin to count again. To be called several times a second."""
        if self._shell is None:
            return
        faulthandler.dump_traceback_later(self._tick, repeat=True, file=self._pipe)
        if time.monotonic() - self._said > min(1.0, self._tick):
            self._said = time.monotonic()
            with suppress(OSError):  # the shell has ended
                os.write(self._pipe, b"alive\n")

    def close(self) -> None:
        """End the watch, and the shell."""
        faulthandler.cancel_dump_traceback_later()
        os.close(self._pipe)
        if self._shell is not None:
            self._shell.wait()

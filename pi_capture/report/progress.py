"""Progress on stderr: a line that changes on a terminal, few lines in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pi_capture.recording.machine import directory_at
from pi_capture.report.systemd import WARNING, priority
from storage.commands.console import new_bar, print_line
from storage.names import printable

if TYPE_CHECKING:
    from pi_capture.status import Status

RATE_SECONDS = 5.0  # the rate shown is that of the last seconds
LOG_EVERY_SECONDS = 60.0
LOW_SPACE_SECONDS = 600.0  # warn when the disk lasts less long than this …
LOW_SPACE_BYTES = 200_000_000  # … or has less left than this


class Progress:
    """Shows the status of a recording.

    The free space is that of the disk of `target`. `seconds` is the length of the recording, -1 if unknown. `quiet`
    shows warnings only. `hurries` is for a file, which is read as fast as possible: how long the disk would last is no
    reason for a warning then.
    """

    def __init__(self, target: Path | str, seconds: float, *, quiet: bool = False, hurries: bool = False) -> None:
        self.on_terminal = sys.stderr.isatty()
        self.note: Callable[[], str] | None = None  # shown at the beginning of the line
        self._target = Path(target)
        self._seconds = seconds
        self._quiet = quiet
        self._low_seconds = 0.0 if hurries else LOW_SPACE_SECONDS
        self._started: float | None = None
        self._recent: deque[tuple[float, int, int]] = deque()
        self._next_log = 0.0
        self._warned = False
        self._bar: Any = None
        self.counts = ""  # the last status in words: the frames and their rate
        self.line = ""  # all of it
        self.fps = 0.0  # frames stored a second, lately
        self.free_bytes = 0  # on the disk
        self.seconds_left: float | None = None  # until the recording ends, or the disk is full; None: unknown

    def say(self, line: str) -> None:
        """Print a line of its own."""
        if self._bar is not None:
            self._bar.write(printable(line), file=sys.stderr)
        else:
            print_line(line, sys.stderr)

    def show(self, status: Status) -> None:
        """Show a status; called a few times a second."""
        now = time.monotonic()
        if self._started is None:
            self._started, self._next_log = now, now + LOG_EVERY_SECONDS
        count, what = (status.frames, "frames") if status.frames or not status.samples else (status.samples, "samples")
        self._recent.append((now, count, status.bytes))
        while now - self._recent[0][0] > RATE_SECONDS and len(self._recent) > 2:
            self._recent.popleft()
        then, frames, size = self._recent[0]
        passed = max(now - then, 1e-6)
        bytes_a_second = (status.bytes - size) / passed
        self.fps = (count - frames) / passed
        self.free_bytes = free = shutil.disk_usage(directory_at(self._target)).free
        lasts = free / bytes_a_second if bytes_a_second > 0 else None
        self.seconds_left = max(0.0, self._seconds - (now - self._started)) if self._seconds > 0 else lasts
        self._warn(free, bytes_a_second)
        self.counts = f"{count} {what}, {self.fps:.1f} a second, {status.dropped} dropped"
        self.line = line = f"{self.counts}, {bytes_a_second * 3600 / 1e6:.0f} MB/hour, {self._left(free)}"
        if self._quiet:
            return
        if self.note is not None:
            line = f"{self.note()} {line}"
        if self.on_terminal:
            if self._bar is None:
                self._bar = new_bar(sys.stderr, bar_format="{desc}")
            self._bar.set_description_str(line)
        elif now >= self._next_log:
            self._next_log += LOG_EVERY_SECONDS
            print(line, file=sys.stderr)

    def _left(self, free: int) -> str:
        if self._seconds > 0:
            return f"{self.seconds_left:.0f} s left"
        hours = f" ({self.seconds_left / 3600:.0f} h)" if self.seconds_left is not None else ""
        return f"{free / 1e9:.1f} GB free{hours}"

    def _warn(self, free: int, bytes_a_second: float) -> None:
        if not self._warned and (free < LOW_SPACE_BYTES or free < bytes_a_second * self._low_seconds):
            self._warned = True
            lasts = f", enough for {free / bytes_a_second:.0f} s" if bytes_a_second > 0 else ""
            self.say(f"{priority(WARNING)}warning: only {free / 1e6:.0f} MB free on the disk of {self._target}{lasts}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

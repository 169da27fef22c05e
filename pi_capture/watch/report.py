"""What is seen of a classifier at work: a line that changes on a terminal, else a line for each class, or JSON."""

from __future__ import annotations

import json
import select
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from storage.commands.console import new_bar, print_line
from storage.names import printable

if TYPE_CHECKING:
    from pi_capture.recording.verdicts import Verdict

RATE_SECONDS = 2.0
SHOWN_SECONDS = 0.05  # between two looks of the line on a terminal


class Report(Protocol):
    """Told of each verdict, and of what else there is to say."""

    def show(self, verdict: Verdict) -> None: ...
    def say(self, line: str) -> None: ...
    def close(self) -> None: ...


class Quiet:
    """Shows nothing but lines for people."""

    def show(self, verdict: Verdict) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        print_line(line, sys.stderr)

    def close(self) -> None:
        """Nothing."""


class Lines(Quiet):
    """A line on standard output when another class begins: seconds since the first frame, the class, its certainty."""

    def __init__(self) -> None:
        self._first_ns: int | None = None
        self._present: str | None = None

    def show(self, verdict: Verdict) -> None:
        if self._first_ns is None:
            self._first_ns = verdict.timestamp_ns
        if verdict.name != self._present:
            self._present = verdict.name
            print(f"{(verdict.timestamp_ns - self._first_ns) / 1e9:9.2f} s  {verdict.shown}", flush=True)


class OneLine:
    """A line on the terminal that changes: the class, its certainty, frames a second."""

    def __init__(self) -> None:
        self._bar = new_bar(sys.stdout, leave=True, bar_format="{desc}")
        self._times: deque[float] = deque()
        self._due = 0.0
        self._present: str | None = None

    def show(self, verdict: Verdict) -> None:
        now = time.monotonic()
        self._times.append(now)
        while now - self._times[0] > RATE_SECONDS:
            self._times.popleft()
        if now < self._due and verdict.name == self._present:
            return
        self._due, self._present = now + SHOWN_SECONDS, verdict.name
        passed = now - self._times[0]
        rate = f"{(len(self._times) - 1) / passed:.1f}" if passed else "–"
        bar = "█" * round(verdict.certainty * 20)
        self._bar.set_description_str(f"{verdict.shown} {bar:20} {rate} a second, {verdict.milliseconds:.1f} ms each")

    def say(self, line: str) -> None:
        self._bar.write(printable(line), file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


class JsonLines(Quiet):
    """A line of JSON on standard output for each frame. A live camera's reader that is slow misses lines."""

    def __init__(self, *, wait: bool) -> None:
        self._wait = wait

    def show(self, verdict: Verdict) -> None:
        line = {
            "event": "frame",
            "timestamp_ns": verdict.timestamp_ns,
            "class": verdict.name,
            "certainty": verdict.certainty,
            "certainties": verdict.certainties,
            "milliseconds": verdict.milliseconds,
        }
        self._print(line, wait=self._wait)

    def end(self, summary: Mapping[str, Any]) -> None:
        """The last line."""
        self._print({"event": "summary", **summary}, wait=True)

    def _print(self, line: Mapping[str, Any], *, wait: bool) -> None:
        if wait or select.select([], [sys.stdout], [], 0)[1]:
            print(json.dumps(line, ensure_ascii=False), flush=True)

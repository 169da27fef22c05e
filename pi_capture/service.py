"""Living beside the system: signals that end a recording."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Self

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
ABORTED = 130  # 128 + SIGINT, as a shell reports it


class StopSignals:
    """Within this context Ctrl-C, SIGTERM and a closed terminal set `event`; a second Ctrl-C ends the program at once.

    What was not durable by then is taken up by the next recording into the same place.
    """

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for name in STOPPING:
            number = getattr(signal, name, None)
            if number is not None:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal.signal gave it

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._event.is_set():
            print("\naborted; the next recording into this place takes up what was not stored yet", file=sys.stderr)
            os._exit(ABORTED)
        self._event.set()

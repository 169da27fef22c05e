"""The hours of the day to record at, in local time.

Only the present time counts, checked again and again. So summer time, or a clock that is set, only changes when the
camera is opened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pi_capture.errors import UsageError

_WINDOW = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """From one minute of the day to another, perhaps over midnight."""

    text: str
    begin: int
    end: int

    def holds(self, minute: int) -> bool:
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


@dataclass(frozen=True, slots=True)
class Schedule:
    """The windows to record in; without any, always."""

    windows: tuple[Window, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Parse texts such as ``08:00-18:00`` or ``08:00-12:00,22:00-06:00``.

        Raises
        ------
        UsageError
            A text is no such window.
        """
        return cls(tuple(_window(part.strip()) for text in texts for part in text.split(",")))

    def is_open(self, now: datetime | None = None) -> bool:
        """Whether to record at a local time; now, if none is given."""
        now = now or datetime.now()
        return not self.windows or any(window.holds(now.hour * 60 + now.minute) for window in self.windows)

    def __str__(self) -> str:
        return ", ".join(window.text for window in self.windows)


def _window(text: str) -> Window:
    match = _WINDOW.fullmatch(text)
    if match is not None:
        first_hour, first_minute, last_hour, last_minute = map(int, match.groups())
        begin, end = first_hour * 60 + first_minute, last_hour * 60 + last_minute
        if first_minute < 60 and last_minute < 60 and begin < DAY and end <= DAY and begin != end:
            return Window(text, begin, end)
    raise UsageError(f"--between {text}: give two times of the day, such as 08:00-18:00 or 22:00-06:00")

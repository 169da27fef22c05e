"""The times of a file's pictures, where the file has odd ones."""

from __future__ import annotations

SLIP_NS = 1_000_000_000  # times that run back by less are the muxer's mistake


class FileClock:
    """A file's own times.

    A picture without one comes a frame's time (`period_ns`) after the one before. Where time starts anew, as in files
    that were joined, it goes on from there: the times returned only grow.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._shift_ns = 0
        self._last_ns: int | None = None

    def date(self, own_ns: int | None, arrival_ns: int = 0) -> int:
        last = self._last_ns
        if own_ns is None:
            found = 0 if last is None else last + self._period_ns
        else:
            found = own_ns + self._shift_ns
            if last is not None and found <= last - SLIP_NS:
                found = last + self._period_ns
                self._shift_ns = found - own_ns
            elif last is not None and found <= last:
                found = last + 1
        self._last_ns = found
        return found

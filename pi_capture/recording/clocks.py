"""Pairs of monotonic and wall-clock time, noted regularly, because the wall clock may be set.

Frames carry the monotonic clock's time, which no setting of the clock disturbs. An anchor pairs it with the wall
clock's at one moment, and says whether that was synchronised then; wall-clock times follow from the anchors nearby.
"""

from __future__ import annotations

import ctypes
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

MOST_ANCHORS = 64
FIRST_INTERVAL_NS = 60 * 10**9
READINGS = 3  # the quickest counts: on a busy machine another thread may run in the middle of one
JUMP_NS = 50_000_000  # between two looks; a slewed clock moves less
TIME_ERROR = 5  # linux/timex.h


def anchor() -> dict[str, Any]:
    """Return the clocks of now: ``monotonic_ns``, ``wall_ns``, ``boot_id``, ``synchronised`` (None: unknown)."""
    readings = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(READINGS)]
    before, wall_ns, after = min(readings, key=lambda reading: reading[2] - reading[0])
    return {
        "monotonic_ns": (before + after) // 2,
        "wall_ns": wall_ns,
        "boot_id": boot_id(),
        "synchronised": is_synchronised(),
    }


@lru_cache(maxsize=1)
def boot_id() -> str | None:
    """Return the id of this boot. With each boot the monotonic clock begins anew."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def is_synchronised() -> bool | None:
    """Whether the kernel was told that the wall clock follows a time server (`adjtimex`); None if unknown."""
    if sys.platform != "linux":
        return None
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))  # zeros: it changes nothing
    return state != TIME_ERROR if state >= 0 else None


class Anchors:
    """The anchors of a recording: a minute apart at first, later further, so that there are never many."""

    def __init__(self) -> None:
        self.all = [anchor()]  # oldest first
        self._interval_ns = FIRST_INTERVAL_NS
        self._offset_ns = _offset_ns(self.all[0])

    def look(self) -> int | None:
        """Note an anchor if one is due. Returns the new offset of the wall clock from the monotonic if it was set."""
        now = anchor()
        before, self._offset_ns = self._offset_ns, _offset_ns(now)
        jumped = abs(self._offset_ns - before) > JUMP_NS
        last = self.all[-1]
        if (
            jumped
            or now["monotonic_ns"] - last["monotonic_ns"] >= self._interval_ns
            or now["synchronised"] != last["synchronised"]
        ):
            self.all = [*self.all, now]
            if len(self.all) > MOST_ANCHORS:
                self.all = [*self.all[:-1:2], now]
                self._interval_ns *= 2
        return self._offset_ns if jumped else None


def _offset_ns(pair: dict[str, Any]) -> int:
    return int(pair["wall_ns"]) - int(pair["monotonic_ns"])

"""The pauses between a file's sessions: the file's own time passes over them, and what lies beside it does not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from storage.sessions import wall_offset_ns

ROUNDED_NS = 1_000_000  # files of FFmpeg know only whole milliseconds
SEAM_NS = 2_000_000
MOST_BACK_NS = 1_000_000_000  # the file's time may go on by a step of the frames that the pause did not last


@dataclass(frozen=True, slots=True)
class Pauses:
    """By how much what a track has is later than its file's own time says.

    Attributes
    ----------
    begins_ns : tuple of int
        When each session begins, in the file's own time.
    later_ns : tuple of int
        How long all pauses before it were together.
    note : str
        Why that may be wrong, in words; empty if it can't.
    """

    begins_ns: tuple[int, ...] = ()
    later_ns: tuple[int, ...] = ()
    note: str = ""

    def at(self, time_ns: int) -> int:
        """A moment of the file's own time, with the pauses before it."""
        session = bisect_right(self.begins_ns, time_ns + ROUNDED_NS) - 1
        return time_ns + self.later_ns[session] if session > 0 else time_ns

    def until(self, time_ns: int) -> int:
        """The end of something, which is not in the next session if it ends where that begins."""
        return self.at(time_ns - SEAM_NS) + SEAM_NS


def pauses_between(sessions: Sequence[Mapping[str, Any]]) -> Pauses:
    """The pauses between sessions (see `storage.sessions`), by the clock of the machine, or else by the wall clock."""
    sessions = [one for one in sessions if one.get("frames") != 0 or isinstance(one.get("clock"), dict)]
    places = [place for one in sessions if (place := place_of(one)) is not None]
    if len(sessions) < 2:
        return Pauses()
    if len(places) < len(sessions) or any(one[0] > other[0] for one, other in pairwise(places)):
        return Pauses(note=_misplaced(sessions, "how long it paused is not known"))
    later, unsure = [0], ""
    for (one, (_, before)), (other, (_, after)) in pairwise(zip(sessions, places, strict=True)):
        pause = after - before
        if not same_clock(one, other):
            walls = wall_offset_ns(one), wall_offset_ns(other)
            if walls[0] is None or walls[1] is None:
                return Pauses(note=_misplaced(sessions, "how long it paused is not known"))
            pause += walls[1] - walls[0]
            if is_unsynchronised(one) or is_unsynchronised(other):
                unsure = "the pauses in it are by a clock that was not synchronised with a time server"
        if pause < -MOST_BACK_NS:
            return Pauses(note=_misplaced(sessions, "a session in it began before the last one ended, by the clock"))
        later.append(later[-1] + pause)
    return Pauses(tuple(begins for begins, _ in places), tuple(later), unsure)


def place_of(session: Mapping[str, Any]) -> tuple[int, int] | None:
    """Where a session begins in the file's time, and what the recorder's clock showed at 0 there; None if not known."""
    clock = session.get("clock")
    begins, origin = (clock.get("begins_us"), clock.get("origin_ns")) if isinstance(clock, dict) else (None, None)
    return (begins * 1000, origin) if isinstance(begins, int) and isinstance(origin, int) else None


def same_clock(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two sessions were recorded on one machine, which did not boot in between: the same monotonic clock."""
    return bool(one.get("boot_id")) and one.get("boot_id") == other.get("boot_id")


def is_unsynchronised(session: Mapping[str, Any]) -> bool:
    """Whether the machine's clock was known not to follow a time server when the session began."""
    anchors = session.get("anchors")
    first = anchors[0] if isinstance(anchors, list) and anchors else None
    return isinstance(first, dict) and first.get("synchronised") is False


def tells_wrong_time(session: Mapping[str, Any]) -> bool:
    """Whether the time of day that is kept with a session may be wrong, as `is_unsynchronised` tells."""
    return wall_offset_ns(session) is not None and is_unsynchronised(session)


def _misplaced(sessions: Sequence[Mapping[str, Any]], why: str) -> str:
    return (
        f"{len(sessions)} sessions follow each other in it, and {why}: all but one may be misplaced; "
        "record each into a file of its own"
    )

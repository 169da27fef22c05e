"""What a media file knows of the wall clock: when its time 0 was, and each moment after it.

What this program records has the time of each frame on the recorder's own clock, and how far that was from the wall
clock. Other programs note a date at best; so do ours if nothing else is left. A file's own time passes over the pauses
between sessions; so each of them has a clock of its own (`Stretch`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.sessions import is_number, sessions_in, sessions_text, wall_offset_ns
from storage.tracks.demux import (
    COARSE_NS,
    facts_of_packet,
    open_media,
    packets_of,
    tag_of,
    time_of,
    to_ns,
    tracks_of,
    zero_of,
)
from storage.tracks.label_track import INPUT_TAG
from storage.tracks.pauses import Pauses, pauses_between, place_of

if TYPE_CHECKING:
    from storage.tracks.demux import Track


CLOCK_SET_NS = 50_000_000  # an anchor that is farther off tells that the clock was set; a slewed one moves less


@dataclass(frozen=True, slots=True)
class WallClock:
    """Nanoseconds since 1970 at a file's time 0.

    `exact` is False where another program wrote it, to a second or so. `session` is what is known of the recording,
    and `clock_ns` what the recorder's own clock showed.
    """

    zero_ns: int
    exact: bool
    clock_ns: int = 0
    session: Mapping[str, Any] = field(default_factory=dict)


def wall_clock(path: Path) -> WallClock | None:
    """When a file's time 0 was; None if that is not known. Raises StorageError if it can't be read."""
    with open_media(path) as container:
        of_file = dict(container.metadata)
        tracks = tracks_of(container)
        dates = [tag_of(container.metadata, name) for name in ("date_recorded", "creation_time")]
    has_sessions = False  # then the file's date is that of its writing: what is in it is from a video or a simulation
    for track in tracks:
        sessions = sessions_of(track, tracks, of_file)
        has_sessions = has_sessions or bool(sessions)
        session = next((one for one in sessions if one.get("live")), {})
        if (offset := wall_offset_ns(session)) is None:
            continue
        own = _clock_of(path, track, session)
        if own is not None:
            return WallClock(own[1] + offset, True, own[1], session)
    for date in () if has_sessions else dates:
        try:
            return WallClock(round(datetime.fromisoformat(date).astimezone().timestamp() * 1e9), exact=False)
        except (ValueError, OverflowError):
            continue
    return None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A file's time from `begins_ns` on, as long as one clock holds: of one session, until the wall clock was set.

    A moment of the file's time has the timestamp ``time + origin_ns``, and the Unix time ``time + zero_ns``: None if
    that is not known. `pause_ns` passed before it that the file's time does not have; None if that is not known.
    `synchronised` is whether the wall clock followed a time server as it began; None if that is not known.
    """

    begins_ns: int
    origin_ns: int
    zero_ns: int | None
    pause_ns: int | None = 0
    synchronised: bool | None = None

    @property
    def wall_minus_monotonic_ns(self) -> int | None:
        return None if self.zero_ns is None else self.zero_ns - self.origin_ns


def stretches_of(path: Path) -> dict[int, list[Stretch]]:
    """The stretches of each track, by its number; empty for a file whose wall clock is not known exactly.

    In a merged file the tracks lie on the wall clock as they were aligned, with the first one's; what is each track's
    own is when its sessions went on. Raises StorageError if the file can't be read.
    """
    clock = wall_clock(path)
    if clock is None or not clock.exact:
        return {}
    with open_media(path) as container:
        tracks, of_file = tracks_of(container), dict(container.metadata)
        step_ns = max((to_ns(1, stream.time_base) for stream in container.streams if stream.time_base), default=0)
    by_input: dict[str, list[Stretch]] = {}
    for track in sorted(tracks, key=lambda track: track.kind != "pictures"):  # which know a session by its first frame
        came_from = tag_of(track.tags, INPUT_TAG)
        if not by_input.get(came_from):
            by_input[came_from] = list(_stretches(path, track, sessions_of(track, tracks, of_file), step_ns))
    first = next(known for track in tracks if (known := by_input[tag_of(track.tags, INPUT_TAG)]))
    alone = [
        Stretch(first[0].begins_ns, first[0].origin_ns, clock.zero_ns, synchronised=first[0].synchronised)
    ]  # sound of elsewhere went on while the first one paused
    found: dict[int, list[Stretch]] = {}
    for track in tracks:
        own = by_input[tag_of(track.tags, INPUT_TAG)] or (first if track.kind == "labels" else alone)
        by_ns = next((clock.zero_ns - one.zero_ns for one in own if one.zero_ns is not None), 0)
        found[track.number] = [one if one.zero_ns is None else replace(one, zero_ns=one.zero_ns + by_ns) for one in own]
    return found


def stretch_at(stretches: Sequence[Stretch], time_ns: int) -> Stretch:
    """The one that holds at a moment of the file's time; before the first it does, too."""
    return stretches[max(0, bisect_right(stretches, time_ns, key=lambda one: one.begins_ns) - 1)]


def _stretches(path: Path, track: Track, sessions: Sequence[Mapping[str, Any]], step_ns: int) -> Iterator[Stretch]:
    """The stretches of sessions that follow each other, in a file that keeps times in such steps."""
    clocks = [(session, *clock) for session in sessions if (clock := _clock_of(path, track, session))]
    before: Stretch | None = None
    early_ns = step_ns if step_ns > COARSE_NS else 0  # by which times are rounded
    for (session, begins, origin), after in pairwise([*clocks, ({}, 1 << 62, 0)]):
        wall = wall_offset_ns(session)
        zero = None if wall is None else origin + wall
        pause = 0 if before is None else None
        if before is not None and before.zero_ns is not None and zero is not None:
            pause = max(0, zero - before.zero_ns)
        anchors = list(_anchors(session)) if zero is not None else []
        before = Stretch(begins - early_ns, origin, zero, pause, anchors[0][2] if anchors else None)
        yield before
        for at, offset, known in anchors:
            if abs(origin + offset - (zero or 0)) > CLOCK_SET_NS and before.begins_ns < at - origin < after[1]:
                before = Stretch(at - origin, origin, zero := origin + offset, synchronised=known)
                yield before


def _clock_of(path: Path, track: Track, session: Mapping[str, Any]) -> tuple[int, int] | None:
    """When a session begins in the file's time, and what its clock showed at time 0; None if that is not known."""
    if (place := place_of(session)) is not None:
        return place
    return _clock_by_frame(path, track, int(session["first_index"])) if session.get("frames") != 0 else None


def _anchors(session: Mapping[str, Any]) -> Iterator[tuple[int, int, bool | None]]:
    """The moments of a session's clock at which the wall clock was noted, its offset, and if it was synchronised."""
    anchors = session.get("anchors")
    for one in anchors if isinstance(anchors, list) else []:
        at, wall = (one.get("monotonic_ns"), one.get("wall_ns")) if isinstance(one, dict) else (None, None)
        if is_number(at) and is_number(wall):
            known = one.get("synchronised")
            yield at, wall - at, known if isinstance(known, bool) else None


def sessions_of(track: Track, tracks: Sequence[Track], of_file: Mapping[str, str]) -> list[dict[str, Any]]:
    """What is known of the sessions that a track is from, oldest first (see `storage.sessions`); empty if nothing is.

    In a merged file they are noted with the first track of each input, and those of the main input with the file.
    """
    came_from = tag_of(track.tags, INPUT_TAG)
    together = [one for one in tracks if tag_of(one.tags, INPUT_TAG) == came_from]
    main = next((one for one in tracks if one.kind == "pictures"), tracks[0])
    noted = [*(one.tags for one in (track, *together)), *([of_file] if main in together else [])]
    return sessions_in(next((text for tags in noted if (text := tag_of(tags, "sessions"))), ""))


def read_pauses(path: Path) -> dict[int, Pauses]:
    """The pauses between the sessions of each track, by its number. Raises StorageError if the file can't be read."""
    with open_media(path) as container:
        tracks, of_file = tracks_of(container), dict(container.metadata)
    return {track.number: pauses_between(sessions_of(track, tracks, of_file)) for track in tracks}


def moved_sessions(text: str, place: Callable[[int], int], *, even: bool) -> str:
    """The ``SESSIONS`` tag of a file, for a copy in which what is at a time comes at `place` of it.

    Unless that is `even`, with no second longer or shorter, the frames alone tell the time on the recorder's clock.
    """
    sessions = []
    for session in sessions_in(text):
        known = place_of(session)
        moved = moved_session(session, place(known[0]) - known[0]) if known is not None else session
        sessions.append({name: fact for name, fact in moved.items() if even or name != "clock"})
    return sessions_text(sessions) if sessions else text


def moved_session(session: Mapping[str, Any], by_ns: int) -> dict[str, Any]:
    """What is known of a session, in a file in which it is later by `by_ns`."""
    if (place := place_of(session)) is None:
        return dict(session)
    moved = {"begins_us": (place[0] + by_ns) // 1000, "origin_ns": place[1] - by_ns}
    return {**session, "clock": {**session["clock"], **moved}}


def _clock_by_frame(path: Path, track: Track, index: int) -> tuple[int, int] | None:
    """When a frame is shown, and what the recorder's clock showed at the file's time 0, by its timestamp."""
    with open_media(path) as container:
        packet = next(islice(packets_of(container, track.number), index, None), None)
        timestamp = facts_of_packet(packet).get("timestamp_ns") if packet is not None else None
        if packet is None or not isinstance(timestamp, int):
            return None
        time = time_of(packet, zero_of(container))
        return time, timestamp - time

"""What a media file knows of the wall clock: when its time 0 was.

What this program records has the time of each frame on the recorder's own clock, and how far that was from the wall
clock. Other programs note a date at best; so do ours if nothing else is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.sessions import WALL_CLOCK, sessions_in, sessions_text
from storage.tracks.demux import facts_of_packet, open_media, packets_of, tag_of, time_of, tracks_of, zero_of
from storage.tracks.label_track import INPUT_TAG
from storage.tracks.pauses import Pauses, pauses_between, place_of

if TYPE_CHECKING:
    from storage.tracks.demux import Track


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
    for track in tracks:
        sessions = sessions_of(track, tracks, of_file)
        session = next((one for one in sessions if one.get("live", True)), {})
        offset = session.get(WALL_CLOCK)
        if not isinstance(offset, int):
            continue
        place = place_of(session)
        zero = _zero_by_frame(path, track) if place is None else place[1]
        if zero is not None:
            return WallClock(zero + offset, True, zero, session)
    for date in dates:
        try:
            return WallClock(round(datetime.fromisoformat(date).astimezone().timestamp() * 1e9), exact=False)
        except (ValueError, OverflowError):
            continue
    return None


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


def _zero_by_frame(path: Path, track: Track) -> int | None:
    """What the recorder's clock showed at a file's time 0, by the first packet of a track."""
    with open_media(path) as container:
        packet = next(packets_of(container, track.number), None)
        timestamp = facts_of_packet(packet).get("timestamp_ns") if packet is not None else None
        if packet is None or not isinstance(timestamp, int):
            return None
        return timestamp - time_of(packet, zero_of(container))

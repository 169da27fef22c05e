"""Many recordings as one table: what each host recorded on each day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storage.care.info import Info, Session, dropped_of, iso
from storage.names import natural_key, printable

UNKNOWN = "-"


@dataclass(slots=True)
class Row:
    """What a host recorded on a day.

    Attributes
    ----------
    host, day : str
        `UNKNOWN` where it is not known; the day as ``2026-11-27``, by this machine's clock. What was recorded past
        midnight counts for the day on which its session began.
    recordings : set of str
        Their paths.
    sessions, frames, labelled : int
    seconds : float
        Recorded time, without the pauses between sessions.
    bytes : int
        Of a file with several sessions, by their shares of its frames.
    dropped : int or None
        Frames that were lost, of the sessions that counted them; None if none did.
    begun, ended : float or None
        When the first frame was taken, and the last one, in seconds since 1970; None if it was no camera's.
    """

    host: str
    day: str
    recordings: set[str] = field(default_factory=set)
    sessions: int = 0
    frames: int = 0
    labelled: int = 0
    seconds: float = 0.0
    bytes: int = 0
    dropped: int | None = None
    begun: float | None = None
    ended: float | None = None

    def add(self, other: Row) -> None:
        """Count another row's recordings too."""
        self.recordings |= other.recordings
        self.sessions += other.sessions
        self.frames += other.frames
        self.labelled += other.labelled
        self.seconds += other.seconds
        self.bytes += other.bytes
        if other.dropped is not None:
            self.dropped = (self.dropped or 0) + other.dropped
        self.begun = min((time for time in (self.begun, other.begun) if time is not None), default=None)
        self.ended = max((time for time in (self.ended, other.ended) if time is not None), default=None)


def by_host_and_day(infos: Iterable[Info]) -> list[Row]:
    """The rows of a table, by host and then by day."""
    rows: dict[tuple[str, str], Row] = {}
    for info in infos:
        for part in _parts(info):
            rows.setdefault((part.host, part.day), Row(part.host, part.day)).add(part)
    return sorted(rows.values(), key=lambda row: (natural_key(row.host), row.day))


def _parts(info: Info) -> list[Row]:
    """A row for each session of a recording."""
    known = {str(info.path)}
    if not info.sessions:  # no frames, or tracks of other kinds alone
        known_of = [one.facts for one in info.tracks if one.facts]
        seconds = max((one.extent.seconds for one in info.tracks), default=0.0)
        session = Session(None, info.frames, None, None, seconds, next(iter(known_of), {}))
        return [Row(*_place(session), known, len(known_of), info.frames, 0, seconds, info.bytes)]
    return [
        Row(
            *_place(session),
            known,
            sessions=1,
            frames=session.frames,
            labelled=session.labelled,
            seconds=session.seconds,
            bytes=info.bytes * session.frames // max(1, info.frames),
            dropped=dropped_of(session),
            begun=session.begun,
            ended=session.ended,
        )
        for session in info.sessions
    ]


def _place(session: Session) -> tuple[str, str]:
    """The host and the day."""
    begun = iso(session.begun) or str(session.facts.get("started") or "")
    try:
        day = datetime.fromisoformat(begun).astimezone().date().isoformat()
    except (ValueError, OverflowError, OSError):
        day = UNKNOWN
    return str(session.facts.get("host") or UNKNOWN), day


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The table as JSON content, for programs."""
    return [
        {
            "host": None if row.host == UNKNOWN else row.host,
            "day": None if row.day == UNKNOWN else row.day,
            "recordings": len(row.recordings),
            "sessions": row.sessions,
            "frames": row.frames,
            "labelled": row.labelled,
            "seconds": round(row.seconds, 3),
            "bytes": row.bytes,
            "dropped": row.dropped,
            "begun": iso(row.begun),
            "ended": iso(row.ended),
        }
        for row in rows
    ]


def as_text(rows: Sequence[Row]) -> str:
    """The table as lines of text, for people; the last one counts all."""
    total = Row("all", "")
    for row in rows:
        total.add(row)
    width = max(len(printable(row.host)) for row in (*rows, total))
    lines = [
        f"{'host':{width}}  {'day':10}  {'recordings':>10}  {'frames':>9}  {'labelled':>9}  {'hours':>8}  {'MB':>10}"
        f"  {'dropped':>7}  from      to"
    ]
    for row in (*rows, total):
        clock = f"{_clock(row.begun)}  {_clock(row.ended)}" if row is not total else ""
        dropped = UNKNOWN if row.dropped is None else row.dropped
        lines.append(
            f"{printable(row.host):{width}}  {row.day:10}  {len(row.recordings):10}  {row.frames:9}  {row.labelled:9}"
            f"  {row.seconds / 3600:8.2f}  {row.bytes / 1e6:10.1f}  {dropped:>7}"
            f"  {clock}"
        )
    return "\n".join(line.rstrip() for line in lines)


def _clock(seconds: float | None) -> str:
    return (iso(seconds) or f"{UNKNOWN:19}")[11:19].ljust(8)

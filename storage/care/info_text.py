"""The text that ``info`` shows of a recording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from storage.care.info import Info, Session, dropped_of, iso
from storage.labels import PERSON
from storage.names import natural_key, printable, shown_class

MAX_PROBLEMS = 20  # of sensors
MAX_SESSIONS = 20  # more are counted, not listed


def as_text(info: Info) -> str:
    """The facts as lines of text, for people."""
    return "\n".join(map(printable, _lines(info)))


def _head(info: Info) -> Iterator[str]:
    sizes = ", ".join(info.sizes if len(info.sizes) == 1 else (f"{n} of {size}" for size, n in info.sizes.items()))
    if info.backend == "tracks":
        count = "a track" if len(info.tracks) == 1 else f"{len(info.tracks)} tracks"
        yield f"{info.path}: {count} without pictures, {_megabytes(info.bytes)} MB"
    else:
        yield f"{info.path}: {info.frames} frames ({info.backend}), {_megabytes(info.bytes)} MB, {sizes or 'empty'}"
    if info.interrupted:
        yield "  has no end: it was interrupted, or is being recorded into; verify tells which"


def _lines(info: Info) -> Iterator[str]:
    yield from _head(info)
    if info.backend == "tracks":
        yield from _clock_lines(info)
        yield from _track_lines(info)
        return
    rows = [(shown_class(label, info.names), share) for label, share in info.classes.items()]
    if info.unlabelled.frames:
        rows.append(("no class", info.unlabelled))
    width = max(8, *(len(name) for name, _ in rows)) if rows else 8
    if info.frames:
        yield f"  {'class':{width}}  {'frames':>8}  {'%':>5}  {'MB':>8}"
    for name, share in rows:
        percent = 100 * share.frames / info.frames
        yield f"  {name:{width}}  {share.frames:8}  {percent:5.1f}  {_megabytes(share.bytes):>8}"
    yield from _label_lines(info)
    yield from _clock_lines(info)
    if info.begun is not None:
        yield f"  recorded {_clock(info.begun)} to {_clock(info.ended)}, {_duration(info.seconds)} in all"
    elif info.seconds:
        yield f"  {_duration(info.seconds)}, as the frames' times say; when it was recorded is not known"
    if any(session.facts for session in info.sessions):
        yield f"  {'session':8}  {'begun':19}  {'frames':>8}  {'seconds':>8}  {'a second':>8}  {'dropped':>7}  camera"
    for session in info.sessions[:MAX_SESSIONS]:
        if session.facts:
            yield _session_line(session)
    if len(info.sessions) > MAX_SESSIONS:
        yield f"  … and {len(info.sessions) - MAX_SESSIONS} more sessions"
    unknown = sum(session.frames for session in info.sessions if not session.facts)
    if unknown and info.path.is_dir():
        yield f"  {unknown} frames of sessions that nothing is known about"
    yield from _track_lines(info)


def _clock_lines(info: Info) -> Iterator[str]:
    if info.unsynchronised:
        ids = ", ".join(id[:8] for id in info.unsynchronised[:MAX_SESSIONS])
        yield f"  the clock was not synchronised when this began: session {ids}; the time of day may be wrong"


def _label_lines(info: Info) -> Iterator[str]:
    if info.waiting:
        labels = sorted(info.waiting, key=natural_key)
        counts = ", ".join(f"{shown_class(label, info.names)} {info.waiting[label]}" for label in labels)
        saved = f"press S in 'python -m classify {info.path}'"
        if not info.path.is_dir():  # frames of a directory are sorted by S alone
            saved += ", or without a screen 'python -m storage labels': --export a table, then --import it"
        yield f"  labelled, not saved yet: {counts}; {saved}"
    if info.unread:
        yield f"  {printable(info.unread)}"
    if set(info.origins_of_labels) - {PERSON}:
        yield f"  labels by: {', '.join(f'{origin} {count}' for origin, count in info.origins_of_labels.items())}"


def _track_lines(info: Info) -> Iterator[str]:
    if not info.tracks:
        return
    width = max(8, *(len(printable(one.track.name)) for one in info.tracks))
    # The sessions above are those of the only track of pictures.
    told = any(one.facts for one in info.tracks) and sum(one.track.kind == "pictures" for one in info.tracks) != 1
    columns = f"{'a second':>10}  {'channels':>8}  {'from s':>9}  {'seconds':>9}  {'count':>10}" + (
        "  recorded" if told else ""
    )
    yield f"     {'track':{width}}  {'kind':8}  {'codec':10}  {columns}"
    for one in info.tracks:
        track, extent, rate = one.track, one.extent, one.measured_rate or one.rate
        per_second = f"{rate:.6g}" if rate else "-"
        channels = track.channels or "-"
        count = "-" if extent.count is None else extent.count
        origin = f"  {_started(one.facts)}  {_camera(one.facts)}" if told and one.facts else ""
        yield (
            f"  {track.number:2} {printable(track.name):{width}}  {track.kind:8}  {track.codec[:10]:10}"
            f"  {per_second:>10}  {channels:>8}  {extent.begin_ns / 1e9:9.3f}  {extent.seconds:9.3f}"
            f"  {count:>10}{origin}"
        )
    if stated := [printable(one.track.name) for one in info.tracks if one.states_its_rate]:
        yield f"  rate of {', '.join(stated)}: as stated, not measured"
    for session, _, text in info.problems[:MAX_PROBLEMS]:
        yield f"  session {session[:8]}: {text}"
    if len(info.problems) > MAX_PROBLEMS:
        yield f"  … and {len(info.problems) - MAX_PROBLEMS} more problems of sensors"


def _session_line(session: Session) -> str:
    all_here = session.frames >= 0.9 * (session.facts.get("frames") or session.frames)
    rate = f"{(session.frames - 1) / session.seconds:.1f}" if session.seconds and all_here else "-"
    dropped = dropped_of(session)
    begun = _clock(session.begun) if session.begun is not None else _started(session.facts)
    return (
        f"  {str(session.id)[:8]:8}  {begun:19}  {session.frames:8}  {session.seconds:8.1f}"
        f"  {rate:>8}  {'-' if dropped is None else dropped:>7}  {_camera(session.facts)}"
    )


def _started(facts: Mapping[str, Any]) -> str:
    return printable(str(facts.get("started", "-"))[:19].replace("T", " "))


def _camera(facts: Mapping[str, Any]) -> str:
    camera = printable(str(facts.get("camera") or "a program"))
    return f"{camera} on {printable(str(facts['host']))}" if facts.get("host") else camera


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"


def _clock(seconds: float | None) -> str:
    return (iso(seconds) or "an unknown time")[:19].replace("T", " ")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"

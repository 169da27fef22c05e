"""What a recording holds: its classes and their sizes, when it was recorded, and in which sessions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.table import find_format, open_recording
from storage.labels import PERSON
from storage.labels.beside import journal_path, live_path
from storage.names import natural_key, printable, shown_class
from storage.recording import Recording
from storage.sessions import wall_offset_ns
from storage.tracks.containers import is_media
from storage.tracks.pauses import tells_wrong_time

if TYPE_CHECKING:
    from storage.care.info_tracks import TrackInfo

MAX_PROBLEMS = 20  # of sensors, in the text
MAX_SESSIONS = 20  # more are counted, not listed


@dataclass(slots=True)
class Share:
    """The frames of one class, or of none: how many, and their bytes."""

    frames: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """A recording session, as far as its frames are here.

    Attributes
    ----------
    id : str or None
        None stands for all frames that name no session.
    frames : int
    begun, ended : float or None
        Capture times of its first and last frame, in seconds since 1970; None if it was no camera's.
    seconds : float
        From the first frame to the last.
    facts : mapping
        What ``recording.json`` has about it: camera, host …
    labelled : int
        Frames that have a class.
    """

    id: str | None
    frames: int
    begun: float | None
    ended: float | None
    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    labelled: int = 0


@dataclass(frozen=True, slots=True)
class Info:
    """A recording at rest.

    Attributes
    ----------
    path : path
    backend : str
        The name of its format.
    classes : dict
        The share of each class, by its directory or label, in order.
    names : dict
        The names of classes that were given one in the labeller, by their directory.
    origins_of_labels : Counter
        How many labels a person gave, and how many a model proposed (see `storage.labels.origins`); of those that wait
        in the journal, too.
    unlabelled : Share
        Frames that have no class yet.
    waiting : Counter
        Of labels that wait in the journal until S applies them: how many frames get which class. The other counts are
        without them.
    unread : str
        Why the journal was not used, if it was not.
    sizes : dict
        How many frames have which size, ``"128x128"``.
    sessions : list of Session
        Oldest first.
    tracks : list of TrackInfo
        Of a media file.
    interrupted : bool
        Whether it has no end: a crash cut it off, or it is being recorded into.
    problems : list of (str, str, str)
        What was wrong with sensors and sound while they were recorded: the session's id, the track, and a line of text.
    unsynchronised : sequence of str
        The ids of the sessions that began when the clock did not follow a time server: their time of day may be wrong.
    """

    path: Path
    backend: str
    classes: dict[str, Share]
    unlabelled: Share
    sizes: dict[str, int]
    sessions: list[Session]
    tracks: list[TrackInfo] = field(default_factory=list)
    names: Mapping[str, str] = field(default_factory=dict)
    origins_of_labels: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    unread: str = ""
    interrupted: bool = False
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    unsynchronised: Sequence[str] = ()

    @property
    def frames(self) -> int:
        return sum(share.frames for share in [*self.classes.values(), self.unlabelled])

    @property
    def bytes(self) -> int:
        return sum(share.bytes for share in [*self.classes.values(), self.unlabelled])

    @property
    def seconds(self) -> float:
        """Recorded time, without the pauses between sessions."""
        return sum(session.seconds for session in self.sessions)

    @property
    def begun(self) -> float | None:
        """Wall-clock time of the first frame, in seconds since 1970; None if unknown."""
        return min((session.begun for session in self.sessions if session.begun is not None), default=None)

    @property
    def ended(self) -> float | None:
        """Wall-clock time of the last frame, in seconds since 1970; None if unknown."""
        return max((session.ended for session in self.sessions if session.ended is not None), default=None)


def describe(path: Path, *, track: str | int | None = None) -> Info:
    """What the recording at `path` holds; of its frames, those of `track`, as in
    `storage.formats.table.open_recording`.

    Raises
    ------
    StorageError
        There is none, or it can't be read.
    """
    tracks: list[TrackInfo] = []
    problems: list[tuple[str, str, str]] = []
    unsynchronised: list[str] = []
    if path.is_file() and is_media(path):
        from storage.care.info_tracks import describe_tracks
        from storage.formats.video.file import is_ours

        try:
            tracks, problems, unsynchronised = describe_tracks(path)
        except StorageError:
            if not is_ours(path):
                raise  # else it may have no frames, where FFmpeg finds no tracks; our own reader says what is wrong
    if tracks and not any(one.track.kind == "pictures" and one.extent.count for one in tracks):
        info = Info(path, "tracks", {}, Share(0, path.stat().st_size), {}, [], tracks, problems=problems)
        info = replace(info, unsynchronised=unsynchronised)
        if not is_ours(path):
            return info
        with open_recording(path) as recording:
            return replace(info, interrupted=recording.interrupted)
    backend = find_format(path).name if path.exists() else ""
    with open_recording(path, track=track) as recording:
        info = (_describe_files if isinstance(recording, FramesAreFiles) else _describe_file)(recording, backend)
        if journal_path(recording.path, recording.of_track).exists() or live_path(recording.path).exists():
            info = _with_journal(info, recording)
        else:
            labelled = info.frames - info.unlabelled.frames
            info = replace(info, origins_of_labels=Counter({PERSON: labelled} if labelled else {}))
        ids = unsynchronised or [str(session.id) for session in info.sessions if tells_wrong_time(session.facts)]
        info = replace(info, unsynchronised=ids)
        return replace(info, tracks=tracks, interrupted=recording.interrupted, problems=problems)


def _with_journal(info: Info, recording: Recording) -> Info:
    """With what the label journal says, and the keys that a crash left beside it; a window may have it open."""
    from storage.labels.classes import names_of_labels
    from storage.labels.current import replay
    from storage.labels.live import entries_beside
    from storage.labels.origins import count_origins

    info = replace(info, names=names_of_labels(recording), origins_of_labels=count_origins(recording))
    try:
        entries = entries_beside(recording)
    except (StorageError, OSError) as error:
        return replace(info, unread=str(error))
    changed = zip(recording.labels, replay(recording, entries), strict=True)
    return replace(info, waiting=Counter(now for before, now in changed if now is not None and now != before))


def as_json(info: Info) -> dict[str, Any]:
    """The facts as JSON content, for programs."""
    return {
        "path": str(info.path),
        "backend": info.backend,
        "frames": info.frames,
        "bytes": info.bytes,
        "classes": {
            label: {"name": info.names.get(label, label), "frames": share.frames, "bytes": share.bytes}
            for label, share in info.classes.items()
        },
        "unlabelled": {"frames": info.unlabelled.frames, "bytes": info.unlabelled.bytes},
        "labels": dict(info.origins_of_labels),
        "waiting": dict(info.waiting),
        "unread": info.unread,
        "sizes": info.sizes,
        "begun": iso(info.begun),
        "ended": iso(info.ended),
        "seconds": round(info.seconds, 3),
        "interrupted": info.interrupted,
        "unsynchronised": list(info.unsynchronised),
        "problems": [{"session": id, "track": track, "problem": text} for id, track, text in info.problems],
        "sessions": [
            {
                "id": session.id,
                "frames": session.frames,
                "labelled": session.labelled,
                "begun": iso(session.begun),
                "ended": iso(session.ended),
                "seconds": round(session.seconds, 3),
                **{name: session.facts.get(name) for name in ("camera", "model", "host", "end", "fps", "live")},
                "dropped": dropped_of(session),
                "unsynchronised": str(session.id) in info.unsynchronised,
            }
            for session in info.sessions
        ],
        "tracks": [track.as_json() for track in info.tracks],
    }


def as_text(info: Info) -> str:
    """The facts as lines of text, for people."""
    return "\n".join(map(printable, _lines(info)))


# -------------------------------------------------------------------------------------------------------------- reading


def _describe_files(recording: Recording, backend: str) -> Info:
    from storage.formats.png.head import Head

    assert isinstance(recording, FramesAreFiles)
    shares: dict[str | None, Share] = {}
    sizes: Counter[str] = Counter()
    counts: Counter[str | None] = Counter()
    labelled: Counter[str | None] = Counter()
    spans: dict[str | None, tuple[int, int]] = {}
    for index, label in enumerate(recording.labels):
        file = recording.file(index)
        try:
            head = recording.head(index)
        except StorageError:
            head = Head()
        share = shares.setdefault(label, Share())
        share.frames += 1
        share.bytes += os.stat(file).st_size
        sizes["unreadable" if head.size is None else f"{head.size[0]}x{head.size[1]}"] += 1
        counts[head.session] += 1
        labelled[head.session] += label is not None
        if head.timestamp_ns is not None:
            first, last = spans.get(head.session, (head.timestamp_ns, head.timestamp_ns))
            spans[head.session] = min(first, head.timestamp_ns), max(last, head.timestamp_ns)
    facts = {session.get("id"): session for session in recording.sessions}
    order = [*(id for id in facts if id in counts), *(id for id in counts if id not in facts)]
    sessions = [_session(id, counts[id], labelled[id], spans.get(id), facts.get(id, {})) for id in order]
    return _info(recording.path, backend, shares, sizes, sessions)


def _describe_file(recording: Recording, backend: str) -> Info:
    total, labels = os.stat(recording.path).st_size, list(recording.labels)
    counts = Counter(labels)
    shares = {label: Share(count, total * count // len(recording)) for label, count in counts.items()}
    times, sizes = list(recording.timestamps_ns), Counter[str]()
    if times:
        try:
            sizes[recording.size] = len(times)
        except StorageError:
            sizes["unreadable"] = len(times)
    known = [session for session in recording.sessions if session.get("frames") != 0]
    sessions = []
    for facts in known or [{"id": None, "first_index": 0}]:
        first, count = facts["first_index"], facts.get("frames")
        end = len(times) if count is None else first + count  # the last one was killed, or goes on
        if part := times[first:end]:
            span, labelled = (min(part), max(part)), sum(label is not None for label in labels[first:end])
            sessions.append(_session(facts.get("id"), len(part), labelled, span, facts if known else {}))
    return _info(recording.path, backend, shares, sizes, sessions)


def _session(
    id: str | None, frames: int, labelled: int, span: tuple[int, int] | None, facts: Mapping[str, Any]
) -> Session:
    first, last = span or (0, 0)
    offset = wall_offset_ns(facts) if span else None
    begun, ended = (None, None) if offset is None else ((first + offset) / 1e9, (last + offset) / 1e9)
    return Session(id, frames, begun, ended, (last - first) / 1e9, facts, labelled)


def _info(
    path: Path, backend: str, shares: Mapping[str | None, Share], sizes: Counter[str], sessions: list[Session]
) -> Info:
    names = sorted((name for name in shares if name is not None), key=natural_key)
    classes = {name: shares[name] for name in names}
    return Info(path, backend, classes, shares.get(None, Share()), dict(sizes.most_common()), sessions)


def dropped_of(session: Session) -> int | None:
    """Frames lost in all of the session; None if they were not counted."""
    counts = [session.facts.get(f"dropped_{cause}") for cause in ("camera", "queue", "disk")]
    known = [count for count in counts if isinstance(count, int)]
    return sum(known) if known else None


def iso(seconds: float | None) -> str | None:
    """A time in seconds since 1970 as ISO 8601, by this machine's clock; None if it is not known, or none can be."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return None


# -------------------------------------------------------------------------------------------------------------- showing


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

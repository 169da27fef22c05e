"""What a recording holds: its classes and their sizes, when it was recorded, and in which sessions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.table import find_format, open_recording
from storage.labels import PERSON
from storage.labels.beside import journal_path, live_path
from storage.names import natural_key
from storage.recording import Recording
from storage.sessions import wall_offset_ns
from storage.tracks.containers import is_media
from storage.tracks.pauses import tells_wrong_time

if TYPE_CHECKING:
    from storage.care.info_tracks import TrackInfo


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

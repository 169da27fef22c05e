"""Hold out frames for validation: ``day1/CLASS`` → ``val_day1/CLASS`` and, what lies in between, ``gap_day1/CLASS``.

`storage.care.spans` chooses the frames: stretches of time, or all of some hosts, sessions or recordings. They are moved
as one journaled batch (`storage.durable.moves`), so that a split is made whole or not at all, and can be undone. The
frames in the gaps keep their labels in a directory of their own beside the other two: in ``day1`` a network would train
on near copies of what it is validated on, and a directory inside ``day1`` would be a class.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.care.spans import GAP, TRAIN, VAL, divide, divide_groups
from storage.durable.files import lock_directory
from storage.durable.moves import Moved, complete, last_facts, move_files, undo
from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.png.directory import SPLIT_NAME, class_directories, image_names, next_number
from storage.formats.png.head import Head, read_head
from storage.formats.table import open_recording
from storage.labels.beside import JOURNAL_NAME as LABELS_NAME
from storage.labels.classes import classes_of_directory, keep_classes, names_beside
from storage.labels.current import labels_wait_beside, refuse_waiting
from storage.labels.journal import Applied, Classes, LabelJournal, read_journal
from storage.labels.live import entries_beside
from storage.labels.origins import applied_origins, keep_origins, proposed
from storage.names import natural_key, shown_class
from storage.sessions import SESSIONS_NAME, close_interrupted, read_sessions, wall_offset_ns, write_sessions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEFT_OVER = {SESSIONS_NAME, f".{SESSIONS_NAME}.part", LABELS_NAME}  # in a directory without frames
ASSUMED_FPS = 10.0  # of pictures that carry no time
FAR_APART = 1e6  # seconds between recordings whose clocks have nothing to do with each other


@dataclass(frozen=True, slots=True)
class Split:
    """The result of a split.

    Attributes
    ----------
    data_dir, val_dir, gap_dir : path
        Where the frames for training, for validation and between them are. `gap_dir` only exists if there are any.
    counts : dict
        Frames for training, for validation and between them, of each class.
    stretch : float or None
        Length of the stretches in seconds; None if whole hosts, sessions or recordings are held out.
    held_out : int
        Number of stretches, hosts, sessions or recordings held out.
    notes : list of str
        What a person should know.
    groups : list of str
        Which hosts, sessions or recordings are held out.
    """

    data_dir: Path
    val_dir: Path
    gap_dir: Path
    counts: dict[str, tuple[int, int, int]]
    stretch: float | None
    held_out: int
    notes: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


def split(
    data_dir: Path,
    *,
    by: str | None = None,
    val: float = 0.1,
    gap: float = 2.0,
    stretch: float | None = None,
    seed: int = 0,
    allow_missing: bool = False,
    dry_run: bool = False,
) -> Split:
    """Move frames from a labelled data directory to one for validation beside it: whole stretches of time, or groups.

    Parameters
    ----------
    data_dir : path
        The data directory, labelled. Frames without a class stay where they are.
    by : str, optional
        What is on one side as a whole: each ``host``, each ``session``, or each ``recording``: what was merged into the
        directory from one place, or recorded there. By default stretches of time are.
    val : float
        The share to hold out, more than 0 and less than 1; whole groups may be far from it.
    gap : float
        Seconds before and after held-out frames that are in neither; with `by`, of the same host.
    stretch : float, optional
        About how long a stretch is, in seconds; by default as long as the classes stay balanced.
    seed : int
        Another seed chooses other stretches.
    allow_missing : bool
        Go on if a class would be missing on one side.
    dry_run : bool
        Move nothing.

    Raises
    ------
    StorageError
        Nothing was moved: it is split already, is in use, or a class would be missing on one side. Or moving failed
        half way: `complete_split` goes on, `undo_split` takes back.
    """
    data_dir = _resolve(data_dir)
    beside = _Sides.of(data_dir)
    if is_split(data_dir):
        raise StorageError(f"{data_dir} is split already; to take that back: python -m storage split {data_dir} --undo")
    for directory in (beside.val_dir, beside.gap_dir):
        if os.path.lexists(directory) and not _was_begun(directory, data_dir):
            raise StorageError(f"{directory} is there already; move it away, nothing was moved")
    lock = lock_directory(data_dir, f"{data_dir} is being recorded into or labelled; close that program first")
    try:
        result, pairs = _decide(data_dir, beside, by=by, val=val, gap=gap, stretch=stretch, seed=seed)
        with open_recording(data_dir) as recording:
            refuse_waiting(data_dir, entries_beside(recording), {source for source, _ in pairs})
        missing = [name for name, (train, held_out, _) in result.counts.items() if not train or not held_out]
        if missing and not allow_missing:
            raise StorageError(_explain_missing(missing, result, by))
        if dry_run:
            return result
        facts = {
            "val": val,
            "gap": gap,
            "stretch": result.stretch,
            "seed": seed,
            "val_dir": beside.val_dir.name,
            "by": by,
        }
        try:
            with_gap = any(counts[GAP] for counts in result.counts.values())
            given = applied_origins(data_dir, (os.path.basename(source) for source, _ in pairs))
            beside.begin(_ended_sessions(data_dir), classes_of_directory(data_dir), given, with_gap=with_gap)
            move_files(data_dir / SPLIT_NAME, pairs, roots=beside.roots(data_dir), facts=facts)
        finally:
            if not is_split(data_dir):  # nothing could be moved
                beside.clear()
        return result
    finally:
        os.close(lock)


def _ended_sessions(data_dir: Path) -> list[dict[str, Any]]:
    """The sessions of a data directory. A killed one gets its length first: its numbers stay used when frames move."""
    sessions = read_sessions(data_dir)
    if close_interrupted(sessions, next_number(data_dir)):
        write_sessions(data_dir, sessions)
    return sessions


def is_split(data_dir: Path) -> bool:
    """Whether frames of a data directory are held out at the moment."""
    return last_facts(data_dir / SPLIT_NAME) is not None


def is_held_out(directory: Path) -> bool:
    """Whether it has what is held out of a data directory beside it: it is ``val_day1`` or ``gap_day1`` of ``day1``."""
    side, _, name = directory.name.partition("_")
    return side in ("val", "gap") and bool(name) and is_split(directory.with_name(name))


def places_before(path: Path) -> tuple[Path, list[int]] | None:
    """Where the frames of a split recording, or of a part of it, come to lie once the split and the sorting are undone.

    The recording, and the index in it of each frame of `path`, in their order; None if that is not split.
    """
    whole = path.with_name(path.name.partition("_")[2]) if is_held_out(path) else path
    if not is_split(whole):
        return None
    frames = []
    for part in (whole, *(side for side in (_Sides.of(whole).val_dir, _Sides.of(whole).gap_dir) if side.is_dir())):
        with open_recording(part) as recording:
            assert isinstance(recording, FramesAreFiles)
            parts = (name.rpartition("/") for name in recording.names)
            frames += [(natural_key(name), class_name, part == path) for class_name, _, name in parts]
    return whole, [index for index, (_, _, is_here) in enumerate(sorted(frames)) if is_here]


def complete_split(data_dir: Path) -> Moved | None:
    """Finish a split, or its undoing, that was interrupted; None if none was."""
    data_dir = _resolve(data_dir)
    beside = _Sides.of(data_dir)
    return complete(data_dir / SPLIT_NAME, roots=beside.roots(data_dir), once_back=beside.clear)


def undo_split(data_dir: Path) -> Moved:
    """Move everything that was held out back to where it was.

    Raises
    ------
    StorageError
        There is nothing to undo, the directories were renamed, or one of them is open for labelling.
    """
    data_dir = _resolve(data_dir)
    beside = _Sides.of(data_dir)
    facts = last_facts(data_dir / SPLIT_NAME)
    if facts is None:
        raise StorageError(f"{data_dir} is not split: there is nothing to undo")
    if facts.get("val_dir") != beside.val_dir.name:
        raise StorageError(
            f"{data_dir} had another name when it was split: the rest is in {facts.get('val_dir')!r}; "
            f"give both their old names back first"
        )
    for directory in (beside.val_dir, beside.gap_dir):
        if (directory / LABELS_NAME).exists():
            with LabelJournal(directory / LABELS_NAME) as journal:  # refuses one that is open in a window
                refuse_waiting(directory, journal.entries)
    return undo(data_dir / SPLIT_NAME, roots=beside.roots(data_dir), once_back=beside.clear)


# ------------------------------------------------------------------------------------------------------ the directories


@dataclass(frozen=True, slots=True)
class _Sides:
    """The directories beside a data directory."""

    val_dir: Path
    gap_dir: Path

    @classmethod
    def of(cls, data_dir: Path) -> _Sides:
        return cls(data_dir.parent / f"val_{data_dir.name}", data_dir.parent / f"gap_{data_dir.name}")

    def roots(self, data_dir: Path) -> tuple[Path, Path, Path]:
        return data_dir, self.val_dir, self.gap_dir

    def begin(
        self, sessions: Sequence[dict[str, Any]], classes: Classes, origins: Mapping[str, str], *, with_gap: bool
    ) -> None:
        """Make the directories, with the facts about their frames' recordings, the names of the classes, and who gave
        the labels."""
        for directory in (self.val_dir, self.gap_dir)[: 1 + with_gap]:
            try:
                directory.mkdir(exist_ok=True)
                if sessions:
                    write_sessions(directory, sessions)
                keep_origins(directory, origins)
                keep_classes(directory, classes)
            except OSError as error:
                raise StorageError(f"{directory}: {error.strerror}; nothing was moved") from None

    def clear(self) -> None:
        """Remove the directories once they hold no frames."""
        for directory in (self.val_dir, self.gap_dir):
            if _is_left_over(directory):
                for name in LEFT_OVER:
                    (directory / name).unlink(missing_ok=True)
                directory.rmdir()


def _resolve(data_dir: Path) -> Path:
    """The data directory with a name of its own, so that another can be made beside it."""
    if not data_dir.is_dir():
        hint = "" if not data_dir.exists() else " is not a directory; only directories of frames can be split"
        raise StorageError(f"{data_dir}{hint or ': no such directory'}")
    return Path(os.path.realpath(data_dir)) if data_dir.is_symlink() or not data_dir.name else data_dir


def _is_left_over(directory: Path) -> bool:
    """Whether a directory holds only what a split makes first or removes last."""
    if directory.is_symlink() or not directory.is_dir() or not LEFT_OVER.issuperset(os.listdir(directory)):
        return False
    return not labels_wait_beside(directory)


def _was_begun(directory: Path, data_dir: Path) -> bool:
    """Whether a directory holds only what a split of this data directory made that was killed before it moved a frame.

    Another's facts and names of classes would be written over, and go when the split is undone.
    """
    if not _is_left_over(directory):
        return False
    entries, classes = read_journal(directory / LABELS_NAME), classes_of_directory(data_dir)
    origins = proposed(entries, (name for inside in class_directories(data_dir) for name in image_names(inside)))
    return (
        read_sessions(directory) in ([], read_sessions(data_dir))
        and all(entry == classes or isinstance(entry, Applied) for entry in entries)
        and origins.items() <= applied_origins(data_dir, origins).items()
    )


# --------------------------------------------------------------------------------------------------------- the decision


def _decide(
    data_dir: Path, beside: _Sides, *, by: str | None, val: float, gap: float, stretch: float | None, seed: int
) -> tuple[Split, list[tuple[str, str]]]:
    frames = [(directory.name, name) for directory in class_directories(data_dir) for name in image_names(directory)]
    if not frames:
        raise StorageError(f"{data_dir} has no labelled frames; label it first: python -m classify {data_dir}")
    frames.sort(key=lambda frame: (natural_key(frame[1]), frame[0]))
    heads = [read_head(f"{data_dir}/{class_name}/{name}") for class_name, name in frames]
    sessions = read_sessions(data_dir)
    seconds = common_time(heads, sessions)
    classes = [class_name for class_name, _ in frames]
    groups, unknown = list[str](), 0
    if by is None:
        division = divide(seconds, classes, val=val, gap=gap, stretch=stretch, seed=seed)
        sides, length, held_out = division.sides.tolist(), division.stretch, division.held_out
    else:
        of_frame = _groups(data_dir, heads, sessions, by)
        hosts = _groups(data_dir, heads, sessions, "host")
        try:
            found, groups = divide_groups(seconds, classes, of_frame, hosts, val=val, gap=gap, seed=seed)
        except ValueError as error:
            only = f"all frames are of one {by} ({error})" if error.args else f"no frame says of which {by} it is"
            raise StorageError(f"{data_dir}: {only}; without --by, whole stretches of time are held out") from None
        sides, length, held_out, unknown = found.tolist(), None, len(groups), of_frame.count(None)

    counted = Counter(zip(classes, sides, strict=True))
    names = sorted(set(classes), key=natural_key)
    notes = []
    if unlabelled := len(image_names(data_dir)):
        notes.append(f"{unlabelled} frames have no class and stay; label before you split, not after")
    if unknown:
        notes.append(f"{unknown} frames don't say of which {by} they are, and are in neither")
    if timeless := sum(head.timestamp_ns is None for head in heads):
        notes.append(f"{timeless} frames carry no time: taken in the order of their names, {ASSUMED_FPS:g} a second")
    if turned := sum(head.turned for head in heads):
        notes.append(f"{turned} photos are stored lying on the side (EXIF), and Keras reads them so; verify says more")
    if (held := sides.count(GAP) - unknown) > len(sides) / 2:
        notes.append(
            f"the gaps take {held} of {len(sides)} frames; --gap 0 is for pictures that don't follow each other"
        )
    result = Split(
        data_dir,
        beside.val_dir,
        beside.gap_dir,
        {name: (counted[name, TRAIN], counted[name, VAL], counted[name, GAP]) for name in names},
        length,
        held_out,
        notes,
        groups,
    )
    goals = {VAL: beside.val_dir.name, GAP: beside.gap_dir.name}
    pairs = [
        (f"{class_name}/{name}", f"../{goals[side]}/{class_name}/{name}")
        for (class_name, name), side in zip(frames, sides, strict=True)
        if side != TRAIN
    ]
    return result, pairs


def _groups(data_dir: Path, heads: Sequence[Head], sessions: Sequence[Mapping[str, Any]], by: str) -> list[str | None]:
    """The host, session or recording of each frame; None where it is not known."""
    known = {session.get("id"): session for session in sessions}
    hosts = {id: str(session["host"]) for id, session in known.items() if session.get("host")}
    if by == "host":
        return [hosts.get(head.session) for head in heads]
    if by == "session":
        return [head.session for head in heads]
    names = {id: str(session.get("merged_from") or data_dir.name) for id, session in known.items()}
    recordings = {id: f"{name} of {hosts[id]}" if id in hosts else name for id, name in names.items()}
    return [recordings.get(head.session) for head in heads]


def common_time(heads: Sequence[Head], sessions: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Times in seconds on one axis, of frames in the order of their names.

    Recordings of cameras lie on it by the wall clock, so that two cameras' views of one moment, or the end of a
    recording and the beginning of the next, are as close as they were. Those with a clock of their own (videos,
    simulations) are put far apart, and so are pictures that carry no time.

    Returns
    -------
    ndarray, shape (len(heads),), float64
    """
    import numpy as np

    offsets = {s.get("id"): wall_offset_ns(s) for s in sessions}
    seconds = np.zeros(len(heads))
    groups: dict[object, list[int]] = {}
    for number, head in enumerate(heads):
        offset = offsets.get(head.session)
        if head.timestamp_ns is None:
            groups.setdefault(None, []).append(number)
            seconds[number] = number / ASSUMED_FPS
        elif offset is not None:
            groups.setdefault("wall clock", []).append(number)
            seconds[number] = (head.timestamp_ns + offset) / 1e9
        else:
            groups.setdefault(("session", head.session), []).append(number)
            seconds[number] = head.timestamp_ns / 1e9
    begin = 0.0
    for numbers in groups.values():
        seconds[numbers] += begin - seconds[numbers].min()
        begin = float(seconds[numbers].max()) + FAR_APART
    return seconds


def _explain_missing(missing: Sequence[str], result: Split, by: str | None) -> str:
    called = names_beside(result.data_dir)
    names = ", ".join(shown_class(name, called) for name in missing)
    classes = f"class {names}" if len(missing) == 1 else f"classes {names}"
    without = {side for name in missing for side in _sides_without(result, name)}
    where = " and ".join(sorted(str(path) for path in without))
    way = "each class several times, try another --stretch, --gap or --val" if by is None else "each class in each"
    return (
        f"{classes} would be missing from {where}, and Keras would number the other classes differently there; "
        f"record more, {way}, or go on with --allow-missing (nothing was moved)"
    )


def _sides_without(result: Split, class_name: str) -> list[Path]:
    train, held_out, _ = result.counts[class_name]
    return [path for path, count in ((result.data_dir, train), (result.val_dir, held_out)) if not count]

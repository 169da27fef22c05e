"""Labels of a recording to a file of intervals and from one (`storage.labels.intervals`): exported, imported, kept.

Times are the recording's own (`storage.recording.Recording.shown_ns`), as a player shows them. A frame belongs to the
interval in which it was taken: from its start on, up to its end and not with it.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from pathlib import Path

from storage.durable.files import appearing
from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.table import label_writer, open_recording
from storage.labels.beside import journal_path
from storage.labels.classes import DEFAULT, known_classes, recorded_classes
from storage.labels.current import keep_waiting, labels_as_they_stand, replay
from storage.labels.intervals import NOTATIONS, SECOND_NS, Interval, IntervalError, Notation
from storage.labels.journal import Classes, LabelJournal
from storage.labels.live import adopt
from storage.labels.origins import as_entries, proposed
from storage.names import check_class_name, look_alikes
from storage.recording import Recording
from storage.sessions import spans_of

MOST_BYTES = 50_000_000
SLACK_NS = SECOND_NS // 10  # other programs are less exact about the length of a recording
USUAL_STEP_NS = SECOND_NS // 30
LEAST_HOLE_NS, HOLE_STEPS = 2 * SECOND_NS, 5  # so long without a frame, and so many times the usual step, is a hole; …
PAUSE_STEPS = 2  # … where another session begins, so many times the step
MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import.

    Attributes
    ----------
    labelled, changed : int
        Frames that have a label now, and frames whose label is another than before, or gone.
    removed : int
        Frames that had a label and have none now.
    saved : int
        Frames whose label was waiting beside the file, and is in it now.
    empty : list of int
        Lines of intervals in which no frame was taken.
    alike : list of (str, str)
        Classes that are two, and whose names differ only in case, spaces or the like.
    waiting : bool
        Whether the labels wait in the label journal, for ``python -m classify`` to look through and sort.
    """

    labelled: int
    changed: int
    removed: int
    saved: int
    empty: list[int]
    alike: list[tuple[str, str]]
    waiting: bool


def find_intervals(path: Path, *, track: str | int | None = None) -> list[Interval]:
    """The labels of a recording as intervals, in order; `track` as in `open_recording`.

    Raises
    ------
    StorageError
        It can't be read.
    """
    times, labels, begins = _times_and_names(path, track)
    return to_intervals(times, labels, 1, begins)


def export_labels(path: Path, target: Path, *, track: str | int | None = None) -> int:
    """Write the labels of a recording to a new file; durable on return, and read back the same.

    Parameters
    ----------
    path, target : path
    track : str or int, optional
        As in `storage.formats.table.open_recording`.

    Returns
    -------
    int
        The number of intervals.

    Raises
    ------
    StorageError
        There is such a file, it can't be written, or its kind can't say these labels.
    """
    notation = _notation(target)
    if os.path.lexists(target):
        raise StorageError(f"{target} exists; choose another name")
    times, labels, begins = _times_and_names(path, track)
    intervals = to_intervals(times, labels, notation.step_ns, begins)
    text = notation.write(intervals)
    try:
        exact = to_labels(times, _checked(notation.parse(_decode(text.encode())), times))[0] == labels
    except (IntervalError, UnicodeError):
        exact = False
    if not exact:
        raise StorageError(
            f"{target}: a {target.suffix} file can't say these labels frame by frame (names with marks, line breaks or "
            f"outer spaces, or frames nearer than {notation.step_ns / 1e6:g} ms); export to .csv"
        )
    with appearing(target) as part:
        part.write_bytes(text.encode())
    return len(intervals)


def _times_and_names(path: Path, track: str | int | None) -> tuple[list[int], list[str | None], set[int]]:
    """When each frame was taken, the name of its class, as a directory's number says nothing elsewhere, and the pauses.

    These are the frames at which another session begins some time after the frame before.
    """
    adopt(path)
    with open_recording(path, track=track) as recording:
        classes = recorded_classes(recording)
        names: dict[str | None, str] = dict(zip(classes.directories, classes.names, strict=True))
        times = list(recording.shown_ns)
        return times, [names.get(label) for label in labels_as_they_stand(recording)], _pauses(recording, times)


def _pauses(recording: Recording, times_ns: Sequence[int]) -> set[int]:
    long = PAUSE_STEPS * _usual_step_ns(times_ns)
    after = [at for at, (before, here) in enumerate(pairwise(times_ns), 1) if here - before >= long]
    if isinstance(recording, FramesAreFiles):
        return {at for at in after if recording.head(at - 1).session != recording.head(at).session}
    return {span.start for span in spans_of(recording.sessions, len(recording)) or ()}.intersection(after)


def import_labels(path: Path, source: Path, *, replace: bool = False, track: str | int | None = None) -> Imported:
    """Label the frames of a recording as a file says.

    The labels of a data directory wait in its label journal, like those of a key in ``python -m classify``; a
    recording that is one file gets them written into it, or into the table beside it.

    Parameters
    ----------
    path, source : path
    replace : bool
        Take away the labels that are there. Else frames without a label get one, and a frame that has another label
        than the file says is an error.
    track : str or int, optional
        As in `storage.formats.table.open_recording`.

    Raises
    ------
    StorageError
        The file has errors, none of its intervals has a frame, the recording has no pictures or other labels; nothing
        was changed.
    """
    notation = _notation(source)
    text = _read(source)
    adopt(path)
    of_track = ""
    if track is not None:
        with open_recording(path, track=track) as recording:
            of_track = recording.of_track
    with LabelJournal(journal_path(path, of_track)) as journal:
        with open_recording(path, track=track) as recording:
            journal.belongs_to(recording)
            if not len(recording):
                raise StorageError(f"{path} has no pictures to label; labels can be given to pictures alone")
            if not recording.has_times:
                raise StorageError(
                    f"{path}: its pictures have no times, so which are in an interval is not known; "
                    "python -m storage convert --fps gives them times"
                )
            times, names = list(recording.shown_ns), recording.names
            before, in_file = replay(recording, journal.entries), list(recording.labels)
            in_order = recording.class_names
        try:
            intervals = _checked(notation.parse(text), times)
        except IntervalError as error:
            raise StorageError(f"{source}: {error}") from None
        known = known_classes(journal.entries)
        named, empty = to_labels(times, intervals)
        if intervals and len(empty) == len(intervals):
            raise StorageError(
                f"{source}: no frame of {path} was taken in any of its intervals, the first {_span(intervals[0])}; "
                "nothing was changed"
            )
        wanted = _directories(source, named, known)
        if not replace:
            _refuse_conflicts(path, times, before, wanted)
            wanted = [new if new is not None else old for new, old in zip(wanted, before, strict=True)]
        changed = sum(new != old for new, old in zip(wanted, before, strict=True))
        removed = sum(new is None is not old for new, old in zip(wanted, before, strict=True))
        saved = 0
        write = label_writer(path, of_track)
        if write is None:
            keep_waiting(path, names, journal, before, wanted)
        elif changed or wanted != in_file:  # those that waited in the journal, as live labels do, go in too
            found = (label for label in wanted if label is not None)
            write(wanted, list(dict.fromkeys([*(in_order if any(in_file) else ()), *known.directories, *found])))
            saved = sum(old == new != stored for stored, old, new in zip(in_file, before, wanted, strict=True))
            same = [name for name, old, new in zip(names, before, wanted, strict=True) if old == new]
            told = as_entries(proposed(journal.entries, same))
            journal.clear(*([known] if known.names and known != DEFAULT else []), *told)
    alike = look_alikes(dict.fromkeys([*known.names, *(name for name in [*before, *named] if name is not None)]))
    labelled = sum(label is not None for label in wanted)
    return Imported(labelled, changed, removed, saved, empty, alike, write is None)


# ------------------------------------------------------------------------------------------------ frames and intervals


def to_intervals(
    times_ns: Sequence[int], labels: Sequence[str | None], step_ns: int, pauses: Container[int] = ()
) -> list[Interval]:
    """Each run of frames with one label as an interval; its borders are rounded down to whole steps.

    It ends where frames are missing, as those that were held out are, and at a frame before which the recorder paused:
    nothing is known of the time between.
    """
    if not times_ns:
        return []
    found: list[Interval] = []
    usual = _usual_step_ns(times_ns)
    hole = max(LEAST_HOLE_NS, HOLE_STEPS * usual)
    holes = [after - before >= hole or at in pauses for at, (before, after) in enumerate(pairwise(times_ns), 1)]
    ends = [before + usual if gap else after for gap, (before, after) in zip(holes, pairwise(times_ns), strict=True)]
    ends.append(_end_ns(times_ns))
    stretches = accumulate(holes, initial=0)
    first = 0
    for (label, _), run in groupby(zip(labels, stretches, strict=True)):
        end = first + sum(1 for _ in run)
        if label is not None:
            start_ns, end_ns = (time // step_ns * step_ns for time in (times_ns[first], ends[end - 1]))
            if end == len(labels) or ends[end - 1] != times_ns[end]:
                end_ns += step_ns  # past the last frame, whatever was rounded off
            found.append(Interval(start_ns, end_ns, label))
        first = end
    return found


def to_labels(times_ns: Sequence[int], intervals: Sequence[Interval]) -> tuple[list[str | None], list[int]]:
    """The label of each frame, and the lines of intervals without frames."""
    labels: list[str | None] = [None] * len(times_ns)
    empty = []
    for each in intervals:
        first, end = bisect_left(times_ns, each.start_ns), bisect_left(times_ns, each.end_ns)
        labels[first:end] = [each.label] * (end - first)
        if first == end:
            empty.append(each.line)
    return labels, empty


def _usual_step_ns(times_ns: Sequence[int]) -> int:
    steps = sorted(after - before for before, after in pairwise(times_ns))
    return steps[len(steps) // 2] if steps else USUAL_STEP_NS


def _end_ns(times_ns: Sequence[int]) -> int:
    """The end of a recording: a step after its last frame."""
    if len(times_ns) < 2:
        return (times_ns[-1] if times_ns else 0) + USUAL_STEP_NS
    return times_ns[-1] + max(1, min(times_ns[-1] - times_ns[-2], SECOND_NS))


def _checked(intervals: Sequence[Interval], times_ns: Sequence[int]) -> list[Interval]:
    """Sort intervals by time. Raises `IntervalError` with every fault in them."""
    wrong: list[tuple[int, str]] = []
    end_ns = _end_ns(times_ns)
    for each in intervals:
        try:
            check_class_name(each.label)
        except StorageError as error:
            wrong.append((each.line, str(error)))
        if each.end_ns <= each.start_ns:
            wrong.append((each.line, f"{_span(each)} has no length"))
        elif each.start_ns < 0 or each.end_ns > end_ns + SLACK_NS:
            wrong.append((each.line, f"{_span(each)} is outside the recording, which is {end_ns / 1e9:.3f} s long"))
    ordered = sorted(intervals, key=lambda each: (each.start_ns, each.end_ns))
    for one, other in pairwise(ordered):
        if other.start_ns < one.end_ns:
            wrong.append((other.line, f"{_span(other)} overlaps {_span(one)} of line {one.line}"))
    if wrong:
        wrong.sort()
        line, reason = wrong[0]
        more = [f"line {line}: {reason}" for line, reason in wrong[1:MOST_TOLD]]
        rest = len(wrong) - MOST_TOLD
        raise IntervalError(line, "; ".join([reason, *more, *([f"and {rest} more"] if rest > 0 else [])]))
    return ordered


def _span(each: Interval) -> str:
    return f"{each.start_ns / 1e9:.3f} to {each.end_ns / 1e9:.3f} s"


# -------------------------------------------------------------------------------------------------- into the recording


def _refuse_conflicts(
    path: Path, times_ns: Sequence[int], before: Sequence[str | None], wanted: Sequence[str | None]
) -> None:
    pairs = zip(before, wanted, strict=True)
    conflicts = [at for at, (old, new) in enumerate(pairs) if old is not None and new is not None and old != new]
    if conflicts:
        first = conflicts[0]
        raise StorageError(
            f"{path}: {len(conflicts)} frames have other labels already, the first at {times_ns[first] / 1e9:.3f} s "
            f"({before[first]}, not {wanted[first]}); --replace first takes all labels away"
        )


def _directories(source: Path, names: Sequence[str | None], known: Classes) -> list[str | None]:
    """The recording's names for the classes of a file."""
    called = dict(zip(known.names, known.directories, strict=True))
    for name in {name for name in names if name is not None and name not in called} & set(known.directories):
        here = known.names[known.directories.index(name)]
        raise StorageError(f"{source} has class {name!r}, which is called {here!r} here; write that in the file")
    return [None if name is None else called.get(name, name) for name in names]


# ------------------------------------------------------------------------------------------------------------- the file


def _notation(path: Path) -> Notation:
    notation = NOTATIONS.get(path.suffix.lower())
    if notation is None:
        raise StorageError(f"{path}: labels are kept as {', '.join(NOTATIONS)}; choose one of these")
    return notation


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise StorageError(f"{path} is larger than files of labels are ({MOST_BYTES // 1_000_000} MB)")
    try:
        return _decode(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StorageError(f"{path}: line {line}: is no text in UTF-8; save it as UTF-8") from None


def _decode(data: bytes) -> str:
    """The text of a file of labels, each line break as one ``\\n``. Raises UnicodeDecodeError."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")

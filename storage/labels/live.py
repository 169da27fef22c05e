"""Labels given while a recording runs: each key is stored with its time; its frames get the label when they are stored.

A frame gets its number and its name some time after it was captured, if it gets one at all. So a key is written down at
once, durably, in a file of its own beside the recording, and `adopt` turns the times into entries of the label journal
(`storage.labels.journal`) when the recording has ended, whether in order or not. After a crash that is done by whoever
writes there next; who only reads takes them as they wait (`entries_beside`)::

    {"live_labels":1,"first_index":120,"classes":["none","door"],"directories":["none","door"]}
    {"from":81370544000,"label":1}      from that moment on, on the clock of the frames' timestamps
    {"from":81372610000,"label":null}   no label from here on
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.durable.files import is_locked
from storage.durable.log import Log, encode_line, read_lines, refuse_torn_end
from storage.errors import BusyError, StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.png.directory import FRAME_NAME
from storage.formats.table import complete, open_recording
from storage.labels.beside import journal_path, live_path
from storage.labels.journal import Classes, Entry, LabelJournal, Labelled, read_journal
from storage.labels.runs import Run, to_runs
from storage.recording import Recording

VERSION = 1


class LiveJournal:
    """Takes the keys of a recording that is about to begin; no other program can adopt them before it is closed.

    Parameters
    ----------
    recording : path
    classes : Classes
        What the labels stand for.
    first_index : int
        Of the session's first frame.

    Raises
    ------
    StorageError
        It can't be written, or another program records there.
    """

    def __init__(self, recording: Path, classes: Classes, first_index: int) -> None:
        path = live_path(recording)
        head = {"live_labels": VERSION, "first_index": first_index}
        try:
            self._log = Log(path, f"{recording} is being recorded into by another program")
            try:
                self._log.cut(0)
                self._append({**head, "classes": classes.names, "directories": classes.directories})
            except BaseException:
                self._log.close()
                raise
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; live labels can't be kept there") from None

    def start(self, timestamp_ns: int, label: int | None) -> None:
        """Frames captured from that time on have the label; durable on return. Raises OSError if the disk is full."""
        self._append({"from": timestamp_ns, "label": label})

    def close(self) -> None:
        """Close the file; `adopt` goes on from here."""
        self._log.close()

    def _append(self, value: dict[str, Any]) -> None:
        self._log.append(encode_line(value))
        self._log.sync()


@dataclass(frozen=True, slots=True)
class _Kept:
    """The content of a file of live labels."""

    first_index: int
    classes: Classes
    starts: Sequence[tuple[int, int | None]]


def adopt(recording: Path, *, recover: bool = True, in_frames: bool = False) -> int:
    """Put live labels that wait beside a recording into its label journal.

    Parameters
    ----------
    recording : path
    recover : bool
        First complete what a crash left of the recording; False while another program writes it.
    in_frames : bool
        The recording ended in order, and its frames have their labels: only the classes' names go to the journal.

    Returns
    -------
    int
        How many frames got a label; 0 also if none waited, or the recording still goes on.

    Raises
    ------
    StorageError
        The journal is open elsewhere or can't be written; the live labels go on waiting.
    """
    path = live_path(recording)
    try:
        log = Log(path, "", create=False)
    except (FileNotFoundError, BusyError):
        return 0  # the recorder adopts them in the end
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    try:
        with log:
            kept = _parse(path, log.read())
            if kept is not None and recover:
                try:
                    complete(recording)
                except StorageError:
                    if recording.exists():
                        raise
            count = 0
            if kept is not None and recording.exists():
                count = _adopt(recording, kept, in_frames=in_frames)
            log.cut(0)  # which removes it
            return count
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


def _adopt(path: Path, kept: _Kept, *, in_frames: bool) -> int:
    count = 0
    with LabelJournal(journal_path(path)) as journal:
        given: list[Entry] = _new_classes(kept, journal.entries)
        if not in_frames:
            with open_recording(path) as recording:
                journal.belongs_to(recording)
                for frames, label, number in _labelled(recording, kept):
                    given.append(Labelled(frames, label, restored=True))
                    count += 0 if label is None else number
        if given:
            journal.append(*given)
            journal.sync()
    return count


def _new_classes(kept: _Kept, entries: Sequence[Entry]) -> list[Entry]:
    known = [entry for entry in entries if isinstance(entry, Classes)]
    return [] if known[-1:] == [kept.classes] else [kept.classes]


def entries_beside(recording: Recording) -> list[Entry]:
    """`read_journal` of an open recording, and after it what `adopt` would add now; nothing is changed."""
    entries = read_journal(journal_path(recording.path, recording.of_track), recording)
    return [*entries, *entries_waiting(recording, entries)]


def entries_waiting(recording: Recording, entries: Sequence[Entry]) -> list[Entry]:
    """What `adopt` would add to the entries of a recording's journal; nothing while the recording goes on.

    Raises
    ------
    StorageError
        It is damaged.
    """
    path = live_path(recording.path)
    if recording.of_track or not path.exists() or is_locked(path):
        return []
    try:
        kept = _parse(path, path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    if kept is None:
        return []
    given = [Labelled(frames, label, restored=True) for frames, label, _ in _labelled(recording, kept)]
    return [*_new_classes(kept, entries), *given]


def _labelled(recording: Recording, kept: _Kept) -> Iterator[tuple[tuple[Run, ...], int | None, int]]:
    """The session's frames with a label: their names, the label, and how many they are.

    With None those that were stored with a label, as its end came later than they.
    """
    names, stored, time_of = _frames_since(recording, kept.first_index)
    borders = [bisect_left(range(len(names)), start, key=time_of) for start, _ in kept.starts]
    # Without a key, as after a crash between the file's first line and its second, there is no border either.
    for (_, label), begin, end in zip(kept.starts, borders, [*borders[1:], len(names)], strict=False):
        found = [n for n in range(begin, end) if label is not None or stored[n] is not None]
        if found:
            yield to_runs(names[n] for n in found), label, len(found)


def _frames_since(
    recording: Recording, first_index: int
) -> tuple[Sequence[str], Sequence[str | None], Callable[[int], int]]:
    """What the journal calls the frames of the last session, in order, their stored labels, and the time of each."""
    all_names = recording.names
    if isinstance(recording, FramesAreFiles):
        places = [
            place
            for place, (name, label) in enumerate(zip(all_names, recording.labels, strict=True))
            if label is None and (match := FRAME_NAME.fullmatch(name)) and int(match[1]) >= first_index
        ]
        names = [all_names[place] for place in places]
        return names, [None] * len(names), lambda n: recording.head(places[n]).timestamp_ns or 0
    times = recording.timestamps_ns
    return all_names[first_index:], recording.labels[first_index:], lambda n: times[first_index + n]


def check_live(path: Path) -> None:
    """Raise `StorageError` if the live labels in a file are damaged, or torn; `FileNotFoundError` without one."""
    data = path.read_bytes()
    refuse_torn_end(path, data, read_lines(path, data)[1])


def _parse(path: Path, data: bytes) -> _Kept | None:
    """The keys in a file, in order of time; None if it was cut off before any. A torn end is left out."""
    values, _ = read_lines(path, data)
    match values:
        case [{"live_labels": 1, "first_index": int(first), "classes": [*names], "directories": [*places]}, *keys]:
            starts = [
                (key["from"], key["label"])
                for key in keys
                if isinstance(key, dict)
                and isinstance(key.get("from"), int)
                and (key.get("label", "") is None or key.get("label") in range(len(names)))
            ]
            starts.sort(key=lambda start: start[0])
            return _Kept(first, Classes(tuple(map(str, names)), tuple(map(str, places))), starts)
        case []:
            return None
    raise StorageError(f"{path} is damaged, or from a newer version; move it away to go on without it")

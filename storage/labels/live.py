"""Labels given while a recording runs: each key is kept with its time, and given to the frames when those are there.

A frame gets its number and its name some time after it was captured, if it gets one at all. So a key is written down at
once, durably, in a file of its own beside the recording, and `adopt` turns the times into entries of the label journal
(`storage.labels.journal`) when the recording has ended, whether in order or not::

    {"live_labels":1,"first_index":120,"classes":["none","door"],"directories":["none","door"]}
    {"from":81370544000,"label":1}      from that moment on, on the clock of the frames' timestamps
    {"from":81372610000,"label":null}   no label from here on
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.durable.files import lock_file, sync_directory
from storage.durable.untrusted import parse_json
from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.png.directory import FRAME_NAME
from storage.formats.table import complete, open_recording
from storage.labels.journal import Classes, Entry, LabelJournal, Labelled, Run, journal_path, to_runs
from storage.recording import Recording

VERSION = 1
LIVE_NAME = "live.jsonl"

_sync_data = getattr(os, "fdatasync", os.fsync)


def live_path(recording: Path) -> Path:
    """Where a recording's live labels lie until they are adopted: in the data directory, or beside the file."""
    if recording.is_dir():
        return recording / LIVE_NAME
    return recording.with_name(f"{recording.name}.{LIVE_NAME}")


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
        self._path = live_path(recording)
        try:
            self._file = lock_file(self._path, f"{recording} is being recorded into by another program")
            try:
                os.ftruncate(self._file, 0)
                head = {"live_labels": VERSION, "first_index": first_index}
                self._append({**head, "classes": classes.names, "directories": classes.directories})
                sync_directory(self._path.parent)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}; live labels can't be kept there") from None

    def start(self, timestamp_ns: int, label: int | None) -> None:
        """Frames captured from that time on have the label; durable on return. Raises OSError if the disk is full."""
        self._append({"from": timestamp_ns, "label": label})

    def close(self) -> None:
        """Let go of it; `adopt` goes on from here."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, value: dict[str, Any]) -> None:
        data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        size = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = 0
            while written < len(data):  # a short write: the disk filled up, or a signal came
                written += os.write(self._file, data[written:])
        except OSError:
            os.ftruncate(self._file, size)  # else the next key would go on in the middle of this line
            raise
        _sync_data(self._file)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a file of live labels says."""

    first_index: int
    classes: Classes
    starts: Sequence[tuple[int, int | None]]


def adopt(recording: Path, *, recover: bool = True, in_frames: bool = False) -> int:
    """Put live labels that wait beside a recording into its label journal.

    Parameters
    ----------
    recording : path
    recover : bool
        First complete what a crash left of the recording; False for who has it open for writing.
    in_frames : bool
        The recording ended in order, and keeps its frames' labels itself: only the classes' names go to the journal.

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
    if not path.exists():
        return 0
    try:
        lock = lock_file(path, "")
    except StorageError:
        return 0  # whoever records adopts them in the end
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    try:
        kept = _read(path)
        count = 0
        if kept is not None:
            if recover:
                try:
                    complete(recording)
                except StorageError:
                    if recording.exists():
                        raise
            if recording.exists():
                count = _adopt(recording, kept, in_frames=in_frames)
        path.unlink()
        return count
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    finally:
        os.close(lock)


def _adopt(path: Path, kept: _Kept, *, in_frames: bool) -> int:
    given: list[Entry] = []
    count = 0
    if not in_frames:
        with open_recording(path) as recording:
            for frames, label, number in _labelled(recording, kept):
                given.append(Labelled(frames, label, restored=True))
                count += number
        if not count:
            return 0
    with LabelJournal(journal_path(path)) as journal:
        known = [entry for entry in journal.entries if isinstance(entry, Classes)]
        if not known or known[-1] != kept.classes:
            given.insert(0, kept.classes)
        journal.append(*given)
        journal.sync()
    return count


def _labelled(recording: Recording, kept: _Kept) -> Iterator[tuple[tuple[Run, ...], int, int]]:
    """The session's frames with a label: their names, the label, and how many they are."""
    names, time_of = _frames_since(recording, kept.first_index)
    borders = [bisect_left(range(len(names)), start, key=time_of) for start, _ in kept.starts]
    # Without a key, as after a crash between the file's first line and its second, there is no border either.
    for (_, label), begin, end in zip(kept.starts, borders, [*borders[1:], len(names)], strict=False):
        if label is not None and end > begin:
            yield to_runs(names[begin:end]), label, end - begin


def _frames_since(recording: Recording, first_index: int) -> tuple[Sequence[str], Callable[[int], int]]:
    """What the journal calls the frames of the last session, in order, and the time of each."""
    all_names = recording.names
    if isinstance(recording, FramesAreFiles):
        places = [
            place
            for place, (name, label) in enumerate(zip(all_names, recording.labels, strict=True))
            if label is None and (match := FRAME_NAME.fullmatch(name)) and int(match[1]) >= first_index
        ]
        return [all_names[place] for place in places], lambda n: recording.head(places[n]).timestamp_ns or 0
    times = recording.timestamps_ns
    return all_names[first_index:], lambda n: times[first_index + n]


def _read(path: Path) -> _Kept | None:
    """The keys in a file, in order of time; None if it was cut off before any. A torn end is left out."""
    values: list[Any] = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            values.append(parse_json(line))
        except ValueError:
            break
    match values:
        case [{"live_labels": 1, "first_index": int(first), "classes": [*names], "directories": [*places]}, *keys]:
            starts = [
                (key["from"], key["label"])
                for key in keys
                if isinstance(key, dict)
                and isinstance(key.get("from"), int)
                and (key.get("label", "") is None or key.get("label") in range(len(names)))
            ]
            return _Kept(first, Classes(tuple(map(str, names)), tuple(map(str, places))), sorted(starts, key=_when))
        case []:
            return None
    raise StorageError(f"{path} is damaged, or from a newer version; move it away to go on without it")


def _when(start: tuple[int, int | None]) -> int:
    return start[0]

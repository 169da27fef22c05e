"""Whether every frame of a recording is whole: all that is kept of it is read and decoded (`Recording.check`).

For what else a reader may stumble over, see `storage.care.layout`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from storage.durable.files import lock_descriptor
from storage.durable.moves import move_file
from storage.durable.moves_journal import parse as parse_moves
from storage.errors import BusyError, StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.png.directory import MOVES_NAME, SPLIT_NAME
from storage.formats.png.head import Head
from storage.formats.table import complete, find_repair, open_recording
from storage.labels.beside import journal_path, live_path
from storage.labels.journal import read_journal
from storage.labels.live import check_live
from storage.recording import Recording
from storage.sessions import SESSIONS_NAME, read_sessions
from storage.tracks.demux import Track
from storage.tracks.picture_tracks import several

FRAMES_A_TASK = 32


@dataclass(frozen=True, slots=True)
class Broken:
    """A frame that is not whole, or a copy of another: its number in the recording, its file or the recording's, and
    why.

    Tracks of samples, what is damaged beside the frames, and copies with another class are numbered behind the last
    frame: they are not put in quarantine.
    """

    index: int
    path: Path
    reason: str


@dataclass(slots=True)
class Samples:
    """The samples of a recording: how many could be read, of how many tracks, and whether all have checksums."""

    count: int = 0
    tracks: int = 0
    checked: bool = True


def find_broken(
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
    samples: Samples | None = None,
) -> tuple[int, list[Broken]]:
    """Read every frame of a recording, of all its tracks of pictures, and all samples.

    Parameters
    ----------
    path : path
        A recording of any format.
    progress : callable, optional
        Told how many of how many frames are done; of each track of pictures anew.
    threads : int, optional
        As many as there are cores, if not given.
    samples : Samples, optional
        Counts them.

    Returns
    -------
    int
        The number of frames.
    list of Broken
        Those that are not whole, in recording order.

    Raises
    ------
    StorageError
        There is no recording.
    """
    total, broken, beside = 0, list[Broken](), list[tuple[Path, str]]()
    samples = samples or Samples()
    tracks: Sequence[Track | None] = several(path) or [None]
    for track in tracks:
        where = "" if track is None else f"track {track.name}: "
        try:
            recording = open_recording(path, track=None if track is None else track.number)
        except StorageError as error:
            if track is None:
                raise
            beside.append((path, where + str(error).removeprefix(f"{path} ")))  # the others may be whole
            continue
        with recording:
            frames, copies = _broken_frames(recording, progress, threads)
            broken += [replace(one, reason=where + one.reason) for one in frames]
            total += len(recording)
            if not samples.tracks:  # each track of pictures has the same beside it
                beside += _damaged_samples(recording, samples)
            damage = [(recording.path, reason) for reason in recording.damage]
            beside += [(file, where + reason) for file, reason in (*copies, *damage, *_damaged_beside(recording))]
    return total, [*broken, *(Broken(number, file, reason) for number, (file, reason) in enumerate(beside, total))]


def _broken_frames(
    recording: Recording, progress: Callable[[int, int], None] | None, threads: int | None
) -> tuple[list[Broken], list[tuple[Path, str]]]:
    """The broken frames, and the copies with different classes (see `_copies`)."""
    total, done = len(recording), 0
    damaged: dict[int, str] = {}
    for reasons in _reasons(recording, threads or os.cpu_count() or 1):
        damaged |= {index: reason for index, reason in enumerate(reasons, done) if reason is not None}
        done += len(reasons)
        if progress is not None:
            progress(done, total)
    copies, in_other_classes = _copies(recording, damaged)
    frames = []
    for index, reason in sorted((copies | damaged).items()):
        file = recording.file(index) if isinstance(recording, FramesAreFiles) else recording.path
        frames.append(Broken(index, file, reason))
    return frames, in_other_classes


def _damaged_samples(recording: Recording, samples: Samples) -> Iterator[tuple[Path, str]]:
    """Read and count all samples; the damaged tracks."""
    for track in recording.tracks:
        samples.tracks += 1
        samples.checked &= track.checked
        try:
            for block in track.blocks():
                samples.count += len(block.samples)
        except StorageError as error:
            yield recording.path, str(error).removeprefix(f"{recording.path}: ")


def _copies(recording: Recording, damaged: Container[int]) -> tuple[dict[int, str], list[tuple[Path, str]]]:
    """Frames whose session, number and time another whole frame has too, as after a directory was copied onto itself.

    Returns
    -------
    dict
        By number: copies that can go, as another has their class, or they have none. The reason says which other.
    list of (path, str)
        Copies with different classes: only a person knows which is right.
    """
    if not isinstance(recording, FramesAreFiles):
        return {}, []
    frames: dict[Head, list[int]] = {}
    for index in range(len(recording)):
        if index in damaged:  # a whole one of the same frame stays
            continue
        with suppress(StorageError):
            head = recording.head(index)
            if head.session is not None and head.index is not None:
                frames.setdefault(head, []).append(index)
    labels = recording.labels
    copies: dict[int, str] = {}
    in_other_classes: list[tuple[Path, str]] = []
    for same in (indices for indices in frames.values() if len(indices) > 1):
        kept = next((index for index in same if labels[index] is not None), same[0])
        for index in same:
            if index == kept:
                continue
            reason = f"is the same frame as {recording.file(kept)}"
            if labels[index] in (None, labels[kept]):
                copies[index] = f"{reason}; verify --quarantine DIR moves this copy away"
            else:
                in_other_classes.append((recording.file(index), f"{reason}, in another class; remove the wrong one"))
    return copies, in_other_classes


def _damaged_beside(recording: Recording) -> Iterator[tuple[Path, str]]:
    """The damaged files beside the frames: the facts of the sessions, labels that wait, and what undoing needs."""
    path = recording.path
    readers: dict[Path, Callable[[Path], object]] = {
        journal_path(path, recording.of_track): lambda file: read_journal(file, recording, torn_end=False),
        live_path(path): check_live,
    }
    if path.is_dir():
        readers[path / SESSIONS_NAME] = lambda _: read_sessions(path)
        for name in (MOVES_NAME, SPLIT_NAME):
            readers[path / name] = lambda file: parse_moves(file, file.read_bytes())
    for file, read in readers.items():
        try:
            read(file)
        except FileNotFoundError:
            continue
        except StorageError as error:
            yield file, str(error).removeprefix(f"{file} ")
        except OSError as error:
            yield file, f"can't be read: {error.strerror}"


BUSY = "is being recorded into just now: what is verified is what it held when this began"


def interruption(path: Path) -> str | None:
    """Why a recording has no end, in words that follow its name; None if it has one. Nothing is changed.

    Raises
    ------
    StorageError
        It can't be read.
    """
    if several(path):  # made elsewhere: only recordings of this program have an end that can be missing
        return None
    with open_recording(path) as recording:
        if not recording.interrupted:
            return None
    try:
        fd = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_CLOEXEC)
    except OSError:  # this user may not write to it
        return "has no end: it was interrupted, or is being recorded into"
    try:
        lock_descriptor(fd, BUSY)
    except BusyError as error:
        return str(error)
    finally:
        os.close(fd)
    return "had been interrupted: verify --repair, or recording into it again, completes it"


def repair(path: Path) -> str | None:
    """Complete a recording that a crash has cut off, if its format has a way to.

    Returns
    -------
    str or None
        What was done, or why nothing could be, in words that go on after the recording's name.

    Raises
    ------
    StorageError
        It is damaged.
    """
    if not path.exists():
        return None  # opening it says so
    repair_format = find_repair(path)
    try:
        if repair_format is not None:
            return repair_format(path)
        with open_recording(path) as recording:
            if not recording.interrupted:
                return None
        complete(path)
        return "had been interrupted: all that was whole of it is a frame now"
    except BusyError:
        return BUSY


def quarantine(broken: Sequence[Broken], data_dir: Path, directory: Path) -> list[Path]:
    """Move broken frames out of a data directory, each to its class in another; nothing there is overwritten.

    Returns
    -------
    list of path
        Where each of them is now. A class that is left without frames is gone.

    Raises
    ------
    StorageError
        The other directory lies in the data directory, where it would be a class; or a file can't be moved.
    """
    check_quarantine(data_dir, directory)
    moved = []
    for frame in broken:
        moved.append(move_file(frame.path, directory / frame.path.relative_to(data_dir)))
        if frame.path.parent != data_dir and not any(frame.path.parent.iterdir()):
            frame.path.parent.rmdir()
    return moved


def check_quarantine(data_dir: Path, directory: Path) -> None:
    """Raise `StorageError` if broken frames of a data directory can't be moved to the other directory."""
    inside, outside = os.path.realpath(directory), os.path.realpath(data_dir)
    if not data_dir.is_dir():
        raise StorageError(f"{data_dir}: only frames that are files can be put in quarantine")
    if os.path.commonpath([inside, outside]) == outside:
        raise StorageError(f"{directory} lies in {data_dir}, where it would be a class; choose one beside it")
    if os.path.lexists(directory) and not directory.is_dir():
        raise StorageError(f"{directory} is not a directory; choose another name")


def _reasons(recording: Recording, threads: int) -> Iterator[list[str | None]]:
    """For each frame, in order and some at a time, why it is broken; None if it is not."""
    numbers = range(len(recording))
    with ThreadPoolExecutor(threads if recording.independent else 1) as pool:
        tasks = (numbers[at : at + FRAMES_A_TASK] for at in numbers[::FRAMES_A_TASK])
        yield from pool.map(lambda task: [_why_broken(recording, index) for index in task], tasks)


def _why_broken(recording: Recording, index: int) -> str | None:
    try:
        recording.check(index)
    except StorageError as error:
        file = recording.file(index) if isinstance(recording, FramesAreFiles) else recording.path
        return str(error).removeprefix(f"{file}: ").removeprefix(f"frame {index}: ")
    return None

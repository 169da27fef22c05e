"""Frames out of a recording or any video, as PNG files with their own times, in the directories of their classes.

Interrupted, the same command goes on where it was: a frame that is there already, in whichever class, stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.convert.transfer import Progress, by_session, transfer
from storage.errors import DamagedPictureError, StorageError
from storage.formats.png.directory import FRAME_NAME, class_directories, frame_name, image_names, locate
from storage.formats.png.writer import PngWriter
from storage.formats.table import open_recording
from storage.frame import Frame
from storage.labels.classes import keep_classes, recorded_classes
from storage.labels.current import labels_as_they_stand
from storage.labels.origins import keep_origins, origins
from storage.recording import Recording
from storage.sessions import read_sessions

GOES_ON = "what is written is whole, the same command goes on"


@dataclass(frozen=True, slots=True)
class Extracted:
    """The result of an extraction: frames written now, and frames that were there already."""

    written: int
    present: int


def extract(
    source: Path | Recording,
    target: Path,
    *,
    track: str | int | None = None,
    every: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    labelled: bool = False,
    times_from_fps: float | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Write frames of a recording or a video into a data directory, under their numbers in it.

    Parameters
    ----------
    source : path or Recording
        A recording of any format, or any video; one that is open stays so.
    target : path
        A new directory, or one that an extraction from the same source has begun.
    track : str or int, optional
        Of a path: which track of pictures, as in `storage.formats.table.open_recording`.
    every : int, optional
        Only every `every`-th frame.
    fps : float, optional
        Only so many a second, by the frames' own times.
    start, end : float, optional
        Only frames from so many seconds after the first one on, and before so many.
    labelled : bool
        Only frames that have a class.
    times_from_fps : float, optional
        Give frame n the time n / `times_from_fps` instead of its own.
    progress : callable, optional
        Told how many of how many frames are done.

    Raises
    ------
    StorageError
        The source can't be read, or the target holds something else.
    """
    with open_recording(source, track=track) if isinstance(source, Path) else nullcontext(source) as recording:
        refuse_empty(recording)
        place = locate(target)
        if place.class_name:
            raise StorageError(f"{target} is a class directory; frames go to their classes by themselves")
        labels = labels_as_they_stand(recording)
        wanted = [label is not None for label in labels] if labelled else None
        chosen = _choose(recording, wanted, every=every, fps=fps, start=start, end=end)
        identity = _identity(recording)
        _present(target, identity)  # refuses a directory of something else
        PngWriter(target).close()  # takes up what an interruption left
        present = _present(target, identity)
        missing = [index for index in chosen if index not in present]
        times = None if times_from_fps is None else [round(n / times_from_fps * 1e9) for n in range(len(recording))]
        count = len(chosen) - len(missing)
        if any(label is not None for label in labels):
            target.mkdir(exist_ok=True)
            given = origins(recording)
            keep_origins(target, {frame_name(index): given[index] for index in missing})
            keep_classes(target, recorded_classes(recording))
        damaged = 0
        for part in by_session(recording, other_times=times is not None):
            indices = [index for index in missing if index in part.indices]
            if not indices:
                continue
            writer = PngWriter(target)
            try:
                writer.describe({**part.facts, "extracted": {"from": recording.path.name, "identity": identity}})
                writer.begin()  # so that it can be recognised, whenever it is interrupted
                damaged += len(
                    transfer(
                        *(recording, indices, writer),
                        labels=labels,
                        timestamps_ns=times,
                        progress=progress,
                        before=count,
                        total=len(chosen),
                        any_size=True,
                    )
                )
            except OSError as error:
                about = error.filename or target
                raise StorageError(f"{about}: {error.strerror}; {GOES_ON}") from None
            finally:
                writer.close()
            count += len(indices)
    return Extracted(len(missing) - damaged, len(chosen) - len(missing))


def _choose(
    recording: Recording,
    wanted: Sequence[bool] | None,
    *,
    every: int | None,
    fps: float | None,
    start: float | None,
    end: float | None,
) -> list[int]:
    """The numbers of the frames to extract, as `extract` describes it; `wanted` says which frames may be among them."""
    indices: Iterable[int] = range(len(recording))
    if fps is not None or start is not None or end is not None:
        times = recording.shown_ns
        begin, stop = (start or 0.0) * 1e9, float("inf") if end is None else end * 1e9
        indices = [index for index in indices if begin <= times[index] < stop]
        if fps is not None:
            indices = list(_thin(indices, times, fps))
    if wanted is not None:
        indices = [index for index in indices if wanted[index]]
    return list(indices)[:: every or 1]


def _thin(indices: Sequence[int], times: Sequence[int], fps: float) -> Iterator[int]:
    """The first frame in each 1 / fps seconds."""
    last = -1
    for index in indices:
        slot = int((times[index] - times[indices[0]]) / 1e9 * fps + 1e-6)
        if slot > last:
            last = slot
            yield index


def _identity(recording: Recording) -> str:
    """A hash of a recording's first frame and its time, which stays the same when the recording grows."""
    first = first_whole(recording)
    return hashlib.sha256(first.pixels.tobytes() + str(first.timestamp_ns).encode()).hexdigest()[:16]


def refuse_empty(recording: Recording) -> None:
    """Raise StorageError if a recording has no frames: without pictures, with its own words for that."""
    if not len(recording):
        if not recording.has_pictures:
            recording.read(0)  # raises, and says so
        raise StorageError(f"{recording.path} holds no frame")


def first_whole(recording: Recording, leave_out: type[StorageError] = DamagedPictureError) -> Frame:
    """The first frame that is not left out, as by `storage.convert.transfer.transfer`.

    Raises StorageError if there is none, with the reason for the first.
    """
    refuse_empty(recording)
    reason = ""
    for index in range(len(recording)):
        try:
            return recording.read(index)
        except leave_out as error:
            reason = reason or f"; {str(error).removeprefix(f'{recording.path}: ')}"
    raise StorageError(f"{recording.path}: none of its pictures can be read{reason}")


def _present(target: Path, identity: str) -> set[int]:
    """The numbers of the frames in a directory that an extraction from the same source has begun."""
    if not target.exists():
        return set()
    names = [name for directory in (target, *class_directories(target)) for name in image_names(directory)]
    begun = any(_extracted_from(session) == identity for session in read_sessions(target))
    if names and not begun:
        raise StorageError(f"{target} holds frames that are not from there; choose another name")
    return {int(match[1]) for name in names if (match := FRAME_NAME.fullmatch(name))}


def _extracted_from(session: dict[str, Any]) -> str | None:
    extracted = session.get("extracted")
    return extracted.get("identity") if isinstance(extracted, dict) else None

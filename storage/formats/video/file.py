"""The file of a video recording: locked while it is written, named once it is durable, completed after a crash.

Its tags are here too; for frames see `storage.formats.video.writer`, for elements `storage.matroska.muxer`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage.durable.files import lock_file, rename_free, sync_directory, write_all
from storage.durable.untrusted import parse_object
from storage.errors import StorageError, no_directory
from storage.formats.png.codec import MAX_PIXELS
from storage.formats.video.codecs import CODECS, Codec
from storage.matroska.elements import TICK_NS, void_front
from storage.matroska.muxer import Muxer
from storage.matroska.reader import Contents, begins_element, read_contents, read_front, read_head
from storage.matroska.statistics import Statistics
from storage.matroska.table import BlockTable, rows_of
from storage.matroska.track import VIDEO_TRACK, Block, Blocks
from storage.sessions import close_interrupted, sessions_in, sessions_text
from storage.tracks.samples import marks_of, recounted_tags, tracks_of

PICTURES, LABELS = 1, 2  # the numbers of the tracks
CHECKED_TAIL_BYTES = 128_000_000  # a power cut tears far less than this


def is_ours(path: Path) -> bool:
    """Whether this program recorded a file, and no other has rewritten it. Raises StorageError if there is none."""
    try:
        with path.open("rb") as file:
            return read_head(file.fileno()) is not None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


def repair(path: Path) -> str | None:
    """Complete a recording that was cut off, in place: a frame that is not whole goes, the index comes.

    It is a `storage.formats.contract.Repair`.
    """
    if path.exists() and (not is_ours(path) or _is_complete(path)):
        return None
    try:
        fd, hidden = open_locked(path, create=False)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    try:
        found, cut = recover(fd, hidden or path, named=hidden is None)
        if found is None:
            raise StorageError(f"{hidden or path} holds no frame; remove it")
        if hidden is not None:
            path = publish(hidden, path)
        if cut is None and hidden is None:
            return None
        lost = f"; the {cut} bytes behind them were no whole frame and are gone" if cut else ""
        if torn := sum(end - start for start, end in found.gaps):
            lost += f"; a power cut has torn {torn} bytes between them"
        kept = f"{frames_of(found)} frames" if PICTURES in found.tracks else "samples"
        return f"had been interrupted: its {kept} are complete and indexed now{lost}"
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; it was not repaired") from None
    finally:
        os.close(fd)


def _is_complete(path: Path) -> bool:
    """Whether a file ends where it says it does."""
    with path.open("rb") as file:
        head = read_head(file.fileno())
        return head is not None and head.end == os.fstat(file.fileno()).st_size


def recover(fd: int, path: Path, *, named: bool) -> tuple[Contents | None, int | None]:
    """What a locked file holds, after completing it if that is needed.

    Parameters
    ----------
    fd, path
        The file.
    named : bool
        Whether it has its own name: then it was durable.

    Returns
    -------
    Contents or None
        None if it holds no frame; then it is empty.
    int or None
        How many bytes behind the last whole frame were cut off; None if it was complete.

    Raises
    ------
    StorageError
        It is none of ours, or another program has changed it.
    """
    size = os.fstat(fd).st_size
    head = read_head(fd)
    if head is None or size == 0:
        if size and named:
            raise StorageError(f"{path} was not recorded by this program; choose another name")
        os.ftruncate(fd, 0)
        return None, None
    if head.end is not None and size > head.end and not begins_element(fd, head.end):
        raise StorageError(f"{path} was changed by another program; choose another name")
    try:
        found = read_contents(fd, head, checked_from=CHECKED_TAIL_BYTES)
        codec = codec_of(found) if PICTURES in found.tracks else None
        tracks_of(found)
    except ValueError as error:
        if not named:  # its first frames never were on the disk
            os.ftruncate(fd, 0)
            return None, None
        raise StorageError(f"{path} is damaged: {error}; choose another name") from None
    if found.finished:
        if found.end != head.end:
            raise StorageError(f"{path} is damaged at byte {found.end}; choose another name")
        if size > found.end:
            os.ftruncate(fd, found.end)  # what `write_labels` had appended when it was interrupted
        return found, None
    frames = frames_of(found)
    if not any(len(blocks) for number, blocks in found.blocks.items() if number != LABELS):
        if not named:
            os.ftruncate(fd, 0)
        return None, None
    os.ftruncate(fd, found.end)
    for start, length in ((start, end - start) for start, end in found.gaps if end - start > 1):
        write_all(fd, void_front(length), start)  # no element is one byte long: that stays, and is passed over
    sessions = sessions_of(found)
    close_interrupted(sessions, frames)
    muxer = muxer_for(fd, path.parent, found)
    try:
        muxer.finish({**recounted_tags(fd, found), None: make_tags(codec.name if codec else None, frames, sessions)})
    finally:
        muxer.close()
    complete = read_head(fd)
    assert complete is not None
    return replace(read_contents(fd, complete), gaps=found.gaps), size - found.end


def muxer_for(
    fd: int, directory: Path, found: Contents | None, *, without_labels: bool = False, main_track: int = PICTURES
) -> Muxer:
    """A muxer that goes on behind what a file holds; `directory` has room for its table.

    `main_track` is that of a new file.
    """
    import numpy as np

    if found is None:
        return Muxer(fd, BlockTable(directory), main_track=main_track)
    kept = [
        rows_of(track, blocks.times, blocks.positions, blocks.keys, _marks(fd, found, track))
        for track, blocks in found.blocks.items()
        if not (without_labels and track == LABELS)
    ]
    rows = np.concatenate(kept)
    main = PICTURES if PICTURES in found.tracks else min(tracks_of(found), default=PICTURES)
    indexed = found.blocks[main]
    return Muxer(
        fd,
        BlockTable(directory, np.sort(rows, order="position").tobytes()),
        uuid=found.head.uuid,
        date=found.head.date,
        end=found.end,
        duration=max(found.head.duration, int(rows["time"].max())) if len(rows) else 0,
        tracks=found.tracks,
        statistics={**found.statistics, **({LABELS: Statistics()} if without_labels else {})},
        tags_at=found.tags_at,
        keys=zip(indexed.times[indexed.keys].tolist(), indexed.positions[indexed.keys].tolist(), strict=True),
        main_track=main,
        main_blocks=len(indexed),
    )


def _marks(fd: int, found: Contents, track: int) -> Any:
    """A picture's mark is its timestamp, that of samples whether they are padding."""
    blocks = found.blocks[track]
    if blocks.marks is not None or track == LABELS:
        return 0 if blocks.marks is None else blocks.marks
    if track != PICTURES:
        return marks_of(fd, found, track)
    return timestamps_of(fd, blocks)


def timestamps_of(fd: int, pictures: Blocks) -> list[int]:
    """The timestamp of each picture, in nanoseconds; where that is damaged, just after the one before."""
    found: list[int] = []
    for at in pictures.positions.tolist():
        try:
            found.append(facts_of(read_front(fd, at))[0])
        except ValueError:
            found.append(found[-1] + 1 if found else 0)
    return found


def facts_of(block: Block) -> tuple[int, dict[str, Any]]:
    """A frame's timestamp in nanoseconds, and its metadata."""
    return parse_facts(block.facts) or (block.time * TICK_NS, {})


def parse_facts(text: bytes) -> tuple[int, dict[str, Any]] | None:
    """The timestamp and the metadata in the JSON that is stored beside a picture; None if it is not there."""
    if not text:  # as of each frame of any other program's video: an error would take many times longer
        return None
    try:
        content = parse_object(text)
        timestamp_ns, metadata = content["timestamp_ns"], content.get("metadata", {})
    except (ValueError, KeyError):
        return None
    is_whole = isinstance(timestamp_ns, int) and abs(timestamp_ns) < 1 << 63 and isinstance(metadata, dict)
    return (timestamp_ns, metadata) if is_whole else None


# -------------------------------------------------------------------------------------------------------- its tags


def make_tags(codec: str | None, frames: int, sessions: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The tags of a file; `codec` is that of its pictures."""
    started = next((str(session["started"]) for session in sessions if session.get("started")), None)
    return {
        **({"CODEC": codec} if codec else {}),
        "FRAMES": str(frames),
        **({"DATE_RECORDED": started} if started else {}),
        "SESSIONS": sessions_text(sessions),
    }


def sessions_of(found: Contents) -> list[dict[str, Any]]:
    """What is known of each recording session in the file; nothing if that is damaged."""
    return sessions_in(found.tags.get("SESSIONS", ""))


def frames_of(found: Contents) -> int:
    """How many pictures a file has."""
    return len(found.blocks[PICTURES]) if PICTURES in found.tracks else 0


def codec_of(found: Contents) -> Codec:
    """The codec of the pictures. Raises ValueError if there are none that we could read."""
    track = found.tracks.get(PICTURES)
    if track is None or track.kind != VIDEO_TRACK or track.size is None:
        raise ValueError("it has no track of pictures")
    if not 0 < track.size[0] * track.size[1] <= MAX_PIXELS:
        raise ValueError(f"its pictures claim to be {track.size[0]}x{track.size[1]}")
    fitting = [codec for codec in CODECS if codec.track == track.codec]
    if not fitting:
        raise ValueError(f"its codec {track.codec!r} is none of ours")
    return next((codec for codec in fitting if codec.name == found.tags.get("CODEC")), fitting[0])


# ------------------------------------------------------------------------------------------------------ lock and name


def open_locked(path: Path, *, create: bool = True) -> tuple[int, Path | None]:
    """Open a recording for writing and lock it, or begin one under a hidden name.

    Returns
    -------
    int
        The file, open; the lock goes when it is closed.
    path or None
        The hidden name; None if it has its own.

    Raises
    ------
    StorageError
        Another program has it, or there is no directory for it.
    """
    taken = f"{path} is being recorded into by another program; choose another name"
    if not path.parent.is_dir():
        raise no_directory(path.parent)
    hidden = path.with_name(f".{path.name}.part")
    while True:
        with suppress(FileNotFoundError):
            return lock_file(path, taken, create=False), None
        if not create and not hidden.exists():
            raise StorageError(f"{path}: no such recording")
        fd = lock_file(hidden, taken)
        if not path.exists():
            return fd, hidden
        if os.fstat(fd).st_size == 0:  # it got its name just now, and ours is an empty leftover
            hidden.unlink(missing_ok=True)
        os.close(fd)


def publish(hidden: Path, path: Path) -> Path:
    """Give a durable file its name; if that was taken meanwhile, the next free one beside it. Returns it."""
    named = Path(rename_free(hidden, path))
    sync_directory(path.parent)
    return named

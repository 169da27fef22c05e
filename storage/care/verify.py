"""Whether every frame of a recording is whole: each file is read, walked chunk by chunk, and decoded.

This is stricter than the usual libraries. Pillow loads a PNG without its end, on which Keras then fails in the middle
of an epoch; so a frame counts as whole only if every reader takes it. What else a reader may stumble over is
`storage.care.layout`'s business.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from isal import igzip_lib, isal_zlib

from storage.durable.files import lock_descriptor
from storage.durable.moves import move_file
from storage.errors import BusyError, StorageError
from storage.formats.png.codec import MAX_PIXELS, SIGNATURE, decode_image
from storage.formats.png.reader import PngReader
from storage.formats.table import find_format, open_recording
from storage.recording import Recording
from storage.tracks.demux import Track
from storage.tracks.picture_tracks import several

MAX_BYTES = 1_000_000_000  # a larger file is no picture
FILES_A_TASK = 32


@dataclass(frozen=True, slots=True)
class Broken:
    """A frame that is not whole: its number in the recording, its file or the recording's, and why.

    Tracks of samples and what is damaged beside the frames count as more frames, behind the last.
    """

    index: int
    path: Path
    reason: str


def find_broken(
    path: Path, *, progress: Callable[[int, int], None] | None = None, threads: int | None = None
) -> tuple[int, list[Broken]]:
    """Read every frame of a recording, of all its tracks of pictures.

    Parameters
    ----------
    path : path
        A recording of any format.
    progress : callable, optional
        Told how many of how many frames are done; of each track of pictures anew.
    threads : int, optional
        As many as there are cores, if not given.

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
    total, broken = 0, list[Broken]()
    tracks: Sequence[Track | None] = several(path) or [None]
    for track in tracks:
        with open_recording(path, track=None if track is None else track.number) as recording:
            where = "" if track is None else f"track {track.name}: "
            broken += [replace(one, reason=where + one.reason) for one in _broken_in(recording, progress, threads)]
            total += len(recording)
    return total, broken


def _broken_in(
    recording: Recording, progress: Callable[[int, int], None] | None, threads: int | None
) -> Iterator[Broken]:
    total, done = len(recording), 0
    for reasons in _reasons(recording, threads or os.cpu_count() or 1):
        for reason in reasons:
            if reason is not None:
                file = recording.file(done) if isinstance(recording, PngReader) else recording.path
                yield Broken(done, file, reason)
            done += 1
        if progress is not None:
            progress(done, total)
    tracks = getattr(recording, "tracks", ())
    for number, samples in enumerate(tracks, total):
        try:
            for _ in samples.blocks():
                pass
        except StorageError as error:
            yield Broken(number, recording.path, str(error))
    for number, reason in enumerate(recording.damage, total + len(tracks)):
        yield Broken(number, recording.path, reason)


BUSY = "is being recorded into just now: what is verified is what it held when this began"


def interruption(path: Path) -> str | None:
    """Whether a recording has no end, and why, in words that go on after its name; nothing is changed.

    Raises
    ------
    StorageError
        It can't be read.
    """
    with open_recording(path) as recording:
        if not recording.interrupted:
            return None
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # nobody here may write to it
        return "has no end: it was interrupted, or is being recorded into"
    try:
        lock_descriptor(fd, BUSY)
    except BusyError as error:
        return str(error)
    finally:
        os.close(fd)
    return "had been interrupted: verify --repair, or recording into it again, completes it"


def repair(path: Path) -> str | None:
    """Complete a recording that a crash has cut off, if its format's module has a way to (``repair``).

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
        return None  # whoever reads it says so
    mend: Callable[[Path], str | None] | None = getattr(import_module(find_format(path).module), "repair", None)
    try:
        return None if mend is None else mend(path)
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
    if not isinstance(recording, PngReader):
        for index in range(len(recording)):
            yield [_why_unreadable(recording, index)]
        return
    files = [recording.file(index) for index in range(len(recording))]
    with ThreadPoolExecutor(threads) as pool:
        tasks = (files[at : at + FILES_A_TASK] for at in range(0, len(files), FILES_A_TASK))
        yield from pool.map(lambda task: [_why_broken(file) for file in task], tasks)


def _why_unreadable(recording: Recording, index: int) -> str | None:
    try:
        recording.check(index)
    except StorageError as error:
        return str(error).removeprefix(f"{recording.path}: ")
    return None


def _why_broken(file: Path) -> str | None:
    try:
        if file.stat().st_size > MAX_BYTES:
            return "is too large for a picture"
        return fault(file.read_bytes())
    except OSError as error:
        return f"can't be read: {error.strerror}"


# ---------------------------------------------------------------------------------------------------------- one picture


def fault(data: bytes) -> str | None:
    """Why the bytes of a file are no whole picture; None if they are."""
    if not data:
        return "is empty"
    if not data.startswith(SIGNATURE):
        return "holds nothing but zeros" if not any(data) else _fault_for_pillow(data)
    chunks, reason = _walk(data)
    if reason is not None:
        return reason
    header = b"".join(body for kind, body in chunks if kind == b"IHDR")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if not 0 < width * height <= MAX_PIXELS:
        return f"claims {width}x{height} pixels"
    if (depth, colour, interlace) != (8, 2, 0):
        return _fault_for_pillow(data)
    return _fault_of_rows(b"".join(body for kind, body in chunks if kind == b"IDAT"), width, height)


def _walk(data: bytes) -> tuple[list[tuple[bytes, memoryview]], str | None]:
    """The chunks of a PNG up to IEND, and what is wrong with them."""
    chunks: list[tuple[bytes, memoryview]] = []
    view, at = memoryview(data), len(SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(data):
            return chunks, "ends before its last chunk"
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = bytes(view[at + 4 : at + 8]), view[at + 8 : at + 8 + length]
        name = kind.decode("latin-1") if kind.isalpha() else repr(kind)
        if at + 12 + length > len(data):
            return chunks, f"ends in the middle of chunk {name}"
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if checksum != isal_zlib.crc32(body, isal_zlib.crc32(kind)):
            return chunks, f"is damaged in chunk {name} at byte {at}"
        chunks.append((kind, body))
        at += 12 + length
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or len(chunks[0][1]) != 13 or b"IDAT" not in kinds:
        return chunks, "has no header or no pixels"
    return chunks, None


def _fault_of_rows(deflated: bytes, width: int, height: int) -> str | None:
    """Decode the pixels of an 8-bit RGB picture, as far as that can fail: a row is a filter and three bytes a pixel."""
    row = 1 + 3 * width
    inflate = isal_zlib.decompressobj()
    try:
        rows = inflate.decompress(deflated, height * row + 1)
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # isal has no types
        return f"has pixels that can't be decompressed ({error})"
    if len(rows) != height * row or not inflate.eof:
        return f"has pixels for {min(len(rows) // row, height)} of its {height} rows" + (
            " and more" if len(rows) >= height * row else ""
        )
    if max(rows[::row]) > 4:
        return "has a row with an unknown filter"
    return None


def _fault_for_pillow(data: bytes) -> str | None:
    from PIL import Image

    try:
        decode_image(data)
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "BMP" and image.mode in ("P", "1"):
                return "is a BMP with a palette or two colours, which Keras misreads; convert it"
    except ValueError as error:
        return str(error)
    except Exception as error:  # what strangers' files make an image library raise, nobody can foresee
        return f"not a whole picture ({type(error).__name__}: {error})"
    return None

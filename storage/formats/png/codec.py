"""Recordings as a PNG file a frame, in a data directory (see `storage.formats.png.directory` for its layout).

The encoder is numpy's subtraction and ISA-L's deflate; the files are ordinary 8-bit RGB PNG. Frames are written under
hidden names, and get their own once a whole batch of them is on the disk.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isal import igzip_lib, isal_zlib

from storage.durable.files import check_in_place, lock_directory, rename_new, sync_directory, sync_filesystem, write_new
from storage.durable.untrusted import parse_json
from storage.errors import StorageError
from storage.formats.png.directory import (
    SESSIONS_NAME,
    check_class_name,
    class_directories,
    frame_name,
    image_names,
    locate,
    natural_key,
    next_number,
)
from storage.frame import Frame
from storage.recording import Recording
from storage.sessions import close_interrupted, new_session, read_sessions, write_sessions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FILTER_SUB = 1
DEFLATE_LEVEL = 1  # 2 and 3 are slower and, on filtered camera pictures, no smaller
WINDOW_BITS = 9  # a sensor's noise repeats nothing from further back: looking there costs time and finds no bytes
MAX_PIXELS = 100_000_000  # larger pictures than any camera's are taken for an attack
MAX_BYTES = 4 * MAX_PIXELS
RESERVE_BYTES = 256 * 1024
TAKEN_UP_AT_ONCE = 64  # frames that a crash left: each needs room for a copy, and each time a sync

_TEMPORARY_NAME = re.compile(r"\.(?:(?P<class_name>.+)-)?(?P<number>\d{8,})\.part")
_RESERVE_NAME = ".reserve.part"
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)


# ---------------------------------------------------------------------------------------------------------- the codec


def encode_png(pixels: NDArray[np.uint8], texts: Mapping[str, str]) -> bytes:
    """One picture as a PNG file.

    Every pixel is stored as its difference to the one on its left (filter "sub"): of the five filters it makes the
    smallest files of those that one subtraction computes (``scripts/png_filters.py`` measures all).

    Parameters
    ----------
    pixels : ndarray, shape (height, width, 3), uint8, RGB
    texts : mapping
        Keyword and text of each ``tEXt`` chunk, both Latin-1. They come before the picture, so that they can be read
        without it.
    """
    import numpy as np

    height, width, _ = pixels.shape
    rows = pixels.reshape(height, width * 3)
    filtered = np.empty((height, 1 + width * 3), np.uint8)
    filtered[:, 0] = FILTER_SUB
    filtered[:, 1:4] = rows[:, :3]
    np.subtract(rows[:, 3:], rows[:, :-3], out=filtered[:, 4:])
    deflated = igzip_lib.compress(filtered, DEFLATE_LEVEL, igzip_lib.COMP_ZLIB, hist_bits=WINDOW_BITS)
    return b"".join(
        [
            SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            *(_chunk(b"tEXt", f"{keyword}\0{text}".encode("latin-1")) for keyword, text in texts.items()),
            _chunk(b"IDAT", deflated),
            _IEND,
        ]
    )


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG or JPEG file: shape (height, width, 3), uint8, RGB. Alpha is dropped, grey is spread, and of
    16 bits the upper 8 are taken.

    Raises
    ------
    ValueError
        It is no whole picture, or one of more than `MAX_PIXELS` pixels.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP", "GIF")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels are more than a camera makes")
            if image.mode.startswith("I"):  # Pillow would make all but the darkest of its 65536 greys white
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError("not a picture" if data else "is empty") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).partition(" (")[0]  # Pillow goes on with bytes that were not processed
        raise ValueError(f"not a whole picture ({reason})") from None


def read_texts(data: bytes) -> dict[str, str]:
    """The ``tEXt`` chunks that come before the picture."""
    texts = {}
    for kind, body in _chunks(data):
        if kind == b"IDAT":
            break
        if kind == b"tEXt":
            keyword, _, text = bytes(body).decode("latin-1").partition("\0")
            texts[keyword] = text
    return texts


def is_whole_png(data: bytes) -> bool:
    """Whether every chunk up to IEND is there and unharmed. Stricter than Pillow, which accepts a missing IEND."""
    kinds = [kind for kind, _ in _chunks(data)]
    return kinds[:1] == [b"IHDR"] and b"IDAT" in kinds and kinds[-1] == b"IEND"


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)])


_IEND = _chunk(b"IEND", b"")


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of each chunk, as far as they are whole: length, checksum and all."""
    if not data.startswith(SIGNATURE):
        return
    view, at = memoryview(data), len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = bytes(view[at + 4 : at + 8]), view[at + 8 : at + 8 + length]
        at += 12 + length
        if at > len(data) or struct.pack(">I", isal_zlib.crc32(body, isal_zlib.crc32(kind))) != view[at - 4 : at]:
            return
        yield kind, body
        if kind == b"IEND":
            return


# --------------------------------------------------------------------------------------------------------- the writer


class PngWriter:
    """Appends to a data directory, or straight to a class directory in it.

    Frames wait in the data directory as ``.NNNNNNNN.part`` (``.CLASS-NNNNNNNN.part`` those of a class) until `sync` has
    them on the disk, all in one go, and only then gives them their names: what has a frame's name is whole, after any
    crash. What a crash left waiting is taken up by the next writer if it is whole, and removed if not.

    Raises
    ------
    StorageError
        The target can't be written to, or another recorder has it.
    """

    def __init__(self, target: Path) -> None:
        self._place = locate(target)
        root = self._place.data_dir
        self._root = str(root)
        self._made_root = not root.exists()
        try:
            root.mkdir(exist_ok=True)
            self._lock = lock_directory(root, f"{root} is being recorded into by another program; choose another name")
        except OSError as error:
            raise StorageError(f"{root}: {error.strerror}; choose a directory that you may write to") from None
        try:
            self._sessions = read_sessions(root)
            self._recover()
            self._first = max([next_number(root), *(_end(session) for session in self._sessions)])
            close_interrupted(self._sessions, self._first)
            _reserve(root / _RESERVE_NAME)
        except OSError as error:
            self._let_go()
            raise StorageError(f"{root}: {error.strerror}; nothing was recorded") from None
        except BaseException:
            self._let_go()
            raise
        self._session: Mapping[str, Any] = new_session(self._first)
        self._waiting: list[tuple[str, Path, str]] = []  # temporary, directory and name of each frame
        self._waiting_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._noted: Mapping[str, Any] | None = None
        self._durable = 0
        self._bytes = 0

    @property
    def next_index(self) -> int:
        return self._first

    @property
    def held(self) -> tuple[Path, int]:
        return self._place.data_dir, self._lock

    @property
    def bytes_written(self) -> int:
        return self._bytes

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._session = {**self._session, **facts}  # not in place: another thread may be storing it

    def encode(self, frame: Frame, label: str | None = None) -> tuple[int, bytes, str | None]:
        if label is not None:
            check_class_name(label)
        texts = {"Index": str(frame.index), "Timestamp": str(frame.timestamp_ns), "Session": self._session["id"]}
        if frame.metadata:
            texts["Metadata"] = json.dumps(frame.metadata, separators=(",", ":"))
        return frame.index, encode_png(frame.pixels, texts), label

    def append(self, encoded: tuple[int, bytes, str | None]) -> None:
        index, data, label = encoded
        class_name = label or self._place.class_name
        temporary = f"{self._root}/.{class_name + '-' if class_name else ''}{index:08d}.part"
        write_new(temporary, data)
        self._bytes += len(data)
        with self._waiting_lock:
            self._waiting.append((temporary, self._place.data_dir / (class_name or ""), frame_name(index)))

    def sync(self) -> int:
        with self._sync_lock:
            with self._waiting_lock:
                batch, self._waiting = self._waiting, []
            if not batch:
                return self._durable
            check_in_place(*self.held)  # what lies under its path now may be somebody else's
            # Failing here means that the disk lost data that it had taken: the batch gets no names. The next start
            # checks what is really there.
            sync_filesystem(self._lock)
            done, directories = 0, set[Path]()
            try:
                self.begin()
                for temporary, directory, name in batch:
                    if directory not in directories:
                        self._make_class(directory)
                        directories.add(directory)
                    _publish(temporary, f"{directory}/{name}")
                    done += 1
            finally:
                with self._waiting_lock:
                    self._waiting[:0] = batch[done:]
            for directory in directories:
                sync_directory(directory)
            self._durable += done
            return self._durable

    def close(self) -> int:
        if self._lock < 0:
            return self._durable
        try:
            check_in_place(*self.held)
            Path(self._root, _RESERVE_NAME).unlink(missing_ok=True)  # room to finish in, should the disk be full
            self.sync()
            if self._durable:
                write_sessions(self._place.data_dir, [*self._sessions, {**self._session, "frames": self._durable}])
        finally:
            self._let_go()
        return self._durable

    def begin(self) -> None:
        """Note the session before its first frame shows, so that its frames are never without one; `sync` does it.

        What became known since is noted with the next frames.
        """
        session = self._session
        if session is not self._noted:
            write_sessions(self._place.data_dir, [*self._sessions, dict(session)])
            self._noted = session

    def _make_class(self, directory: Path) -> None:
        if not directory.is_dir():
            directory.mkdir()
            sync_directory(self._place.data_dir)

    def _let_go(self) -> None:
        root = self._place.data_dir
        try:
            check_in_place(*self.held)
            (root / _RESERVE_NAME).unlink(missing_ok=True)
            if self._made_root and not any(root.iterdir()):
                root.rmdir()
        finally:
            os.close(self._lock)
            self._lock = -1

    def _recover(self) -> None:
        """Take up what a crash left waiting: whole frames get their names, the rest goes."""
        root = self._place.data_dir
        (root / f".{SESSIONS_NAME}.part").unlink(missing_ok=True)
        waiting = [match for name in sorted(os.listdir(root)) if (match := _TEMPORARY_NAME.fullmatch(name))]
        for at in range(0, len(waiting), TAKEN_UP_AT_ONCE):
            self._take_up(waiting[at : at + TAKEN_UP_AT_ONCE])

    def _take_up(self, waiting: Sequence[re.Match[str]]) -> None:
        root = self._place.data_dir
        whole: list[tuple[Path, re.Match[str]]] = []
        for match in waiting:
            temporary = root / match[0]
            data = temporary.read_bytes()
            if not is_whole_png(data):
                temporary.unlink()
                continue
            # Written anew: after a failed sync, what is read back may be in memory only.
            fresh = root / f"{match[0][:-5]}.again.part"
            fresh.unlink(missing_ok=True)
            write_new(fresh, data)
            whole.append((fresh, match))
        sync_filesystem(self._lock)
        directories = set[Path]()
        for fresh, match in whole:
            temporary = fresh.replace(root / match[0])  # there is one of each, whenever this is interrupted
            directory = root / (match["class_name"] or "")
            self._make_class(directory)
            _publish(str(temporary), str(directory / frame_name(int(match["number"]))))
            directories.add(directory)
        for directory in directories:
            sync_directory(directory)


def _publish(temporary: str, final: str) -> None:
    """Give a durable file its name; if somebody took that name meanwhile, the next free one beside it."""
    try:
        rename_new(temporary, final)
    except FileExistsError:
        stem, suffix = os.path.splitext(final)
        for attempt in range(2, 1000):
            try:
                rename_new(temporary, f"{stem}-{attempt}{suffix}")
                return
            except FileExistsError:
                continue
        raise


def _reserve(path: Path) -> None:
    """Set a little room aside, so that a recording can be finished in order on a disk that filled up."""
    path.unlink(missing_ok=True)
    write_new(path, bytes(RESERVE_BYTES))


def _end(session: Mapping[str, Any]) -> int:
    """The first index after a session, as far as it is known: numbers are not used again when frames move away."""
    return int(session["first_index"]) + int(session.get("frames") or 0)


# --------------------------------------------------------------------------------------------------------- the reader


class PngReader(Recording):
    """The frames of a data directory: those without a class and those in class directories, in recording order.

    Pictures from elsewhere are read too; without a timestamp of their own they have their file's.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise StorageError(f"{path} is not a directory")
        self._path = path
        self._entries = [(name, "") for name in image_names(path)]
        if directories := class_directories(path):
            for directory in directories:
                self._entries += [(name, directory.name) for name in image_names(directory)]
            self._entries.sort(key=lambda entry: (natural_key(entry[0]), entry[1]))

    @property
    def path(self) -> Path:
        return self._path

    @property
    def labels(self) -> list[str | None]:
        return [class_name or None for _, class_name in self._entries]

    @property
    def timestamps_ns(self) -> list[int]:
        return [_timestamp_ns(path, _head(path)) for path in map(self.file, range(len(self)))]

    @property
    def names(self) -> list[str]:
        """The frames' files as they are called in the directory: ``00000042.png``, ``0/00000007.png``."""
        return [f"{class_name}/{name}" if class_name else name for name, class_name in self._entries]

    def file(self, index: int) -> Path:
        """The file of a frame."""
        name, class_name = self._entries[index]
        return self._path / class_name / name

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> Frame:
        path = self.file(index)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise StorageError(f"{path}: more bytes than a camera's picture has")
            data = path.read_bytes()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from None
        try:
            pixels = decode_image(data)
        except ValueError as error:
            raise StorageError(f"{path}: {error}") from None
        return Frame(pixels, index, _timestamp_ns(path, data), _metadata(data))


def _head(path: Path) -> bytes:
    """Enough of a file to hold the texts before the picture."""
    with path.open("rb", buffering=0) as file:
        return file.read(8192)


def _timestamp_ns(path: Path, data: bytes) -> int:
    text = read_texts(data).get("Timestamp", "")
    return int(text) if _INTEGER.fullmatch(text) else path.stat().st_mtime_ns


def _metadata(data: bytes) -> dict[str, Any]:
    """What the camera reported; nothing if a stranger's file says something else there."""
    try:
        metadata = parse_json(read_texts(data).get("Metadata", "{}"))
    except ValueError:
        return {}
    return metadata if isinstance(metadata, dict) else {}

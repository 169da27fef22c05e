"""Recordings as one HDF5 file that any HDF5 library since 1.10 reads, also while it is being recorded.

``frames`` (N, height, width, 3) uint8 RGB, a chunk for each frame, deflated or as it is. For what is beside it see
`storage.formats.hdf5.recording`.

To follow a recording from another program, close the file and open it again: it holds all that the last sync reached.
What is open stays as it was. An open that falls into a sync may fail, once in thousands: open it again.

>>> with h5py.File("day1.h5") as file:  # doctest: +SKIP
...     print(len(file["frames"]), file["frames"][-1].mean())
"""

from __future__ import annotations

import io
import json
import struct
import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from storage.errors import OptionError, StorageError
from storage.formats.deflate import DEFLATE_LEVEL, deflate
from storage.formats.hdf5.chunk import LIBRARY_LOCK, fletcher32
from storage.formats.hdf5.reader import FRAMES, Hdf5Reader
from storage.formats.hdf5.recording import (
    COLUMNS,
    VERSION,
    Hdf5Recording,
    Layout,
    damage_reported,
    dataset_in,
    text_crc32,
)
from storage.formats.hdf5.transaction import LockedFile, TransactionFile, recover
from storage.formats.table import open_recording
from storage.frame import Frame, size_text
from storage.names import natural_key
from storage.sessions import WALL_CLOCK, close_interrupted, is_number, new_session, wall_offset_ns

__all__ = ["Hdf5Reader", "Hdf5Writer", "repair", "write_labels"]

Bytes = bytes | bytearray | memoryview

COMPRESSIONS = ("none", "deflate")
FORMAT = "pi_capture recording"
ROWS = 1024  # rows in a chunk of a column whose rows are small
FLUSH_BYTES = 64 * 1024  # at most, that wait before and in libhdf5: less than the reserve, should the disk be full
BESIDE_BYTES = 40  # what a row takes in the columns beside the format's own, without its text
TIMES = (  # columns, their units and meaning
    ("timestamp_ns", "ns", "time of capture on the recorder's clock, which nothing sets"),
    ("unix_ns", "nanoseconds since 1970-01-01 00:00:00 UTC", "time of capture on the wall clock; 0: not known"),
)
MOST_CLASSES = 4000  # what has room in an attribute
NEWEST = ("v110", "v110")  # every header and index with a checksum, and nothing that HDF5 1.10 can't read


class Row(NamedTuple):
    """A frame as it is stored: the format's own, its time, the JSON of its metadata, and the wall clock set with it."""

    content: Any
    size: int
    timestamp_ns: int
    metadata: bytes
    wall_minus_monotonic_ns: int | None

    @classmethod
    def of(cls, content: Any, size: int, frame: Frame) -> Row:
        metadata = json.dumps(dict(frame.metadata), separators=(",", ":")).encode() if frame.metadata else b""
        offset_ns = frame.metadata.get(WALL_CLOCK)  # of another program, it may be anything
        return cls(
            content,
            size + len(metadata),
            frame.timestamp_ns,
            metadata,
            offset_ns if is_number(offset_ns) else None,
        )


# ----------------------------------------------------------------------------------------------------------- the writer


class RecordingWriter(ABC):
    """Appends to a recording in an HDF5 file: all of a `storage.formats.contract.Writer` but `encode` and `append`.

    `append` waits while a sync waits for the disk.

    Parameters
    ----------
    target : path
    content : str
        The dataset of the format that derives from this.

    Raises
    ------
    StorageError
        The file can't be written to, is something else, or another recorder has it.
    """

    _bytes_of_row = BESIDE_BYTES
    """What a row takes in columns; a format adds what it keeps in such."""

    def __init__(self, target: Path, content: str) -> None:
        self._target = target
        self._content = content
        self._locked = LockedFile(target, new=_empty_file())
        self._lock = threading.Lock()  # of the HDF5 file
        self._columns: list[Row] = []  # whose small columns are not stored yet
        self._clock_set_ns: int | None = None
        self._bytes = self._column_bytes = 0
        self._rows = self._first = self._durable = 0
        try:
            with self._reader() as recording:  # before anything is changed
                self._sessions, self._rows = recording.sessions, len(recording)
                self._first = self._durable = self._rows
                if len(recording) and not recording.is_ours:
                    raise StorageError(f"{target} was recorded by another program; choose another name")
                if len(recording) and "label" not in recording.columns:
                    raise StorageError(f"{target} has damaged labels; choose another name")
            self._transaction, self._file = _open_to_change(self._locked)
            self._open_datasets()
        except BaseException:
            self._locked.close(keep=not self._locked.created)
            raise
        self._took_up = close_interrupted(self._sessions, self._first)
        self._session: Mapping[str, Any] = new_session(self._first)
        self._stored_session: Mapping[str, Any] | None = None

    @abstractmethod
    def _reader(self) -> Hdf5Recording:
        """The recording that is there; raises `StorageError` if it can't be continued."""

    @property
    def held(self) -> tuple[Path, int]:
        return self._target, self._locked.fd

    @property
    def next_index(self) -> int:
        return self._first

    @property
    def bytes_written(self) -> int:
        return self._bytes

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._session = {**self._session, **facts}  # not in place: another thread may be storing it

    def _open_datasets(self) -> None:
        """Keep them open: to look one up takes longer than to write a small frame."""
        self._datasets = {name: self._file[name] for name in (self._content, *COLUMNS) if name in self._file}

    def _begin(self, name: str, dtype: str, layout: Layout, about: Mapping[str, str]) -> None:
        make_datasets(self._file, self._content, name=name, dtype=dtype, layout=layout, about=about)
        self._open_datasets()

    def _append(self, row: Row) -> None:
        """Hand a frame to libhdf5. Raises OSError, and the frame is not taken, if the disk has no room."""
        if self._transaction.failure is not None:  # the reserve has room for what waits, and for no more
            raise self._transaction.failure
        self._columns.append(self._store(row))
        self._rows += 1
        self._bytes += row.size
        self._column_bytes += self._bytes_of_row + len(row.metadata)
        if self._column_bytes > FLUSH_BYTES:
            self._store_columns()
            self._file.flush()

    def _store(self, row: Row) -> Row:
        """Store what is large of a frame; returns what is left for the columns."""
        return row

    def _wall_clock_ns(self, row: Row) -> int:
        """The Unix time of a frame, 0 if it is not known."""
        if row.wall_minus_monotonic_ns is not None:
            self._clock_set_ns = row.wall_minus_monotonic_ns
        offset_ns = self._clock_set_ns
        if offset_ns is None:
            offset_ns = wall_offset_ns(self._session)
        unix_ns = 0 if offset_ns is None else row.timestamp_ns + offset_ns
        return unix_ns if is_number(unix_ns) else 0

    def _store_columns(self) -> None:
        """Store what is small of the frames that came last."""
        rows, first = self._columns, self._rows - len(self._columns)
        if rows:
            extend(self._datasets["timestamp_ns"], first, np.array([row.timestamp_ns for row in rows], np.int64))
            extend(self._datasets["metadata"], first, [row.metadata for row in rows])
            if "unix_ns" in self._datasets:  # not in recordings of earlier versions
                extend(self._datasets["unix_ns"], first, np.array([*map(self._wall_clock_ns, rows)], np.int64))
            if "metadata_crc32" in self._datasets:  # the same
                extend(self._datasets["metadata_crc32"], first, [zlib.crc32(row.metadata) for row in rows])
            self._datasets["label"].resize(self._rows, axis=0)
            self._columns, self._column_bytes = [], 0

    def sync(self) -> int:
        with self._lock:
            if self._rows > self._first:
                session = self._session
                if self._stored_session is not session:
                    set_text(self._file, "sessions", json.dumps([*self._sessions, session]))
                    self._stored_session = session
                self._store_columns()
                self._file.flush()
                self._transaction.commit()
                self._durable = self._rows
            return self._durable - self._first

    def close(self) -> int:
        if self._locked.fd >= 0:
            self._locked.release_reserve()
            try:
                self.describe({"frames": self._rows - self._first})
                self.sync()
                if self._took_up and self._rows == self._first:  # the interrupted session has its end now
                    set_text(self._file, "sessions", json.dumps(self._sessions))
                    self._file.flush()
                    self._transaction.commit()
            finally:
                self._let_go()
        return self._durable - self._first

    def _let_go(self) -> None:
        """Leave the file as the last commit left it; a file that was made and has no rows goes."""
        try:
            self._transaction.give_up()
        finally:
            self._file.close()
            self._locked.close(keep=not self._locked.created or self._durable > 0)


def make_datasets(
    file: h5py.File, content: str, *, name: str, dtype: Any, layout: Layout, about: Mapping[str, str]
) -> None:
    """Make the datasets of a new file: the format's own, with texts `about` it, and those beside it.

    `name` is what the file calls its format.
    """
    filters: dict[str, Any] = {"fletcher32": layout.checksum}
    if layout.deflated:
        filters |= {"compression": "gzip", "compression_opts": DEFLATE_LEVEL}
    _grows(file, content, dtype, layout.shape, layout.rows, **filters)
    _grows(file, "timestamp_ns", "<i8", fletcher32=True)
    _grows(file, "unix_ns", "<i8", fletcher32=True)
    _grows(file, "label", "<i2", fletcher32=True, fillvalue=-1)
    _grows(file, "metadata", h5py.string_dtype())
    _grows(file, "metadata_crc32", "<u4", fletcher32=True)
    set_text(file, "format", name)
    file.attrs["version"] = VERSION
    for column, units, meaning in TIMES:
        set_text(file[column], "units", units)
        set_text(file[column], "long_name", meaning)
    set_text(file["label"], "classes", [])
    for key, value in about.items():
        set_text(file[content], key, value)


def _empty_file() -> bytes:
    """Of h5py.File(buffer, "w", libver=NEWEST), but without the time of now: the same frames give the same bytes."""
    buffer = io.BytesIO()
    creation, access = (h5py.h5p.create(kind) for kind in (h5py.h5p.FILE_CREATE, h5py.h5p.FILE_ACCESS))
    creation.set_obj_track_times(False)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, buffer)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    h5py.h5f.create(b"new", h5py.h5f.ACC_TRUNC, fcpl=creation, fapl=access).close()
    return buffer.getvalue()


def _grows(
    file: h5py.File, name: str, dtype: Any, shape: tuple[int, ...] = (), rows: int = ROWS, **options: Any
) -> None:
    file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape), **options)


def extend(dataset: h5py.Dataset, first: int, values: Any) -> None:
    dataset.resize(first + len(values), axis=0)
    dataset[first:] = values


def set_text(thing: h5py.Group | h5py.Dataset, name: str, value: str | Sequence[str]) -> None:
    """Set an attribute to a text, or to several, and beside it its checksum."""
    texts = [text.encode(errors="surrogateescape") for text in ([value] if isinstance(value, str) else value)]
    # Of fixed length: libhdf5 before 1.14 hangs or crashes where the heap of other texts is damaged.
    kind = h5py.string_dtype(length=max([1, *map(len, texts)]))
    data = np.array(texts, kind).reshape(() if isinstance(value, str) else (-1,))
    thing.attrs.create(name, data, dtype=kind)
    thing.attrs.create(f"{name}_crc32", text_crc32(value), dtype=np.uint32)


# ------------------------------------------------------------------------------------------------------------- pictures


class Hdf5Writer(RecordingWriter):
    """Appends to an HDF5 file.

    Parameters
    ----------
    target : path
    compression : str, optional
        "none" or "deflate"; by default as the file is, deflate for a new one.

    Raises
    ------
    StorageError
        The file can't be written to, is something else or compressed in another way, or another recorder has it.
    """

    def __init__(self, target: Path, compression: str | None = None) -> None:
        if compression not in (None, *COMPRESSIONS):
            raise OptionError(f"unknown compression {compression!r}; known are {', '.join(COMPRESSIONS)}")
        self._compression = compression
        self._shape: tuple[int, ...] = ()
        self._deflate, self._checksum = compression != "none", compression == "none"
        super().__init__(target, FRAMES)

    def _reader(self) -> Hdf5Recording:
        recording = Hdf5Reader(self._target)
        if len(recording):
            stored = recording.layout
            if self._compression is not None and stored.deflated != self._deflate:
                now = COMPRESSIONS[stored.deflated]
                raise StorageError(f"{self._target} has compression {now}; go on with that, or choose another name")
            if stored.rows != 1 or not (stored.simple and recording.is_ours):
                raise StorageError(f"{self._target} was changed or recorded by another program; choose another name")
            self._shape, self._deflate, self._checksum = stored.shape, stored.deflated, stored.checksum
        return recording

    def encode(self, frame: Frame, label: str | None = None) -> tuple[tuple[int, ...], Row]:
        pixels = np.ascontiguousarray(frame.pixels)
        if self._deflate:
            chunk: Bytes = deflate(pixels)
        else:
            chunk = pixels.data.cast("B")
        if self._checksum:
            chunk = b"".join((chunk, struct.pack("<I", fletcher32(chunk))))
        return pixels.shape, Row.of(chunk, len(chunk), frame)

    def append(self, encoded: tuple[tuple[int, ...], Row]) -> None:
        shape, row = encoded
        if self._shape and shape != self._shape:
            raise StorageError(
                f"{self._target} holds frames of {size_text(self._shape)}, these are {size_text(shape)};"
                f" record with --size {size_text(self._shape)}, or to another name"
            )
        with self._lock:
            if not self._shape:
                self._begin(FORMAT, "u1", Layout(shape, 1, self._deflate, self._checksum), {})
                self._shape = shape
            self._append(row)

    def _store(self, row: Row) -> Row:
        frames = self._datasets[FRAMES].id
        frames.set_extent((self._rows + 1, *self._shape))
        with LIBRARY_LOCK:
            frames.write_direct_chunk((self._rows, 0, 0, 0), row.content)
        if self._transaction.failure is not None:
            frames.set_extent((self._rows, *self._shape))
            raise self._transaction.failure
        return row._replace(content=None)


# ------------------------------------------------------------------------------------------ changes at a standstill


def _open_to_change(locked: LockedFile) -> tuple[TransactionFile, h5py.File]:
    """Open a recording of ours, after completing what a crash has cut off."""
    with damage_reported(locked.path):
        recover(locked.fd)
        transaction = TransactionFile(locked.fd)
        return transaction, h5py.File(transaction, "r+", libver=NEWEST)


@contextmanager
def changing(path: Path, *, create: bool = False) -> Iterator[h5py.File]:
    """A recording that is changed all at once, or not at all if anything fails; with `create`, a new one if need be."""
    locked = LockedFile(path, new=_empty_file() if create else None)
    done = False
    try:
        transaction, file = _open_to_change(locked)
        try:
            yield file
            file.flush()
            transaction.commit()
            done = True
        finally:
            transaction.give_up()
            file.close()
    finally:
        locked.close(keep=done or not locked.created)


def repair(path: Path) -> str | None:
    """Complete a sync that a crash has cut off, cut off what is behind the last one, and end the session.

    It is a `storage.formats.contract.Repair`.
    """
    with open_recording(path) as recording:
        frames, cut = len(recording), recording.cut_bytes if isinstance(recording, Hdf5Recording) else 0
        if not recording.interrupted:
            return None
    locked = LockedFile(path)
    try:
        with damage_reported(path):
            recover(locked.fd)
    finally:
        locked.close()
    with open_recording(path) as recording:
        sessions = recording.sessions
    if close_interrupted(sessions, frames):
        with changing(path) as file:
            set_text(file, "sessions", json.dumps(sessions))
    lost = f"; {cut} bytes behind them never were a frame, and are gone" if cut else ""
    return f"had been interrupted: its {frames} frames are whole{lost}"


def write_labels(
    path: Path | str, labels: Sequence[str | None], classes: Sequence[str] = (), *, of_track: str = ""
) -> None:
    """Give each frame of a recording its class: a `storage.formats.contract.WriteLabels`.

    The classes are numbered in the order of `classes`; after these come others that frames have. Labels of pictures
    that another program made go into a table beside them (`storage.labels.table.write_table`).
    """
    path = Path(path)
    others = {label for label in labels if label is not None} - set(classes)
    names = [*dict.fromkeys(classes), *sorted(others, key=natural_key)]
    if len(names) > MOST_CLASSES:
        raise StorageError(f"{path}: {len(names)} classes are more than the {MOST_CLASSES} that have room")
    numbers: dict[str | None, int] = {None: -1, **{name: number for number, name in enumerate(names)}}
    if of_track or not _has_room_for_labels(path):
        from storage.labels.table import write_table

        write_table(path, labels, of_track)
        return
    try:
        with changing(path) as file:
            with damage_reported(path):
                column = dataset_in(file, "label", path)
            if len(column) != len(labels):
                raise ValueError(f"{len(labels)} labels for {len(column)} frames")
            column[:] = np.array([numbers[label] for label in labels], np.int16)
            set_text(column, "classes", names)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}; the labels are as they were") from None


def _has_room_for_labels(path: Path) -> bool:
    """Whether there is a column for them."""
    with open_recording(path) as recording:
        return isinstance(recording, Hdf5Recording) and recording.is_ours

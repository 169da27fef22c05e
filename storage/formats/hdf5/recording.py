"""What all recordings in an HDF5 file share, whatever they keep of a frame: its time, its class, what came with it.

One dataset is the format's own. Beside it are ``timestamp_ns`` (N,) int64;
``unix_ns`` (N,) int64, the same on the wall clock, 0 where that is not known; ``label`` (N,) int16, -1 for none, its
attribute ``classes`` naming the others; ``metadata`` (N,) text, the JSON of what came with the frame, empty if nothing
did; and the attribute ``sessions`` of the file, the JSON of what ``recording.json`` holds beside PNG frames.

Each byte has a checksum, so that `verify` finds damage: HDF5's own in headers and indices, Fletcher-32 in chunks of
numbers, deflate's in those of pictures. Texts may lie where HDF5 has none: ``metadata_crc32`` (N,)
has their CRC-32, and an attribute ``NAME_crc32`` that of the text, or the JSON of the texts, in the attribute ``NAME``.
Texts in attributes have a fixed length, padded with zeros; those of ``metadata`` have any (see
`storage.formats.hdf5.heap`).

How the file grows and why no crash harms it is in `storage.formats.hdf5.transaction`. The formats are
`storage.formats.hdf5.reader`, `storage.formats.hdf5.writer` and `storage.formats.features.recording`.
"""

from __future__ import annotations

import json
import math
import os
import stat
import time
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from storage.durable.files import is_locked
from storage.durable.untrusted import parse_json
from storage.errors import StorageError, first_line
from storage.formats.hdf5.chunk import filters_of
from storage.formats.hdf5.heap import VariableTexts, texts_in
from storage.formats.hdf5.transaction import TransactionFile, read_log, stored_end
from storage.recording import Recording
from storage.sessions import checked_sessions, has_no_end

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
COLUMNS = {
    "timestamp_ns": "int64",
    "label": "int16",
    "unix_ns": "int64",
    "metadata": "text",
    "metadata_crc32": "uint32",
}
OPTIONAL = ("unix_ns", "metadata", "metadata_crc32")  # columns
PATIENCE_SECONDS, PAUSE_SECONDS = 5.0, 0.01  # for an open that falls into a commit, and is tried again
LARGEST_CHUNK = 300_000_000  # bytes, a frame of 100 million pixels; anything larger is taken for an attack
LEAST_ENTRY = 8  # bytes that a chunk takes in an index
MOST_ROWS_A_BYTE = 1000  # deflate makes a byte of a thousand, at best


@dataclass(frozen=True, slots=True)
class Layout:
    """How a dataset of rows is stored.

    Attributes
    ----------
    shape : tuple of int
        Of one row.
    rows : int
        In a chunk; 0 if chunks are no whole rows.
    deflated, checksum : bool
        Whether chunks are zlib streams; whether they end with a checksum, Fletcher-32.
    simple : bool
        Whether nothing else is done to them.
    """

    shape: tuple[int, ...]
    rows: int
    deflated: bool
    checksum: bool
    simple: bool = True


class NoHdf5Error(StorageError):
    """A file does not begin as HDF5 does."""


class Hdf5Recording(Recording):
    """A recording in an HDF5 file, as it was when it was opened: all of a `Recording` but `read`.

    Parameters
    ----------
    path : path
    content : str
        The dataset of the format that derives from this.

    Raises
    ------
    StorageError
        It is no such file, is damaged, or refers to other files, which is not followed.
    """

    def __init__(self, path: Path, content: str) -> None:
        super().__init__(path)
        self._content = content
        self._times: NDArray[np.int64] | None = None
        self._texts: VariableTexts | h5py.Dataset | None = None
        self._crcs: NDArray[np.uint32] | None = None
        being_written = is_locked(path)
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with damage_reported(path):
                    self._file, self._bytes, end, size = open_file(path)
                    self.cut_bytes = size - end
                    self._open()
                    if being_written and has_changed(path, end):
                        self._file.close()
                        raise StorageError(f"{path} changes faster than it can be opened")
            except NoHdf5Error:  # which no commit makes of a file
                raise
            except StorageError:
                if not being_written or time.monotonic() > until:
                    raise
                time.sleep(PAUSE_SECONDS)  # it may have fallen into a commit
            else:
                return

    def _open(self) -> None:
        """Open all that will be read: what is open stays as it is while the file grows."""
        self._columns: dict[str, h5py.Dataset] = {}
        self._labels_damaged = ""
        try:
            self._rows = self._check()
            self.is_ours = not len(self._file) or "format" in self._file.attrs
            self._sessions_text = "".join(texts_in(self._file, "sessions")) or "[]"
            self._classes = texts_in(self._columns["label"], "classes") if "label" in self._columns else []
        except BaseException:
            self._file.close()
            raise

    @abstractmethod
    def _check_content(self, dataset: h5py.Dataset) -> str | None:
        """What is wrong with the format's own dataset; None if nothing is."""

    def _check(self) -> int:
        """The number of frames; what is no recording is refused."""
        if not len(self._file):
            return 0  # made just now, and not one frame in it yet
        version = self._file.attrs.get("version", VERSION)
        if version != VERSION:
            raise StorageError(f"{self._path} has version {version!s:.20}, this program knows {VERSION}; update it")
        content = self._columns[self._content] = dataset_in(self._file, self._content, self._path)
        if (reason := self._check_content(content)) is not None:
            raise StorageError(f"{self._path} is refused: {reason}")
        self._open_columns(int(content.shape[0]))
        return int(content.shape[0])

    def _open_columns(self, rows: int) -> None:
        """Open what is beside the format's own dataset."""
        for name, kind in COLUMNS.items():
            if name in OPTIONAL and name not in self._file:
                continue
            try:
                column = self._columns[name] = dataset_in(self._file, name, self._path)
            except KeyError as error:  # its header is damaged
                if name != "label":
                    raise
                self._labels_damaged = first_line(error)
                continue
            is_text = h5py.check_string_dtype(column.dtype) is not None
            if column.shape != (rows,) or (not is_text if kind == "text" else column.dtype != kind):
                raise StorageError(f"{self._path} is refused: {name} is {described(column)}, not {kind}, {rows}")
        if rows and (texts := self._columns.get("metadata")) is not None:
            self._texts = texts
            if h5py.check_string_dtype(texts.dtype).length is None:
                try:
                    self._texts = VariableTexts(texts, self._bytes.read_at)
                except StorageError as error:
                    raise StorageError(f"{self._path} is refused: metadata {error}") from None

    @property
    def content(self) -> h5py.Dataset:
        """The format's own dataset, of a recording that has frames."""
        return self._columns[self._content]

    @property
    def columns(self) -> Mapping[str, h5py.Dataset]:
        """All datasets of a row a frame, by their names."""
        return self._columns

    @property
    def interrupted(self) -> bool:
        try:
            return self.cut_bytes > 0 or has_no_end(self.sessions)
        except StorageError:  # verify says so
            return False

    @property
    def layout(self) -> Layout:
        """How the format's own dataset is stored."""
        dataset = self.content
        codes = filters_of(dataset)
        return Layout(
            shape=dataset.shape[1:],
            rows=dataset.chunks[0] if dataset.chunks and dataset.chunks[1:] == dataset.shape[1:] else 0,
            deflated=h5py.h5z.FILTER_DEFLATE in codes,
            checksum=h5py.h5z.FILTER_FLETCHER32 in codes,
            simple=len(codes) < 2 and not {*codes} - {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32},
        )

    @property
    def labels(self) -> list[str | None]:
        if not self._rows:
            return []
        if not self.is_ours:
            from storage.labels.table import read_table

            if (table := read_table(self._path, self._rows, self.of_track)) is not None:
                return table
        if "label" not in self._columns and not self._labels_damaged:
            return [None] * self._rows
        names = self._classes
        return [None if n < 0 else names[n] if n < len(names) else str(n) for n in self._label_numbers()]

    def _label_numbers(self) -> list[int]:
        """The number of each frame's class, -1 for none."""
        if self.lost_labels is None:
            return self._label_rows(0, self._rows)
        numbers, lost, column = list[int](), list[int](), self._columns.get("label")
        step = column.chunks[0] if column is not None and column.chunks else max(1, self._rows)
        for begin in range(0, self._rows, step):
            rows = range(begin, min(begin + step, self._rows))
            try:
                numbers += self._label_rows(rows.start, rows.stop)
            except StorageError:
                numbers += [-1] * len(rows)
                lost += rows
        if lost:
            self.lost_labels.append(f"the classes of {len(lost)} frames can't be read, the first is {lost[0]}")
        return numbers

    def _label_rows(self, begin: int, end: int) -> list[int]:
        if self._labels_damaged:
            raise StorageError(f"{self._path} has damaged labels ({self._labels_damaged})")
        with damage_reported(self._path):
            numbers: list[int] = self._columns["label"][begin:end].tolist()
        return numbers

    @property
    def class_names(self) -> list[str]:
        return [*self._classes, *(name for name in super().class_names if name not in self._classes)]

    @property
    def timestamps_ns(self) -> Sequence[int]:
        return tuple(self._all_times().tolist()) if self._rows else ()

    def _all_times(self) -> NDArray[np.int64]:
        if self._times is None:
            with damage_reported(self._path):
                if self.has_times:
                    self._times = self._columns["timestamp_ns"][:]
                else:
                    self._times = np.arange(self._rows) * 1_000_000_000 // 30
        return self._times

    @property
    def sessions(self) -> list[dict[str, Any]]:
        try:
            return checked_sessions(parse_json(self._sessions_text))
        except ValueError:
            raise StorageError(f"{self._path} has damaged facts about its sessions") from None

    def metadata(self, index: int) -> dict[str, Any]:
        """What came with the frame at ``0 <= index < len(self)``. Raises `StorageError` if it is damaged."""
        with self._about_frame(index):
            text = self.text(index)
            try:
                facts = parse_json(text) if text else {}
            except ValueError:
                raise StorageError("has damaged metadata") from None
        return facts if isinstance(facts, dict) else {}

    def text(self, index: int) -> bytes:
        """The JSON of what came with a frame, as it is stored; empty if nothing did."""
        return bytes(self._texts[index]) if self._texts is not None else b""

    def check(self, index: int) -> None:
        """Read all that is kept of a frame, and with the first one what is kept of all."""
        self._check_frame(index)
        self.metadata(index)
        with self._about_frame(index):
            self._all_times()
            if "metadata_crc32" in self._columns:
                if self._crcs is None:
                    self._crcs = self._columns["metadata_crc32"][:]
                if zlib.crc32(self.text(index)) != self._crcs[index]:
                    raise StorageError("has metadata that is damaged, or was changed by another program")
            if index == 0:
                self._check_rest()

    def _check_rest(self) -> None:
        _ = self.labels, self.sessions, "unix_ns" in self._columns and self._columns["unix_ns"][:]
        for thing in (self._file, *self._columns.values()):
            if (name := first_damaged_text(thing)) is not None:
                raise StorageError(f"the attribute {name} is damaged, or was changed by another program")

    @abstractmethod
    def _check_frame(self, index: int) -> None:
        """Read the format's own dataset."""

    def __len__(self) -> int:
        return self._rows

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _about_frame(self, index: int) -> Iterator[None]:
        """Add to an error which frame it is about."""
        try:
            with damage_reported(self._path):
                yield
        except StorageError as error:
            text = str(error).removeprefix(f"{self._path} ").removeprefix(f"{self._path}: ")
            raise StorageError(f"{self._path}: frame {index}: {text}") from None


# ------------------------------------------------------------------------------------------------------ opening a file


def open_file(path: Path) -> tuple[h5py.File, TransactionFile, int, int]:
    """Open any HDF5 file for reading, as its last commit left it.

    Each open has a file object of its own: of a file that is opened twice by name libhdf5 shows the older state.

    Returns
    -------
    h5py.File
    TransactionFile
        What it is read through.
    int
        Where the last commit ends. What comes after it a crash has cut off, or is being recorded just now.
    int
        The size of the file.

    Raises
    ------
    StorageError, OSError
        It is no HDF5 file, or damaged.
    """
    # Before it is opened: opening a pipe would wait for ever.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise StorageError(f"{path} is not a file")
    raw = path.open("rb", buffering=0)
    log, end, size = read_log(raw.fileno()), stored_end(raw.fileno()), os.fstat(raw.fileno()).st_size
    if log is not None:  # of a commit that is going on, or that a crash cut off
        end = log.end
    if end is not None and end > size:
        raise StorageError(f"{path} is cut off: {size} bytes of {end if end < 1 << 63 else 'more'} are there")
    if not h5py.is_hdf5(path):
        raise NoHdf5Error(f"{path} is not an HDF5 file")
    through = TransactionFile(raw, log)
    return h5py.File(through, "r"), through, size if end is None else end, size


def has_changed(path: Path, end: int) -> bool:
    """Whether a commit has begun to change a file since it ended there; the superblock is what it changes first."""
    with path.open("rb", buffering=0) as raw:
        return stored_end(raw.fileno()) != end or read_log(raw.fileno()) is not None


def dataset_in(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """A dataset that is safe to read: it lies in the file, and nothing about it is absurd.

    Raises
    ------
    StorageError
        It is not there, not in this file, or absurd.
    """
    refused = f"{path} is refused: {name}"
    link = file.get(name, getlink=True)
    if link is None:
        raise StorageError(f"{refused} is missing")
    if not isinstance(link, h5py.HardLink):
        raise StorageError(f"{refused} is a link to somewhere else, which is not followed")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise StorageError(f"{refused} is not a dataset")
    if (reason := why_unsafe(dataset, path.stat().st_size)) is not None:
        raise StorageError(f"{refused} {reason}")
    return dataset


def why_unsafe(dataset: h5py.Dataset, file_size: int) -> str | None:
    """Why a dataset must not be read, in words that follow its name; None if it may be."""
    creation = dataset.id.get_create_plist()
    if creation.get_layout() == h5py.h5d.VIRTUAL:
        return "is put together from other files (a virtual dataset), which is not followed"
    if creation.get_external_count():
        return "keeps its values in another file (external storage), which is not followed"
    for code in filters_of(dataset):
        if not h5py.h5z.filter_avail(code):
            return f"is compressed in a way that this program can't undo (HDF5 filter {code})"
    shape, chunk = dataset.shape or (), dataset.chunks or ()
    if not shape or max(_bytes(dataset, shape[1:]), _bytes(dataset, chunk)) > LARGEST_CHUNK:
        return f"has an absurd shape ({dims_text(shape)}, in chunks of {dims_text(chunk or shape)})"
    # A column without values takes nothing in the file: `label` has none before there are labels.
    if shape[0] > file_size * MOST_ROWS_A_BYTE or (chunk and shape[0] // chunk[0] * LEAST_ENTRY > file_size):
        return f"claims {shape[0]} rows, more than the file has room for"
    return None


def _bytes(dataset: h5py.Dataset, dims: Sequence[int]) -> int:
    return math.prod(map(int, dims)) * int(dataset.dtype.itemsize)


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn what libhdf5 can't read, and a disk that fails, into a `StorageError` of one line."""
    try:
        yield
    except OSError as error:
        # h5py takes the number from the system's last error, which need not have anything to do with it.
        reason = error.strerror if error.strerror and error.filename is not None else None
        raise StorageError(f"{path}: {reason}" if reason else f"{path} is damaged ({first_line(error)})") from None
    except (RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise StorageError(f"{path} is damaged ({first_line(error)})") from None


# --------------------------------------------------------------------------------------------------------------- texts


def text_crc32(value: str | Sequence[str]) -> int:
    """The checksum of a text, or of the JSON of several."""
    return zlib.crc32((value if isinstance(value, str) else json.dumps(list(value))).encode(errors="replace"))


def first_damaged_text(thing: h5py.Group | h5py.Dataset) -> str | None:
    """The name of an attribute that is not what its checksum says."""
    names: list[str] = list(thing.attrs)
    for of in names:
        if (name := f"{of}_crc32") in names:
            texts = texts_in(thing, of)
            text = texts if thing.attrs.get_id(of).shape else texts[0]
            if text_crc32(text) != thing.attrs[name]:
                return of
    return None


def dims_text(dims: Sequence[int]) -> str:
    return " x ".join(map(str, dims)) or "nothing"


def described(dataset: h5py.Dataset) -> str:
    """Its type and shape: ``uint8, 3 x 4``."""
    return f"{dataset.dtype}, {dims_text(dataset.shape or ())}"

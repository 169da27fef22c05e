"""Recordings as one HDF5 file that any HDF5 library since 1.8 reads, also while it is being recorded.

``frames`` (N, height, width, 3) uint8 RGB, a chunk for each frame, deflated or as it is; ``timestamp_ns`` (N,) int64;
``label`` (N,) int16, -1 for none, its attribute ``classes`` naming the others; ``metadata`` (N,) text, the JSON of what
came with the frame, empty if nothing did; the attribute ``sessions`` of the file, the JSON of what ``recording.json``
holds beside PNG frames. This module knows what the columns mean; how the file grows and why no crash harms it is in
`storage.hdf5_append`.

To follow a recording from another program, close the file and open it again whenever you want to see more: each time
it holds all that the last sync had reached, and what is open stays as it was. (An open that falls exactly between the
two steps of a sync may call the file truncated, once in many thousands: open it again.)

>>> with h5py.File("day1.h5") as file:  # doctest: +SKIP
...     print(len(file["frames"]), file["frames"][-1].mean())
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isal import igzip_lib

from storage.dataset import natural_key
from storage.errors import StorageError
from storage.frame import Frame
from storage.hdf5_append import Bytes, Column, TableWriter
from storage.hdf5_table import Table
from storage.recording import Recording
from storage.sessions import close_interrupted, new_session

COMPRESSIONS = ("none", "deflate")
DEFLATE_LEVEL = 1  # 2 and 3 are slower and, on camera pictures, hardly smaller
WINDOW_BITS = 9  # a sensor's noise repeats nothing from further back: 12 and 15 are a quarter slower, 0.2 % smaller
NO_LABEL = -1
MOST_CLASSES = 4000  # what has room in an attribute
FORMAT, VERSION = "pi_capture recording", 1
COLUMNS = ("frames", "timestamp_ns", "label", "metadata")

Encoded = tuple[tuple[int, ...], Bytes, bytes, bytes]
"""A frame's shape, its chunk, its timestamp and its metadata."""


# ----------------------------------------------------------------------------------------------------------- the writer


class Hdf5Writer:
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
            raise StorageError(f"unknown compression {compression!r}; known are {', '.join(COMPRESSIONS)}")
        self._target = target
        self._table = TableWriter(target, COLUMNS)
        try:
            self._begin(compression)
        except BaseException:
            self._table.close()
            raise

    def _begin(self, compression: str | None) -> None:
        frames = self._table.columns.get("frames")
        self._shape: tuple[int, ...] | None = None
        self._deflate = compression != "none"
        self._sessions: list[dict[str, Any]] = []
        if frames is not None:
            with Hdf5Reader(self._target) as recording:
                self._sessions = recording.sessions
            if compression is not None and frames.deflated != self._deflate:
                now = COMPRESSIONS[frames.deflated]
                raise StorageError(f"{self._target} has compression {now}; go on with that, or choose another name")
            self._shape, self._deflate = frames.dims[1:], frames.deflated
        self._first = self._durable = self._table.rows
        close_interrupted(self._sessions, self._first)
        self._session: Mapping[str, Any] = new_session(self._first)
        self._told: Mapping[str, Any] | None = None

    @property
    def next_index(self) -> int:
        return self._first

    @property
    def bytes_written(self) -> int:
        return self._table.bytes_written

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._session = {**self._session, **facts}  # not in place: another thread may be storing it

    def encode(self, frame: Frame) -> Encoded:
        import numpy as np

        pixels = np.ascontiguousarray(frame.pixels)
        chunk = (
            igzip_lib.compress(pixels, DEFLATE_LEVEL, igzip_lib.COMP_ZLIB, hist_bits=WINDOW_BITS)
            if self._deflate
            else pixels.data.cast("B")
        )
        metadata = json.dumps(dict(frame.metadata), separators=(",", ":")).encode() if frame.metadata else b""
        return pixels.shape, chunk, struct.pack("<q", frame.timestamp_ns), metadata

    def append(self, encoded: Encoded) -> None:
        shape, chunk, timestamp, metadata = encoded
        if self._shape is None:
            self._shape = shape
            self._table.add_columns(_columns(shape, deflated=self._deflate))
            self._table.set_attribute("format", FORMAT)
            self._table.set_attribute("version", VERSION)
            self._table.set_attribute("classes", [], "label")
        if shape != self._shape:
            raise StorageError(
                f"{self._target} holds frames of {_size(self._shape)}, these are {_size(shape)};"
                f" record with --size {_size(self._shape)}, or to another name"
            )
        label = struct.pack("<h", NO_LABEL)
        self._table.append({"frames": chunk, "timestamp_ns": timestamp, "label": label, "metadata": metadata})

    def sync(self) -> int:
        if self._table.rows > self._first:
            if self._told is not self._session:
                self._told = self._session
                self._table.set_attribute("sessions", json.dumps([*self._sessions, self._told]))
            self._durable = self._table.commit()
        return self._durable - self._first

    def close(self) -> int:
        if not self._table.closed:
            self._table.release_reserve()
            try:
                self.describe({"frames": self._table.rows - self._first})
                self.sync()
            finally:
                self._table.close()
        return self._durable - self._first


def repair(path: Path) -> str | None:
    """Cut off what a crash has left behind the last sync, and tell of it; the frames before it need no repair.

    Raises
    ------
    StorageError
        It is being recorded into, is damaged, or can't be written to.
    """
    with Hdf5Reader(path) as recording:
        frames, cut = len(recording), recording.cut_bytes
    if not cut:
        return None
    TableWriter(path, COLUMNS).close()
    return f"had been interrupted: its {frames} frames are whole; {cut} bytes behind them never were a frame, and are gone"


def write_labels(path: Path, labels: Sequence[str | None]) -> None:
    """Give each frame of a recording its class, None for those that have none; all of them, or after a crash none.

    Raises
    ------
    StorageError
        The file is being recorded into, or can't be written to.
    ValueError
        There are not as many labels as frames.
    """
    classes = sorted({label for label in labels if label is not None}, key=natural_key)
    if len(classes) > MOST_CLASSES:
        raise StorageError(f"{path}: {len(classes)} classes are more than the {MOST_CLASSES} that have room")
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(classes)}
    numbers[None] = NO_LABEL
    table = TableWriter(path, COLUMNS)
    try:
        if table.rows != len(labels):
            raise ValueError(f"{len(labels)} labels for {table.rows} frames")
        if labels:
            table.replace_values("label", [struct.pack("<h", numbers[label]) for label in labels])
            table.set_attribute("classes", classes, "label")
            table.commit()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; the labels are as they were") from None
    finally:
        table.close()


def _columns(shape: tuple[int, ...], *, deflated: bool) -> list[Column]:
    return [
        Column("frames", "uint8", shape, rows=1, deflated=deflated),
        Column("timestamp_ns", "int64"),
        Column("label", "int16", fill=struct.pack("<h", NO_LABEL)),
        Column("metadata", "text"),
    ]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


# ----------------------------------------------------------------------------------------------------------- the reader


class Hdf5Reader(Recording):
    """The frames of an HDF5 file, as they were when it was opened.

    Raises
    ------
    StorageError
        It is no such file, is damaged, or refers to other files, which is not followed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._table = Table(path)
        try:
            self._frames = self._check()
        except BaseException:
            self._table.close()
            raise

    def _check(self) -> int:
        """The number of frames; what is no recording is refused."""
        if not self._table.names:
            return 0  # made just now, and not one frame in it yet
        version = self._table.attributes().get("version", VERSION)
        if version != VERSION:
            raise StorageError(f"{self._path} has version {version!r}, this program knows {VERSION}; update it")
        dims = self._table.dataset("frames").dims
        if len(dims) != 4 or dims[3] != 3:
            raise StorageError(f"{self._path} is refused: frames is {_dims(dims)}, not N x height x width x 3")
        rows = dims[0]
        wanted = {"frames": ("uint8", dims), "timestamp_ns": ("int64", (rows,)), "label": ("int16", (rows,))}
        if "metadata" in self._table:
            wanted["metadata"] = ("text", (rows,))
        for name, (type, dims) in wanted.items():
            dataset = self._table.dataset(name)
            if (dataset.type, dataset.dims) != (type, dims):
                there = f"{dataset.type}, {_dims(dataset.dims)}"
                raise StorageError(f"{self._path} is refused: {name} is {there}, not {type}, {_dims(dims)}")
        if self._table.dataset("frames").chunk[0] != 1:
            raise StorageError(f"{self._path} is refused: frames has several frames in a chunk, not one")
        return rows

    @property
    def path(self) -> Path:
        return self._path

    @property
    def labels(self) -> list[str | None]:
        if not self._frames:
            return []
        classes = self._table.attributes("label").get("classes", [])
        names = dict(enumerate(classes)) if isinstance(classes, list) else {}
        numbers = struct.unpack(f"<{self._frames}h", self._table.values("label"))
        return [None if number < 0 else names.get(number, str(number)) for number in numbers]

    @property
    def timestamps_ns(self) -> Sequence[int]:
        return struct.unpack(f"<{self._frames}q", self._table.values("timestamp_ns")) if self._frames else ()

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What is known of each recording session, oldest first: as in ``recording.json``."""
        try:
            sessions = json.loads(str(self._table.attributes().get("sessions", "[]")))
        except ValueError:
            raise StorageError(f"{self._path} has damaged facts about its sessions") from None
        return [session for session in sessions if isinstance(session, dict)] if isinstance(sessions, list) else []

    @property
    def cut_bytes(self) -> int:
        """Bytes after the last sync: what a crash cut off, or what is being recorded just now."""
        return self._table.cut_bytes

    def __len__(self) -> int:
        return self._frames

    def read(self, index: int) -> Frame:
        import numpy as np

        try:
            pixels = np.frombuffer(self._table.chunk("frames", index), np.uint8)
            (timestamp,) = struct.unpack("<q", self._table.value("timestamp_ns", index))
            metadata = self._table.text("metadata", index) if "metadata" in self._table else b""
            facts = json.loads(metadata) if metadata else {}
        except StorageError as error:
            raise StorageError(f"{self._path}: frame {index}: {str(error).removeprefix(f'{self._path} ')}") from None
        except ValueError:
            raise StorageError(f"{self._path}: frame {index}: has damaged metadata") from None
        shape = self._table.dataset("frames").dims[1:]
        return Frame(pixels.reshape(shape), index, timestamp, facts if isinstance(facts, dict) else {})

    def close(self) -> None:
        self._table.close()


def _dims(dims: Sequence[int]) -> str:
    return " x ".join(map(str, dims))

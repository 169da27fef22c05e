"""What all recordings in an HDF5 file share, whatever they keep of a frame: its time, its class, what came with it.

One column is the format's own. Beside it are ``timestamp_ns`` (N,) int64; ``label`` (N,) int16, -1 for none, its
attribute ``classes`` naming the others; ``metadata`` (N,) text, the JSON of what came with the frame, empty if nothing
did; and the attribute ``sessions`` of the file, the JSON of what ``recording.json`` holds beside PNG frames. How the
file grows and why no crash harms it is in `storage.formats.hdf5.append`; the formats are `storage.formats.hdf5.frames`
and `storage.formats.features.recording`.
"""

from __future__ import annotations

import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.durable.untrusted import parse_json
from storage.errors import StorageError
from storage.formats.hdf5.append import Column, TableWriter
from storage.formats.hdf5.format import Bytes, Dataset
from storage.formats.hdf5.table import Table
from storage.formats.table import open_recording
from storage.frame import Frame
from storage.names import natural_key
from storage.recording import Recording
from storage.sessions import close_interrupted, new_session

NO_LABEL = struct.pack("<h", -1)
MOST_CLASSES = 4000  # what has room in an attribute
VERSION = 1
BESIDE = (Column("timestamp_ns", "int64"), Column("label", "int16", fill=NO_LABEL), Column("metadata", "text"))

Beside = tuple[bytes, bytes]
"""A frame's timestamp and its metadata."""


# ----------------------------------------------------------------------------------------------------------- the writer


class TableRecordingWriter(ABC):
    """Appends to a recording in an HDF5 file: all of a `Writer` but `encode` and `append`.

    Parameters
    ----------
    target : path
    content : str
        The column of the format that derives from this.

    Raises
    ------
    StorageError
        The file can't be written to, is something else, or another recorder has it.
    """

    def __init__(self, target: Path, content: str) -> None:
        self._target = target
        self._content = content
        self._table = TableWriter(target, (content, *(column.name for column in BESIDE)))
        try:
            self._sessions = self._go_on() if self._table.columns else []
        except BaseException:
            self._table.close()
            raise
        self._first = self._durable = self._table.rows
        close_interrupted(self._sessions, self._first)
        self._session: Mapping[str, Any] = new_session(self._first)
        self._told: Mapping[str, Any] | None = None

    @abstractmethod
    def _go_on(self) -> list[dict[str, Any]]:
        """Take up what the file has, or refuse to; returns what is known of its sessions."""

    @property
    def next_index(self) -> int:
        return self._first

    @property
    def held(self) -> tuple[Path, int]:
        return self._table.held

    @property
    def bytes_written(self) -> int:
        return self._table.bytes_written

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._session = {**self._session, **facts}  # not in place: another thread may be storing it

    def _begin(self, name: str, column: Column) -> None:
        """Make the columns of a new file; `name` is what the file calls its format."""
        self._table.add_columns([column, *BESIDE])
        self._table.set_attribute("format", name)
        self._table.set_attribute("version", VERSION)
        self._table.set_attribute("classes", [], "label")

    def _append(self, content: Bytes, beside: Beside) -> None:
        timestamp, metadata = beside
        self._table.append({self._content: content, "timestamp_ns": timestamp, "label": NO_LABEL, "metadata": metadata})

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


def encode_beside(frame: Frame) -> Beside:
    """What is kept of a frame beside the format's own."""
    metadata = json.dumps(dict(frame.metadata), separators=(",", ":")).encode() if frame.metadata else b""
    return struct.pack("<q", frame.timestamp_ns), metadata


def repair(path: Path) -> str | None:
    """Cut off what a crash has left behind the last sync, and tell of it; the frames before it need no repair.

    Raises
    ------
    StorageError
        It is being recorded into, is damaged, or can't be written to.
    """
    with open_recording(path) as recording:
        frames, cut = len(recording), recording.cut_bytes if isinstance(recording, TableRecording) else 0
    if not cut:
        return None
    TableWriter(path, ["label"]).close()
    return (
        f"had been interrupted: its {frames} frames are whole; {cut} bytes behind them never were a frame, and are gone"
    )


def write_labels(path: Path, labels: Sequence[str | None], classes: Sequence[str] = (), *, of_track: str = "") -> None:
    """Give each frame of a recording its class, None for those that have none; all of them, or after a crash none.

    The classes are numbered in the order of `classes`; after these come others that frames have.

    Raises
    ------
    StorageError
        The file is being recorded into, or can't be written to.
    ValueError
        There are not as many labels as frames.
    """
    others = {label for label in labels if label is not None} - set(classes)
    classes = [*dict.fromkeys(classes), *sorted(others, key=natural_key)]
    if len(classes) > MOST_CLASSES:
        raise StorageError(f"{path}: {len(classes)} classes are more than the {MOST_CLASSES} that have room")
    numbers = {name: struct.pack("<h", number) for number, name in enumerate(classes)}
    table = TableWriter(path, ["label"])
    try:
        if table.rows != len(labels):
            raise ValueError(f"{len(labels)} labels for {table.rows} frames")
        if labels:
            table.replace_values("label", [NO_LABEL if label is None else numbers[label] for label in labels])
            table.set_attribute("classes", classes, "label")
            table.commit()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; the labels are as they were") from None
    finally:
        table.close()


# ----------------------------------------------------------------------------------------------------------- the reader


class TableRecording(Recording):
    """A recording in an HDF5 file, as it was when it was opened: all of a `Recording` but `read`.

    Parameters
    ----------
    path : path
    content : str
        The column of the format that derives from this.

    Raises
    ------
    StorageError
        It is no such file, is damaged, or refers to other files, which is not followed.
    """

    def __init__(self, path: Path, content: str) -> None:
        self._path = path
        self._content = content
        self._table = Table(path)
        try:
            self._rows = self._check()
        except BaseException:
            self._table.close()
            raise

    @abstractmethod
    def _check_content(self, dataset: Dataset) -> str | None:
        """What is wrong with the format's own column; None if nothing is."""

    def _check(self) -> int:
        """The number of frames; what is no recording is refused."""
        if not self._table.names:
            return 0  # made just now, and not one frame in it yet
        version = self._table.attributes().get("version", VERSION)
        if version != VERSION:
            raise StorageError(f"{self._path} has version {version!r}, this program knows {VERSION}; update it")
        content = self._table.dataset(self._content)
        reason = self._check_content(content)
        rows = content.dims[0]
        for column in BESIDE:
            if reason is None and (column.name != "metadata" or "metadata" in self._table):
                dataset = self._table.dataset(column.name)
                if (dataset.type, dataset.dims) != (column.type, (rows,)):
                    reason = f"{column.name} is {dataset.type}, {dims_text(dataset.dims)}, not {column.type}, {rows}"
        if reason is not None:
            raise StorageError(f"{self._path} is refused: {reason}")
        return rows

    @property
    def path(self) -> Path:
        return self._path

    @property
    def labels(self) -> list[str | None]:
        if not self._rows:
            return []
        names = dict(enumerate(self._classes))
        numbers = struct.unpack(f"<{self._rows}h", self._table.values("label"))
        return [None if number < 0 else names.get(number, str(number)) for number in numbers]

    @property
    def class_names(self) -> list[str]:
        return [*self._classes, *(name for name in super().class_names if name not in self._classes)]

    @property
    def _classes(self) -> list[str]:
        classes = self._table.attributes("label").get("classes", []) if self._rows else []
        return classes if isinstance(classes, list) else []

    @property
    def timestamps_ns(self) -> Sequence[int]:
        return struct.unpack(f"<{self._rows}q", self._table.values("timestamp_ns")) if self._rows else ()

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What is known of each recording session, oldest first: as in ``recording.json``."""
        try:
            sessions = parse_json(str(self._table.attributes().get("sessions", "[]")))
        except ValueError:
            raise StorageError(f"{self._path} has damaged facts about its sessions") from None
        return [session for session in sessions if isinstance(session, dict)] if isinstance(sessions, list) else []

    @property
    def interrupted(self) -> bool:
        return self.cut_bytes > 0

    @property
    def cut_bytes(self) -> int:
        """Bytes after the last sync: what a crash cut off, or what is being recorded just now."""
        return self._table.cut_bytes

    def metadata(self, index: int) -> dict[str, Any]:
        """What came with the frame at ``0 <= index < len(self)``. Raises `StorageError` if it is damaged."""
        with self._told_of(index):
            text = self._table.text("metadata", index) if "metadata" in self._table else b""
            try:
                facts = parse_json(text) if text else {}
            except ValueError:
                raise StorageError("has damaged metadata") from None
        return facts if isinstance(facts, dict) else {}

    def __len__(self) -> int:
        return self._rows

    def close(self) -> None:
        self._table.close()

    @contextmanager
    def _told_of(self, index: int) -> Iterator[None]:
        """Let an error tell which frame it is about."""
        try:
            yield
        except StorageError as error:
            raise StorageError(f"{self._path}: frame {index}: {str(error).removeprefix(f'{self._path} ')}") from None


def dims_text(dims: Sequence[int]) -> str:
    return " x ".join(map(str, dims))

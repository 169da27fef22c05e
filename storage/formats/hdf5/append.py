"""Parts of HDF5 recordings behind another one, as they are stored: chunks of pictures are copied, not packed anew.

It serves all formats of `storage.formats.hdf5.recording`. One commit makes all of it count (see
`storage.formats.hdf5.transaction`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from storage.errors import StorageError
from storage.formats.contract import Part
from storage.formats.hdf5.chunk import LIBRARY_LOCK
from storage.formats.hdf5.heap import texts_in
from storage.formats.hdf5.recording import Hdf5Recording, Layout, damage_reported, dims_text
from storage.formats.hdf5.writer import MOST_CLASSES, changing, extend, make_datasets, set_text
from storage.formats.table import open_recording

BATCH = 256  # frames at once
DAMAGED = b"damaged"  # in place of a text that can't be read: no JSON, so reading the frame says so


def append(
    path: Path,
    parts: Sequence[Part],
    classes: Sequence[str] = (),
    *,
    after: int,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """It is a `storage.formats.contract.Append`; what is damaged in a frame's chunk goes along unseen.

    A damaged text that came with a frame stays damaged: it is told, and costs no frame.
    """
    sources = list(dict.fromkeys(part.path for part in parts))
    kinds = [_Kind.of(source) for source in ([path, *sources] if path.exists() else sources)]
    for source, kind in zip(sources, kinds[-len(sources) :], strict=True):
        if (reason := kinds[0].why_not(kind)) is not None:
            raise StorageError(f"{source} can't be merged as it is stored: {reason}")
    with changing(path, create=True) as file:
        if not len(file):
            kinds[0].make_datasets(file)
        sessions = json.loads("".join(texts_in(file, "sessions")) or "[]")
        if len(sessions) != after:
            raise StorageError(f"{path} has changed meanwhile; nothing was added")
        numbers = _number_classes(path, file["label"], classes)
        begin = done = len(file["timestamp_ns"])
        notes = list[str]()
        for part in parts:
            damaged = list[int]()
            sessions.append({**part.session, "first_index": done, "frames": len(part.indices)})
            with closing(_open(part.path)) as recording:
                for at in range(0, len(part.indices), BATCH):
                    labels = [numbers[label] for label in part.labels[at : at + BATCH]]
                    with damage_reported(part.path):
                        damaged += _copy(recording, part.indices[at : at + BATCH], file, labels)
                    done += len(labels)
                    if progress is not None:
                        progress(done - begin)
            if damaged:
                which = f"frame {damaged[0]}"
                if len(damaged) > 1:
                    which = f"{len(damaged)} frames, the first is {damaged[0]},"
                notes.append(f"{part.path}: what came with {which} is damaged and stays so; the pictures go along")
        set_text(file, "sessions", json.dumps(sessions))
    return notes


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a recording keeps its frames; what goes into one file has one kind.

    `name` is what a file calls its format, `content` the dataset of that format, and `about` are texts with it.
    """

    name: str
    content: str
    dtype: str
    layout: Layout
    about: dict[str, str]

    @classmethod
    def of(cls, path: Path) -> _Kind:
        with closing(_open(path)) as recording, damage_reported(path):
            dataset = recording.content
            about = {key: texts_in(dataset, key)[0] for key in dataset.attrs if not key.endswith("_crc32")}
            name = texts_in(dataset.file, "format")[0]
            return cls(name, dataset.name.strip("/"), dataset.dtype.str, recording.layout, about)

    def make_datasets(self, file: h5py.File) -> None:
        """Make those of a new file."""
        make_datasets(file, self.content, name=self.name, dtype=self.dtype, layout=self.layout, about=self.about)

    def why_not(self, other: _Kind) -> str | None:
        """Why frames of the other can't follow these; None if they can."""
        if (self.name, self.dtype) != (other.name, other.dtype):
            return f"it is {other.name!r}, and what comes before it {self.name!r}"
        if self.layout.shape != other.layout.shape:
            return f"its frames are {dims_text(other.layout.shape)}, and those before it {dims_text(self.layout.shape)}"
        if self.layout != other.layout:
            how, before = ("deflated" if one.layout.deflated else "not compressed" for one in (other, self))
            return f"its frames are {how}, and those before it {before}; storage convert makes them deflated"
        differing = next((key for key in self.about if self.about[key] != other.about.get(key)), None)
        if differing is not None or self.about.keys() != other.about.keys():
            return f"another extractor made it ({differing or 'which one'} differs); one network can't learn from both"
        return None


def _open(path: Path) -> Hdf5Recording:
    recording = open_recording(path)
    if isinstance(recording, Hdf5Recording) and len(recording) and recording.is_ours:
        return recording
    recording.close()
    raise StorageError(
        f"{path} holds no frame, or was not recorded by this program; convert it first: python -m storage convert"
    )


def _number_classes(path: Path, column: h5py.Dataset, classes: Sequence[str]) -> dict[str | None, int]:
    """The numbers that labels have in a column, which learns of new classes."""
    names = [*dict.fromkeys([*texts_in(column, "classes"), *classes])]
    if len(names) > MOST_CLASSES:
        raise StorageError(f"{path}: {len(names)} classes are more than the {MOST_CLASSES} that have room")
    set_text(column, "classes", names)
    return {None: -1, **{name: number for number, name in enumerate(names)}}


def _copy(recording: Hdf5Recording, rows: range, file: h5py.File, labels: Sequence[int]) -> list[int]:
    """Copy consecutive rows to the end of the datasets; returns those with a damaged text."""
    begin = len(file["timestamp_ns"])
    texts = [_text(recording, row) for row in rows]
    crcs = np.array([zlib.crc32(text) for text in texts], np.uint32)
    columns: dict[str, Any] = {
        "label": np.array(labels, np.int16),
        "metadata": texts,
        "metadata_crc32": crcs,
        "unix_ns": np.zeros(len(rows), np.int64),
    }
    for name in ("timestamp_ns", "unix_ns", "metadata_crc32"):
        if name in recording.columns:
            columns[name] = recording.columns[name][rows.start : rows.stop]
    if recording.layout.rows > 1:
        columns[recording.content.name.strip("/")] = recording.content[rows.start : rows.stop]
    else:
        _copy_chunks(recording.content, rows, file[recording.content.name], begin)
    for name, values in columns.items():
        if name in file:  # recordings of earlier versions lack some
            extend(file[name], begin, values)
    same = columns["metadata_crc32"] == crcs
    return [row for row, text, is_same in zip(rows, texts, same, strict=True) if text == DAMAGED or not is_same]


def _text(recording: Hdf5Recording, row: int) -> bytes:
    """What came with a frame, as it is stored."""
    try:
        with damage_reported(recording.path):
            return recording.text(row)
    except StorageError:
        return DAMAGED


def _copy_chunks(source: h5py.Dataset, rows: range, target: h5py.Dataset, begin: int) -> None:
    """Copy frames that are a chunk each, with the checksums that they have."""
    corner = (0,) * (source.ndim - 1)
    target.resize(begin + len(rows), axis=0)
    for row in rows:
        with LIBRARY_LOCK:
            mask, data = source.id.read_direct_chunk((row, *corner))
            target.id.write_direct_chunk((begin + row - rows.start, *corner), data, mask)

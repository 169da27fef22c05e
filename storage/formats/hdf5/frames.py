"""Recordings as one HDF5 file that any HDF5 library since 1.8 reads, also while it is being recorded.

``frames`` (N, height, width, 3) uint8 RGB, a chunk for each frame, deflated or as it is; what is beside it is told in
`storage.formats.hdf5.recording`.

To follow a recording from another program, close the file and open it again whenever you want to see more: each time
it holds all that the last sync had reached, and what is open stays as it was. (An open that falls exactly between the
two steps of a sync may call the file truncated, once in many thousands: open it again.)

>>> with h5py.File("day1.h5") as file:  # doctest: +SKIP
...     print(len(file["frames"]), file["frames"][-1].mean())
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from isal import igzip_lib

from storage.errors import OptionError, StorageError
from storage.formats.hdf5.append import Column
from storage.formats.hdf5.format import Bytes, Dataset
from storage.formats.hdf5.recording import (
    Beside,
    TableRecording,
    TableRecordingWriter,
    dims_text,
    encode_beside,
    repair,
    write_labels,
)
from storage.frame import Frame

__all__ = ["Hdf5Reader", "Hdf5Writer", "repair", "write_labels"]

COMPRESSIONS = ("none", "deflate")
DEFLATE_LEVEL = 1  # 2 and 3 are slower and, on camera pictures, hardly smaller
WINDOW_BITS = 9  # a sensor's noise repeats nothing from further back: 12 and 15 are a quarter slower, 0.2 % smaller
FORMAT = "pi_capture recording"

Encoded = tuple[tuple[int, ...], Bytes, Beside]
"""A frame's shape, its chunk, and what is beside it."""


class Hdf5Writer(TableRecordingWriter):
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
        self._shape: tuple[int, ...] | None = None
        self._deflate = compression != "none"
        super().__init__(target, "frames")

    def _go_on(self) -> list[dict[str, Any]]:
        frames = self._table.columns["frames"]
        with Hdf5Reader(self._target) as recording:
            sessions = recording.sessions
        if self._compression is not None and frames.deflated != self._deflate:
            now = COMPRESSIONS[frames.deflated]
            raise StorageError(f"{self._target} has compression {now}; go on with that, or choose another name")
        self._shape, self._deflate = frames.dims[1:], frames.deflated
        return sessions

    def encode(self, frame: Frame, label: str | None = None) -> Encoded:
        import numpy as np

        pixels = np.ascontiguousarray(frame.pixels)
        chunk = (
            igzip_lib.compress(pixels, DEFLATE_LEVEL, igzip_lib.COMP_ZLIB, hist_bits=WINDOW_BITS)
            if self._deflate
            else pixels.data.cast("B")
        )
        return pixels.shape, chunk, encode_beside(frame)

    def append(self, encoded: Encoded) -> None:
        shape, chunk, beside = encoded
        if self._shape is None:
            self._shape = shape
            self._begin(FORMAT, Column("frames", "uint8", shape, rows=1, deflated=self._deflate))
        if shape != self._shape:
            raise StorageError(
                f"{self._target} holds frames of {_size(self._shape)}, these are {_size(shape)};"
                f" record with --size {_size(self._shape)}, or to another name"
            )
        self._append(chunk, beside)


class Hdf5Reader(TableRecording):
    """The frames of an HDF5 file, as they were when it was opened.

    Raises
    ------
    StorageError
        It is no such file, is damaged, or refers to other files, which is not followed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "frames")

    def _check_content(self, dataset: Dataset) -> str | None:
        dims = dataset.dims
        if len(dims) != 4 or dims[3] != 3:
            return f"frames is {dims_text(dims)}, not N x height x width x 3"
        if dataset.type != "uint8":
            return f"frames is {dataset.type}, {dims_text(dims)}, not uint8, {dims_text(dims)}"
        if dataset.chunk[0] != 1:
            return "frames has several frames in a chunk, not one"
        return None

    def read(self, index: int) -> Frame:
        import numpy as np

        with self._told_of(index):
            pixels = np.frombuffer(self._table.chunk("frames", index), np.uint8)
            (timestamp,) = struct.unpack("<q", self._table.value("timestamp_ns", index))
        shape = self._table.dataset("frames").dims[1:]
        return Frame(pixels.reshape(shape), index, timestamp, self.metadata(index))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"

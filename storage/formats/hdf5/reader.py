"""Reads pictures in HDF5 files: recordings of `hdf5.writer`, and whatever others keep as a row of pictures.

A dataset of pictures is (N, height, width, 3), (N, height, width, 1) or (N, height, width), of uint8 or of floats from
0 to 1, in chunks or not, behind any filter that the HDF5 library knows. ``timestamp_ns``, ``label`` and ``metadata`` of
a recording may be missing then.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from storage.errors import StorageError
from storage.formats.hdf5.chunk import filters_of, read_chunk
from storage.formats.hdf5.recording import Hdf5Recording, described, why_unsafe
from storage.frame import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMES = "frames"


MOST_OBJECTS = 10_000  # that are looked at for pictures


class Hdf5Reader(Hdf5Recording):
    """The frames of an HDF5 file, as they were when it was opened.

    Parameters
    ----------
    path : path
    dataset : str or int, optional
        Which dataset of pictures, of a file of others that has several: its name, or its number among them.

    Raises
    ------
    StorageError
        It is no such file, is damaged, or refers to other files, which is not followed; or it has several datasets of
        pictures, and none is chosen.
    """

    def __init__(self, path: Path, dataset: str | int | None = None) -> None:
        self._chosen = dataset
        super().__init__(path, FRAMES)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path, self._chosen)

    def _check(self) -> int:
        if self._is_recording():
            if self._chosen not in (None, FRAMES, 0):
                raise StorageError(f"{self._path} has no dataset {self._chosen!r}; it has {FRAMES}")
            rows = super()._check()
        else:
            rows = self._choose_pictures()
        if rows:
            self._frames = self._columns[self._content] = _with_room_for_a_chunk(self._columns[self._content])
            # Our own chunks are read as they are: it takes a third of the time that libhdf5's filters take.
            stored, self._shape, self._filters = self.layout, self._frames.shape[1:], filters_of(self._frames)
            self._direct = "format" in self._file.attrs and self._frames.dtype == np.uint8
            self._direct = self._direct and stored.rows == 1 and stored.simple
        return rows

    def _is_recording(self) -> bool:
        return not len(self._file) or "format" in self._file.attrs or {FRAMES, "timestamp_ns"} <= self._file.keys()

    def _choose_pictures(self) -> int:
        """Find the dataset of pictures in a file of others."""
        found = _datasets_of_pictures(self._file, self._path)
        names = list(found)
        chosen = self._chosen
        if chosen is None and len(names) > 1:
            listed = ", ".join(f"{name} ({described(found[name])})" for name in names[:10])
            raise StorageError(f"{self._path} has several datasets of pictures: {listed}; choose with --dataset NAME")
        if isinstance(chosen, str) and chosen not in names and chosen in map(str, range(len(names))):
            chosen = int(chosen)
        name = chosen.strip("/") if isinstance(chosen, str) else "".join(names[chosen or 0 :][:1])
        if name not in found:
            has = f"it has {', '.join(names[:10])}" if names else "pictures are (N, height, width, 3) uint8, or grey"
            raise StorageError(f"{self._path} has no dataset of pictures{f' {chosen!r}' if names else ''}; {has}")
        self._content, self.of_track = name, "" if len(names) == 1 else name.replace("/", "-")
        self._columns[name] = found[name]
        self.has_times = False
        return int(found[name].shape[0])

    def _check_content(self, dataset: h5py.Dataset) -> str | None:
        return None if _are_pictures(dataset) else f"{FRAMES} is {described(dataset)}, and no pictures"

    def read(self, index: int) -> Frame:
        with self._about_frame(index):
            pixels = self._pixels(index)
            timestamp = int(self._all_times()[index])
        return Frame(pixels, index, timestamp, self.metadata(index))

    def pixels(self, index: int) -> NDArray[np.uint8]:
        with self._about_frame(index):
            return self._pixels(index)

    def _check_frame(self, index: int) -> None:
        with self._about_frame(index):
            self._pixels(index)

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if not self._direct:
            return _as_rgb(self._frames[index])
        data = read_chunk(self._frames, index, math.prod(self._shape), self._filters)
        return _as_rgb(np.frombuffer(data, np.uint8).reshape(self._shape))


def _as_rgb(values: NDArray[Any]) -> NDArray[np.uint8]:
    """A picture of any kind as (height, width, 3) uint8."""
    if values.dtype != np.uint8:
        if not (values.min() >= 0 and values.max() <= 1):  # nan is neither
            raise StorageError(
                f"has values from {values.min()} to {values.max()}; pictures of floats have values from 0 to 1"
            )
        values = np.rint(values.astype(np.float32) * 255).astype(np.uint8)
    if values.ndim == 2:
        values = values[..., None]
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def _are_pictures(dataset: h5py.Dataset) -> bool:
    shape: tuple[int, ...] = dataset.shape or ()
    kind = dataset.dtype
    of_pictures = len(shape) == 3 or (len(shape) == 4 and shape[-1] in (1, 3))
    return of_pictures and min(shape[1:]) > 0 and (kind == np.uint8 or kind.kind == "f")


def _datasets_of_pictures(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """The datasets of pictures in the file itself, by name. Raises `StorageError` if none of them can be read."""
    found: dict[str, h5py.Dataset] = {}
    unsafe: dict[str, str] = {}
    looked_at = 0

    def look(name: str, thing: h5py.Group | h5py.Dataset) -> bool | None:
        nonlocal looked_at
        looked_at += 1
        if isinstance(thing, h5py.Dataset) and _are_pictures(thing):
            if (reason := why_unsafe(thing, path.stat().st_size)) is None:
                found[name] = thing
            else:
                unsafe[name] = reason
        return True if looked_at == MOST_OBJECTS else None  # which ends it

    file.visititems(look)
    if unsafe and not found:
        raise StorageError(f"{path} is refused: {next(iter(unsafe))} {next(iter(unsafe.values()))}")
    return found


def _with_room_for_a_chunk(dataset: h5py.Dataset) -> h5py.Dataset:
    """The same dataset, which keeps its last chunk in memory: several frames may be in it."""
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    size = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
    access.set_chunk_cache(521, max(1 << 20, size) if (dataset.chunks or (1,))[0] > 1 else 0, 1.0)
    return h5py.Dataset(h5py.h5d.open(dataset.file.id, dataset.name.encode(), access))

"""Recordings that keep 256 numbers of each frame, MobileNet's features, and no picture: a kilobyte a frame.

One HDF5 file: ``features`` (N, 256) float32, `ROWS` frames a chunk, with the extractor in its attributes. For what is
beside it, see `storage.formats.hdf5.recording`; for the network, `extractor`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from storage.errors import StorageError
from storage.formats.features.extractor import Extractor
from storage.formats.features.weights import FEATURES, NETWORK, PREPROCESSING
from storage.formats.hdf5.heap import texts_in
from storage.formats.hdf5.recording import Hdf5Recording, Layout, damage_reported, described
from storage.formats.hdf5.writer import BESIDE_BYTES, RecordingWriter, Row, extend, repair, write_labels
from storage.frame import Frame

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["FeatureRows", "FeaturesReader", "FeaturesWriter", "repair", "write_labels"]

ROWS = 16  # 16 KiB a chunk: what a damaged byte costs
FORMAT = "pi_capture features"
ABOUT = ("network", "weights_sha256", "preprocessing")
NO_PICTURES = "{} keeps features and no pictures; use a recording that has them"


class FeaturesWriter(RecordingWriter):
    """Appends to a features file.

    Parameters
    ----------
    target : path
    weights : str or path, optional
        As `storage.formats.features.extractor.Extractor` takes them; "imagenet" if not given.

    Raises
    ------
    StorageError
        The file can't be written to, is something else or made with another extractor, or another recorder has it; or
        there are no such weights.
    """

    _bytes_of_row = BESIDE_BYTES + 4 * FEATURES

    def __init__(self, target: Path, weights: str | Path | None = None) -> None:
        self._made_by: dict[str, str] | None = None
        super().__init__(target, "features")
        try:
            self._extractor = Extractor(weights or "imagenet")
            self._check_extractor()
        except BaseException:
            self.close()
            raise

    def _reader(self) -> Hdf5Recording:
        recording = FeaturesReader(self._target)
        self._made_by = recording.extractor if len(recording) else None
        return recording

    def _check_extractor(self) -> None:
        """Refuse to add to features that other weights have made: one network could not learn from both."""
        if self._made_by is None:
            return
        for name, value in self._about_the_extractor().items():
            if (there := self._made_by.get(name)) != value:
                raise StorageError(
                    f"{self._target} was made by another extractor ({name} is {str(there)[:16]}, not {value[:16]});"
                    " go on with the same --weights, or choose another name"
                )

    def encode(self, frame: Frame, label: str | None = None) -> Row:
        features = self._extractor.extract(frame.pixels).astype("<f4", copy=False)
        return Row.of(features, features.nbytes, frame)

    def append(self, encoded: Row) -> None:
        with self._lock:
            if "features" not in self._datasets:
                layout = Layout((FEATURES,), ROWS, deflated=False, checksum=True)
                self._begin(FORMAT, "<f4", layout, self._about_the_extractor())
            self._append(encoded)

    def _store_columns(self) -> None:
        if self._columns:
            extend(self._datasets["features"], self._rows - len(self._columns), [row.content for row in self._columns])
        super()._store_columns()

    def _about_the_extractor(self) -> dict[str, str]:
        return dict(zip(ABOUT, (NETWORK, self._extractor.sha256, PREPROCESSING), strict=True))


class FeaturesReader(Hdf5Recording):
    """The features of a recording, as they were when it was opened: ``reader.features[i]``.

    Labels, timestamps and sessions are those of any recording. There are no pictures: to read a frame fails.

    Raises
    ------
    StorageError
        It is no such file, is damaged, or refers to other files, which is not followed.
    """

    has_pictures = False

    def __init__(self, path: Path) -> None:
        super().__init__(path, "features")

    def _check_content(self, dataset: h5py.Dataset) -> str | None:
        if dataset.dtype == np.float32 and dataset.shape[1:] == (FEATURES,):
            return None
        return f"features is {described(dataset)}, not float32, N x {FEATURES}"

    @property
    def features(self) -> FeatureRows:
        """The features of each frame; read when they are asked for."""
        return FeatureRows(self._path, self._columns.get("features"))

    @property
    def extractor(self) -> dict[str, str]:
        """What made the features: ``network``, ``weights_sha256``, ``preprocessing``."""
        if not len(self):
            return {}
        with damage_reported(self._path):
            column = self._columns["features"]
            return {name: texts[0] for name in ABOUT if (texts := texts_in(column, name))}

    def read(self, index: int) -> Frame:
        raise StorageError(NO_PICTURES.format(self._path))

    def _check_frame(self, index: int) -> None:
        with self._about_frame(index):
            if not np.isfinite(self.features[index]).all():
                raise StorageError("has features that are no numbers")

    @property
    def size(self) -> str:
        return f"{FEATURES} features"


class FeatureRows:
    """Features of consecutive frames, read from the file when they are asked for.

    ``rows[i]`` is an array of shape (256,), ``rows[i:j]`` one of (j - i, 256), float32; ``np.asarray(rows)`` is all of
    them.
    """

    def __init__(self, path: Path, dataset: h5py.Dataset | None) -> None:
        self._path = path
        self._dataset = dataset
        self._count = 0 if dataset is None else len(dataset)

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, int]:
        return self._count, FEATURES

    def __getitem__(self, index: int | slice) -> NDArray[np.float32]:
        if isinstance(index, slice):
            wanted = range(self._count)[index]
            if not wanted:
                return self._read(0, 0)
            first, last = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
            return self._read(first, last + 1)[:: wanted.step]
        position = range(self._count)[index]  # negative indices, and IndexError past the end
        return self._read(position, position + 1).reshape(FEATURES)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or "f4", copy=False)

    def _read(self, start: int, stop: int) -> NDArray[np.float32]:
        if self._dataset is None or start == stop:
            return np.empty((0, FEATURES), np.float32)
        with damage_reported(self._path):
            values: NDArray[np.float32] = self._dataset[start:stop]
        return values

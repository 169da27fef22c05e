"""Recordings that keep 256 numbers of each frame, MobileNet's features, and no picture: a kilobyte a frame.

One HDF5 file: ``features`` (N, 256) float32, `ROWS` frames a chunk, with the extractor in its attributes; what is
beside it is told in `storage.formats.hdf5.recording`. The network itself is `storage.mobilenet`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.formats.features.extractor import Extractor
from storage.formats.features.weights import FEATURES, NETWORK, PREPROCESSING
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
from storage.formats.hdf5.table import Table
from storage.frame import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

__all__ = ["FeatureRows", "FeaturesReader", "FeaturesWriter", "repair", "write_labels"]

ROWS = 64  # 64 KiB a chunk
FORMAT = "pi_capture features"
NO_PICTURES = "{} keeps features and no pictures; use a recording that has them"


class FeaturesWriter(TableRecordingWriter):
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

    def __init__(self, target: Path, weights: str | Path | None = None) -> None:
        self._made_by: dict[str, str] | None = None
        super().__init__(target, "features")
        try:
            self._extractor = Extractor(weights or "imagenet")
            self._check_extractor()
        except BaseException:
            self._table.close()
            raise

    def _go_on(self) -> list[dict[str, Any]]:
        with FeaturesReader(self._target) as recording:
            self._made_by = recording.extractor
            return recording.sessions

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

    def encode(self, frame: Frame, label: str | None = None) -> tuple[Bytes, Beside]:
        return self._extractor.extract(frame.pixels).astype("<f4", copy=False).tobytes(), encode_beside(frame)

    def append(self, encoded: tuple[Bytes, Beside]) -> None:
        features, beside = encoded
        if not self._table.columns:
            self._begin(FORMAT, Column("features", "float32", (FEATURES,), rows=ROWS))
            for name, value in self._about_the_extractor().items():
                self._table.set_attribute(name, value, "features")
        self._append(features, beside)

    def _about_the_extractor(self) -> dict[str, str]:
        return {"network": NETWORK, "weights_sha256": self._extractor.sha256, "preprocessing": PREPROCESSING}


class FeaturesReader(TableRecording):
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

    def _check_content(self, dataset: Dataset) -> str | None:
        if dataset.type == "float32" and dataset.dims[1:] == (FEATURES,):
            return None
        return f"features is {dataset.type}, {dims_text(dataset.dims)}, not float32, N x {FEATURES}"

    @property
    def features(self) -> FeatureRows:
        """The features of each frame; read when they are asked for."""
        return FeatureRows(self._table, len(self))

    @property
    def extractor(self) -> dict[str, str]:
        """What made the features: ``network``, ``weights_sha256``, ``preprocessing``."""
        attributes = self._table.attributes("features") if len(self) else {}
        return {name: value for name, value in attributes.items() if isinstance(value, str)}

    def read(self, index: int) -> Frame:
        raise StorageError(NO_PICTURES.format(self._path))

    def check(self, index: int) -> None:
        with self._told_of(index):
            if not self._all_finite(index):
                raise StorageError("has features that are no numbers")
            self._table.value("timestamp_ns", index)
        self.metadata(index)

    def _all_finite(self, index: int) -> bool:
        import numpy as np

        return bool(np.isfinite(self.features[index]).all())

    @property
    def size(self) -> str:
        return f"{FEATURES} features"


class FeatureRows:
    """Features of consecutive frames, read from the file when they are asked for.

    ``rows[i]`` is an array of shape (256,), ``rows[i:j]`` one of (j - i, 256), float32; ``np.asarray(rows)`` is all of
    them.
    """

    def __init__(self, table: Table, count: int) -> None:
        self._table = table
        self._count = count

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
        import numpy as np

        data = self._table.rows("features", start, stop) if stop > start else b""
        return np.frombuffer(data, "<f4").reshape(stop - start, FEATURES)

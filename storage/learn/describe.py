"""Descriptions: the numbers that stand for a frame, from which a head learns.

A description is made of a network's features (256 numbers), of a thumbnail (16×16 grey values), or of both (the
features and a thumbnail of 8×8). Describing a long recording takes longer than learning from it, so what was computed
is kept in the user's cache, under a key that follows from the recording's content; labels are no part of it.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from storage.convert.transfer import in_order
from storage.durable.files import replace_file
from storage.errors import DamagedPictureError, StorageError
from storage.formats.contract import FramesAreFiles, KeepsFeatures
from storage.formats.features.extractor import Extractor, to_square
from storage.formats.features.weights import FEATURES, PREPROCESSING, SIDE, cache_directory
from storage.frame import Frame
from storage.recording import Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Kind = Literal["features", "thumbnail", "both"]
KINDS: tuple[Kind, ...] = ("features", "both", "thumbnail")
Progress = Callable[[int, int], None]

THUMBNAIL_SIDE = 16
SMALL_SIDE = 8  # of the thumbnail beside features
NUMBERS: dict[Kind, int] = {"features": FEATURES, "thumbnail": THUMBNAIL_SIDE**2, "both": FEATURES + SMALL_SIDE**2}
"""How many numbers a description of each kind has."""
HOW_THUMBNAIL = f"{PREPROCESSING.split(';', 2)[0]}; cut to a square around the centre; grey; mean of cells; 0 to 1"

SAMPLED = 16  # frames whose pixels are part of a recording's key
KEPT_DAYS = 90  # a description in the cache that was not used for so long is removed


# ------------------------------------------------------------------------------------------------------ single pictures


class Describer:
    """Describes pictures one by one; may be called from several threads at once.

    Parameters
    ----------
    kind : {"features", "thumbnail", "both"}
    network : bytes, optional
        The ``.tflite`` file of the extractor; needed for all kinds but the thumbnail.

    Raises
    ------
    StorageError
        The network is missing or is none, or LiteRT is not installed.
    """

    def __init__(self, kind: Kind, network: bytes | None = None) -> None:
        self.kind = kind
        if kind == "thumbnail":
            self._extractor = None
        elif network is None:
            raise StorageError(f"descriptions of the kind {kind!r} need a network")
        else:
            self._extractor = Extractor(network)

    def describe(self, pixels: NDArray[np.uint8]) -> Floats:
        """The description of a picture.

        Parameters
        ----------
        pixels : ndarray, shape (height, width, 3), uint8, RGB
            Of any size.

        Returns
        -------
        ndarray, shape (D,), float32
            D is `NUMBERS` of the kind.
        """
        square = to_square(pixels)
        features = None if self._extractor is None else self._extractor.extract(square)[None]
        thumbnails = None if self.kind == "features" else thumbnail(square)[None]
        description: Floats = Descriptions(features, thumbnails).of(self.kind)[0]
        return description


def thumbnail(square: NDArray[np.uint8]) -> Floats:
    """The grey thumbnail of a picture (128, 128, 3) uint8: shape (256,), float32, from 0 to 1, row after row."""
    cell = SIDE // THUMBNAIL_SIDE
    grey = square @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    cells: Floats = grey.reshape(THUMBNAIL_SIDE, cell, THUMBNAIL_SIDE, cell).mean(
        axis=(1, 3), dtype=np.float32
    ) / np.float32(255)
    return cells.reshape(-1)


# ----------------------------------------------------------------------------------------------------------- recordings


@dataclass(frozen=True, slots=True)
class Descriptions:
    """What the frames of a recording are described by; a damaged frame's numbers are NaN.

    Attributes
    ----------
    features : ndarray, shape (N, 256), float32, or None
        None without a network.
    thumbnails : ndarray, shape (N, 256), float32, or None
        None of a recording that keeps no pictures.
    """

    features: Floats | None
    thumbnails: Floats | None

    def __len__(self) -> int:
        column = self.thumbnails if self.features is None else self.features
        return 0 if column is None else len(column)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of descriptions that these allow."""
        if self.thumbnails is None:
            return ("features",)
        return ("thumbnail",) if self.features is None else KINDS

    def some(self, numbers: NDArray[np.int64]) -> Descriptions:
        """Those of some frames, by their numbers in order."""
        if len(numbers) == len(self):
            return self
        return Descriptions(*(None if one is None else one[numbers] for one in (self.features, self.thumbnails)))

    def of(self, kind: Kind) -> Floats:
        """The descriptions of a kind: shape (N, D), float32."""
        if kind == "features":
            assert self.features is not None
            return self.features
        assert self.thumbnails is not None
        if kind == "thumbnail":
            return self.thumbnails
        assert self.features is not None
        cell = THUMBNAIL_SIDE // SMALL_SIDE
        cells = self.thumbnails.reshape(-1, SMALL_SIDE, cell, SMALL_SIDE, cell)
        return np.hstack([self.features, cells.mean(axis=(2, 4)).reshape(-1, SMALL_SIDE**2)])


def describe_recording(
    recording: Recording, extractor: Extractor | None, *, progress: Progress | None = None
) -> Descriptions:
    """Describe all frames of a recording, or take what the cache has of them.

    Parameters
    ----------
    recording : Recording
        Of any format; one that keeps features has no thumbnails.
    extractor : Extractor or None
        None for thumbnails alone.
    progress : callable, optional
        Called with the number of frames that are described and that of all. What it raises ends the work.

    Raises
    ------
    StorageError
        The recording can't be read, or keeps features of other weights.
    """
    if isinstance(recording, KeepsFeatures):
        return Descriptions(np.asarray(recording.features[:], np.float32), None)
    key = _key(recording)
    thumbnails = _cached(_place(key, "thumbnail"), len(recording))
    features = None if extractor is None else _cached(_place(key, extractor.sha256), len(recording))
    if thumbnails is None or (extractor is not None and features is None):
        thumbnails, features = _compute(recording, extractor, progress)
        if np.isfinite(thumbnails).all():  # a frame that can't be read now may be there again tomorrow
            _keep(_place(key, "thumbnail"), thumbnails)
            if extractor is not None and features is not None:
                _keep(_place(key, extractor.sha256), features)
    return Descriptions(features, thumbnails)


def _compute(
    recording: Recording, extractor: Extractor | None, progress: Progress | None
) -> tuple[Floats, Floats | None]:
    count = len(recording)
    thumbnails = np.full((count, THUMBNAIL_SIDE**2), np.nan, np.float32)
    features = None if extractor is None else np.full((count, FEATURES), np.nan, np.float32)

    def read(index: int) -> Frame | None:
        try:
            return recording.read(index)
        except DamagedPictureError:
            return None
        except StorageError:
            if recording.independent:  # the others are whole all the same
                return None
            raise

    def describe(frame: Frame | None) -> tuple[Floats, Floats | None] | None:
        if frame is None:
            return None
        square = to_square(frame.pixels)
        return thumbnail(square), None if extractor is None else extractor.extract(square)

    threads = os.cpu_count() or 1
    if recording.independent:
        described = in_order(lambda index: describe(read(index)), range(count), threads)
    else:
        described = in_order(describe, map(read, range(count)), threads)
    for index, numbers in enumerate(described):
        if numbers is not None:
            thumbnails[index] = numbers[0]
            if features is not None and numbers[1] is not None:
                features[index] = numbers[1]
        if progress is not None:
            progress(index + 1, count)
    return thumbnails, features


# ------------------------------------------------------------------------------------------------------------ the cache


def _key(recording: Recording) -> str:
    """What stands for a recording's pictures: when they were taken, some of them, and the state of their files."""
    digest = hashlib.sha256(f"1 {len(recording)} {HOW_THUMBNAIL}\n".encode())
    digest.update(np.array(recording.timestamps_ns, np.int64).tobytes())
    step = max(1, len(recording) // SAMPLED)
    for index in range(0, len(recording), step):
        with suppress(StorageError):
            digest.update(recording.read(index).pixels.tobytes())
    if isinstance(recording, FramesAreFiles):
        for path in map(recording.file, range(len(recording))):
            state = path.stat()  # sorting moves files, which changes neither
            digest.update(f"{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _place(key: str, what: str) -> Path:
    return _cache() / f"{key}.{what[:16]}.npz"


def _cache() -> Path:
    return cache_directory() / "descriptions"


def _cached(path: Path, count: int) -> Floats | None:
    """What the cache has under a name, if that is whole: each file carries a checksum, as any zip file does."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kept: Floats = arrays["descriptions"]
        os.utime(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return kept if kept.shape[:1] == (count,) and kept.dtype == np.float32 else None


def _keep(path: Path, descriptions: Floats) -> None:
    """Put descriptions into the cache, and remove what was not used for long; a full disk costs only the time."""
    data = io.BytesIO()
    np.savez(data, descriptions=descriptions)
    with suppress(OSError):
        path.parent.mkdir(0o700, parents=True, exist_ok=True)  # thumbnails are small pictures
        replace_file(path, data.getvalue())
        for old in path.parent.glob("*.npz"):
            if old.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
                old.unlink(missing_ok=True)


def forget_descriptions() -> None:
    """Remove the cache: thumbnails of recordings that are deleted may be in it.

    Raises
    ------
    OSError
        Some are still there.
    """
    for path in _cache().glob("*.npz"):
        path.unlink(missing_ok=True)


def concatenated(parts: Sequence[Descriptions]) -> Descriptions:
    """The descriptions of several recordings, one after another; what one of them lacks, all lack."""

    def joined(columns: Iterable[Floats | None]) -> Floats | None:
        found = list(columns)
        whole = [column for column in found if column is not None]
        return np.concatenate(whole) if len(whole) == len(found) else None

    return Descriptions(joined(part.features for part in parts), joined(part.thumbnails for part in parts))

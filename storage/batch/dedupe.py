"""The step dedupe: frames that look like an earlier one, by the cosine between their features.

A frame is held against the kept frames shortly before it, then against all kept frames of earlier recordings of its
group. Recordings that keep features (``.features.h5``) need no decoding, and none whose features the step ``features``
has left in OUT.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from storage.batch.contract import NotReadyError, Result, Step
from storage.errors import StorageError
from storage.formats.contract import KeepsFeatures
from storage.formats.features.extractor import Extractor
from storage.formats.features.recording import FeaturesReader
from storage.formats.features.weights import FEATURES
from storage.formats.table import open_recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

SAME = 0.99  # least cosine of frames that look alike
SHORTLY = 100  # frames
ROWS = 1024  # of a block of comparisons: 1024 x 100,000 cosines are 400 MB
GROUP_BYTES = 1_000_000_000
NONE: Mapping[Path, Path] = MappingProxyType({})
COLUMNS = ("recording", "frame", "same_recording", "same_frame", "cosine")


def find_duplicates(recordings: Sequence[Path], out: Path, features: Mapping[Path, Path] = NONE) -> Result:
    """Write ``duplicates.csv``: the frames that look like another, a row each, and which one; numbers count from 0.

    `features` says of recordings where their features are; others' are computed.

    Raises
    ------
    StorageError
        A recording can't be read, or the features of two were made by different networks.
    """
    frames, told, network = 0, list[str](), dict[str, str]()
    kept = np.empty((0, FEATURES), np.float32)
    places: list[tuple[str, int]] = []  # of the rows of `kept`
    with (out / "duplicates.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for path in recordings:
            directions, numbers, made_by, damaged = _directions(path, features.get(path))
            if made_by and network and made_by != network:
                raise StorageError(f"{path} has features of another network than {recordings[0]}")
            network = made_by or network
            told += damaged
            frames += len(directions)
            own: list[int] = []  # rows of this recording that look like no other
            rows = list[tuple[int, str, int, float]]()
            elsewhere = _nearest(directions, kept)
            for row, direction in enumerate(directions):
                near = [index for index in own[-SHORTLY:] if row - index <= SHORTLY]
                cosines = directions[near] @ direction
                if near and cosines.max() >= SAME:
                    best = int(cosines.argmax())
                    rows.append((numbers[row], str(path), numbers[near[best]], float(cosines[best])))
                elif elsewhere is not None and elsewhere[1][row] >= SAME:
                    rows.append((numbers[row], *places[elsewhere[0][row]], float(elsewhere[1][row])))
                else:
                    own.append(row)
            table.writerows((str(path), number, *same, f"{cosine:.4f}") for number, *same, cosine in rows)
            kept = np.concatenate([kept, directions[own]])
            places += [(str(path), numbers[row]) for row in own]
    return Result(frames, tuple(told))


def _directions(path: Path, features_at: Path | None) -> tuple[Floats, list[int], dict[str, str], list[str]]:
    """A recording's features, of length 1 each, (n, 256); their frames; what made them; and why frames have none."""
    with open_recording(path) as recording:
        if isinstance(recording, KeepsFeatures):
            features, made_by = recording.features[:], dict[str, str]()
            if isinstance(recording, FeaturesReader):
                made_by = recording.extractor
            return _unit(features), list(range(len(features))), made_by, []
        try:
            extractor = Extractor()
        except StorageError as error:
            raise NotReadyError(str(error)) from None
        if (kept := _kept_features(features_at, extractor)) is not None:
            return _unit(kept), list(range(len(kept))), {}, []
        found: list[Floats] = []
        numbers, damaged = list[int](), list[str]()
        for number in range(len(recording)):
            try:
                found.append(extractor.extract(recording.read(number).pixels))
                numbers.append(number)
            except StorageError as error:
                damaged.append(f"{path}: frame {number} is left out: {error}")
    if damaged and not found:
        raise StorageError(f"{path}: none of its frames can be read: {damaged[0]}")
    return _unit(np.stack(found)) if found else np.empty((0, FEATURES), np.float32), numbers, {}, damaged


def _kept_features(path: Path | None, extractor: Extractor) -> Floats | None:
    """Features that this extractor made; None if it did not, or they can't be read (any more)."""
    if path is None:
        return None
    with suppress(StorageError), FeaturesReader(path) as recording:
        if recording.extractor.get("weights_sha256") == extractor.sha256:
            return recording.features[:]
    return None


def _unit(features: Floats) -> Floats:
    lengths = np.sqrt(np.square(features).sum(axis=1, keepdims=True, dtype=np.float32))
    unit: Floats = features / lengths.clip(np.float32(1e-12))
    return unit


def _nearest(directions: Floats, kept: Floats) -> tuple[NDArray[np.intp], Floats] | None:
    """For each row the nearest of the kept rows, and their cosine; None if there are none."""
    if not len(kept) or not len(directions):
        return None
    blocks = (directions[at : at + ROWS] @ kept.T for at in range(0, len(directions), ROWS))
    parts = [(block.argmax(axis=1), block.max(axis=1)) for block in blocks]
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([cosines for _, cosines in parts])


DEDUPE = Step("dedupe", find_duplicates, GROUP_BYTES, find_duplicates)

"""Small recordings for tests: data directories through the real writer, and a format as others may install one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from storage.errors import StorageError
from storage.formats.png.codec import read_texts
from storage.formats.png.directory import frame_name
from storage.formats.png.writer import PngWriter
from storage.formats.table import Format
from storage.frame import Frame
from storage.recording import Recording


def picture(seed: int, size: tuple[int, int] = (8, 6)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def record(
    day: Path,
    classes: Sequence[str | None],
    *,
    seconds: Iterable[float] | None = None,
    facts: Mapping[str, Any] | None = None,
    seed: int = 0,
    size: tuple[int, int] = (8, 6),
) -> None:
    """One recording session, a frame for each class (None: not labelled), ten a second unless their times are given."""
    writer = PngWriter(day)
    writer.describe(facts or {"host": "test"})
    first = writer.next_index
    times = list(seconds) if seconds is not None else [number / 10 for number in range(len(classes))]
    for number, time in enumerate(times):
        frame = Frame(picture(seed + number, size), first + number, round(time * 1e9), {"number": seed + number})
        writer.append(writer.encode(frame))
    writer.close()
    for number, name in enumerate(classes):
        if name is not None:
            (day / name).mkdir(exist_ok=True)
            (day / frame_name(first + number)).rename(day / name / frame_name(first + number))


def everything(root: Path) -> dict[str, bytes]:
    """Every file under a directory and its content; directories are there with their name and a slash."""
    return {
        str(path.relative_to(root)) + ("/" if path.is_dir() else ""): b"" if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
    }


def times(directory: Path) -> list[float]:
    """Capture times in seconds of the frames in a directory's classes."""
    texts = (read_texts(path.read_bytes()) for path in directory.glob("*/*.png"))
    return sorted(int(text["Timestamp"]) / 1e9 for text in texts)


class NpzReader(Recording):
    """A recording in one file: arrays frames, labels and times. A frame that is all 13 counts as damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._arrays = np.load(path)

    def __len__(self) -> int:
        return len(self._arrays["frames"])

    def read(self, index: int) -> Frame:
        pixels = self._arrays["frames"][index]
        if np.all(pixels == 13):
            raise StorageError(f"{self._path}: frame {index} is damaged")
        return Frame(pixels, index, self.timestamps_ns[index])

    @property
    def labels(self) -> list[str | None]:
        return [str(label) or None for label in self._arrays["labels"]]

    @property
    def timestamps_ns(self) -> list[int]:
        return [int(time) for time in self._arrays["times"]]


NPZ = Format("npz", ".npz", "tests.support.labelled:NoWriter", "tests.support.labelled:NpzReader")

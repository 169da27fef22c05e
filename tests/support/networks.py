"""Classifiers for the tests: small networks of `tests/data/networks`, with the names of their classes beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support import REPOSITORY

COLOURS = ("red", "green", "blue")


def put_network(directory: Path, kind: str = "float", classes: tuple[str, ...] = COLOURS) -> Path:
    """Copy one of the networks into a directory, with ``labels.txt``; returns its path."""
    path = directory / f"{kind}.tflite"
    shutil.copy(REPOSITORY / "tests" / "data" / "networks" / path.name, path)
    (directory / "labels.txt").write_text("".join(f"{name}\n" for name in classes))
    return path


def plain(colour: str, size: tuple[int, int] = (30, 20)) -> NDArray[np.uint8]:
    """A picture of one colour: (height, width, 3) uint8 RGB."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[..., COLOURS.index(colour)] = 200
    return pixels

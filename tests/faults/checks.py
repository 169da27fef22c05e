"""What must hold of a data directory after any fault."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from storage.png import is_whole_png, read_texts
from tests.faults.writer import picture


def seeds_under_final_names(directory: Path) -> set[int]:
    """The seeds of all visible frames; each must be whole and hold exactly the pixels that were written."""
    seeds = set()
    for file in directory.rglob("*.png"):
        data = file.read_bytes()
        assert is_whole_png(data), f"{file} is damaged"
        seed = json.loads(read_texts(data)["Metadata"])["seed"]
        assert np.array_equal(np.asarray(Image.open(file)), picture(seed)), f"{file} holds something else"
        assert seed not in seeds, f"{file} is a double"
        seeds.add(seed)
    return seeds


def acknowledged(output: str) -> int:
    """How many frames the writer was told to be durable, by its last whole line."""
    lines = [line for line in output.splitlines(keepends=True) if line.startswith("ACKNOWLEDGED") and line[-1] == "\n"]
    return int(lines[-1].split()[1]) if lines else 0

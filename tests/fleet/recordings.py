"""Very many tiny recordings of several formats; some are broken, one kills its decoder, one has no end.

python -m tests.fleet.recordings DIRECTORY [COUNT]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from storage.formats.table import open_writer
from storage.frame import Frame

SUFFIXES = ("", ".mkv", ".h5")
KINDS = 30
FRAMES = 6
SIZE = (48, 64, 3)
CRASH, ENDLESS = "pi00/crash.hostile", "pi01/endless.hostile"


def make(directory: Path, count: int = 2000) -> None:
    """So many recordings, 50 of each host, the two hostile ones among them; some are cut off."""
    models = directory.with_name(f"{directory.name}-models")
    models.mkdir(parents=True)
    for kind in range(KINDS):
        _record(models / f"{kind}{SUFFIXES[kind % 3]}", kind)
    for number in range(count - 2):
        suffix = SUFFIXES[number % 3]
        target = directory / f"pi{number // 50:02d}" / f"day{number % 50:02d}{suffix}"
        model = models / f"{number % KINDS}{suffix}"
        if suffix:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(model, target)
        else:
            shutil.copytree(model, target)
        if is_broken(number):
            target.write_bytes(model.read_bytes()[:100])
    for name in (CRASH, ENDLESS):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(Path(name).stem)
    shutil.rmtree(models)


def is_broken(number: int) -> bool:
    """Whether a recording of that number is cut off."""
    return number % 100 == 1 and SUFFIXES[number % 3] != ""


def _record(path: Path, seed: int) -> None:
    scenes = np.random.default_rng(seed).integers(0, 256, (2, *SIZE), np.uint8)
    writer = open_writer(path)
    writer.describe({"host": f"pi{seed:02d}"})
    for number in range(FRAMES):
        writer.append(writer.encode(Frame(scenes[number * 2 // FRAMES], number, number * 100_000_000)))
    writer.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]), *map(int, sys.argv[2:]))

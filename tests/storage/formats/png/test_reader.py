"""A directory of pictures that other programs made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from storage import open_recording


def paint(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(path)


def test_digits_count_as_numbers_wherever_they_stand(tmp_path: Path) -> None:
    names = ["0/7.png", "cam1 (9).png", "1/cam1 (10).png", "cam2-1.png", "cam10-1.png", "cam10-007.png", "cam10-30.png"]
    for shade, name in enumerate(names):
        paint(tmp_path / "day" / name, shade)
    with open_recording(tmp_path / "day") as recording:
        assert [int(frame.pixels[0, 0, 0]) for frame in recording] == list(range(len(names)))
    for number in (2, 1):  # too long for a number of Python's
        paint(tmp_path / "long" / f"{number}{'0' * 200}.png", number)
    with open_recording(tmp_path / "long") as recording:
        assert [int(frame.pixels[0, 0, 0]) for frame in recording] == [1, 2]

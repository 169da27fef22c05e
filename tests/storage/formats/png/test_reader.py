"""A directory of pictures that other programs made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage import open_recording
from storage.formats.png.whole import fault


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


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (15, 31)), (8, (31, 0))])
def test_photos_are_put_upright(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    """A white corner, which is stored top left, lies where the EXIF of the photo says."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "day").mkdir()
    Image.fromarray(pixels).save(tmp_path / "day" / "photo.jpg", exif=exif)
    with open_recording(tmp_path / "day") as recording:
        assert recording[0].pixels[corner].min() > 200


@pytest.mark.parametrize(("mode", "told"), [("RGB", False), ("P", True), ("1", True), ("L", False)])
def test_bmp_that_keras_misreads_is_told(tmp_path: Path, mode: str, *, told: bool) -> None:
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).convert(mode).save(tmp_path / "a.bmp")
    found = fault((tmp_path / "a.bmp").read_bytes())
    assert (found is not None and "palette" in found) == told

"""The colours of classes: told apart by people who are colour-blind, too."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from classify.session import NONE
from classify.window.timeline import UNREADABLE, label_colour, zoomed_stretch

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009:
# what linear RGB is seen as, at full severity.
SEEN = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # sRGB, D65
WHITE = TO_XYZ.sum(axis=1)


def lab(colour: tuple[int, int, int], seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a colour as it is seen."""
    srgb = np.array(colour) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    ratio = TO_XYZ @ np.clip(seen @ linear, 0, 1) / WHITE
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", SEEN)
def test_colours_are_told_apart(kind: str) -> None:
    colours = [*map(label_colour, (*range(10), NONE)), UNREADABLE]  # nine classes, those without a key, none
    seen = [lab(colour, np.asarray(SEEN[kind])) for colour in colours]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 12


@pytest.mark.parametrize("zoom", [1, 4, 16])
@pytest.mark.parametrize("count", [20, 257])
def test_a_part_of_the_timeline_has_the_cursor_in_it(count: int, zoom: int) -> None:
    for cursor in range(count):
        first, stop = zoomed_stretch(cursor, count, zoom)
        assert 0 <= first <= cursor < stop <= count
        assert stop - first == -(-count // zoom)

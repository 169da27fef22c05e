"""Text is drawn in any script for which there is a font."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from storage import drawing


def ink(text: str) -> bytes:
    canvas = drawing.Canvas(60, 40)
    canvas.text((2, 2), text, 24, drawing.INK)
    return np.asarray(canvas.finished()).tobytes()


def test_letters_of_another_script_are_no_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        ImageFont.truetype("DejaVuSans.ttf", 24)
    except OSError:
        pytest.skip("needs the font DejaVu Sans (fonts-dejavu-core)")
    assert ink("Ж") != ink("Щ")
    monkeypatch.setattr(drawing, "FONT_FILES", ("none.ttf",))
    drawing.find_font.cache_clear()
    assert ink("Ж") == ink("Щ"), "without a font both are boxes"
    drawing.find_font.cache_clear()


def test_a_text_is_cut_to_its_room() -> None:
    canvas = drawing.Canvas(100, 20, fine=2)
    cut = canvas.fitting("a very long name\nof a class", 12, 60)
    assert cut.startswith("a very") and cut.endswith("…") and canvas.text_width(cut, 12) <= 60
    assert canvas.finished().size == (100, 20)

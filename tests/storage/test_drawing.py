"""Text is drawn in any script for which there is a font."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from storage import drawing

needs_dejavu = pytest.mark.skipif(
    not any(path.endswith(drawing.BOLD_FILE) for path in drawing._installed_fonts()),
    reason="needs the font DejaVu Sans (fonts-dejavu-core)",
)


def ink(text: str) -> bytes:
    canvas = drawing.Canvas(60, 40)
    canvas.text((2, 2), text, 24, drawing.INK)
    return np.asarray(canvas.finished()).tobytes()


@pytest.fixture
def no_usual_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only Pillow's own font, which knows Latin letters, and what `FONT_DIRECTORIES` has."""
    monkeypatch.setattr(drawing, "FONT_FILES", ("none.ttf",))
    monkeypatch.setattr(drawing, "BOLD_FILE", "none.ttf")
    caches = drawing._font_for, drawing._installed_fonts
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@needs_dejavu
@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("text", ["дверь", "שלום", "Ωμέγα"])
def test_letters_that_the_usual_fonts_lack(text: str, bold: bool, no_usual_fonts: None) -> None:
    """They are looked for in all fonts that are installed; if they are in none, they are boxes."""
    font = drawing.find_font(text, 24, bold=bold)
    assert len({bytes(font.getmask(letter)) for letter in text}) == len(set(text)), "letters look the same: boxes"


def test_without_a_font_letters_are_boxes(no_usual_fonts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "FONT_DIRECTORIES", ())
    assert ink("Ж") == ink("Щ")


@needs_dejavu
def test_letters_of_another_script_are_no_boxes() -> None:
    assert ink("Ж") != ink("Щ")


@needs_dejavu
def test_bold_text_is_bold() -> None:
    plain, bold = (drawing.find_font("door", 24, bold=bold).getmask("door") for bold in (False, True))
    assert sum(bytes(bold)) > 1.2 * sum(bytes(plain))


def test_a_text_is_cut_to_its_room() -> None:
    canvas = drawing.Canvas(100, 20, fine=2)
    cut = canvas.fitting("a very long name\nof a class", 12, 60)
    assert cut.startswith("a very") and cut.endswith("…") and canvas.text_width(cut, 12) <= 60
    assert canvas.finished().size == (100, 20)

"""Pictures that are drawn: shapes, frames, and text in any script for which the system has a font.

Contact sheets (`storage.care.sheet`) and plots (`storage.streams.plot`) are drawn on this canvas.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.durable.files import write_new
from storage.errors import StorageError

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

PAPER, INK, FAINT, GRID = "#ffffff", "#1d2129", "#6b7280", "#e5e7eb"
MISSING = "#d1d5db"  # a frame that can't be read

FONT_FILES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "FreeSans.ttf",
    "Arial.ttf",
)
"""Fonts of the system, which Pillow finds by their names. The first that has all letters of a text is taken."""
NO_LETTER = "\U0010ffff"  # no font has it: it is drawn as what stands for a missing letter
PLAINER = str.maketrans({"×": "x", "²": "^2", "³": "^3", "µ": "u"})


def refuse_existing(target: Path, what: str) -> None:
    """Raise `StorageError` if there is a file of that name; `what` the picture is called, for the message."""
    if target.exists() or target.is_symlink():
        raise StorageError(f"{target} exists; choose another name for the {what}, or remove it first")


def write_picture(target: Path, image: Image.Image, what: str) -> None:
    """Write a picture as a PNG file that must not exist yet; `what` it is called, for the message.

    Raises
    ------
    StorageError
        The file exists, or can't be written.
    """
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    try:
        write_new(target, data.getvalue())
    except FileExistsError:
        refuse_existing(target, what)
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror}; choose a place that you may write to") from None


class Canvas:
    """A picture to draw on, `fine` times as large as it will be: `finished` makes it small, which smooths lines.

    All places and sizes are in pixels of the finished picture, x before y; colours are like ``#1d2129``.
    """

    def __init__(self, width: int, height: int, *, fine: int = 1) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        self._fine = fine
        self._image = Image.new("RGB", (width * fine, height * fine), PAPER)
        self._draw: ImageDraw.ImageDraw = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        from PIL import Image

        if self._fine == 1:
            return self._image
        return self._image.resize((self.width, self.height), Image.Resampling.LANCZOS)

    def box(self, place: tuple[float, float, float, float], colour: str) -> None:
        """Fill a rectangle: left, top, right, bottom."""
        left, top, right, bottom = (round(side * self._fine) for side in place)
        self._draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def bar(self, place: tuple[float, float, float, float], colour: str) -> None:
        """Fill a rectangle with round corners."""
        left, top, right, bottom = (round(side * self._fine) for side in place)
        radius = min(5 * self._fine, (right - left) // 2)
        self._draw.rounded_rectangle((left, top, max(right - 2, left), bottom - 1), radius, fill=colour)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
        fine = [(x * self._fine, y * self._fine) for x, y in points]
        self._draw.line(fine, colour, max(1, round(width * self._fine)), joint="curve")

    def paste(self, place: tuple[float, float], image: Image.Image) -> None:
        """Put a picture, of fine pixels, on it: its left upper corner goes to `place`."""
        self._image.paste(image, (round(place[0] * self._fine), round(place[1] * self._fine)))

    def text(self, place: tuple[float, float], text: str, size: int, colour: str, *, anchor: str = "la") -> None:
        """Write a line of text; `anchor` says which of its points is at `place`, as in Pillow."""
        font, text = _set(text, size * self._fine)
        fine = place[0] * self._fine, place[1] * self._fine
        self._draw.text(fine, text, colour, font, anchor if hasattr(font, "getname") else None)

    def text_width(self, text: str, size: int) -> float:
        font, text = _set(text, size * self._fine)
        return float(self._draw.textlength(text, font)) / self._fine

    def fitting(self, text: str, size: int, room: float) -> str:
        """As much of a text as there is room for."""
        text = " ".join(text.split())
        if self.text_width(text, size) <= room:
            return text
        while text and self.text_width(f"{text}…", size) > room:
            text = text[:-1]
        return f"{text}…" if text else ""


@lru_cache(maxsize=512)
def find_font(text: str, size: int) -> Any:
    """A font with all letters of a text, for Pillow: its own or one of the system's; if none has all, Pillow's own.

    `size` is in pixels.
    """
    own = _own_font(size)
    if not hasattr(own, "getname") or _has_all(own, text):
        return own
    fonts = (font for name in FONT_FILES if (font := _system_font(name, size)) is not None)
    return next((font for font in fonts if _has_all(font, text)), own)


@lru_cache(maxsize=32)
def _own_font(size: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size, and Latin letters only
        return ImageFont.load_default()


@lru_cache(maxsize=128)
def _system_font(name: str, size: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _has_all(font: Any, text: str) -> bool:
    missing = bytes(font.getmask(NO_LETTER))
    return all(bytes(font.getmask(letter)) != missing for letter in set(text) if not letter.isspace())


def _set(text: str, size: int) -> tuple[Any, str]:
    """A font for a text, and the text in one line and in letters that the font has, as far as possible."""
    text = " ".join(text.split())
    font = find_font(text, size)
    if not hasattr(font, "getname"):
        return font, text.encode("latin-1", "replace").decode("latin-1")
    return font, text if _has_all(font, text) else text.translate(PLAINER)

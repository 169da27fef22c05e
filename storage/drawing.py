"""Pictures that are drawn: shapes, frames, and text in any script for which the system has a font.

Contact sheets (`storage.care.sheet`) and plots (`storage.streams.plot`) are drawn on this canvas. Windows have a canvas
of their own, which is drawn on at every key, and take their fonts from here.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.durable.files import appearing, replace_file
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
"""Fonts of the system, which Pillow finds by their names; the first is the usual one, after it comes Pillow's own."""
BOLD_FILE = "DejaVuSans-Bold.ttf"
FONT_DIRECTORIES = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
"""Where fonts with letters that all of these lack are looked for."""
SEAL = "pi-capture"  # the name of the text chunk that tells our pictures from others
NO_LETTER = "\U0010ffff"  # no font has it: it is drawn as what stands for a missing letter
PLAINER = str.maketrans({"×": "x", "²": "^2", "³": "^3", "µ": "u"})


@dataclass(frozen=True, slots=True)
class Subject:
    """What a picture shows: a word for it, such as ``sheet``, and the recordings. The next one may take its place."""

    what: str
    recordings: Sequence[Path]

    def seal(self, image: Image.Image) -> str:
        """What is written into the file: a hash of the subject and of the pixels, which no other picture has."""
        named = "\0".join([self.what, *(os.path.realpath(path) for path in self.recordings)])
        return hashlib.sha256(os.fsencode(named) + image.tobytes()).hexdigest()

    def is_shown_by(self, file: Path) -> bool:
        """Whether a file is a picture of this subject as `write_picture` left it."""
        from PIL import Image

        if file.is_symlink() or not file.is_file():
            return False
        try:
            with Image.open(file, formats=("PNG",)) as image:
                seal = image.info.get(SEAL)
                return isinstance(seal, str) and seal == self.seal(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return False


def refuse_existing(target: Path, subject: Subject) -> None:
    """Raise `StorageError` if there is a file of that name, unless it is an older picture of the same subject."""
    if os.path.lexists(target) and not subject.is_shown_by(target):
        raise StorageError(f"{target} exists; choose another name for the {subject.what}, or remove it first")


def write_picture(target: Path, image: Image.Image, subject: Subject) -> None:
    """Write a picture as a PNG file. Raises StorageError as `refuse_existing`, or if it can't be written."""
    from PIL import PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    texts.add_text(SEAL, subject.seal(image))
    if subject.is_shown_by(target):
        content = io.BytesIO()
        image.save(content, "PNG", optimize=True, pnginfo=texts)
        try:
            replace_file(target, content.getvalue())
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}; the older picture is still there") from None
        return
    with appearing(target) as part:
        image.save(part, "PNG", optimize=True, pnginfo=texts)


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


def find_font(text: str, size: int, *, bold: bool = False) -> Any:
    """The first font, for Pillow, that has all letters of a text; if none has, the one that has most of them.

    `size` is in pixels. Some scripts have no bold font: then it is a regular one.
    """
    return _font_for(frozenset(letter for letter in text if not letter.isascii()), size, bold)


@lru_cache(maxsize=512)
def _font_for(letters: frozenset[str], size: int, bold: bool) -> Any:
    """As `find_font`, by the letters that not every font has."""
    best, most = _own_font(size), -1
    for font in _fonts(size, bold):
        if (has := _letters_in(font, letters)) > most:
            best, most = font, has
        if most == len(letters):
            break
    return best


def _fonts(size: int, bold: bool) -> Iterator[Any]:
    """The fonts of this machine, the preferred ones first."""
    own = _own_font(size)
    for name in (*[BOLD_FILE] * bold, *FONT_FILES[:1]):
        yield _system_font(name, size)
    if hasattr(own, "getname"):
        yield own
    for name in FONT_FILES[1:]:
        yield _system_font(name, size)
    for path in _installed_fonts():
        yield _system_font(path, size)


@lru_cache(maxsize=1)
def _installed_fonts() -> list[str]:
    """The font files of this machine, regular ones first."""
    roots = [Path(root).expanduser() for root in FONT_DIRECTORIES]
    found = [str(path) for root in roots for path in root.rglob("*") if path.suffix.lower() in (".ttf", ".otf", ".ttc")]
    return sorted(found, key=lambda path: ("bold" in path.lower() or "italic" in path.lower(), path))


@lru_cache(maxsize=32)
def _own_font(size: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size, and Latin letters only
        return ImageFont.load_default()


@cache
def _system_font(name: str, size: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _letters_in(font: Any, letters: frozenset[str]) -> int:
    """How many of some letters a font has: one that it lacks looks like `NO_LETTER`. -1 if there is no such font."""
    if font is None:
        return -1
    known = frozenset(letter for letter in letters if letter.isascii() or not letter.isprintable())
    if known == letters or not hasattr(font, "getname"):
        return len(known)
    missing = bytes(font.getmask(NO_LETTER))
    return len(known) + sum(bytes(font.getmask(letter)) != missing for letter in letters - known)


def _set(text: str, size: int) -> tuple[Any, str]:
    """A font for a text, and the text in one line and in letters that the font has, as far as possible."""
    text = " ".join(text.split())
    font = find_font(text, size)
    if not hasattr(font, "getname"):
        return font, text.encode("latin-1", "replace").decode("latin-1")
    letters = frozenset(text)
    return font, text if _letters_in(font, letters) == len(letters) else text.translate(PLAINER)

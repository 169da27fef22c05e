"""A picture to draw on: filled shapes, smooth text and other pictures, in RGB, in window coordinates.

Text is Pillow's, as OpenCV's has no letters beyond ASCII. All is drawn anew at every key: so, unlike
`storage.drawing.Canvas`, this is an array for OpenCV, and keeps the masks of words and smooth shapes, which takes a
fifteenth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from storage.drawing import find_font

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import ImageDraw

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""x, y, width, height."""
Place = tuple[int, int]
"""x, y."""

SMOOTH = 4  # times as large as shown, when shapes are drawn


@dataclass(frozen=True, slots=True)
class Font:
    """A size in pixels, and a weight."""

    size: int = 14
    bold: bool = False


PLAIN, BOLD = Font(), Font(bold=True)


class Canvas:
    """A picture of `width` by `height` pixels, to be filled first.

    Attributes
    ----------
    pixels : ndarray, shape (height, width, 3), uint8, RGB
    """

    def __init__(self, width: int, height: int) -> None:
        import numpy as np

        self.size = self.width, self.height = width, height
        self.pixels: NDArray[np.uint8] = np.empty((height, width, 3), np.uint8)

    def fill(self, box: Box, colour: Colour) -> None:
        """Fill a rectangle."""
        import cv2

        cv2.rectangle(self.pixels, box, colour, cv2.FILLED)  # numpy takes fifty times as long for three bytes a pixel

    def frame(self, box: Box, colour: Colour, thickness: int) -> None:
        """Draw a rectangle's outline, inside it."""
        x, y, width, height = box
        self.fill((x, y, width, thickness), colour)
        self.fill((x, y + height - thickness, width, thickness), colour)
        self.fill((x, y, thickness, height), colour)
        self.fill((x + width - thickness, y, thickness, height), colour)

    def pill(self, box: Box, colour: Colour, radius: int = 6) -> None:
        """Fill a rectangle with round corners."""
        x, y, width, height = box
        if width > 0 and height > 0:
            self._stain(x, y, _round_mask(width, height, min(radius, width // 2, height // 2)), colour)

    def triangle(self, box: Box, colour: Colour, *, left: bool = False) -> None:
        """Fill a triangle that points to the right, or to the left."""
        x, y, width, height = box
        mask = _triangle_mask(width, height)
        self._stain(x, y, mask[:, ::-1] if left else mask, colour)

    def text(self, place: Place, text: str, colour: Colour, font: Font = PLAIN, align: str = "left") -> int:
        """Write a line of text; returns its width.

        `place` is its left or right end, or its middle, as `align` says; at half its height.
        """
        mask = _text_mask(text, font)
        x = place[0] - {"left": 0, "right": mask.shape[1], "middle": mask.shape[1] // 2}[align]
        self._stain(x, place[1] - mask.shape[0] // 2, mask, colour)
        return int(mask.shape[1])

    def paste(self, x: int, y: int, picture: NDArray[np.uint8]) -> None:
        """Put another picture on it."""
        height, width = picture.shape[:2]
        self.pixels[y : y + height, x : x + width] = picture[: max(0, self.height - y), : max(0, self.width - x)]

    def dim(self, box: Box, share: float) -> None:
        """Take a share of the light from a rectangle."""
        x, y, width, height = box
        part = self.pixels[y : y + height, x : x + width]
        part[:] = (part * (1 - share)).astype(part.dtype)

    def _stain(self, x: int, y: int, mask: NDArray[np.uint8], colour: Colour) -> None:
        """Colour pixels by the share of the mask: 0 leaves them, 255 covers them."""
        import numpy as np

        mask = mask[max(0, -y) : max(0, self.height - y), max(0, -x) : max(0, self.width - x)]
        x, y = max(0, x), max(0, y)
        part = self.pixels[y : y + mask.shape[0], x : x + mask.shape[1]]
        if part.size:
            share = mask[..., None].astype(np.uint16)
            part[:] = ((part * (255 - share) + np.array(colour, np.uint16) * share) // 255).astype(np.uint8)


def text_width(text: str, font: Font = PLAIN) -> int:
    """Return the width of a text, in pixels."""
    return int(_text_mask(text, font).shape[1])


@lru_cache(maxsize=512)
def shortened(text: str, width: int, font: Font = PLAIN) -> str:
    """Return as much of a text as fits into a width."""
    if text_width(text, font) <= width:
        return text
    while text and text_width(f"{text}…", font) > width:
        text = text[:-1]
    return f"{text}…"


@lru_cache(maxsize=1024)
def _text_mask(text: str, font: Font) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image, ImageDraw

    face = find_font(text, font.size, bold=font.bold)
    left, _, right, _ = (int(edge) for edge in face.getbbox(text))
    top, bottom = (int(edge) for edge in face.getbbox("Ág|")[1::2])
    image = Image.new("L", (max(1, right - left + 1), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=face)
    return np.asarray(image)


@lru_cache(maxsize=128)
def _round_mask(width: int, height: int, radius: int) -> NDArray[np.uint8]:
    corners = (0, 0, width * SMOOTH - 1, height * SMOOTH - 1)
    return _drawn(width, height, lambda draw: draw.rounded_rectangle(corners, radius * SMOOTH, 255))


@lru_cache(maxsize=32)
def _triangle_mask(width: int, height: int) -> NDArray[np.uint8]:
    right, bottom = width * SMOOTH - 1, height * SMOOTH - 1
    return _drawn(width, height, lambda draw: draw.polygon([(0, 0), (right, bottom / 2), (0, bottom)], 255))


def _drawn(width: int, height: int, draw: Callable[[ImageDraw.ImageDraw], None]) -> NDArray[np.uint8]:
    """Draw a mask several times as large and reduce it, which makes its edges smooth."""
    import numpy as np
    from PIL import Image, ImageDraw

    image = Image.new("L", (width * SMOOTH, height * SMOOTH))
    draw(ImageDraw.Draw(image))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))

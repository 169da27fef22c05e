"""Pictures that carry their number: sixteen black or white blocks along the top edge, the highest bit first."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Size = tuple[int, int]  # width, height
BITS = 16
BLACK, WHITE = 16, 235  # as video has them
SQUARE = 40


def draw(number: int, size: Size) -> NDArray[np.uint8]:
    """Return a grey picture, (height, width), with a square that moves over a ramp."""
    width, height = size
    picture = np.tile(np.linspace(BLACK, 200, width).astype(np.uint8), (height, 1))
    left = number * 8 % (width - SQUARE)
    picture[height // 2 : height // 2 + SQUARE, left : left + SQUARE] = WHITE
    for bit in range(BITS):
        is_set = number >> (BITS - 1 - bit) & 1
        picture[: height // 8, bit * width // BITS : (bit + 1) * width // BITS] = WHITE if is_set else BLACK
    return picture


def number_of(grey: NDArray[np.uint8]) -> int:
    """Read the number of a picture, (height, width), that may have been compressed."""
    height, width = grey.shape
    centres = [bit * width // BITS + width // (2 * BITS) for bit in range(BITS)]
    return int("".join("1" if grey[height // 16, x] > 128 else "0" for x in centres), base=2)


@cache  # an emulated processor is too slow for thirty of them a second
def jpeg(number: int, size: Size) -> bytes:
    out = io.BytesIO()
    # In colour, as the webcams have it: there are drivers that take no grey JPEG.
    Image.fromarray(draw(number, size)).convert("RGB").save(out, "JPEG", quality=85)
    return out.getvalue()


def yuyv(number: int, size: Size) -> bytes:
    pairs = np.full((*size[::-1], 2), 128, np.uint8)
    pairs[..., 0] = draw(number, size)
    return pairs.tobytes()

"""One picture as a PNG file, and back.

The encoder is numpy's subtraction and a fast deflate; the files are ordinary 8-bit RGB PNG.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from threading import Lock
from typing import TYPE_CHECKING

from isal import isal_zlib

from storage.formats.deflate import deflate, inflate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FILTER_SUB = 1
MAX_PIXELS = 100_000_000  # larger pictures than any camera's are taken for an attack
MAX_BYTES = 4 * MAX_PIXELS
BYTES_AT_ONCE = 1 << 16  # stays in the cache; larger pieces would be new pages from the system each time
LARGE_PIXELS = 16_000_000  # a small board lacks the memory to check several larger ones at once


def encode_png(pixels: NDArray[np.uint8], texts: Mapping[str, str]) -> bytes:
    """One picture as a PNG file.

    Every pixel is stored as its difference to the one on its left (filter "sub"): of the five filters it makes the
    smallest files of those that one subtraction computes (``scripts/png_filters.py`` measures all).

    Parameters
    ----------
    pixels : ndarray, shape (height, width, 3), uint8, RGB
    texts : mapping
        Keyword and text of each ``tEXt`` chunk, both Latin-1. They come before the picture, so that they can be read
        without it.
    """
    import numpy as np

    height, width, _ = pixels.shape
    rows = pixels.reshape(height, width * 3)
    filtered = np.empty((height, 1 + width * 3), np.uint8)
    filtered[:, 0] = FILTER_SUB
    filtered[:, 1:4] = rows[:, :3]
    np.subtract(rows[:, 3:], rows[:, :-3], out=filtered[:, 4:])
    return b"".join(
        [
            SIGNATURE,
            *_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            *(part for text in texts.items() for part in _chunk(b"tEXt", "\0".join(text).encode("latin-1"))),
            *_chunk(b"IDAT", deflate(filtered)),
            *_chunk(b"IEND", b""),
        ]
    )


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG or JPEG file: shape (height, width, 3), uint8, RGB. Alpha is dropped, grey is spread, and of
    16 bits the upper 8 are taken. A photo that a phone has stored lying on its side is put upright, as its EXIF says.

    Raises
    ------
    ValueError
        It is no whole picture, or one of more than `MAX_PIXELS` pixels.
    """
    import numpy as np
    from PIL import ImageOps

    if (pixels := _decoded_as_encoded(data)) is not None:
        return pixels
    with _opened(data) as image:
        if image.mode.startswith("I"):  # Pillow would make all but the darkest of its 65536 greys white
            grey = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        upright = ImageOps.exif_transpose(image) if image.format == "JPEG" else image
        return np.asarray(upright.convert("RGB"))


def _decoded_as_encoded(data: bytes) -> NDArray[np.uint8] | None:
    """The pixels of a whole file like those of `encode_png`, in a third of the time that Pillow takes; else None."""
    import numpy as np

    head = struct.pack(">IIBBBBB", *struct.unpack_from(">II", data, 16), 8, 2, 0, 0, 0) if len(data) > 33 else b""
    if not head or data[16:29] != head:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    size = height * (1 + 3 * width)
    if not 0 < width * height <= MAX_PIXELS:
        return None
    try:
        deflated = [body for kind, body in read_chunks(data) if kind == b"IDAT"]
        content = inflate(deflated[0] if len(deflated) == 1 else b"".join(deflated), size)
    except ValueError:
        return None
    rows = np.frombuffer(content, np.uint8)
    if len(rows) != size or (rows[:: 1 + 3 * width] != FILTER_SUB).any():
        return None
    # Sums along each row: of pairs of pixels, then of pairs of pairs … Some rows at a time stay in the cache.
    pixels = np.empty((height, 3 * width), np.uint8)
    differences = rows.reshape(height, -1)[:, 1:]
    at_once = max(1, BYTES_AT_ONCE // (3 * width))
    for top in range(0, height, at_once):
        sums = differences[top : top + at_once]
        step = 3
        while step < 3 * width:
            more = np.empty_like(sums)
            more[:, :step] = sums[:, :step]
            np.add(sums[:, step:], sums[:, :-step], out=more[:, step:])
            sums, step = more, 2 * step
        pixels[top : top + at_once] = sums
    return pixels.reshape(height, width, 3)


def check_image(data: bytes) -> None:
    """Decode a picture that `decode_image` takes, and keep nothing of it; only one large one at a time.

    Raises
    ------
    ValueError
        It is no whole picture, one of more than `MAX_PIXELS` pixels, or one that Keras misreads.
    """
    with _opened(data) as image, _one_at_a_time if image.width * image.height > LARGE_PIXELS else nullcontext():
        if image.format == "BMP" and image.mode in ("P", "1"):
            raise ValueError("is a BMP with a palette or two colours, which Keras misreads; convert it")
        image.load()


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Open a picture, which is decoded when it is used. Raises ValueError, also then, if anything is wrong with it."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP", "GIF")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels are more than a camera makes")
            yield image
    except UnidentifiedImageError:
        raise ValueError("not a picture" if data else "is empty") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).partition(" (")[0]  # Pillow goes on with bytes that were not processed
        raise ValueError(f"not a whole picture ({reason})") from None


_one_at_a_time = Lock()


def read_texts(data: bytes) -> dict[str, str]:
    """The ``tEXt`` chunks that come before the picture, as far as the bytes go and are whole."""
    texts = {}
    with suppress(ValueError):
        for kind, body in read_chunks(data):
            if kind == b"IDAT":
                break
            if kind == b"tEXt":
                keyword, _, text = bytes(body).decode("latin-1").partition("\0")
                texts[keyword] = text
    return texts


def read_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of each chunk of a PNG file, up to IEND.

    Raises
    ------
    ValueError
        The next one is not whole. The message goes on after the file's name.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("is no PNG file")
    view, at = memoryview(data), len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError("ends before its last chunk")
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = bytes(view[at + 4 : at + 8]), view[at + 8 : at + 8 + length]
        name = kind.decode("latin-1") if kind.isalpha() else repr(kind)
        if at + 12 + length > len(data):
            raise ValueError(f"ends in the middle of chunk {name}")
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if checksum != isal_zlib.crc32(body, isal_zlib.crc32(kind)):
            raise ValueError(f"is damaged in chunk {name} at byte {at}")
        yield kind, body
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, ...]:
    """In parts, which are joined with those of the others: the picture's body is large, and copied once."""
    checksum = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)

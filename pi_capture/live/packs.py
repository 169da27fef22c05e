"""Packs: pictures and their facts, one record after another, on a pipe, on a socket or in an answer over HTTP."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUALITY = 80


def packed(head: Mapping[str, Any], body: bytes = b"") -> bytes:
    """Return a record: the length of its head (4 bytes, big-endian), the head as JSON, the body.

    The head's ``bytes`` is the length of the body.
    """
    text = json.dumps({**head, "bytes": len(body)}).encode()
    return struct.pack(">I", len(text)) + text + body


def read_record(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Return the head and the body of the next record. Raises EOFError at the end of the stream."""
    (length,) = struct.unpack(">I", _read(stream, 4))
    head = json.loads(_read(stream, length))
    return head, _read(stream, head["bytes"])


def _read(stream: BinaryIO, count: int) -> bytes:
    if len(data := stream.read(count)) < count:
        raise EOFError
    return data


def as_jpeg(pixels: NDArray[np.uint8], most: int, quality: int = QUALITY) -> bytes:
    """Return a picture as JPEG, scaled down to `most` if it is larger.

    Parameters
    ----------
    pixels : ndarray, shape (height, width, 3), uint8, RGB
    most : int
        The longest side of the JPEG, in pixels.
    quality : int
        1 to 95, as Pillow counts.
    """
    import numpy as np
    from PIL import Image

    side = max(pixels.shape[:2])
    step = max(1, side // (2 * most))  # a cheap first step; `thumbnail` scales the rest
    image = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    if max(image.size) > most:
        image.thumbnail((most, most), Image.Resampling.BILINEAR, reducing_gap=1.0)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()

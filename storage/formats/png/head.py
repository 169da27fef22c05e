"""The facts in a frame's file without its picture: session, number, time (from its text chunks) and size.

Merging, splitting and describing a data directory read thousands of these. A picture of another program has no session,
number or time; where a file holds nonsense, the fact is None.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from storage.errors import StorageError
from storage.formats.png.codec import SIGNATURE, read_texts

HEAD_BYTES = 8192  # enough for the texts that come before the picture
ORIENTATION, UPRIGHT = 0x0112, 1  # in EXIF


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a frame's file.

    Attributes
    ----------
    session : str or None
        The recording session's id in ``recording.json``.
    index : int or None
        The frame's number when it was recorded.
    timestamp_ns : int or None
        Its capture time on the session's own clock.
    size : (int, int) or None
        Width and height in pixels, as stored; None if they can't be read.
    turned : bool
        Whether it is a photo whose EXIF says to turn it before it is shown.
    moving : bool
        Whether it is an animation; its first picture is the frame.
    """

    session: str | None = None
    index: int | None = None
    timestamp_ns: int | None = None
    size: tuple[int, int] | None = None
    turned: bool = False
    moving: bool = False


def read_head(path: Path | str) -> Head:
    """The head of a file. Raises StorageError if that can't be read: it would seem to be of no session."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(HEAD_BYTES)
            if data and not data.startswith(SIGNATURE):
                return _head_of_photo(file)
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror}") from None
    return head_of(data)


def head_of(data: bytes) -> Head:
    """The head of a file's bytes; of a PNG file, the first `HEAD_BYTES` are enough."""
    if not data.startswith(SIGNATURE):
        return _head_of_photo(io.BytesIO(data))
    if len(data) < 24:
        return Head()
    texts = read_texts(data)
    session = texts.get("Session", "")
    return Head(
        session=session if re.fullmatch(r"[0-9A-Za-z-]{1,64}", session) else None,
        index=_integer(texts.get("Index")),
        timestamp_ns=_integer(texts.get("Timestamp")),
        size=struct.unpack_from(">II", data, 16),
        moving=0 < data.find(b"acTL") < data.find(b"IDAT"),
    )


def _head_of_photo(file: IO[bytes]) -> Head:
    from PIL import Image

    try:
        with Image.open(file, formats=("JPEG", "BMP", "GIF")) as image:
            turned = image.format == "JPEG" and image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT
            return Head(size=image.size, turned=turned, moving=getattr(image, "is_animated", False))
    except Exception:  # damaged files make an image library raise anything; see `whole` for what is wrong
        return Head()


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,20}", text, re.ASCII) else None

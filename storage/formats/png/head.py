"""What a frame's file tells without its picture: session, number, time and size, from the text chunks at its head.

Merging, splitting and describing a data directory read thousands of these. Pictures from elsewhere carry nothing of it,
and strangers' files may carry nonsense: then it is None.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StorageError
from storage.formats.png.codec import SIGNATURE, read_texts

HEAD_BYTES = 8192  # enough for the texts that come before the picture


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
        Width and height in pixels; None if it is no PNG.
    """

    session: str | None = None
    index: int | None = None
    timestamp_ns: int | None = None
    size: tuple[int, int] | None = None


def read_head(path: Path | str) -> Head:
    """The head of a file. Raises StorageError if that can't be read: it would seem to be of no session."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(HEAD_BYTES)
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror}") from None
    return head_of(data)


def head_of(data: bytes) -> Head:
    """The head of a file's bytes, or of its first `HEAD_BYTES`."""
    if not data.startswith(SIGNATURE) or len(data) < 24:
        return Head()
    texts = read_texts(data)
    session = texts.get("Session", "")
    return Head(
        session=session if re.fullmatch(r"[0-9A-Za-z-]{1,64}", session) else None,
        index=_integer(texts.get("Index")),
        timestamp_ns=_integer(texts.get("Timestamp")),
        size=struct.unpack_from(">II", data, 16),
    )


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,20}", text, re.ASCII) else None

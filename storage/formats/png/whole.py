"""Whether the file of a frame is a whole picture: it is walked chunk by chunk, and decoded.

This is stricter than the usual libraries. Pillow loads a PNG without its end, on which Keras then fails in the middle
of an epoch; so a frame counts as whole only if every reader takes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from storage.formats.deflate import InflateError, inflation
from storage.formats.png.codec import MAX_PIXELS, SIGNATURE, check_image, read_chunks

PIECE_BYTES = 1 << 20
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Numbers a pixel, by the colour type of a PNG without a palette."""


def fault(data: bytes) -> str | None:
    """Why the bytes of a file are no whole picture, in words that follow its name; None if they are."""
    if not data:
        return "is empty"
    if not data.startswith(SIGNATURE):
        return _fault_for_pillow(data) if any(data) else "holds nothing but zeros"
    try:
        chunks = list(read_chunks(data))
    except ValueError as error:
        return str(error)
    return _fault_of_png(data, chunks)


def _fault_of_png(data: bytes, chunks: Sequence[tuple[bytes, memoryview]]) -> str | None:
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or len(chunks[0][1]) != 13 or b"IDAT" not in kinds:
        return "has no header or no pixels"
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if not 0 < width * height <= MAX_PIXELS:
        return f"claims {width}x{height} pixels"
    if depth not in (8, 16) or colour not in CHANNELS or interlace:
        return _fault_for_pillow(data)
    row = 1 + width * CHANNELS[colour] * depth // 8
    return _fault_of_rows([body for kind, body in chunks if kind == b"IDAT"], row, height)


def _fault_of_rows(deflated: Sequence[memoryview], row: int, height: int) -> str | None:
    """Decode the pixels of a PNG, as far as that can fail; a row is a filter's number and its pixels, `row` bytes."""
    inflate = inflation()
    done = 0
    try:
        for piece in _inflated(inflate, deflated):
            if piece[-done % row :: row].translate(None, b"\0\1\2\3\4"):
                return "has a row with an unknown filter"
            done += len(piece)
            if done > height * row:
                break
    except InflateError as error:
        return f"has pixels that can't be decompressed ({error})"
    if done != height * row or not inflate.eof:
        more = " and more" if done >= height * row else ""
        return f"has pixels for {min(done // row, height)} of its {height} rows{more}"
    return None


def _inflated(inflate: Any, deflated: Sequence[memoryview]) -> Iterator[bytes]:
    """What is deflated in several chunks, a little at a time: a small file may be a thousand times as large."""
    for chunk in deflated:
        rest: bytes | memoryview = chunk
        while not inflate.eof:
            piece = inflate.decompress(rest, PIECE_BYTES)
            yield piece
            rest = inflate.unconsumed_tail
            if not rest and len(piece) < PIECE_BYTES:
                break


def _fault_for_pillow(data: bytes) -> str | None:
    try:
        check_image(data)
    except ValueError as error:
        return str(error)
    except Exception as error:  # a damaged file makes an image library raise anything
        return f"not a whole picture ({type(error).__name__}: {error})"
    return None

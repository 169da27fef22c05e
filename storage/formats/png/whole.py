"""Whether the file of a frame is a whole picture: it is walked chunk by chunk, and decoded.

This is stricter than the usual libraries. Pillow loads a PNG without its end, on which Keras then fails in the middle
of an epoch; so a frame counts as whole only if every reader takes it.
"""

from __future__ import annotations

import struct
from pathlib import Path

from isal import igzip_lib, isal_zlib

from storage.formats.png.codec import MAX_PIXELS, SIGNATURE, decode_image

MAX_BYTES = 1_000_000_000  # a larger file is no picture


def why_not_whole(file: Path) -> str | None:
    """Why a file is no whole picture, in words that follow its name; None if it is one."""
    try:
        if file.stat().st_size > MAX_BYTES:
            return "is too large for a picture"
        return fault(file.read_bytes())
    except OSError as error:
        return f"can't be read: {error.strerror}"


def fault(data: bytes) -> str | None:
    """Why the bytes of a file are no whole picture; None if they are."""
    if not data:
        return "is empty"
    if not data.startswith(SIGNATURE):
        return "holds nothing but zeros" if not any(data) else _fault_for_pillow(data)
    chunks, reason = _walk(data)
    if reason is not None:
        return reason
    header = b"".join(body for kind, body in chunks if kind == b"IHDR")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if not 0 < width * height <= MAX_PIXELS:
        return f"claims {width}x{height} pixels"
    if (depth, colour, interlace) != (8, 2, 0):
        return _fault_for_pillow(data)
    return _fault_of_rows(b"".join(body for kind, body in chunks if kind == b"IDAT"), width, height)


def _walk(data: bytes) -> tuple[list[tuple[bytes, memoryview]], str | None]:
    """The chunks of a PNG up to IEND, and what is wrong with them."""
    chunks: list[tuple[bytes, memoryview]] = []
    view, at = memoryview(data), len(SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(data):
            return chunks, "ends before its last chunk"
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = bytes(view[at + 4 : at + 8]), view[at + 8 : at + 8 + length]
        name = kind.decode("latin-1") if kind.isalpha() else repr(kind)
        if at + 12 + length > len(data):
            return chunks, f"ends in the middle of chunk {name}"
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if checksum != isal_zlib.crc32(body, isal_zlib.crc32(kind)):
            return chunks, f"is damaged in chunk {name} at byte {at}"
        chunks.append((kind, body))
        at += 12 + length
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") != 1 or len(chunks[0][1]) != 13 or b"IDAT" not in kinds:
        return chunks, "has no header or no pixels"
    return chunks, None


def _fault_of_rows(deflated: bytes, width: int, height: int) -> str | None:
    """Decode the pixels of an 8-bit RGB picture, as far as that can fail: a row is a filter and three bytes a pixel."""
    row = 1 + 3 * width
    inflate = isal_zlib.decompressobj()
    try:
        rows = inflate.decompress(deflated, height * row + 1)
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # isal has no types
        return f"has pixels that can't be decompressed ({error})"
    if len(rows) != height * row or not inflate.eof:
        return f"has pixels for {min(len(rows) // row, height)} of its {height} rows" + (
            " and more" if len(rows) >= height * row else ""
        )
    if max(rows[::row]) > 4:
        return "has a row with an unknown filter"
    return None


def _fault_for_pillow(data: bytes) -> str | None:
    try:
        decode_image(data)
    except ValueError as error:
        return str(error)
    except Exception as error:  # what strangers' files make an image library raise, nobody can foresee
        return f"not a whole picture ({type(error).__name__}: {error})"
    return None

"""Deflates and inflates pictures with the library that takes the fewest instructions for it on this processor.

On 64-bit Arm that is zlib-ng, elsewhere ISA-L, whose fast code is for x86-64 (``docs/performance.md`` has the figures).
Both write zlib streams (RFC 1950), and each reads those of the other.
"""

from __future__ import annotations

import platform
from importlib import import_module
from typing import TYPE_CHECKING, Any

from isal import igzip_lib

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ON_ARM = platform.machine() == "aarch64"  # pip asks the same where pyproject.toml names zlib-ng
DEFLATE_LEVEL = 1  # of ISA-L: 2 and 3 are slower and, on camera pictures, hardly smaller
WINDOW_BITS = 9  # a sensor's noise repeats nothing from further back: looking there costs time and finds no bytes
MEMORY_LEVEL = 9  # of zlib-ng: longer blocks, which have fewer tables of codes

_library = import_module("zlib_ng.zlib_ng" if ON_ARM else "isal.isal_zlib")
InflateError: type[Exception] = _library.error


def deflate(content: NDArray[np.uint8]) -> bytes:
    """A contiguous array as a zlib stream. It is meant for pictures with noise, in which hardly anything repeats."""
    deflated: bytes
    if ON_ARM:
        ng = _library
        stream = ng.compressobj(DEFLATE_LEVEL, ng.DEFLATED, ng.MAX_WBITS, MEMORY_LEVEL, ng.Z_HUFFMAN_ONLY)
        deflated = stream.compress(content) + stream.flush()
    else:
        deflated = igzip_lib.compress(content, DEFLATE_LEVEL, igzip_lib.COMP_ZLIB, hist_bits=WINDOW_BITS)
    return deflated


def inflate(deflated: bytes | memoryview, most: int) -> bytes:
    """The content of a whole zlib stream, at most `most` bytes.

    Raises
    ------
    ValueError
        It is damaged, has no end, or holds more.
    """
    stream = inflation()
    try:
        content: bytes = stream.decompress(deflated, most + 1)
    except InflateError:
        raise ValueError("it can't be decompressed") from None
    if not stream.eof or len(content) > most:
        raise ValueError("it has no end, or is longer than its shape")
    return content


def inflation() -> Any:  # neither library has a type for it that mypy can compare
    """A stream to be inflated a piece at a time, like that of `zlib.decompressobj`; raises `InflateError`."""
    return _library.decompressobj()

"""Check the pictures, times and facts that a program hands over, and copy what the program may change later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LATEST_SECONDS = (1 << 63) / 1e9  # what a format can keep, in nanoseconds


def pixels_of(image: NDArray[np.uint8] | bytes) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 RGB from such an array, or from a PNG or JPEG file.

    Raises
    ------
    ValueError
        It is neither.
    """
    import numpy as np

    if isinstance(image, bytes | bytearray | memoryview):
        from storage.formats.png.codec import decode_image

        return decode_image(bytes(image))
    pixels = np.array(image, order="C")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a frame is a (height, width, 3) uint8 array, RGB; this one is {pixels.shape} {pixels.dtype}")
    return pixels


def nanoseconds_of(timestamp: float) -> int:
    """Return a timestamp in seconds as nanoseconds. Raises ValueError for no number, and for more than formats keep."""
    if not abs(timestamp) < LATEST_SECONDS:  # nan is not less than anything
        raise ValueError(f"a timestamp is a number of seconds; this one is {timestamp}")
    return round(timestamp * 1e9)


def copy_of_json(facts: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a deep copy of facts that are JSON-serialisable. Raises ValueError, which names `what`, for others."""
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(facts)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be JSON-serialisable: {error}") from None
    return copy

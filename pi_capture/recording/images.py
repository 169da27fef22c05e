"""Pictures and facts that a program hands over: checked, and copied, as the program may change them afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pixels_of(image: NDArray[np.uint8] | bytes) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 RGB from such an array, or from a PNG or JPEG file.

    Raises
    ------
    ValueError
        It is something else.
    """
    import numpy as np

    if isinstance(image, bytes | bytearray | memoryview):
        from storage.formats.png.codec import decode_image

        return decode_image(bytes(image))
    pixels = np.array(image, order="C")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a frame is a (height, width, 3) uint8 array, RGB; this one is {pixels.shape} {pixels.dtype}")
    return pixels


def copy_of_json(facts: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a deep copy of facts that are JSON-serialisable. Raises ValueError, which names `what`, for others."""
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(facts)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be JSON-serialisable: {error}") from None
    return copy

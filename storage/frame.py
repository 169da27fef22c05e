"""One picture of a recording, and when and how it was taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes
    ----------
    pixels : ndarray, shape (height, width, 3), uint8
        Red, green, blue; C-contiguous. Treat it as read-only: several threads may look at it.
    index : int
        Position in the recording: 0, 1, 2 … A source counts what it delivered; the recorder numbers what it keeps.
    timestamp_ns : int
        Capture time in nanoseconds: of the monotonic clock for a live camera (from the sensor where it tells), of the
        file's own clock for a file.
    metadata : mapping
        What the camera reported, JSON-serialisable (``exposure_us``, ``analogue_gain`` …); may be empty.
        ``dropped_camera`` and ``dropped_queue`` count the frames lost between the frame before and this one; ``label``
        is the true class, from sources that know it.
    """

    pixels: NDArray[np.uint8]
    index: int
    timestamp_ns: int
    metadata: Mapping[str, Any] = field(default_factory=dict)

"""One picture of a recording, and when and how it was taken; also encoded, where the camera encodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Packet:
    """A picture as an encoder outside of `storage` made it, in the form in which a Matroska file holds it.

    Attributes
    ----------
    codec : str
        One of `storage.formats.video.codecs.CODECS`.
    data : bytes
    number : int
        0, 1, 2 … in the encoder's order. A picture that is no keyframe is decoded with the one before it: where a
        number is missing, nothing up to the next keyframe is of use.
    key : bool
        Whether it is decoded without others.
    private : bytes
        What the decoder needs before a keyframe; empty for other pictures.
    """

    codec: str
    data: bytes = field(repr=False)
    number: int
    key: bool
    private: bytes = b""

    def follows(self, last: int | None) -> bool:
        """Whether the packet can be decoded after the packet `last`; after None only a keyframe can."""
        return self.key or self.number - 1 == last


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
    packet : Packet, optional
        The same picture as the camera's own encoder made it: a recording of that codec keeps it as it is.
    """

    pixels: NDArray[np.uint8]
    index: int
    timestamp_ns: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    packet: Packet | None = None

    def __repr__(self) -> str:
        return f"<Frame {self.index}: {size_text(self.pixels.shape)}, timestamp_ns={self.timestamp_ns}>"

    def _repr_png_(self) -> bytes:
        """The picture, where a notebook shows the frame."""
        from storage.formats.png.codec import encode_png

        return encode_png(self.pixels, {})


def size_text(shape: Sequence[int]) -> str:
    """The size of a picture, as people write it, from its shape (height, width, 3).

    >>> size_text((480, 640, 3))
    '640x480'
    """
    return f"{shape[1]}x{shape[0]}"

"""Checks on packets that an encoder outside of this package made, before the writer stores them as they are.

A camera's encoder is a driver and firmware of unknown quality, and a recording must hold nothing that can't be decoded:
the first packet is decoded and compared with its picture, and each further one with the packet before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.formats.video.codecs import Codec, Decoder
from storage.frame import Packet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 16  # pixels: the mean of so many by so many survives the strongest compression
MOST_APART = 6.0  # of 255, on average; black in the wrong range is 16 away


class PacketChain:
    """Checks the packets of a recording, in order.

    Parameters
    ----------
    codec : Codec
    first : Packet
        The recording begins with it.
    """

    def __init__(self, codec: Codec, first: Packet) -> None:
        self._codec = codec
        self._first = first
        self._last: int | None = None

    def shows(self, pixels: NDArray[np.uint8]) -> bool:
        """Whether the first packet is a keyframe that shows this picture.

        Parameters
        ----------
        pixels : ndarray, shape (height, width, 3), uint8, RGB
        """
        import numpy as np

        if not self._first.key:
            return False
        height, width, _ = pixels.shape
        decoder = Decoder(self._codec, (width, height), self._first.private, threads=1)
        try:
            decoded = decoder.to_rgb(decoder.decode(self._first.data))
        except ValueError:
            return False
        return float(np.abs(_coarse(decoded) - _coarse(pixels)).mean()) <= MOST_APART

    def check(self, packet: Packet) -> None:
        """Raise ValueError if this packet can't be decoded after those that were stored."""
        if not packet.follows(self._last):
            raise ValueError(f"packet {packet.number} of the camera's encoder came without those before it")
        if packet.key and packet.private != self._first.private:
            raise ValueError("the camera's encoder changed its settings while it was recording")

    def stored(self, packet: Packet) -> None:
        """The packet is in the file."""
        self._last = packet.number


def _coarse(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The means of whole blocks: shape (rows, columns, 3), float32."""
    import numpy as np

    height, width, _ = pixels.shape
    down, across = min(BLOCK, height), min(BLOCK, width)
    whole = pixels[: height // down * down, : width // across * across]
    blocks = whole.reshape(height // down, down, width // across, across, 3)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means

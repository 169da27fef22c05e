"""What a Matroska file holds: tracks, and blocks of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VIDEO_TRACK, AUDIO_TRACK, SUBTITLE_TRACK = 1, 2, 17

Tags = Mapping[int | None, Mapping[str, str]]
"""The tags of each track, by its number, and under None those of the file."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What a track of samples has.

    Attributes
    ----------
    rate : float
        Samples a second, nominally.
    channels : int
    bits : int
        Of a sample; 0 where the codec has no such thing.
    delay_ns, roll_ns : int
        What a decoder puts before the first sample, and needs to decode before any other.
    """

    rate: float
    channels: int
    bits: int = 0
    delay_ns: int = 0
    roll_ns: int = 0


@dataclass(frozen=True, slots=True)
class Track:
    """A track of a file.

    Attributes
    ----------
    number : int
        1 to 126; what blocks call it.
    kind : int
        `VIDEO_TRACK`, `AUDIO_TRACK` or `SUBTITLE_TRACK`.
    codec : str
        Matroska's name for it, such as ``V_FFV1``.
    private : bytes
        What the decoder needs before the first block.
    name : str
    size : (int, int) or None
        Width and height of a video's pictures, in pixels.
    rgb : bool
        Whether its pictures are RGB in full range, rather than YUV in BT.601's.
    sound : Sound or None
        Of a track of samples.
    default : bool
        Whether players take it unasked.
    """

    number: int
    kind: int
    codec: str
    private: bytes = b""
    name: str = ""
    size: tuple[int, int] | None = None
    rgb: bool = False
    sound: Sound | None = None
    default: bool = True


@dataclass(frozen=True, slots=True)
class Block:
    """A packet of a track, as it stands in a file.

    Attributes
    ----------
    track : int
    time : int
        In microseconds of the file's own time.
    data : bytes
    facts : bytes
        What is known about the packet; FFmpeg tools copy it as "block additional".
    duration : int or None
        In microseconds, of a subtitle or of samples.
    since_reference : int
        0 for a packet that is decoded on its own; else microseconds since the one that it needs.
    intact : bool
        Whether its checksum is right.
    """

    track: int
    time: int
    data: bytes
    facts: bytes = b""
    duration: int | None = None
    since_reference: int = 0
    intact: bool = True


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a track, in the file's order.

    `times` are int64, in microseconds of the file's own time; `positions` int64, those of their clusters, in bytes;
    `keys` bool, which are decoded on their own; `marks` int64, the muxer's, None if only the blocks themselves tell.
    """

    times: NDArray[np.int64]
    positions: NDArray[np.int64]
    keys: NDArray[np.bool_]
    marks: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.times)


def no_blocks() -> Blocks:
    """The blocks of a track that has none."""
    import numpy as np

    return Blocks(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_))

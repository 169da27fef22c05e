"""How to turn a picture upright: phones store how they were held, and whether the picture is a mirror's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do with the rows and columns of a picture.

    Attributes
    ----------
    swap : bool
        Rows and columns change places.
    mirror, flip : bool
        Then columns, and rows, are put in reverse.
    """

    swap: bool = False
    mirror: bool = False
    flip: bool = False

    @staticmethod
    def of(image: av.VideoFrame) -> Turn:
        """The turn of a decoded picture, by the matrix that its file has for it."""
        a, b, c, d = _display_matrix(image)
        if abs(a) + abs(d) < abs(b) + abs(c):
            return Turn(True, mirror=c < 0, flip=b < 0)
        return Turn(False, mirror=a < 0, flip=d < 0)

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of a picture, as width and height, after turning or before."""
        return (size[1], size[0]) if self.swap else size

    def upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self == Turn():
            return pixels
        import numpy as np

        turned = pixels.transpose(1, 0, 2) if self.swap else pixels
        return np.ascontiguousarray(turned[:: -1 if self.flip else 1, :: -1 if self.mirror else 1])

    def details(self) -> Mapping[str, Any]:
        names = [name for name in ("swap", "mirror", "flip") if getattr(self, name)]
        return {"turned": names} if names else {}


def _display_matrix(image: av.VideoFrame) -> tuple[int, int, int, int]:
    """Return where x and y of the picture go on the screen: x' = a x + c y, y' = b x + d y."""
    import av
    import numpy as np
    from av.sidedata.sidedata import Type

    try:
        # From a small copy: a picture whose side data was read is not freed before garbage is collected.
        copy = image.reformat(width=16, height=16, format="gray")
        matrix = copy.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # its stubs lack this key
    except (ValueError, av.error.FFmpegError):  # side data that PyAV doesn't know, or colours that FFmpeg doesn't
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[round(image.rotation / 90) % 4]
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d

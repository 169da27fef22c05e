"""From a decoded picture to RGB and back, exactly: right to half a level, and the same on every processor.

FFmpeg converts YUV by its quickest way unless it is told otherwise. That way is up to 3 levels too dark, repeats one
sample of colour over two or four pixels, and gives other values on Arm than on x86.

The picture says which matrix (BT.601 if it says nothing), which range, and where its samples of colour lie (in the
centre of their pixels if it says nothing); between them colour is interpolated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.video.reformatter import VideoReformatter
    from numpy.typing import NDArray

EXACT = 0x2 | 0x2000 | 0x40000 | 0x80000
"""Of FFmpeg's libswscale: bilinear, full chroma interpolation, accurate rounding, the same in C and in assembler."""


def to_rgb(picture: av.VideoFrame, scaler: VideoReformatter, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Convert a picture, and scale it: averaging where it shrinks.

    Parameters
    ----------
    picture : VideoFrame
    scaler : VideoReformatter
        It keeps its tables from picture to picture: one for each stream.
    size : (int, int), optional
        Width and height of the array, in pixels; by default the picture's own.

    Returns
    -------
    ndarray, shape (height, width, 3), uint8
        Red, green, blue; C-contiguous; its own memory.

    Raises
    ------
    av.FFmpegError, ValueError
        FFmpeg can't convert or scale it.
    """
    import numpy as np

    width, height = own = picture.width, picture.height
    if size is not None:
        width, height = size
    # RGB is passed on as it is. All else goes by way of planes: FFmpeg makes them several times faster on x86.
    pixel_format = "rgb24" if picture.format.is_rgb and (width, height) == own else "gbrp"
    rgb = scaler.reformat(picture, width=width, height=height, format=pixel_format, interpolation=EXACT)
    pixels: NDArray[np.uint8] = np.ascontiguousarray(rgb.to_ndarray())
    # A picture that is RGB already is its own result: its memory belongs to the decoder, and is used again.
    return pixels.copy() if rgb is picture and pixels.base is not None else pixels

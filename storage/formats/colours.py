"""From a decoded picture to RGB: the colours that FFmpeg gives on a PC, on every processor.

FFmpeg's quickest ways compute differently on Arm and on x86. Off x86, most YUV pictures therefore become RGB by
arithmetic of our own, which gives to the bit what FFmpeg's gives there (``libswscale/x86/yuv2rgb_template.c``): one
sample of colour for two or four pixels. All others are left to FFmpeg, which is told to compute exactly.

The picture says which matrix (BT.601 if it says nothing) and which range. Matrices that FFmpeg has not are refused.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.video.reformatter import VideoReformatter
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

BILINEAR, BICUBIC, FULL_CHROMA = 0x2, 0x4, 0x2000
EXACTLY = 0x40000 | 0x80000
"""Of FFmpeg's libswscale: accurate rounding, and the same in C and in assembler."""

QUICK = {"yuv420p": 2, "yuvj420p": 2, "yuva420p": 2, "yuv422p": 1, "yuvj422p": 1}
"""Formats that FFmpeg converts in its quickest way, and how many rows have one row of colour samples."""

BT601 = 104597, 132201, 25675, 53279
BT2020, BT2020_CONSTANT = 9, 10
MATRICES = {
    **dict.fromkeys((0, 2, 5, 6), BT601),  # RGB, which YUV is not; not said; BT.601 for 50 and 60 Hz
    1: (117489, 138438, 13975, 34925),  # BT.709
    4: (104448, 132798, 24759, 53109),  # FCC
    7: (117579, 136230, 16907, 35559),  # SMPTE 240M
    **dict.fromkeys((BT2020, BT2020_CONSTANT), (110013, 140363, 12277, 42626)),
}
"""By their numbers in H.273: what Cr adds to red, Cb to blue, and Cb and Cr take from green, times 65536, for the
limited range (FFmpeg's ``ff_yuv2rgb_coeffs``)."""

FULL_RANGE = 2
FULL_RANGE_FORMATS = ("yuvj420p", "yuvj422p")


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
        Red, green, blue; C-contiguous; its own memory. Not scaled, its values are those of
        ``ffmpeg -i FILE -pix_fmt rgb24`` on x86.

    Raises
    ------
    av.FFmpegError, ValueError
        FFmpeg can't convert or scale it, such as YCgCo.
    """
    import numpy as np

    own = picture.width, picture.height
    width, height = size or own
    if picture.colorspace == BT2020_CONSTANT:  # FFmpeg refuses it, though its numbers for both are the same
        picture.colorspace = BT2020
    if (width, height) != own:
        # By way of planes, which is several times faster on x86.
        scaling = BILINEAR | FULL_CHROMA | EXACTLY
        scaled = scaler.reformat(picture, width=width, height=height, format="gbrp", interpolation=scaling)
        return np.ascontiguousarray(scaled.to_ndarray())
    quick = picture.format.name in QUICK and height % 2 == 0
    if quick and platform.machine() != "x86_64":
        return by_arithmetic(picture)
    rgb = scaler.reformat(picture, format="rgb24", interpolation=BICUBIC if quick else BICUBIC | EXACTLY)
    pixels: NDArray[np.uint8] = np.ascontiguousarray(rgb.to_ndarray())
    # A picture that is RGB already is its own result: its memory belongs to the decoder, and is used again.
    return pixels.copy() if rgb is picture and pixels.base is not None else pixels


def by_arithmetic(picture: av.VideoFrame) -> NDArray[np.uint8]:
    """What FFmpeg makes on x86 of a picture in one of the formats of `QUICK`, with an even height; as `to_rgb`.

    Raises
    ------
    ValueError
        FFmpeg does not have its matrix.
    """
    import numpy as np

    width, height, rows = picture.width, picture.height, QUICK[picture.format.name]
    full = picture.color_range == FULL_RANGE or picture.format.name in FULL_RANGE_FORMATS
    if picture.colorspace not in MATRICES:
        raise ValueError(f"matrix {picture.colorspace} of H.273 is not known")
    luma, red, green_cb, green_cr, blue = _factors(picture.colorspace, full)
    chroma = (width + 1) // 2, height // rows
    y = _times(_plane(picture, 0, (width, height)), 0 if full else 16, luma).reshape(-1, rows, width)
    cb, cr = (_plane(picture, number, chroma) for number in (1, 2))
    pixels = np.empty((height, width, 3), np.uint8)
    colours = _times(cr, 128, red), _times(cb, 128, green_cb) + _times(cr, 128, green_cr), _times(cb, 128, blue)
    for channel, colour in enumerate(colours):
        of_pixels = np.repeat(colour, 2, axis=1)[:, None, :width]
        np.clip(y + of_pixels, 0, 255, out=pixels.reshape(-1, rows, width, 3)[..., channel], casting="unsafe")
    return pixels


def _plane(picture: av.VideoFrame, number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    import numpy as np

    width, height = size
    plane = picture.planes[number]
    return np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]


def _times(samples: NDArray[np.uint8], zero: int, factor: int) -> Samples:
    """Samples above `zero`, times `factor` / 8192, rounded down."""
    import numpy as np

    return ((samples.astype(np.int32) - zero) * (8 * factor) >> 16).astype(np.int16)


@lru_cache
def _factors(matrix: int, full: bool) -> tuple[int, int, int, int, int]:
    """What luma, and Cr and Cb for red, green and blue, are multiplied with, times 8192."""
    red, blue, green_cb, green_cr = MATRICES[matrix]
    luma = 1 << 16
    colours = [red, -green_cb, -green_cr, blue]
    if full:
        colours = [int(colour * 224 / 255) for colour in colours]
    else:
        luma = luma * 255 // 219
    of_luma, of_red, of_green_cb, of_green_cr, of_blue = ((factor + 4) >> 3 for factor in (luma, *colours))
    return of_luma, of_red, of_green_cb, of_green_cr, of_blue

"""RGB by the standards' own arithmetic, in floating point."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

BT709 = 1
FULL = 2


def exact_rgb(picture: av.VideoFrame, siting: str) -> NDArray[np.float64]:
    """What a planar 8-bit YUV picture shows: shape (height, width, 3), 0 to 255, not rounded.

    Parameters
    ----------
    picture : VideoFrame
    siting : str
        Where its samples of colour lie in their pixels: ``centre``, or ``left`` as MPEG has them.
    """
    luma, *chroma = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in picture.planes
    )
    full = picture.color_range == FULL or picture.format.name.startswith("yuvj")
    red, blue = (0.2126, 0.0722) if picture.colorspace == BT709 else (0.299, 0.114)
    y = luma / 255 if full else (luma - 16.0) / 219
    cb, cr = ((_every_pixel(plane, luma.shape, siting) - 128) / (255 if full else 224) for plane in chroma)
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255)


def _every_pixel(plane: NDArray[np.uint8], shape: tuple[int, ...], siting: str) -> NDArray[np.float64]:
    rows, columns = shape[0] // plane.shape[0], shape[1] // plane.shape[1]
    tall = _between(plane.astype(float), rows, (rows - 1) / 2)
    return _between(tall.T, columns, (columns - 1) / 2 if siting == "centre" else 0).T


def _between(samples: NDArray[np.float64], times: int, first: float) -> NDArray[np.float64]:
    """As many times more rows; `first` is where the first sample lies."""
    at = np.clip((np.arange(len(samples) * times) - first) / times, 0, len(samples) - 1)
    before = np.floor(at).astype(int)
    after, share = np.minimum(before + 1, len(samples) - 1), (at - before)[:, None]
    return samples[before] * (1 - share) + samples[after] * share

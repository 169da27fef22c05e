"""From a camera's or decoder's picture to the pixels of a frame: cut to shape, scaled, RGB.

All pictures that aren't RGB of the right size go through here as FFmpeg frames, so that all sources give the same.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

from storage.formats.colours import to_rgb
from storage.formats.movie.decode import is_torn_jpeg

if TYPE_CHECKING:
    from mmap import mmap

    import av
    import numpy as np
    from av.filter import Graph
    from av.video.codeccontext import VideoCodecContext
    from numpy.typing import NDArray

    from pi_capture.sources import Size

PLANES: dict[str, tuple[tuple[int, int], ...]] = {
    "rgb24": ((1, 1),),
    "bgr24": ((1, 1),),
    "rgb0": ((1, 1),),
    "bgr0": ((1, 1),),
    "gray": ((1, 1),),
    "yuyv422": ((1, 1),),
    "uyvy422": ((1, 1),),
    "nv12": ((1, 1), (1, 2)),
    "nv21": ((1, 1), (1, 2)),
    "yuv420p": ((1, 1), (2, 2), (2, 2)),
}
"""The formats that cameras write to memory, by FFmpeg's names: how many times narrower and lower each plane is."""


def crop_box(source: Size, wanted: Size) -> tuple[int, int, int, int]:
    """Return the largest box of the wanted shape in the middle of a picture.

    Parameters
    ----------
    source, wanted : (int, int)
        Width and height of the picture and of the frame it is to become, in pixels.

    Returns
    -------
    left, top, width, height : int
        In pixels of the picture.

    Examples
    --------
    >>> crop_box((640, 480), (128, 128))
    (80, 0, 480, 480)
    """
    scale = min(source[0] / wanted[0], source[1] / wanted[1])
    width = max(1, min(source[0], round(wanted[0] * scale)))
    height = max(1, min(source[1], round(wanted[1] * scale)))
    return (source[0] - width) // 2, (source[1] - height) // 2, width, height


class RgbConverter:
    """Makes RGB arrays of one stream's pictures. It keeps the scaler's tables between them: one object a stream.

    Parameters
    ----------
    size : (int, int) or None
        Width and height of the arrays, in pixels; None for the pictures' own. A picture of another shape is cut around
        its centre (by moving pointers, no pixel is copied); then one pass scales and converts the colours, averaging
        where it shrinks.
    """

    def __init__(self, size: Size | None = None) -> None:
        from av.video.reformatter import VideoReformatter

        self._size = size
        self._scaler = VideoReformatter()
        self._crop: Graph | None = None
        self._crop_for: tuple[int, int, str] | None = None
        self._warm_up()

    def _warm_up(self) -> None:
        """Load the libraries now: a live camera would not wait for them."""
        import av

        blank = av.VideoFrame(64, 48, "yuv420p")
        for plane in blank.planes:
            plane.update(bytes(plane.buffer_size))
        with suppress(av.error.FFmpegError, ValueError):  # extreme sizes, for which a real picture fails too
            self.to_rgb(blank)

    def to_rgb(self, picture: av.VideoFrame) -> NDArray[np.uint8]:
        """Convert a picture: see `storage.formats.colours.to_rgb`."""
        size = self._size or (picture.width, picture.height)
        return to_rgb(self._cut(picture, size), self._scaler, size)

    def _cut(self, picture: av.VideoFrame, wanted: Size) -> av.VideoFrame:
        import av

        source = picture.width, picture.height
        box = crop_box(source, wanted)
        if box == (0, 0, *source):
            return picture
        kind = (*source, picture.format.name)
        if self._crop is None or kind != self._crop_for:
            self._crop, self._crop_for = _crop_graph(picture, box), kind
        self._crop.push(picture)
        cut = self._crop.pull()
        assert isinstance(cut, av.VideoFrame)  # a graph of pictures, no sound
        return cut


def _crop_graph(picture: av.VideoFrame, box: tuple[int, int, int, int]) -> Graph:
    """Return FFmpeg's crop filter; it keeps to whole chroma samples, so the box may shift by a pixel."""
    from fractions import Fraction

    from av.filter import Graph

    left, top, width, height = box
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 1000)
    )
    crop = graph.add("crop", f"{width}:{height}:{left}:{top}")
    sink = graph.add("buffersink")
    source.link_to(crop)
    crop.link_to(sink)
    graph.configure()
    return graph


def picture_from_memory(
    memory: bytes | mmap | NDArray[np.uint8],
    pixel_format: str,
    size: Size,
    stride: int,
    *,
    full_range: bool = False,
    bt709: bool = False,
) -> av.VideoFrame:
    """Copy what a camera wrote to memory into an FFmpeg frame.

    Parameters
    ----------
    memory : bytes-like
        The planes, one behind the other.
    pixel_format : str
        FFmpeg's name, one of `PLANES`.
    size : (int, int)
        Width and height in pixels.
    stride : int
        Bytes from one row of the first plane to the next.
    full_range, bt709 : bool
        Of YUV: whether luma runs from 0 to 255 rather than 16 to 235, and whether the matrix is that of BT.709 rather
        than BT.601.

    Raises
    ------
    ValueError
        The memory holds less than a picture.
    """
    import av
    import numpy as np
    from av.video.reformatter import ColorRange, Colorspace

    picture = av.VideoFrame(*size, pixel_format)
    if full_range:
        picture.color_range = ColorRange.JPEG
    if bt709:
        picture.colorspace = Colorspace.ITU709
    source, offset = np.frombuffer(memory, np.uint8), 0
    for plane, (narrower, lower) in zip(picture.planes, PLANES[pixel_format], strict=True):
        pitch, height = stride // narrower, -(-size[1] // lower)
        rows = source[offset : offset + pitch * height].reshape(height, pitch)
        offset += rows.size
        target = np.frombuffer(cast("memoryview", plane), np.uint8).reshape(-1, plane.line_size)
        used = min(pitch, plane.line_size)
        target[:height, :used] = rows[:, :used]
    return picture


class JpegDecoder:
    """Decodes the pictures of a camera that sends JPEG."""

    def __init__(self) -> None:
        import av

        decoder: VideoCodecContext = av.CodecContext.create("mjpeg", "r")
        decoder.thread_count = 1  # more threads would hand each picture out some frames late
        decoder.options = {"err_detect": "explode"}  # else torn pictures are patched up and passed on
        self._decoder = decoder
        self._warm_up()

    def _warm_up(self) -> None:
        """Open the codec now: a live camera would not wait for it."""
        import io

        from PIL import Image

        blank = io.BytesIO()
        Image.new("RGB", (64, 48)).save(blank, "JPEG")
        self.decode(blank.getvalue())

    def decode(self, data: bytes) -> av.VideoFrame | None:
        """Return the picture; None if it is torn or no JPEG."""
        import av

        try:
            pictures = self._decoder.decode(av.Packet(data)) if data and not is_torn_jpeg(data, ends=False) else []
        except (av.FFmpegError, ValueError):
            return None
        return pictures[0] if pictures and not pictures[0].is_corrupt else None

"""Colours of videos: right by the standards' arithmetic, for both readers, and the same on every processor."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from pi_capture.sources import open_source
from storage import Frame, open_recording
from storage.convert.convert import convert
from tests.support.colours import exact_rgb

SIZE = 64, 48
COLOURS = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709}
RANGES = {"limited": ColorRange.MPEG, "full": ColorRange.JPEG}


def painted(pixel_format: str) -> av.VideoFrame:
    """A picture of slopes and steps, the same everywhere: no random numbers, no rounding."""
    picture = av.VideoFrame(*SIZE, pixel_format)
    for number, plane in enumerate(picture.planes):
        rows, columns = np.mgrid[: plane.height, : plane.line_size]
        slopes = columns * (5 + number) + rows * (3 + 2 * number) + 40 * (columns // 9)
        values = 16 + slopes % 220 if number == 0 else 78 + slopes % 100
        plane.update(values.astype(np.uint8).tobytes())
    return picture


@dataclass(frozen=True)
class Kind:
    """A kind of video: how it is stored, what its colours mean, and where its samples of colour lie."""

    pixel_format: str
    matrix: str = "bt601"
    levels: str = "limited"
    name: str = "clip.mkv"
    codec: str = "ffv1"
    options: tuple[tuple[str, str], ...] = (("g", "1"),)
    siting: str = "centre"

    def write(self, directory: Path) -> Path:
        path = directory / self.name
        matrix, levels = COLOURS[self.matrix], RANGES[self.levels]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(self.codec, rate=10, options=dict(self.options))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = *SIZE, self.pixel_format
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, levels
            stream.time_base = Fraction(1, 10)
            for number in range(3):
                picture = painted(self.pixel_format)
                picture.colorspace, picture.color_range, picture.pts = matrix, levels, number
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return path


def by_camera(path: Path, size: tuple[int, int] | None = None) -> Frame:
    source = open_source(f"file:{path}", size)
    try:
        return next(iter(source))
    finally:
        source.close()


def by_recording(path: Path) -> Frame:
    with open_recording(path) as recording:
        return recording[0]


def kinds() -> Iterator[Kind]:
    h264 = Kind("yuv420p", name="clip.mp4", codec="libx264", options=(("qp", "0"),), siting="left")
    for matrix, levels in product(COLOURS, RANGES):
        for pixel_format in ("yuv420p", "yuv422p", "yuv444p"):
            yield Kind(pixel_format, matrix, levels)
        yield replace(h264, matrix=matrix, levels=levels)
    yield replace(h264, options=(("qp", "0"), ("x264-params", "chromaloc=1")), siting="centre")
    for pixel_format in ("yuvj420p", "yuvj422p", "yuvj444p"):
        yield Kind(pixel_format, levels="full", name="clip.avi", codec="mjpeg", options=())


@pytest.mark.parametrize("kind", list(kinds()), ids=str)
def test_both_readers_follow_the_standards_arithmetic(tmp_path: Path, kind: Kind) -> None:
    path = kind.write(tmp_path)
    with av.open(str(path)) as container:
        expected = exact_rgb(next(container.decode(video=0)), kind.siting)

    seen, read = by_camera(path), by_recording(path)

    np.testing.assert_array_equal(seen.pixels, read.pixels)
    assert abs(read.pixels - expected).max() <= 0.6  # rounded to whole levels


PINNED = {
    (Kind("yuv420p", "bt601", "limited"), None): "1b206e8a",
    (Kind("yuv420p", "bt709", "full"), None): "f9e8a446",
    (Kind("yuv422p", "bt709", "limited"), None): "3e52a5dd",
    (Kind("yuv420p", "bt601", "limited"), (24, 24)): "fd69f45c",
    (Kind("yuv422p", "bt601", "full"), (90, 60)): "294ebcdc",
    (Kind("yuv444p", "bt709", "limited"), (32, 18)): "636d07df",
    (Kind("bgr0"), (24, 24)): "32f24ad3",
    (Kind("gray"), (24, 24)): "b15d7a9a",
}


@pytest.mark.parametrize(("kind", "size"), PINNED, ids=str)
def test_every_processor_makes_the_same_pixels(tmp_path: Path, kind: Kind, size: tuple[int, int] | None) -> None:
    """Checksums that x86-64 and 64-bit Arm were found to share."""
    checksum = zlib.crc32(by_camera(kind.write(tmp_path), size).pixels.tobytes())
    assert f"{checksum:08x}" == PINNED[kind, size]


@pytest.mark.parametrize("pixel_format", ["bgr0", "gray"])
def test_rgb_and_grey_are_passed_on_bit_by_bit(tmp_path: Path, pixel_format: str) -> None:
    path = Kind(pixel_format, levels="full").write(tmp_path)
    expected = painted(pixel_format).to_ndarray(format="rgb24")
    np.testing.assert_array_equal(by_camera(path).pixels, expected)
    np.testing.assert_array_equal(by_recording(path).pixels, expected)


@pytest.mark.parametrize(("name", "codec"), [("day1.mkv", "h264"), ("day1.mkv", "mjpeg"), ("day1.mp4", None)])
def test_encoding_moves_no_colour(tmp_path: Path, name: str, codec: str | None) -> None:
    """Where red falls and blue rises by 4 levels a pixel, half a pixel to the side is 2 levels of both."""
    slope = np.broadcast_to(np.arange(0, 4 * SIZE[0], 4, np.uint8), SIZE[::-1])
    pixels = np.stack([slope[:, ::-1], np.full_like(slope, 90), slope], axis=-1)
    (tmp_path / "day0").mkdir()
    Image.fromarray(pixels).save(tmp_path / "day0" / "0.png")
    convert(tmp_path / "day0", tmp_path / name, codec=codec, crf=2, fps=10)
    for found in (by_camera(tmp_path / name), by_recording(tmp_path / name)):
        difference = (found.pixels.astype(int) - pixels)[4:-4, 8:-8].mean(axis=(0, 1))
        assert abs(difference).max() < 0.8, difference

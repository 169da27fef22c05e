"""Colours of videos: the standards', for both readers, as FFmpeg has them on a PC, and the same on every processor."""

from __future__ import annotations

import platform
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from pi_capture.sources import open_source
from storage import Frame, open_recording
from storage.cli import main
from storage.formats.colours import QUICK, by_arithmetic, to_rgb

SIZE = 64, 48
COLOURS: dict[str, int] = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709, "ycgco": 8}
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
    """A kind of video: how it is stored, and what its colours mean."""

    pixel_format: str
    matrix: str = "bt601"
    levels: str = "limited"
    name: str = "clip.mkv"
    codec: str = "ffv1"
    options: tuple[tuple[str, str], ...] = (("g", "1"),)

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
    h264 = Kind("yuv420p", name="clip.mp4", codec="libx264", options=(("qp", "0"),))
    for matrix, levels in product(("bt601", "bt709"), RANGES):
        for pixel_format in ("yuv420p", "yuv422p", "yuv444p"):
            yield Kind(pixel_format, matrix, levels)
        yield replace(h264, matrix=matrix, levels=levels)
    for pixel_format in ("yuvj420p", "yuvj422p", "yuvj444p"):
        yield Kind(pixel_format, levels="full", name="clip.avi", codec="mjpeg", options=())


RAW = Kind("nv12", name="clip.nut", codec="rawvideo")


@pytest.mark.parametrize("kind", list(kinds()), ids=str)
def test_both_readers_follow_the_standards_arithmetic(tmp_path: Path, kind: Kind) -> None:
    path = kind.write(tmp_path)
    with av.open(str(path)) as container:
        expected = by_the_standard(next(container.decode(video=0)))

    seen, read = by_camera(path), by_recording(path)

    np.testing.assert_array_equal(seen.pixels, read.pixels)
    assert abs(read.pixels - expected).max() <= 3


def by_the_standard(picture: av.VideoFrame) -> NDArray[np.float64]:
    """What a planar 8-bit YUV picture shows, a sample of colour on all its pixels: (height, width, 3), not rounded."""
    luma, *chroma = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].astype(float)
        for plane in picture.planes
    )
    full = picture.color_range == ColorRange.JPEG or picture.format.name.startswith("yuvj")
    red, blue = (0.2126, 0.0722) if picture.colorspace == Colorspace.ITU709 else (0.299, 0.114)
    y = luma / 255 if full else (luma - 16) / 219
    times = [whole // part for whole, part in zip(luma.shape, chroma[0].shape, strict=True)]
    cb, cr = ((np.kron(plane, np.ones(times)) - 128) / (255 if full else 224) for plane in chroma)
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere the program's own colours are others")
@pytest.mark.parametrize("kind", [*kinds(), *map(Kind, ("yuv420p10le", "gray")), RAW], ids=str)
def test_they_are_those_of_ffmpeg_on_a_pc(tmp_path: Path, kind: Kind) -> None:
    path = kind.write(tmp_path)
    asked = ["ffmpeg", "-v", "error", "-i", path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    expected = subprocess.run(asked, check=True, capture_output=True).stdout
    assert by_recording(path).pixels.tobytes() == expected


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere FFmpeg computes differently")
@pytest.mark.parametrize("size", [(64, 48), (161, 122), (322, 10)])
@pytest.mark.parametrize("matrix", [0, 1, 2, 4, 5, 6, 7, 9, 10])
@pytest.mark.parametrize("pixel_format", QUICK)
def test_our_arithmetic_is_ffmpegs_on_a_pc(pixel_format: str, matrix: int, size: tuple[int, int]) -> None:
    random = np.random.default_rng(matrix)
    for levels in (0, 1, 2):
        picture = av.VideoFrame(*size, pixel_format)
        for plane in picture.planes:
            plane.update(random.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
        picture.colorspace, picture.color_range = matrix, levels
        np.testing.assert_array_equal(by_arithmetic(picture), to_rgb(picture, VideoReformatter()))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_a_matrix_that_is_not_known_is_refused_on_every_processor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, pixel_format: str
) -> None:
    path = replace(Kind(pixel_format), matrix="ycgco").write(tmp_path)
    for processor in ("x86_64", "aarch64"):
        monkeypatch.setattr(platform, "machine", lambda name=processor: name)
        assert main(["verify", str(path)]) == 3
        told = capsys.readouterr()
        lines = [line for line in (told.out + told.err).splitlines() if f"({pixel_format}, matrix 8 of H.273)" in line]
        assert len(lines) == 3 and all(f"frame {n} can't be converted to RGB" in lines[n] for n in range(3)), told
        for command, name in (("extract", "frames"), ("convert", "copy.mp4")):
            assert main([command, str(path), str(tmp_path / name)]) == 1
            said = capsys.readouterr().err
            assert said.startswith(f"storage: {path}: none of its pictures can be read; frame 0 can't be converted")
            assert said.count("\n") == 1 and not (tmp_path / name).exists()


PINNED = {
    (Kind("yuv420p", "bt601", "limited"), None): "9d3954f5",
    (Kind("yuv420p", "bt709", "full"), None): "f3e49dbe",
    (Kind("yuv422p", "bt709", "limited"), None): "1b6d1e4f",
    (Kind("yuv420p10le"), None): "06a44364",
    (RAW, None): "678cc03b",
    (replace(RAW, pixel_format="yuyv422"), None): "42201de6",
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

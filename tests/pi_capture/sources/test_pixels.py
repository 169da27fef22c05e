"""From camera pictures to RGB: the colours, the cut, and torn JPEGs."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pi_capture.sources.pixels import PLANES, JpegDecoder, RgbConverter, crop_box, picture_from_memory


def scene(width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Red on the left, green in the middle, blue on the right; darker at the bottom."""
    pixels = np.zeros((height, width, 3), np.uint8)
    third = width // 3
    for channel, columns in enumerate((slice(0, third), slice(third, 2 * third), slice(2 * third, None))):
        pixels[:, columns, channel] = np.linspace(250, 120, height, dtype=np.uint8)[:, None]
    return pixels


def jpeg(width: int = 320, height: int = 240) -> bytes:
    noise = np.random.default_rng(1).integers(0, 60, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(scene(width, height) // 2 + noise).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("source", "wanted", "box"),
    [
        ((640, 480), (128, 128), (80, 0, 480, 480)),
        ((480, 640), (128, 128), (0, 80, 480, 480)),
        ((1280, 720), (128, 72), (0, 0, 1280, 720)),
        ((100, 100), (400, 200), (0, 25, 100, 50)),
        ((3, 1000), (1000, 1), (0, 499, 3, 1)),
    ],
)
def test_the_box_is_the_largest_of_its_shape_and_central(
    source: tuple[int, int], wanted: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert crop_box(source, wanted) == box


@pytest.mark.parametrize("pixel_format", ["yuvj422p", "yuv420p", "nv12", "yuyv422", "bgr24", "rgb24"])
@pytest.mark.parametrize("size", [(320, 240), (322, 242), (98, 66)])
def test_without_scaling_the_values_are_ffmpegs_own(pixel_format: str, size: tuple[int, int]) -> None:
    picture = av.VideoFrame.from_ndarray(scene(*size), format="rgb24").reformat(format=pixel_format)

    pixels = RgbConverter(size).to_rgb(picture)

    assert pixels.shape == (size[1], size[0], 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    # Bicubic, rounded accurately, the same in C and assembler: as the program `ffmpeg` asks for it.
    by_ffmpeg = picture.reformat(format="rgb24", interpolation=0x4 | 0xC0000 if pixel_format == "nv12" else None)
    np.testing.assert_array_equal(pixels, by_ffmpeg.to_ndarray())
    np.testing.assert_array_equal(pixels, RgbConverter(None).to_rgb(picture))


@pytest.mark.parametrize("pixel_format", ["yuvj422p", "yuv420p", "nv12", "yuyv422", "bgr24", "rgb24"])
def test_a_wider_picture_is_cut_around_its_centre_then_scaled(pixel_format: str) -> None:
    picture = av.VideoFrame.from_ndarray(scene(640, 240), format="rgb24").reformat(format=pixel_format)

    converter = RgbConverter((60, 60))
    pixels = [converter.to_rgb(picture) for _ in range(2)][-1]

    # The middle 240 columns are red for 13, green for 213 and blue for 14: the border columns are mostly one colour.
    assert pixels.shape == (60, 60, 3)
    assert pixels.flags.c_contiguous
    assert [int(pixels[5, column].argmax()) for column in (0, 10, 30, 50, 59)] == [0, 1, 1, 1, 2]
    assert pixels[2, 30, 1] > pixels[57, 30, 1] + 90  # still upright
    assert int(pixels[30, 30, 0]) < 25
    assert int(pixels[30, 30, 2]) < 25


def test_shrinking_averages_and_keeps_every_pixels_colour() -> None:
    columns = np.zeros((240, 320, 3), np.uint8)
    columns[:, 0::4, 0] = 200  # red in every fourth column: a quarter of it is left in the mean
    picture = av.VideoFrame.from_ndarray(columns, format="rgb24")
    pixels = RgbConverter((80, 60)).to_rgb(picture)
    assert abs(float(pixels[5:-5, 5:-5, 0].mean()) - 50) < 3
    assert int(pixels[5:-5, 5:-5, 0].max()) < 100

    stripes = np.zeros((240, 320, 3), np.uint8)
    stripes[:, (np.arange(320) // 4) % 2 == 0, 0] = 255  # every other pixel of the result is red, the others are blue
    stripes[:, (np.arange(320) // 4) % 2 == 1, 2] = 255
    pixels = RgbConverter((80, 60)).to_rgb(av.VideoFrame.from_ndarray(stripes, format="rgb24").reformat(format="nv12"))
    redness = pixels[30, 10:-10, 0].astype(int) - pixels[30, 10:-10, 2]
    assert redness[0::2].min() > 60
    assert redness[1::2].max() < -60


def test_the_result_is_not_the_decoders_memory() -> None:
    picture = av.VideoFrame.from_ndarray(scene(64, 64), format="rgb24")
    pixels = RgbConverter((64, 64)).to_rgb(picture)
    before = pixels.copy()
    picture.planes[0].update(bytes(picture.planes[0].buffer_size))
    np.testing.assert_array_equal(pixels, before)


def test_a_stream_may_change_its_size() -> None:
    converter = RgbConverter((40, 40))
    for size in ((320, 240), (640, 240), (320, 240)):
        picture = av.VideoFrame.from_ndarray(scene(*size), format="rgb24").reformat(format="yuv420p")
        assert converter.to_rgb(picture)[:, 20].mean(axis=0).argmax() == 1


@pytest.mark.parametrize("pixel_format", sorted(PLANES))
@pytest.mark.parametrize("padding", [0, 64])
def test_memory_becomes_the_same_picture_whatever_its_stride(pixel_format: str, padding: int) -> None:
    expected = av.VideoFrame.from_ndarray(scene(96, 60), format="rgb24").reformat(format=pixel_format)
    first = PLANES[pixel_format][0]
    assert first == (1, 1)
    bytes_a_pixel = {"rgb24": 3, "bgr24": 3, "rgb0": 4, "bgr0": 4, "yuyv422": 2, "uyvy422": 2}.get(pixel_format, 1)
    stride = 96 * bytes_a_pixel + padding
    memory = b""
    for plane, (narrower, lower) in zip(expected.planes, PLANES[pixel_format], strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: 60 // lower]
        padded = np.full((60 // lower, stride // narrower), 7, np.uint8)
        used = 96 * bytes_a_pixel // narrower
        padded[:, :used] = rows[:, :used]
        memory += padded.tobytes()

    picture = picture_from_memory(memory, pixel_format, (96, 60), stride)

    np.testing.assert_array_equal(picture.to_ndarray(format="rgb24"), expected.to_ndarray(format="rgb24"))
    with pytest.raises(ValueError, match="reshape"):
        picture_from_memory(memory[: len(memory) // 2], pixel_format, (96, 60), stride)


def test_luma_range_and_matrix_are_the_cameras() -> None:
    grey = bytes([235]) * (32 * 32) + bytes([128]) * (32 * 16)
    limited = picture_from_memory(grey, "nv12", (32, 32), 32)
    full = picture_from_memory(grey, "nv12", (32, 32), 32, full_range=True)
    assert RgbConverter((16, 16)).to_rgb(limited)[8, 8].tolist() == pytest.approx([255, 255, 255], abs=2)
    assert RgbConverter((16, 16)).to_rgb(full)[8, 8].tolist() == pytest.approx([235, 235, 235], abs=2)

    reddish = bytes([100]) * (32 * 32) + bytes([90, 170]) * (16 * 16)
    sd = RgbConverter(None).to_rgb(picture_from_memory(reddish, "nv12", (32, 32), 32))[8, 8]
    hd = RgbConverter(None).to_rgb(picture_from_memory(reddish, "nv12", (32, 32), 32, bt709=True))[8, 8]
    # R = 1.164 (Y − 16) + 1.596 (V − 128) by BT.601, and 1.793 (V − 128) by BT.709
    assert sd[0] == pytest.approx(1.164 * 84 + 1.596 * 42, abs=3)
    assert hd[0] == pytest.approx(1.164 * 84 + 1.793 * 42, abs=3)


def test_a_whole_jpeg_is_decoded() -> None:
    decoder = JpegDecoder()
    assert decoder._decoder.is_open  # opening it at the first frame would lose those that follow
    for data in (jpeg(), jpeg() + bytes(500), jpeg()[:-2]):  # as sent, padded, and without its end marker
        picture = decoder.decode(data)
        assert picture is not None
        assert (picture.width, picture.height) == (320, 240)


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _hole(data: bytes) -> bytes:
    return data[: len(data) // 2] + data[len(data) // 2 + 900 :]


def _garbled(data: bytes) -> bytes:
    noise = np.random.default_rng(2).integers(0, 256, 300, dtype=np.uint8).tobytes()
    return data[: len(data) // 2] + noise + data[len(data) // 2 + 300 :]


def _filled_up(data: bytes) -> bytes:
    """As a driver hands over a buffer of which only a part arrived."""
    return data[: len(data) * 3 // 4].ljust(len(data), b"\0")


def _filled_up_before_the_end(data: bytes) -> bytes:
    return _filled_up(data)[:-2] + data[-2:]


@pytest.mark.parametrize(
    "tear",
    [_half, _hole, _garbled, _filled_up, _filled_up_before_the_end, lambda _: b"", lambda _: b"\x01" * 4000],
)
def test_a_torn_jpeg_is_no_picture_and_spoils_none_after_it(tear: Any) -> None:
    decoder = JpegDecoder()
    assert decoder.decode(jpeg()) is not None
    assert decoder.decode(tear(jpeg())) is None
    after = decoder.decode(jpeg())
    assert after is not None
    np.testing.assert_array_equal(
        after.to_ndarray(format="rgb24"), JpegDecoder().decode(jpeg()).to_ndarray(format="rgb24")
    )


def test_a_picture_as_narrow_as_it_is_wanted_is_scaled() -> None:
    """FFmpeg's scaler refuses sizes that are too unlike, such as a square and a strip; these two are not."""
    strip = av.VideoFrame.from_ndarray(scene(8192, 2), format="rgb24")
    assert RgbConverter((8191, 2)).to_rgb(strip).shape == (2, 8191, 3)

"""The PNG codec: what goes in comes out, for every reader, and damage is seen."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from pi_capture import Recorder
from storage import open_recording
from storage.errors import StorageError
from storage.formats.png.codec import decode_image, encode_png, read_texts
from storage.formats.png.whole import fault

pictures = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
texts = st.dictionaries(
    st.sampled_from(["Index", "Timestamp", "Session", "Metadata"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200),
)


@pytest.mark.parametrize("size", [(128, 1), (129, 3), (300, 257), (1, 700)])
def test_larger_pictures(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    data = encode_png(pixels, {})
    assert np.array_equal(decode_image(data), pixels) and np.array_equal(
        np.asarray(Image.open(io.BytesIO(data))), pixels
    )


def test_a_picture_is_not_larger_than_it_says() -> None:
    """What Pillow says of it counts, as for files of other programs."""
    data = encode_png(np.zeros((40, 30, 3), np.uint8), {})
    head = struct.pack(">II", 30, 20) + data[24:29]
    shorter = data[:16] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + data[33:]
    assert (
        decode_image(shorter).shape == np.asarray(Image.open(io.BytesIO(shorter)).convert("RGB")).shape == (20, 30, 3)
    )


@given(pictures, texts)
@settings(max_examples=150)
def test_every_reader_sees_the_same_pixels(pixels: np.ndarray, texts: dict[str, str]) -> None:
    data = encode_png(pixels, texts)
    assert np.array_equal(decode_image(data), pixels)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], pixels)
    assert read_texts(data) == texts
    assert fault(data) is None


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_random_pictures(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(decode_image(encode_png(pixels, {})), pixels)


@given(st.data())
@settings(max_examples=200)
def test_any_damage_is_seen(data: st.DataObject) -> None:
    whole = encode_png(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), {"Index": "7"})
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    assert fault(damaged) is not None


def test_pngcheck_agrees(tmp_path: Path) -> None:
    assert shutil.which("pngcheck"), "scripts/test.sh installs pngcheck"
    picture = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    file = tmp_path / "picture.png"
    file.write_bytes(encode_png(picture, {"Index": "1", "Metadata": '{"a":[1,2]}'}))
    done = subprocess.run(["pngcheck", "-v", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "64 x 48 image, 24-bit RGB, non-interlaced" in done.stdout


def test_a_bomb_is_refused_by_its_header() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    with pytest.raises(ValueError):
        decode_image(bomb)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_from_elsewhere(kind: str) -> None:
    for mode in ("RGB", "L", "RGBA") if kind == "PNG" else ("RGB", "L"):
        file = io.BytesIO()
        Image.new(mode, (6, 4)).save(file, kind)
        assert decode_image(file.getvalue()).shape == (4, 6, 3)


def test_sixteen_bits_of_grey_are_eight() -> None:
    """A depth or thermal camera's picture is no white sheet; what it shows is what other readers see."""
    grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    pixels = decode_image(file.getvalue())
    assert pixels.dtype == np.uint8 and np.array_equal(pixels, np.repeat((grey >> 8)[..., None], 3, axis=2))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_no_picture(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_image(data)


def test_what_a_person_reads_about_a_broken_file(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    with Recorder(day, fps=10) as recorder:
        for _ in range(3):
            recorder.write(np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))
    os.truncate(day / "00000000.png", 500)
    os.truncate(day / "00000001.png", 0)
    recording = open_recording(day)
    with pytest.raises(StorageError, match=r"00000000\.png: not a whole picture \([a-z ]+\)$"):
        _ = recording[0].pixels
    with pytest.raises(StorageError, match=r"00000001\.png: is empty$"):
        _ = recording[1].pixels


def test_what_a_stranger_says_of_a_frame_may_be_bottomless(tmp_path: Path) -> None:
    (tmp_path / "00000000.png").write_bytes(encode_png(np.full((2, 3, 3), 7, np.uint8), {"Metadata": "[" * 200_000}))
    frame = open_recording(tmp_path)[0]
    assert frame.metadata == {} and (frame.pixels == 7).all()

"""What a recording and its frames say of themselves, in a program, a debugger and a notebook."""

from __future__ import annotations

import io
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage import Frame, open_recording
from storage.cli import main
from storage.formats.features.recording import FeaturesWriter
from tests.support import PATIENCE_SECONDS
from tests.support.labelled import picture, record


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames in 3.5 seconds, of two classes and of none, as PNG, as video, HDF5 and MP4."""
    directory = tmp_path_factory.mktemp("data")
    seconds = [100, 100.5, 101, 101.5, 102, 102.5, 103.5]
    record(directory / "day", ["<b>", "7", "7", "<b>", None, "7", None], seconds=seconds, size=(20, 12))
    for name in ("day.mkv", "day.h5", "day.mp4"):
        assert main(["convert", str(directory / "day"), str(directory / name)]) == 0
    return directory


@pytest.mark.parametrize(
    ("name", "reader"), [("day", "PngReader"), ("day.mkv", "VideoReader"), ("day.h5", "Hdf5Reader")]
)
def test_a_recording_says_what_it_is(day: Path, name: str, reader: str) -> None:
    with open_recording(day / name) as recording:
        told = f"{reader} {day / name}: 7 frames, 20x12, 3.5 s from first to last, classes 7, <b>"
        assert repr(recording) == f"<{told}>"
        assert repr(recording[2:5]) == f"<3 of <{told}>>"


def test_a_video_of_other_programs_says_what_it_is(day: Path) -> None:
    with open_recording(day / "day.mp4") as recording:
        assert repr(recording).startswith(f"<MovieReader {day / 'day.mp4'}: 7 frames, 20x12, 3.5 s from first to last")


def test_features_say_what_they_are(day: Path, mobilenet: Path, tmp_path: Path) -> None:
    writer = FeaturesWriter(tmp_path / "one.features.h5")
    writer.append(writer.encode(Frame(picture(1, (16, 16)), 0, 5)))
    writer.close()
    with open_recording(tmp_path / "one.features.h5") as recording:
        assert repr(recording) == f"<FeaturesReader {tmp_path / 'one.features.h5'}: 1 frame, 256 features>"


@pytest.mark.parametrize("name", ["day", "day.mkv", "day.h5", "day.mp4"])
def test_a_closed_recording_can_be_shown(day: Path, name: str) -> None:
    recording = open_recording(day / name)
    recording.close()
    assert str(day / name) in repr(recording)


def test_an_empty_and_a_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert repr(open_recording(tmp_path / "empty")) == f"<PngReader {tmp_path / 'empty'}: 0 frames>"
    (tmp_path / "empty" / "00000000.png").write_bytes(b"no picture")
    assert repr(open_recording(tmp_path / "empty")) == f"<PngReader {tmp_path / 'empty'}: 1 frame>"


def test_a_notebook_shows_the_classes_of_a_recording(day: Path) -> None:
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append  # type: ignore[method-assign]
    html = open_recording(day / "day")._repr_html_()
    parser.feed(html)
    assert texts == [
        str(day / "day"), "PngReader: 7 frames, 20x12, 3.5 s from first to last",
        *("7", "3"), *("<b>", "2"), *("no class", "2"),
    ]  # fmt: skip
    assert len(html) < 1000


def test_a_notebook_shows_a_frame(day: Path) -> None:
    frame = open_recording(day / "day")[3]
    assert repr(frame) == "<Frame 3: 20x12, timestamp_ns=101500000000>"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(frame._repr_png_()))), frame.pixels)


def test_public_names() -> None:
    """Listed without importing what is behind them."""
    code = "import pi_capture, sys; print(*dir(pi_capture)); print('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    names = "CameraError RecordOptions Recorder RecordingError Summary UsageError __version__ record"
    assert done.stdout.splitlines() == [names, "False"]

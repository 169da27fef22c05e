"""Every camera that can run here holds what `pi_capture.sources.testing` asks for, and one of another distribution."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from pi_capture.sources.testing import SourceTests
from storage.formats.png.codec import encode_png
from tests.conftest import picture, write_video


class TestDemo(SourceTests):
    spec = "demo:7"
    nowhere = "demo:seven"


class TestFile(SourceTests):
    nowhere = "file:/nowhere/film.mp4"

    @pytest.fixture(autouse=True)
    def film(self, tmp_path: Path) -> None:
        write_video(tmp_path / "film.mkv", [Fraction(n, 10) for n in range(12)])
        self.spec = f"file:{tmp_path / 'film.mkv'}"


class TestDevice(SourceTests):
    spec = "ffmpeg:lavfi:testsrc2=r=30:s=96x64:d=1"
    nowhere = "ffmpeg:v4l2:/dev/nowhere"


class TestScreen(SourceTests):
    nowhere = "screen::4711"

    @pytest.fixture(autouse=True)
    def display(self, screen: str) -> None:
        self.spec = f"screen:{screen}"


@pytest.mark.usefixtures("elsewhere")
class TestImages(SourceTests):
    nowhere = "images:/nowhere"

    @pytest.fixture(autouse=True)
    def images(self, tmp_path: Path) -> None:
        directory = tmp_path / "pictures"
        directory.mkdir()
        for n in range(12):
            (directory / f"{n:03d}.png").write_bytes(encode_png(picture(n), {}))
        self.spec = f"images:{directory}"

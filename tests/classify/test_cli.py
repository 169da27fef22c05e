"""``python -m classify`` says what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from classify.cli import main
from tests.support.labelled import record


def test_pictures_that_are_no_frames_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, ["0", "1"])
    (day / "1/photo.webp").touch()
    assert main([str(day)]) == 0
    told = capsys.readouterr()
    assert f"{day}: 1 picture is left out (1/photo.webp); python -m storage verify says why" in told.err
    assert "all 2 frames are in class directories" in told.out + told.err

"""``python -m classify`` says what it leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from classify.cli import main
from tests.support import REPOSITORY
from tests.support.labelled import record


def test_pictures_that_are_no_frames_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, ["0", "1"])
    (day / "1/photo.webp").touch()
    assert main([str(day)]) == 0
    told = capsys.readouterr()
    assert f"{day}: 1 picture is left out (1/photo.webp); python -m storage verify says why" in told.err
    assert "all 2 frames are in class directories" in told.out + told.err


WATCHED = """
import os, sys
class Watched:
    def find_spec(self, name, *rest):
        if name == "numpy":
            print("threads:", os.environ.get("OPENBLAS_NUM_THREADS"), flush=True)
sys.meta_path.insert(0, Watched())
from classify.cli import main
main(sys.argv[1:])
"""


def test_learning_leaves_a_processor_to_the_keys(tmp_path: Path) -> None:
    """How many threads numpy's library has is decided when it is loaded."""
    record(tmp_path / "day1", ["0", "1"])
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("OPENBLAS_NUM_THREADS", None)
    command = [sys.executable, "-c", WATCHED, str(tmp_path / "day1")]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0] == "threads: 1"

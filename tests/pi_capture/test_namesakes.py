"""A user's own ``storage.py`` or ``classify.py`` where a command is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("pi_capture day1 1 --camera demo", "storage.py"),
        ("pi_capture doctor", "storage/__init__.py"),
        ("pi_capture studio", "classify.py"),
        ("classify day1", "storage.py"),
    ],
)
def test_it_is_told_in_one_line_and_not_run(command: str, own: str, tmp_path: Path) -> None:
    file = tmp_path / own
    file.parent.mkdir(exist_ok=True)
    file.write_text("open('ran', 'w')\n")
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and str(file) in done.stderr and "rename it" in done.stderr
    assert not (tmp_path / "ran").exists()

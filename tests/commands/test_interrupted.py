"""Ctrl-C while a command is still being loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

INTERRUPTED = """
import signal, sys
class Interrupted:
    def find_spec(self, name, *rest):
        if name == "{module}":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupted())
"""


@pytest.mark.parametrize(
    ("package", "module"), [("storage", "storage.errors"), ("storage", "storage.cli"), ("classify", "classify.cli")]
)
def test_ctrl_c_while_it_is_loaded_shows_no_traceback(tmp_path: Path, package: str, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED.format(module=module))  # Python imports it before all else
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    command = [sys.executable, "-m", package, "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")

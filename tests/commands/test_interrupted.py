"""Ctrl-C while a command is still being loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.support import PATIENCE_SECONDS, REPOSITORY

INTERRUPTED = """
import signal, sys
class Interrupted:
    def find_spec(self, name, *rest):
        if name == "{module}":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupted())
"""


SCRIPTS = {
    name: EntryPoint(name, at, "console_scripts")
    for name, at in tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"].items()
}


@pytest.mark.parametrize(
    ("module", "installed"),
    [("storage.commands.standard_streams", True), ("storage.errors", False), ("PACKAGE.cli", False)],
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_it_is_loaded_shows_no_traceback(
    tmp_path: Path, script: str, installed: bool, module: str
) -> None:
    door = SCRIPTS[script]
    package = door.module.split(".", 1)[0]
    module = module.replace("PACKAGE", package)
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED.format(module=module))  # Python imports it before all else
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    as_pip_writes_it = f"import sys; from {door.module} import {door.attr}; sys.exit({door.attr}())"
    command = [sys.executable, *(("-c", as_pip_writes_it) if installed else ("-m", package)), "--help"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert (done.returncode, done.stderr.removeprefix("pi_capture: interrupted\n")) == (130, "")

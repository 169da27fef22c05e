"""A disk that fills up: one clear line, exit 1, everything that was stored is whole, and there is a way on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.checks import TARGETS
from tests.faults.table import note


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kilobytes", [1200, 2000, 3333])
def test_full_disk(tmp_path: Path, kilobytes: int, target: str) -> None:
    if target == "day1.features.h5":
        kilobytes //= 3  # a frame takes a kilobyte: a larger disk takes longer to fill
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    program = [sys.executable, "-m", "tests.faults.in_small_disk", str(tmp_path), str(kilobytes), target]
    done = subprocess.run([*unshare, *program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all whole" in done.stdout
    note("disk full", target, int(done.stdout.split()[0]))

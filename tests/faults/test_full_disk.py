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


@pytest.mark.parametrize("target", TARGETS)
def test_a_start_that_stores_no_frame_leaves_nothing(tmp_path: Path, target: str) -> None:
    """systemd starts a recorder on a full card again and again. There is room for the reserve, and for no frame."""
    kilobytes = 256 if target == "day1.features.h5" else 320
    script = (
        f"mount -t tmpfs -o size={kilobytes}k tmpfs '{tmp_path}' && for attempt in 1 2; do '{sys.executable}' -m "
        f"pi_capture '{tmp_path}/{target}' -1 --camera demo --size 640x480 --segment 20frames && exit 9; "
        f"ls -A '{tmp_path}'; done; true"
    )
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    done = subprocess.run([*unshare, "sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.count("the disk is full") + done.stderr.count("No space left") == 2

"""kill -9 at the n-th system call of each kind that changes something on the disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.checks import (
    TARGETS,
    acknowledged,
    assert_conserved,
    seeds_after_restart,
    seeds_under_final_names,
)
from tests.faults.table import note
from tests.support import PATIENCE_SECONDS, REPOSITORY

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "syncfs", "renameat2", "rename", "ftruncate", "mkdir", "unlink")
FRAMES = 12
QUICK = [
    *(("day1", call, number) for call, number in (("write", 9), ("syncfs", 3), ("renameat2", 7), ("rename", 1))),
    *(("day1.h5", call, number) for call, number in (("pwrite64", 15), ("fsync", 5))),
    *(("day1.mkv", call, number) for call, number in (("pwrite64", 9), ("renameat2", 1))),
]


def record_and_kill(day: Path, call: str, number: int, frames: int = FRAMES) -> bool:
    """Kill the recorder at a system call; False if it does not make that call so often."""
    assert shutil.which("strace"), "scripts/test.sh installs strace"
    strace = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}"]
    inject = ["-e", f"inject={call}:signal=SIGKILL:when={number}"]
    writer = [sys.executable, "-m", "tests.faults.writer", str(day), "0", "25", str(frames)]
    done = subprocess.run(
        [*strace, *inject, *writer],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=PATIENCE_SECONDS,
    )
    if done.returncode == 0:
        assert assert_conserved(done.stdout)["frames"] == frames
        return False
    assert done.returncode in (-9, 137), done
    promised = set(range(acknowledged(done.stdout)))
    assert promised <= (seeds_under_final_names(day) if day.exists() else set())
    assert promised <= seeds_after_restart(day)
    note("kill -9 at the n-th system call", day, len(promised))
    return True


@pytest.mark.parametrize(("target", "call", "number"), QUICK)
def test_killed_at_some_calls(tmp_path: Path, target: str, call: str, number: int) -> None:
    many = 1000  # how often it is synced meanwhile is a matter of time
    assert record_and_kill(tmp_path / target, call, number, many), f"{call} is not made {number} times"


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("call", CALLS)
def test_killed_at_every_call(tmp_path: Path, target: str, call: str) -> None:
    for number in range(1, 200):
        place = tmp_path / str(number)
        place.mkdir()
        if not record_and_kill(place / target, call, number):
            break
        shutil.rmtree(place)
    print(f"{target}: killed at each of {number - 1} {call}")

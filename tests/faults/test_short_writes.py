"""A system that takes only some of the bytes of each write, and one that takes no more than a file may have."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.checks import acknowledged, assert_conserved, quickly, seeds_under_final_names
from tests.faults.table import note
from tests.support import REPOSITORY


@pytest.mark.parametrize("target", quickly("day1", "day1.h5"))
def test_short_writes_are_completed(tmp_path: Path, target: str) -> None:
    writer = [sys.executable, "-m", "tests.faults.writer", str(tmp_path / target), "0", "400", "100", "--short-writes"]
    done = subprocess.run(writer, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done
    assert assert_conserved(done.stdout)["frames"] == 100
    assert seeds_under_final_names(tmp_path / target) == set(range(100))
    note("short writes", target, 100)


@pytest.mark.parametrize("target", ["day1.h5", pytest.param("day1.mkv", marks=pytest.mark.slow)])
def test_a_file_that_must_not_grow_further(tmp_path: Path, target: str) -> None:
    """The last write that fits is cut short by the kernel, the next fails (EFBIG)."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_001, 1_000_001))

    writer = [sys.executable, "-m", "tests.faults.writer", str(tmp_path / target), "0", "500", "3000"]
    done = subprocess.run(writer, capture_output=True, text=True, check=False, cwd=REPOSITORY, preexec_fn=limit)
    assert done.returncode == 1 and done.stderr == "", done
    (failed,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert "File too large; what was recorded before is safe" in failed
    assert_conserved(done.stdout)
    promised = acknowledged(done.stdout)
    assert promised > 0 and seeds_under_final_names(tmp_path / target) >= set(range(promised))
    note("a file at its largest", target, promised)

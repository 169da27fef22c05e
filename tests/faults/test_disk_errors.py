"""A disk that fails while it syncs: what it may have lost gets no name, and the recording ends with one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.faults.checks import acknowledged, seeds_under_final_names


def test_sync_fails_with_an_input_output_error(tmp_path: Path) -> None:
    assert shutil.which("strace"), "scripts/test.sh installs strace"
    day = tmp_path / "day1"
    inject = ["strace", "-f", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:error=EIO:when=4"]
    writer = [sys.executable, "-m", "tests.faults.writer", str(day), "0", "200"]
    done = subprocess.run([*inject, *writer], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and "Input/output error" in failed[0] and done.stderr == ""
    promised = acknowledged(done.stdout)
    assert promised > 0
    shown = seeds_under_final_names(day)
    assert set(range(promised)) <= shown
    # The next start finds the batch that failed, proves each frame by its checksums, and writes it to the disk anew.
    waiting = len(list(day.glob(".*.part")))
    assert waiting > 0
    again = [sys.executable, "-c", f"from pi_capture import Recorder\nwith Recorder({str(day)!r}): pass"]
    subprocess.run(again, check=True)
    assert len(seeds_under_final_names(day)) == len(shown) + waiting
    assert not list(day.glob(".*"))

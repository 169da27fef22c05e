"""A disk that fails while it syncs: what it may have lost is not shown, and the recording ends with one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pi_capture import Recorder
from tests.faults.checks import acknowledged, assert_conserved, hidden_files, seeds_under_final_names
from tests.faults.table import note
from tests.faults.writer import picture
from tests.support import PATIENCE_SECONDS


def record_while(call: str, day: Path) -> int:
    """Record until a system call fails with EIO, and return how many frames were acknowledged before."""
    assert shutil.which("strace"), "scripts/test.sh installs strace"
    name = call.partition(":")[0]
    inject = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        f"trace={name}",
        "-e",
        "inject=" + call.replace(":", ":error=EIO:"),
    ]
    writer = [sys.executable, "-m", "tests.faults.writer", str(day), "0", "200"]
    done = subprocess.run([*inject, *writer], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and "Input/output error" in failed[0] and done.stderr == ""
    promised = acknowledged(done.stdout)
    assert promised > 0
    assert set(range(promised)) <= seeds_under_final_names(day)
    assert_conserved(done.stdout)
    note(f"EIO in {name}", day, promised)
    return promised


@pytest.mark.parametrize("target", ["day1.h5", "day1.features.h5", "day1.mkv"])
@pytest.mark.parametrize("call", ["fsync:when=5", "fsync:when=6", "fsync:when=7+"])
def test_a_file_that_failed_to_sync_stays_as_it_was(tmp_path: Path, call: str, target: str) -> None:
    day = tmp_path / target
    promised = record_while(call, day)
    shown = seeds_under_final_names(day)
    # The next start goes on from there.
    with Recorder(day) as recorder:
        recorder.write(picture(10**6), timestamp=1, metadata={"seed": 10**6})
    assert seeds_under_final_names(day) == {*shown, 10**6} >= set(range(promised))
    assert not hidden_files(day)


def test_png_frames_that_failed_to_sync_get_their_names_later(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    record_while("syncfs:when=4", day)
    shown = seeds_under_final_names(day)
    # The next start finds the batch that failed, proves each frame by its checksums, and writes it to the disk anew.
    waiting = len(list(day.glob(".*.part")))
    assert waiting > 0
    again = [sys.executable, "-c", f"from pi_capture import Recorder\nwith Recorder({str(day)!r}): pass"]
    subprocess.run(again, check=True)
    assert len(seeds_under_final_names(day)) == len(shown) + waiting
    assert not hidden_files(day)

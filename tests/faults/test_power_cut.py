"""The power is cut under a recorder: what a real disk would have kept holds everything acknowledged, and whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pi_capture import Recorder
from tests.faults.checks import TARGETS, acknowledged, seeds_under_final_names
from tests.faults.table import note
from tests.support import wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk image needs root")


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def stop(writer: subprocess.Popen[Any]) -> None:
    """Stop a program, so that a copy is of one moment."""
    writer.send_signal(signal.SIGSTOP)
    os.waitpid(writer.pid, os.WUNTRACED)


@needs_root
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("after", [0.35, 0.8, 1.3])
def test_power_cut(tmp_path: Path, after: float, target: str) -> None:
    disk, snapshot = tmp_path / "disk", tmp_path / "snapshot"
    with disk.open("wb") as file:
        file.truncate(128 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    with mounted(disk, tmp_path / "live") as live:
        log = tmp_path / "log"
        with log.open("wb") as output:
            writer = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.writer", str(live / target), "0"], stdout=output
            )
            wait_for(lambda: acknowledged(log.read_text()), "durable frames", writer)
            time.sleep(after)
            stop(writer)  # what was not synced is not in the backing file yet
            promised = set(range(acknowledged(log.read_text())))
            shown = {file.name for file in (live / target).glob("*.png")}
            subprocess.run(["cp", "--sparse=always", disk, snapshot], check=True)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
    with mounted(snapshot, tmp_path / "rebooted") as rebooted:
        survivors = tmp_path / "survivors"
        shutil.copytree(rebooted, survivors, ignore=shutil.ignore_patterns("lost+found"))
    day = survivors / target
    assert promised <= seeds_under_final_names(day)
    # A name that was seen just before the cut may still be on its way to the disk; its frame is not lost.
    with Recorder(day):
        pass
    assert shown <= {file.name for file in day.glob("*.png")}
    seeds_under_final_names(day)
    note("power cut", target, len(promised))
    print(f"cut {after} s after the first were acknowledged: {len(promised)} frames acknowledged, none lost")

"""kill -9 at random moments: no damaged frame shows, no acknowledged one is lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.checks import TARGETS, acknowledged, hidden_files, seeds_under_final_names
from tests.faults.table import note

RUN_SEEDS = 1_000_000  # seeds a run may use


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_at_random_moments(tmp_path: Path, kills: int, target: str) -> None:
    day = tmp_path / target
    rng = random.Random(20)
    promised: set[int] = set()
    for run in range(kills):
        seed = run * RUN_SEEDS
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.writer", str(day), str(seed)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.4))
        writer.send_signal(signal.SIGKILL)
        promised |= {seed + n for n in range(acknowledged(first + writer.communicate()[0]))}
        assert promised <= seeds_under_final_names(day), f"lost after kill {run}"
    # The run after the last kill takes up what was whole; nothing hidden is left once it has ended well.
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writer", str(day), str(kills * RUN_SEEDS)], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    from pi_capture import Recorder

    with Recorder(day):
        pass
    there = seeds_under_final_names(day)
    assert promised <= there
    assert not hidden_files(day)
    note("kill -9 at random", target, len(promised), tried=kills)
    print(f"{kills} kills: {len(promised)} frames acknowledged, none lost, {len(there)} on disk")

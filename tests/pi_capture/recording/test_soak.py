"""An hour's worth of frames, as fast as they can be made: memory stays flat, and small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HOUR = 108_000  # frames, at 30 a second
PROGRAM = """
import json, sys, threading, time
from pi_capture import record
from pi_capture.recording import recorder

recorder.QUEUE_FRAMES = 4, 16  # a busy machine may fill a longer queue in the second half only

def resident_mb():
    return int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6

samples = []
frames = int(sys.argv[2])
summary = record(
    sys.argv[1], -1, camera=f'ffmpeg:lavfi:testsrc2=size=128x128:rate=30:duration={frames / 30}', size=None,
    progress=lambda status: samples.append((status.frames, resident_mb())),
)
early = max(mb for n, mb in samples if n < frames / 4)
late = max(mb for n, mb in samples if n > frames / 2)
print(json.dumps({'frames': summary.frames, 'early_mb': early, 'late_mb': late, 'bytes': summary.bytes}))
"""


@pytest.mark.parametrize("frames", [6000, pytest.param(HOUR, marks=pytest.mark.slow)])
def test_memory_stays_flat_and_small(tmp_path: Path, frames: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out"), str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    print(result)
    assert result["frames"] == frames == len(list((tmp_path / "out").glob("*.png")))
    assert result["late_mb"] < 150
    assert result["late_mb"] < result["early_mb"] + 15

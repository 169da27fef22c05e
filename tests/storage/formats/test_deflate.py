"""What one kind of processor records opens on the other: each deflates with a library of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("zlib_ng") is None, reason="zlib-ng is not installed")

PROGRAM = """
import json, platform, sys, zlib
machine, new, *others = sys.argv[1:]
platform.machine = lambda: machine
from pi_capture.cli import main
from storage import open_recording
from storage.formats import deflate
assert deflate.ON_ARM == (machine == "aarch64")
assert main([new, "0.4", "--camera", "demo:3", "--countdown", "0", "--size", "72x40"]) == 0
print(json.dumps([[zlib.crc32(frame.pixels.tobytes()) for frame in open_recording(path)] for path in (new, *others)]))
"""


def record_and_read(machine: str, new: Path, *others: Path) -> list[list[int]]:
    """Record as on a processor, and read that and other recordings: the checksum of each frame's pixels."""
    command = [sys.executable, "-c", PROGRAM, machine, str(new), *map(str, others)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pixels: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return pixels


@pytest.mark.parametrize("suffix", ["", ".h5"])
def test_each_processor_opens_what_the_other_recorded(tmp_path: Path, suffix: str) -> None:
    arm, pc, other_arm = (tmp_path / f"{name}{suffix}" for name in ("arm", "pc", "other_arm"))
    (by_arm,) = record_and_read("aarch64", arm)
    by_pc, of_arm = record_and_read("x86_64", pc, arm)
    _, of_pc = record_and_read("aarch64", other_arm, pc)
    assert by_arm and by_pc
    assert of_arm == by_arm and of_pc == by_pc
    for recording in (arm, pc):
        verify = [sys.executable, "-m", "storage", "verify", str(recording)]
        assert subprocess.run(verify, capture_output=True, check=False).returncode == 0

"""The power is cut while files are being moved: none is lost, and what was said to be moved is where it should be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.durable.moves import complete, move_files
from tests.faults.table import note
from tests.faults.test_power_cut import mounted, stop
from tests.support import wait_for

FILES = 300

WRITER = f"""
import os, sys
from pathlib import Path
from storage.durable.moves import move_files
day = Path(sys.argv[1])
(day / "0").mkdir(parents=True)
for number in range({FILES}):
    (day / "0" / f"{{number:08d}}.png").write_text(str(number) * 100)
os.sync()
for step in range(10_000):
    names = sorted(os.listdir(day / str(step)))
    move_files(day / "moves.jsonl", [(f"{{step}}/{{name}}", f"{{step + 1}}/{{name}}") for name in names])
    print(step + 1, flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk image needs root")
@pytest.mark.parametrize("after", [0.3, 0.7])
def test_power_cut(tmp_path: Path, after: float) -> None:
    disk, snapshot, log = (tmp_path / name for name in ("disk", "snapshot", "log"))
    with disk.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    with mounted(disk, tmp_path / "live") as live, log.open("wb") as output:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, live / "day1"], stdout=output)
        wait_for(lambda: log.read_bytes().count(b"\n") >= 2, "two lines", writer)
        time.sleep(after)
        stop(writer)
        said = int(log.read_text().split()[-1])
        subprocess.run(["cp", "--sparse=always", disk, snapshot], check=True)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with mounted(snapshot, tmp_path / "rebooted") as rebooted:
        shutil.copytree(rebooted / "day1", tmp_path / "day1")
    day = tmp_path / "day1"
    complete(day / "moves.jsonl")
    (place,) = [path for path in day.iterdir() if path.is_dir()]
    assert said > 1 and int(place.name) in (said, said + 1)
    assert {path.name: path.read_text() for path in place.iterdir()} == {
        f"{number:08d}.png": str(number) * 100 for number in range(FILES)
    }
    assert move_files(day / "moves.jsonl", [(f"{place.name}/00000007.png", "x/00000007.png")]).count == 1
    note("power cut", "moves", FILES)
    print(f"cut {after} s after the second of {said} batches of {FILES} moves: nothing lost")

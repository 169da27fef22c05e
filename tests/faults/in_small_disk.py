"""Records onto a small tmpfs until it is full; prints what happened, and checks what is there.

unshare --mount [--map-root-user] python -m tests.faults.in_small_disk MOUNT_POINT KILOBYTES
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from storage.png import is_whole_png
from tests.faults.checks import seeds_under_final_names


def write(day: Path, seed: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.faults.writer", str(day), str(seed), "100000"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main(mount_point: str, kilobytes: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", mount_point], check=True)
    day = Path(mount_point) / "day1"
    done = write(day, 0)
    assert done.returncode == 1, done
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and "disk is full" in failed[0] and done.stderr == "", done
    seeds = seeds_under_final_names(day)
    assert seeds == set(range(len(seeds))), "frames are missing in the middle"
    assert not list(day.glob(".*")), list(day.glob(".*"))
    # Room again: the next run continues and harms nothing.
    for file in sorted(day.glob("*.png"))[: len(seeds) // 2]:
        file.unlink()
    kept = seeds_under_final_names(day)
    again = write(day, 1_000_000)
    assert again.returncode == 1, again
    assert kept < seeds_under_final_names(day)
    on_the_command_line(Path(mount_point) / "day2")
    print(f"{len(seeds)} frames on {kilobytes} kB, all whole")


def on_the_command_line(day: Path) -> None:
    """A person is warned before it happens, and told in one line when it has happened."""
    for file in (day.parent / "day1").glob("*.png"):
        file.unlink()
    scene = "ffmpeg:lavfi:testsrc2=size=320x240:rate=30"
    command = [sys.executable, "-m", "pi_capture", str(day), "-1", "--camera", scene, "--size", "source", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    told = done.stderr.splitlines()
    assert "the disk is full" in told[-1] and "Traceback" not in done.stderr, told
    assert len(told) <= 3, told  # the warning, if there was time for one; what there is; why it ended
    summary = json.loads(done.stdout)
    files = list(day.glob("*.png"))
    assert len(files) == summary["frames"] > 0 and all(is_whole_png(file.read_bytes()) for file in files)
    assert summary["dropped_disk"] > 0
    (session,) = json.loads((day / "recording.json").read_text())["sessions"]
    assert session["frames"] == len(files) and "No space left" in session["end"]


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Records onto a small tmpfs until it is full; prints what happened, and checks what is there.

unshare --mount [--map-root-user] python -m tests.faults.in_small_disk MOUNT_POINT KILOBYTES
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
    print(f"{len(seeds)} frames on {kilobytes} kB, all whole")


if __name__ == "__main__":
    main(*sys.argv[1:])

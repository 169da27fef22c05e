"""Records onto a small tmpfs until it is full; prints what happened, and checks what is there.

unshare --mount [--map-root-user] python -m tests.faults.in_small_disk MOUNT_POINT KILOBYTES TARGET
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from storage import open_recording
from storage.sessions import read_sessions
from tests.faults.checks import assert_all_counted, assert_conserved, hidden_files, seeds_under_final_names


def write(day: Path, seed: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.faults.writer", str(day), str(seed), "100000"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def mount(mount_point: str, *options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", mount_point], check=True)


def main(mount_point: str, kilobytes: str, target: str) -> None:
    mount(mount_point, f"size={kilobytes}k")
    day = Path(mount_point) / target
    done = write(day, 0)
    assert done.returncode == 1, done
    stored = assert_conserved(done.stdout)["frames"]
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and "disk is full" in failed[0] and done.stderr == "", done
    seeds = seeds_under_final_names(day)
    assert seeds and seeds == set(range(stored)), "frames are missing in the middle"
    assert not hidden_files(day), hidden_files(day)
    # Room again: the next run continues and harms nothing.
    mount(mount_point, "remount", f"size={int(kilobytes) * 2}k")
    again = write(day, 1_000_000)
    assert again.returncode == 1, again
    assert seeds < seeds_under_final_names(day)
    mount(mount_point, "remount", f"size={int(kilobytes) * 3}k")
    on_the_command_line(day.with_name(day.name.replace("day1", "day2")))
    print(f"{len(seeds)} frames on {kilobytes} kB, all whole")


def on_the_command_line(day: Path) -> None:
    """A person is warned before it happens, and told in one line when it has happened."""
    scene = "ffmpeg:lavfi:testsrc2=size=320x240:rate=30"
    command = [sys.executable, "-m", "pi_capture", str(day), "-1", "--camera", scene, "--size", "source", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    told = done.stderr.splitlines()
    assert "the disk is full" in told[-1] and "Traceback" not in done.stderr, told
    assert len(told) <= 3, told  # the warning, if there was time for one; what there is; why it ended
    summary = json.loads(done.stdout)
    assert_all_counted(summary)  # what a sync found no room for may have found it at the end: then nothing was lost
    with open_recording(day) as recording:
        assert len(recording) == summary["frames"] > 0
        for index in range(len(recording)):
            recording.check(index)
        assert recording.size in ("320x240", "256 features")
        (session,) = read_sessions(day) if day.is_dir() else recording.sessions
    assert all(session[name] == summary[name] for name in ("frames", "dropped_queue", "dropped_disk")), session
    assert "No space left" in session["end"]


if __name__ == "__main__":
    main(*sys.argv[1:])

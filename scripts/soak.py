"""Record for a long time, kill the recorder again and again, and account for every frame afterwards.

    python scripts/soak.py DIRECTORY [MINUTES] [SECONDS_BETWEEN_KILLS]

Two recorders run at 30 frames a second, each killed (SIGKILL) and started again every minute: one into a data
directory, one into video segments. Just before each kill it is noted which frames a reader finds: those must all be
there at the end. Frames count as lost unnoticed if neither a frame nor a count of dropped ones stands for their time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pi_capture.segments.series import Series
from storage import StorageError, open_recording
from storage.formats.png.codec import read_texts
from storage.frame import Frame

FPS = 30
MEGABYTE = 1e6
EARLY_SECONDS, LATE_SECONDS = (8, 20), 40  # of each run, for the comparison of memory


@dataclass(slots=True)
class Soak:
    """One recorder, and the observations of it.

    Attributes
    ----------
    seen : set of int
        Timestamps of the frames that a reader found just before a kill.
    kills : list of int
        When it was killed, in nanoseconds of the monotonic clock.
    """

    target: Path
    options: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    seen: set[int] = field(default_factory=set)
    kills: list[int] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=lambda: {"early": [], "late": []})
    failures: list[str] = field(default_factory=list)

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "pi_capture", str(self.target), "-1", "--camera", "demo", "--fps", str(FPS)),
            *("--size", "64x64", "--quiet", *self.options),
        ]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
        self.started = time.monotonic()

    def watch(self) -> None:
        """Note the memory it takes."""
        assert self.process is not None
        age = time.monotonic() - self.started
        if self.process.poll() is not None:
            self.failures.append(f"{self.target} ended by itself with {self.process.returncode}")
            self.start()
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
        if EARLY_SECONDS[0] <= age < EARLY_SECONDS[1]:
            self.memory["early"].append(resident)
        elif age >= LATE_SECONDS:
            self.memory["late"].append(resident)

    def end(self, number: signal.Signals) -> None:
        assert self.process is not None
        if number == signal.SIGKILL:
            self.seen |= self.timestamps_now()
        self.process.send_signal(number)
        killed_ns = time.monotonic_ns()
        status = self.process.wait()
        if number == signal.SIGKILL:
            self.kills.append(killed_ns)
        elif status != 0:
            self.failures.append(f"{self.target} did not end in order: {status}")

    def recordings(self) -> list[Path]:
        """The recording, or its segments, oldest first."""
        if "--segment" in self.options:
            return [segment.path for segment in Series.of(self.target).segments()]
        return [self.target] if self.target.exists() else []

    def timestamps_now(self) -> set[int]:
        """Of the newest frames: a directory's last thousand, a file's all."""
        found: set[int] = set()
        for path in self.recordings()[-2:]:
            if path.is_dir():
                newest = sorted(name for name in os.listdir(path) if name.endswith(".png"))[-1000:]
                found |= {int(read_texts((path / name).read_bytes())["Timestamp"]) for name in newest}
            else:
                try:
                    with open_recording(path) as recording:
                        found |= set(recording.timestamps_ns)
                except StorageError as error:
                    self.failures.append(f"{path} could not be read while it was recorded: {error}")
        return found

    def result(self) -> dict[str, object]:
        """Read everything, and account for it."""
        frames: list[Frame] = []
        for path in self.recordings():
            with open_recording(path) as recording:
                kept = [
                    Frame(frame.pixels[:1, :1], frame.index, frame.timestamp_ns, frame.metadata) for frame in recording
                ]
            if [frame.index for frame in kept] != list(range(len(kept))):
                self.failures.append(f"{path}: the numbers are not 0, 1, 2 …")
            frames += kept
        times = [frame.timestamp_ns for frame in frames]
        doubles = [stamp for stamp, count in Counter(times).items() if count > 1]
        lost = self.seen - set(times)
        unnoticed = dropped = 0
        at_kills: list[float] = []
        kills = list(self.kills)
        for before, after in pairwise(frames):
            told = sum(after.metadata.get(f"dropped_{cause}", 0) for cause in ("camera", "queue"))
            dropped += told
            if kills and before.timestamp_ns < kills[0] < after.timestamp_ns:
                at_kills.append((kills.pop(0) - before.timestamp_ns) / 1e9)
                continue
            missing = round((after.timestamp_ns - before.timestamp_ns) * FPS / 1e9) - 1
            unnoticed += abs(missing - told)
        early, late = (max(self.memory[name], default=0.0) for name in ("early", "late"))
        return {
            "frames": len(frames),
            "recordings": len(self.recordings()),
            "kills": len(self.kills),
            "kills_found": len(at_kills),
            "seen_before_a_kill": len(self.seen),
            "lost_of_those": len(lost),
            "doubled": len(doubles),
            "out_of_order": sum(after <= before for before, after in pairwise(times)),
            "dropped_and_counted": dropped,
            "lost_unnoticed": unnoticed,
            "longest_loss_at_a_kill_s": round(max(at_kills, default=0.0), 3),
            "memory_early_mb": round(early, 1),
            "memory_late_mb": round(late, 1),
            "failures": self.failures,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="where to record")
    parser.add_argument("minutes", metavar="MINUTES", type=float, nargs="?", default=30.0, help="how long (30)")
    parser.add_argument("between", metavar="SECONDS_BETWEEN_KILLS", type=float, nargs="?", default=60.0, help="(60)")
    args = parser.parse_args()
    place: Path = args.directory
    place.mkdir(parents=True, exist_ok=True)
    soaks = [
        Soak(place / "day1", ("--retry",)),
        Soak(place / "day1.mkv", ("--retry", "--segment", "5min")),
    ]
    until = time.monotonic() + args.minutes * 60
    for soak in soaks:
        soak.start()
    while time.monotonic() < until:
        time.sleep(1)
        for soak in soaks:
            soak.watch()
            if time.monotonic() - soak.started >= args.between and time.monotonic() < until:
                soak.end(signal.SIGKILL)
                soak.start()
    good = True
    for soak in soaks:
        soak.end(signal.SIGTERM)
        result = soak.result()
        print(json.dumps({soak.target.name: result}, indent=1))
        wrong = ("lost_of_those", "doubled", "out_of_order", "lost_unnoticed")
        flat = result["memory_late_mb"] <= result["memory_early_mb"] + 15
        good = good and flat and not soak.failures and not any(result[name] for name in wrong)
    print("every frame is accounted for" if good else "NOT as promised")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

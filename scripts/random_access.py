#!/usr/bin/env python3
"""Measure how long any single frame of a long recording takes to show, in each format.

    python scripts/random_access.py [--frames N] [--size WxH] [--directory DIR] [--json]

The recordings are made first, of the benchmark's noisy frames. Each is then opened anew, and frames are read in random
order, each once: the file lies in the memory that the system has for files, as it does right after it was recorded.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmark import STEP_NS, VIDEO, Frames, load_frames, ours

TARGETS: dict[str, dict[str, str]] = {
    "png": {},
    "hdf5.h5": {},
    "ffv1.mkv": {},
    "h264-lossless.mkv": {"codec": "h264-lossless"},
    "h264.mkv": {"codec": "h264"},
}
READS = 200


def measure(path: Path, frames: Frames, number: int, *, exact: bool) -> dict[str, Any]:
    from storage import open_recording

    started = time.perf_counter()
    recording = open_recording(path)
    opened = time.perf_counter() - started
    assert len(recording) == number
    times = []
    for index in random.Random(0).sample(range(number), READS):
        started = time.perf_counter()
        frame = recording[index]
        times.append(time.perf_counter() - started)
        assert frame.timestamp_ns == index * STEP_NS
        assert not exact or np.array_equal(frame.pixels, frames[index % len(frames)])
    recording.close()
    return {
        "recording": path.name,
        "open_ms": 1000 * opened,
        "first_ms": 1000 * times[0],
        "median_ms": 1000 * statistics.median(times),
        "worst_ms": 1000 * max(times),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--size", default="128x128", choices=["128x128", "640x480"])
    parser.add_argument("--directory", type=Path, help="where the recordings are made (default: temporary)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    frames = load_frames(VIDEO if VIDEO.is_file() else None, (width, height))
    rows = []
    with tempfile.TemporaryDirectory(dir=args.directory, prefix="random-access-") as parent:
        for name, options in TARGETS.items():
            path = Path(parent, name)
            ours(**options)(frames, args.frames, path)
            rows.append(measure(path, frames, args.frames, exact=name != "h264.mkv"))
            if not args.json:
                print(
                    "{recording:20} opens in {open_ms:6.1f} ms, a frame in {median_ms:5.1f} ms".format(**rows[-1]),
                    end="",
                )
                print(" (first {first_ms:.1f}, worst {worst_ms:.1f})".format(**rows[-1]), flush=True)
    if args.json:
        print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

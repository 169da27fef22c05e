#!/usr/bin/env python3
"""Measure ``python -m storage batch`` against a plain loop over the same recordings; one process, and two.

    python scripts/batch_benchmark.py [--step shards] [--small] [--recordings N] [--frames N] [--rounds N] [--json]

The recordings are the demo scene's with noise, 640x480 or (--small) 128x128, half of them ``.mkv`` (FFV1), half
``.h5``. The plain loop is what a first program does: open each, compute each frame's features, save an array; or put
each frame into a tar archive as PIL encodes it. Each way runs in processes of its own, in turn, several times; the
median is printed. Processor time is that of all its processes, from their start.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIZE, SMALL = (640, 480), (128, 128)
STEP_NS = 100_000_000  # ten frames a second

PLAIN_SHARDS = """
import io, sys, tarfile
from pathlib import Path
from PIL import Image
from storage import open_recording
with tarfile.open(sys.argv[2], "w") as archive:
    for path in sorted(Path(sys.argv[1]).iterdir()):
        with open_recording(path) as recording:
            for frame in recording:
                content = io.BytesIO()
                Image.fromarray(frame.pixels).save(content, "png")
                about = tarfile.TarInfo(f"{path.name}-{frame.index:08d}.png")
                about.size = content.tell()
                content.seek(0)
                archive.addfile(about, content)
"""
PLAIN_FEATURES = """
import sys
from pathlib import Path
import numpy as np
from storage import open_recording
from storage.formats.features.extractor import Extractor
extractor, out = Extractor(), Path(sys.argv[2])
out.mkdir()
for path in sorted(Path(sys.argv[1]).iterdir()):
    with open_recording(path) as recording:
        np.save(out / path.name, [extractor.extract(frame.pixels) for frame in recording])
"""


def make_recordings(directory: Path, recordings: int, frames: int, size: tuple[int, int]) -> None:
    from scripts.benchmark import load_frames
    from storage.formats.table import open_writer
    from storage.frame import Frame

    pictures = load_frames(None, size)
    for number in range(recordings):
        writer = open_writer(directory / f"day{number}{('.mkv', '.h5')[number % 2]}")
        for n in range(frames):
            writer.append(writer.encode(Frame(pictures[(n + number) % len(pictures)], n, n * STEP_NS)))
        writer.close()


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of a command and all that it starts."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, **one_thread, "PYTHONPATH": str(ROOT)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", choices=("features", "shards"), default="features")
    parser.add_argument("--recordings", type=int, default=4)
    parser.add_argument("--frames", type=int, default=300, help="of each recording")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="128x128")
    args = parser.parse_args()
    if args.step == "features":
        from storage.errors import StorageError
        from storage.formats.features.extractor import find_model

        try:
            find_model("imagenet")
        except StorageError as error:
            parser.error(str(error))
    plain = PLAIN_FEATURES if args.step == "features" else PLAIN_SHARDS
    shape = SMALL if args.small else SIZE
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "in")
        source.mkdir()
        make_recordings(source, args.recordings, args.frames, shape)
        batch = [sys.executable, "-m", "storage", "batch", args.step, str(source), "OUT", "--jobs"]
        ways = {
            "plain loop": [sys.executable, "-c", plain, str(source), "OUT"],
            "batch --jobs 1": [*batch, "1"],
            "batch --jobs 2": [*batch, "2"],
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(args.rounds):
            for name, command in ways.items():
                out = str(Path(scratch, f"{name}-{number}".replace(" ", "-")))
                taken[name].append(measure([out if one == "OUT" else one for one in command]))
                shutil.rmtree(out) if Path(out).is_dir() else Path(out).unlink()
        size = sum(path.stat().st_size for path in source.iterdir())
    frames = args.recordings * args.frames
    rows = {
        name: {
            "frames_per_second": round(frames / statistics.median(seconds for seconds, _ in times), 1),
            "frames_per_core_second": round(frames / statistics.median(core for _, core in times), 1),
        }
        for name, times in taken.items()
    }
    if args.json:
        print(json.dumps({"frames": frames, "bytes": size, "ways": rows}))
        return 0
    of = f"{args.frames} frames of {shape[0]}x{shape[1]}, {size / frames / 1000:.0f} kB a frame"
    print(f"{args.recordings} recordings of {of}")
    print(f"{'':16} {'frames/s':>10} {'a core':>10}")
    for name, row in rows.items():
        print(f"{name:16} {row['frames_per_second']:10.1f} {row['frames_per_core_second']:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

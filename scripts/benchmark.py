#!/usr/bin/env python3
"""Measure recording against the plain way, with the same frames in the same run.

    python scripts/benchmark.py [--json] [--video FILE] [--directory DIR] [--seconds S]
    python scripts/benchmark.py --filters

The plain way is what a first program does: ``PIL.Image.save`` in the capture loop, one file a frame, nothing synced.
Ours is `pi_capture.Recorder` with everything it promises: every frame durable when it ends. The floor is the same bytes
as ours written with plain ``write``, a file a frame, nothing synced: what this disk and file system allow.

Frames are a real video's where one is given (or the demo scene's), with Gaussian noise of 4 grey levels, which is what
a small sensor delivers indoors. Every way runs in a process of its own, in turn, several times; the median is printed.
Nothing is deleted between the runs: ext4 is slow to create files just after it deleted many.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIZES = ((128, 128), (640, 480))
WAYS = ("plain", "ours", "floor")
NOISE = 4.0
DISTINCT = {(128, 128): 256, (640, 480): 64}  # frames kept in memory, used again and again
VIDEO = ROOT.parent / "shared" / "data" / "pedestrians.avi"

Frames = np.ndarray[Any, np.dtype[np.uint8]]


def load_frames(video: Path | None, size: tuple[int, int]) -> Frames:
    """Distinct noisy frames: (number, height, width, 3) uint8 RGB."""
    count = DISTINCT[size]
    if video is not None:
        from pi_capture.sources import open_source

        source = open_source(f"file:{video}", size)
        pictures = [frame.pixels for frame, _ in zip(source, range(count), strict=False)]
        source.close()
    else:
        from pi_capture.sources.demo import draw

        pictures = [draw(0, n, 30.0, size)[0] for n in range(count)]
    random = np.random.default_rng(0)
    clean = np.stack(pictures).astype(np.int16)
    return np.clip(clean + np.rint(random.normal(0, NOISE, clean.shape)), 0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------------------- the three ways


def plain(frames: Frames, number: int, directory: Path) -> None:
    from PIL import Image

    directory.mkdir()
    for n in range(number):
        Image.fromarray(frames[n % len(frames)]).save(directory / f"{n:05d}.png")


def ours(frames: Frames, number: int, directory: Path) -> None:
    from pi_capture import Recorder
    from storage.frame import Frame

    with Recorder(directory) as recorder:
        for n in range(number):
            recorder.put(Frame(frames[n % len(frames)], n, n * 33_333_333), wait=True)


def floor(frames: Frames, number: int, directory: Path) -> None:
    from storage.png import encode_png

    encoded = [encode_png(frame, {"Index": "0", "Timestamp": "0"}) for frame in frames]
    directory.mkdir()
    started = time.perf_counter()
    for n in range(number):
        with (directory / f"{n:08d}.png").open("wb", buffering=0) as file:
            file.write(encoded[n % len(encoded)])
    floor.seconds = time.perf_counter() - started  # type: ignore[attr-defined]  # the encoding is not the floor's


def run_one(way: str, frames_file: Path, number: int, directory: Path) -> dict[str, float]:
    """In a process of its own: seconds, bytes a frame, and the memory it took beyond the frames, in MB."""
    import PIL.PngImagePlugin  # noqa: F401  (starting up is not measured)

    import pi_capture  # noqa: F401
    import storage.png  # noqa: F401

    frames = np.load(frames_file)
    work: Callable[[Frames, int, Path], None] = {"plain": plain, "ours": ours, "floor": floor}[way]
    resident_kb = memory_kb("VmRSS")
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    work(frames, number, directory)
    seconds = getattr(floor, "seconds", None) or time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    peak_kb = memory_kb("VmHWM")
    pictures = list(directory.glob("*.png"))
    assert len(pictures) == number, f"{len(pictures)} files of {number} frames"
    return {
        "seconds": seconds,
        "bytes_per_frame": sum(path.stat().st_size for path in pictures) / number,
        "peak_mb": (peak_kb - resident_kb) / 1000,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def memory_kb(name: str) -> int:
    """This process's memory as the kernel counts it: VmRSS now, VmHWM at its highest."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


# ----------------------------------------------------------------------------------------------------------- comparing


def compare(size: tuple[int, int], video: Path | None, parent: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """All ways in turn, `rounds` times; each for about the given time."""
    frames_file = parent / "frames.npy"
    np.save(frames_file, load_frames(video, size))
    pixels = size[0] * size[1]
    numbers = {
        "plain": max(20, round(seconds * 8e6 / pixels)),
        "ours": max(60, round(seconds * 100e6 / pixels)),
        "floor": max(60, round(seconds * 100e6 / pixels)),
    }
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        for way in WAYS:
            directory = parent / f"{way}-{size[0]}-{turn}"
            os.sync()
            command = [sys.executable, __file__, "--one", way, str(frames_file), str(numbers[way]), str(directory)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            result = json.loads(done.stdout)
            runs[way].append({"ms_per_frame": result.pop("seconds") / numbers[way] * 1000, **result})
            runs[way][-1]["cpu_ms_per_frame"] = runs[way][-1].pop("cpu_seconds") / numbers[way] * 1000
    rows = {way: {key: statistics.median(run[key] for run in runs[way]) for key in runs[way][0]} for way in WAYS}
    for row in rows.values():
        row["frames_per_second"] = 1000 / row["ms_per_frame"]
    return {
        "size": f"{size[0]}x{size[1]}",
        "frames": "video" if video else "demo",
        **rows,
        "speed_ratio": rows["ours"]["frames_per_second"] / rows["plain"]["frames_per_second"],
        "bytes_ratio": rows["ours"]["bytes_per_frame"] / rows["plain"]["bytes_per_frame"],
    }


def show(results: list[dict[str, Any]]) -> None:
    print(f"{'size':>8}  {'way':6} {'ms/frame':>9} {'CPU ms':>7} {'frames/s':>9} {'bytes/frame':>12} {'peak MB':>8}")
    for result in results:
        for way in WAYS:
            row = result[way]
            print(
                f"{result['size']:>8}  {way:6} {row['ms_per_frame']:9.3f} {row['cpu_ms_per_frame']:7.3f} "
                f"{row['frames_per_second']:9.0f} {row['bytes_per_frame']:12.0f} {row['peak_mb']:8.0f}"
            )
        print(
            f"{result['size']:>8}  ours is {result['speed_ratio']:.1f} times as fast as plain, "
            f"at {result['bytes_ratio']:.3f} times its bytes"
        )


# ------------------------------------------------------------------------------------------------------------- filters


def filtered(frame: Frames, kind: int) -> Frames:
    """The picture's rows after one of PNG's five filters (PNG specification, section 9), with the filter bytes."""
    height, width, _ = frame.shape
    rows = frame.reshape(height, width * 3)
    out = np.empty((height, 1 + width * 3), np.uint8)
    out[:, 0] = kind
    out[:, 1:] = rows
    body = out[:, 1:]
    if kind == 1:
        body[:, 3:] -= rows[:, :-3]
    elif kind == 2:
        body[1:] -= rows[:-1]
    elif kind > 2:
        left, up, corner = (np.zeros(rows.shape, np.int16) for _ in range(3))
        left[:, 3:] = rows[:, :-3]
        up[1:] = rows[:-1]
        corner[1:, 3:] = rows[:-1, :-3]
        if kind == 3:
            guess = (left + up) // 2
        else:
            pa, pb, pc = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
            guess = np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, up, corner))
        body -= guess.astype(np.uint8)
    return out


def measure_filters(video: Path | None) -> list[dict[str, Any]]:
    """Size, and the best of several times, of each filter with the deflate that the recorder uses."""
    from isal import igzip_lib

    from storage.png import DEFLATE_LEVEL, WINDOW_BITS

    def fastest(work: Callable[[], object]) -> float:
        times = []
        for _ in range(7):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        return 1000 * min(times) / len(frames)

    def deflate(rows: Frames) -> bytes:
        deflated: bytes = igzip_lib.compress(rows, DEFLATE_LEVEL, igzip_lib.COMP_ZLIB, hist_bits=WINDOW_BITS)
        return deflated

    results = []
    for size in SIZES:
        frames = load_frames(video, size)[:: 16 if size == (128, 128) else 8]
        for kind, name in enumerate(("none", "sub", "up", "average", "paeth")):
            ready = [filtered(frame, kind) for frame in frames]
            results.append(
                {
                    "size": f"{size[0]}x{size[1]}",
                    "filter": name,
                    "percent_of_raw": 100 * sum(len(deflate(rows)) for rows in ready) / frames.nbytes,
                    "filter_ms": fastest(lambda: [filtered(frame, kind) for frame in frames]),  # noqa: B023 (at once)
                    "deflate_ms": fastest(lambda: [deflate(rows) for rows in ready]),  # noqa: B023 (at once)
                }
            )
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--video", type=Path, default=VIDEO if VIDEO.is_file() else None, help="real frames")
    parser.add_argument("--directory", type=Path, help="on the disk to measure (default: the system's for temporaries)")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each run takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--filters", action="store_true", help="measure PNG's five filters instead")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        way, frames_file, number, directory = args.one
        print(json.dumps(run_one(way, Path(frames_file), int(number), Path(directory))))
        return 0
    if args.filters:
        rows = measure_filters(args.video)
        if args.json:
            print(json.dumps(rows, indent=1))
        else:
            for row in rows:
                print(
                    f"{row['size']:>8}  {row['filter']:8} {row['percent_of_raw']:5.1f} % of raw, filter "
                    f"{row['filter_ms']:.3f} ms, deflate {row['deflate_ms']:.3f} ms"
                )
        return 0
    with tempfile.TemporaryDirectory(dir=args.directory, prefix="benchmark-") as parent:
        results = [compare(size, args.video, Path(parent), args.seconds, args.rounds) for size in SIZES]
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

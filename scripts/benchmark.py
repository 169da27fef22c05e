#!/usr/bin/env python3
"""Measure each format against the plain way of keeping such frames, with the same frames in the same run.

    python scripts/benchmark.py [png hdf5 features video] [--json] [--video FILE] [--weights FILE] [--directory DIR]

The plain way is what a first program does: ``PIL.Image.save`` for each frame; an h5py dataset of float32 with guessed
chunks, resized for each frame; ``model.predict`` for each frame; ``cv2.VideoWriter``. None of it is synced. Ours is
`pi_capture.Recorder` with everything it promises: every frame durable when it ends. The floor of PNG is the same bytes
as ours written with plain ``write``, a file a frame: what this disk and file system allow.

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
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SIZES = ((128, 128), (640, 480))
SMALL = SIZES[:1]
NOISE = 4.0
STEP_NS = 33_333_333  # from one frame to the next
DISTINCT = {(128, 128): 256, (640, 480): 64}  # frames kept in memory, used again and again
VIDEO = ROOT.parent / "shared" / "data" / "pedestrians.avi"
WEIGHTS = ROOT.parent / "shared" / "data" / "mobilenet_025_128.pb"
RATES = {"png": 11, "hdf5": 8, "features": 7}  # frames a second that the reference program stored, on a Raspberry Pi 3

IMPORTED = (
    "PIL.PngImagePlugin",
    "pi_capture.recording.recorder",
    "storage.formats.hdf5.writer",
    "storage.formats.png.codec",
)
"""Modules that are imported before a run: starting up is not measured."""

Frames = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way of keeping frames.

    Attributes
    ----------
    format, name : str
        ``plain`` is what the others of its format are compared with.
    suffix : str
        Of its file; empty for a directory.
    keep : callable
        Stores so many of the frames; returns the seconds it took, where they are not those of the whole call.
    pixels_per_second : float
        Roughly what it stores, to choose how many frames take about the time wanted.
    sizes : tuple
        The frame sizes it is measured with.
    """

    format: str
    name: str
    suffix: str
    keep: Callable[[Frames, int, Path], float | None]
    pixels_per_second: float
    sizes: tuple[tuple[int, int], ...] = SIZES


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


# ------------------------------------------------------------------------------------------------------------- the ways


def ours(**options: Any) -> Callable[[Frames, int, Path], None]:
    def keep(frames: Frames, number: int, path: Path) -> None:
        from pi_capture import Recorder
        from storage.frame import Frame

        with Recorder(path, options=options) as recorder:
            for n in range(number):
                recorder.put(Frame(frames[n % len(frames)], n, n * STEP_NS), wait=True)

    return keep


def plain_png(frames: Frames, number: int, directory: Path) -> None:
    from PIL import Image

    directory.mkdir()
    for n in range(number):
        Image.fromarray(frames[n % len(frames)]).save(directory / f"{n:05d}.png")


def floor_png(frames: Frames, number: int, directory: Path) -> float:
    from storage.formats.png.codec import encode_png

    encoded = [encode_png(frame, {"Index": "0", "Timestamp": "0"}) for frame in frames]
    directory.mkdir()
    started = time.perf_counter()  # the encoding is not the floor's
    for n in range(number):
        with (directory / f"{n:08d}.png").open("wb", buffering=0) as file:
            file.write(encoded[n % len(encoded)])
    return time.perf_counter() - started


def plain_hdf5(frames: Frames, number: int, path: Path) -> None:
    import h5py

    shape = frames.shape[1:]
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("frames", (0, *shape), np.float32, maxshape=(None, *shape))
        for n in range(number):
            dataset.resize(n + 1, axis=0)
            dataset[n] = frames[n % len(frames)] / np.float32(255)


def plain_video(frames: Frames, number: int, path: Path) -> None:
    import cv2

    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    for n in range(number):
        writer.write(cv2.cvtColor(frames[n % len(frames)], cv2.COLOR_RGB2BGR))
    writer.release()


def plain_features(frames: Frames, number: int, path: Path) -> float:
    return _run_network(frames, number, path, lambda model: lambda batch: model.predict(batch, verbose=0))


def tf_function_features(frames: Frames, number: int, path: Path) -> float:
    import tensorflow as tf

    def compiled(model: Any) -> Callable[[Any], Any]:
        function = tf.function(model)
        return lambda batch: function(batch).numpy()

    return _run_network(frames, number, path, compiled)


def _run_network(frames: Frames, number: int, path: Path, use: Callable[[Any], Callable[[Any], Any]]) -> float:
    """The network as Keras has it, one frame at a time; its weights don't matter for the time it takes."""
    import tensorflow as tf

    model = tf.keras.applications.MobileNet((128, 128, 3), 0.25, include_top=False, weights=None, pooling="avg")
    network = use(model)
    network(np.zeros((1, 128, 128, 3), np.float32))  # building it is not measured
    started = time.perf_counter()
    with path.open("wb") as file:
        for n in range(number):
            file.write(network(frames[n % len(frames)][None] / np.float32(127.5) - 1).tobytes())
    return time.perf_counter() - started


def ways(weights: Path | None) -> list[Way]:
    features = ours(weights=weights) if weights is not None else ours()
    return [
        Way("png", "plain", "", plain_png, 8e6),
        Way("png", "ours", "", ours(), 100e6),
        Way("png", "floor", "", floor_png, 100e6),
        Way("hdf5", "plain", ".h5", plain_hdf5, 6e6),
        Way("hdf5", "ours", ".h5", ours(), 130e6),
        Way("hdf5", "ours, not compressed", ".h5", ours(compression="none"), 400e6),
        Way("features", "plain", ".raw", plain_features, 0.3e6, SMALL),
        Way("features", "tf.function", ".raw", tf_function_features, 5e6, SMALL),
        Way("features", "ours", ".features.h5", features, 100e6, SMALL),
        Way("video", "plain", ".mp4", plain_video, 40e6),
        Way("video", "ours (ffv1)", ".mkv", ours(), 30e6),
        Way("video", "ours (h264-lossless)", ".mkv", ours(codec="h264-lossless"), 50e6),
        Way("video", "ours (h264)", ".mkv", ours(codec="h264"), 100e6),
    ]


def run_one(way: Way, frames_file: Path, number: int, path: Path) -> dict[str, float]:
    """In a process of its own: seconds, bytes a frame, and the memory it took beyond the frames, in MB."""
    for name in IMPORTED:
        import_module(name)
    frames = np.load(frames_file)
    resident_kb = memory_kb("VmRSS")
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    seconds = way.keep(frames, number, path) or time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "bytes_per_frame": sum(file.stat().st_size for file in (path.glob("*.png") if path.is_dir() else [path]))
        / number,
        "peak_mb": (memory_kb("VmHWM") - resident_kb) / 1000,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def memory_kb(name: str) -> int:
    """This process's memory as the kernel counts it: VmRSS now, VmHWM at its highest."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


# ----------------------------------------------------------------------------------------------------------- comparing


def compare(
    some: list[tuple[int, Way]], size: tuple[int, int], video: Path | None, parent: Path, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Ways of one format in turn, several times; each for about the given time."""
    frames_file = parent / f"frames-{size[0]}.npy"
    if not frames_file.exists():
        np.save(frames_file, load_frames(video, size))
    runs: dict[int, list[dict[str, float]]] = {number: [] for number, _ in some}
    for turn in range(args.rounds):
        for which, way in some:
            count = max(20, round(args.seconds * way.pixels_per_second / (size[0] * size[1])))
            path = parent / f"{which}-{size[0]}-{turn}{way.suffix}"
            os.sync()
            command = [sys.executable, __file__, "--one", str(which), str(frames_file), str(count), str(path)]
            command += ["--weights", str(args.weights)] if args.weights else []
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{done.stderr}{way.format}, {way.name}, {count} frames into {path}: failed (above)")
            result = json.loads(done.stdout)
            result["ms_per_frame"] = result.pop("seconds") / count * 1000
            result["cpu_ms_per_frame"] = result.pop("cpu_seconds") / count * 1000
            runs[which].append(result)
    rows = []
    for which, way in some:
        row: dict[str, Any] = {key: statistics.median(run[key] for run in runs[which]) for key in runs[which][0]}
        row |= {"format": way.format, "way": way.name, "size": f"{size[0]}x{size[1]}"}
        row["frames_per_second"] = 1000 / row["ms_per_frame"]
        row["mb_per_hour"] = {
            rate: row["bytes_per_frame"] * rate * 3600 / 1e6 for rate in (RATES.get(way.format), 30) if rate
        }
        rows.append(row)
    for row in rows[1:]:
        row["times_as_fast"] = row["frames_per_second"] / rows[0]["frames_per_second"]
        row["times_the_bytes"] = row["bytes_per_frame"] / rows[0]["bytes_per_frame"]
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'format':8} {'size':>8}  {'way':20} {'ms/frame':>9} {'CPU ms':>7} {'frames/s':>9} {'bytes/frame':>12}"
        f" {'peak MB':>8}  {'MB an hour':24} against plain"
    )
    for row in rows:
        hours = ", ".join(f"{mb:,.0f} at {rate}" for rate, mb in row["mb_per_hour"].items())
        print(
            f"{row['format']:8} {row['size']:>8}  {row['way']:20} {row['ms_per_frame']:9.3f} "
            f"{row['cpu_ms_per_frame']:7.3f} {row['frames_per_second']:9.0f} {row['bytes_per_frame']:12.0f} "
            f"{row['peak_mb']:8.0f}  {hours:24}",
            f"{row['times_as_fast']:.1f} times as fast, {row['times_the_bytes']:.3f} times the bytes"
            if "times_as_fast" in row
            else "",
        )


def main() -> int:
    formats = sorted({way.format for way in ways(None)})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"some of {', '.join(formats)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--video", type=Path, default=VIDEO if VIDEO.is_file() else None, help="real frames")
    parser.add_argument("--weights", type=Path, default=WEIGHTS if WEIGHTS.is_file() else None, help="of MobileNet")
    parser.add_argument("--directory", type=Path, help="on the disk to measure (default: the system's for temporaries)")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each run takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.formats) - set(formats):
        parser.error(f"unknown format {', '.join(unknown)}; known are {', '.join(formats)}")
    all_ways = ways(args.weights)
    if args.one:
        which, frames_file, number, path = args.one
        print(json.dumps(run_one(all_ways[int(which)], Path(frames_file), int(number), Path(path))))
        return 0
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=args.directory, prefix="benchmark-") as parent:
        for name in args.formats or dict.fromkeys(way.format for way in all_ways):
            for size in SIZES:
                some = [(n, way) for n, way in enumerate(all_ways) if way.format == name and size in way.sizes]
                if some:
                    rows += compare(some, size, args.video, Path(parent), args)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Measure readers for training on the same pictures, in the same run: Keras', torchvision's and ours, of each format.

    python scripts/reading_benchmark.py [--size 128x128] [--frames N] [--rounds N] [--video FILE] [--json]

The pictures are those of `scripts/benchmark.py`, noisy as a small sensor's, labelled, as a data directory; and the same
as HDF5, FFV1 and H.264. Each reader goes through two epochs, shuffled, in batches of 32, in a process of its own, in
turn; the medians of the rounds are printed:

- frames/s, of the second epoch; ours are compared with Keras' ``image_dataset_from_directory``
- processor time of a frame in both epochs, of all threads and workers
- the first batch: from the call that makes the dataset to the batch
- memory: the highest beyond what the libraries take, with the workers'

Readers of PyTorch are left out where it is not installed.
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
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BATCH = 32
CLASSES = 4
STRETCH = 10  # frames of a class that follow each other
RECORDINGS = {"PNG": "day1", "HDF5": "day1.h5", "FFV1": "day1.mkv", "H.264 lossless": "day1-h264.mkv"}

Epochs = Callable[[], Iterator[Any]]
"""Makes the iterator of the next epoch, over batches."""


def keras_directory(root: Path, size: tuple[int, int]) -> Epochs:
    import keras

    dataset = keras.utils.image_dataset_from_directory(root / "day1", image_size=size, batch_size=BATCH, verbose=False)
    return lambda: iter(dataset)


def keras_recording(name: str) -> Callable[[Path, tuple[int, int]], Epochs]:
    def make(root: Path, size: tuple[int, int]) -> Epochs:
        from storage.keras import dataset_from_recording

        dataset = dataset_from_recording(root / RECORDINGS[name], batch_size=BATCH)
        return lambda: iter(dataset)

    return make


def torchvision_folder(workers: int) -> Callable[[Path, tuple[int, int]], Epochs]:
    def make(root: Path, size: tuple[int, int]) -> Epochs:
        from torch.utils.data import DataLoader
        from torchvision.datasets import ImageFolder
        from torchvision.transforms.functional import pil_to_tensor

        loader = DataLoader(ImageFolder(root / "day1", pil_to_tensor), BATCH, shuffle=True, num_workers=workers)
        return lambda: iter(loader)

    return make


def torch_map(name: str, workers: int) -> Callable[[Path, tuple[int, int]], Epochs]:
    def make(root: Path, size: tuple[int, int]) -> Epochs:
        from torch.utils.data import DataLoader

        from storage.torch import FrameDataset

        loader = DataLoader(FrameDataset(root / RECORDINGS[name]), BATCH, shuffle=True, num_workers=workers)
        return lambda: iter(loader)

    return make


def torch_batches(name: str, workers: int) -> Callable[[Path, tuple[int, int]], Epochs]:
    def make(root: Path, size: tuple[int, int]) -> Epochs:
        from torch.utils.data import DataLoader

        from storage.torch import FrameBatches

        loader = DataLoader(FrameBatches(root / RECORDINGS[name], BATCH), batch_size=None, num_workers=workers)
        return lambda: iter(loader)

    return make


def decoder_alone(name: str) -> Callable[[Path, tuple[int, int]], Epochs]:
    """FFmpeg's decoder with all cores, in order, of which nothing is kept: no reader of the format is faster."""

    def make(root: Path, size: tuple[int, int]) -> Epochs:
        import av

        def epoch() -> Iterator[Any]:
            with av.open(root / RECORDINGS[name]) as container:
                container.streams.video[0].thread_type = "AUTO"
                for _ in container.decode(video=0):
                    yield None, [0]

        return epoch

    return make


READERS: dict[str, Callable[[Path, tuple[int, int]], Epochs]] = {
    "Keras, image_dataset_from_directory": keras_directory,
    **{f"dataset_from_recording, {name}": keras_recording(name) for name in RECORDINGS},
    "FFmpeg's decoder alone, FFV1": decoder_alone("FFV1"),
    "torchvision, ImageFolder, 2 workers": torchvision_folder(2),
    **{f"FrameDataset, 2 workers, {name}": torch_map(name, 2) for name in ("PNG", "HDF5", "FFV1")},
    **{f"FrameBatches, no worker, {name}": torch_batches(name, 0) for name in RECORDINGS},
    **{f"FrameBatches, 2 workers, {name}": torch_batches(name, 2) for name in ("PNG", "HDF5", "FFV1")},
}
OF_TORCH = ("torchvision", "FrameDataset", "FrameBatches")


def make_recordings(root: Path, size: tuple[int, int], number: int, video: Path | None) -> None:
    from benchmark import STEP_NS, load_frames

    from pi_capture import Recorder
    from storage import Frame, open_recording
    from storage.convert.convert import convert
    from storage.durable.moves import move_files

    frames = load_frames(video, size)
    with Recorder(root / "day1") as recorder:
        for n in range(number):
            recorder.put(Frame(frames[n % len(frames)], n, n * STEP_NS), wait=True)
    names = open_recording(root / "day1").names
    moves = [(name, f"{n // STRETCH % CLASSES}/{name}") for n, name in enumerate(names)]
    move_files(root / "day1" / "moves.jsonl", moves)
    for name in list(RECORDINGS.values())[1:]:
        convert(root / "day1", root / name, codec="h264-lossless" if "h264" in name else None)


def run_one(reader: str, root: Path, size: tuple[int, int]) -> dict[str, float]:
    """In a process of its own."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if reader.startswith(OF_TORCH):
        import torch.utils.data  # noqa: F401 (loading the library is not measured)
    else:
        import keras

        keras.ops.zeros(1)
    resident_kb = _memory_kb("VmRSS")
    before = _processor_seconds()
    started = time.perf_counter()
    epochs = READERS[reader](root, size)
    first = epochs()
    batches = chain([next(first)], first)
    first_batch = time.perf_counter() - started
    frames = sum(len(labels) for _, labels in batches)
    started = time.perf_counter()
    again = sum(len(labels) for _, labels in epochs())
    seconds = time.perf_counter() - started
    workers_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "frames": frames,
        "frames_per_second": again / seconds,
        "cpu_ms_per_frame": (_processor_seconds() - before) / (frames + again) * 1000,
        "first_batch_ms": first_batch * 1000,
        "peak_mb": (_memory_kb("VmHWM") - resident_kb) / 1000,
        "largest_worker_mb": workers_kb / 1000,
    }


def _processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _memory_kb(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def measure(root: Path, args: argparse.Namespace, readers: list[str]) -> list[dict[str, Any]]:
    """Each reader in turn, some rounds: the medians."""
    runs: dict[str, list[dict[str, float]]] = {reader: [] for reader in readers}
    for _ in range(args.rounds):
        for reader in readers:
            command = [sys.executable, __file__, "--one", reader, str(root), "--size", args.size]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs[reader].append(json.loads(done.stdout.splitlines()[-1]))
    rows = [
        {"reader": reader, **{key: statistics.median(run[key] for run in found) for key in found[0]}}
        for reader, found in runs.items()
    ]
    for row in rows:
        row["times_keras"] = row["frames_per_second"] / rows[0]["frames_per_second"]
    return rows


def show(rows: list[dict[str, Any]], size: str) -> None:
    columns = "frames/s", "times Keras", "CPU ms/frame", "first batch ms", "memory MB", "a worker's MB"
    print(f"{size:38}", *(f"{name:>14}" for name in columns))
    for row in rows:
        values = (
            f"{row['frames_per_second']:.0f}",
            f"{row['times_keras']:.2f}",
            f"{row['cpu_ms_per_frame']:.2f}",
            f"{row['first_batch_ms']:.0f}",
            f"{row['peak_mb']:.0f}",
            f"{row['largest_worker_mb']:.0f}" if "workers" in row["reader"] else "",
        )
        print(f"{row['reader']:38}", *(f"{value:>14}" for value in values))


def main() -> int:
    from benchmark import VIDEO

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="128x128", help="128x128 (default) or 640x480")
    parser.add_argument("--frames", type=int, help="in the recording (default: 3000, or 300 large ones)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only readers whose names have that in them, and Keras'"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--video", type=Path, default=VIDEO if VIDEO.is_file() else None, help="real frames")
    parser.add_argument("--directory", type=Path, help="on the disk to measure (default: the system's for temporaries)")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    if args.one:
        print(json.dumps(run_one(args.one[0], Path(args.one[1]), (height, width))))
        return 0
    some = [name for name in READERS if name.startswith("Keras") or args.only in name]
    if find_spec("torch") is None:
        some = [name for name in some if not name.startswith(OF_TORCH)]
    with tempfile.TemporaryDirectory(dir=args.directory, prefix="benchmark-") as parent:
        make_recordings(Path(parent), (width, height), args.frames or (3000 if width < 300 else 300), args.video)
        rows = measure(Path(parent), args, some)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows, args.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How good a model is in a room that it has never seen: trained on three rooms of the demo scene, tested on a fourth.

    python scripts/four_rooms.py [--weights FILE] [--frames N]

N frames in all are learnt from, ten a second. Seconds (of the clock, and of the processor) and memory are those of
``python -m storage train``: first with all frames to describe, then with what its cache has kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from pi_capture import Recorder
from pi_capture.sources.demo import draw
from storage import open_recording
from storage.durable.moves import move_files
from storage.formats.features.extractor import Extractor
from storage.learn.describe import describe_recording
from storage.learn.model import load_model
from storage.learn.smoothing import smooth

ROOT = Path(__file__).parents[1]
NAMES = ("none", "door", "light", "music", "stop")
FPS = 10


def record_room(room: Path, seed: int, frames: int) -> None:
    """A labelled data directory of a room."""
    labels = []
    with Recorder(str(room), fps=FPS) as recorder:
        for number in range(frames):
            pixels, label = draw(seed=seed, number=number, fps=FPS, size=(128, 128))
            recorder.write(pixels)
            labels.append(NAMES[label])
    recording = open_recording(room)
    names = [recording.file(number).name for number in range(frames)]
    move_files(room / "moves.jsonl", [(name, f"{label}/{name}") for name, label in zip(names, labels, strict=True)])


def train(rooms: list[Path], model: Path, weights: list[str], cache: Path) -> tuple[dict[str, object], float, float]:
    """What training says of itself, the seconds of the processor and the most megabytes that it took."""
    command = [sys.executable, "-m", "storage", "train", *map(str, rooms), "-o", str(model), "--replace", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen([*command, *weights], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    report: dict[str, object] = json.loads(said)
    return report, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def test(model_path: Path, room: Path) -> tuple[float, float]:
    """The share of frames that are right, each by itself and smoothed."""
    model = load_model(model_path)
    with open_recording(room) as recording:
        described = describe_recording(recording, None if model.network is None else Extractor(model.network))
        truth = np.array([model.classes.index(label or "") for label in recording.labels])
    certainties = model.head.certainties(described.of(model.kind))
    return float(np.mean(certainties.argmax(axis=1) == truth)), float(np.mean(smooth(certainties) == truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="as for train; without it, and without weights on this machine: thumbnails")
    parser.add_argument("--frames", type=int, default=10_000, help="to learn from (default: 10000)")
    args = parser.parse_args()
    weights = ["--weights", args.weights] if args.weights else []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        rooms = [directory / f"room{seed}" for seed in range(4)]
        for seed, room in enumerate(rooms):
            record_room(room, seed, -(-args.frames // 3))
        for what in ("all frames to describe", "described before"):
            report, processor, megabytes = train(rooms[:3], directory / "rooms.model", weights, directory / "cache")
            print(f"{what}: {report['seconds']} s, {processor:.1f} s of the processor, {megabytes:.0f} MB")
        print(f"held-out stretches of three rooms: {report['accuracy']}, smoothed {report['smoothed']}")
        alone, smoothed = test(directory / "rooms.model", rooms[3])
        print(f"the fourth room: {alone:.4f}, smoothed {smoothed:.4f}; by {report['kind']}, {report['by_kind']}")


if __name__ == "__main__":
    main()

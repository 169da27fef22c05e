#!/usr/bin/env python3
"""Measure ``python -m pi_capture watch`` beside Keras, in one run: the same network, the same frames, one by one.

    python scripts/watch_benchmark.py [--frames N]

It needs TensorFlow. The network is that of docs/training.md, as it is before it has learnt anything: how fast it is and
whether both say the same does not depend on that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLASSES = ("none", "door", "light", "music", "stop")
MAKE = """
import sys
import keras, tensorflow as tf
keras.utils.set_random_seed(1)
layers = keras.layers
model = keras.Sequential([
    keras.Input((128, 128, 3)),
    layers.Rescaling(1 / 127.5, offset=-1),
    layers.Conv2D(16, 5, strides=2, activation="relu"), layers.MaxPooling2D(),
    layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
    layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(5, activation="softmax"),
])
model.save(sys.argv[1] + "/model.keras")
open(sys.argv[1] + "/model.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""
BY_KERAS = """
import json, sys, time
import keras, numpy as np
from storage import open_recording
model = keras.models.load_model(sys.argv[1] + "/model.keras")
ways = {"predict": lambda x: model.predict(x, verbose=0), "call": lambda x: model(x, training=False).numpy()}
said = []
with open_recording(sys.argv[1] + "/day1.mkv") as recording:
    for frame in recording:
        certainties = ways[sys.argv[2]](frame.pixels[None].astype(np.float32))
        if not said:
            began = time.time()
        said.append(int(certainties.argmax()))
print(json.dumps({"began": began, "seconds": time.time() - began, "said": said}))
"""


@dataclass(frozen=True)
class Run:
    """What a program did: until its first frame, frames a second after it, memory at most, and the classes."""

    ready_seconds: float
    fps: float
    megabytes: float
    said: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600)
    frames = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        _draw(place / "day1.mkv", frames)
        subprocess.run([sys.executable, "-c", MAKE, name], check=True, env=_quiet(), capture_output=True)
        (place / "labels.txt").write_text("\n".join(CLASSES))
        runs = {
            "watch": _watch(place),
            "Keras, model(x)": _keras(name, "call"),
            "Keras, predict(x)": _keras(name, "predict"),
        }
    ours = runs["watch"]
    print(f"{'':18} {'ready s':>8} {'frames/s':>9} {'MB':>6} {'times as fast':>14} {'same class':>11}")
    for title, run in runs.items():
        same = sum(a == b for a, b in zip(run.said, ours.said, strict=True)) / frames
        numbers = f"{run.ready_seconds:8.1f} {run.fps:9.0f} {run.megabytes:6.0f}"
        print(f"{title:18} {numbers} {ours.fps / run.fps:14.1f} {same:11.3f}")


def _draw(path: Path, frames: int) -> None:
    from pi_capture import Recorder
    from pi_capture.sources.demo import draw

    with Recorder(path, fps=10) as recorder:
        for number in range(frames):
            recorder.write(draw(seed=0, number=number, fps=10, size=(128, 128))[0])


def _quiet() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def _run(command: list[str]) -> tuple[float, float, list[dict[str, Any]]]:
    """When it began, its memory at most in MB, and the lines of JSON that it printed."""
    began = time.time()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_quiet())
    assert process.stdout is not None
    lines = [json.loads(line) for line in process.stdout]
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:4]} ended with status {process.returncode}")
    return began, used.ru_maxrss / 1e3, lines


def _watch(place: Path) -> Run:
    options = ["--pixels", "0..255", "--hold", "0", "--json-lines", "--camera", f"file:{place / 'day1.mkv'}"]
    command = [sys.executable, "-m", "pi_capture", "watch", str(place / "model.tflite"), *options]
    began, megabytes, (*frames, summary) = _run(command)
    ready = time.time() - began - summary["seconds"]
    said = [CLASSES.index(max(frame["certainties"], key=frame["certainties"].get)) for frame in frames]
    return Run(ready, (len(frames) - 1) / summary["seconds"], megabytes, said)


def _keras(place: str, how: str) -> Run:
    began, megabytes, (found,) = _run([sys.executable, "-c", BY_KERAS, place, how])
    return Run(found["began"] - began, (len(found["said"]) - 1) / found["seconds"], megabytes, found["said"])


if __name__ == "__main__":
    main()

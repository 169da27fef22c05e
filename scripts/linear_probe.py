"""What MobileNet's features are worth: a linear classifier on them, and the same on pixels, scaled to as many numbers.

Both see the same frames of the demo scene. The last 30 % of eight minutes are held out, and the 4 seconds before them,
so that no held-out frame is a near copy of one that was learnt; of the rest the first half minute is learnt from, or
the first minute, and so on. The pixels are a picture of 16x16 grey values, and one of 9x9 with colours (243 numbers).
The strength of the regularisation is chosen on the last fifth of what is learnt from, for each by itself.

    python scripts/linear_probe.py [--weights FILE] [--seeds N] [--fps N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from pi_capture.sources.demo import CLASSES, draw
from storage.formats.features.extractor import Extractor

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100)
SECONDS, HELD_OUT, GAP_SECONDS = 480.0, 0.3, 4.0
LEARNT_SECONDS = (30, 60, 120, 240, 332)
PIXELS = {"16x16 grey pixels": ("L", 16), "9x9 colour pixels": ("RGB", 9)}


def scaled(mode: str, side: int) -> Callable[[np.ndarray], np.ndarray]:
    """Pixels as a classifier's input: "L" for grey, "RGB" for colours."""

    def numbers(pixels: np.ndarray) -> np.ndarray:
        small = Image.fromarray(pixels).convert(mode).resize((side, side), Image.Resampling.BOX)
        return np.asarray(small, np.float32).reshape(-1) / 255

    return numbers


def fit_ridge(inputs: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Least squares to 1 for the true class and 0 for the others; the last row is the bias, which is not shrunk."""
    ones = np.hstack([inputs, np.ones((len(inputs), 1))])
    wanted = np.eye(len(CLASSES))[labels]
    shrink = strength * len(inputs) * np.eye(ones.shape[1])
    shrink[-1, -1] = 0
    return np.linalg.solve(ones.T @ ones + shrink, ones.T @ wanted)


def accuracy(weights: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean((inputs @ weights[:-1] + weights[-1]).argmax(axis=1) == labels))


def probe(inputs: np.ndarray, labels: np.ndarray, learnt: int, held_out: int) -> float:
    """The accuracy, from frame `held_out` on, of a linear classifier that was learnt from the first `learnt` frames."""
    inputs = inputs.astype(np.float64)
    mean, deviation = inputs[:learnt].mean(axis=0), inputs[:learnt].std(axis=0)
    inputs = (inputs - mean) / np.maximum(deviation, 1e-6)
    part = learnt * 4 // 5

    def on_the_last_fifth(strength: float) -> float:
        weights = fit_ridge(inputs[:part], labels[:part], strength)
        return accuracy(weights, inputs[part:learnt], labels[part:learnt])

    best = max(STRENGTHS, key=on_the_last_fifth)
    return accuracy(fit_ridge(inputs[:learnt], labels[:learnt], best), inputs[held_out:], labels[held_out:])


def compare(weights: str, seed: int, fps: float) -> tuple[np.ndarray, float]:
    """Held-out accuracies in one room, (inputs, lengths of what is learnt from); and that of always the same guess."""
    functions = [Extractor(weights).extract, *(scaled(mode, side) for mode, side in PIXELS.values())]

    def measure(number: int) -> tuple[list[np.ndarray], int]:
        pixels, label = draw(seed, number, fps, (128, 128))
        return [function(pixels) for function in functions], label

    with ThreadPoolExecutor() as pool:
        measured = list(pool.map(measure, range(round(SECONDS * fps))))
    labels = np.array([label for _, label in measured])
    held_out = round((1 - HELD_OUT) * SECONDS * fps)
    lengths = [min(round(seconds * fps), held_out - round(GAP_SECONDS * fps)) for seconds in LEARNT_SECONDS]
    columns = [np.stack([row[kind] for row, _ in measured]) for kind in range(len(functions))]
    guess = float(np.mean(labels[held_out:] == np.bincount(labels[: lengths[-1]]).argmax()))
    return np.array([[probe(column, labels, length, held_out) for length in lengths] for column in columns]), guess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="imagenet", help="as for recording features")
    parser.add_argument("--seeds", type=int, default=4, help="how many rooms of the demo scene")
    parser.add_argument("--fps", type=float, default=10)
    args = parser.parse_args()
    results, guesses = zip(*(compare(args.weights, seed, args.fps) for seed in range(args.seeds)), strict=True)
    print(f"held-out accuracy, mean of {args.seeds} rooms; always the most frequent class: {np.mean(guesses):.3f}")
    print(f"{'learnt from the first':26}" + "".join(f"{seconds:>7} s" for seconds in LEARNT_SECONDS))
    for name, row in zip(["MobileNet's 256 features", *PIXELS], np.mean(results, axis=0), strict=True):
        print(f"{name:26}" + "".join(f"{value:9.3f}" for value in row))


if __name__ == "__main__":
    main()

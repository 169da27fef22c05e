"""Labelled recordings to learn from: acts of one class each, of frames that resemble each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from storage.formats.png.directory import frame_name
from storage.formats.png.writer import PngWriter
from storage.frame import Frame

FPS = 10
SIZE = (48, 36)

Draw = Callable[[str, int], np.ndarray]


def informative(name: str, act: int) -> np.ndarray:
    """A bright spot whose place tells the class: (height, width) float."""
    column = sum(map(ord, name)) % 6
    scene = np.full((SIZE[1], SIZE[0]), 60.0)
    scene[6:30, 6 + 6 * column : 12 + 6 * column] = 220
    return scene + np.random.default_rng(act).normal(0, 8, scene.shape)


def uninformative(name: str, act: int) -> np.ndarray:
    """Each act has a look of its own, whatever its class."""
    blocks = np.random.default_rng([7, act]).uniform(20, 230, (6, 8))
    return np.kron(blocks, np.ones((6, 6)))


def record_acts(
    day: Path,
    acts: Sequence[str | None],
    *,
    seconds: float = 3.0,
    draw: Draw = informative,
    first_act: int = 0,
    facts: dict[str, object] | None = None,
) -> None:
    """A data directory with a session of acts, sorted by their classes; frames of an act differ by noise only."""
    writer = PngWriter(day)
    writer.describe(facts or {"host": "test"})
    first = number = writer.next_index
    labels: list[str | None] = []
    for act, name in enumerate(acts, first_act):
        scene = draw(name or "", act)
        for _ in range(round(seconds * FPS)):
            noisy = scene + np.random.default_rng([number, act]).normal(0, 4, scene.shape)
            pixels = np.repeat(noisy.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
            writer.append(writer.encode(Frame(pixels, number, (number - first) * 1_000_000_000 // FPS)))
            labels.append(name)
            number += 1
    writer.close()
    for index, name in enumerate(labels, first):
        if name is not None:
            (day / name).mkdir(exist_ok=True)
            (day / frame_name(index)).rename(day / name / frame_name(index))

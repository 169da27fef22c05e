"""What must hold of a recording, whatever its format, after any fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage import open_recording
from storage.formats.features.extractor import Extractor
from storage.formats.hdf5.writer import repair
from storage.formats.png.codec import read_texts
from storage.formats.png.whole import fault
from tests.faults.writer import picture

TARGETS = ("day1", "day1.h5", "day1.features.h5", "day1.mkv")
"""Names that stand for the formats which every fault test is run for."""


def quickly(*names: str) -> list[Any]:
    """All targets as a test's parameters; those that are not named are only tested when there is time."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in TARGETS]


def seeds_under_final_names(target: Path) -> set[int]:
    """The seeds of all frames that a reader finds; each must be whole and hold exactly what was written."""
    seeds = set()
    what_is_kept = _features if target.name.endswith(".features.h5") else picture
    for name, seed, kept in _frames(target):
        assert np.array_equal(kept, what_is_kept(seed)), f"{name} holds something else"
        assert seed not in seeds, f"{name} is a double"
        seeds.add(seed)
    return seeds


def hidden_files(target: Path) -> list[Path]:
    """What nobody but a recorder knows of."""
    return list((target.parent if target.suffix else target).glob(".*"))


def acknowledged(output: str) -> int:
    """How many frames the writer was told to be durable, by its last whole line."""
    lines = [line for line in output.splitlines(keepends=True) if line.startswith("ACKNOWLEDGED") and line[-1] == "\n"]
    return int(lines[-1].split()[1]) if lines else 0


def _frames(target: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, seed and pixels (or features) of each frame, read by somebody else's library."""
    if not target.exists():  # the writer was killed before its first sync
        return
    if target.suffix == ".h5":
        yield from _frames_in_hdf5(target)
    elif target.suffix == ".mkv":
        yield from _frames_in_video(target)
    else:
        yield from _frames_in_directory(target)


def _frames_in_directory(directory: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    for file in directory.rglob("*.png"):
        data = file.read_bytes()
        assert fault(data) is None, f"{file} is damaged"
        yield str(file), json.loads(read_texts(data)["Metadata"])["seed"], np.asarray(Image.open(file))


def _frames_in_hdf5(path: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    import h5py

    repair(path)  # a crash within a sync leaves what other programs can't open before that
    with h5py.File(path) as file:
        names = ("features" if path.name.endswith(".features.h5") else "frames", "timestamp_ns", "label", "metadata")
        if not any(name in file for name in names):
            return
        frames, times, labels, metadata = (file[name] for name in names)
        assert len(frames) == len(times) == len(labels) == len(metadata)
        assert np.all(labels[:] == -1) and np.all(times[:] > 0)
        for number, (kept, facts) in enumerate(zip(_in_blocks(frames), _in_blocks(metadata), strict=True)):
            yield f"{path}, frame {number}", json.loads(facts)["seed"], kept


def _in_blocks(dataset: Any) -> Iterator[Any]:
    for start in range(0, len(dataset), 100):
        yield from dataset[start : start + 100]


@cache
def _features(seed: int) -> np.ndarray:
    return _extractor().extract(picture(seed))


@cache
def _extractor() -> Extractor:
    return Extractor()


def _frames_in_video(path: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    import av

    with open_recording(path) as recording:
        seeds = [frame.metadata["seed"] for frame in recording]  # those that are whole; others may be half there
        assert recording.timestamps_ns == [frame.timestamp_ns for frame in recording]
    with av.open(str(path)) as container:
        for number, (frame, seed) in enumerate(zip(container.decode(video=0), seeds, strict=False)):
            yield f"{path}, frame {number}", seed, frame.to_ndarray(format="rgb24")


def assert_conserved(output: str) -> dict[str, Any]:
    """What was captured is stored or counted as dropped, by the writer's last line; returns its summary."""
    (line,) = [line for line in output.splitlines() if line.startswith("SUMMARY")]
    summary: dict[str, Any] = json.loads(line.partition(" ")[2])
    assert_all_counted(summary)
    return summary


def assert_all_counted(summary: dict[str, Any]) -> None:
    """What was captured is stored, or counted as dropped or as not kept."""
    lost = summary["dropped_queue"] + summary["dropped_disk"] + summary["not_kept"]
    assert summary["captured"] == summary["frames"] + lost, summary


def seeds_after_restart(target: Path) -> set[int]:
    """What a reader finds once the next recording has taken up what a crash left; nothing hidden is left then."""
    from pi_capture import Recorder

    with Recorder(target):
        pass
    assert not hidden_files(target), hidden_files(target)
    return seeds_under_final_names(target) if target.exists() else set()

"""WebDataset and Hugging Face datasets themselves read what `storage.shards` writes: labels and times are equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import open_recording
from storage.cli import main
from storage.names import natural_key
from tests.support.labelled import record

pytestmark = pytest.mark.readers

LABELS = ["0", "1", "12", "1"] * 5
WALL = 1_700_000_000_000_000_000


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `python -m storage batch` makes of recordings of eight hosts."""
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        facts = {"host": f"pi{number}", "wall_minus_monotonic_ns": WALL}
        for day in ("day1", "day2.h5"):
            path = Path(f"recordings/pi{number}/{day}")
            path.parent.mkdir(parents=True, exist_ok=True)
            record(path.with_suffix(""), LABELS, facts=facts, seed=100 * number, size=(40, 32))
            if path.suffix:
                assert main(["convert", str(path.with_suffix("")), str(path)]) == 0
                path.with_suffix("").rename(tmp_path / f"left-{number}")
    steps = "shards,shards-by-host,shards-jpg,parquet,imagefolder,imagefolder-by-host"
    assert main(["batch", steps, "recordings", "out", "--jobs", "2"]) == 0
    return tmp_path / "out"


def known() -> dict[tuple[str, int], tuple[str, int, np.ndarray]]:
    """Label, time and picture of each frame, by its recording's path and its number."""
    found = {}
    for path in sorted(Path("recordings").glob("*/*")):
        with open_recording(path) as recording:
            for frame, label in zip(recording, recording.labels, strict=True):
                name = str(path.relative_to("recordings"))
                found[name, frame.index] = label, frame.timestamp_ns, frame.pixels
    return found


def check(rows: list[tuple[dict[str, Any], Any]], exact: bool = True) -> set[str]:
    """Compare facts and pictures with the recordings'; returns the hosts."""
    frames = known()
    for facts, picture in rows:
        label, timestamp_ns, pixels = frames.pop((facts["recording"], facts["index"]))
        assert (facts["label"], facts["timestamp_ns"], facts["wall_ns"]) == (label, timestamp_ns, timestamp_ns + WALL)
        assert np.array_equal(np.asarray(picture), pixels) if exact else np.asarray(picture).shape == pixels.shape
    return {facts["host"] for facts, _ in rows}


def urls(made: Path, step: str, side: str) -> list[str]:
    return sorted(map(str, (made / step).rglob(f"{side}-*.tar")), key=natural_key)


@pytest.mark.parametrize(("step", "suffix"), [("shards", "png"), ("shards-by-host", "png"), ("shards-jpg", "jpg")])
def test_webdataset(made: Path, step: str, suffix: str) -> None:
    import webdataset

    hosts, count = [], 0
    for side in ("train", "val"):
        dataset = webdataset.WebDataset(urls(made, step, side), shardshuffle=False).decode("pil")
        rows = []
        for picture, number, facts in dataset.to_tuple(suffix, "cls", "json"):
            assert str(number) == facts["label"]
            rows.append((facts, picture))
        hosts.append(check(rows, exact=suffix == "png"))
        count += len(rows)
    assert count == 8 * 2 * len(LABELS)
    if step == "shards-by-host":
        assert hosts[0] and hosts[1] and not hosts[0] & hosts[1]


def test_webdataset_in_workers_of_pytorch(made: Path) -> None:
    import webdataset
    from torch.utils.data import DataLoader

    shards = urls(made, "shards", "train")
    dataset = (
        webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("torchrgb8").to_tuple("png", "cls")
    )
    found = list(DataLoader(dataset, batch_size=None, num_workers=2))
    assert {tuple(picture.shape) for picture, _ in found} == {(3, 32, 40)}
    assert {number for _, number in found} == {0, 1, 12}


def test_hugging_face_reads_shards(made: Path) -> None:
    import datasets

    files = {split: urls(made, "shards-by-host", side) for split, side in (("train", "train"), ("validation", "val"))}
    found = datasets.load_dataset("webdataset", data_files=files, cache_dir=str(made.parent / "cache"))
    hosts = {split: check([(row["json"], row["png"]) for row in rows]) for split, rows in found.items()}
    assert hosts["train"] and hosts["validation"] and not hosts["train"] & hosts["validation"]
    assert sum(map(len, found.values())) == 8 * 2 * len(LABELS)
    assert all(str(row["cls"]) == row["json"]["label"] for row in found["validation"])


@pytest.mark.parametrize("step", ["imagefolder", "imagefolder-by-host"])
def test_hugging_face_reads_a_folder(made: Path, step: str) -> None:
    import datasets

    (card,) = (made / step).rglob("README.md")
    found = datasets.load_dataset(str(card.parent), cache_dir=str(made.parent / "cache"))
    assert set(found) == {"train", "validation"}
    hosts = {split: check([(row, row["image"]) for row in rows]) for split, rows in found.items()}
    assert sum(map(len, found.values())) == 8 * 2 * len(LABELS)
    if step == "imagefolder-by-host":
        assert not hosts["train"] & hosts["validation"]


def test_hugging_face_reads_parquet(made: Path) -> None:
    import datasets

    files = {"train": [str(path) for path in (made / "parquet").rglob("*.parquet")]}
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(made.parent / "cache"))["train"]
    frames = known()
    assert len(rows) == len(frames)
    for row in rows:
        label, timestamp_ns, _ = frames.pop((row["recording"], row["index"]))
        assert (row["label"], row["timestamp_ns"]) == (label, timestamp_ns)
        assert round(row["time"].timestamp() * 1e6) == (timestamp_ns + WALL) // 1000

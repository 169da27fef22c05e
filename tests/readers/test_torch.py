"""PyTorch's own DataLoader on `storage.torch`: every frame once an epoch, in an order that can be had again."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pi_capture import Recorder
from storage import StorageError, open_recording
from storage.cli import main
from storage.durable.moves import move_files
from tests.support import REPOSITORY

pytestmark = pytest.mark.readers

FRAMES = 150
CLASSES = ["0", "10", "door"]


def picture(n: int) -> np.ndarray:
    """A picture that tells its number."""
    pixels = np.full((16, 24, 3), n, np.uint8)
    pixels[0, 0] = 0, 128, 255
    return pixels


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled recordings: frames 0 to 89 in one, 90 to 149 in the other, in each format."""
    root = tmp_path_factory.mktemp("recordings")
    for name, numbers in (("a", range(90)), ("b", range(90, FRAMES))):
        with Recorder(root / name, fps=30) as recorder:
            for n in numbers:
                recorder.write(picture(n))
        names = open_recording(root / name).names
        moves = [(file, f"{CLASSES[n // 7 % 3]}/{file}") for file, n in zip(names, numbers, strict=True)]
        move_files(root / name / "moves.jsonl", moves)
        for other in (f"{name}.h5", f"{name}.mkv", f"{name}-h264.mkv"):
            codec = ["--codec", "h264-lossless"] if "h264" in other else []
            assert main(["convert", str(root / name), str(root / other), *codec]) == 0
    return root


SETS = (("a", "b"), ("a.h5", "b.h5"), ("a.mkv", "b.mkv"), ("a-h264.mkv", "b-h264.mkv"), ("a", "b-h264.mkv"))


def seen(batches: Any) -> list[tuple[int, int]]:
    """The frames as they come, told by what is in them, and their classes."""
    found = []
    for pictures, numbers in batches:
        assert pictures.shape[1:] == (3, 16, 24) and str(pictures.dtype) == "torch.uint8"
        assert (pictures[:, :, 0, 0].numpy() == (0, 128, 255)).all()
        found += zip(pictures[:, 0, 8, 8].tolist(), numbers.tolist(), strict=True)
    return found


EXPECTED = [(n, n // 7 % 3) for n in range(FRAMES)]


@pytest.mark.parametrize("names", SETS)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches(recordings: Path, names: tuple[str, ...], workers: int) -> None:
    from torch.utils.data import DataLoader

    from storage.torch import FrameBatches

    batches = FrameBatches([recordings / name for name in names], 8, seed=5, shuffle_bytes=100_000)
    assert batches.classes == CLASSES
    loader = DataLoader(
        batches, batch_size=None, num_workers=workers, persistent_workers=workers > 0, timeout=60 * (workers > 0)
    )
    epochs = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        epochs.append(seen(loader))
    assert sorted(epochs[0]) == sorted(epochs[1]) == EXPECTED
    assert epochs[0] == epochs[2] and epochs[0] != epochs[1] and epochs[0] != EXPECTED
    again = FrameBatches([recordings / name for name in names], 8, seed=5, shuffle_bytes=100_000)
    in_batches = [len(numbers) for _, numbers in loader]
    for skip in (0, 1, 5, len(in_batches) - 1, len(in_batches), len(in_batches) + 3):
        again.set_epoch(0, skip)
        rest = seen(DataLoader(again, batch_size=None, num_workers=workers))
        assert rest == epochs[0][sum(in_batches[:skip]) :], skip


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_frames_by_number(recordings: Path, context: str) -> None:
    from torch.utils.data import DataLoader

    from storage.torch import FrameDataset

    for names in SETS:
        dataset = FrameDataset([recordings / name for name in names])
        assert len(dataset) == FRAMES and dataset.classes == CLASSES
        assert dataset.targets == [number for _, number in EXPECTED]
        assert dataset[-1][1] == EXPECTED[-1][1] and int(dataset[-1][0][0, 8, 8]) == FRAMES - 1
        loader = DataLoader(dataset, 16, shuffle=True, num_workers=2, multiprocessing_context=context, timeout=60)
        assert sorted(seen(loader)) == EXPECTED
        assert len(pickle.loads(pickle.dumps(dataset))) == FRAMES
    with pytest.raises(IndexError):
        dataset[FRAMES]


def test_what_the_page_says(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, source in (("day1.mkv", "a.mkv"), ("day2.h5", "b.h5"), ("day3", "a")):
        Path(name).symlink_to(recordings / source)
    page = (REPOSITORY / "docs/training.md").read_text()
    names: dict[str, Any] = {}
    codes = re.findall(r"<!-- not run: needs PyTorch -->\n```python\n(.*?)```", page, re.DOTALL)
    assert len(codes) == 2
    for code in codes:
        exec(
            code.replace("    for pictures", "    seen = 0\n    for pictures").replace("...", "seen += len(numbers)"),
            names,
        )
    assert names["seen"] == 90 + 60 + 90 and names["batches"].classes == CLASSES
    assert names["pictures"].shape == (32, 3, 16, 24)


def test_transforms_of_torchvision(recordings: Path) -> None:
    import torch
    from torchvision.transforms import v2

    from storage.torch import FrameBatches, FrameDataset

    transform = v2.Compose([v2.Resize((8, 12)), v2.ToDtype(torch.float32, scale=True)])
    picture, _ = FrameDataset(recordings / "a.h5", transform=transform)[50]
    assert picture.shape == (3, 8, 12) and float(picture[0, 4, 6]) == pytest.approx(50 / 255)
    (pictures, _), *_ = FrameBatches(recordings / "a.mkv", transform=transform)
    assert pictures.shape == (32, 3, 8, 12) and float(pictures.max()) <= 1
    assert next(iter(FrameBatches(recordings / "a", labels=None))).shape == (32, 3, 16, 24)


def test_pictures_that_can_not_be_decoded(tmp_path: Path) -> None:
    from storage.torch import FrameBatches, FrameDataset
    from tests.storage.formats.movie.test_reader import overwrite, shades

    path = tmp_path / "camera.avi"
    at = shades(path, 20, "mjpeg")
    overwrite(path, at[6] + 8, at[7] - 8)
    with pytest.warns(UserWarning, match="left out, as they can't be decoded: frames 6"):
        assert sum(len(pictures) for pictures in FrameBatches(path, labels=None)) == 19
    with pytest.raises(StorageError, match="frame 6 can't be decoded"):
        FrameDataset(path, labels=None)[6]

"""Record, label, split, train: the tutorial as it is written, and what the readers find in the directories."""

from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path

import pytest

from storage.cli import main
from storage.formats.png.whole import fault
from storage.labels.beside import journal_path
from storage.labels.journal import Classes, LabelJournal
from tests.classify.test_commit import label, save
from tests.storage.care.test_verify import DAMAGED, WHOLE
from tests.support.documents import REPOSITORY, run
from tests.support.labelled import record
from tests.support.labeller import record_brightening

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def image_folder(root: Path) -> dict[str, list[str]]:
    """What torchvision's ImageFolder finds, by its published rules; raises as it does.

    Every directory is a class, hidden and linked ones too. Each must have a picture somewhere below it.
    """
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(f"Couldn't find any class folder in {root}.")
    found = {
        name: sorted(
            file
            for _, _, files in os.walk(root / name, followlinks=True)
            for file in files
            if file.lower().endswith(PICTURES)
        )
        for name in classes
    }
    if empty := [name for name, files in found.items() if not files]:
        raise FileNotFoundError(f"Found no valid file for the classes {', '.join(empty)}.")
    return found


def by_keras(root: Path) -> dict[str, list[str]]:
    """What Keras finds: the file names of each class."""
    import keras

    dataset = keras.utils.image_dataset_from_directory(
        root, image_size=(8, 8), batch_size=None, shuffle=False, verbose=False
    )
    found: dict[str, list[str]] = {name: [] for name in dataset.class_names}
    for path, (image, number) in zip(dataset.file_paths, dataset, strict=True):
        assert tuple(image.shape) == (8, 8, 3)
        assert Path(path).parent.name == dataset.class_names[int(number)]
        found[Path(path).parent.name].append(Path(path).name)
    return found


def test_the_tutorial(tmp_path: Path) -> None:
    printed = run(REPOSITORY / "docs/training.md", tmp_path)
    print(printed[-600:])
    accuracy = re.search(r"held-out accuracy: ([\d.]+)", printed)
    assert accuracy and float(accuracy[1]) > 0.9
    sides = [image_folder(tmp_path / name) for name in ("day1", "val_day1", "gap_day1")]
    assert set(sides[0]) == set(sides[1]) == set("01234")
    assert sum(len(files) for side in sides for files in side.values()) == 2400
    assert (tmp_path / "day1.png").is_file()
    assert f"Found {sum(map(len, sides[0].values()))} files belonging to 5 classes." in printed


@pytest.fixture
def labelled(tmp_path: Path) -> dict[str, list[str]]:
    """A directory as it is in the middle of the work: labelled in part, recorded into, with journals beside it."""
    day = tmp_path / "day1"
    acts = ["0", "1", "2", "door"] * 6
    labels = [name for name in acts for _ in range(20)]
    record(day, [None if number % 10 == 0 else name for number, name in enumerate(labels)])
    with LabelJournal(journal_path(day)) as journal:
        journal.append(Classes(("0", "1", "2", "door"), ("0", "1", "2", "door")))
        journal.sync()
    (day / ".00000480.part").write_bytes(WHOLE)
    (day / ".0-00000481.part").write_bytes(WHOLE)
    (day / ".reserve.part").write_bytes(bytes(1000))
    return {
        name: [f"{number:08d}.png" for number, label in enumerate(labels) if label == name and number % 10]
        for name in ("0", "1", "2", "door")
    }


def test_keras_finds_exactly_what_was_labelled(tmp_path: Path, labelled: dict[str, list[str]]) -> None:
    assert by_keras(tmp_path / "day1") == labelled
    assert image_folder(tmp_path / "day1") == labelled


def test_keras_finds_exactly_what_the_labeller_sorted(tmp_path: Path) -> None:
    """With frames that have no label yet, the journal of moves, and the names of classes beside the directories."""
    day = tmp_path / "day1"
    record_brightening(day, 6)
    label(day)
    save(day)
    found = {"0": ["00000000.png", "00000002.png"], "1": ["00000001.png"], "2": ["00000003.png"]}
    assert by_keras(day) == image_folder(day) == found
    assert (day / "00000005.png").is_file() and (day / "moves.jsonl").is_file()


def test_keras_finds_exactly_what_was_split_and_merged(tmp_path: Path, labelled: dict[str, list[str]]) -> None:
    assert main(["split", str(tmp_path / "day1"), "--val", "0.2", "--gap", "1"]) == 0
    sides = [by_keras(tmp_path / name) for name in ("day1", "val_day1", "gap_day1")]
    assert list(sides[0]) == list(sides[1]) == list(labelled)
    for name, files in labelled.items():
        assert sorted(file for side in sides for file in side.get(name, [])) == files
    assert [image_folder(tmp_path / name) for name in ("day1", "val_day1", "gap_day1")] == sides
    merge = ["merge", *(str(tmp_path / name) for name in ("all", "day1", "val_day1", "gap_day1"))]
    assert main(merge) == 1 and not (tmp_path / "all").exists()  # what was interrupted may still get frames
    for part in (tmp_path / "day1").glob(".*.part"):
        part.unlink()
    assert main(merge) == 0
    assert by_keras(tmp_path / "all") == image_folder(tmp_path / "all") == labelled
    assert main(["split", str(tmp_path / "day1"), "--undo"]) == 0
    assert by_keras(tmp_path / "day1") == labelled


def test_verify_is_at_least_as_strict_as_keras() -> None:
    import tensorflow as tf

    palette = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", 4, 2, 8, 3, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(10))))
    )
    assert fault(WHOLE) is None
    tf.io.decode_image(WHOLE)
    for name, data in [*((name, data) for name, (data, _) in DAMAGED.items()), ("a palette is missing", palette)]:
        try:
            tf.io.decode_image(data)
        except tf.errors.InvalidArgumentError:
            assert fault(data), name

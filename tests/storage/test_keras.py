"""Training from a recording as it is: every labelled frame once an epoch, with its label, and never all in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pi_capture import Recorder
from storage import StorageError, open_recording
from storage.convert.convert import convert
from storage.durable.moves import move_files
from storage.keras import dataset_from_recording
from storage.labels.classes import keep_classes
from storage.labels.journal import Classes
from tests.storage.formats.movie.test_reader import overwrite, shades

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

FRAMES = 300
NAMES = ["0", "10", "2", "door", None]
LABELS = [NAMES[n // 7 % 5] for n in range(FRAMES)]
CLASSES = ["0", "10", "2", "door"]  # by spelling, as Keras sorts
FORMATS = ("day1", "day1.h5", "day1.mkv", "h264.mkv", "day1.features.h5")


def picture(n: int, size: tuple[int, int] = (24, 16)) -> np.ndarray:
    """A picture that tells its number by its mean, also after a lossless video."""
    width, height = size
    pixels = np.full((height, width, 3), n % 256, np.uint8)
    pixels[: height // 2] = n // 256
    return pixels


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, mobilenet: Path) -> Path:
    """A directory with the same labelled recording in each format."""
    root = tmp_path_factory.mktemp("recordings")
    with Recorder(root / "day1", fps=30) as recorder:
        for n in range(FRAMES):
            recorder.write(picture(n))
    names = [open_recording(root / "day1").file(n).name for n in range(FRAMES)]
    moves = [(name, f"{label}/{name}") for name, label in zip(names, LABELS, strict=True) if label]
    move_files(root / "day1" / "moves.jsonl", moves)
    for name in FORMATS[1:]:
        convert(root / "day1", root / name, codec="h264-lossless" if name == "h264.mkv" else None)
    return root


def ids(path: Path, frames: Any) -> list[int]:
    """Which frames of a recording these are, told by what is in them."""
    if path.name.endswith(".features.h5"):
        known = {row.tobytes(): n for n, row in enumerate(open_recording(path).features[:])}
        return [known[row.tobytes()] for row in np.asarray(frames)]
    frames = np.asarray(frames)
    return [int(frame[-1, 0, 0]) + 256 * int(frame[0, 0, 0]) for frame in frames]


def epoch(path: Path, dataset: Any) -> list[tuple[int, str]]:
    """The frames of an epoch as they come, each with its class."""
    return [
        (n, dataset.class_names[label])
        for frames, labels in dataset
        for n, label in zip(ids(path, frames), labels.numpy(), strict=True)
    ]


def true_labels(path: Path) -> dict[int, str]:
    """The class of each labelled frame, by what `ids` says."""
    if path.is_dir():
        return {n: label for n, label in enumerate(LABELS) if label}
    with open_recording(path) as recording:
        if path.name.endswith(".features.h5"):
            return {n: label for n, label in enumerate(recording.labels) if label}
        return {ids(path, frame.pixels[None])[0]: recording.labels[n] for n, frame in enumerate(recording)
                if recording.labels[n]}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_labelled_frame_once_an_epoch_with_its_label(recordings: Path, name: str) -> None:
    path = recordings / name
    dataset = dataset_from_recording(path, batch_size=32, seed=7)
    expected = sorted(true_labels(path).items())
    assert len(expected) == sum(label is not None for label in LABELS)
    assert dataset.class_names == CLASSES
    assert len(dataset) == -(-len(expected) // 32)
    first, second = epoch(path, dataset), epoch(path, dataset)
    assert sorted(first) == sorted(second) == expected
    assert first not in (second, expected)
    again = dataset_from_recording(path, batch_size=32, seed=7)
    assert [epoch(path, again), epoch(path, again)] == [first, second]
    assert epoch(path, dataset_from_recording(path, seed=8)) != first
    frames, labels = next(iter(dataset))
    assert frames.dtype == np.float32 and labels.dtype == np.int32
    assert frames.shape == ((32, 256) if name.endswith(".features.h5") else (32, 16, 24, 3))


@pytest.mark.parametrize("name", FORMATS)
def test_without_shuffling_in_the_recordings_order(recordings: Path, name: str) -> None:
    path = recordings / name
    with open_recording(path) as recording:
        order = [n for n, label in enumerate(recording.labels) if label]
        kept = (
            recording.features[:][order]
            if name.endswith(".features.h5")
            else np.stack([recording[n].pixels for n in order])
        )
    for _ in range(2):
        dataset = dataset_from_recording(path, shuffle=False, batch_size=50)
        assert np.array_equal(np.concatenate([frames for frames, _ in dataset]), kept)


@pytest.mark.parametrize("name", ["day1.h5", "h264.mkv"])
def test_what_is_kept_of_a_batch_stays_as_it_is(recordings: Path, name: str) -> None:
    path = recordings / name
    dataset = dataset_from_recording(path, batch_size=8, shuffle=False)
    last = [ids(path, frames)[-1] for frames, _ in dataset]
    kept = [frames[-1:] for frames, _ in dataset.as_numpy_iterator()]
    assert [ids(path, frames)[0] for frames in kept] == last
    assert len(set(last)) == len(last) > 20


def test_frames_without_a_class(recordings: Path) -> None:
    path = recordings / "day1.h5"
    found = {
        (n, int(label))
        for frames, labels in dataset_from_recording(path, labels="optional")
        for n, label in zip(ids(path, frames), labels.numpy(), strict=True)
    }
    known = true_labels(path)
    assert found == {(n, CLASSES.index(known[n]) if n in known else -1) for n in range(FRAMES)}
    pictures = dataset_from_recording(path, labels=None, batch_size=None)
    assert sorted(n for frame in pictures for n in ids(path, frame[None])) == list(range(FRAMES))


def test_classes_can_be_given(recordings: Path) -> None:
    path = recordings / "day1.h5"
    names = ["window", "door", "2", "10", "0"]
    dataset = dataset_from_recording(path, class_names=names)
    assert dataset.class_names == names and dict(epoch(path, dataset)) == true_labels(path)
    with pytest.raises(StorageError, match="class 'door', which class_names lacks"):
        dataset_from_recording(path, class_names=["0", "10", "2"])


def test_classes_have_the_names_that_were_given(tmp_path: Path) -> None:
    with Recorder(tmp_path / "day1", fps=30) as recorder:
        for n in range(4):
            recorder.write(picture(n))
    move_files(tmp_path / "day1/moves.jsonl", [(f"{n:08d}.png", f"{n % 2}/{n:08d}.png") for n in range(4)])
    keep_classes(tmp_path / "day1", Classes(("window", "door"), ("0", "1")))
    dataset = dataset_from_recording(tmp_path / "day1")
    assert dataset.class_names == ["door", "window"]
    assert sorted(epoch(tmp_path / "day1", dataset)) == [(0, "window"), (1, "door"), (2, "window"), (3, "door")]


@pytest.mark.parametrize(
    "names", [("day1", "day1.h5"), ("day1.mkv", "h264.mkv"), ("h264.mkv", "day1"), FORMATS[4:] * 2]
)
def test_several_recordings(recordings: Path, names: tuple[str, ...]) -> None:
    paths = [recordings / name for name in names]
    expected = sorted(pair for path in paths for pair in true_labels(path).items())
    for shuffle in (True, False):
        dataset = dataset_from_recording(paths, shuffle=shuffle, seed=3, batch_size=16)
        assert dataset.class_names == CLASSES and len(dataset) == -(-len(expected) // 16)
        found = epoch(paths[0], dataset)
        assert sorted(found) == expected
        half = len(found) // 2
        mixed = sorted(found[:half]) != sorted(true_labels(paths[0]).items())
        assert mixed == shuffle


def test_recordings_that_do_not_belong_together(recordings: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    with Recorder(tmp_path / "larger", fps=30) as recorder:
        recorder.write(picture(1, (32, 16)))
    paths = [recordings / "day1", tmp_path / "larger"]
    with pytest.raises(tf.errors.OpError, match=r"larger: frame 0 has another size .* give image_size"):
        list(dataset_from_recording(paths, labels=None))
    assert len(list(dataset_from_recording(paths, labels=None, image_size=(8, 8), batch_size=1))) == FRAMES + 1
    with pytest.raises(StorageError, match="no recording is given"):
        dataset_from_recording([])
    with pytest.raises(StorageError, match="class '10', which class_names lacks"):
        dataset_from_recording([recordings / "day1.h5", tmp_path / "larger"], class_names=["0"])


def test_a_stretch_can_be_held_out(recordings: Path) -> None:
    for name in ("day1.h5", "day1.features.h5"):
        path = recordings / name
        known = true_labels(path)
        with open_recording(path) as recording:
            order = [n for n, label in enumerate(recording.labels) if label]
        train = dict(epoch(path, dataset_from_recording(path, frames=slice(None, 200))))
        val = dict(epoch(path, dataset_from_recording(path, frames=slice(200, None), class_names=CLASSES)))
        assert len(train) == sum(n < 200 for n in order) and len(val) == sum(n >= 200 for n in order)
        assert {**train, **val} == known
    with pytest.raises(StorageError, match="no frame in that stretch"):
        dataset_from_recording(path, frames=slice(400, None))


def test_pictures_are_scaled(recordings: Path) -> None:
    for name in ("day1", "day1.mkv"):
        dataset = dataset_from_recording(recordings / name, image_size=(8, 12))
        frames, _ = next(iter(dataset))
        assert frames.shape == (32, 8, 12, 3)
        assert {n for n, _ in epoch(recordings / name, dataset)} == set(true_labels(recordings / name))
    with pytest.raises(StorageError, match="no pictures"):
        dataset_from_recording(recordings / "day1.features.h5", image_size=(8, 8))


def bytes_read() -> int:
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])


def settled() -> int:
    """`bytes_read`, once nothing is read ahead any more."""
    before, now = 0, bytes_read()
    while now > before + 10_000:  # looking at it reads a little
        time.sleep(0.3)
        before, now = now, bytes_read()
    return now


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_recording_is_never_in_memory(tmp_path: Path, shuffle: bool) -> None:
    path = tmp_path / "day1.h5"
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    with Recorder(path, fps=30) as recorder:
        for n in range(1500):
            recorder.write(np.roll(noise, n, axis=0))
    size = path.stat().st_size
    dataset = dataset_from_recording(path, labels="optional", shuffle=shuffle, shuffle_bytes=4_000_000)
    batches = iter(dataset)
    next(batches)
    before = settled()
    for _ in range(10):
        next(batches)
    steady = settled() - before
    before = settled()
    next(iter(dataset))
    assert size > 70_000_000
    assert bytes_read() - before < 16_000_000, "read far ahead"
    assert steady < 10 * 32 * 50_000 * 1.5 + 4_000_000, "frames are read more than once"


def test_shuffling_mixes_blocks(recordings: Path) -> None:
    """With little memory too, a batch is of frames from all over the recording."""
    path = recordings / "day1.h5"
    spread = []
    for frames, _ in dataset_from_recording(path, seed=1, shuffle_bytes=200_000):
        numbers = ids(path, frames)
        spread.append(np.std(numbers))
    assert np.mean(spread[:-1]) > 40  # of 300; a stretch of 32 has 9


def test_a_network_learns(recordings: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    dataset = dataset_from_recording(recordings / "day1.features.h5", seed=1)
    model = keras.Sequential([keras.layers.Input((256,)), keras.layers.Dense(len(dataset.class_names))])
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"], jit_compile=False
    )
    history = model.fit(dataset, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    pictures = dataset_from_recording(recordings / "day1.mkv", seed=1)
    small = keras.Sequential([keras.layers.Input((16, 24, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
                              keras.layers.Dense(4)])  # fmt: skip
    small.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    assert np.isfinite(small.fit(pictures, epochs=2, verbose=0).history["loss"]).all()
    assert small.evaluate(pictures, verbose=0, return_dict=True)["loss"] > 0


def empty(path: Path) -> None:
    path.mkdir()


def unlabelled(path: Path) -> None:
    with Recorder(path) as recorder:
        recorder.write(picture(1))


@pytest.mark.parametrize(
    ("make", "reason"), [(None, "no such"), (empty, "no frame"), (unlabelled, "python -m classify")]
)
def test_what_can_not_be_trained_on_is_told(tmp_path: Path, make: Callable[[Path], None] | None, reason: str) -> None:
    if make is not None:
        make(tmp_path / "day1")
    with pytest.raises(StorageError, match=reason):
        dataset_from_recording(tmp_path / "day1")


def test_labels_that_change_between_epochs_are_told(tmp_path: Path) -> None:
    import tensorflow as tf

    from storage.formats.hdf5.writer import write_labels

    path = tmp_path / "day1.h5"
    with Recorder(path) as recorder:
        for n in range(20):
            recorder.write(picture(n))
    write_labels(path, ["0", "1"] * 10)
    dataset = dataset_from_recording(path)
    assert len(epoch(path, dataset)) == 20
    write_labels(path, ["1", "0"] * 10)
    with pytest.raises(tf.errors.OpError, match="make its dataset anew"):
        epoch(path, dataset)


def test_pictures_that_can_not_be_decoded_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "camera.avi"
    at = shades(path, 20, "mjpeg")
    overwrite(path, at[6] + 8, at[7] - 8)
    dataset = dataset_from_recording(path, labels="optional", shuffle=False, batch_size=8)
    with pytest.warns(UserWarning, match="left out, as they can't be decoded: frames 6"):
        batches = [pictures.numpy() for pictures, _ in dataset]
    found = [round(float(picture[32:].mean()) / 3) for batch in batches for picture in batch]
    assert found == [n for n in range(20) if n != 6]


def test_pictures_that_are_no_frames_are_told(tmp_path: Path) -> None:
    unlabelled(tmp_path / "day1")
    (tmp_path / "day1/photo.heic").touch()
    (tmp_path / "day1/linked.png").symlink_to("00000000.png")
    with pytest.warns(UserWarning, match=r"day1: 2 pictures are left out \(linked.png …\); python -m storage verify"):
        dataset_from_recording(tmp_path / "day1", labels=None)

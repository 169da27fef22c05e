"""A small convolutional network that learns from the pixels themselves, by Keras, for machines that have TensorFlow.

It becomes a ``.tflite`` file that any program runs: a picture of 128x128 pixels as bytes goes in, a certainty for each
class comes out. The names of the classes are inside, in ``labels.txt`` of a zip archive behind the network, where
TensorFlow Lite's metadata have them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.convert.transfer import in_order
from storage.errors import StorageError
from storage.formats.features.extractor import fitted, silent
from storage.formats.features.weights import SIDE
from storage.formats.table import open_recording
from storage.learn.examples import NO_CLASS, Examples, gather, held_out_beside
from storage.learn.folds import far_from, make_folds
from storage.learn.model import STAMP
from storage.learn.report import NOT_TESTED, Judged, Report, judge, notes_of, origin_of
from storage.learn.training import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Integers = NDArray[np.int64]

SUFFIX = ".tflite"
EPOCHS = 8
BATCH = 32
LEARNING_RATE = 2e-3
KIND = "cnn"


def train_network(
    paths: Sequence[Path], *, seen_only: bool = False, seed: int = 0, progress: Progress | None = None
) -> tuple[bytes, Report]:
    """Train a network on the labelled frames of recordings, as `storage.learn.training.train` trains a head.

    It is tested on what `held_out_beside` finds, else on a fifth of the frames, whole stretches of time, which it does
    not learn from.

    Returns
    -------
    bytes
        What the ``.tflite`` file holds.
    Report

    Raises
    ------
    StorageError
        TensorFlow is not installed; a recording can't be read, has no labels or no pictures; or there is one class.
    """
    if find_spec("tensorflow") is None:
        raise StorageError("--network cnn needs TensorFlow: run 'pip install pi-capture[train]', or leave it out")
    begun = time.monotonic()
    held_out = held_out_beside(paths)
    with ExitStack() as opened, tempfile.TemporaryFile() as file:
        recordings = [opened.enter_context(open_recording(path)) for path in [*paths, *held_out]]
        examples = gather(recordings[: len(paths)], recordings[len(paths) :], seen_only=seen_only)
        labelled = examples.labels != NO_CLASS
        pixels = np.memmap(file, np.uint8, "w+", shape=(len(labelled), SIDE, SIDE, 3))
        whole = ~labelled
        whole[labelled] = _read(examples, np.flatnonzero(labelled), pixels, progress)
        usable = labelled & whole
        to_learn = usable & (examples.of_recording < len(paths))
        to_test = usable & ~to_learn & ~examples.unseen
        tests = to_test & far_from(to_learn, examples.seconds)
        if len(np.unique(examples.labels[to_learn])) < 2:
            raise StorageError(f"{paths[0]}: a model tells two classes or more, and frames of each must be readable")
        notes = notes_of(examples, whole, to_test, np.flatnonzero(tests), held_out)
        tested_on = ", ".join(map(str, held_out))
        if not tests.any():
            tests, to_learn = _fifth(examples, np.flatnonzero(to_learn), seed)
            tested_on = (
                "a fifth of the frames, whole stretches that it has not learnt from" if tests.any() else NOT_TESTED
            )
        network = _fit(pixels, np.flatnonzero(to_learn), examples, seed, progress)
        numbers = np.flatnonzero(tests)
        certainties = np.empty((len(numbers), len(examples.classes)), np.float32)
        for at in range(0, len(numbers), BATCH):
            certainties[at : at + BATCH] = network.predict_on_batch(pixels[numbers[at : at + BATCH]])
        content = _convert(network)
        learnt_from = np.flatnonzero(to_learn)
        right = certainties.argmax(axis=1) == examples.labels[numbers]
        by_kind = {KIND: float(right.mean())} if len(numbers) else {}
        judged = Judged(numbers, certainties, tested_on)
        report = judge(examples, learnt_from, judged, kind=KIND, by_kind=by_kind, notes=notes, begun=begun)
        return _with_labels(content, examples, origin_of(examples, len(paths), report, seed)), report


def _read(examples: Examples, numbers: Integers, pixels: Pixels, progress: Progress | None) -> NDArray[np.bool_]:
    """Read frames as the network takes them into `pixels`; returns which of them are whole."""

    def read(number: int) -> Pixels | None:
        recording, index = examples.place(number)
        try:
            return fitted(recording.read(index).pixels, (SIDE, SIDE))
        except StorageError:
            if not recording.has_pictures:
                raise
            return None

    threads = os.cpu_count() or 1 if all(recording.independent for recording in examples.recordings) else 1
    whole = np.zeros(len(numbers), np.bool_)
    for at, picture in enumerate(in_order(read, numbers.tolist(), threads)):
        if picture is not None:
            pixels[numbers[at]], whole[at] = picture, True
        if progress is not None:
            progress("reading", at + 1, len(numbers))
    return whole


def _fifth(examples: Examples, numbers: Integers, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which frames to test on, and which are far enough from these to learn from."""
    of_fold = make_folds(examples.seconds[numbers], examples.labels[numbers], seed=seed)
    tests, to_learn = np.zeros((2, len(examples.labels)), np.bool_)
    tests[numbers[of_fold == 0]] = True
    to_learn[numbers] = far_from(tests, examples.seconds)[numbers]
    tests &= ~examples.unseen
    if len(np.unique(examples.labels[to_learn])) < 2:
        raise StorageError("too few frames lie far enough from each other to test on some of them; record more")
    return tests, to_learn


def _fit(pixels: Pixels, numbers: Integers, examples: Examples, seed: int, progress: Progress | None) -> Any:
    """A trained Keras model, of pixels (N, 128, 128, 3) from 0 to 255 to certainties (N, C)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with silent():
        import keras

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
        """Frames in another order in each epoch, read from the disk when they are wanted."""

        def __init__(self) -> None:
            super().__init__()
            self._random = np.random.default_rng(seed)
            self.on_epoch_end()

        def __len__(self) -> int:
            return ceil(len(numbers) / BATCH)

        def __getitem__(self, batch: int) -> tuple[Pixels, Integers]:
            chosen = self._order[batch * BATCH : (batch + 1) * BATCH]
            return pixels[chosen], examples.labels[chosen]

        def on_epoch_end(self) -> None:
            self._order = self._random.permutation(numbers)

    keras.utils.set_random_seed(seed)
    network = _network(keras, len(examples.classes))
    network.compile(keras.optimizers.Adam(LEARNING_RATE), "sparse_categorical_crossentropy")
    callbacks = []
    if progress is not None:
        told = partial(progress, "learning")
        callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: told(epoch + 1, EPOCHS))]
    network.fit(Batches(), epochs=EPOCHS, verbose=0, callbacks=callbacks)
    return network


def _network(keras: Any, classes: int) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def _convert(network: Any) -> bytes:
    """The network as LiteRT runs it: one picture of bytes in."""
    with silent():
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        signature = tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8)
        function = tf.function(lambda pixels: network(tf.cast(pixels, tf.float32), training=False), [signature])
        frozen = convert_variables_to_constants_v2(function.get_concrete_function())  # else all weights are NaN
        converted: bytes = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    return converted


def _with_labels(network: bytes, examples: Examples, origin: dict[str, Any]) -> bytes:
    """The network with the names of its classes, and where it came from, in a zip archive behind it."""
    about = {**origin, "network_sha256": hashlib.sha256(network).hexdigest()}
    data = io.BytesIO()
    data.write(network)
    with zipfile.ZipFile(data, "a") as archive:
        labels = "".join(f"{name}\n" for name in examples.classes)
        archive.writestr(zipfile.ZipInfo("labels.txt", STAMP), labels.encode(errors="replace"))
        archive.writestr(zipfile.ZipInfo("origin.json", STAMP), json.dumps(about, indent=1, ensure_ascii=False))
    return data.getvalue()

"""Trains from a recording as it is: any format as a ``tf.data.Dataset``, with nothing unpacked.

This is to a file what ``keras.utils.image_dataset_from_directory`` is to a data directory, and gives the same batches.
Frames are read when they are wanted, in blocks of frames that follow each other, because that is how files are read
fast; shuffling takes the blocks in random order and mixes the frames of several. This needs TensorFlow.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from storage.convert.transfer import in_order, in_words
from storage.errors import DamagedPictureError, StorageError
from storage.formats.contract import KeepsFeatures
from storage.formats.png.directory import note_of_left_out
from storage.formats.table import open_recording
from storage.labels.classes import names_of_labels
from storage.recording import Recording, ranges_of
from storage.tracks.picture_tracks import note_of_several

if TYPE_CHECKING:
    import tensorflow as tf
    from numpy.typing import NDArray

BLOCK = 64  # frames that are read together, at most
SMALLEST_BLOCK = 8
NO_LABEL = -1
ALL = slice(None)


def dataset_from_recording(
    path: Path | str,
    *,
    track: str | int | None = None,
    frames: slice = ALL,
    labels: Literal["required", "optional"] | None = "required",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    image_size: tuple[int, int] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    shuffle_bytes: int = 128_000_000,
) -> tf.data.Dataset:
    """The frames of a recording as batches for training.

    Parameters
    ----------
    path : path
        A recording of any format; also any video.
    track : str or int, optional
        Which track of pictures, of a video that has several, as in `storage.open_recording`. The first if not given,
        with a warning that names the others.
    frames : slice
        Which frames, by their numbers in the recording: whole stretches can be held out for validation.
    labels : {"required", "optional"} or None
        "required": frames that have a class, and no others. "optional": all frames, with the label -1 where there is
        no class. None: all frames, and no labels.
    class_names : sequence of str, optional
        The classes, in the order of their numbers. By default those that occur, sorted by spelling as Keras does it;
        give them for a second recording, which may lack one.
    batch_size : int or None
        Frames a batch; None for single ones.
    image_size : (int, int), optional
        Height and width that the pictures are scaled to; by default they stay as they are.
    shuffle : bool
        Other frames first in each epoch. Otherwise they come in the order of the recording.
    seed : int, optional
        Makes the order repeatable: of the first epoch, of the second …
    shuffle_bytes : int
        Memory for the frames that are mixed. All frames that it holds are mixed thoroughly.

    Returns
    -------
    tf.data.Dataset
        Of pairs (pictures, labels): pictures (batch, height, width, 3) float32, RGB, 0 to 255, or features (batch,
        256) float32; labels (batch,) int32, the numbers of classes. Its ``class_names`` has their names. Each
        iteration over it is an epoch, and reads the recording anew. Pictures of a video that can't be decoded are left
        out, with a warning in the first epoch; so are files of a data directory that are no frames, with one at once.

    Raises
    ------
    StorageError
        There is no recording, it has no frames or none with a class, or has other classes than `class_names`.
    """
    import tensorflow as tf

    several = note_of_several(Path(path), "track=NAME") if track is None else None
    for note in (several, note_of_left_out(Path(path))):
        if note is not None:
            warnings.warn(note, stacklevel=2)
    with open_recording(path, track=track) as recording:
        selection = _select(recording, frames, labels, class_names)
        reader = _Reader(recording, image_size)
        first = next((kept for index in selection.indices if (kept := reader.read(recording, index)) is not None), None)
        if first is None:
            raise StorageError(f"{recording.path}: none of its frames can be decoded")
        independent, countable = recording.independent, not recording.may_lack_pictures
    shuffle_frames = max(1, shuffle_bytes // first.nbytes)
    # A video is decoded from a keyframe on: with small blocks, the same pictures would be decoded again and again.
    block = BLOCK if not independent else max(SMALLEST_BLOCK, min(BLOCK, shuffle_frames // 8))
    epochs = count()

    def blocks() -> Iterator[Any]:
        """An epoch: arrays of the frames of a block, and their labels."""
        order = np.arange(0, len(selection.indices), block)
        epoch = next(epochs)
        if shuffle:
            np.random.default_rng(None if seed is None else [seed, epoch]).shuffle(order)
        with open_recording(path, track=track) as recording:
            selection.check_unchanged(recording)
            parts = [slice(at, at + block) for at in order]
            read = reader.read_blocks(recording, [selection.indices[part] for part in parts])
            for part, kept in zip(parts, read, strict=True):
                whole = [row is not None for row in kept]
                if any(whole):
                    stacked = np.stack([row for row in kept if row is not None])
                    yield stacked if labels is None else (stacked, selection.numbers[part][whole])
        if reader.damaged and epoch == 0:
            left_out = in_words(sorted(reader.damaged))
            warnings.warn(f"{path}: left out, as they can't be decoded: frames {left_out}", stacklevel=2)

    spec = tf.TensorSpec((None, *first.shape), first.dtype)
    dataset = tf.data.Dataset.from_generator(
        blocks, output_signature=spec if labels is None else (spec, tf.TensorSpec((None,), tf.int32))
    ).unbatch()
    if shuffle:
        dataset = dataset.shuffle(min(shuffle_frames, len(selection.indices)), seed=seed)
    batches = len(selection.indices)
    if batch_size is not None:
        dataset, batches = dataset.batch(batch_size), -(-batches // batch_size)
    dataset = dataset.map(_as_floats(tf))
    if countable:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches))
    dataset = dataset.prefetch(2)
    dataset.class_names = selection.class_names
    return dataset


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which frames are trained on, the number of each one's class, and what the recording's labels were."""

    indices: NDArray[np.int64]
    numbers: NDArray[np.int32]
    class_names: list[str]
    labels: list[str | None]

    def check_unchanged(self, recording: Recording) -> None:
        """Raise if labels changed or files moved since; new frames do no harm."""
        if list(recording.labels[: len(self.labels)]) != self.labels:
            raise StorageError(f"{recording.path} has other labels than at first; make its dataset anew")


def _select(recording: Recording, frames: slice, which: str | None, class_names: Sequence[str] | None) -> _Selection:
    labels, called = list(recording.labels), names_of_labels(recording)
    named = [None if label is None else called.get(label, label) for label in labels]
    found = sorted({name for name in named if name is not None})
    names = found if class_names is None else list(class_names)
    if which is not None and (unknown := [name for name in found if name not in names]):
        raise StorageError(f"{recording.path} has frames of class {unknown[0]!r}, which class_names lacks")
    numbers = {name: number for number, name in enumerate(names)}
    numbered = np.array([numbers.get(name or "", NO_LABEL) for name in named], np.int32)
    indices = np.sort(np.arange(len(labels))[frames])
    if not len(indices):
        raise StorageError(f"{recording.path} holds no frame" + (" in that stretch" if labels else ""))
    if which == "required":
        indices = indices[numbered[indices] != NO_LABEL]
    if not len(indices):
        by_hand = f"python -m classify {recording.path}"
        from_file = f"python -m storage labels {recording.path} --import FILE"
        way = by_hand if recording.has_pictures else from_file
        raise StorageError(f"{recording.path}: no frame has a class; label it: {way}")
    return _Selection(indices, numbered[indices], names, labels)


def _as_floats(tf: Any) -> Callable[..., Any]:
    def convert(frames: Any, *labels: Any) -> Any:
        frames = tf.cast(frames, tf.float32)
        return (frames, *labels) if labels else frames

    return convert


# -------------------------------------------------------------------------------------------------------------- reading


Kept: TypeAlias = "NDArray[Any] | None"


class _Reader:
    """Reads what is kept of frames: features, or pictures, which are scaled if a size is wanted."""

    def __init__(self, recording: Recording, image_size: tuple[int, int] | None) -> None:
        self._image_size = image_size
        self._size: tuple[int, ...] = ()
        self.damaged: set[int] = set()
        if isinstance(recording, KeepsFeatures) and image_size is not None:
            raise StorageError(f"{recording.path} keeps features and no pictures, so there is none to scale")

    def read(self, recording: Recording, index: int) -> Kept:
        """A frame's features, (256,) float32, or its picture, (height, width, 3) uint8; None if it is damaged."""
        if isinstance(recording, KeepsFeatures):
            return recording.features[int(index)]
        try:
            pixels = recording.read(int(index)).pixels
        except DamagedPictureError:
            self.damaged.add(int(index))
            return None
        if self._image_size is not None and pixels.shape[:2] != self._image_size:
            from PIL import Image

            height, width = self._image_size
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        self._size = self._size or pixels.shape
        if pixels.shape != self._size:
            raise StorageError(f"{recording.path}: frame {index} has another size than those before; give image_size")
        return pixels

    def read_blocks(self, recording: Recording, blocks: Sequence[NDArray[np.int64]]) -> Iterator[list[Kept]]:
        """The frames of each block, in order. Several are read at once where that is faster."""
        if isinstance(recording, KeepsFeatures):
            yield from (list(_rows(recording, block)) for block in blocks)
            return
        threads = os.cpu_count() or 1 if recording.independent else 1
        frames = in_order(lambda index: self.read(recording, index), (i for block in blocks for i in block), threads)
        for block in blocks:
            yield list(islice(frames, len(block)))


def _rows(recording: KeepsFeatures, indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features of frames in ascending order; those that follow each other are read at once."""
    return np.concatenate([recording.features[run.start : run.stop] for run in ranges_of(indices.tolist())])

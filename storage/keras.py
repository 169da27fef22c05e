"""Trains from recordings as they are: any format as a ``tf.data.Dataset``, with nothing unpacked.

This is to a file what ``keras.utils.image_dataset_from_directory`` is to a data directory, and gives the same batches.
In which order the frames come, and how they are read: `storage.epochs`. This needs TensorFlow.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.epochs import ALL, Memory, Order, Which, read_epoch, select

if TYPE_CHECKING:
    import tensorflow as tf

SINGLE_FRAMES = 32  # that are read together where no batches are wanted


def dataset_from_recording(
    path: Path | str | Sequence[Path | str],
    *,
    track: str | int | None = None,
    frames: slice = ALL,
    labels: Which = "required",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    image_size: tuple[int, int] | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    shuffle_bytes: int = 128_000_000,
) -> tf.data.Dataset:
    """The frames of a recording, or of several, as batches for training.

    Parameters
    ----------
    path : path, or sequence of paths
        A recording of any format, also any video; or several, whose frames are mixed. They must keep pictures of one
        size, unless `image_size` is given, or all of them features.
    track : str or int, optional
        Which track of pictures, of a video that has several, as in `storage.open_recording`. The first if not given,
        with a warning that names the others.
    frames : slice
        Which frames, by their numbers in each recording: whole stretches can be held out for validation.
    labels : {"required", "optional"} or None
        "required": frames that have a class, and no others. "optional": all frames, with the label -1 where there is
        no class. None: all frames, and no labels.
    class_names : sequence of str, optional
        The classes, in the order of their numbers. By default those that occur, sorted by spelling as Keras does it;
        give them for the validation set, which may lack one.
    batch_size : int or None
        Frames a batch; None for single ones.
    image_size : (int, int), optional
        Height and width that the pictures are scaled to; by default they stay as they are.
    shuffle : bool
        Other frames first in each epoch. Otherwise they come in the order of the recording.
    seed : int, optional
        Makes the order repeatable: of the first epoch, of the second …
    shuffle_bytes : int
        How many bytes of frames are mixed thoroughly. A format in which each frame is read without others needs no
        memory for that; H.264 needs as much.

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

    selection = select(path, track=track, frames=frames, labels=labels, class_names=class_names, image_size=image_size)
    order = Order(shuffle, secrets.randbits(32) if seed is None else seed, shuffle_bytes)
    memory = Memory((batch_size or SINGLE_FRAMES, *selection.shape), np.dtype(np.float32))
    epochs = count()

    def batches() -> Iterator[Any]:
        for rows, numbers in read_epoch(selection, order, next(epochs), batch_size or SINGLE_FRAMES, memory=memory):
            yield rows if labels is None else (rows, numbers)

    spec = tf.TensorSpec((None, *selection.shape), tf.float32)
    dataset = tf.data.Dataset.from_generator(
        batches, output_signature=spec if labels is None else (spec, tf.TensorSpec((None,), tf.int32))
    )
    if batch_size is None:
        dataset = dataset.unbatch()
    if selection.countable:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-len(selection) // (batch_size or 1))))
    dataset = dataset.prefetch(1)
    dataset.class_names = selection.class_names
    return dataset

"""Trains from recordings as they are, with PyTorch: datasets for a ``DataLoader``, with nothing unpacked.

`FrameDataset` gives a frame for its number, `FrameBatches` whole batches in shuffled order. Both read
any recordings, in any number of workers. This needs PyTorch.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from storage.epochs import ALL, Frames, Order, Which, read_epoch, select
from storage.errors import StorageError

Paths = Path | str | Sequence[Path | str]


class FrameDataset(Dataset):  # type: ignore[misc]  # PyTorch is no requirement of this project's checks
    """Frames by their numbers: ``dataset[i]`` is (picture, class number), as torchvision's ``ImageFolder`` has it.

    A picture is a tensor (3, height, width) uint8, RGB, as ``torchvision.transforms.v2`` takes it; features are (256,)
    float32. For videos whose pictures need others, such as H.264, use `FrameBatches`: here each is decoded from the
    keyframe before it on.

    Parameters
    ----------
    recordings : path, or sequence of paths
        Recordings of any format, also any videos. They must keep pictures of one size, unless `image_size` is given, or
        all of them features.
    track, frames, labels, class_names, image_size
        As for `storage.keras.dataset_from_recording`. Without `labels` (None), an item is the picture alone.
    transform : callable, optional
        Applied to each picture.

    Attributes
    ----------
    classes : list of str
        The names of the classes.
    targets : list of int
        The class number of each frame.

    Raises
    ------
    StorageError
        As for `storage.keras.dataset_from_recording`; from an item, if its frame can't be decoded.
    """

    def __init__(
        self,
        recordings: Paths,
        *,
        track: str | int | None = None,
        frames: slice = ALL,
        labels: Which = "required",
        class_names: Sequence[str] | None = None,
        image_size: tuple[int, int] | None = None,
        transform: Callable[[torch.Tensor], Any] | None = None,
    ) -> None:
        self._selection = select(
            recordings, track=track, frames=frames, labels=labels, class_names=class_names, image_size=image_size
        )
        self._labelled, self._transform = labels is not None, transform
        self._reader: tuple[int, Frames] | None = None
        self.classes = self._selection.class_names

    @property
    def targets(self) -> list[int]:
        numbers: list[int] = self._selection.numbers.tolist()
        return numbers

    def __len__(self) -> int:
        return len(self._selection)

    def __getitem__(self, index: int) -> Any:
        position = range(len(self))[index]  # negative indices, and IndexError past the end
        return self.__getitems__([position])[0]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Several at once: how a DataLoader asks for a batch."""
        if self._reader is None or self._reader[0] != os.getpid():  # a forked worker begins anew
            self._reader = os.getpid(), Frames(self._selection)
        # By their places in the files: neighbours in a video are decoded together.
        order = np.argsort(indices)
        positions = np.asarray(indices, np.int64)[order]
        rows = self._selection.empty(len(positions))
        kept = self._reader[1].read(positions, rows)
        if len(kept) < len(positions):
            lost = np.setdiff1d(positions, kept)[0]
            path = self._selection.paths[self._selection.sources[lost]]
            raise StorageError(
                f"{path}: frame {self._selection.indices[lost]} can't be decoded; FrameBatches leaves it out"
            )
        items: list[Any] = [None] * len(positions)
        for at, position, row in zip(order.tolist(), positions.tolist(), _tensor(rows), strict=True):
            picture = row if self._transform is None else self._transform(row)
            items[at] = (picture, int(self._selection.numbers[position])) if self._labelled else picture
        return items

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_reader": None}


class FrameBatches(IterableDataset):  # type: ignore[misc]  # as above
    """Batches of frames in shuffled order, for ``DataLoader(batches, batch_size=None)``.

    A batch is (pictures, class numbers): tensors (batch, 3, height, width) uint8, RGB, or (batch, 256) float32, and
    (batch,) int64. An epoch's order follows from the seed, the number of the epoch and that of the workers alone.

    Parameters
    ----------
    recordings, track, frames, labels, class_names, image_size
        As for `FrameDataset`.
    batch_size : int
        Frames a batch; the last one of each worker may have fewer.
    shuffle, seed, shuffle_bytes
        As for `storage.keras.dataset_from_recording`.
    transform : callable, optional
        Applied to the pictures of each batch.

    Attributes
    ----------
    classes : list of str
        The names of the classes.

    Raises
    ------
    StorageError
        As for `storage.keras.dataset_from_recording`.
    """

    def __init__(
        self,
        recordings: Paths,
        batch_size: int = 32,
        *,
        track: str | int | None = None,
        frames: slice = ALL,
        labels: Which = "required",
        class_names: Sequence[str] | None = None,
        image_size: tuple[int, int] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        shuffle_bytes: int = 128_000_000,
        transform: Callable[[torch.Tensor], Any] | None = None,
    ) -> None:
        self._selection = select(
            recordings, track=track, frames=frames, labels=labels, class_names=class_names, image_size=image_size
        )
        self._order = Order(shuffle, secrets.randbits(32) if seed is None else seed, shuffle_bytes)
        self._batch_size, self._labelled, self._transform = batch_size, labels is not None, transform
        # The epoch, and how many of its batches to leave out: also workers that run already see a change.
        self._place = torch.zeros(2, dtype=torch.int64).share_memory_()
        self.classes = self._selection.class_names

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Choose the epoch that the next iteration gives: call it before each one, else all have one order.

        Parameters
        ----------
        epoch : int
        skip : int
            How many of its batches to leave out, because they were trained on before an interruption. The DataLoader
            must have as many workers as then. In a video, a picture that can't be decoded moves the place by one frame.
        """
        self._place[0], self._place[1] = epoch, skip

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        epoch, skip = self._place.tolist()
        given, turn = self._given(epoch, skip, workers)
        share = (number + turn) % workers  # a DataLoader begins with worker 0
        batches = read_epoch(
            self._selection,
            self._order,
            epoch,
            self._batch_size,
            share=(share, workers),
            skip=given[share],
            threads=max(1, (os.cpu_count() or 1) // workers),
        )
        for rows, numbers in batches:
            pictures = _tensor(rows) if self._transform is None else self._transform(_tensor(rows))
            yield (pictures, torch.from_numpy(numbers.astype(np.int64))) if self._labelled else pictures

    def _given(self, epoch: int, skip: int, workers: int) -> tuple[list[int], int]:
        """How many batches of each share were given when `skip` were, and whose turn it is: they come in turn."""
        given, turn = [0] * workers, 0
        if not skip:
            return given, turn
        shares = [self._order.windows(self._selection, epoch, (share, workers)) for share in range(workers)]
        left = [-(-sum(len(window.mixed) for window in windows) // self._batch_size) for windows in shares]
        skip = min(skip, sum(left))
        while sum(given) < skip:
            given[turn] += given[turn] < left[turn]
            turn = (turn + 1) % workers
        return given, turn


def _tensor(rows: np.ndarray[Any, Any]) -> torch.Tensor:
    """Pictures with their colours first, as PyTorch has them, in the same memory: ``channels_last``."""
    tensor = torch.from_numpy(rows)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor

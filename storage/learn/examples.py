"""Labelled frames of several recordings, of any formats, as one set to learn from: classes go by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.labels import UNSEEN
from storage.labels.classes import names_of_labels
from storage.labels.current import replay
from storage.labels.live import entries_beside
from storage.labels.origins import origins
from storage.learn.folds import common_seconds
from storage.names import natural_key
from storage.recording import Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

NO_CLASS = -1


@dataclass(frozen=True, slots=True)
class Examples:
    """The frames of some recordings, one recording after another: N in all.

    Attributes
    ----------
    recordings : tuple of Recording
    classes : tuple of str
        The names of the classes to learn.
    unknown : tuple of str
        Classes that only recordings to test on have.
    labels : ndarray, shape (N,), int64
        The class of each frame; `NO_CLASS` where it has none, or one of `unknown`.
    unseen : ndarray, shape (N,), bool
        Whether a model gave the label, and no person has seen it: something to learn from, and no truth to test on.
    seconds : ndarray, shape (N,), float64
        When it was taken, on one axis (`storage.learn.folds.common_seconds`).
    of_recording : ndarray, shape (N,), int64
        The place of its recording in `recordings`.
    """

    recordings: tuple[Recording, ...]
    classes: tuple[str, ...]
    unknown: tuple[str, ...]
    labels: Integers
    unseen: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    of_recording: Integers

    def place(self, number: int) -> tuple[Recording, int]:
        """The recording of a frame, and the frame's index in it."""
        of = int(self.of_recording[number])
        return self.recordings[of], number - int(np.searchsorted(self.of_recording, of))

    def name(self, number: int) -> str:
        """What a person finds a frame by: its file; or its recording, and which frame of it."""
        recording, index = self.place(number)
        if isinstance(recording, FramesAreFiles):
            return str(recording.file(index))
        return f"{recording.path} frame {index}"


def gather(recordings: Sequence[Recording], tests: Sequence[Recording] = (), *, seen_only: bool = False) -> Examples:
    """The frames of open recordings, and after them those of others to test on, which are asked for no other classes.

    With `seen_only`, labels that a model gave, and that no person has seen, are none.

    Raises
    ------
    StorageError
        A recording has no label; or its label journal is damaged.
    """
    everything = (*recordings, *tests)
    names = [labels_by_name(recording) for recording in everything]
    unseen = [[origin == UNSEEN for origin in origins(recording)] for recording in everything]
    if seen_only:
        names = [
            [None if left_out else name for name, left_out in zip(*of, strict=True)]
            for of in zip(names, unseen, strict=True)
        ]
        unseen = [[False] * len(own) for own in unseen]
    for recording, own in zip(everything, names, strict=True):
        if not any(own):
            way = f"python -m classify {quote(str(recording.path))}"
            raise StorageError(f"{recording.path}: no frame has a class; label it: {way}")
    classes = _sorted(names[: len(recordings)])
    numbers = {name: number for number, name in enumerate(classes)}
    return Examples(
        everything,
        classes,
        tuple(name for name in _sorted(names) if name not in numbers),
        np.array([numbers.get(name or "", NO_CLASS) for own in names for name in own], np.int64),
        np.array([one for own in unseen for one in own], np.bool_),
        common_seconds(everything),
        np.repeat(np.arange(len(everything)), [len(own) for own in names]),
    )


def _sorted(labels: Sequence[Sequence[str | None]]) -> tuple[str, ...]:
    return tuple(sorted({name for own in labels for name in own if name is not None}, key=natural_key))


def labels_by_name(recording: Recording) -> list[str | None]:
    """The name of each frame's class, as it stands, also while a window labels it; None where it has none."""
    try:
        labels = replay(recording, entries_beside(recording))
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}") from None
    names = names_of_labels(recording)
    return [None if label is None else names.get(label, label) for label in labels]


def held_out_beside(paths: Sequence[Path]) -> list[Path]:
    """What is held out of recordings to test on: ``val_day1`` for ``day1``, as ``python -m storage split`` names it.

    What is not there, and what is to be learnt from itself, is left out.
    """
    given = {path.resolve() for path in paths}
    candidates = [path.parent / f"val_{path.name}" for path in paths if path.name]
    return [path for path in candidates if path.exists() and path.resolve() not in given]

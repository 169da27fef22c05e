"""Trains a model on labelled recordings, and says how good it is on frames unlike those that it has seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from storage.errors import StorageError
from storage.formats.features.extractor import Extractor
from storage.formats.table import open_recording
from storage.learn.describe import Descriptions, Kind, concatenated, describe_recording
from storage.learn.examples import NO_CLASS, gather, held_out_beside
from storage.learn.folds import far_from, held_out_certainties, make_folds
from storage.learn.head import Head, fit_head
from storage.learn.model import Model
from storage.learn.report import NOT_TESTED, Judged, Report, judge, notes_of, origin_of
from storage.recording import Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]
    Certainties = NDArray[np.float32]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is. What it raises ends the work."""

STRETCHES = "stretches of the same recordings, each held out in turn ({} of {} folds judged)"
FALLBACK = (
    "this model knows a room and its light, and little else: a thumbnail of 16x16 grey values stands for each frame, as"
    " the network is not at hand: {}"
)


@dataclass(frozen=True, slots=True)
class Learnt:
    """A head, and what heads made like it say of frames that they have not seen.

    Attributes
    ----------
    kind : {"features", "thumbnail", "both"}
        The descriptions that do best on held-out frames.
    head : Head
        Learnt from all frames.
    folds : tuple of (int, int)
        How many folds were judged, and how many there are.
    certainties : ndarray, shape (N, C), float32
        Of each frame, held out with its stretch. Its kind is the best on all other stretches, so that the choice gives
        the figures no advantage either. NaN for frames that nothing could judge (`held_out_certainties`).
    by_kind : dict
        The accuracy on held-out frames, each class weighing the same, of each kind; empty if none could be judged.
    """

    kind: Kind
    head: Head
    folds: tuple[int, int]
    certainties: Certainties
    by_kind: dict[str, float]


def train(
    paths: Sequence[Path],
    *,
    weights: str | Path | None = None,
    seen_only: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Model, Report]:
    """Train a model on the labelled frames of recordings, of any formats.

    It is tested on what `held_out_beside` finds, which it never learns from; else on stretches of the recordings
    themselves, each by a head that has seen nothing near them. Labels that no person has seen are no test.

    Parameters
    ----------
    paths : sequence of path
    weights : str or path, optional
        Of the network, as `Extractor` takes them. If not given, the default ones where they are at hand, else
        thumbnails are all that is learnt from.
    seen_only : bool
        Leave out labels that a model gave and no person has seen.
    seed : int
        Another seed holds other stretches out.
    progress : callable, optional
        See `Progress`.

    Raises
    ------
    StorageError
        A recording can't be read, has no labels, or needs other weights; or there is only one class.
    """
    begun = time.monotonic()
    held_out = held_out_beside(paths)
    with ExitStack() as opened:
        recordings = [opened.enter_context(open_recording(path)) for path in [*paths, *held_out]]
        examples = gather(recordings[: len(paths)], recordings[len(paths) :], seen_only=seen_only)
        if len(examples.classes) < 2:
            raise StorageError(f"{paths[0]}: all labels are {examples.classes[0]!r}; a model tells two classes or more")
        extractor, notes = _find_extractor(recordings, weights)
        described = concatenated(
            [describe_recording(one, extractor, progress=_part(progress, one)) for one in recordings]
        )
        whole: Booleans = np.all(np.isfinite(described.of(described.kinds[0])), axis=1)
        usable = (examples.labels != NO_CLASS) & whole
        to_learn = usable & (examples.of_recording < len(paths))
        numbers = np.flatnonzero(to_learn)
        labels, seconds = examples.labels[numbers], examples.seconds[numbers]
        if len(np.unique(labels)) < 2:
            raise StorageError(f"{paths[0]}: too few labelled frames can be read; python -m storage verify says why")
        seen = ~examples.unseen
        learnt = learn(
            described.some(numbers),
            labels,
            seconds,
            len(examples.classes),
            is_truth=seen[numbers],
            seed=seed,
            progress=progress,
        )
        to_test = usable & ~to_learn & seen
        tests = np.flatnonzero(to_test & far_from(to_learn, examples.seconds))
        if len(tests):
            certainties = learnt.head.certainties(described.some(tests).of(learnt.kind))
            judged = Judged(tests, certainties, ", ".join(map(str, held_out)))
        else:
            tested = np.isfinite(learnt.certainties).all(axis=1)
            if not tested.all():
                lonely = np.count_nonzero(~tested)
                notes.append(
                    f"{lonely} frames are not tested: without those near them, no two classes are left to learn"
                )
            tested &= seen[numbers]
            tested_on = STRETCHES.format(*learnt.folds) if tested.any() else NOT_TESTED
            judged = Judged(numbers[tested], learnt.certainties[tested], tested_on)
        notes += notes_of(examples, whole, to_test, tests, held_out)
        report = judge(examples, numbers, judged, kind=learnt.kind, by_kind=learnt.by_kind, notes=notes, begun=begun)
    model = Model(
        examples.classes,
        learnt.kind,
        learnt.head,
        extractor.network if extractor is not None and learnt.kind != "thumbnail" else None,
        origin_of(examples, len(paths), report, seed),
    )
    return model, report


def learn(
    descriptions: Descriptions,
    labels: Integers,
    seconds: Floats,
    classes: int,
    *,
    is_truth: Booleans | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Learnt:
    """Learn a head from labelled frames, of the kind of descriptions that does best on stretches held out.

    Parameters
    ----------
    descriptions : Descriptions
        Of N frames.
    labels : ndarray, shape (N,), int64
        From 0 to `classes` - 1.
    seconds : ndarray, shape (N,), float64
        Times on one axis, in any order.
    classes : int
    is_truth : ndarray, shape (N,), bool, optional
        Which labels have a voice in the choice of the kind; all by default.
    seed : int
        Another seed holds other stretches out.
    progress : callable, optional
        See `Progress`.
    """
    of_fold = make_folds(seconds, labels, seed=seed)
    kinds, folds = descriptions.kinds, int(of_fold.max()) + 1
    steps = iter(range(1, len(kinds) * folds + 2))

    def done() -> None:
        if progress is not None:
            progress("learning", next(steps), len(kinds) * folds + 1)

    held_out = {
        kind: held_out_certainties(descriptions.of(kind), seconds, labels, classes, of_fold, done=done)
        for kind in kinds
    }
    tested = np.isfinite(held_out[kinds[0]]).all(axis=1)
    if is_truth is not None:
        tested &= is_truth
    counts = np.bincount(labels[tested], minlength=classes)
    weight = tested / np.maximum(1, counts[labels] * np.count_nonzero(counts))  # each class weighs the same
    right = np.array([np.bincount(of_fold, weight * (held_out[kind].argmax(axis=1) == labels)) for kind in kinds])
    without_own = right.sum(axis=1, keepdims=True) - right  # what a fold's own frames say has no voice there
    certainties = np.empty((len(labels), classes), np.float32)
    for fold, best in enumerate(without_own.argmax(axis=0)):
        certainties[of_fold == fold] = held_out[kinds[best]][of_fold == fold]
    kind = kinds[int(right.sum(axis=1).argmax())]
    head = fit_head(descriptions.of(kind), labels, classes)
    done()
    by_kind: dict[str, float] = dict(zip(kinds, map(float, right.sum(axis=1)), strict=True))
    return Learnt(kind, head, (len(np.unique(of_fold[tested])), folds), certainties, by_kind if tested.any() else {})


# ------------------------------------------------------------------------------------------------------ what there is


def _find_extractor(recordings: Sequence[Recording], weights: str | Path | None) -> tuple[Extractor | None, list[str]]:
    """The network for some recordings, or None where it is not at hand and can be done without; and why."""
    notes = []
    try:
        extractor = Extractor(weights or "imagenet")
    except StorageError as error:
        if weights is not None:
            raise
        extractor = None
        notes.append(FALLBACK.format(error))
    for recording in recordings:
        if recording.has_pictures:
            continue
        from storage.formats.features.recording import FeaturesReader  # with h5py, which takes memory

        if not isinstance(recording, FeaturesReader):
            raise StorageError(f"{recording.path} keeps no pictures, and nothing else to learn from")
        sha256 = recording.extractor.get("weights_sha256", "")
        if extractor is None or extractor.sha256 != sha256:
            raise StorageError(
                f"{recording.path} keeps features of the weights {sha256[:16]}…; give --weights with that file: a model"
                " needs them to see pictures"
            )
    return extractor, notes


def _part(progress: Progress | None, recording: Recording) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, f"describing {recording.path}")

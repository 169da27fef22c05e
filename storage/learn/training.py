"""Trains a model on labelled recordings, and says how good it is on frames unlike those that it has seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.errors import StorageError
from storage.formats.features.extractor import Extractor
from storage.formats.table import open_recording
from storage.learn.describe import Descriptions, Kind, concatenated, describe_recording
from storage.learn.examples import NO_CLASS, Examples, beside, gather
from storage.learn.folds import GAP_SECONDS, far_from, held_out_certainties, make_folds
from storage.learn.head import Head, fit_head
from storage.learn.mistakes import Mistake, find_mistakes
from storage.learn.model import Model
from storage.learn.smoothing import smooth
from storage.recording import Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]
    Certainties = NDArray[np.float32]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is. What it raises ends the work."""

FEW_STRETCHES = 5  # of a class: from fewer, one that is left out takes much of what can be learnt along
WEAK = 0.9  # of a class's frames: if fewer are right, more of it would help
UNEVEN = 10  # times as many frames of one class as of another
FALLBACK = (
    "{}. Until then a thumbnail of 16x16 grey values stands for each frame: it knows a room and its light, and little"
    " else"
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
    certainties : ndarray, shape (N, C), float32
        Of each frame, held out with its stretch. Its kind is the best on all other stretches, so that the choice gives
        the figures no advantage either.
    by_kind : dict
        The accuracy on held-out frames, each class weighing the same, of each kind.
    """

    kind: Kind
    head: Head
    certainties: Certainties
    by_kind: dict[Kind, float]


@dataclass(frozen=True, slots=True)
class Report:
    """How good a model is.

    Attributes
    ----------
    classes : tuple of str
    frames, stretches : tuple of int
        How many of each class were learnt from; a stretch is one go of it.
    tested_on : str
        What the figures are from.
    accuracy : float
        The share of frames that are right, each by itself.
    smoothed : float
        The same, if what comes before and after counts too.
    chance : float
        The share of the most frequent class: what knowing nothing gets.
    confusion : ndarray, shape (C, C), int64
        Frames by their class (rows) and by what they were taken for.
    kind : {"features", "thumbnail", "both"}
    by_kind : dict
        The accuracy of each kind of descriptions on held-out stretches, each class weighing the same.
    mistakes : list of Mistake
    advice : list of str
        What more data would help.
    notes : list of str
        What a person should know besides.
    seconds : float
        How long it took.
    """

    classes: tuple[str, ...]
    frames: tuple[int, ...]
    stretches: tuple[int, ...]
    tested_on: str
    accuracy: float
    smoothed: float
    chance: float
    confusion: Integers
    kind: Kind
    by_kind: dict[Kind, float]
    mistakes: list[Mistake] = field(repr=False)
    advice: list[str]
    notes: list[str]
    seconds: float


def train(
    paths: Sequence[Path],
    *,
    weights: str | Path | None = None,
    seen_only: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Model, Report]:
    """Train a model on the labelled frames of recordings, of any formats.

    It is tested on what `beside` finds beside them, which it never learns from; else on stretches of the recordings
    themselves, each by a head that has seen nothing near them.

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
    held_out = _held_out(paths)
    with ExitStack() as opened:
        recordings = [opened.enter_context(open_recording(path)) for path in [*paths, *held_out]]
        examples = gather(recordings[: len(paths)], recordings[len(paths) :], seen_only=seen_only)
        if len(examples.classes) < 2:
            raise StorageError(f"{paths[0]}: all labels are {examples.classes[0]!r}; a model tells two classes or more")
        extractor, notes = _find_extractor(recordings, weights)
        described = concatenated(
            [describe_recording(one, extractor, progress=_part(progress, one)) for one in recordings]
        )
        whole = np.isfinite(described.of(described.kinds[0])[:, 0])
        usable = (examples.labels != NO_CLASS) & whole
        to_learn = usable & (examples.of_recording < len(paths))
        numbers = np.flatnonzero(to_learn)
        labels, seconds = examples.labels[numbers], examples.seconds[numbers]
        learnt = learn(described.some(numbers), labels, seconds, len(examples.classes), seed=seed, progress=progress)
        judged = _Judged(numbers, learnt.certainties, "stretches of the same recordings, each held out in turn")
        tests = np.flatnonzero(usable & ~to_learn & far_from(to_learn, examples.seconds))
        if len(tests):
            certainties = learnt.head.certainties(described.some(tests).of(learnt.kind))
            judged = _Judged(tests, certainties, ", ".join(map(str, held_out)))
        notes += _notes(examples, whole, usable & ~to_learn, tests, held_out)
        report = _judge(examples, numbers, learnt, judged, notes=notes, begun=begun)
    model = Model(
        examples.classes,
        learnt.kind,
        learnt.head,
        extractor.network if extractor is not None and learnt.kind != "thumbnail" else None,
        _origin(examples, len(paths), report, seed),
    )
    return model, report


def learn(
    descriptions: Descriptions,
    labels: Integers,
    seconds: Floats,
    classes: int,
    *,
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

    counts = np.bincount(labels, minlength=classes)
    weight = 1 / (counts[labels] * np.count_nonzero(counts))  # of each frame: each class weighs the same
    held_out = {}
    right = np.zeros((len(kinds), folds))
    for number, kind in enumerate(kinds):
        inputs = descriptions.of(kind)
        held_out[kind] = held_out_certainties(inputs, seconds, labels, classes, of_fold, done=done)
        correct = held_out[kind].argmax(axis=1) == labels
        right[number] = np.bincount(of_fold, weight * correct, folds)
    without_own = right.sum(axis=1, keepdims=True) - right  # what a fold's own frames say has no voice there
    certainties = np.empty((len(labels), classes), np.float32)
    for fold, best in enumerate(without_own.argmax(axis=0)):
        certainties[of_fold == fold] = held_out[kinds[best]][of_fold == fold]
    kind = kinds[int(right.sum(axis=1).argmax())]
    head = fit_head(descriptions.of(kind), labels, classes)
    done()
    return Learnt(kind, head, certainties, dict(zip(kinds, map(float, right.sum(axis=1)), strict=True)))


# ------------------------------------------------------------------------------------------------------ what there is


def _held_out(paths: Sequence[Path]) -> list[Path]:
    """What lies beside the recordings to test on; not what is to be learnt from itself."""
    given = {path.resolve() for path in paths}
    return [path for path in map(beside, paths) if path is not None and path.resolve() not in given]


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


# ----------------------------------------------------------------------------------------------------- how good it is


@dataclass(frozen=True, slots=True)
class _Judged:
    """The numbers of frames, what a head that has not seen them says of them, and where they are from."""

    numbers: Integers
    certainties: Certainties
    tested_on: str


def _judge(
    examples: Examples, learnt_from: Integers, learnt: Learnt, judged: _Judged, *, notes: list[str], begun: float
) -> Report:
    classes = len(examples.classes)
    truth, guess = examples.labels[judged.numbers], judged.certainties.argmax(axis=1)
    confusion = np.bincount(truth * classes + guess, minlength=classes**2).reshape(classes, classes)
    order, seams = _in_time(examples, judged.numbers)
    smoothed = smooth(judged.certainties[order], seams=seams)
    goes = _goes(examples, learnt_from)
    report = Report(
        classes=examples.classes,
        frames=tuple(np.bincount(examples.labels[learnt_from], minlength=classes).tolist()),
        stretches=tuple(np.bincount(goes, minlength=classes).tolist()),
        tested_on=judged.tested_on,
        accuracy=float(np.mean(guess == truth)),
        smoothed=float(np.mean(smoothed == truth[order])),
        chance=float(np.bincount(truth).max() / len(truth)),
        confusion=confusion,
        kind=learnt.kind,
        by_kind=learnt.by_kind,
        mistakes=find_mistakes(examples, judged.numbers, judged.certainties),
        advice=[],
        notes=notes,
        seconds=time.monotonic() - begun,
    )
    report.advice.extend(_advice(report, len(np.unique(examples.of_recording[learnt_from]))))
    return report


def _in_time(examples: Examples, numbers: Integers) -> tuple[Integers, Integers]:
    """The order of frames, each recording's by time; and where in it a recording begins, or time has passed."""
    of, seconds = examples.of_recording[numbers], examples.seconds[numbers]
    order = np.lexsort((seconds, of))
    apart = (np.diff(of[order]) != 0) | (np.diff(seconds[order]) > GAP_SECONDS)
    return order, np.flatnonzero(apart) + 1


def _goes(examples: Examples, numbers: Integers) -> Integers:
    """The class of each stretch of one class."""
    order, seams = _in_time(examples, numbers)
    labels = examples.labels[numbers][order]
    begins = np.zeros(len(labels), np.bool_)
    begins[0] = True
    begins[seams] = True
    begins[1:] |= labels[1:] != labels[:-1]
    return labels[begins]


def _advice(report: Report, recordings: int) -> list[str]:
    """What more data would help, class by class."""
    where = "one recording" if recordings == 1 else f"{recordings} recordings"
    advice = []
    for number, name in enumerate(report.classes):
        stretches = report.stretches[number]
        have = f"{name}: {_counted(stretches, 'stretch', 'stretches')} in {where}"
        of_class = report.confusion[number]
        total, right = int(of_class.sum()), int(of_class[number])
        if stretches < FEW_STRETCHES:
            advice.append(f"{have}, which is few: do it {FEW_STRETCHES} times and more, spread over the recording")
        elif total and right < WEAK * total:
            others = np.where(np.arange(len(of_class)) == number, -1, of_class)
            other = report.classes[int(others.argmax())]
            advice.append(
                f"{have}, {100 * right / total:.0f} % right, most often taken for {other}: record more of both,"
                " in other light, another place, by another person"
            )
    most, least = int(np.argmax(report.frames)), int(np.argmin(report.frames))
    if report.frames[most] > UNEVEN * report.frames[least]:
        advice.append(
            f"{report.classes[most]} has {report.frames[most]} frames and {report.classes[least]}"
            f" {report.frames[least]}: record more of the latter"
        )
    if recordings == 1:
        advice.append("all of it is one recording: one of another day or place shows what holds there, and helps most")
    return advice


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _notes(examples: Examples, whole: Booleans, to_test: Booleans, tests: Integers, held_out: list[Path]) -> list[str]:
    notes = []
    if damaged := int(np.count_nonzero(~whole)):
        notes.append(f"{damaged} frames can't be read and are left out; python -m storage verify names them")
    names = ", ".join(map(str, held_out))
    if examples.unknown:
        notes.append(
            f"{names}: frames of class {', '.join(examples.unknown)} are left out, which nothing was learnt of"
        )
    if near := int(np.count_nonzero(to_test)) - len(tests):
        notes.append(
            f"{names}: {near} frames are within {GAP_SECONDS:g} s of some that were learnt from, and tell nothing"
        )
    return notes


def _origin(examples: Examples, learnt_from: int, report: Report, seed: int) -> dict[str, Any]:
    try:
        toolkit = version("pi-capture")
    except PackageNotFoundError:
        toolkit = "not installed"
    return {
        "recordings": [
            {"name": one.path.name, "frames": len(one), "sessions": [session.get("id") for session in one.sessions]}
            for one in examples.recordings[:learnt_from]
        ],
        "frames": dict(zip(report.classes, report.frames, strict=True)),
        "tested_on": report.tested_on,
        "accuracy": round(report.accuracy, 4),
        "smoothed": round(report.smoothed, 4),
        "seed": seed,
        "toolkit": toolkit,
    }

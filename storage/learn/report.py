"""How good a model is: what it takes for what, and what more data would help."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.errors import StorageError
from storage.learn.examples import Examples
from storage.learn.folds import GAP_SECONDS
from storage.learn.mistakes import Mistake, find_mistakes
from storage.learn.smoothing import smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Booleans = NDArray[np.bool_]
    Integers = NDArray[np.int64]
    Certainties = NDArray[np.float32]

FEW_STRETCHES = 5  # of a class: from fewer, one that is left out takes much of what can be learnt along
WEAK = 0.9  # of a class's frames: if fewer are right, more of it would help
NOT_TESTED = "not tested"
UNEVEN = 10  # times as many frames of one class as of another


@dataclass(frozen=True, slots=True)
class Report:
    """How good a model is.

    Attributes
    ----------
    classes : tuple of str
    frames, stretches : tuple of int
        How many of each class were learnt from; a stretch is one go of it.
    tested_on : str
        What the figures are from, or `NOT_TESTED`.
    accuracy : float or None
        The share of frames that are right, each by itself. None of what was not tested, as the next two.
    smoothed : float or None
        The same, if what comes before and after counts too.
    chance : float or None
        The share of the most frequent class: what knowing nothing gets.
    confusion : ndarray, shape (C, C), int64
        Frames by their class (rows) and by what they were taken for.
    kind : str
        What frames are described by (`storage.learn.describe`), or "cnn".
    by_kind : mapping
        The accuracy of each kind that was tried, on held-out stretches, each class weighing the same.
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
    accuracy: float | None
    smoothed: float | None
    chance: float | None
    confusion: Integers
    kind: str
    by_kind: Mapping[str, float]
    mistakes: list[Mistake] = field(repr=False)
    advice: list[str]
    notes: list[str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Judged:
    """The numbers of frames, what a model that has not seen them says of them, and where they are from."""

    numbers: Integers
    certainties: Certainties
    tested_on: str


def judge(
    examples: Examples,
    learnt_from: Integers,
    judged: Judged,
    *,
    kind: str,
    by_kind: Mapping[str, float],
    notes: list[str],
    begun: float,
) -> Report:
    """The report of a model: learnt from the frames of some numbers, since `begun` (of `time.monotonic`)."""
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
        accuracy=_share(guess == truth),
        smoothed=_share(smoothed == truth[order]),
        chance=_share(truth == np.bincount(truth, minlength=classes).argmax()),
        confusion=confusion,
        kind=kind,
        by_kind=by_kind,
        mistakes=find_mistakes(examples, judged.numbers, judged.certainties),
        advice=[],
        notes=notes,
        seconds=time.monotonic() - begun,
    )
    report.advice.extend(_advice(report, _recordings(examples, learnt_from)))
    return report


def _share(of: Booleans) -> float | None:
    return float(of.mean()) if len(of) else None


def rounded(share: float | None) -> float | None:
    """For a file or a program: four digits tell all."""
    return None if share is None else round(share, 4)


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


def _recordings(examples: Examples, numbers: Integers) -> int:
    """How many recordings the frames are from; one that was merged counts as those that went into it."""
    count = 0
    for of in np.unique(examples.of_recording[numbers]):
        merged = set[tuple[str, str]]()
        with suppress(StorageError):
            sessions = examples.recordings[of].sessions
            merged = {(str(session.get("merged_from")), str(session.get("host"))) for session in sessions}
        count += max(1, len(merged))
    return count


def _advice(report: Report, recordings: int) -> list[str]:
    """What more data would help, class by class."""
    where = "one recording" if recordings == 1 else f"{recordings} recordings"
    advice = []
    for number, name in enumerate(report.classes):
        stretches = report.stretches[number]
        have = f"{_counted(stretches, 'stretch', 'stretches')} in {where}"
        of_class = report.confusion[number]
        total, right = int(of_class.sum()), int(of_class[number])
        if stretches < FEW_STRETCHES:
            advice.append(
                f"{name}: {have}, which is few: do it {FEW_STRETCHES} times and more, spread over the recording"
            )
        elif total and right < WEAK * total:
            others = np.where(np.arange(len(of_class)) == number, -1, of_class)
            other = report.classes[int(others.argmax())]
            advice.append(
                f"{name}: {100 * right / total:.0f} % right, most often taken for {other}: show {name} more often,"
                f" in other light, another place, by another person ({have})"
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


def notes_of(
    examples: Examples, whole: Booleans, to_test: Booleans, tests: Integers, held_out: list[Path]
) -> list[str]:
    """What a person should know of the frames: damaged ones, and those of `held_out` that are no test."""
    notes = []
    if unseen := int(np.count_nonzero(examples.unseen)):
        notes.append(
            f"{unseen} labels were accepted unseen: they are learnt from, and no test; --seen-only leaves them out"
        )
    if damaged := int(np.count_nonzero(~whole)):
        notes.append(f"{damaged} frames can't be read and are left out; python -m storage verify names them")
    names = ", ".join(map(str, held_out))
    if examples.unknown:
        notes.append(
            f"{names}: frames of class {', '.join(examples.unknown)} are left out, which nothing was learnt of"
        )
    if near := int(np.count_nonzero(to_test)) - len(tests):
        notes.append(
            f"{names}: {near} frames are within {GAP_SECONDS:g} s of some that were learnt from, and were not tested"
        )
    return notes


def origin_of(examples: Examples, learnt_from: int, report: Report, seed: int) -> dict[str, Any]:
    """What a model file tells of where it came from: the first `learnt_from` recordings, and how it was tested."""
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
        "accuracy": rounded(report.accuracy),
        "smoothed": rounded(report.smoothed),
        "seed": seed,
        "toolkit": toolkit,
    }

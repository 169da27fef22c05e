#!/usr/bin/env python3
"""Measure labelling: keystrokes per 1,000 frames with the plain keys and the fast ones.

    python scripts/keystrokes.py [RECORDING] [--frames N] [--seeds N] [--json]

A scripted person, who sees what the window shows and knows the true labels, labels frames through the real labelling
loop: every key is an action, every label is journaled. The frames are those of RECORDING, real footage whose labels are
right, or of the demo scene. Each way ends with every frame labelled as the truth has it; what is shown before that is
how far it got without corrections. A key with Shift counts as one.

No way may cost more than a key a frame: the exit status is 1 if one does. What many frames cost is measured by
`many_frames.py`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FPS = 30.0
SIZE = (128, 128)
REACTION = (0.35, 0.08)  # seconds from a change on the screen to the key: mean and standard deviation
SHORTEST = 10  # frames in a stretch on average; if there are fewer, playing is too fast
NEAR = 2  # frames; a gesture takes nine to form, and its label may begin anywhere in them
PAGE_UP, PAGE_DOWN, HOME = 0xFF55, 0xFF56, 0xFF50

SHIFT = 1  # its bit in the upper half of a key's code

if TYPE_CHECKING:
    from classify.session import Session
    from storage.frame import Frame

Truth = list[int]


# ----------------------------------------------------------------------------------------------------------- keystrokes


def measure(recordings: Iterable[Callable[[Path], Truth]]) -> dict[str, Any]:
    """The ways of labelling, each with keystrokes per 1,000 frames and more, over some recordings to be made."""
    found: dict[str, list[dict[str, float]]] = {}
    stretches = []
    for seed, make in enumerate(recordings):
        with tempfile.TemporaryDirectory() as directory:
            truth = make(Path(directory, "day"))
            stretches.append(1000 * (1 + sum(a != b for a, b in pairwise(truth))) / len(truth))
            for name, way in WAYS.items():
                found.setdefault(name, []).append(_label(Path(directory, "day"), truth, way, seed))
    return {
        name: {key: statistics.fmean(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()
    } | {"stretches": {"per_1000": statistics.fmean(stretches)}}


def _demo(seed: int, count: int, day: Path) -> Truth:
    """Make frames of the demo scene; returns the true labels."""
    from pi_capture.sources.demo import draw
    from storage.frame import Frame

    def frames() -> Iterator[tuple[Frame, int]]:
        for number in range(count):
            pixels, label = draw(seed, number, FPS, SIZE)
            yield Frame(pixels, number, round(number * 1e9 / FPS)), label

    return _make(day, frames())


def _again(path: Path, count: int, day: Path) -> Truth:
    """Make the first frames of a labelled recording, without their labels; returns these."""
    from storage import open_recording
    from storage.labels.current import labels_as_they_stand

    with open_recording(path) as recording:
        labels = labels_as_they_stand(recording)[:count]
        numbers = {label: number for number, label in enumerate(sorted({label for label in labels if label}))}
        if None in labels or not labels or len(numbers) > 9:
            sys.exit(f"{path}: up to nine classes, and a label for each of the frames, are needed as the truth")
        return _make(day, ((recording.read(index), numbers[label]) for index, label in enumerate(labels) if label))


def _make(day: Path, frames: Iterable[tuple[Frame, int]]) -> Truth:
    from storage.formats.png.writer import PngWriter
    from storage.frame import Frame

    writer, truth = PngWriter(day), []
    for number, (frame, label) in enumerate(frames):
        writer.append(writer.encode(Frame(frame.pixels, number, frame.timestamp_ns)))
        truth.append(label)
    writer.close()
    return truth


class Person:
    """Replaces the window: presses the keys of a way of labelling, in simulated time."""

    size = (240, 200)

    def __init__(self, way: Way, truth: Truth, seed: int) -> None:
        self.now = 0.0
        self.is_open = True
        self.pressed = 0
        self.truth = truth
        self.random = random.Random(seed)
        self.session: Any = None
        self.pictures: Any = None
        self.first_pass: tuple[float, float, float] | None = None
        self._keys = way(self)

    def key(self, milliseconds: int) -> int | None:
        code = next(self._keys, None)
        if code is None:
            self.is_open = False
            return None
        if code == WAIT:
            self.now += max(1, milliseconds) / 1000
            return None
        self.pressed += 1
        self.now += 0.001
        return code if isinstance(code, int) else ord(code)

    def listen(self) -> None:
        time.sleep(0.0002)

    def click(self) -> None: ...
    def show(self, picture: object) -> None: ...
    def set_title(self, title: str) -> None: ...

    def clock(self) -> float:
        return self.now

    def note(self) -> None:
        """Note the result of the first pass; corrections follow."""
        labels, truth = self.session.labels, self.truth
        right = sum(a == b for a, b in zip(labels, truth, strict=True))
        borders = [n for n in range(1, len(truth)) if truth[n] != truth[n - 1]]
        near = sum(
            all(labels[n] == truth[n] for n in range(len(truth)) if abs(n - border) == NEAR + 1) for border in borders
        )
        self.first_pass = (self.pressed, right / len(truth), near / max(1, len(borders)))


WAIT = -1
Way = Callable[[Person], Iterator[Any]]


def _plain(person: Person) -> Iterator[Any]:
    """A digit a frame."""
    for label in person.truth:
        yield str(label)


def _plain_with_nine(person: Person) -> Iterator[Any]:
    """A digit a frame, and 9 where the next ten are 0."""
    position = 0
    while position < len(person.truth):
        nine = person.truth[position : position + 10] == [0] * 10
        yield "9" if nine else str(person.truth[position])
        position += 10 if nine else 1


def _by_changes(person: Person) -> Iterator[Any]:
    """Shift and a digit up to a change, and its border is moved; or a digit a frame, where that costs less."""
    session, truth, changes = person.session, person.truth, person.pictures.changes
    border = 0  # before it was moved back: the change there is not gone to again
    while not session.at_end:
        at = session.cursor
        end = next((n for n in range(at, len(truth)) if truth[n] != truth[at]), len(truth))
        target = changes.after(max(at, border))
        too_far = max(0, target - end)
        if 1 + too_far < end - at:
            yield ord(str(truth[at])) | SHIFT << 16
            yield from "," * too_far
            border = target if too_far else 0
        else:
            yield from str(truth[at]) * (end - at)
            border = 0
    person.note()


def _while_playing(person: Person) -> Iterator[Any]:
    """Playing at the camera's speed, a digit where something else begins; then borders are gone through and moved.

    Where stretches are too short for that, they are labelled as `_by_changes` does it.
    """
    session, truth = person.session, person.truth
    if sum(a != b for a, b in pairwise(truth)) * SHORTEST > len(truth):
        yield from _by_changes(person)
        return
    yield "p"
    yield str(truth[0])
    seen = 0
    while not session.at_end:
        if truth[session.cursor] != truth[seen]:
            seen, due = session.cursor, person.now + max(0.15, person.random.gauss(*REACTION))
            while person.now < due and not session.at_end:
                yield WAIT
            yield str(truth[seen])
        else:
            yield WAIT
    person.note()
    yield HOME
    while (
        wrong := next((n for n in range(session.cursor, len(truth)) if session.labels[n] != truth[n]), None)
    ) is not None:
        yield from _correction(session, truth, wrong)


def _correction(session: Session, truth: Truth, wrong: int) -> list[Any]:
    """The keys that come nearer to a wrong frame, or correct it: a border moves, or frames are labelled one by one."""
    border, cursor = session.next_border(), session.cursor
    end = next((n for n in range(wrong, len(truth)) if session.labels[n] == truth[n]), len(truth))
    digits = [str(truth[n]) for n in range(wrong, end)]
    if border < wrong:
        keys: list[Any] = [PAGE_DOWN]
    elif border > wrong and border < len(truth) and session.labels[border] == truth[wrong]:  # it begins too late
        keys = [PAGE_DOWN, *"," * (border - wrong)]
    elif border == wrong:  # too early, or not at all
        keys = [PAGE_DOWN, *("." * (end - wrong) if session.labels[wrong - 1] == truth[wrong] else digits)]
    else:
        keys = [*_go_to(wrong), *digits]
    plainly = [str(truth[n]) for n in range(cursor, wrong)] + digits
    return min(keys, plainly, key=len) if border >= wrong else keys


def _go_to(position: int) -> Iterator[Any]:
    yield "g"
    yield from str(position + 1)
    yield 13


WAYS: dict[str, Way] = {
    "plain: a digit a frame": _plain,
    "plain: digits and 9": _plain_with_nine,
    "fast: stretches up to visible changes (T)": _by_changes,
    "fast: digits while playing (P)": _while_playing,
}


def _label(day: Path, truth: Truth, way: Way, seed: int) -> dict[str, float]:
    from classify.desk import Labelling
    from classify.pictures import Pictures
    from classify.window.view import Legend
    from classify.work import open_work

    person = Person(way, truth, seed)
    with open_work(day) as work:
        session = person.session = work.session
        pictures = person.pictures = Pictures(session.count, work.opened.read)
        while pictures.changes.known_until(0) < session.count:
            time.sleep(0.01)
        legend = Legend("demo", [(n, str(n), 0) for n in range(5)], 5)
        Labelling(work, pictures, legend, person, person.clock).run()
        work.journal.clear()
        pictures.close()
    wrong = sum(a != b for a, b in zip(session.labels, truth, strict=True))
    assert not wrong, f"{way.__name__}: {wrong} frames are labelled wrong"
    keys, right, near = person.first_pass or (person.pressed, 1.0, 1.0)
    return {
        "per_1000": 1000 * person.pressed / len(truth),
        "first_pass_per_1000": 1000 * keys / len(truth),
        "first_pass_right": right,
        "first_pass_borders_near": near,
        "seconds_played": person.now if way is _while_playing else 0.0,
    }


# ----------------------------------------------------------------------------------------------------- the command line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", metavar="RECORDING", nargs="?", type=Path, help="labelled; default: demo scene")
    parser.add_argument("--frames", type=int, default=2000, help="default: 2000")
    parser.add_argument("--seeds", type=int, default=2, help="rooms of the demo scene (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one object on stdout")
    args = parser.parse_args()
    if args.recording:
        found = measure([partial(_again, args.recording, args.frames)])
    else:
        found = measure(partial(_demo, seed, args.frames) for seed in range(args.seeds))
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        _show(found)
    if dear := [name for name, way in found.items() if way["per_1000"] > 1000]:
        sys.exit(f"more than a key a frame: {', '.join(dear)}")


def _show(found: dict[str, Any]) -> None:
    print("keystrokes per 1,000 frames, until every frame is labelled as the truth has it")
    for name, way in found.items():
        if name == "stretches":
            continue
        print(f"  {name:44} {way['per_1000']:7.1f}", end="")
        if way["seconds_played"]:
            right, near = way["first_pass_right"], way["first_pass_borders_near"]
            print(
                f"   ({way['first_pass_per_1000']:.1f} while playing: {right:.0%} right, {near:.0%} of borders", end=""
            )
            print(f" within {NEAR} frames; {way['seconds_played']:.0f} s)", end="")
        print()
    print(f"  {'stretches of one class':44} {found['stretches']['per_1000']:7.1f}")


if __name__ == "__main__":
    main()

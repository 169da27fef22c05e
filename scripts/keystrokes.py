#!/usr/bin/env python3
"""Measure labelling: keystrokes per 1,000 frames with the plain keys, the fast ones, and with help.

    python scripts/keystrokes.py [RECORDING] [--frames N] [--seeds N] [--weights FILE] [--json]

A scripted person, who sees what the window shows and knows the true labels, labels frames through the real labelling
loop: every key is an action, every label is journaled. The frames are those of RECORDING, real footage whose labels are
right, or of the demo scene. If RECORDING has no labels, a rule makes them: whether most of what moves is on the left,
in the middle or on the right. A key with Shift counts as one, and so does a click.

The plain and the fast ways end with every frame labelled as the truth has it; what is shown before that is how far
they got without corrections. With help (`A`, `M`), borders may be off by two frames. Then the person knows the classes
of those frames only that the window shows, large or small. What is wrong farther from a true border is counted.

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

WORTH_IT = 2  # sure runs; fewer are accepted one by one
SHIFT = 1  # its bit in the upper half of a key's code

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from classify.session import Session
    from storage.frame import Frame
    from storage.recording import Recording

Truth = list[int]


# ----------------------------------------------------------------------------------------------------------- keystrokes


def measure(recordings: Iterable[Callable[[Path], Truth]], weights: str) -> dict[str, Any]:
    """The ways of labelling, each with keystrokes per 1,000 frames and more, over some recordings to be made."""
    found: dict[str, list[dict[str, float]]] = {}
    stretches = []
    for seed, make in enumerate(recordings):
        with tempfile.TemporaryDirectory() as directory:
            truth = make(Path(directory, "day"))
            stretches.append(1000 * (1 + sum(a != b for a, b in pairwise(truth))) / len(truth))
            for name in WAYS:
                found.setdefault(name, []).append(_label(Path(directory, "day"), truth, name, seed, weights))
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
        if not any(labels):
            labels = _by_rule(recording, len(labels))
        numbers = {label: number for number, label in enumerate(sorted({label for label in labels if label}))}
        if None in labels or not labels or len(numbers) > 9:
            sys.exit(f"{path}: up to nine classes, and a label for each of the frames, are needed as the truth")
        return _make(day, ((recording.read(index), numbers[label]) for index, label in enumerate(labels) if label))


def _by_rule(recording: Recording, count: int) -> list[str | None]:
    """Where most of what differs from the usual picture is; the commonest of nine frames in a row."""
    import numpy as np
    from PIL import Image

    def small(index: int) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(recording.read(index).pixels).convert("L").resize((60, 45)), np.uint8)

    pictures = np.stack([small(index) for index in range(count)]).astype(np.int16)
    moving = np.abs(pictures - np.median(pictures[:: max(1, count // 100)], axis=0)) > 30
    thirds = np.stack([third.sum((1, 2)) for third in np.array_split(moving, 3, axis=2)], axis=1).argmax(1)
    around = [thirds[max(0, n - 4) : n + 5] for n in range(count)]
    return [str(np.bincount(near).argmax()) for near in around]


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

    size = (760, 712)

    def __init__(self, way: Way, truth: Truth, seed: int) -> None:
        self.now = 0.0
        self.is_open = True
        self.pressed = 0
        self.truth = truth
        self.random = random.Random(seed)
        self.session: Any = None
        self.pictures: Any = None
        self.labelling: Any = None
        self.learner: Any = None
        self.looks = False  # whether it presses no key before it has seen what the last one did
        self._clicked: tuple[int, int] | None = None
        self.first_pass: tuple[float, float, float] | None = None
        self._keys = way(self)

    def key(self, milliseconds: int) -> int | None:
        if self._clicked is not None or (self.looks and not milliseconds):
            return None  # the click comes first; or the loop asks for further keys, before it shows anything
        code = next(self._keys, None)
        if code is None:
            self.is_open = False
            return None
        if code == WAIT:
            self.now += max(1, milliseconds) / 1000
            return None
        self.pressed += 1
        self.now += 0.001
        if isinstance(code, tuple):
            self._clicked = code
            return None
        return code if isinstance(code, int) else ord(code)

    def listen(self) -> None:
        time.sleep(0.0002)

    def click(self) -> tuple[int, int, bool] | None:
        place, self._clicked = self._clicked, None
        return None if place is None else (*place, False)

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
            border = target if too_far else border
        else:
            yield from str(truth[at]) * (end - at)
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


def _helped(person: Person, *, model: bool = True, gate: bool = False, bisecting: bool = False) -> Iterator[Any]:
    """Enter or a digit for each run that is proposed, once its end is right."""
    from classify.assist import Asking

    person.looks = True
    if model:
        person.learner.start()
        while not (person.learner.is_ready or person.learner.has_failed):
            time.sleep(0.01)
            yield WAIT
    truth, assist = person.truth, person.labelling.assist
    yield "a"
    while assist.asking is not Asking.NOTHING or person.labelling.waits:
        if person.labelling.waits or (model and person.learner.is_busy):  # a person takes longer to look
            time.sleep(0.002)
            yield WAIT
        elif assist.run is None or assist.asking is not Asking.RUNS:
            yield WAIT if assist.asking is Asking.RUNS else str(truth[person.session.cursor])
        elif gate and assist.gate.is_open and len(assist.sure()) >= WORTH_IT:
            yield "w"
        else:
            yield _judged(person, bisecting=bisecting)
    person.note()


def _judged(person: Person, *, bisecting: bool) -> Any:
    """What a person does who sees a run: the small frames in it, and those behind its end."""
    from classify.session import NONE

    truth, assist = person.truth, person.labelling.assist
    cells, inside = assist.shown()
    seen = [truth[cell] for cell in cells]
    other = next((number for number, label in enumerate(seen) if label != seen[0]), len(seen))
    known_end = assist.run.stop < len(truth) and person.session.labels[assist.run.stop] != NONE
    if other < inside and bisecting:
        return "m"
    if other < inside or (inside < other < len(seen) and not known_end and not bisecting):
        return _small_frame(person, other)
    return 13 if seen[0] == assist.run.label else str(seen[0])


def _small_frame(person: Person, number: int) -> tuple[int, int]:
    """Where a small frame is in the window."""
    from classify.window.layout import lay_out, strip_cells

    strip = lay_out(*person.size).strip
    assert strip is not None
    left, top, width, height = strip_cells(strip, person.labelling.shown.view)[number]
    return left + width // 2, top + height // 2


WAYS: dict[str, Way] = {
    "plain: a digit a frame": _plain,
    "plain: digits and 9": _plain_with_nine,
    "fast: stretches up to visible changes (T)": _by_changes,
    "fast: digits while playing (P)": _while_playing,
    "runs (A), without a model": partial(_helped, model=False),
    "the same, runs halved in place of clicks (M)": partial(_helped, model=False, bisecting=True),
    "model (A), every run looked at": _helped,
    "model, sure runs unseen behind the gate (A, W)": partial(_helped, gate=True),
}
HELPED = [name for name, way in WAYS.items() if isinstance(way, partial) or way is _helped]


def _label(day: Path, truth: Truth, name: str, seed: int, weights: str) -> dict[str, float]:
    from classify.desk import Labelling
    from classify.learner import Learner
    from classify.pictures import Pictures
    from classify.window.view import Legend
    from classify.work import open_work

    way = WAYS[name]
    person = Person(way, truth, seed)
    helped, uses_model = name in HELPED, name.startswith("model")
    with open_work(day) as work:
        session = person.session = work.session
        pictures = person.pictures = Pictures(session.count, work.opened.read)
        while pictures.changes.known_until(0) < session.count:
            time.sleep(0.01)
        legend = Legend("demo", [(n, str(n), 0) for n in range(5)], 5)
        learner = person.learner = Learner(day, work.opened.indices, 5, weights=weights)
        person.labelling = Labelling(
            *(work, pictures, legend, person, person.clock),
            tolerance=NEAR if helped else 0,
            learner=learner if uses_model else None,
        )
        person.labelling.run()
        learner.close()
        work.journal.clear()
        pictures.close()
    borders = [n for n in range(1, len(truth)) if truth[n] != truth[n - 1]]
    excused = {n for border in borders for n in range(border - NEAR, border + NEAR)} if helped else set()
    wrong = sum(label != truth[n] and n not in excused for n, label in enumerate(session.labels))
    assert helped or not wrong, f"{name}: {wrong} frames are labelled wrong"
    keys, right, near = person.first_pass or (person.pressed, 1.0, 1.0)
    return {
        "per_1000": 1000 * person.pressed / len(truth),
        "wrong_per_1000": 1000 * wrong / len(truth),
        "first_pass_per_1000": 1000 * keys / len(truth),
        "first_pass_right": right,
        "first_pass_borders_near": near,
        "seconds_played": person.now if way is _while_playing else 0.0,
    }


# ----------------------------------------------------------------------------------------------------- the command line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", metavar="RECORDING", nargs="?", type=Path, help="labelled; default: demo scene")
    parser.add_argument("--frames", type=int, default=5000, help="default: 5000")
    parser.add_argument("--seeds", type=int, default=1, help="rooms of the demo scene (default: 1)")
    parser.add_argument(
        "--weights", default="imagenet", help="the network of the model; without it, small grey pictures"
    )
    parser.add_argument("--json", action="store_true", help="print one object on stdout")
    args = parser.parse_args()
    if args.recording:
        found = measure([partial(_again, args.recording, args.frames)], args.weights)
    else:
        found = measure((partial(_demo, seed, args.frames) for seed in range(args.seeds)), args.weights)
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        _show(found)
    if dear := [name for name, way in found.items() if way["per_1000"] > 1000]:
        sys.exit(f"more than a key a frame: {', '.join(dear)}")


def _show(found: dict[str, Any]) -> None:
    print("keystrokes per 1,000 frames, and frames wrong more than two frames from a border")
    for name, way in found.items():
        if name == "stretches":
            continue
        print(f"  {name:46} {way['per_1000']:7.1f} {way['wrong_per_1000']:6.1f} wrong", end="")
        if way["seconds_played"]:
            right, near = way["first_pass_right"], way["first_pass_borders_near"]
            print(
                f"   ({way['first_pass_per_1000']:.1f} while playing: {right:.0%} right, {near:.0%} of borders", end=""
            )
            print(f" within {NEAR} frames; {way['seconds_played']:.0f} s)", end="")
        print()
    print(f"  {'stretches of one class':46} {found['stretches']['per_1000']:7.1f}")


if __name__ == "__main__":
    main()

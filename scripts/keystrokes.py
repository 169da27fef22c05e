#!/usr/bin/env python3
"""Measure labelling: keystrokes per 1,000 frames with the plain keys and the fast ones, and what many frames cost.

    python scripts/keystrokes.py [--frames N] [--seeds N] [--json]
    python scripts/keystrokes.py --scale [--frames N] [--directory DIR] [--json]

Keystrokes: the demo scene is recorded with its true labels, and a scripted person, who sees what the window shows and
knows the truth, labels it through the real labelling loop: every key is an action, every label is journaled. Each way
ends with every frame labelled as the truth has it; what is shown before that is how far it got without corrections.
A key with Shift counts as one.

Scale: a data directory with many frames is opened in a real window on a screen that nobody sees (Xvfb), keys come from
`xdotool`, and times are taken from the start of the process to the first picture, from key to picture, and of S. What
a key's time goes to is told as well: the journal's disk, decoding, drawing, the window (the first three overlap), and
how long all threads together waited for a processor: where that is much, the machine was busy with something else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FPS = 30.0
SIZE = (128, 128)
REACTION = (0.35, 0.08)  # seconds from a change on the screen to the key: mean and standard deviation
NEAR = 2  # frames; a gesture takes nine to form, and where in that its label begins is anybody's choice
PAGE_UP, PAGE_DOWN, HOME = 0xFF55, 0xFF56, 0xFF50

Truth = list[int]


# ----------------------------------------------------------------------------------------------------------- keystrokes


def keystrokes(frames: int, seeds: int) -> dict[str, Any]:
    """The ways of labelling, each with keystrokes per 1,000 frames and more."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as directory:
            day = Path(directory, "demo")
            truth = _record_demo(day, frames, seed)
            for name, way in WAYS.items():
                found.setdefault(name, []).append(_label(day, truth, way, seed))
    return {
        name: {key: statistics.fmean(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()
    } | {"stretches": {"per_1000": statistics.fmean(_stretches(frames, seed) for seed in range(seeds))}}


def _record_demo(day: Path, frames: int, seed: int) -> Truth:
    """Record the demo scene; returns the true labels."""
    from pi_capture.sources.demo import draw
    from storage.formats.png.writer import PngWriter
    from storage.frame import Frame

    writer = PngWriter(day)
    truth = []
    for number in range(frames):
        pixels, label = draw(seed, number, FPS, SIZE)
        writer.append(writer.encode(Frame(pixels, number, round(number * 1e9 / FPS), {"label": label})))
        truth.append(label)
    writer.close()
    return truth


def _stretches(frames: int, seed: int) -> float:
    """Stretches of one class per 1,000 frames: what one key a stretch would come to."""
    from pi_capture.sources.demo import draw

    labels = [draw(seed, number, FPS, (16, 16))[1] for number in range(frames)]
    return 1000 * (1 + sum(a != b for a, b in pairwise(labels))) / frames


class Person:
    """Stands in for the window: presses the keys that a way of labelling wants, in a time of its own."""

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
        """The first pass is over: what comes now are corrections."""
        labels, truth = self.session.labels, self.truth
        right = sum(a == b for a, b in zip(labels, truth, strict=True))
        borders = [n for n in range(1, len(truth)) if truth[n] != truth[n - 1]]
        near = sum(
            all(labels[n] == truth[n] for n in range(len(truth)) if abs(n - border) == NEAR + 1) for border in borders
        )
        self.first_pass = (self.pressed, right / len(truth), near / len(borders))


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
    """T, then a digit a stretch; where a stretch ends wrong, the border is moved."""
    session, truth, changes = person.session, person.truth, person.pictures.changes
    yield "t"
    border = 0  # before it was moved back: the change there is not gone to again
    while not session.at_end:
        at = session.cursor
        end = next((n for n in range(at, len(truth)) if truth[n] != truth[at]), len(truth))
        target = changes.after(max(at, border))
        begun = at > 0 and session.labels[at - 1] == truth[at]
        if begun and end - at <= 1 + max(0, target - end):
            yield from "." * (end - at)
        else:
            yield str(truth[at])
            yield from "," * max(0, target - end)
            border = target if target > end else 0
            continue
        border = 0
    person.note()


def _while_playing(person: Person) -> Iterator[Any]:
    """Playing at the camera's speed, a digit where something else begins; then borders are gone through and moved."""
    session, truth = person.session, person.truth
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
    yield from _correct(person)


def _correct(person: Person) -> Iterator[Any]:
    """Go from border to border and move each to where it belongs; where that takes longer, label frames one by one."""
    session, truth = person.session, person.truth
    yield HOME
    while True:
        wrong = next((n for n in range(session.cursor, len(truth)) if session.labels[n] != truth[n]), None)
        if wrong is None:
            return
        border = session.next_border()
        if border > wrong:  # the new label begins too late: the border goes back
            if border == len(truth) or session.labels[border] != truth[wrong]:
                yield from _go_to(wrong)
                while session.labels[session.cursor] != truth[session.cursor]:
                    yield str(truth[session.cursor])
                continue
            yield PAGE_DOWN
            yield from "," * (border - wrong)
        elif border == wrong:  # too early: it goes on
            yield PAGE_DOWN
            end = next((n for n in range(wrong, len(truth)) if session.labels[n] == truth[n]), len(truth))
            if session.labels[wrong - 1] == truth[wrong]:
                yield from "." * (end - wrong)
            else:
                yield from (str(truth[n]) for n in range(wrong, end))
        else:
            yield PAGE_DOWN


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


# ---------------------------------------------------------------------------------------------------------------- scale

KEYS = ("0", "1", "9", "Right", "n", "exclam", "b", "u", "Next", "Escape", "2", "3", "space", "Up", "4", "y")

PARTS = ("journal", "decoding", "drawing", "window", "processor")

HARNESS = """
import json, os, resource, sys, time
started, out = float(sys.argv[1]), sys.argv[2]
from classify import cli, commit, pictures
    from classify.window.window import drawing, window
from storage.labels.journal import LabelJournal

times = {"first_picture": None, "keys": [], "moved": None}
pressed = None
parts = {}
real_show, real_key, real_move = window.Window.show, window.Window.key, commit.move_labelled

def timed(owner, name, part):
    real = getattr(owner, name)
    def method(*args):
        begin = time.monotonic()
        try:
            return real(*args)
        finally:
            parts[part] = parts.get(part, 0) + time.monotonic() - begin
    setattr(owner, name, method)

timed(LabelJournal, "append", "journal")
timed(LabelJournal, "sync", "journal")
timed(pictures.Pictures, "get", "decoding")
timed(drawing.Drawing, "draw", "drawing")

def queued():
    waits = 0
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/schedstat") as file:
            waits += int(file.read().split()[1])
    return waits / 1e9

def show(self, picture):
    global pressed
    begin = time.monotonic()
    real_show(self, picture)
    self.listen()
    now = time.monotonic()
    if times["first_picture"] is None:
        times["first_picture"] = now - started
    if pressed is not None:
        parts["window"] = now - begin
        times["keys"].append({**parts, "total": now - pressed, "processor": queued() - parts["processor"]})
        pressed = None

def key(self, milliseconds):
    global pressed
    code = real_key(self, milliseconds)
    if code is not None:
        parts.clear()
        parts["processor"] = queued()
        pressed = time.monotonic()
    return code

def move(*args):
    begin = time.monotonic()
    moved = real_move(*args)
    times["moved"] = time.monotonic() - begin
    return moved

window.Window.show, window.Window.key, commit.move_labelled = show, key, move
status = cli.main(sys.argv[3:])
times["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with open(out, "w") as file:
    json.dump(times, file)
sys.exit(status)
"""


def scale(frames: int, directory: Path) -> dict[str, Any]:
    """Open, label and sort a directory of many frames; times in seconds."""
    from storage.formats.png.directory import frame_name
    from storage.labels.current import DEFAULT
    from storage.labels.journal import LabelJournal, Labelled, journal_path

    day = directory / "many"
    _make_many(day, frames)
    with _screen() as display:
        environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(ROOT)}
        opened = [_run(day, environment, ["s"])["first_picture"] for _ in range(5)]
        keys = _run(day, environment, [key for _ in range(16) for key in KEYS], quit=False)
        with LabelJournal(journal_path(day)) as journal:
            names = [*map(frame_name, range(frames)), ""]
            journal.clear(
                DEFAULT, *(Labelled((name,), n % 5, after) for n, (name, after) in enumerate(pairwise(names)))
            )
        sorting = _run(day, environment, ["s"])
        begin = time.monotonic()
        command = [sys.executable, "-m", "classify", day, "--undo"]
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
        undone = time.monotonic() - begin
    latencies = sorted(key["total"] for key in keys["keys"])
    return {
        "frames": frames,
        "first_picture": min(opened),
        "first_picture_median": statistics.median(opened),
        "first_picture_with_all_labelled": sorting["first_picture"],
        "keys": len(latencies),
        "key_to_picture_median": statistics.median(latencies),
        "key_to_picture_99_percent": _share(latencies, 0.99),
        "key_to_picture_worst": latencies[-1],
        "parts": {
            part: {"median": _share(spent, 0.5), "99_percent": _share(spent, 0.99)}
            for part in PARTS
            for spent in [sorted(key.get(part, 0.0) for key in keys["keys"])]
        },
        "sorted": sorting["moved"],
        "taken_back": undone,
        "memory_mb": max(keys["memory_mb"], sorting["memory_mb"]),
    }


def _share(ascending: list[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def _make_many(day: Path, frames: int) -> None:
    """Frames of the demo scene under many names; a thousand are different, the rest are links to them."""
    from pi_capture.sources.demo import draw
    from storage.formats.png.codec import encode_png
    from storage.formats.png.directory import frame_name

    day.mkdir(parents=True)
    for number in range(min(frames, 1000)):
        texts = {"Timestamp": str(round(number * 1e9 / FPS))}
        (day / frame_name(number)).write_bytes(encode_png(draw(0, number, FPS, SIZE)[0], texts))
    for number in range(1000, frames):
        os.link(day / frame_name(number % 1000), day / frame_name(number))


@contextmanager
def _screen() -> Iterator[str]:
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1024x800x24", "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield f":{server.stdout.readline().strip()}"
        finally:
            server.terminate()


def _run(day: Path, environment: dict[str, str], keys: list[str], *, quit: bool = True) -> Any:
    """Run the labeller, press keys, six a second; it ends by the last of them, or by being closed."""
    with tempfile.NamedTemporaryFile() as out:
        command = [sys.executable, "-c", HARNESS, repr(time.monotonic()), out.name, str(day)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            window = ""
            while not window and process.poll() is None:
                time.sleep(0.3)
                window = _xdotool(environment, "search", "--name", " / ").split("\n")[-1]
            for key in keys:
                time.sleep(1 / 6)
                _xdotool(environment, "key", "--window", window, key)
            if not quit:
                process.send_signal(signal.SIGINT)
        return json.loads(out.read())


def _xdotool(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(["xdotool", *arguments], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip()


# ----------------------------------------------------------------------------------------------------- the command line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, help="default: 2000, or 100000 for --scale")
    parser.add_argument("--seeds", type=int, default=2, help="rooms of the demo scene (default: 2)")
    parser.add_argument("--scale", action="store_true", help="measure many frames instead of keystrokes")
    parser.add_argument("--directory", type=Path, help="where the frames for --scale are made (default: temporary)")
    parser.add_argument("--json", action="store_true", help="print one object on stdout")
    args = parser.parse_args()
    if args.scale:
        with tempfile.TemporaryDirectory(dir=args.directory) as directory:
            found = scale(args.frames or 100_000, Path(directory))
    else:
        found = keystrokes(args.frames or 2000, args.seeds)
    if args.json:
        print(json.dumps(found, indent=1))
    elif args.scale:
        _tell_scale(found)
    else:
        _tell_keystrokes(found)


def _tell_keystrokes(found: dict[str, Any]) -> None:
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


def _tell_scale(found: dict[str, Any]) -> None:
    print(f"{found['frames']:,} frames")
    print(f"  start to first picture    {found['first_picture']:.2f} s (median {found['first_picture_median']:.2f} s)")
    print(f"  with every frame labelled {found['first_picture_with_all_labelled']:.2f} s")
    print(f"  key to picture            {1000 * found['key_to_picture_median']:.1f} ms median, ", end="")
    print(
        f"{1000 * found['key_to_picture_99_percent']:.1f} ms 99 %, {1000 * found['key_to_picture_worst']:.1f} ms worst"
    )
    for part, spent in found["parts"].items():
        print(f"    {part:12} {1000 * spent['median']:6.1f} ms median, {1000 * spent['99_percent']:5.1f} ms 99 %")
    print(f"  S                         {found['sorted']:.1f} s; taken back in {found['taken_back']:.1f} s")
    print(f"  memory                    {found['memory_mb']:.0f} MB")


if __name__ == "__main__":
    main()

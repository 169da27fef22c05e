#!/usr/bin/env python3
"""Measure what many frames cost the labeller: from the start to the first picture, from a key to its picture, and S.

    python scripts/many_frames.py [--frames N] [--busy N] [--directory DIR] [--json]

A data directory with many frames is opened in a real window on a screen that is not shown (Xvfb), and keys come from
`xdotool`. The parts of a key's time are measured as well: the journal's disk, decoding, drawing and the window (the
first three overlap), and how long all threads together waited for a processor: a long wait means that the machine was
busy. From a key to its picture is measured again with 10,000 of them, while the learner learns and while it rests.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FPS = 30.0
SIZE = (128, 128)
KEYS = ("0", "1", "9", "Right", "n", "exclam", "b", "u", "Next", "Escape", "2", "3", "space", "Up", "4", "y")

LEARNT = 10_000  # frames that are learnt from while keys are pressed
PARTS = ("journal", "decoding", "drawing", "window", "processor")

HARNESS = """
import json, os, resource, sys, threading, time
started, out = float(sys.argv[1]), sys.argv[2]
from classify import cli, commit, learner, pictures
from classify.window import drawing, window
from storage.labels.journal import LabelJournal

times = {"first_picture": None, "keys": [], "moved": None, "lessons": 0}
pressed = restless = None
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
        print("shown", flush=True)
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
        parts["learning"] = restless is not None and restless.is_busy
        pressed = time.monotonic()
    return code

def move(*args):
    begin = time.monotonic()
    moved = real_move(*args)
    times["moved"] = time.monotonic() - begin
    return moved

window.Window.show, window.Window.key, commit.move_labelled = show, key, move

class Restless(learner.Learner):
    def __init__(self, path, indices, classes, **options):
        super().__init__(path, indices, classes, **options)
        self.start()
        threading.Thread(target=self.learn_on, args=(len(indices), classes), daemon=True).start()

    def learn_on(self, count, classes):
        global restless
        while not self.is_ready:
            time.sleep(0.1)
        print("ready", flush=True)
        restless = self
        labels = bytes(255 if n % 3 else n // 40 % classes for n in range(count))
        while True:  # it learns for a second, and rests for a second
            until = time.monotonic() + 1
            while time.monotonic() < until:
                self.learn(labels)
                while self.is_busy:
                    time.sleep(0.001)
                times["lessons"] += 1
            time.sleep(1)

if "LEARNING" in os.environ:
    learner.Learner = Restless
status = cli.main(sys.argv[3:])
times["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
with open(out, "w") as file:
    json.dump(times, file)
sys.exit(status)
"""


def measure(frames: int, directory: Path) -> dict[str, Any]:
    """Open, label and sort a directory of many frames; times in seconds."""
    from storage.formats.png.directory import frame_name
    from storage.labels.beside import journal_path
    from storage.labels.classes import DEFAULT
    from storage.labels.journal import LabelJournal, Labelled
    from tests.support.labeller import desktop_of

    day = directory / "many"
    _make_many(day, frames)
    with desktop_of("1024x800") as display:
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
        few = directory / "few"
        _make_many(few, min(frames, LEARNT))
        learning = _run(few, {**environment, "LEARNING": "1"}, list(KEYS) * 6, quit=False)
    return {
        "frames": frames,
        "first_picture": min(opened),
        "first_picture_median": statistics.median(opened),
        "first_picture_with_all_labelled": sorting["first_picture"],
        **_latencies(keys["keys"]),
        "learner": {
            "frames": min(frames, LEARNT),
            "lessons": learning["lessons"],
            "learns": _latencies([key for key in learning["keys"] if key["learning"]]),
            "rests": _latencies([key for key in learning["keys"] if not key["learning"]]),
        },
        "parts": {
            part: {"median": _share(spent, 0.5), "99_percent": _share(spent, 0.99)}
            for part in PARTS
            for spent in [sorted(key.get(part, 0.0) for key in keys["keys"])]
        },
        "sorted": sorting["moved"],
        "taken_back": undone,
        "memory_mb": max(keys["memory_mb"], sorting["memory_mb"]),
    }


@contextmanager
def _computing(count: int) -> Iterator[None]:
    """With so many processes beside it that take all the processor time they get."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _latencies(keys: list[dict[str, float]]) -> dict[str, float]:
    latencies = sorted(key["total"] for key in keys)
    return {
        "keys": len(latencies),
        "key_to_picture_median": statistics.median(latencies),
        "key_to_picture_99_percent": _share(latencies, 0.99),
        "key_to_picture_worst": latencies[-1],
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


def _run(day: Path, environment: dict[str, str], keys: list[str], *, quit: bool = True) -> Any:
    """Run the labeller, press keys, six a second; it ends by the last of them, or by being closed."""
    with tempfile.NamedTemporaryFile() as out:
        command = [sys.executable, "-c", HARNESS, repr(time.monotonic()), out.name, str(day)]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            window = ""
            while not window and process.poll() is None:
                time.sleep(0.3)
                window = _xdotool(environment, "search", "--name", " / ").split("\n")[-1]
            awaited = {"shown", "ready"} if "LEARNING" in environment else {"shown"}  # ready: the frames are described
            while awaited and (line := process.stdout.readline()):
                awaited.discard(line.strip())
            _xdotool(environment, "windowactivate", "--sync", window)
            # One process for all keys: to start one for each would take the processor from what is measured.
            with subprocess.Popen(["xdotool", "-"], env=environment, stdin=subprocess.PIPE, text=True) as keyboard:
                assert keyboard.stdin is not None
                for key in keys:
                    time.sleep(1 / 6)
                    print("key", key, file=keyboard.stdin, flush=True)
            if not quit:
                process.send_signal(signal.SIGINT)
        return json.loads(out.read())


def _xdotool(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(["xdotool", *arguments], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--busy", type=int, default=0, help="processes beside it that only compute (default: none)")
    parser.add_argument("--directory", type=Path, help="where the frames are made (default: a temporary directory)")
    parser.add_argument("--json", action="store_true", help="print one object on stdout")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as directory, _computing(args.busy):
        found = measure(args.frames, Path(directory))
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    print(f"{found['frames']:,} frames")
    print(f"  start to first picture    {found['first_picture']:.2f} s (median {found['first_picture_median']:.2f} s)")
    print(f"  with every frame labelled {found['first_picture_with_all_labelled']:.2f} s")
    print(f"  key to picture            {_text(found)}")
    learner = found["learner"]
    print(f"    with {learner['frames']:,} frames, {learner['lessons']} lessons")
    for does in ("rests", "learns"):
        print(f"    the learner {does:12} {_text(learner[does])}")
    for part, spent in found["parts"].items():
        print(f"    {part:12} {1000 * spent['median']:6.1f} ms median, {1000 * spent['99_percent']:5.1f} ms 99 %")
    print(f"  S                         {found['sorted']:.1f} s; taken back in {found['taken_back']:.1f} s")
    print(f"  memory                    {found['memory_mb']:.0f} MB")


def _text(found: dict[str, Any]) -> str:
    median, most, worst = (1000 * found[f"key_to_picture_{share}"] for share in ("median", "99_percent", "worst"))
    return f"{median:.1f} ms median, {most:.1f} ms 99 %, {worst:.1f} ms worst"


if __name__ == "__main__":
    main()

"""A real window on a real X display, driven by real keys: what a person does, and what is in the directory then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from storage.frame import Frame
from storage.png import PngWriter

FRAMES = 30


@pytest.fixture(scope="module")
def desktop() -> Iterator[str]:
    """The name of an X display with room for the window."""
    assert shutil.which("Xvfb") and shutil.which("xdotool"), "scripts/test.sh installs xvfb and xdotool"
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A directory, with a space in its name, of frames that get brighter."""
    writer = PngWriter(tmp_path / "day 1")
    for n in range(FRAMES):
        pixels = np.full((32, 32, 3), 5 * n, np.uint8)
        writer.append(writer.encode(Frame(pixels, n, n * 10**8)))
    writer.close()
    return tmp_path / "day 1"


def classify(day: Path, *options: str, display: str | None) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    if display is not None:
        environment["DISPLAY"] = display
    command = [sys.executable, "-m", "classify", str(day), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Person:
    """Sits in front of the window."""

    def __init__(self, day: Path, display: str, *options: str) -> None:
        self.display = display
        self.process = classify(day, *options, display=display)
        self.window = ""
        self.wait_for(lambda: bool(self._find()), "no window appeared")

    def _find(self) -> str:
        self.window = self._xdotool("search", "--name", f"/ +{FRAMES} - ").split("\n")[0]
        return self.window

    def _xdotool(self, *arguments: str) -> str:
        command = ["xdotool", *arguments]
        environment = {**os.environ, "DISPLAY": self.display}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout.strip()

    def wait_for(self, condition: Callable[[], bool], complaint: str) -> None:
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until, f"{complaint}; the title is {self.title()!r}"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        self._xdotool("key", "--window", self.window, "--delay", "30", *keys)

    def title(self) -> str:
        return self._xdotool("getwindowname", self.window) if self.window else ""

    def sees(self, beginning: str) -> None:
        """Wait until the title begins like this, spaces apart."""
        self.wait_for(lambda: " ".join(self.title().split()).startswith(beginning), f"{beginning!r} does not show")

    def ends(self, status: int = 0) -> str:
        out, err = self.process.communicate(timeout=20)
        assert self.process.returncode == status, err
        assert "Traceback" not in err
        return out + err

    def loses_the_connection(self) -> None:
        """As when an ssh session breaks off: the X server does not answer any more."""
        self._xdotool("windowkill", self.window)
        self.process.communicate(timeout=20)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def numbers(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("*.png"))


def classes(day: Path) -> dict[str, list[int]]:
    return {path.name: numbers(path) for path in sorted(day.iterdir()) if path.is_dir()}


def test_the_keys_of_the_guide(day: Path, desktop: str) -> None:
    person = Person(day, desktop)
    person.sees("1 / 30 - ")
    person.press("0", "1", "2", "3", "4")
    person.sees("6 / 30 - ")
    person.press("Escape", "Escape")
    person.sees("4 / 30 - ")
    person.press("1", "KP_2")
    person.sees("6 / 30 - ")
    person.press("9")
    person.sees("16 / 30 - ")
    before = {path: path.read_bytes() for path in day.glob("*.png")}
    person.press("space", "space", "space")
    person.press("Right", "Left", "Up", "Down")  # no arrow saves, whatever its code ends in
    person.sees("16 / 30 - ")
    assert {path: path.read_bytes() for path in day.glob("*.png")} == before
    assert classes(day) == {}
    person.press("s")
    person.ends()
    assert classes(day) == {"0": [0, *range(5, 15)], "1": [1, 3], "2": [2, 4]}
    assert numbers(day) == list(range(15, 30))


def test_escape_on_the_first_frame_and_the_batch_at_the_end(day: Path, desktop: str) -> None:
    person = Person(day, desktop)
    person.press("Escape", "Escape")
    person.sees("1 / 30 - ")
    person.press("9", "9", "9", "9")
    time.sleep(0.3)
    person.press("S")
    person.ends()
    assert classes(day) == {"0": list(range(30))}


@pytest.mark.parametrize("end", ["disconnect", "kill"])
def test_what_was_labelled_is_there_again(day: Path, desktop: str, end: str) -> None:
    person = Person(day, desktop)
    person.press("0", "1", "2", "u")
    person.sees("3 / 30 - ")
    if end == "disconnect":
        person.loses_the_connection()
    else:
        person.kill()
    assert classes(day) == {} and numbers(day) == list(range(30))
    person = Person(day, desktop)
    person.sees("3 / 30 - ")
    person.press("y", "4")  # what was undone before the end can be redone
    person.sees("5 / 30 - ")
    person.press("s")
    person.ends()
    assert classes(day) == {"0": [0], "1": [1], "2": [2], "4": [3]}


def test_an_unreadable_frame(day: Path, desktop: str) -> None:
    (day / "00000001.png").write_bytes(b"no picture")
    person = Person(day, desktop)
    person.press("0")
    person.sees("2 / 30 - error reading")
    assert "00000001.png" in person.title()
    person.press("3")  # passes it, and labels nothing
    person.sees("3 / 30 - ")
    person.press("2", "s")
    person.ends()
    assert classes(day) == {"0": [0], "2": [2]}
    assert (day / "00000001.png").read_bytes() == b"no picture"


def test_names_a_second_session_and_taking_back(day: Path, desktop: str) -> None:
    options = ("--classes", "none,door", "--class-dirs", "names")
    person = Person(day, desktop, *options)
    second = classify(day, display=desktop)
    out, err = second.communicate(timeout=20)
    assert second.returncode == 1 and len(err.splitlines()) == 1 and out == "", err
    person.press("0", "1", "5")  # there is no class 5
    person.sees("3 / 30 - ")
    person.press("s")
    person.ends()
    assert classes(day) == {"door": [1], "none": [0]}
    assert classify(day, "--undo", display=None).wait(20) == 0
    assert classes(day) == {} and numbers(day) == list(range(30))
    person = Person(day, desktop, *options)
    person.press("s")  # the labels came back as well
    person.ends()
    assert classes(day) == {"door": [1], "none": [0]}


def test_no_screen_is_one_clear_line(day: Path) -> None:
    for display in (None, ":97"):
        process = classify(day, display=display)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 1 and out == ""
        assert len(err.splitlines()) == 1 and "ssh -X" in err, err
    assert {path.name for path in day.iterdir() if path.suffix != ".png"} <= {"recording.json", "labels.jsonl"}


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_nothing_to_label_is_one_clear_line(tmp_path: Path, what: str, desktop: str) -> None:
    target = tmp_path / what
    if what == "empty":
        target.mkdir()
    if what == "file":
        target.write_text("no recording")
    process = classify(target, display=desktop)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1 and out == "" and len(err.splitlines()) == 1, err
    assert what != "empty" or list(target.iterdir()) == []

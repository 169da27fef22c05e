"""The keys that label more than a frame, in the real window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage.formats.png.writer import PngWriter
from storage.frame import Frame
from tests.support.labeller import Person, classes

SCENES = (0, 20, 45, 60)  # where each begins; the last is the end


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Three scenes of stripes: nothing changes within one, everything from one to the next."""
    writer = PngWriter(tmp_path / "day")
    for n in range(SCENES[-1]):
        scene = sum(n >= begins for begins in SCENES[1:-1])
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:, scene * 20 : scene * 20 + 16] = 200
        writer.append(writer.encode(Frame(pixels, n, n * 10**8)))
    writer.close()
    return tmp_path / "day"


def test_stretches_up_to_changes(day: Path, desktop: str) -> None:
    person = Person(day, desktop)
    person.press("n")
    person.sees("21 / 60")
    person.press("b")
    person.sees("1 / 60")
    person.press("exclam")  # Shift and 1
    person.sees("21 / 60")
    person.press("t", "2")
    person.sees("46 / 60")
    person.press("u")
    person.sees("21 / 60")
    person.press("y")
    person.sees("46 / 60")
    person.press("comma")  # the border that was just made
    person.sees("45 / 60")
    person.press("3")
    person.sees("60 / 60")
    person.press("s")
    person.ends()
    assert classes(day) == {"1": [*range(20)], "2": [*range(20, 44)], "3": [*range(44, 60)]}


def test_holding_a_class_while_jumping_and_going_to_a_frame(day: Path, desktop: str) -> None:
    person = Person(day, desktop)
    person.press("r", "4", "n")
    person.sees("21 / 60")
    person.press("r", "g", "5", "1", "Return")
    person.sees("51 / 60")
    person.press("2", "Prior")  # to the border before
    person.sees("51 / 60")
    person.press("Home")
    person.sees("1 / 60")
    person.press("x", "f")
    person.sees("21 / 60")
    person.press("Next")
    person.sees("51 / 60")
    person.press("h", "h", "End")
    person.sees("60 / 60")
    person.press("s")
    person.ends()
    assert classes(day) == {"2": [50], "4": [*range(1, 20)]}


def test_playing_with_a_class_held_to_the_end_and_back(day: Path, desktop: str) -> None:
    person = Person(day, desktop)
    person.press("plus", "plus", "plus", "r", "1", "p")
    person.sees("60 / 60")
    person.press("r", "g", "2", "1", "Return")
    person.sees("21 / 60")
    person.press("r", "0", "o")
    person.sees("1 / 60")
    person.press("0", "s")  # the frame that one sees has not been passed over yet
    person.ends()
    found = classes(day)
    assert found["0"] == [*range(22)] and found["1"] == [*range(22, 60)]


def test_a_click_on_the_timeline(day: Path, desktop: str) -> None:
    person = Person(day, desktop)
    person.press("Right", "Right")
    person.sees("3 / 60")  # now it has its size
    person.click(14 + 732 // 2, 712 - 30 - 16 + 6)
    person.sees("31 / 60")
    person.closes_the_window()
    person.ends()
    assert classes(day) == {}
    person = Person(day, desktop)  # where one was
    person.sees("31 / 60")
    person.press("g", "4", "9", "Return", "z")  # 15 of 60 frames are shown, from the 40th on
    person.click(14 + 732 // 2, 712 - 30 - 16 + 6)
    person.sees("47 / 60")
    person.kill()


def test_a_click_comes_before_the_key_after_it(day: Path, desktop: str) -> None:
    person = Person(day, desktop)
    person.press("Right", "Right")
    person.sees("3 / 60")
    with person.program_held_up():
        person.click(14 + 732 // 2, 712 - 30 - 16 + 6)
        person.key("4")
    person.sees("32 / 60")
    person.press("s")
    person.ends()
    assert classes(day) == {"4": [30]}


def test_a_click_on_a_class(day: Path, desktop: str) -> None:
    person = Person(day, desktop, "--classes", "none,door,light")
    person.press("Right", "h", "g", "7")
    person.sees("2 / 60")
    left, first, pitch = 760 - 14 - 206, 14 + 52 + 15, 34
    person.click(left + 15, first + 2 * pitch)  # labels, and types no digit
    person.sees("3 / 60")
    person.click(left + 150, first + pitch)
    person.sees("4 / 60")
    person.click(left + 15, first + 3 * pitch)  # there is no such class
    person.press("0", "s")
    person.ends()
    assert classes(day) == {"none": [3], "door": [2], "light": [1]}


def test_times_and_stretches_of_the_same_class(day: Path, desktop: str) -> None:
    person = Person(day, desktop)
    person.press("g", "0", "colon", "0", "4", "Return")  # ten frames a second
    person.sees("41 / 60")
    person.press("g", "0", "period", "0", "2", "Return")
    person.sees("21 / 60")
    person.press("1", "1", "2", "1", "Left", "c")
    person.sees("24 / 60")
    person.press("v")
    person.sees("22 / 60")
    person.press("c", "c", "v", "v")  # no further one: it stays
    person.sees("22 / 60")
    person.press("g", "9", "colon", "Return")
    person.sees("60 / 60")
    person.kill()

"""A real window on a real X display, driven by real keys: what a person does, and what is in the directory then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import PATIENCE_SECONDS
from tests.support.labeller import Person, classes, classify, desktop_of, numbers, record_brightening

FRAMES = 30


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A directory, with a space in its name, of frames that get brighter."""
    record_brightening(tmp_path / "day 1", FRAMES)
    return tmp_path / "day 1"


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
    person.press("S")
    person.ends()
    assert classes(day) == {"0": list(range(30))}


@pytest.mark.parametrize("end", ["close", "disconnect", "kill"])
def test_what_was_labelled_is_there_again(day: Path, desktop: str, end: str) -> None:
    person = Person(day, desktop)
    person.press("0", "1", "2", "u")
    person.sees("3 / 30 - ")
    if end == "close":
        person.closes_the_window()
        assert "nothing was moved" in person.ends()
    elif end == "disconnect":
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
    out, err = second.communicate(timeout=PATIENCE_SECONDS)
    assert second.returncode == 1 and len(err.splitlines()) == 1 and out == "", err
    person.press("0", "1", "5")  # there is no class 5
    person.sees("3 / 30 - ")
    person.press("s")
    person.ends()
    assert classes(day) == {"door": [1], "none": [0]}
    assert classify(day, "--undo", display=None).wait(PATIENCE_SECONDS) == 0
    assert classes(day) == {} and numbers(day) == list(range(30))
    person = Person(day, desktop, *options)
    person.press("s")  # the labels came back as well
    person.ends()
    assert classes(day) == {"door": [1], "none": [0]}


@pytest.mark.parametrize("screen", ["1024x600", "640x400"])
def test_the_window_fits_a_small_screen(day: Path, screen: str) -> None:
    with desktop_of(screen, managed=False) as desktop:
        person = Person(day, desktop)
        x, y, width, height = person.window_box()
        right, bottom = map(int, screen.split("x"))
        assert min(x, y) >= 0 and x + width <= right and y + height <= bottom
        person.press("1", "s")
        person.ends()
    assert classes(day) == {"1": [0]}


def test_a_window_manager_keeps_the_frame_on_the_screen(day: Path) -> None:
    with desktop_of("800x480") as desktop:
        person = Person(day, desktop)

        def fits() -> bool:
            box = person.frame_box()
            if box is None or person.window_box()[2:] != (760, 432):
                return False
            x, y, width, height = box
            return min(x, y) >= 0 and x + width <= 800 and y + height <= 480

        person.wait_for(fits, "the window or its frame is beyond the screen")
        person.press("1", "s")
        person.ends()
    assert classes(day) == {"1": [0]}


def test_no_screen_is_one_clear_line(day: Path) -> None:
    for display in (None, ":97"):
        process = classify(day, display=display)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 1 and out == ""
        assert len(err.splitlines()) == 1 and "ssh -X" in err, err
        assert ("python -m pi_capture studio" in err) == (display is None)
    assert {path.name for path in day.iterdir() if path.suffix != ".png"} <= {"recording.json", "labels.jsonl"}


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_nothing_to_label_is_one_clear_line(tmp_path: Path, what: str, desktop: str) -> None:
    target = tmp_path / what
    if what == "empty":
        target.mkdir()
    if what == "file":
        target.write_text("no recording")
    process = classify(target, display=desktop)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1 and out == "" and len(err.splitlines()) == 1, err
    assert what != "empty" or list(target.iterdir()) == []

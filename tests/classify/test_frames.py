"""What may lie in a directory: odd names, links, bombs, files that are no pictures, frames that went elsewhere."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from storage.cli import main as storage
from tests.support import PATIENCE_SECONDS, REPOSITORY
from tests.support.labelled import everything, record
from tests.support.labeller import Person, classes, classify, record_brightening

ODD = [
    "00001.png",  # as the reference names them
    "00002.PNG",
    "99999999.png",
    "100000000.png",
    " two  spaces .png",
    "$(touch HACKED); `id` & rm -rf *.png",
    'it\'s "quoted".png',
    "line\nbreak.png",
    "naïve 猫.png",
    "-rf.png",
]


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 60000x60000 pixels."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def test_odd_names_are_moved_and_nothing_else(tmp_path: Path, desktop: str) -> None:
    day = tmp_path / "it's $(a) day"
    record_brightening(day, 1)
    data = (day / "00000000.png").read_bytes()
    (day / "00000000.png").unlink()
    for name in ODD:
        (day / name).write_bytes(data + name.encode())
    (tmp_path / "secret.png").write_bytes(data)
    (day / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "elsewhere").mkdir()
    (day / "5").symlink_to(tmp_path / "elsewhere")
    (day / "notes.txt").write_text("not a picture")
    person = Person(day, desktop)
    person.sees("1 / 10 - ")  # the links are not shown
    person.press("9")
    person.sees("10 / 10 - ")
    person.press("s")
    person.ends()
    assert {path.name: path.read_bytes() for path in (day / "0").iterdir()} == {
        name: data + name.encode() for name in ODD
    }
    assert (day / "link.png").is_symlink() and (day / "notes.txt").is_file()
    assert (tmp_path / "secret.png").read_bytes() == data and not list((tmp_path / "elsewhere").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([day.name, "secret.png", "elsewhere"])


def test_numbers_that_outgrow_their_width_stay_in_order(tmp_path: Path, desktop: str) -> None:
    day = tmp_path / "day"
    record_brightening(day, 3)
    for old, new in (("00000000", "99999999"), ("00000001", "100000000"), ("00000002", "100000001")):
        (day / f"{old}.png").rename(day / f"{new}.png")
    person = Person(day, desktop)
    person.press("0", "1", "2", "s")
    person.ends()
    assert classes(day) == {"0": [99999999], "1": [100000000], "2": [100000001]}


def test_bombs_and_what_is_no_picture_are_refused(tmp_path: Path, desktop: str) -> None:
    day = tmp_path / "day"
    record_brightening(day, 4)
    (day / "00000001.png").write_bytes(bomb())
    (day / "00000002.png").write_bytes(b"#!/bin/sh\n")
    person = Person(day, desktop)
    person.press("0")
    person.sees("2 / 4 - error reading")
    with open(f"/proc/{person.process.pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 500_000  # kB; the bomb would have been 10 GB
    person.press("1")
    person.sees("3 / 4 - error reading")
    assert "not a picture" in person.title()
    person.press("Right", "3", "s")
    person.ends()
    assert classes(day) == {"0": [0], "3": [3]}


def test_frames_that_were_split_off_meanwhile(tmp_path: Path, desktop: str) -> None:
    """Labels of frames that are somewhere else by now do no harm, and the rest can go on."""
    day = tmp_path / "day"
    record(day, [*(name for name in "0123" * 10 for _ in range(10)), *[None] * 4])
    person = Person(day, desktop, "--relabel")
    person.press("1", "1", "1", "End", "4")
    person.sees("404 / 404")
    person.kill()
    frames = sum(name.endswith(".png") for name in everything(day))
    assert storage(["split", str(day), "--val", "0.2", "--gap", "1"]) == 0
    left = sum(name.endswith(".png") for name in everything(day))
    assert left < frames
    person = Person(day, desktop)  # it goes on with what was to be relabelled
    person.sees(f"{left} / {left}")
    person.press("s")
    assert "Traceback" not in person.ends()
    assert sum(name.endswith(".png") for name in everything(day)) == left
    assert [path.name for path in (day / "4").iterdir()] == ["00000403.png"]
    assert storage(["split", str(day), "--undo"]) == 0
    assert sum(name.endswith(".png") for name in everything(tmp_path)) == frames


def test_nine_classes_the_keypad_and_a_second_look(tmp_path: Path, desktop: str) -> None:
    day = tmp_path / "day"
    record_brightening(day, 12)
    person = Person(day, desktop, "--classes", "9")
    person.press(*(f"KP_{number}" for number in range(9)), "8", "Right", "7")
    person.sees("12 / 12 - ")
    person.press("s")
    person.ends()
    assert classes(day) == {**{str(n): [n] for n in range(7)}, "7": [7, 11], "8": [8, 9]}
    person = Person(day, desktop, "--classes", "9", "--relabel")
    person.press("g", "1", "Return", "5", "x", "s")
    out = person.ends()
    assert "without a class again 1" in out
    found = classes(day)
    assert sum(map(len, found.values())) == 10 and len(list(day.glob("*.png"))) == 2
    assert all(found.values()), "an empty directory would be a class"


SUNK = {
    "offscreen": ({"QT_QPA_PLATFORM": "offscreen"}, "unset it"),
    "wayland only": ({"WAYLAND_DISPLAY": "wayland-0", "QT_QPA_PLATFORM": "wayland"}, "xwayland"),
}


@pytest.mark.parametrize("how", SUNK)
def test_a_desktop_that_can_show_no_window(tmp_path: Path, how: str) -> None:
    record_brightening(tmp_path / "day", 2)
    variables, advice = SUNK[how]
    process = classify(tmp_path / "day", display=None, **variables)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1 and out == "" and len(err.splitlines()) == 1 and advice in err, err


def test_wayland_with_x_beside_it(tmp_path: Path, desktop: str) -> None:
    """Raspberry Pi OS says wayland; the Qt in OpenCV's wheels would end the program at that."""
    record_brightening(tmp_path / "day", 2)
    person = Person(tmp_path / "day", desktop, WAYLAND_DISPLAY="wayland-0", QT_QPA_PLATFORM="wayland")
    person.press("1", "s")
    person.ends()
    assert classes(tmp_path / "day") == {"1": [0]}


OPENCVS = {
    "without windows": (
        'def getBuildInformation():\n    return "  GUI:                           NONE\\n"\n', "opencv-python-headless"
    ),
    "without libSM": (
        "def getBuildInformation():\n    return '  GUI:  QT5'\n", "apt install libgl1 libglib2.0-0 libsm6"
    ),
    "without libGL": ('raise ImportError("libGL.so.1: cannot open shared object file")\n', "apt install libgl1"),
}  # fmt: skip


@pytest.mark.parametrize("which", OPENCVS)
def test_an_opencv_that_can_show_no_window(tmp_path: Path, desktop: str, which: str) -> None:
    record_brightening(tmp_path / "day", 2)
    source, advice = OPENCVS[which]
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/cv2.py").write_text(source)
    plugins = tmp_path / "modules/qt/plugins/platforms"
    if which == "without libSM":  # what Qt can't load, it aborts at
        plugins.mkdir(parents=True)
        (plugins / "libqxcb.so").write_bytes(b"not what it was")
    path = os.pathsep.join([str(tmp_path / "modules"), str(REPOSITORY)])
    process = classify(tmp_path / "day", display=desktop, PYTHONPATH=path)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1 and out == "" and len(err.splitlines()) == 1 and advice in err, err


@pytest.mark.parametrize("instead", ["nothing", "another one", "a file"])
def test_a_directory_that_was_moved_away_meanwhile(tmp_path: Path, desktop: str, instead: str) -> None:
    day = tmp_path / "day1"
    record_brightening(day, 4)
    person = Person(day, desktop)
    person.press("0", "1")
    day.rename(tmp_path / "elsewhere")
    if instead == "another one":
        record_brightening(day, 1)
    elif instead == "a file":
        day.write_text("no recording")
    before = everything(tmp_path)
    person.press("s")
    assert "nothing was changed" in person.ends(status=1)
    assert everything(tmp_path) == before
    person = Person(tmp_path / "elsewhere", desktop)  # the labels went along
    person.sees("3 / 4")
    person.press("s")
    person.ends()
    assert classes(tmp_path / "elsewhere") == {"0": [0], "1": [1]}

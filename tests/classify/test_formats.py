"""Labelling recordings that are one file: the labels go into it, or beside it where it is somebody else's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from pi_capture import Recorder
from storage.formats.table import open_recording
from tests.conftest import picture, write_video
from tests.support.labeller import Person

LABELS = ["0", "door", None, "door", *[None] * 4]


def make(path: Path) -> None:
    if path.suffix == ".mp4":
        write_video(path, [Fraction(n, 10) for n in range(8)], codec="mpeg4", unit=Fraction(1, 10))
        return
    with Recorder(path) as recorder:
        for n in range(8):
            recorder.write(picture(n, (64, 64)))


@pytest.mark.parametrize("name", ["day1.h5", "day1.mkv", "day1.mp4"])
def test_labels_of_a_file(tmp_path: Path, desktop: str, name: str) -> None:
    path = tmp_path / name
    make(path)
    foreign = path.read_bytes() if path.suffix == ".mp4" else None
    options = ("--classes", "0,door", "--class-dirs", "names")
    person = Person(path, desktop, *options)
    person.press("0", "1", "Right", "1")
    person.sees("5 / 8")
    person.kill()
    person = Person(path, desktop)  # it knows the classes
    person.sees("5 / 8")
    person.press("s")
    assert "0 1, door 2" in person.ends()
    assert list(open_recording(path).labels) == LABELS
    assert foreign is None or path.read_bytes() == foreign
    person = Person(path, desktop, *options)  # and what is labelled can be labelled again
    person.press("Home", "1", "s")
    person.ends()
    assert list(open_recording(path).labels) == ["door", *LABELS[1:]]


@pytest.mark.parametrize("name", ["day1.h5", "day1.mkv"])
def test_a_file_that_was_recorded_into_meanwhile(tmp_path: Path, desktop: str, name: str) -> None:
    path = tmp_path / name
    make(path)
    person = Person(path, desktop)
    person.press("0", "1")
    make(path)
    person.press("s")
    assert "8 labels for 16 frames" in person.ends(status=1)
    assert not any(open_recording(path).labels)
    person = Person(path, desktop)
    person.sees("3 / 16")  # the labels are there, and so are the new frames
    person.press("2", "s")
    person.ends()
    assert list(open_recording(path).labels) == ["0", "1", "2", *[None] * 13]

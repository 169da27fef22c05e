"""A label journal stays with its recording: another one that gets the same name does not take its labels over."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from classify.session import NONE
from classify.work import open_work
from pi_capture import Recorder
from storage.cli import main
from storage.errors import StorageError
from storage.formats.table import open_recording
from storage.labels.beside import journal_path
from storage.labels.current import labels_as_they_stand
from storage.labels.journal import LabelJournal, Labelled
from storage.labels.origins import origins
from tests.conftest import picture, write_video

NAMES = ("day", "day.h5", "day.mkv", "day.mp4")
WAITING = ["1", "1", "0", None, None, None]


def record(path: Path, seed: int = 0) -> Path:
    if path.suffix == ".mp4":
        times = [Fraction(n, 10) for n in range(6)]
        write_video(path, times, codec="mpeg4", unit=Fraction(1, 10), size=(64, 48 + seed))
        return path
    with Recorder(path) as recorder:
        for n in range(6):
            recorder.write(picture(seed + n, (64, 48)))
    return path


def label(path: Path) -> None:
    with open_work(path) as work:
        for number in (1, 1, 0):
            change = work.session.label(number)
            assert change is not None
            work.keeper.keep(change, work.session.cursor)
        work.journal.sync()


def standing(path: Path) -> list[str | None]:
    with open_recording(path) as recording:
        return labels_as_they_stand(recording)


def replace(path: Path, other: Path) -> None:
    """What ``mv``, or emptying a directory and recording into it anew, leaves."""
    if not path.is_dir():
        shutil.move(other, path)
        return
    for file in path.iterdir():
        if file.name != "labels.jsonl":
            file.unlink()
    shutil.copytree(other, path, dirs_exist_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_another_recording_of_the_name_gets_no_label(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(tmp_path / name)
    label(path)
    assert standing(path) == WAITING
    replace(path, record(tmp_path / f"other{path.suffix}", 50))
    journal = journal_path(path)
    kept = journal.read_bytes()

    for action in (open_work, standing):
        with pytest.raises(StorageError, match="is of another recording"):
            action(path)
    table = tmp_path / "given.csv"
    table.write_text("begin,end,label\n0,0.2,2\n")
    commands = [
        (1, ["labels", str(path), "--export", str(tmp_path / "out.csv")]),
        (1, ["labels", str(path), "--import", str(table)]),
        (1, ["convert", str(path), str(tmp_path / "new.mkv")]),
        (1, ["extract", str(path), str(tmp_path / "new")]),
        (1, ["train", str(path), "-o", str(tmp_path / "new.model")]),
        (3, ["verify", str(path)]),
        (0, ["info", str(path)]),
    ]
    for status, command in commands:
        capsys.readouterr()
        assert main(command) == status, command
        told = capsys.readouterr()
        assert "is of another recording" in told.out + told.err, command
        assert "not saved yet" not in told.out
    assert journal.read_bytes() == kept
    assert not any((tmp_path / made).exists() for made in ("out.csv", "new.mkv", "new"))
    with open_recording(path) as recording:
        assert not any(origins(recording)) and not any(recording.labels)
    journal.rename(tmp_path / "away")
    with open_work(path) as work:
        assert set(work.session.labels) == {NONE}


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_keeps_its_labels_whatever_becomes_of_it(tmp_path: Path, name: str) -> None:
    path = record(tmp_path / name)
    label(path)
    assert main(["verify", "--repair", str(path)]) == 0
    renamed = tmp_path / f"later{path.suffix}"
    journal_path(path).rename(journal_path(renamed) if path.is_file() else journal_path(path))
    path.rename(renamed)
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for file in tmp_path.glob("later*"):
        (shutil.copytree if file.is_dir() else shutil.copy)(file, copy / file.name)
    assert standing(renamed) == standing(copy / renamed.name) == WAITING
    if path.suffix != ".mp4":
        record(renamed, 20)
        assert standing(renamed) == WAITING + [None] * 6
    with open_work(renamed) as work:
        assert work.session.labelled == 3
    if path.suffix in (".mkv", ".h5"):
        table = tmp_path / "given.csv"
        table.write_text("begin,end,label\n")
        assert main(["labels", str(renamed), "--import", str(table)]) == 0  # writes those that wait into the file
        label(renamed)
        assert standing(renamed)[:3] == WAITING[:3]


@pytest.mark.parametrize("name", NAMES)
def test_a_journal_of_an_older_version_opens_and_is_noted_from_then_on(tmp_path: Path, name: str) -> None:
    path = record(tmp_path / name)
    number = ".png" if path.is_dir() else ""
    journal_path(path).write_text(
        '{"labels":1,"journal":"5f3a09c2"}\n'
        '{"classes":["0","1"],"directories":["0","1"]}\n'
        f'{{"label":1,"frames":[["00000000{number}",2]]}}\n{{"label":0,"frames":["00000002{number}"]}}\n'
    )
    assert standing(path) == WAITING
    with open_work(path) as work:
        assert work.session.labelled == 3
    label(path)
    replace(path, record(tmp_path / f"other{path.suffix}", 50))
    with pytest.raises(StorageError, match="is of another recording"):
        open_work(path)


def test_nothing_is_added_to_a_journal_that_says_of_no_recording(tmp_path: Path) -> None:
    """As where nothing is left to restore after an undo."""
    path = tmp_path / "labels.jsonl"
    with LabelJournal(path) as journal:
        journal.append(Labelled((("00000000.png", 1),), 1))
    written = path.read_bytes()
    with LabelJournal(path) as journal:
        journal.append()
    assert path.read_bytes() == written

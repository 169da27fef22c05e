"""Labels keep their class by its name, whatever the order of the names and of the directories the next time."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest

from classify.cli import main as classify
from classify.commit import Placement, move_labelled, take_back
from classify.work import open_work
from pi_capture import Recorder
from storage.cli import main as storage
from storage.errors import StorageError
from storage.formats.table import open_recording
from storage.labels.beside import journal_path
from storage.labels.classes import choose_classes, known_classes, renumbered
from storage.labels.current import labels_as_they_stand
from storage.labels.journal import Classes, Entry, LabelJournal, Labelled

FRAMES = 9


def record(path: Path) -> None:
    with Recorder(path, fps=5) as recorder:
        for number in range(FRAMES):
            recorder.write(np.full((8, 8, 3), 9 * number, np.uint8), timestamp=number / 5)


def keep(path: Path, *entries: Entry) -> None:
    with LabelJournal(journal_path(path)) as journal:
        journal.append(*entries)
        journal.sync()


def entries_of(path: Path) -> list[Entry]:
    with LabelJournal(journal_path(path)) as journal:
        return journal.entries


def given(path: Path, *numbers: int) -> list[Entry]:
    return [Labelled((f"{frame:08d}.png",), number) for frame, number in enumerate(numbers)]


def test_a_journal_with_names_in_two_orders(tmp_path: Path) -> None:
    record(tmp_path / "day2")
    first, second = Classes(("cat", "dog", "owl"), tuple("012")), Classes(("owl", "cat", "dog"), tuple("201"))
    keep(tmp_path / "day2", first, *given(tmp_path, 0, 1, 2), second, Labelled(("00000003.png",), 0))
    with open_recording(tmp_path / "day2") as recording:
        assert labels_as_they_stand(recording)[:4] == ["0", "1", "2", "2"]
    shown = renumbered(entries_of(tmp_path / "day2"), second)
    assert [entry.label for entry in shown if isinstance(entry, Labelled)] == [1, 2, 0, 0]


@pytest.mark.parametrize("order", list(itertools.permutations(("cat", "dog", "owl"))))
def test_names_that_come_in_another_order_keep_their_directories(order: tuple[str, ...]) -> None:
    entries = [Classes(("cat", "dog", "owl"), tuple("012")), Labelled(("a.png",), 2)]
    chosen = choose_classes(Path("day2"), entries, order)
    assert dict(zip(chosen.names, chosen.directories, strict=True)) == {"cat": "0", "dog": "1", "owl": "2"}


def test_a_new_class_takes_no_directory_of_another() -> None:
    entries: list[Entry] = [Classes(("cat", "dog"), tuple("01"))]
    chosen = choose_classes(Path("day2"), entries, ["cat", "owl", "dog"], in_use=["0", "1", "2"])
    assert chosen.directories == ("0", "3", "1")


def test_numbers_get_names_by_their_keys() -> None:
    entries: list[Entry] = [Labelled(("a.png",), 1)]  # as in a journal without names
    chosen = choose_classes(Path("day2"), entries, ["cat", "dog"], in_use=["0"])
    assert chosen == Classes(("cat", "dog"), ("0", "1"))
    later = [*entries, chosen, Classes(("dog", "cat"), ("1", "0"))]
    assert known_classes(later).names == ("dog", "cat")
    assert [e.label for e in renumbered(later, known_classes(later)) if isinstance(e, Labelled)] == [0]


@pytest.mark.parametrize(
    ("entries", "in_use", "by_name", "places"),
    [
        ([], [], None, ("cat", "dog")),
        ([Labelled(("a.png",), 1)], [], None, ("cat", "dog")),  # labelled by number, not sorted yet
        ([], ["dog"], None, ("cat", "dog")),
        ([], [], False, ("0", "1")),
        ([], ["1"], None, ("0", "1")),
        ([Classes(("cat",), ("0",))], [], None, ("0", "1")),
        ([Classes(("cat", "dog"), ("0", "1"))], [], True, ("cat", "dog")),
    ],
)
def test_directories_have_the_names_that_are_given_unless_there_are_numbered_ones(
    entries: list[Entry], in_use: list[str], by_name: bool | None, places: tuple[str, str]
) -> None:
    chosen = choose_classes(Path("day2"), entries, ("cat", "dog"), in_use=in_use, by_name=by_name)
    assert chosen == Classes(("cat", "dog"), places)


def test_frames_in_a_numbered_directory_are_not_left_behind_by_names() -> None:
    with pytest.raises(StorageError, match="frames of class 'dog' are in '1' already; leave --class-dirs out"):
        choose_classes(Path("day2"), [], ("cat", "dog"), in_use=["1"], by_name=True)


def test_names_are_given_once(tmp_path: Path) -> None:
    record(tmp_path / "day2")
    open_work(tmp_path / "day2", classes=("owl", "cat")).close()  # and no label
    with open_work(tmp_path / "day2") as work:
        assert work.opened.classes == Classes(("owl", "cat"), ("owl", "cat"))


def test_numbered_directories_are_shown_by_name_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day, video = tmp_path / "day2", tmp_path / "day2.mkv"
    record(day)
    sort(day, ("owl", "cat"))
    split = ["split", str(day), "--gap", "0", "--dry-run", "--allow-missing"]
    for arguments, shown in (
        (["convert", str(day), str(video)], ""),
        (["export", str(video), str(tmp_path / "files")], ""),
        (["merge", str(tmp_path / "all"), str(day)], "(owl (0) 1, cat (1) 1)"),
        (split, "  owl (0)  "),
        ([*split, "--json"], '"name": "cat"'),
        (["split", str(day)], ""),
    ):
        assert storage(arguments) == (1 if arguments == ["split", str(day)] else 0)
        told = capsys.readouterr()
        assert shown in told.out
    assert "classes owl (0), cat (1) would be missing" in told.err
    for name in ("frames.csv", "labels.csv"):
        with (tmp_path / "files" / name).open(newline="") as file:
            assert [row["class"] for row in csv.DictReader(file) if row["class"]] == ["owl", "cat"], name


@pytest.mark.parametrize(
    ("entries", "in_use", "told"),
    [
        ([Classes(("cat", "dog"), tuple("01")), Labelled(("a.png",), 1)], [], "labels of class 'dog'"),
        ([Classes(("cat", "dog"), tuple("01"))], ["1"], "frames of class 'dog' in '1'"),
        ([Labelled(("a.png",), 4)], [], "give 5 classes or more"),
    ],
)
def test_a_name_in_use_is_not_left_out(entries: list[Entry], in_use: list[str], told: str) -> None:
    with pytest.raises(StorageError, match=told):
        choose_classes(Path("day2"), entries, ["cat", "owl"], in_use=in_use)


def test_the_command_refuses_and_changes_nothing(
    tmp_path: Path, desktop: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISPLAY", desktop)
    day = tmp_path / "day2"
    record(day)
    keep(day, Classes(("cat", "dog"), tuple("01")), *given(day, 1, 1))
    before = journal_path(day).read_bytes()
    assert classify([str(day), "--classes", "cat,owl"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "'dog'" in told
    assert journal_path(day).read_bytes() == before


def test_undo_of_sorting_brings_labels_back_by_name(tmp_path: Path) -> None:
    day = tmp_path / "day2"
    record(day)
    then, now = Classes(("cat", "dog"), ("cat", "dog")), Classes(("owl", "dog", "cat"), ("owl", "dog", "cat"))
    with LabelJournal(journal_path(day)) as journal:
        move_labelled(day, journal, [Placement("00000004.png", 0, "cat"), Placement("00000005.png", 1, "dog")], then)
    with LabelJournal(journal_path(day)) as journal:
        journal.append(now, Labelled(("00000006.png",), 0))
    with LabelJournal(journal_path(day)) as journal:
        take_back(day, journal)
    with open_recording(day) as recording:
        assert labels_as_they_stand(recording)[4:7] == ["cat", "dog", "owl"]
    assert known_classes(entries_of(day)).names == now.names


@pytest.mark.parametrize("target", ["out.h5", "out.mkv", "out"])
def test_names_and_their_order_go_along_with_a_conversion(tmp_path: Path, target: str) -> None:
    day, out = tmp_path / "day2", tmp_path / target
    record(day)
    keep(day, Classes(("owl", "cat", "dog"), tuple("012")), *given(day, 2, 1, 0))
    assert storage(["convert", str(day), str(out)]) == 0
    assert known_classes(entries_of(out)) == Classes(("owl", "cat", "dog"), tuple("012"))


def test_the_numbers_of_classes_in_hdf5_are_those_of_the_recording(tmp_path: Path) -> None:
    record(tmp_path / "day2.mkv")
    keep(tmp_path / "day2.mkv", Classes(("owl", "cat", "dog"), ("owl", "cat", "dog")), Labelled((("00000000", 3),), 2))
    assert storage(["convert", str(tmp_path / "day2.mkv"), str(tmp_path / "day2.h5")]) == 0
    with open_recording(tmp_path / "day2.h5") as recording:
        assert recording.class_names == ["owl", "cat", "dog"]
        assert recording.labels[:4] == ["dog", "dog", "dog", None]


def test_files_of_labels_have_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day, other, table = tmp_path / "day2", tmp_path / "day3", tmp_path / "labels.csv"
    for path, names in ((day, ("cat", "dog")), (other, ("dog", "cat"))):
        record(path)
        keep(path, Classes(names, tuple("01")), *(given(path, 0, 1) if path == day else ()))
    assert storage(["labels", str(day), "--export", str(table)]) == 0
    assert "cat" in table.read_text()
    assert storage(["labels", str(other), "--import", str(table)]) == 0
    with open_recording(other) as recording:
        assert labels_as_they_stand(recording)[:3] == ["1", "0", None]
    table.write_text("start,end,class\n0.9,1.1,1\n")
    assert storage(["labels", str(other), "--import", str(table)]) == 1
    assert "class '1', which is called 'cat' here" in capsys.readouterr().err


def sort(path: Path, names: tuple[str, ...]) -> None:
    """Frame n, of n as many as there are classes, into class n."""
    with LabelJournal(journal_path(path)) as journal:
        placements = [Placement(f"{n:08d}.png", n, str(n)) for n in range(len(names))]
        move_labelled(path, journal, placements, Classes(names, tuple(map(str, range(len(names))))))


def test_directories_are_merged_by_the_names_of_their_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, classes in (("a", ("cat", "dog", "owl")), ("b", ("cat", "owl", "dog")), ("c", ("fox", "cat"))):
        record(tmp_path / name)
        sort(tmp_path / name, classes)
    out = tmp_path / "out"
    assert storage(["merge", str(out), str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    names = {int(path.name[:8]): path.parent.name for path in out.rglob("*.png")}
    assert list(names.values()).count("1") == 2 and names[FRAMES + 1] == "2" and names[FRAMES + 2] == "1"
    assert known_classes(entries_of(out)) == Classes(("cat", "dog", "owl"), tuple("012"))
    for _ in range(2):  # that it is repeated changes nothing
        assert storage(["merge", str(out), str(tmp_path / "c")]) == 0
        assert known_classes(entries_of(out)) == Classes(("cat", "dog", "owl", "fox"), tuple("0123"))
        assert sorted(path.parent.name for path in out.rglob("*.png")) == list("00011223")


def test_what_is_held_out_knows_its_classes(tmp_path: Path) -> None:
    day = tmp_path / "day2"
    record(day)
    with LabelJournal(journal_path(day)) as journal:
        placements = [Placement(f"{n:08d}.png", n % 2, str(n % 2)) for n in range(FRAMES)]
        move_labelled(day, journal, placements, Classes(("owl", "cat"), ("0", "1")))
    options = ("--val", "0.4", "--gap", "0s", "--stretch", "0.4s", "--allow-missing")
    assert storage(["split", str(day), *options]) == 0
    assert known_classes(entries_of(tmp_path / "val_day2")) == Classes(("owl", "cat"), ("0", "1"))
    assert storage(["split", str(day), "--undo"]) == 0
    assert not (tmp_path / "val_day2").exists()


def test_sorting_is_not_undone_while_frames_are_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day2"
    record(day)
    with LabelJournal(journal_path(day)) as journal:
        placements = [Placement(f"{n:08d}.png", n % 2, str(n % 2)) for n in range(FRAMES)]
        move_labelled(day, journal, placements, Classes(tuple("01"), tuple("01")))
    assert storage(["split", str(day), "--val", "0.4", "--gap", "0", "--stretch", "0.4", "--allow-missing"]) == 0
    before = sorted(path for path in tmp_path.rglob("*"))
    capsys.readouterr()
    assert classify([str(day), "--undo"]) == 1
    assert "is split; take that back first" in capsys.readouterr().err
    assert sorted(path for path in tmp_path.rglob("*")) == before

"""Applying the labels and taking that back, interrupted at any system call; and directories that make it difficult."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from classify.cli import main
from classify.commit import DEFAULT, Placement, finish, move_labelled
from classify.keeper import Keeper
from classify.session import NONE, Session
from storage.errors import StorageError
from storage.formats.png.reader import PngReader
from storage.labels.beside import journal_path
from storage.labels.history import replay
from storage.labels.journal import LabelJournal, Labelled
from tests.storage.durable.test_moves import as_nobody
from tests.support import PATIENCE_SECONDS, REPOSITORY
from tests.support.labelled import everything
from tests.support.labeller import Person, classes, classify, record_brightening

FRAMES = 6
LABELS = bytes([0, 1, 0, 2, NONE, NONE])

SAVE = """
import sys; from pathlib import Path
from tests.classify.test_commit import save
save(Path(sys.argv[1]))
"""


def label(day: Path, labels: bytes = LABELS) -> None:
    """Label the frames as a window does it."""
    names = PngReader(day).names
    session = Session(len(names))
    with LabelJournal(journal_path(day)) as journal:
        keeper = Keeper(journal, names, DEFAULT, 0)
        for number in labels.rstrip(bytes([NONE])):
            change = session.label(number)
            assert change is not None
            keeper.keep(change, session.cursor)
        journal.sync()


def labels_in_journal(day: Path) -> dict[str, int]:
    """The labels of frames that are not sorted."""
    names = [name for name in PngReader(day).names if "/" not in name]
    session = Session(len(names))
    with LabelJournal(journal_path(day)) as journal:
        replay(session, names, journal.entries)
    return {name: label for name, label in zip(names, session.labels, strict=True) if label != NONE}


def save(day: Path) -> None:
    """What S does."""
    placements = [Placement(name, number, str(number)) for name, number in labels_in_journal(day).items()]
    with LabelJournal(journal_path(day)) as journal:
        finish(day, journal)
        move_labelled(day, journal, placements, DEFAULT)


def pictures(day: Path) -> dict[str, bytes]:
    return {name: data for name, data in everything(day).items() if name.endswith(".png")}


def run(day: Path, program: list[str], call: str, fault: str) -> int:
    """Run a program with a fault in one of its system calls; returns how it ended."""
    strace = ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:{fault}"]
    done = subprocess.run(
        [*strace, sys.executable, *program, str(day)],
        cwd=REPOSITORY, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode in (0, -9, 137) or "StorageError" in done.stderr or "classify: " in done.stderr, done.stderr
    return done.returncode


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    record_brightening(tmp_path / "labelled", FRAMES)
    label(tmp_path / "labelled")
    return tmp_path / "labelled"


SORTED = {"0/00000000.png", "1/00000001.png", "0/00000002.png", "2/00000003.png", "00000004.png", "00000005.png"}
WANTED = {f"{n:08d}.png": LABELS[n] for n in range(4)}


def is_whole(day: Path, before: dict[str, bytes]) -> None:
    """Every frame is there once, as it was."""
    assert {Path(name).name: data for name, data in pictures(day).items()} == before
    assert len(pictures(day)) == len(before), "a frame is in two places"


OFTEN = ("renameat2", "ftruncate")
SOMETIMES = ("pwrite64", "write", "fdatasync", "fsync", "mkdir", "rmdir", "unlink")


@pytest.mark.parametrize("call", [*OFTEN, *(pytest.param(call, marks=pytest.mark.slow) for call in SOMETIMES)])
@pytest.mark.parametrize("what", ["S", "undo"])
def test_killed_at_any_system_call(labelled: Path, tmp_path: Path, what: str, call: str) -> None:
    assert shutil.which("strace"), "scripts/test.sh installs strace"
    before = pictures(labelled)
    if what == "undo":
        save(labelled)
        assert set(pictures(labelled)) == SORTED and labels_in_journal(labelled) == {}
    program = ["-c", SAVE] if what == "S" else ["-m", "classify", "--undo"]
    day, kills = tmp_path / "day", 0
    for number in range(1, 60):
        shutil.rmtree(day, ignore_errors=True)
        shutil.copytree(labelled, day)
        killed = run(day, program, call, f"signal=KILL:when={number}") != 0
        kills += killed
        is_whole(day, before)
        with LabelJournal(journal_path(day)) as journal:  # the next start
            finish(day, journal)
        is_whole(day, before)
        if set(pictures(day)) == SORTED:
            assert labels_in_journal(day) == {} and (killed or what == "S")
            assert main(["--undo", str(day)]) == 0
        else:
            assert killed or what == "undo"
        assert pictures(day) == before and labels_in_journal(day) == WANTED
        assert not [path for path in day.iterdir() if path.is_dir()]
        save(day)
        assert set(pictures(day)) == SORTED and labels_in_journal(day) == {}
        if not killed:
            break
    assert kills or call in ("rmdir", "unlink", "mkdir"), f"{call} is not used at all"


def test_the_next_start_completes_what_was_interrupted(labelled: Path, desktop: str) -> None:
    before = pictures(labelled)
    assert run(labelled, ["-c", SAVE], "renameat2", "signal=KILL:when=3") != 0
    assert set(pictures(labelled)) not in (set(before), SORTED)
    person = Person(labelled, desktop)
    person.sees("1 / 2 - ")
    assert set(pictures(labelled)) == SORTED
    person.closes_the_window()
    assert "what was interrupted last time is complete now" in person.ends()
    is_whole(labelled, before)


@pytest.mark.parametrize("call", ["renameat2", "fsync"])
def test_a_disk_that_fails_half_way(labelled: Path, call: str) -> None:
    before = pictures(labelled)
    assert run(labelled, ["-c", SAVE], call, "error=EIO:when=2+") == 1
    is_whole(labelled, before)
    with LabelJournal(journal_path(labelled)) as journal:
        finish(labelled, journal)
    if set(pictures(labelled)) != SORTED:
        assert labels_in_journal(labelled) == WANTED
        save(labelled)
    assert set(pictures(labelled)) == SORTED and labels_in_journal(labelled) == {}
    is_whole(labelled, before)


def test_a_class_directory_that_may_not_be_written_to(tmp_path: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:  # where everybody may go
        Path(directory).chmod(0o755)
        day = Path(directory, "day")
        record_brightening(day, FRAMES)
        label(day)
        (day / "0").mkdir()
        for path in day.rglob("*"):
            path.chmod(0o777)
        day.chmod(0o777)
        (day / "0").chmod(0o555)
        before = everything(day)
        assert as_nobody(lambda: save(day)).endswith("may not be written to; nothing was moved")
        assert pictures(day) == {name: data for name, data in before.items() if name.endswith(".png")}
        assert labels_in_journal(day) == WANTED


def test_a_class_directory_on_another_disk(labelled: Path) -> None:
    before = pictures(labelled)
    (labelled / "0").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(labelled / "0")], check=True)
    try:
        save(labelled)
        assert set(pictures(labelled)) == SORTED
        is_whole(labelled, before)
        assert main(["--undo", str(labelled)]) == 0
        assert pictures(labelled) == before and labels_in_journal(labelled) == WANTED
    finally:
        subprocess.run(["umount", str(labelled / "0")], check=True)


def test_a_class_directory_that_leads_elsewhere(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (labelled / "0").symlink_to(tmp_path / "outside")
    before = everything(labelled)
    with pytest.raises(StorageError, match=r"symbolic link.*nothing was moved"):
        save(labelled)
    assert everything(labelled) == before and not list((tmp_path / "outside").iterdir())


def test_a_taken_name_is_kept(labelled: Path) -> None:
    """Two recordings that began to count at 0, as the reference makes them."""
    (labelled / "0").mkdir()
    (labelled / "0/00000000.png").write_bytes(b"somebody else's")
    mine = (labelled / "00000000.png").read_bytes()
    save(labelled)
    assert (labelled / "0/00000000.png").read_bytes() == b"somebody else's"
    assert (labelled / "0/00000000-2.png").read_bytes() == mine
    assert main(["--undo", str(labelled)]) == 0
    assert (labelled / "00000000.png").read_bytes() == mine and labels_in_journal(labelled) == WANTED


def test_labels_that_wait_for_sorted_frames_are_not_left_behind(
    labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(labelled)
    with LabelJournal(journal_path(labelled)) as journal:
        journal.append(Labelled(("1/00000001.png",), 2))
        journal.sync()
    before = everything(labelled)
    assert main(["--undo", str(labelled)]) == 1
    assert "new labels of sorted frames" in capsys.readouterr().err and everything(labelled) == before


def test_sorting_and_sorting_again_are_undone_one_after_the_other(labelled: Path) -> None:
    save(labelled)
    with LabelJournal(journal_path(labelled)) as journal:
        move_labelled(labelled, journal, [Placement("1/00000001.png", 2, "2")], DEFAULT)
    assert main(["--undo", str(labelled)]) == main(["--undo", str(labelled)]) == 0
    assert classes(labelled) == {} and labels_in_journal(labelled) == WANTED


def test_nothing_to_undo_is_one_clear_line(tmp_path: Path) -> None:
    record_brightening(tmp_path / "day", 2)
    process = classify(tmp_path / "day", "--undo", display=None)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1 and out == "" and len(err.splitlines()) == 1 and "nothing to undo" in err
    assert classes(tmp_path / "day") == {} and not list((tmp_path / "day").glob("*.jsonl"))

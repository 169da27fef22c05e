"""Journaled moves: whatever happens, every file is there once, at one end of its way, and nothing is overwritten."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.durable.files import free_name
from storage.durable.moves import complete, is_interrupted, last_facts, move_file, move_files, undo
from storage.errors import StorageError
from tests.support import REPOSITORY
from tests.support.labelled import everything


def make(day: Path, names: list[str]) -> None:
    for name in names:
        (day / name).parent.mkdir(parents=True, exist_ok=True)
        (day / name).write_text(f"this was {name}")


def contents(root: Path) -> list[bytes]:
    return sorted(data for name, data in everything(root).items() if data and not name.endswith("journal"))


# ------------------------------------------------------------------------------------------------- moving, undoing


def test_there_and_back(tmp_path: Path) -> None:
    names = [f"{number:08d}.png" for number in range(10)]
    make(tmp_path, names)
    before = everything(tmp_path)
    journal = tmp_path / "journal"
    moved = move_files(journal, [(name, f"{number % 3}/{name}") for number, name in enumerate(names)], facts={"a": 1})
    assert (moved.count, moved.renamed, moved.missing) == (10, {}, [])
    assert sorted(p.name for p in (tmp_path / "1").iterdir()) == ["00000001.png", "00000004.png", "00000007.png"]
    assert not list(tmp_path.glob("*.png"))
    assert last_facts(journal) == {"a": 1} and complete(journal) is None and not is_interrupted(journal)
    assert undo(journal).count == 10
    assert everything(tmp_path) == before
    with pytest.raises(StorageError, match="nothing to undo"):
        undo(journal)


def test_batches_are_undone_one_by_one(tmp_path: Path) -> None:
    make(tmp_path, ["a", "b"])
    states = [everything(tmp_path)]
    for source, target in [("a", "0/a"), ("b", "0/b"), ("0/a", "1/a")]:
        move_files(tmp_path / "journal", [(source, target)], facts={"to": target})
        states.append(everything(tmp_path))
    for state, facts in zip(reversed(states[:-1]), ["1/a", "0/b", "0/a"], strict=True):
        assert last_facts(tmp_path / "journal") == {"to": facts}
        undo(tmp_path / "journal")
        assert everything(tmp_path) == state


def test_a_taken_name_is_kept_and_the_next_free_one_given(tmp_path: Path) -> None:
    make(tmp_path, ["00000042.png", "0/00000042.png", "0/00000042-2.png", "1/00000042.png"])
    before = everything(tmp_path)
    pairs = [("00000042.png", "0/00000042.png"), ("1/00000042.png", "0/00000042.png")]
    moved = move_files(tmp_path / "journal", pairs)
    assert moved.renamed == {"0/00000042.png": "0/00000042-4.png"} and moved.count == 2
    after = everything(tmp_path)
    assert after["0/00000042.png"] == before["0/00000042.png"]
    assert after["0/00000042-3.png"] == before["00000042.png"]
    assert after["0/00000042-4.png"] == before["1/00000042.png"]
    assert "1/" not in after  # a class without frames would be one to Keras
    make(tmp_path, ["00000042.png"])  # somebody took the old name
    assert undo(tmp_path / "journal").renamed == {"00000042.png": "00000042-2.png"}
    after = everything(tmp_path)
    assert after.pop("00000042-2.png") == before["00000042.png"]
    assert after == {**before, "00000042.png": b"this was 00000042.png"}


def test_what_is_gone_is_told_and_the_rest_is_moved(tmp_path: Path) -> None:
    make(tmp_path, ["a", "b", "elsewhere"])
    (tmp_path / "link").symlink_to("elsewhere")
    moved = move_files(tmp_path / "journal", [(name, f"0/{name}") for name in ("a", "gone", "link", "b")])
    assert moved.missing == ["gone", "link"] and moved.count == 2
    (tmp_path / "0/a").unlink()
    back = undo(tmp_path / "journal")
    assert back.count == 1 and back.missing == ["0/a"] and (tmp_path / "b").is_file()


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..", "journal")
)


@given(st.lists(names, min_size=1, max_size=8, unique=True), st.lists(names, max_size=4), st.data())
@settings(max_examples=40)
def test_any_names(sources: list[str], taken: list[str], data: st.DataObject) -> None:
    sources = ["x" + name for name in sources if len(name.encode()) < 200]
    with tempfile.TemporaryDirectory() as directory:
        day = Path(directory)
        make(day, [*sources, *(f"0/{name}" for name in taken)])
        before = everything(day)
        wanted = data.draw(st.lists(st.sampled_from([*sources, *taken]), min_size=len(sources), max_size=len(sources)))
        moved = move_files(day / "journal", [(a, f"0/{b}") for a, b in zip(sources, wanted, strict=True)])
        assert moved.count == len(sources)
        after = everything(day)
        assert all(after[f"0/{name}"] == before[f"0/{name}"] for name in taken)
        assert contents(day) == sorted(data for data in before.values() if data)
        undo(day / "journal")
        assert everything(day) == before


def test_nothing_to_move_leaves_nothing(tmp_path: Path) -> None:
    assert move_files(tmp_path / "journal", []).count == 0
    assert everything(tmp_path) == {}


def test_one_file(tmp_path: Path) -> None:
    make(tmp_path, ["day/0/a.png", "bad/0/a.png"])
    assert move_file(tmp_path / "day/0/a.png", tmp_path / "bad/0/a.png") == tmp_path / "bad/0/a-2.png"
    assert (tmp_path / "bad/0/a-2.png").read_text() == "this was day/0/a.png"
    with pytest.raises(StorageError, match="not there"):
        move_file(tmp_path / "day/0/a.png", tmp_path / "bad/0/a.png")


def test_free_names() -> None:
    assert free_name("7.png", []) == "7.png"
    assert free_name("7.png", ["7.png", "7-2.png"]) == "7-3.png"
    assert free_name("seven", {"seven"}) == "seven-2"


# --------------------------------------------------------------------------------------------------- refused


def journal_from_a_stranger(journal: Path, source: str, target: str) -> None:
    import zlib

    plan = f'{{"version":1,"facts":{{}}}}\n{json.dumps([source, target])}\n'.encode()
    journal.write_bytes(plan + json.dumps({"planned": 1, "crc32": zlib.crc32(plan)}).encode() + b"\n")


@pytest.mark.parametrize("way", [("../secret", "0/a"), ("a", "../a"), ("a", "link/a"), ("/etc/hostname", "a")])
def test_nothing_leads_out_of_the_directory(tmp_path: Path, way: tuple[str, str]) -> None:
    day = tmp_path / "day"
    make(tmp_path, ["secret", "outside/x", "day/a"])
    (day / "link").symlink_to(tmp_path / "outside")
    before = everything(tmp_path)
    with pytest.raises(StorageError, match="nothing was moved"):
        move_files(day / "journal", [way])
    assert everything(tmp_path) == before
    journal_from_a_stranger(day / "journal", *way)
    before = everything(tmp_path)
    for function in (complete, undo):
        with pytest.raises(StorageError, match="leads out"):
            function(day / "journal")
        assert everything(tmp_path) == before


def as_nobody(action: Callable[[], object]) -> str:
    """Run something without root's rights to write anywhere; returns what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            action()
        except StorageError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_a_directory_that_may_not_be_written_to_is_refused_before_anything_moves() -> None:
    with tempfile.TemporaryDirectory() as directory:
        day = Path(directory)
        day.chmod(0o777)
        make(day, ["a", "b", "c", "1/x"])
        (day / "0").mkdir()
        (day / "0").chmod(0o777)
        (day / "1").chmod(0o555)
        before = everything(day)
        pairs = [("a", "0/a"), ("b", "1/b"), ("c", "2/c")]
        said = as_nobody(lambda: move_files(day / "journal", pairs))
        assert said == f"{day.resolve() / '1'} may not be written to; nothing was moved"
        assert everything(day) == before
        (day / "1").chmod(0o777)
        day.chmod(0o555)
        said = as_nobody(lambda: move_files(day / "journal", pairs))
        assert said == f"{day / 'journal'}: Permission denied; nothing was moved"
        assert everything(day) == before
        day.chmod(0o777)


def test_two_movers_at_once(tmp_path: Path) -> None:
    import fcntl

    make(tmp_path, ["a", "b"])
    move_files(tmp_path / "journal", [("a", "0/a")])
    before = everything(tmp_path)
    with (tmp_path / "journal").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for attempt in (lambda: move_files(tmp_path / "journal", [("b", "0/b")]), lambda: undo(tmp_path / "journal")):
            with pytest.raises(StorageError, match="another program is moving"):
                attempt()
    assert everything(tmp_path) == before


# --------------------------------------------------------------------------------------------------- damaged journals


def test_a_plan_that_never_became_whole_moves_nothing(tmp_path: Path) -> None:
    make(tmp_path, ["a", "b", "c"])
    journal = tmp_path / "journal"
    move_files(journal, [("c", "0/c")])
    first = journal.read_bytes()
    moves = everything(tmp_path)
    move_files(journal, [("a", "1/a"), ("b", "1/b")])
    whole = journal.read_bytes()
    undo(journal)
    assert everything(tmp_path) == moves
    planned = whole.index(b"\n", whole.rindex(b'"planned"')) + 1
    for end in range(len(first) + 1, planned):
        for tail in (b"", b"\0" * 40):
            journal.write_bytes(whole[:end] + tail)
            assert complete(journal) is None
            assert everything(tmp_path) == moves
    journal.write_bytes(whole[:planned])
    assert is_interrupted(journal)
    assert complete(journal).count == 2  # type: ignore[union-attr]
    assert journal.read_bytes() == whole


def test_a_damaged_journal_is_told(tmp_path: Path) -> None:
    make(tmp_path, ["a"])
    move_files(tmp_path / "journal", [("a", "0/a")])
    data = (tmp_path / "journal").read_bytes().replace(b'"0/a"', b'"0/b"')
    (tmp_path / "journal").write_bytes(data)
    for function in (undo, last_facts):
        with pytest.raises(StorageError, match="damaged"):
            function(tmp_path / "journal")
    assert (tmp_path / "0/a").is_file() and (tmp_path / "journal").read_bytes() == data


# ------------------------------------------------------------------------------------------ killed at any system call

NAMES = ["a.png", "b.png", "c.png"]
MOVE = "move_files(journal, [(n, str(i % 2) + '/' + n) for i, n in enumerate(names)], roots=roots)"
UNDO = "undo(journal, roots=roots)"


def run(day: Path, action: str, call: str, fault: str, *, other: Path | None = None) -> int:
    """Run the action in a process of its own, with a fault in one of its system calls."""
    program = (
        "import sys; from pathlib import Path; from storage.durable.moves import *\n"
        "journal = Path(sys.argv[1], 'journal'); roots = [Path(p) for p in sys.argv[1:]]\n"
        f"names = {NAMES}\n{action}"
    )
    strace = ["strace", "-f", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:{fault}"]
    done = subprocess.run(
        [*strace, sys.executable, "-c", program, day, *([other] if other else [])],
        cwd=REPOSITORY, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode in (0, -9, 137) or "StorageError" in done.stderr, done.stderr
    return done.returncode


def kill(day: Path, action: str, call: str, number: int, *, other: Path | None = None) -> bool:
    """Kill the action at its n-th use of a system call. False if it does not use it so often."""
    return run(day, action, call, f"signal=KILL:when={number}", other=other) != 0


@pytest.mark.parametrize(
    ("action", "call"),
    [
        *((MOVE, call) for call in ("renameat2", "fsync", "fdatasync", "mkdir", "pwrite64")),
        *((UNDO, call) for call in ("renameat2", "fsync", "fdatasync", "rmdir", "pwrite64", "ftruncate", "unlink")),
    ],
    ids=lambda value: "moving" if value == MOVE else "undoing" if value == UNDO else value,
)
def test_killed_at_any_system_call(tmp_path: Path, action: str, call: str) -> None:
    assert shutil.which("strace"), "scripts/test.sh installs strace"
    unmoved, moved = tmp_path / "unmoved", tmp_path / "moved"
    for day in (unmoved, moved):
        make(day, [*NAMES, "0/a.png"])
    move_files(moved / "journal", [(name, f"{number % 2}/{name}") for number, name in enumerate(NAMES)])
    before, after = everything(unmoved), everything(moved)
    day, again = tmp_path / "day", tmp_path / "again"
    number, killed = 0, True
    while killed:
        number += 1
        for path in (day, again):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(unmoved if action == MOVE else moved, day)
        killed = kill(day, action, call, number)
        assert contents(day) == contents(unmoved), "a file is lost, doubled or overwritten"
        if not killed:
            assert everything(day) == (after if action == MOVE else before)
            break
        shutil.copytree(day, again)
        complete(day / "journal")
        assert everything(day) in (before, after)
        if last_facts(again / "journal") is not None:
            undo(again / "journal")
        else:
            complete(again / "journal")
        assert everything(again) == before
    assert number > 1, f"{call} is not used at all"


def test_plan_and_moves_are_on_the_disk_before_what_relies_on_them(tmp_path: Path) -> None:
    make(tmp_path / "day", NAMES)
    log = tmp_path / "log"
    program = (
        "import sys; from pathlib import Path; from storage.durable.moves import move_files\n"
        f"move_files(Path(sys.argv[1], 'journal'), [(n, '0/' + n) for n in {NAMES}])"
    )
    calls = "trace=pwrite64,fsync,fdatasync,renameat2,mkdir"
    subprocess.run(
        ["strace", "-f", "-y", "-s", "9999", "-o", log, "-e", calls, sys.executable, "-c", program, tmp_path / "day"],
        cwd=REPOSITORY, check=True,
    )  # fmt: skip
    lines = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines() if str(tmp_path) in line]

    def only(call: str, path: str, text: str = "") -> int:
        (at,) = [
            number
            for number, line in enumerate(lines)
            if re.match(rf"{call}\(.*{re.escape(str(tmp_path))}/{path}[>\"]", line) and text in line
        ]
        return at

    synced = [number for number, line in enumerate(lines) if re.match(r"fdatasync\(.*/day/journal>", line)]
    renames = [number for number, line in enumerate(lines) if line.startswith("renameat2")]
    assert only("pwrite64", "day/journal", "planned") < synced[0] < renames[0] and len(renames) == len(NAMES)
    assert only("mkdir", "day/0") < renames[0]
    done = only("pwrite64", "day/journal", "done")
    assert renames[-1] < only("fsync", "day/0") < done < synced[1]
    assert any(re.match(r"fsync\(\d+<.*/day>", line) for line in lines[renames[-1] : done])


@pytest.mark.parametrize("call", ["renameat2", "fsync", "fdatasync"])
def test_a_disk_that_fails_half_way(tmp_path: Path, call: str) -> None:
    make(tmp_path, NAMES)
    before = everything(tmp_path)
    assert run(tmp_path, MOVE, call, "error=EIO:when=2+") == 1
    assert contents(tmp_path) == sorted(before.values())
    complete(tmp_path / "journal")
    if (tmp_path / "journal").exists():
        assert undo(tmp_path / "journal").count == len(NAMES)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("call", ["fsync", "renameat2", "unlink"])
def test_killed_while_moving_to_another_disk(tmp_path: Path, call: str) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert os.stat(elsewhere).st_dev != tmp_path.stat().st_dev
        kills = 0
        for number in range(1, 100):
            day, other = tmp_path / "day", Path(elsewhere, "other")
            make(day, NAMES)
            other.mkdir()
            before = everything(day)
            (day / "0").symlink_to(other)
            action = "move_files(journal, [(n, '0/' + n) for n in names], roots=roots)"
            killed = kill(day, action, call, number, other=other)
            kills += killed
            held = {*contents(day), *contents(other)}
            assert held >= {data for data in before.values() if data}
            complete(day / "journal", roots=[day, other])
            if (day / "journal").exists():
                assert everything(other) == before
                undo(day / "journal", roots=[day, other])
            (day / "0").unlink()
            assert everything(day) == before and everything(other) == {}
            shutil.rmtree(day)
            other.rmdir()
            if not killed:
                break
        assert kills


@pytest.mark.slow
def test_a_hundred_thousand_files_take_seconds(tmp_path: Path) -> None:
    import time

    for number in range(100_000):
        (tmp_path / f"{number:08d}.png").touch()
    begin = time.perf_counter()
    pairs = [(f"{number:08d}.png", f"{number % 5}/{number:08d}.png") for number in range(100_000)]
    assert move_files(tmp_path / "journal", pairs).count == 100_000
    middle = time.perf_counter()
    assert undo(tmp_path / "journal").count == 100_000
    print(f"moved in {middle - begin:.1f} s, taken back in {time.perf_counter() - middle:.1f} s")
    assert sum(1 for _ in tmp_path.iterdir()) == 100_000

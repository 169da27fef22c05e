"""Splitting holds out whole stretches of time: no near copies on both sides, every class on both; and it is undone."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from bisect import bisect_left
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from storage.care.spans import GAP, TRAIN, VAL, divide
from storage.care.split import split, undo_split
from storage.cli import main
from storage.durable.files import lock_directory
from storage.durable.moves import move_files, undo
from storage.errors import StorageError
from storage.formats.png.codec import read_texts
from storage.formats.png.writer import PngWriter
from storage.labels.classes import keep_classes
from storage.labels.journal import Classes, LabelJournal, Labelled
from storage.sessions import read_sessions
from tests.support.labelled import everything, record, times


def acts(seconds: float, *, seed: int = 0, fps: float = 10, classes: str = "01234", longest: float = 4.0) -> list[str]:
    """Classes of frames in which somebody performs one thing after the other, each for a while."""
    dice = random.Random(seed)
    labels: list[str] = []
    while len(labels) < seconds * fps:
        labels += [dice.choice(classes)] * round(dice.uniform(1.0, longest) * fps)
    return labels[: round(seconds * fps)]


def distance(some: list[float], others: list[float]) -> float:
    """The shortest time between a frame of one list and one of the other."""
    shortest = float("inf")
    for time in some:
        at = bisect_left(others, time)
        shortest = min([shortest, *(abs(time - other) for other in others[max(0, at - 1) : at + 1])])
    return shortest


def counts(directory: Path) -> dict[str, int]:
    return {path.name: len(list(path.iterdir())) for path in sorted(directory.iterdir()) if path.is_dir()}


# ------------------------------------------------------------------------------------------------- which frames


def test_near_copies_are_never_on_both_sides(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    record(day, acts(120))
    before = counts(day)
    assert main(["split", str(day), "--val", "0.2", "--gap", "1.5s"]) == 0
    val, gap = tmp_path / "val_day1", tmp_path / "gap_day1"
    assert distance(times(val), times(day)) >= 1.5
    assert set(counts(day)) == set(counts(val)) == set(before) == set("01234")
    for name, total in before.items():
        assert counts(day)[name] + counts(val)[name] + counts(gap).get(name, 0) == total
        assert 0.1 * total < counts(val)[name] < 0.3 * total
    assert {path.name for path in day.iterdir() if path.is_file()} == {"recording.json", "split.jsonl"}
    assert {path.name for path in val.iterdir() if path.is_file()} == {"recording.json"}


def test_the_gap_is_only_as_large_as_asked_for() -> None:
    seconds = np.arange(0, 100, 0.1)
    division = divide(seconds, acts(100), val=0.1, gap=3.0, stretch=5.0, seed=1)
    val = seconds[division.sides == VAL].tolist()
    assert all(distance([time], val) < 3.0 for time in seconds[division.sides == GAP].tolist())
    assert all(distance([time], val) >= 3.0 for time in seconds[division.sides == TRAIN].tolist())
    none = divide(seconds, acts(100), val=0.1, gap=0.0, stretch=5.0, seed=1)
    assert not np.any(none.sides == GAP)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.sampled_from("abc")), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
    st.floats(0, 30),
    st.one_of(st.none(), st.floats(0.1, 1000)),
    st.integers(0, 5),
)
@settings(max_examples=150)
def test_any_recording(
    frames: list[tuple[float, str]], val: float, gap: float, stretch: float | None, seed: int
) -> None:
    seconds = np.array([time for time, _ in frames])
    classes = [name for _, name in frames]
    division = divide(seconds, classes, val=val, gap=gap, stretch=stretch, seed=seed)
    assert division.sides.shape == seconds.shape and set(division.sides.tolist()) <= {TRAIN, VAL, GAP}
    sides = [sorted(seconds[division.sides == side].tolist()) for side in (VAL, TRAIN)]
    assert distance(*sides) >= gap
    again = divide(seconds, classes, val=val, gap=gap, stretch=stretch, seed=seed)
    assert np.array_equal(again.sides, division.sides)


def test_long_recordings_are_balanced() -> None:
    labels = acts(3600, classes="0000123")
    division = divide(np.arange(36_000) / 10, labels, val=0.1, gap=2.0, stretch=None, seed=0)
    names = np.array(labels)
    for name in "0123":
        assert 0.09 < np.mean(division.sides[names == name] == VAL) < 0.11
    assert np.mean(division.sides == GAP) < 0.02
    assert division.held_out > 1


def test_another_seed_holds_out_other_frames(tmp_path: Path) -> None:
    held_out = []
    for seed in ("0", "0", "1"):
        day = tmp_path / "day1"
        record(day, acts(60))
        assert main(["split", str(day), "--seed", seed]) == 0
        held_out.append(sorted(path.name for path in (tmp_path / "val_day1").rglob("*.png")))
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
    assert held_out[0] == held_out[1] != held_out[2]


def test_sessions_lie_on_one_axis_by_the_wall_clock(tmp_path: Path) -> None:
    """Two cameras see one scene: what one holds out, the other does too, whatever their clocks start from."""
    day, labels = tmp_path / "day1", acts(120)
    for boot in (1_000.0, 77.0):
        facts = {"live": True, "wall_minus_monotonic_ns": round((1.7e9 - boot) * 1e9)}
        record(day, labels, seconds=[boot + n / 10 for n in range(len(labels))], facts=facts)
    split(day, gap=1.0)
    sides = []
    for name in ("day1", "val_day1"):
        numbers = [int(path.stem) % len(labels) / 10 for path in (tmp_path / name).glob("*/*.png")]
        sides.append(sorted(numbers))
    assert distance(*sides) >= 0.999


def test_pictures_without_a_time_go_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    day = tmp_path / "day1"
    for number, name in enumerate(acts(100)):
        (day / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(day / name / f"{number:05d}.png")
    assert main(["split", str(day), "--gap", "1"]) == 0
    sides = [sorted(int(p.stem) / 10 for p in (tmp_path / name).rglob("*.png")) for name in ("day1", "val_day1")]
    assert distance(*sides) >= 0.999
    assert "1000 frames carry no time" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- leakage


def test_gaps_that_take_most_of_it_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, shade in (("cup", 0), ("pan", 90)):
        (tmp_path / "day" / name).mkdir(parents=True)
        for n in range(70):
            Image.fromarray(np.full((8, 8, 3), shade + n, np.uint8)).save(tmp_path / "day" / name / f"{name}{n}.jpg")
    assert main(["split", str(tmp_path / "day"), "--val", "0.2", "--allow-missing", "--dry-run"]) == 0
    assert "--gap 0 is for pictures that don't follow each other" in capsys.readouterr().err
    assert main(["split", str(tmp_path / "day"), "--val", "0.2", "--gap", "0", "--dry-run"]) == 0
    assert "--gap 0" not in capsys.readouterr().err


def nearest_neighbour_accuracy(features: np.ndarray, labels: np.ndarray, train: np.ndarray, val: np.ndarray) -> float:
    squares = (features[train] ** 2).sum(axis=1)
    nearest = (squares - 2 * features[val] @ features[train].T).argmin(axis=1)
    return float(np.mean(labels[train][nearest] == labels[val]))


def test_features_that_know_nothing_score_near_chance(tmp_path: Path) -> None:
    """A random walk says when a frame was taken, and nothing about its class. A split must not let that help."""
    day, labels = tmp_path / "day1", acts(480, seed=7)
    record(day, labels)
    features = np.random.default_rng(7).normal(size=(len(labels), 16)).cumsum(axis=0)
    split(day, val=0.2)
    numbers = {
        name: np.array([int(path.stem) for path in (tmp_path / name).glob("*/*.png")]) for name in ("day1", "val_day1")
    }
    names = np.array(labels)
    ours = nearest_neighbour_accuracy(features, names, numbers["day1"], numbers["val_day1"])
    shuffled = np.random.default_rng(0).permutation(len(labels))
    random_split = nearest_neighbour_accuracy(
        features, names, shuffled[len(labels) // 5 :], shuffled[: len(labels) // 5]
    )
    print(f"1-NN on features without information: {ours:.3f} with our split, {random_split:.3f} with a random one")
    assert ours < 0.3, "chance is 0.2"
    assert random_split > 0.95


# ------------------------------------------------------------------------------------------------- moving and undoing


def test_undo_restores_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, [*acts(60), None, None])
    before = everything(tmp_path)
    assert main(["split", str(day)]) == 0
    assert "2 frames have no class" in capsys.readouterr().err
    after = everything(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"day1", "val_day1", "gap_day1"}
    assert sum(data in after.values() for data in before.values()) == len(before)
    assert main(["split", str(day)]) == 1
    assert capsys.readouterr().err == (
        f"storage: {day} is split already; to take that back: python -m storage split {day} --undo\n"
    )
    assert everything(tmp_path) == after
    assert main(["split", str(day), "--undo"]) == 0
    assert everything(tmp_path) == before
    assert main(["split", str(day), "--undo"]) == 1
    assert "not split" in capsys.readouterr().err


def test_dry_run_moves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1", acts(60))
    before = everything(tmp_path)
    assert main(["split", str(tmp_path / "day1"), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert everything(tmp_path) == before
    assert main(["split", str(tmp_path / "day1"), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert {**done, "moved": False} == told
    for side, name in (("train", "day1"), ("val", "val_day1"), ("gap", "gap_day1")):
        found = {class_name: classes[side] for class_name, classes in done["classes"].items() if classes[side]}
        assert counts(tmp_path / name) == found


def test_by_any_name_of_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    record(tmp_path / "disk/day1", acts(60))
    (tmp_path / "link").symlink_to("disk/day1")
    before = everything(tmp_path)
    monkeypatch.chdir(tmp_path / "disk/day1")
    for name in (".", "../day1/", str(tmp_path / "link")):
        assert main(["split", name]) == 0
        assert (tmp_path / "disk/val_day1").is_dir()
        assert main(["split", name, "--undo"]) == 0
        assert everything(tmp_path) == before


def test_interrupted_split_is_completed_or_taken_back(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    record(tmp_path / "start/day1", acts(40))
    shutil.copytree(tmp_path / "start", tmp_path / "goal")
    assert main(["split", str(tmp_path / "goal/day1"), "--val", "0.3", "--gap", "0.5"]) == 0
    before, after = everything(tmp_path / "start"), everything(tmp_path / "goal")
    moves = sum(name.startswith(("val_", "gap_")) and name.endswith(".png") for name in after)
    for number in (1, 2, moves // 2, moves, moves + 1):
        for way in ([], ["--undo"]):
            work = tmp_path / "work"
            shutil.copytree(tmp_path / "start", work)
            strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=renameat2"]
            command = [sys.executable, "-m", "storage", "split", str(work / "day1"), "--val", "0.3", "--gap", "0.5"]
            inject = f"inject=renameat2:signal=KILL:when={number}"
            killed = subprocess.run([*strace, "-e", inject, *command], check=False, capture_output=True).returncode
            assert (killed != 0) == (number <= moves)
            assert main(["split", str(work / "day1"), *way]) == (0 if killed or way else 1)
            assert everything(work) == (before if way else after)
            shutil.rmtree(work)


# ------------------------------------------------------------------------------------------------- refusals


def test_a_class_that_would_be_missing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, [*acts(30, classes="01"), *["3"] * 12, *acts(30, classes="01")])
    before = everything(tmp_path)
    assert main(["split", str(day)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("storage: class 3 would be missing from ") and told.count("\n") == 1
    assert everything(tmp_path) == before
    assert main(["split", str(day), "--val", "0.001"]) == 1
    assert "storage: classes 0, 1, 3 would be missing from " in capsys.readouterr().err
    assert main(["split", str(day), "--allow-missing"]) == 0
    sides = [set(counts(tmp_path / name)) for name in ("day1", "val_day1")]
    assert {"0", "1"} <= sides[0] and {"0", "1"} <= sides[1] and ("3" in sides[0]) != ("3" in sides[1])
    assert main(["split", str(day), "--undo"]) == 0
    assert everything(tmp_path) == before


BAD_USAGE = [
    ("day1", "--val", "0"),
    ("day1", "--val", "1"),
    ("day1", "--val", "nan"),
    ("day1", "--gap", "-1"),
    ("day1", "--stretch", "0"),
    ("day1", "--seed", "x"),
    (),
]
FAILURES = {
    "missing": "no such directory",
    "a-file": "not a directory",
    "empty": "no labelled frames",
    "unlabelled": "no labelled frames",
    "taken": "val_taken is there already",
}


@pytest.mark.parametrize("arguments", [*BAD_USAGE, *((name,) for name in FAILURES)], ids=" ".join)
def test_bad_input_is_one_clear_line_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "empty").mkdir()
    record(tmp_path / "unlabelled", [None, None])
    record(tmp_path / "taken", acts(20))
    (tmp_path / "val_taken").mkdir()
    (tmp_path / "val_taken/x").touch()
    before = everything(tmp_path)
    monkeypatch.chdir(tmp_path)
    if arguments in BAD_USAGE:
        with pytest.raises(SystemExit, match="2"):
            main(["split", *arguments])
    else:
        assert main(["split", *arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    if arguments not in BAD_USAGE:
        assert told.err.startswith("storage: ") and told.err.count("\n") == 1 and FAILURES[arguments[0]] in told.err
    assert everything(tmp_path) == before


def test_numbers_that_a_killed_recorder_gave_are_not_given_again(tmp_path: Path) -> None:
    day, labels = tmp_path / "day1", acts(60, classes="01")
    record(day, labels)
    killed = json.loads((day / "recording.json").read_text())
    killed["sessions"][-1]["frames"] = None
    del killed["crc32"]
    (day / "recording.json").write_text(json.dumps(killed))
    split(day)
    for last in sorted(day.glob("*/*.png"), key=lambda path: path.name)[-50:]:  # as if its end had been held out
        last.rename(tmp_path / "val_day1" / last.parent.name / last.name)
    with closing(PngWriter(day)) as writer:
        assert writer.next_index == len(labels)


def test_what_a_split_left_that_was_killed_before_it_moved_anything_is_cleared_up(tmp_path: Path) -> None:
    record(tmp_path / "day1", acts(60))
    (tmp_path / "val_day1").mkdir()
    (tmp_path / "val_day1" / ".recording.json.part").write_text('{"ver')  # killed while it was written
    split(tmp_path / "day1")
    assert not (tmp_path / "val_day1" / ".recording.json.part").exists()


def test_what_an_undoing_left_that_was_killed_at_its_end_is_cleared_up(tmp_path: Path) -> None:
    record(tmp_path / "day1", acts(60))
    before = everything(tmp_path)
    split(tmp_path / "day1")
    strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=unlink", "-e", "inject=unlink:signal=KILL:when=1"]
    command = [sys.executable, "-m", "storage", "split", str(tmp_path / "day1"), "--undo"]
    assert subprocess.run([*strace, *command], check=False, capture_output=True).returncode
    assert set(before) < set(everything(tmp_path))  # all frames are back
    assert main(command[3:]) == 0
    assert everything(tmp_path) == before
    assert main(command[3:]) == 1  # nothing is left to undo


def test_what_no_split_made_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Facts of recordings and names of classes are what a person may have kept of frames that are gone."""
    day, beside = tmp_path / "day1", tmp_path / "val_day1"
    record(day, acts(40))
    record(beside, ["0"])
    shutil.rmtree(beside / "0")
    assert [path.name for path in beside.iterdir()] == ["recording.json"]
    (tmp_path / "gap_day1").mkdir()
    before = everything(tmp_path)
    assert main(["split", str(day), "--undo"]) == 1
    assert "nothing to undo" in capsys.readouterr().err and everything(tmp_path) == before
    assert main(["split", str(day)]) == 1
    assert f"{beside} is there already" in capsys.readouterr().err and everything(tmp_path) == before
    (beside / "recording.json").unlink()
    keep_classes(beside, Classes(("door", "cat"), ("0", "1")))
    before = everything(tmp_path)
    for arguments in (["--undo"], []):
        assert main(["split", str(day), *arguments]) == 1
        assert everything(tmp_path) == before


def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    record(tmp_path / "day1", acts(20))
    lock = lock_directory(tmp_path / "day1", "")
    before = everything(tmp_path)
    with pytest.raises(StorageError, match="close that program first"):
        split(tmp_path / "day1")
    assert everything(tmp_path) == before
    os.close(lock)


def test_a_renamed_directory_can_not_be_undone_by_guessing(tmp_path: Path) -> None:
    record(tmp_path / "day1", acts(60))
    split(tmp_path / "day1")
    (tmp_path / "day1").rename(tmp_path / "monday")
    before = everything(tmp_path)
    with pytest.raises(StorageError, match="'val_day1'"):
        undo_split(tmp_path / "monday")
    assert everything(tmp_path) == before


def test_frames_that_classify_moved_are_undone_in_order(tmp_path: Path) -> None:
    """Two journals in one directory don't disturb each other."""
    day = tmp_path / "day1"
    labels = acts(40)
    record(day, [None] * len(labels))
    before = everything(day)
    names = sorted(path.name for path in day.glob("*.png"))
    move_files(day / "moves.jsonl", [(name, f"{label}/{name}") for name, label in zip(names, labels, strict=True)])
    split(day, val=0.2, gap=0.5)
    undo_split(day)
    undo(day / "moves.jsonl")
    assert everything(day) == before


def relabel(directory: Path, name: str) -> None:
    """Give a sorted frame another class, without S."""
    with LabelJournal(directory / "labels.jsonl") as journal:
        journal.append(Labelled((name,), 2))
        journal.sync()


def test_labels_that_wait_for_frames_are_not_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day, options = tmp_path / "day1", ["--val", "0.2", "--gap", "0.5"]
    record(day, acts(40))
    split(day, val=0.2, gap=0.5)
    moved = {side: next((tmp_path / side).glob("*/*.png")) for side in ("val_day1", "gap_day1")}
    for side, file in moved.items():
        relabel(tmp_path / side, f"{file.parent.name}/{file.name}")
        assert main(["split", str(day), "--undo"]) == 1
        assert f"apply them first: S in 'python -m classify {tmp_path / side}'" in capsys.readouterr().err
        assert file.exists()
        (tmp_path / side / "labels.jsonl").unlink()
    undo_split(day)
    relabel(day, f"{moved['val_day1'].parent.name}/{moved['val_day1'].name}")
    before = everything(tmp_path)
    assert main(["split", str(day), *options]) == 1
    assert "apply them first" in capsys.readouterr().err and everything(tmp_path) == before


# --------------------------------------------------------------------------------------- hosts, sessions, recordings

WALL = {"live": True, "wall_minus_monotonic_ns": 10**18}


def of_session(directory: Path, fact: str) -> Counter[str]:
    """How many frames in a directory's classes are of which host, or another fact of their session."""
    facts = (
        {session["id"]: str(session.get(fact)) for session in read_sessions(directory)} if directory.exists() else {}
    )
    return Counter(facts[read_texts(path.read_bytes())["Session"]] for path in directory.glob("*/*.png"))


def fleet(tmp_path: Path) -> Path:
    """Six recordings of three hosts, merged; all record at the same time, and one after the other."""
    days = []
    for number, host in enumerate(("pi1", "pi2", "pi3")):
        for day in ("a", "b"):
            (tmp_path / host).mkdir(exist_ok=True)
            days.append(tmp_path / host / day)
            begin = 0.0 if day == "a" else 30.0
            when = [begin + at / 10 for at in range(200)]
            record(
                days[-1], acts(20, seed=number, classes="01"), seconds=when, facts={"host": host, **WALL}, seed=number
            )
    assert main(["merge", str(tmp_path / "all"), *map(str, days)]) == 0
    return tmp_path / "all"


def test_a_split_by_host_shares_no_host_and_is_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = fleet(tmp_path)
    before = everything(day)
    assert main(["split", str(day), "--by", "host", "--val", "0.3"]) == 0
    assert "val_all: 1 host: pi" in capsys.readouterr().out
    sides = [of_session(directory, "host") for directory in (day, tmp_path / "val_all")]
    assert len(sides[0]) == 2 and len(sides[1]) == 1 and not sides[0].keys() & sides[1].keys()
    assert not (tmp_path / "gap_all").exists()  # other hosts at the same time are no near copies
    assert sides[0].total() + sides[1].total() == 1200
    assert main(["split", str(day), "--undo"]) == 0
    del before["recording.json"]
    after = everything(day)
    assert before.items() <= after.items() and not (tmp_path / "val_all").exists()


def test_a_split_by_session_or_recording_shares_none_and_leaves_a_gap_within_a_host(tmp_path: Path) -> None:
    day = fleet(tmp_path)
    for by, fact in (("session", "id"), ("recording", "id")):
        assert main(["split", str(day), "--by", by, "--val", "0.4", "--gap", "12"]) == 0
        train, val, gap = (of_session(tmp_path / name, fact) for name in ("all", "val_all", "gap_all"))
        assert train and val and not train.keys() & val.keys() and not val.keys() & gap.keys()
        for host in of_session(tmp_path / "val_all", "host").keys() & of_session(day, "host").keys():
            near = [times_of(directory, host) for directory in (day, tmp_path / "val_all")]
            assert distance(*near) >= 12
        assert main(["split", str(day), "--undo"]) == 0


def times_of(directory: Path, host: str) -> list[float]:
    hosts = {session["id"]: session["host"] for session in read_sessions(directory)}
    texts = (read_texts(path.read_bytes()) for path in directory.glob("*/*.png"))
    return sorted(int(text["Timestamp"]) / 1e9 for text in texts if hosts[text["Session"]] == host)


def test_sessions_of_one_recording_stay_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for session in range(3):
            record(tmp_path / name, ["0", "1"] * 10, facts={"host": "pi"}, seed=session)
    assert main(["merge", str(tmp_path / "all"), str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert main(["split", str(tmp_path / "all"), "--by", "recording", "--gap", "0"]) == 0
    assert of_session(tmp_path / "all", "merged_from").total() == 60 == of_session(tmp_path / "val_all", "id").total()
    assert len(of_session(tmp_path / "all", "merged_from")) == 1 == len(of_session(tmp_path / "val_all", "merged_from"))


def test_frames_of_unknown_hosts_are_on_neither_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day"
    for number, host in enumerate(("pi1", "pi2", None)):
        record(day, ["0", "1"] * 5, facts={"host": host, **WALL}, seed=number * 50)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(day / "0" / "phone.png")
    assert main(["split", str(day), "--by", "host"]) == 0
    assert "note: 11 frames don't say of which host they are, and are in neither" in capsys.readouterr().err
    assert counts(tmp_path / "gap_day") == {"0": 6, "1": 5}
    assert main(["split", str(day), "--undo"]) == 0
    assert not (tmp_path / "gap_day").exists() and counts(day) == {"0": 16, "1": 15}


def test_what_can_not_be_split_by_group_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "one", ["0", "1"] * 5, facts={"host": "pi1"})
    record(tmp_path / "none", ["0", "1"] * 5, facts={"camera": "a program"})
    record(tmp_path / "two", ["0"] * 5, facts={"host": "pi1"})
    record(tmp_path / "two", ["1"] * 5, facts={"host": "pi2"})
    for arguments, status, said in (
        (["one", "--by", "host"], 1, "all frames are of one host (pi1); without --by"),
        (["one", "--by", "recording"], 1, "all frames are of one recording (one of pi1)"),
        (["none", "--by", "host"], 1, "no frame says of which host it is"),
        (["two", "--by", "host"], 1, "record more, each class in each, or go on with --allow-missing"),
        (["one", "--by", "host", "--stretch", "3"], 2, "--stretch is for a split without --by"),
    ):
        assert main(["split", str(tmp_path / arguments[0]), *arguments[1:]]) == status
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["none", "one", "two"]

"""The step dedupe says which frames look like an earlier one, and removes none."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from storage.batch.child import Limits
from storage.batch.places import Place
from storage.batch.run import here, run_batch
from storage.batch.worker import Outcome, Work
from storage.cli import main
from tests.support.labelled import everything, record

pytestmark = pytest.mark.usefixtures("mobilenet")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Three frames and the last one again; the same as a copy, and as a video; and a recording of other frames."""
    root = tmp_path / "in"
    for name in ("pi1", "pi2"):
        (root / name).mkdir(parents=True)
    day = root / "pi1" / "day1"
    record(day, ["door", None, "0"])
    record(day, [None], seed=2)
    shutil.copytree(day, root / "pi1" / "day1copy")
    assert main(["convert", str(day), str(root / "pi2" / "day1.mkv")]) == 0
    record(root / "pi2" / "day2", [None, None], seed=100)
    return root


def duplicates(out: Path) -> list[tuple[str, str, str, str, str]]:
    with (out / "dedupe" / "000000" / "duplicates.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["recording", "frame", "same_recording", "same_frame", "cosine"]
    return [(one, frame, same, same_frame, cosine) for one, frame, same, same_frame, cosine in rows]


def test_copies_and_other_formats_are_found_and_stay(fleet: Path, tmp_path: Path) -> None:
    before, out = everything(fleet), tmp_path / "out"
    assert main(["batch", "dedupe", str(fleet), str(out)]) == 0
    assert duplicates(out) == [
        ("pi1/day1", "3", "pi1/day1", "2", "1.0000"),
        ("pi1/day1copy", "0", "pi1/day1", "0", "1.0000"),
        ("pi1/day1copy", "1", "pi1/day1", "1", "1.0000"),
        ("pi1/day1copy", "2", "pi1/day1", "2", "1.0000"),
        ("pi1/day1copy", "3", "pi1/day1", "2", "1.0000"),
        ("pi2/day1.mkv", "0", "pi1/day1", "0", "1.0000"),
        ("pi2/day1.mkv", "1", "pi1/day1", "1", "1.0000"),
        ("pi2/day1.mkv", "2", "pi1/day1", "2", "1.0000"),
        ("pi2/day1.mkv", "3", "pi1/day1", "2", "1.0000"),
    ]
    assert everything(fleet) == before


def test_features_say_the_same_as_the_frames(fleet: Path, tmp_path: Path) -> None:
    main(["batch", "dedupe", str(fleet), str(tmp_path / "frames")])
    main(["batch", "features", str(fleet), str(tmp_path / "features")])
    assert main(["batch", "dedupe", str(tmp_path / "features" / "features"), str(tmp_path / "out")]) == 0
    kept = [
        (Path(one).parent.as_posix(), frame, Path(same).parent.as_posix(), *rest)
        for one, frame, same, *rest in duplicates(tmp_path / "out")
    ]
    assert kept == duplicates(tmp_path / "frames")


def test_a_damaged_frame_is_left_out_and_told(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = fleet / "pi1" / "day1" / "00000001.png"
    frame.write_bytes(frame.read_bytes()[:-60])
    assert main(["batch", "dedupe", str(fleet), str(tmp_path / "out")]) == 3
    assert "pi1/day1: frame 1 is left out: pi1/day1/00000001.png: not a whole picture" in capsys.readouterr().out
    rows = duplicates(tmp_path / "out")
    assert ("pi1/day1", "3", "pi1/day1", "2", "1.0000") in rows
    assert ("pi2/day1.mkv", "1", "pi1/day1copy", "1", "1.0000") in rows


def test_features_in_out_are_not_computed_again(
    fleet: Path, tmp_path: Path, mobilenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same content and the same network; what is made of them is the same to the byte."""
    out, alone = tmp_path / "out", tmp_path / "alone"
    assert main(["batch", "dedupe", str(fleet), str(alone)]) == 0
    assert main(["batch", "features", str(fleet), str(out)]) == 0
    for path in fleet.rglob("*.png"):  # seen by none but those that read the pictures
        about = path.stat()
        path.write_bytes(bytes(about.st_size))
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    other = tmp_path / "cache" / "pi-capture" / mobilenet.name
    other.parent.mkdir(parents=True)
    weights = bytearray(mobilenet.read_bytes())
    weights[len(weights) // 2] ^= 1
    other.write_bytes(weights)
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        copy = shutil.copytree(out, tmp_path / "copy")
        assert main(["batch", "dedupe", str(fleet), str(copy)]) == 3
    assert main(["batch", "dedupe", str(fleet), str(out)]) == 0
    for made in ("dedupe", ".batch/dedupe"):
        assert everything(out / made) == everything(alone / made)


def test_in_one_run_features_come_first(fleet: Path, tmp_path: Path) -> None:
    """Else two processes would compute the same ones."""
    turns: list[set[str]] = []

    def run(works: Sequence[Work], out: Place) -> Generator[list[Outcome], None, None]:
        turns.append({step for work in works for step in work.steps})
        yield from here(2, Limits())(works, out)

    assert not run_batch(["dedupe", "features"], [str(fleet)], str(tmp_path / "out"), run).problems
    assert turns == [{"features"}, {"dedupe"}]

"""The step dedupe says which frames look like an earlier one, and removes none."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

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

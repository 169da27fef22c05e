"""What a file tells of its sessions is checked before anything is reckoned with it, in every format."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage import Frame, StorageError, open_recording
from storage.cli import main
from storage.formats.table import open_writer
from storage.sessions import checked_sessions

FACTS = {"id": "12345678", "first_index": 0, "frames": 3, "live": True}
WRONG: list[dict[str, Any]] = [
    {"first_index": -500_000_000},
    {"frames": 10**4000},
    {"wall_minus_monotonic_ns": 10**500},
    {"clock": {"begins_us": 0, "origin_ns": 1 << 64}},
    {"id": ["a"]},
]


def recorded(path: Path, **facts: Any) -> Path:
    with closing(open_writer(path, options={})) as writer:
        writer.describe(facts)
        for number in range(3):
            writer.append(writer.encode(Frame(np.full((8, 10, 3), number, np.uint8), number, 10**9 + number, {})))
    return path


def test_sessions_that_recorders_write() -> None:
    clock = {"begins_us": 0, "origin_ns": -5 * 10**12}
    known = [FACTS, {**FACTS, "first_index": 3, "frames": None, "clock": clock, "wall_minus_monotonic_ns": 17 * 10**17}]
    assert checked_sessions(known) == known and checked_sessions([]) == []
    for wrong in ({}, "a", [7], [{"id": "1"}], *([{**FACTS, **facts}] for facts in WRONG)):
        with pytest.raises(ValueError):
            checked_sessions(wrong)


@pytest.mark.parametrize("facts", WRONG, ids=lambda facts: next(iter(facts)))
@pytest.mark.parametrize("name", ["day1", "day1.h5"])
def test_numbers_that_can_not_be(
    tmp_path: Path, name: str, facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded(tmp_path / name)
    text = json.dumps([{**FACTS, **facts}])
    if path.is_dir():
        (path / "recording.json").write_text(f'{{"version": 1, "sessions": {text}}}')
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["sessions"] = text
    with open_recording(path) as recording, pytest.raises(StorageError, match="damaged"):
        recording.sessions  # noqa: B018 (it is read)
    for command in (["info", "--json"], ["convert", str(tmp_path / "new.h5")], ["verify"]):
        assert main([command[0], str(path), *command[1:]]) in (1, 3)
        told = capsys.readouterr()
        assert "damaged" in told.out + told.err and len(told.err) < 500


@pytest.mark.parametrize("facts", [WRONG[2], WRONG[4]], ids=lambda facts: next(iter(facts)))
def test_a_video_without_what_can_not_be(
    tmp_path: Path, facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded(tmp_path / "day1.mkv", live=True, **facts)
    with open_recording(path) as recording:
        assert recording.sessions == [] and [int(frame.pixels[0, 0, 0]) for frame in recording] == [0, 1, 2]
    assert main(["info", str(path), "--json"]) == 0 == main(["convert", str(path), str(tmp_path / "new.h5")])
    assert main(["verify", str(path)]) == 3
    assert "what is known of the sessions can't be understood" in capsys.readouterr().out

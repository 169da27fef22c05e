"""Numbers of 5,000 digits, and others that nothing is counted with, end every storage command with one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.cli import main
from tests.storage.test_sessions import recorded

DIGITS = "8" * 5000


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("csv", f"start,end,class\n0,{DIGITS},door\n"),
        ("csv", "start,end,class\n0,3e77777,door\n"),
        ("txt", f"0\t{DIGITS}\tdoor\n"),
        ("tsv", f"{DIGITS}\t1\tdoor\n"),
        ("srt", f"1\n00:00:00,000 --> 00:00:{DIGITS},000\ndoor\n"),
        ("vtt", f"WEBVTT\n\n00:00.000 --> 00:{DIGITS}.000\ndoor\n"),
    ],
)
def test_in_files_of_labels(tmp_path: Path, kind: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, labels = recorded(tmp_path / "day1.h5"), tmp_path / f"labels.{kind}"
    labels.write_text(text)
    assert main(["labels", str(path), "--import", str(labels)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"storage: {labels}: line ") and told.count("\n") == 1 and len(told) < 300


@pytest.mark.parametrize("text", ['{"version": %s, "sessions": []}', '{"version": 1, "sessions": [%s]}'])
def test_in_what_is_known_of_the_sessions(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded(tmp_path / "day1")
    (path / "recording.json").write_text(text % DIGITS)
    for command, status in (("info", 1), ("verify", 3)):
        assert main([command, str(path)]) == status
        told = capsys.readouterr()
        assert "recording.json" in told.out + told.err and "is damaged" in told.out + told.err


@pytest.mark.parametrize("name", ["day1.mkv", "day1.h5"])
def test_as_the_number_of_a_track(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded(tmp_path / name)
    assert main(["info", str(path), "--track", DIGITS]) == 1
    assert capsys.readouterr().err.startswith(f"storage: {path} has no ")


def test_times_that_no_clock_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded(tmp_path / "day1.mkv")
    assert main(["convert", str(path), str(tmp_path / "new.mkv"), "--fps", "1e-200"]) == 2
    assert "give a larger --fps" in capsys.readouterr().err and not (tmp_path / "new.mkv").exists()

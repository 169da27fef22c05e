"""Names with markup, line breaks and commands for a terminal: shown as text, exact in JSON, never interpreted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import classify.cli
import pi_capture.cli
import storage.cli
from pi_capture import Recorder
from storage import SampleTrack, open_recording
from storage.formats.video.labels import write_labels

STRANGE = "\x1b[2J<i>&amp;\n\u202e\x9b1m\x07\t'%s"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("here") / f"{STRANGE}.mkv"
    with Recorder(path, fps=10, tracks=[SampleTrack("scale", 20, 1, source=STRANGE)]) as recorder:
        recorder.describe({"camera": STRANGE, "model": STRANGE, "host": STRANGE})
        for n in range(12):
            recorder.write(np.full((24, 32, 3), n * 9, np.uint8))
        recorder.write_samples("scale", np.zeros((20, 1), np.float32), 0)
    write_labels(path, [STRANGE] * 5 + ["<i>"] * 7)
    return path


Shown = Callable[..., str]


@pytest.fixture
def shown(capfd: pytest.CaptureFixture[str]) -> Shown:
    """Run a command line; returns what it printed, in which each character is one that is seen."""

    def run(main: Callable[[Sequence[str]], int], *arguments: object, status: int = 0) -> str:
        try:
            ended = main([str(argument) for argument in arguments])
        except SystemExit as end:
            ended = int(end.code or 0)
        out, err = capfd.readouterr()
        assert ended == status, err
        assert [char for char in out + err if not char.isprintable() and char != "\n"] == []
        return out + err

    return run


def test_every_command_shows_them_as_text(tmp_path: Path, recording: Path, shown: Shown) -> None:
    day, frames = tmp_path / f"d{STRANGE}", tmp_path / f"f{STRANGE}"
    assert r"\x1b[2J<i>&amp;\n\u202e\x9b1m\x07\t'%s" in shown(storage.cli.main, "info", recording)
    assert len(shown(storage.cli.main, "verify", recording).splitlines()) == 1
    assert len(shown(storage.cli.main, "labels", recording).splitlines()) == 2
    shown(storage.cli.main, "export", recording, tmp_path / f"e{STRANGE}")
    shown(storage.cli.main, "extract", recording, frames)
    for suffix in (".h5", ".mkv", ".mp4"):
        shown(storage.cli.main, "convert", recording, tmp_path / f"c{STRANGE}{suffix}")
    shown(storage.cli.main, "merge", day, frames)
    shown(storage.cli.main, "info", "--sheet", tmp_path / f"{STRANGE}.png", day)
    shown(storage.cli.main, "split", day, "--val", 0.3, "--stretch", 0.2, "--gap", 0)
    shown(storage.cli.main, "split", day, "--undo")
    shown(classify.cli.main, day)  # all are sorted
    shown(classify.cli.main, day, "--undo", status=1)
    shown(storage.cli.main, "info", f"no{STRANGE}", status=1)


@pytest.mark.parametrize("main", [storage.cli.main, classify.cli.main, pi_capture.cli.main])
def test_wrong_usage_is_told_as_text(main: Callable[[Sequence[str]], int], shown: Shown) -> None:
    told = shown(main, "info", "1", f"--no{STRANGE}", status=2)
    assert r"\x1b" in told, told


def test_json_is_exact(recording: Path) -> None:
    command = [sys.executable, "-m", "storage"]
    told = subprocess.run([*command, "info", "--json", recording], capture_output=True, check=True).stdout
    assert all(byte == 10 or 32 <= byte < 127 for byte in told)
    (info,) = json.loads(told)["recordings"]
    assert info["path"] == str(recording) and STRANGE in info["classes"]
    told = subprocess.run([*command, "labels", "--json", recording], capture_output=True, check=True).stdout
    assert [row["class"] for row in json.loads(told)["intervals"]] == [STRANGE, "<i>"]


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".ass", ".csv", ".txt"])
@pytest.mark.parametrize("label", ["a & b <door>", "&lt;", "\x1b]0;x\x07", "\u202eabc", '"1,5; 2"', "<b>", "\r\n"])
def test_labels_come_back_from_a_file_as_they_were_or_none_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, label: str
) -> None:
    path, table = tmp_path / "day.mkv", tmp_path / f"labels{suffix}"
    with Recorder(path, fps=10) as recorder:
        for n in range(6):
            recorder.write(np.full((24, 32, 3), n, np.uint8))
    labels = [None, label, label, None, "door", "door"]
    write_labels(path, labels)
    if storage.cli.main(["labels", str(path), "--export", str(table)]):
        assert len(capsys.readouterr().err.splitlines()) == 1 and not table.exists()
        assert label in ("\r\n", "<b>") and (suffix, label) != (".csv", "<b>")
        return
    write_labels(path, [None] * 6)
    assert storage.cli.main(["labels", str(path), "--import", str(table)]) == 0
    with open_recording(path) as recording:
        assert list(recording.labels) == labels


def test_a_directory_without_frames_has_no_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert storage.cli.main(["labels", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name", ["می\u200cخواهم", "全角\u3000空白", "👨\u200d👩\u200d👧", "10.14.21\u202fPM", "a\u00adb"]
)
def test_ordinary_spelling_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Joiners, and spaces of other widths: a name that is shown can be copied."""
    path = tmp_path / f"{name}.mkv"
    assert storage.cli.main(["verify", str(path)]) == 1
    assert str(path) in capsys.readouterr().err

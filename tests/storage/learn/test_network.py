"""``train --network cnn``: a small network by Keras, as a .tflite file with its classes inside."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from storage.care.split import split
from storage.cli import main
from storage.formats.table import open_recording
from storage.learn import network
from storage.learn.classifier import open_classifier
from tests.support.scenes import record_acts


@pytest.fixture
def day(tmp_path: Path) -> Path:
    record_acts(tmp_path / "day1", ["0", "1", "door"] * 8)
    return tmp_path / "day1"


def test_a_network_learns_and_runs_without_tensorflow(
    day: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    split(day, val=0.25)
    assert main(["train", str(day), "--network", "cnn", "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert said.err == "" and report["kind"] == "cnn" and report["accuracy"] > 0.9
    assert report["tested_on"] == str(tmp_path / "val_day1") and report["path"] == str(tmp_path / "day1.tflite")
    classifier = open_classifier(tmp_path / "day1.tflite")
    assert classifier.classes == ("0", "1", "door") and classifier.size == (128, 128)
    assert classifier.sha256 == report["sha256"]
    with open_recording(tmp_path / "val_day1") as held_out:
        right = [
            classifier.classes[int(classifier.certainties(frame.pixels).argmax())] == label
            for frame, label in zip(held_out, held_out.labels, strict=True)
        ]
    assert sum(right) / len(right) == pytest.approx(report["accuracy"], abs=0.02)
    with zipfile.ZipFile(tmp_path / "day1.tflite") as archive:
        assert json.loads(archive.read("origin.json"))["recordings"][0]["name"] == "day1"


def test_without_a_day_to_test_on_a_fifth_is_held_out(
    day: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "EPOCHS", 2)
    (day / "1" / "00000040.png").write_bytes(b"broken")
    assert main(["train", str(day), "--network", "cnn", "--json", "-o", str(day.with_name("mine.tflite"))]) == 0
    report = json.loads(capsys.readouterr().out)
    tested, learnt = sum(map(sum, report["confusion"])), sum(report["frames"].values())
    assert 100 < tested < 200 and learnt < 719 - tested
    assert report["notes"] == ["1 frames can't be read and are left out; python -m storage verify names them"]


def test_without_tensorflow_it_says_so(
    day: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "find_spec", lambda name: None)
    assert main(["train", str(day), "--network", "cnn"]) == 1
    assert "--network cnn needs TensorFlow: run 'pip install pi-capture[train]'" in capsys.readouterr().err

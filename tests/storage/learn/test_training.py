"""``python -m storage train``: what it learns from, what it says of itself, and what it leaves when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from storage.care.split import split
from storage.cli import main
from storage.convert.convert import convert
from storage.formats.table import open_recording
from storage.labels.beside import journal_path
from storage.labels.journal import Classes, LabelJournal, Labelled, Proposed
from storage.learn.describe import Describer, Descriptions
from storage.learn.model import load_model
from storage.learn.training import learn
from tests.support import REPOSITORY
from tests.support.scenes import informative, record_acts, uninformative

ACTS = ["0", "1", "door"] * 8


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no weights of the network, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def day(tmp_path: Path) -> Path:
    record_acts(tmp_path / "day1", ACTS)
    return tmp_path / "day1"


def trained(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """What ``train --json`` prints."""
    capsys.readouterr()
    assert main(["train", *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which it fails."""
    capsys.readouterr()
    assert main(["train", *map(str, arguments)]) == 1
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1
    return said.err


def guesses(model: Path, pictures: Sequence[np.ndarray]) -> list[str]:
    loaded = load_model(model)
    describer = Describer(loaded.kind, loaded.network)
    return [loaded.classes[int(loaded.head.certainties(describer.describe(pixels)).argmax())] for pixels in pictures]


def test_a_model_tells_the_classes_apart_and_says_so(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(day)]) == 0
    said = capsys.readouterr().out
    assert "no ImageNet weights on this machine" in said and "a thumbnail of 16x16 grey values" in said
    assert "0.333 is what knowing nothing gets" in said
    assert "stretches of the same recordings, each held out in turn (5 of 5 folds judged)" in said
    model = day.with_name("day1.model")
    assert said.splitlines()[-1].startswith(f"{model}: ")
    rows = [informative(name, 1000 + number) for number, name in enumerate(ACTS)]
    pictures = [np.repeat(row.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2) for row in rows]
    assert guesses(model, pictures) == ACTS


def test_the_report_counts_right_and_wrong(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = trained(capsys, day)
    assert report["classes"] == ["0", "1", "door"] and report["kind"] == "thumbnail"
    assert report["frames"] == {"0": 240, "1": 240, "door": 240}
    assert report["stretches"] == {"0": 8, "1": 8, "door": 8}
    confusion = np.array(report["confusion"])
    assert confusion.sum() == 720 and confusion.trace() / 720 == pytest.approx(report["accuracy"], abs=1e-4)
    assert report["accuracy"] > 0.98 and report["chance"] == pytest.approx(1 / 3, abs=1e-3)
    origin = load_model(Path(report["path"])).origin
    assert origin["recordings"][0]["name"] == "day1" and origin["recordings"][0]["frames"] == 720
    assert origin["accuracy"] == report["accuracy"] and origin["seed"] == 0


def test_features_without_information_score_at_chance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Near frames of an act tell all about each other, so that a random choice of held-out frames gets them right."""
    acts = np.random.default_rng(8).permutation(["0", "1", "2", "3"] * 15).tolist()
    record_acts(tmp_path / "day1", acts, seconds=2.5, draw=uninformative)
    found = [trained(capsys, tmp_path / "day1", "--seed", seed, "--replace") for seed in range(3)]
    for report in found:
        assert report["accuracy"] < 0.4 and report["smoothed"] < 0.42
    model = load_model(tmp_path / "day1.model")
    with open_recording(tmp_path / "day1") as recording:
        describer = Describer("thumbnail")
        inputs = np.stack([describer.describe(frame.pixels) for frame in recording])
        labels = list(recording.labels)
    remembered = [model.classes[number] for number in model.head.certainties(inputs).argmax(axis=1)]
    assert np.mean(np.array(remembered) == labels) > 0.95


def test_what_was_split_off_is_what_it_is_tested_on(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split(day, val=0.25, gap=2.0)
    held_out = day.with_name("val_day1")
    report = trained(capsys, day)
    assert report["tested_on"] == str(held_out) and report["notes"][1:] == []
    with open_recording(held_out) as recording:
        assert np.sum(report["confusion"]) == len(recording)
    with open_recording(day) as recording:
        assert sum(report["frames"].values()) == len(recording)


def test_held_out_frames_near_learnt_ones_tell_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every tenth frame was moved away by hand: each has its near copies on the other side."""
    day, held_out = tmp_path / "day1", tmp_path / "val_day1"
    acts = np.random.default_rng(2).permutation(["0", "1", "2"] * 12).tolist()
    record_acts(day, acts, draw=uninformative)
    for name in "012":
        (held_out / name).mkdir(parents=True)
        for file in sorted((day / name).iterdir())[::10]:
            file.rename(held_out / name / file.name)
    (held_out / "recording.json").write_bytes((day / "recording.json").read_bytes())
    report = trained(capsys, day)
    assert report["accuracy"] < 0.5 and "held out in turn" in report["tested_on"]
    assert any("are within 2 s of some that were learnt from" in note for note in report["notes"])


def test_what_is_asked_to_be_learnt_is_no_test(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split(day, val=0.25, gap=0)
    report = trained(capsys, day, day.with_name("val_day1"))
    assert "held out in turn" in report["tested_on"] and sum(report["frames"].values()) == 720


def test_classes_go_by_their_names_in_any_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The class in directory 1 of one day lies in directory 0 of the other; a third day is a video."""
    for number, (name, names) in enumerate({"day1": ("left", "right"), "day2": ("right", "left")}.items()):

        def draw(label: str, act: int, names: tuple[str, ...] = names) -> np.ndarray:
            return informative(names[int(label)], act)

        record_acts(tmp_path / name, ["0", "1"] * 8, draw=draw, first_act=100 * number)
        with LabelJournal(journal_path(tmp_path / name)) as journal:
            journal.append(Classes(names, ("0", "1")))
            journal.sync()
    for format_ in ("mkv", "h5"):
        convert(tmp_path / "day2", tmp_path / f"day3.{format_}")
    report = trained(capsys, *(tmp_path / name for name in ("day1", "day2", "day3.mkv", "day3.h5")))
    assert report["classes"] == ["left", "right"] and report["accuracy"] > 0.98
    assert report["stretches"] == {"left": 32, "right": 32}


def test_labels_that_wait_in_the_journal_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record_acts(day, [None] * 12)
    with LabelJournal(journal_path(day)) as journal:
        journal.append(Classes(("calm", "wild"), ("0", "1")))
        for act in range(10):
            journal.append(Labelled(((f"{30 * act:08d}.png", 30),), act % 2))
        journal.sync()
        report = trained(capsys, day)  # while a window has the journal open
    assert report["frames"] == {"calm": 150, "wild": 150}


def test_labels_that_nobody_has_seen_are_left_out_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = tmp_path / "day1"
    record_acts(day, [None] * 12)
    with LabelJournal(journal_path(day)) as journal:
        for act, proposed in enumerate([None, None, Proposed("3f2a", False), Proposed("3f2a", True)] * 3):
            journal.append(Labelled(((f"{30 * act:08d}.png", 30),), act % 2, proposed=proposed))
        journal.sync()
    assert trained(capsys, day)["frames"] == {"0": 180, "1": 180}
    assert trained(capsys, day, "--seen-only", "--replace")["frames"] == {"0": 90, "1": 180}


def test_labels_that_nobody_has_seen_are_no_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those here are wrong: they would make any model look bad."""
    day, held_out = tmp_path / "day1", tmp_path / "val_day1"
    for recording, acts in ((day, 24), (held_out, 6)):
        record_acts(recording, [None] * acts, draw=lambda _, act: informative("01"[act % 2], act))
        with LabelJournal(journal_path(recording)) as journal:
            for act in range(acts):
                wrong = act % 6 > 3
                by = Proposed("3f2a", False) if wrong else None
                journal.append(Labelled(((f"{30 * act:08d}.png", 30),), act % 2 ^ wrong, proposed=by))
            journal.sync()
    report = trained(capsys, day)
    assert report["tested_on"] == str(held_out)
    assert np.sum(report["confusion"]) == 120 and sum(report["frames"].values()) == 720
    assert any(note.startswith("300 labels were accepted unseen: they are learnt from") for note in report["notes"])
    held_out.rename(tmp_path / "another_day")
    report = trained(capsys, day, "--replace")
    assert "held out in turn" in report["tested_on"] and np.sum(report["confusion"]) == 480
    assert not any("unseen" in note for note in trained(capsys, day, "--replace", "--seen-only")["notes"])


def test_a_fold_beside_which_one_class_is_left_is_not_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of class 1 there is one stretch: without it nothing tells what is not 0."""
    record_acts(tmp_path / "day1", ["0"] * 8 + ["1"], seconds=2.5)
    report = trained(capsys, tmp_path / "day1")
    judged = np.array(report["confusion"]).sum(axis=1)
    assert judged[0] > 0 and judged[1] == 0
    assert "folds judged" in report["tested_on"] and "(5 of 5" not in report["tested_on"]
    assert any("are not tested" in note for note in report["notes"])


def test_mistakes_are_named_and_drawn(day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("00000093.png", "00000097.png", "00000101.png"):  # of class 0
        (day / "0" / name).rename(day / "1" / name)
    report = trained(capsys, day, "--sheet", tmp_path / "wrong.png")
    (mistake,) = report["mistakes"]  # frames so near each other are one mistake
    assert Path(mistake["frame"]).is_file() and Path(mistake["frame"]).parent == day / "1"
    assert (mistake["label"], mistake["guess"]) == ("1", "0") and mistake["certainty"] > 0.9
    with Image.open(tmp_path / "wrong.png") as sheet:
        drawn = np.asarray(sheet.convert("RGB"))
    assert drawn.shape[1] > 1000 and np.count_nonzero((drawn > 50).all(axis=2) & (drawn < 70).all(axis=2)) > 5000
    capsys.readouterr()
    assert main(["train", str(day), "--replace", "-o", str(tmp_path / "again.model")]) == 0
    assert f"  {mistake['frame']}: 1 → 0 " in capsys.readouterr().out


def test_advice_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_acts(tmp_path / "day1", ["0", "1"] * 8 + ["rare"])
    advice = "\n".join(trained(capsys, tmp_path / "day1")["advice"])
    assert "rare: 1 stretch in one recording, which is few" in advice
    assert "all of it is one recording" in advice
    record_acts(tmp_path / "day2", ["0", "1"] * 2)
    words = ["merge", tmp_path / "both", tmp_path / "day1", tmp_path / "day2"]
    assert main([str(word) for word in words]) == 0
    capsys.readouterr()
    advice = "\n".join(trained(capsys, tmp_path / "both")["advice"])
    assert "rare: 1 stretch in 2 recordings" in advice and "all of it is one recording" not in advice


def test_features_files_are_learnt_from(
    day: Path, mobilenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = tmp_path / "day1.features.h5"
    convert(day, features, weights=mobilenet)
    assert "give --weights with that file" in refusal(capsys, features)
    report = trained(capsys, features, "--weights", mobilenet)
    assert report["kind"] == "features" and report["path"] == str(tmp_path / "day1.model")
    assert report["accuracy"] > 0.6  # by random weights
    with open_recording(day) as recording:
        assert guesses(tmp_path / "day1.model", [frame.pixels for frame in recording[::60]]) == recording.labels[::60]
    both = trained(capsys, day, "--weights", mobilenet, "--replace")
    assert set(both["by_kind"]) == {"features", "both", "thumbnail"}
    assert (load_model(tmp_path / "day1.model").network is None) == (both["kind"] == "thumbnail")
    sheet = refusal(capsys, features, "--weights", mobilenet, "-o", tmp_path / "x.model", "--sheet", tmp_path / "x.png")
    assert "keeps features and no pictures" in sheet
    assert not (tmp_path / "x.png").exists() and not (tmp_path / "x.model").exists()


def test_what_can_not_be_learnt_from_is_refused_in_one_line(
    day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no such recording" in refusal(capsys, tmp_path / "nowhere")
    record_acts(tmp_path / "bare", [None] * 3)
    assert "no frame has a class; label it: python -m classify" in refusal(capsys, tmp_path / "bare")
    record_acts(tmp_path / "same", ["door"] * 3)
    assert "all labels are 'door'" in refusal(capsys, tmp_path / "same")
    assert "no such file of weights" in refusal(capsys, day, "--weights", tmp_path / "gone.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"nonsense" * 20)
    assert "is no MobileNet that LiteRT can run" in refusal(capsys, day, "--weights", tmp_path / "bad.tflite")
    assert not list(tmp_path.glob("*.model"))


def test_options_that_exclude_each_other(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(day), "--network", "cnn", "--weights", "x.tflite"]) == 2
    assert "--weights goes with --network mobilenet" in capsys.readouterr().err


def test_damaged_frames_are_left_out_and_counted(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in sorted((day / "door").iterdir())[:3]:
        file.write_bytes(file.read_bytes()[:40])
    report = trained(capsys, day)
    assert report["frames"]["door"] == 237
    assert any(note.startswith("3 frames can't be read and are left out") for note in report["notes"])
    for name in ("1", "door"):
        for file in (day / name).iterdir():
            file.write_bytes(b"broken")
    assert "too few labelled frames can be read" in refusal(capsys, day, "--replace")


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(
    day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.model"
    out.write_bytes(b"mine")
    assert "exists; choose another name with -o, or replace it with --replace" in refusal(capsys, day, "-o", out)
    assert out.read_bytes() == b"mine"
    (tmp_path / "wrong.png").write_bytes(b"mine")
    said = refusal(capsys, day, "-o", out, "--replace", "--sheet", tmp_path / "wrong.png")
    assert "wrong.png exists" in said and out.read_bytes() == b"mine"
    trained(capsys, day, "-o", out, "--replace")
    assert load_model(out).classes == ("0", "1", "door")


KILLED = """
import importlib, os, signal, sys
module, function = sys.argv[1].split(":")
def killed(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(importlib.import_module(module), function, killed)
from storage.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("replace", [False, True])
def test_killed_at_any_moment_it_leaves_no_half_model(day: Path, tmp_path: Path, replace: bool) -> None:
    out = tmp_path / "mine.model"
    options = ["--replace"] if replace else []
    if replace:
        out.write_bytes(b"the model of yesterday")
    moments = ["storage.learn.describe:replace_file", "storage.learn.training:fit_head"]
    moments += ["storage.durable.files:write_new"] if replace else ["storage.durable.files:rename_new"]
    for moment in moments:
        command = [sys.executable, "-c", KILLED, moment, "train", str(day), "-o", str(out), *options]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(command, env=environment, check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL
        assert (out.read_bytes() == b"the model of yesterday") if replace else not out.exists()
    assert main(["train", str(day), "-o", str(out), *options]) == 0
    assert load_model(out).classes == ("0", "1", "door")
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_it_needs_neither_tensorflow_nor_opencv_nor_h5py(day: Path) -> None:
    program = (
        "import sys\nfrom storage.cli import main\nstatus = main(['train', sys.argv[1]])\n"
        "heavy = {'tensorflow', 'keras', 'cv2', 'h5py', 'av'}\n"
        "print(sorted(heavy.intersection(sys.modules)), file=sys.stderr)\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(day)], env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.strip() == "[]"


def test_json_lines_tell_how_far_it_is(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(day), "--json-lines"]) == 0
    *steps, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert steps[0] == {"event": "progress", "what": f"describing {day}", "done": steps[0]["done"], "total": 24 * 30}
    assert {step["event"] for step in steps} == {"progress"}
    assert report["path"] == str(day.with_name("day1.model")) and "event" not in report


def test_frames_that_all_lie_near_each_other_are_no_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_acts(tmp_path / "day1", ["0", "1"] * 2, seconds=0.4)
    report = trained(capsys, tmp_path / "day1")
    assert (report["accuracy"], report["smoothed"], report["chance"]) == (None, None, None)
    assert report["tested_on"] == "not tested" and report["by_kind"] == {} and report["mistakes"] == []
    assert "16 frames are not tested: without those near them, no two classes are left to learn" in report["notes"]
    assert load_model(tmp_path / "day1.model").origin["accuracy"] is None
    assert main(["train", str(tmp_path / "day1"), "--replace"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "not tested" in said and not any("are right" in line for line in said)


def test_frames_that_no_fold_can_judge_have_no_voice() -> None:
    """Of four seconds, those in the middle are near all others."""
    labels = np.array([0, 1] * 20)
    look = np.repeat(labels[:, None], 256, axis=1) + np.random.default_rng(1).normal(0, 0.01, (40, 256))
    learnt = learn(Descriptions(None, look.astype(np.float32)), labels, np.arange(40) / 10, 2)
    tested = np.isfinite(learnt.certainties).all(axis=1)
    right = learnt.certainties.argmax(axis=1) == labels
    by_class = [right[tested & (labels == name)].mean() for name in np.unique(labels[tested])]
    assert tested.any() and not tested.all()
    assert learnt.by_kind == {"thumbnail": pytest.approx(np.mean(by_class))}


def test_a_description_that_is_partly_no_numbers_is_left_out(
    day: Path, mobilenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = tmp_path / "day1.features.h5"
    convert(day, features, weights=mobilenet)
    import h5py

    with h5py.File(features, "r+") as file:
        name = next(name for name, one in file.items() if getattr(one, "shape", ())[1:] == (256,))
        file[name][7, 100] = np.nan
    report = trained(capsys, features, "--weights", mobilenet)
    assert sum(report["frames"].values()) == 719
    assert any(note.startswith("1 frames can't be read") for note in report["notes"])

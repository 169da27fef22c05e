"""What a model says of frames while they are recorded: noted in each, never in the camera's way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pi_capture import RecordingError, UsageError, record
from pi_capture.recording.verdicts import Watching
from storage import StorageError, open_recording
from storage.frame import Frame
from storage.learn.classifier import Classifier
from tests.pi_capture.watch.test_watch import film
from tests.support.networks import COLOURS, plain, put_network


def classifier(certainties: Callable[[NDArray[np.uint8]], Any]) -> Classifier:
    return Classifier(COLOURS, (16, 16), "of the test", "0" * 64, certainties)


@pytest.mark.parametrize("name", ["out", "out.mkv", "out.h5"])
def test_what_the_model_says_is_kept_with_each_frame(tmp_path: Path, name: str) -> None:
    network = put_network(tmp_path)
    day = film(tmp_path / "day1.mkv", ("red", 10), ("green", 10))
    summary = record(tmp_path / name, camera=f"file:{day}", model=str(network), hold=0)
    assert summary.frames == 20
    with open_recording(tmp_path / name) as recording:
        said = [frame.metadata["watch"] for frame in recording]
        assert [one["timestamp_ns"] for one in said] == list(recording.timestamps_ns)
        assert [one["class"] for one in said[:10]] == ["red"] * 10 and said[-1]["class"] == "green"
        assert said[0]["certainty"] > 0.98
        facts = recording.sessions[0]["watch"]
        assert facts["classes"] == list(COLOURS) and len(facts["sha256"]) == 64 and "float.tflite" in facts["model"]


def test_only_a_class_is_kept_and_some_before_and_after(tmp_path: Path) -> None:
    network = put_network(tmp_path)
    day = film(tmp_path / "day1.mkv", ("red", 30), ("green", 10), ("blue", 30), ("green", 10), ("red", 20))
    how = {"camera": f"file:{day}", "model": str(network), "hold": 0.0, "pre_roll": 0.5, "post_roll": 0.4}
    summary = record(tmp_path / "green", on_class=["green"], **how)  # type: ignore[arg-type]  # one dict for two calls
    with open_recording(tmp_path / "green") as recording:
        frames = list(recording)
    at = [frame.timestamp_ns // 100_000_000 for frame in frames]
    classes = {n: frame.metadata["watch"]["class"] for n, frame in zip(at, frames, strict=True)}
    begins = [n for n in at if classes[n] == "green" and classes.get(n - 1) != "green"]
    ends = [n for n in at if classes[n] == "green" and classes.get(n + 1) != "green"]
    expected = [n for b, e in zip(begins, ends, strict=True) for n in range(b - 5, e + 5)]
    assert len(begins) == 2 and at == expected
    assert summary.not_kept == 100 - len(at) and frames[0].metadata["not_kept"] == at[0]
    both = record(tmp_path / "both", on_class=["green", "blue"], **how)  # type: ignore[arg-type]
    assert both.frames > summary.frames + 20


def test_no_model_makes_a_camera_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at three frames a second, and the camera delivers sixty."""
    over = threading.Event()

    def slow(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        over.wait(0.3)
        return np.array([0, 0, 1], np.float32)

    monkeypatch.setattr("storage.learn.classifier.open_classifier", lambda path: classifier(slow))
    summary = record(tmp_path / "day1.h5", 2, camera="demo", fps=60, size=(64, 48), model="slow.model", hold=0)
    over.set()
    assert summary.frames + summary.dropped_camera == 120 and summary.dropped_queue == 0
    with open_recording(tmp_path / "day1.h5") as recording:
        said = [frame.metadata.get("watch") for frame in recording]
        times = list(recording.timestamps_ns)
    assert said[0] is None and said[-1]["class"] == "blue"
    looked = {one["timestamp_ns"] for one in said if one}
    assert looked <= set(times) and len(looked) < 20
    assert all(one["timestamp_ns"] <= time for one, time in zip(said, times, strict=True) if one)


@pytest.mark.parametrize("live", [True, False])
def test_when_the_model_fails_the_recording_goes_on_and_keeps_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    def failing(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("no more memory")

    camera = "demo" if live else f"file:{film(tmp_path / 'day1.mkv', ('red', 60), fps=30)}"
    monkeypatch.setattr("storage.learn.classifier.open_classifier", lambda path: classifier(failing))
    lines: list[str] = []
    with pytest.raises(RecordingError, match=r"the model failed: .*no more memory") as failed:
        record(tmp_path / "day2.h5", 2, camera=camera, fps=30, model="bad.model", on_class=["red"], say=lines.append)
    summary = failed.value.summary
    assert summary.frames + summary.dropped_camera + summary.not_kept == 60 and summary.not_kept < (30 if live else 10)
    (told,) = [line for line in lines if "no more memory" in line]
    assert "the recording goes on" in told


def test_nothing_is_noted_once_the_model_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([np.array([1, 0, 0], np.float32)] * 7)
    monkeypatch.setattr("storage.learn.classifier.open_classifier", lambda path: classifier(lambda _: next(answers)))
    day = film(tmp_path / "day1.mkv", ("red", 12))
    with pytest.raises(RecordingError, match="StopIteration"):
        record(tmp_path / "day2", camera=f"file:{day}", model="bad.model", hold=0)
    with open_recording(tmp_path / "day2") as recording:
        assert ["watch" in frame.metadata for frame in recording] == [True] * 7 + [False] * 5


def test_wrong_usage_makes_nothing(tmp_path: Path) -> None:
    network = str(put_network(tmp_path))
    before = sorted(tmp_path.iterdir())
    for options, reason in (
        ({"on_class": ["red"]}, "give --watch MODEL"),
        ({"model": network, "on_class": ["rot"]}, "knows red, green, blue"),
        ({"model": network, "on_class": ["red"], "on_motion": 1.0}, "one of the two"),
        ({"model": network, "camera": "none", "sensors": ["a,rate=1=cat"]}, "looks at pictures"),
        ({"model": network, "on_class": ["red"], "pre_roll": -1.0}, "0 or more"),
    ):
        with pytest.raises(UsageError, match=reason):
            record(tmp_path / "day1.mkv", 1, **{"camera": "demo", **options})  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="No such file"):
        record(tmp_path / "day1.mkv", 1, camera="demo", model=str(tmp_path / "none.model"))
    assert sorted(tmp_path.iterdir()) == before


def test_the_newest_frame_is_looked_at_and_others_are_counted() -> None:
    looking, go_on = threading.Event(), threading.Event()
    seen = []

    def certainties(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(int(pixels[0, 0, 0]))
        looking.set()
        go_on.wait(120)
        return np.array([1, 0, 0], np.float32)

    watching = Watching(classifier(certainties), 0)
    for n in range(6):
        watching.offer(Frame(np.full((2, 2, 3), n, np.uint8), n, n))
        if n == 0:
            assert looking.wait(120)
    go_on.set()
    watching.close()
    assert seen == [0, 5] and (watching.seen, watching.skipped) == (2, 4)
    assert watching.last is not None and watching.last.timestamp_ns == 5


def test_what_is_no_number_is_a_failure_and_no_verdict() -> None:
    answers = iter(np.array([[1, 0, 0], [0.2, np.nan, 0.8], [0, 1, 0]], np.float32))
    told: list[str | None] = []
    watching = Watching(classifier(lambda _: next(answers)), 0, lambda _, verdict: told.append(verdict.name))
    watching.look(Frame(plain("red"), 0, 0))
    with pytest.raises(StorageError, match=r"of the test gives no numbers for frame 1"):
        watching.look(Frame(plain("red"), 1, 100_000_000))
    assert len(told) == 1
    assert watching.look(Frame(plain("green"), 2, 60_000_000_000)).name == "green"  # what was smoothed is whole

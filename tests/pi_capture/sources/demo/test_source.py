"""The drawn room: the same frames from the same seed, labels that fit the pictures, and a camera's way with time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import groupby, islice, pairwise

import numpy as np
import pytest

from pi_capture.errors import UsageError
from pi_capture.sources import open_source
from pi_capture.sources.demo import draw

SMALL = (32, 24)


def labels_over(seconds: int, fps: int, seed: int) -> np.ndarray:
    return np.array([draw(seed, n, fps, (16, 16))[1] for n in range(seconds * fps)])


# --------------------------------------------------------------------------------------------------------- the pictures


def test_a_frame_is_the_same_whenever_it_is_drawn() -> None:
    numbers = [0, 500, 3, 100_000]
    there = {n: draw(7, n, 30, SMALL)[0].tobytes() for n in numbers}
    draw(1, 0, 30, SMALL), draw(2, 0, 30, SMALL), draw(3, 0, 30, SMALL)
    back = {n: draw(7, n, 30, SMALL)[0].tobytes() for n in reversed(numbers)}
    assert back == there
    assert len(set(there.values())) == len(numbers)


def test_a_frame_is_the_same_in_another_process() -> None:
    program = (
        "import hashlib; from pi_capture.sources.demo import draw;"
        "print(hashlib.sha256(draw(5, 1234, 25, (96, 64))[0]).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(draw(5, 1234, 25, (96, 64))[0]).hexdigest()


def test_another_seed_is_another_room() -> None:
    zero, one = (draw(seed, 0, 30, SMALL)[0].astype(int) for seed in (0, 1))
    assert abs(zero - one).mean() > 5


def test_scene_time_is_number_by_fps() -> None:
    for seconds in (1, 7, 33):
        slow, slow_label = draw(0, 10 * seconds, 10, SMALL)
        fast, fast_label = draw(0, 120 * seconds, 120, SMALL)
        assert slow_label == fast_label
        assert abs(slow.astype(int) - fast).mean() < 5  # of noise


def test_each_frame_has_its_own_noise() -> None:
    first, second = (draw(0, n, 10_000, (128, 128))[0].astype(int) for n in (0, 1))  # the same moment
    noise = (first - second) / 2**0.5
    assert 2 < noise.std() < 4
    assert abs(noise.mean()) < 0.1
    wrapped = abs(first - second) > 100  # dark or bright pixels must not turn into their opposites
    assert not wrapped.any()


def test_light_and_place_drift_smoothly() -> None:
    pictures = np.stack([draw(3, n, 30, (64, 64))[0].astype(float) for n in range(0, 900, 30)])
    brightness = pictures.mean(axis=(1, 2, 3))
    assert np.ptp(brightness) > 5
    steps = [abs(draw(3, n + 1, 30, (64, 64))[0].astype(float) - draw(3, n, 30, (64, 64))[0]).mean() for n in range(90)]
    assert max(steps) < 12


@pytest.mark.parametrize(
    "size", [(16, 16), (17, 31), (31, 17), (128, 128), (129, 127), (16, 400), (701, 16), (640, 480)]
)
def test_any_size(size: tuple[int, int]) -> None:
    pixels, label = draw(0, 40, 30, size)
    assert pixels.shape == (size[1], size[0], 3)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable
    assert label in range(5)
    assert pixels.std() > 15


# ----------------------------------------------------------------------------------------------------------- the labels


@pytest.mark.parametrize("seed", [0, 1, -9])
def test_classes_are_balanced_and_never_far(seed: int) -> None:
    fps, seconds = 10, 200
    labels = labels_over(seconds, fps, seed)
    share = np.bincount(labels, minlength=5) / len(labels)
    assert share[0] <= 0.4
    assert min(share) > 0.1
    for start in range(0, len(labels) - 40 * fps, fps):
        assert set(labels[start : start + 40 * fps]) == {0, 1, 2, 3, 4}


def test_actions_last_and_have_idling_between_them() -> None:
    runs = [(label, len(list(run)) / 20) for label, run in groupby(labels_over(100, 20, seed=4))]
    for label, seconds in runs[1:-1]:
        assert (1.3 if label == 0 else 1.5) <= seconds <= 5.0, label
    assert all((a == 0) != (b == 0) for (a, _), (b, _) in pairwise(runs))


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_show_what_they_are_called(seed: int) -> None:
    frames = [draw(seed, n, 5, (100, 100)) for n in range(400)]
    mean = np.stack([np.mean([pixels for pixels, shown in frames if shown == label], axis=0) for label in range(5)])
    door_gap, lamp, floor = mean[:, 30:70, 22:25], mean[:, 8:14, 56:64], mean[:, 96:99, 43:50]
    assert door_gap.mean(axis=(1, 2, 3)).argmax() == 1
    assert lamp.mean(axis=(1, 2, 3)).argmax() == 2
    assert floor.mean(axis=(1, 2, 3)).argmin() == 4  # dark shoes, a step towards us


@pytest.mark.parametrize("seed", [0, 3])
def test_labels_can_be_learnt_from_the_pictures(seed: int) -> None:
    """Ridge regression on thumbnails, trained on three minutes, tells the classes of the fourth."""
    frames = [draw(seed, n, 5, (24, 24)) for n in range(1200)]
    labels = np.array([label for _, label in frames])
    pixels = np.stack([pixels for pixels, _ in frames]).reshape(len(frames), -1) / 255
    features = np.c_[pixels - pixels.mean(axis=1, keepdims=True), np.ones(len(frames))]
    seen, unseen = features[:900], features[900:]
    weights = seen.T @ np.linalg.solve(seen @ seen.T + 10 * np.eye(len(seen)), np.eye(5)[labels[:900]])
    right = (unseen @ weights).argmax(axis=1) == labels[900:]
    assert right.mean() > 0.9
    assert min(right[labels[900:] == label].mean() for label in range(5)) > 0.5


# ----------------------------------------------------------------------------------------------------------- the camera


def test_what_it_is() -> None:
    source = open_source("demo:7", (64, 48), 12.5)
    assert source.info.camera == "demo:7" and source.info.model == "drawn room"
    assert source.info.size == (64, 48) and source.info.fps == 12.5 and source.info.live
    source.close()


def test_what_is_not_asked_for() -> None:
    source = open_source("demo", None)
    assert (source.info.camera, source.info.size, source.info.fps) == ("demo:0", (640, 480), 30.0)
    assert next(iter(source)).pixels.shape == (480, 640, 3)
    source.close()


def test_frames_lie_on_the_grid_and_are_those_of_the_seed() -> None:
    source = open_source("demo:3", SMALL, 40)
    before_ns = time.monotonic_ns()
    number, first_ns = -1, 0
    for index, frame in enumerate(islice(source, 12)):
        assert time.monotonic_ns() >= frame.timestamp_ns >= before_ns  # no frame before its time
        number += 1 + frame.metadata.get("dropped_camera", 0)
        first_ns = first_ns or frame.timestamp_ns
        assert frame.index == index
        assert frame.timestamp_ns - first_ns == round(number * 1e9 / 40)
        pixels, label = draw(3, number, 40, SMALL)
        assert np.array_equal(frame.pixels, pixels)
        assert frame.metadata["label"] == label
    source.close()


@pytest.mark.parametrize("fps", [30, 1000])
def test_frames_that_nobody_took_are_counted(fps: int) -> None:
    source = open_source("demo", SMALL, fps)
    frames = iter(source)
    first = next(frames)
    time.sleep(0.3)
    late = next(frames)
    dropped = late.metadata["dropped_camera"]
    assert dropped >= 0.3 * fps - 2
    assert late.timestamp_ns - first.timestamp_ns == round((dropped + 1) * 1e9 / fps)
    assert np.array_equal(late.pixels, draw(0, dropped + 1, fps, SMALL)[0])
    source.close()


def test_a_fast_camera_repeats_pictures_not_noise() -> None:
    source = open_source("demo", SMALL, 2000)
    number = -1
    pictures = set()
    for frame in islice(source, 300):
        number += 1 + frame.metadata.get("dropped_camera", 0)
        assert np.array_equal(frame.pixels, draw(0, number, 2000, SMALL)[0])
        pictures.add(frame.pixels.tobytes())
    assert len(pictures) > 290
    source.close()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_closing_ends_the_wait_for_a_frame() -> None:
    source = open_source("demo", SMALL, 0.01)  # the second frame is 100 s away
    taken: list[int] = []
    thread = in_thread(lambda: taken.extend(frame.index for frame in source))
    while not taken and thread.is_alive():
        time.sleep(0.005)
    source.close()
    source.close()
    thread.join(120)
    assert not thread.is_alive()
    assert taken == [0]
    assert list(source) == []


@pytest.mark.parametrize("spec", ["demo:seven", "demo:1.5", "demo: ", "demo:" + "9" * 5000])
def test_a_seed_is_a_whole_number(spec: str) -> None:
    with pytest.raises(UsageError, match="whole number") as caught:
        open_source(spec, SMALL)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 100


@pytest.mark.parametrize("size", [(15, 128), (128, 1), (0, 0)])
def test_sizes_that_nobody_can_draw(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="too small"):
        open_source("demo", size)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e-300])
def test_rates_that_no_camera_has(fps: float) -> None:
    with pytest.raises(UsageError, match="frames per second"):
        open_source("demo", SMALL, fps)

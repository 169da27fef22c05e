"""Folds: whole stretches of time, with nothing near them on the other side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage.convert.convert import convert
from storage.formats.table import open_recording
from storage.learn.folds import common_seconds, far_from, held_out_certainties, make_folds
from tests.support.scenes import record_acts


def test_each_fold_has_its_share_of_each_class() -> None:
    labels = np.repeat(np.arange(4).tolist() * 15, 40)
    seconds = np.arange(len(labels)) / 10
    folds = make_folds(seconds, labels)
    shares = np.array([[np.mean(folds[labels == name] == fold) for fold in range(5)] for name in range(4)])
    assert shares.min() > 0.1 and shares.max() < 0.3


def test_a_fold_is_of_whole_stretches_in_whatever_order_frames_come() -> None:
    labels = np.repeat([0, 1, 2] * 12, 30)
    seconds = np.arange(len(labels)) / 10
    folds = make_folds(seconds, labels)
    assert np.count_nonzero(np.diff(folds)) < 60
    shuffled = np.random.default_rng(0).permutation(len(labels))
    assert np.array_equal(make_folds(seconds[shuffled], labels[shuffled]), folds[shuffled])


def test_far_from_leaves_out_what_is_near_in_time() -> None:
    seconds = np.array([9.0, 0.0, 5.0, 4.0, 100.0, 2.0])
    held_out = seconds == 5
    assert seconds[far_from(held_out, seconds)].tolist() == [9, 0, 100, 2]


def test_no_frame_is_judged_by_what_was_learnt_near_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stretch has a look of its own: near frames tell all, far ones nothing."""
    random = np.random.default_rng(5)
    labels = np.repeat(random.permutation(np.arange(60) % 3), 30)
    looks = np.repeat(random.normal(size=(60, 90)), 30, axis=0)
    described = (looks + random.normal(0, 0.05, looks.shape)).astype(np.float32)
    seconds = np.arange(len(labels)) / 10
    certainties = held_out_certainties(described, seconds, labels, 3, make_folds(seconds, labels))
    assert np.mean(certainties.argmax(axis=1) == labels) < 0.5
    at_random = random.integers(0, 5, len(labels))
    monkeypatch.setattr("storage.learn.folds.GAP_SECONDS", 0.0)
    remembered = held_out_certainties(described, seconds, labels, 3, at_random)
    assert np.mean(remembered.argmax(axis=1) == labels) > 0.95


def test_copies_of_a_recording_are_at_the_same_time_and_other_recordings_far_away(tmp_path: Path) -> None:
    record_acts(tmp_path / "day1", ["0", "1"])
    record_acts(tmp_path / "day2", ["0", "1"])
    convert(tmp_path / "day1", tmp_path / "copy.mkv")
    recordings = [open_recording(tmp_path / name) for name in ("day1", "day2", "copy.mkv")]
    day1, day2, copy = common_seconds(recordings).reshape(3, -1)
    np.testing.assert_allclose(copy - copy[0], day1 - day1[0], atol=0.002)
    assert abs(copy[0] - day1[0]) < 1 and np.abs(day2 - day1).min() > 1000


def test_recordings_of_cameras_are_where_the_wall_clock_says(tmp_path: Path) -> None:
    for name, offset in (("left", 50_000_000_000), ("right", 51_000_000_000)):
        facts = {"live": True, "wall_minus_monotonic_ns": offset}
        record_acts(tmp_path / name, ["0", "1"], facts=facts)
    left, right = common_seconds([open_recording(tmp_path / name) for name in ("left", "right")]).reshape(2, -1)
    np.testing.assert_allclose(right - left, 1.0)

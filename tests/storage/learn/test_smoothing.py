"""Certainties over time: with the whole recording at hand, and while frames come."""

from __future__ import annotations

import numpy as np
import pytest

from storage.learn.smoothing import Smoother, smooth


def certain(labels: list[int], how: float = 0.9, classes: int = 3) -> np.ndarray:
    rows = np.full((len(labels), classes), (1 - how) / (classes - 1), np.float32)
    rows[np.arange(len(labels)), labels] = how
    return rows


def test_an_odd_frame_does_not_begin_another_class() -> None:
    assert smooth(certain([0] * 10 + [2] + [0] * 10)).tolist() == [0] * 21


def test_a_class_that_lasts_begins_where_it_begins() -> None:
    labels = [0] * 10 + [1] * 8 + [2] * 9
    assert smooth(certain(labels)).tolist() == labels


def test_any_class_may_begin_after_a_pause() -> None:
    labels = [0] * 10 + [1] + [0] * 10
    assert smooth(certain(labels), seams=[10, 11]).tolist() == labels


@pytest.mark.parametrize("shape", [(0, 3), (5, 1), (1, 3)])
def test_few_frames_or_classes(shape: tuple[int, int]) -> None:
    assert smooth(np.full(shape, 1 / shape[1], np.float32)).shape == shape[:1]


def test_certainties_of_0_are_no_proof() -> None:
    rows = np.zeros((6, 2), np.float32)
    rows[:, 0] = 1
    rows[3] = [0, 1]
    assert smooth(rows).tolist() == [0] * 6


def test_while_frames_come_an_odd_one_changes_nothing() -> None:
    smoother = Smoother(3)
    shown = [smoother.update(row, number / 20) for number, row in enumerate(certain([0] * 10 + [1] + [0] * 5))]
    assert shown == [0] * 16
    assert smoother.certainties.dtype == np.float32 and smoother.certainties.sum() == pytest.approx(1, abs=1e-5)


def test_a_class_is_shown_once_it_has_led_for_the_time_asked_for() -> None:
    smoother = Smoother(2, hold=0.5)
    shown = [smoother.update(row, number / 10) for number, row in enumerate(certain([0] * 10 + [1] * 12, 0.97, 2))]
    assert shown[:5] == [None] * 5 and shown[5] == 0
    change = shown.index(1)
    assert 15 <= change <= 17 and set(shown[change:]) == {1}


def test_the_longer_nothing_was_seen_the_sooner_another_class_is_believed() -> None:
    at_once, later = Smoother(2), Smoother(2)
    for smoother, pause in ((at_once, 0.02), (later, 60.0)):
        for number, row in enumerate(certain([0] * 10, 0.97, 2)):
            smoother.update(row, number / 10)
        smoother.update(certain([1], 0.97, 2)[0], 0.9 + pause)
    assert (at_once.label, later.label) == (0, 1)

"""Losses seen in timestamps: every real one is counted, jitter is not."""

from __future__ import annotations

import random

import pytest

from pi_capture.sources.gaps import GapCounter

PERIOD = 33_333_333


def count(times: list[float], period_ns: int = PERIOD) -> list[int]:
    gaps = GapCounter()
    return [gaps.missing_before(round(time * PERIOD), period_ns) for time in times]


def test_steady_frames_and_plain_gaps() -> None:
    assert count([0, 1, 2, 4, 5, 9, 10]) == [0, 0, 0, 1, 0, 3, 0]
    assert count([0, 5, 10], 0) == [0, 0, 0]  # nobody knows how long a frame takes


def test_a_late_frame_that_is_made_up_for_is_no_loss() -> None:
    assert sum(count([0, 1, 2.72, 3.08, 4, 5])) == 0


def test_a_loss_that_shows_late_is_counted_once() -> None:
    assert sum(count([0, 1, 2.72, 4.0, 5, 6])) == 1


@pytest.mark.parametrize("off", [0.98, 0.995, 1.005, 1.02])
def test_a_duration_that_is_a_little_off_never_adds_up(off: float) -> None:
    assert sum(count([n * off for n in range(20_000)])) == 0


def test_losses_among_jitter() -> None:
    rng = random.Random(3)
    kept = [n for n in range(5000) if n in (0, 4999) or rng.random() > 0.02]
    jittered = [n + rng.uniform(-0.1, 0.1) for n in kept]
    assert sum(count(jittered)) == 5000 - len(kept)

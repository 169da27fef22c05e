"""Questions: one of each kind of frames, wherever in the recording that kind is, and none that is answered already."""

from __future__ import annotations

import numpy as np

from storage.learn.ask import typical

KINDS = np.random.default_rng(3).normal(size=(5, 12)).astype(np.float32) * 9


def frames(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.random.default_rng(4).normal(size=(len(kinds), 12)).astype(np.float32)
    return KINDS[kinds] + noise, kinds


def test_one_frame_of_each_kind_is_asked_for() -> None:
    described, kinds = frames([300, 20, 50, 10, 120])
    asked = typical(described, 5)
    assert sorted(kinds[asked]) == [0, 1, 2, 3, 4] and kinds[asked[0]] == 0


def test_it_is_the_most_typical_one() -> None:
    described, kinds = frames([100, 100, 100, 100, 100])
    off = np.linalg.norm(described - KINDS[kinds], axis=1)
    for position in typical(described, 5):
        assert off[position] < np.median(off[kinds == kinds[position]])


def test_kinds_that_are_known_are_not_asked_for() -> None:
    described, kinds = frames([100, 60, 40, 30, 20])
    known = [5, 102]  # of the kinds 0 and 1
    assert set(kinds[typical(described, 3, known)]) == {2, 3, 4}


def test_what_can_not_be_described_is_not_asked_for() -> None:
    described, _ = frames([10, 10, 10, 10, 10])
    described[7:44] = np.nan
    assert not set(typical(described, 20)) & set(range(7, 44))
    assert typical(np.full((4, 3), np.nan, np.float32), 2) == []


def test_long_recordings_are_asked_for_from_all_parts() -> None:
    described, kinds = frames([4000, 3000, 2500, 2600, 5000])
    assert sorted(kinds[typical(described, 5)]) == [0, 1, 2, 3, 4]

"""The linear head: what it learns, and what it makes of classes that are rare or missing."""

from __future__ import annotations

import tracemalloc

import numpy as np

from storage.learn.head import MOST_OF_CLASS, fit_head


def clouds(counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 7) around a centre for each class, on scales that differ a thousandfold; and their classes."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = np.random.default_rng(99).normal(0, 3, (len(counts), 7))
    points = (centres[labels] + random.normal(0, 1, (len(labels), 7))) * np.logspace(-1, 2, 7)
    return points.astype(np.float32), labels


def test_it_separates_what_is_separable_and_says_how_certain_it_is() -> None:
    points, labels = clouds([80, 60, 90])
    head = fit_head(points, labels, 3)
    others, truth = clouds([50, 50, 50], seed=1)
    certainties = head.certainties(others)
    assert certainties.dtype == np.float32 and certainties.shape == (150, 3)
    np.testing.assert_allclose(certainties.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(certainties.argmax(axis=1) == truth) > 0.97
    np.testing.assert_allclose(head.certainties(others[7]), certainties[7], rtol=1e-4)


def test_many_frames_are_judged_in_little_memory() -> None:
    points, labels = clouds([40, 40])
    head = fit_head(points, labels, 2)
    many = np.tile(points, (1000, 1))[:-7]  # the last block is not full
    assert head.certainties(many[:0]).shape == (0, 2)
    tracemalloc.start()
    certainties = head.certainties(many)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(certainties[-73:], head.certainties(points[:-7]), rtol=1e-4)
    assert len(certainties) == len(many) and most < 3 * certainties.nbytes < many.nbytes


def test_the_same_frames_give_the_same_head() -> None:
    points, labels = clouds([40, 40])
    one, two = fit_head(points, labels, 2), fit_head(points, labels, 2)
    assert np.array_equal(one.weights, two.weights) and np.array_equal(one.bias, two.bias)


def test_a_rare_class_weighs_as_much_as_a_frequent_one() -> None:
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], [950, 50])
    points = (random.normal(0, 1, (1000, 4)) + 1.5 * labels[:, None]).astype(np.float32)
    guess = fit_head(points, labels, 2).certainties(points).argmax(axis=1)
    recalls = [np.mean(guess[labels == number] == number) for number in (0, 1)]
    assert min(recalls) > 0.85


def test_a_class_without_frames_gets_no_certainty() -> None:
    points, labels = clouds([30, 30])
    labels[labels == 1] = 2
    certainties = fit_head(points, labels, 4).certainties(points)
    assert certainties[:, [1, 3]].max() < 1e-6


def test_numbers_that_never_change_and_single_frames_do_no_harm() -> None:
    points, labels = clouds([1, 1])
    points[:, 3] = 5
    certainties = fit_head(points, labels, 2).certainties(points)
    assert np.isfinite(certainties).all() and (certainties.argmax(axis=1) == labels).all()


def test_of_a_long_class_frames_from_all_over_it_are_taken() -> None:
    count = 3 * MOST_OF_CLASS
    labels = np.repeat([0, 1], count)
    points = np.zeros((2 * count, 2), np.float32)
    points[:, 0] = np.tile(np.arange(count) / count, 2) + 2 * labels  # each class drifts
    points[:, 1] = np.random.default_rng(0).normal(size=2 * count)
    assert np.mean(fit_head(points, labels, 2).certainties(points).argmax(axis=1) == labels) > 0.999

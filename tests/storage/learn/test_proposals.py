"""What a model proposes: runs for what has no label, doubts about what has one."""

from __future__ import annotations

import numpy as np
import pytest

from storage.labels.history import NONE
from storage.learn.proposals import Gate, Proposal, doubted, lessons, propose, unseen


def certainties(truth: list[int], classes: int = 3, right: float = 0.9) -> np.ndarray:
    found = np.full((len(truth), classes), (1 - right) / (classes - 1), np.float32)
    found[np.arange(len(truth)), truth] = right
    return found


def test_runs_are_proposed_for_frames_without_a_label() -> None:
    truth = [0] * 20 + [2] * 30 + [1] * 10
    labels = np.full(60, NONE, np.uint8)
    labels[25:30] = 2
    labels[50:] = 1
    found = propose(certainties(truth), labels)
    assert [(run.start, run.stop, run.label) for run in found] == [(0, 20, 0), (20, 50, 2)]
    assert all(run.certainty == pytest.approx(0.9) for run in found)


def test_labels_are_believed_more_than_the_model() -> None:
    labels = np.full(30, NONE, np.uint8)
    labels[10:20] = 1
    found = propose(certainties([0] * 30), labels)
    assert [(run.start, run.stop, run.label) for run in found] == [(0, 10, 0), (20, 30, 0)]


def test_frames_without_a_description_go_with_those_around_them() -> None:
    given = certainties([0] * 10 + [1] * 10)
    given[3:6] = np.nan
    found = propose(given, np.full(20, NONE, np.uint8))
    assert [(run.start, run.stop, run.label) for run in found] == [(0, 10, 0), (10, 20, 1)]


def test_a_run_is_as_certain_as_most_of_it() -> None:
    given = certainties([0] * 40, right=0.99)
    given[10:20] = [0.5, 0.3, 0.2]
    (run,) = propose(given, np.full(40, NONE, np.uint8))
    assert run.certainty == pytest.approx(0.5) and not run.is_likely


def test_frames_beside_borders_teach_nothing_and_long_runs_not_everything() -> None:
    labels = np.array([0] * 30 + [1] * 3 + [NONE] * 5 + [2] + [7] * 9, np.uint8)
    taught = lessons(labels, 3, 100)
    assert taught.tolist() == [2, 7, 12, 17, 22, 27, 31, 38]
    assert len(lessons(labels, 3, 4)) == 4


def test_labels_that_held_out_certainties_contradict_are_doubted_the_least_likely_first() -> None:
    truth = [0] * 40 + [1] * 40
    given = certainties(truth, 3, 0.8)
    given[60:70] = certainties([1] * 10, 3, 0.99)
    labels = np.array(truth, np.uint8)
    labels[10:20], labels[60:70], labels[75:] = 1, 2, NONE
    assert doubted(given, labels) == [
        Proposal(60, 70, 1, pytest.approx(0.995, abs=1e-4)),
        Proposal(10, 20, 0, pytest.approx(0.9, abs=1e-4)),
    ]


def test_one_of_five_sure_runs_is_shown_all_the_same() -> None:
    runs = [Proposal(n, n + 1, 0, 0.96 if n % 2 else 0.6) for n in range(40)]
    taken = unseen(runs)
    assert len(taken) == 16 and all(run.is_sure for run in taken)
    assert len(unseen(runs[:8], before=1)) == 3  # the fourth is the fifth of all


def test_the_gate_opens_and_shuts() -> None:
    gate = Gate()
    for _ in range(13):
        gate.note(right=True)
    assert not gate.is_open
    gate.note(right=True)
    assert gate.is_open
    gate.correct()
    assert not gate.is_open and gate.right == 13

"""What is asked and proposed, against a person who knows the classes of those frames only that are shown."""

from __future__ import annotations

import random
from itertools import pairwise
from math import ceil, log2
from pathlib import Path

import pytest

from classify.assist import Asking, Assist
from classify.keeper import Keeper
from classify.session import NONE, Change, Group, Session
from storage import open_recording
from storage.labels import PERSON, SEEN, UNSEEN
from storage.labels.classes import DEFAULT
from storage.labels.history import replay
from storage.labels.journal import LabelJournal, read_journal
from storage.labels.origins import count_origins
from storage.learn.proposals import LAST, Proposal
from tests.support.labelled import record


@pytest.mark.parametrize("tolerance", [0, 1, 3])
@pytest.mark.parametrize("border", [1, 2, 37, 60, 99])
def test_a_border_is_bisected(border: int, tolerance: int) -> None:
    session = Session(100)
    assist = Assist(session, tolerance)
    session.paint(0, 1, 2)
    session.paint(99, 100, 4)
    keys = 0
    assert assist.seek_border()
    while assist.asking is Asking.BORDERS:
        assist.answer(2 if session.cursor < border else 4)
        keys += 1
    found = session.labels.index(4)
    assert set(session.labels) == {2, 4} and abs(found - border) <= tolerance
    assert keys <= 1 + ceil(log2(99 / (2 * tolerance + 1)))
    assert not assist.seek_border()


def test_a_third_class_between_two_known_ones_has_two_borders() -> None:
    truth = [0] * 20 + [3] * 20 + [1] * 20
    session = Session(60)
    session.paint(0, 1, 0)
    session.paint(59, 60, 1)
    assist = Assist(session)
    assist.seek_border()
    while assist.asking is Asking.BORDERS:
        assist.answer(truth[session.cursor])
    assert list(session.labels) == truth


def test_one_undo_takes_back_what_an_answer_filled_in() -> None:
    session = Session(9)
    session.paint(0, 1, 0)
    session.paint(8, 9, 1)
    assist = Assist(session, tolerance=9)
    assist.seek_border()
    before = bytes(session.labels)
    assert isinstance(assist.answer(1), Group) and NONE not in session.labels
    session.undo()
    assert session.labels == before


def a_recording(chance: random.Random) -> list[int]:
    """Labels with stretches of all lengths, flickering ones, too."""
    truth: list[int] = []
    while len(truth) < 400:
        truth += [chance.randrange(4)] * chance.choice([1, 2, 3, 5, 8, 20, 45, 46, 110])
    return truth


def judge(session: Session, assist: Assist, truth: list[int]) -> None:
    """Answer for the run that is shown, by the frames that are shown of it."""
    cells, inside = assist.shown()
    seen = [truth[cell] for cell in cells]
    other = next((number for number, label in enumerate(seen[:inside]) if label != seen[0]), None)
    if other is not None:
        assist.end_before(other)
    elif assist.run is not None and seen[0] == assist.run.label:
        assist.accept()
    else:
        assist.answer(seen[0])


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("tolerance", [0, 2])
def test_nothing_is_wrong_beyond_the_tolerance_whatever_is_proposed(seed: int, tolerance: int) -> None:
    """Of runs that the model is not sure of, little is hidden between the frames shown; and it costs less than a key a
    frame."""
    chance = random.Random(seed)
    truth = a_recording(chance)
    session = Session(len(truth))
    assist = Assist(session, tolerance)
    assist.learnt([Proposal(n, n + 50, chance.randrange(4), 0.5) for n in range(0, 400, 50)], "cafe")
    assist.next_run()
    keys = 0
    while assist.run is not None:
        judge(session, assist, truth)
        keys += 1
        assert keys <= len(truth)
    borders = [n for n, (one, other) in enumerate(pairwise(truth), 1) if one != other]
    hidden = 2 if tolerance else 5  # frames are shown five apart at most
    excused = {n for border in borders for n in range(border - hidden, border + hidden)}
    assert [n for n, label in enumerate(session.labels) if label != truth[n] and n not in excused] == []


def sure_runs(count: int) -> list[Proposal]:
    return [Proposal(10 * n, 10 * n + 10, n % 3, 0.99) for n in range(count)]


def test_nothing_goes_unseen_before_the_gate_is_open(tmp_path: Path) -> None:
    """And then all but one of five sure runs does, in one change that one undo takes back and the journal keeps."""
    record(tmp_path / "day", [None] * 600)
    with open_recording(tmp_path / "day") as recording:
        names = recording.names
    session = Session(600)
    assist = Assist(session, tolerance=2)
    with LabelJournal(tmp_path / "day" / "labels.jsonl") as journal:
        keeper = Keeper(journal, names, DEFAULT, 0)
        assist.learnt(sure_runs(60), "cafe")
        assist.next_run()
        for _ in range(LAST - 1):
            assert not assist.gate.is_open and assist.accept_sure() is None
            event = assist.accept()
            assert event is not None
            keeper.keep(event, session.cursor)
        assert assist.gate.is_open
        before = bytes(session.labels)
        event = assist.accept_sure()
        assert isinstance(event, Group)
        keeper.keep(event, session.cursor)
        left = [run for run in sure_runs(60) if session.labels[run.start] == NONE]
        assert len(left) == (60 - LAST + 1) // 5
        assert assist.run in left
    entries = read_journal(tmp_path / "day" / "labels.jsonl")
    again = Session(600)
    replay(again, names, entries)
    assert again.labels == session.labels
    with open_recording(tmp_path / "day") as recording:
        assert count_origins(recording) == {SEEN: 10 * (LAST - 1), UNSEEN: 10 * len(event.changes)}
    session.undo()
    assert session.labels == before


def test_a_wrong_end_or_class_keeps_the_gate_shut() -> None:
    for spoil in ("class", "end", "later"):
        session = Session(600)
        assist = Assist(session)
        assist.learnt(sure_runs(60), "cafe")
        assist.next_run()
        for number in range(LAST):
            run = assist.run
            assert run is not None
            if number % 5 or spoil == "later":
                assist.accept()
            elif spoil == "class":
                assist.answer((run.label + 1) % 3)
            else:
                assist.nudge(-1)
                assist.accept()
            if spoil == "later" and number % 5 == 0 and assist.run is not None:  # the end came too early
                assist.answer(run.label)
        assert not assist.gate.is_open, spoil


def test_what_is_undone_does_not_open_the_gate() -> None:
    session = Session(600)
    assist = Assist(session)
    assist.learnt(sure_runs(60), "cafe")
    assist.next_run()
    assist.accept()
    for _ in range(LAST):
        assist.accept()
        session.undo()
        assist.undone()
        assist.next_run()
    assert assist.gate.right == 1
    session.paint(0, 1, 2)  # nothing was proposed here
    for right in (1, 0):
        session.undo()
        assist.undone()
        assert assist.gate.right == right


def test_what_a_person_labelled_stays_whatever_the_model_proposes_later() -> None:
    session = Session(30)
    session.paint(5, 8, 2)
    assist = Assist(session)
    assist.learnt([Proposal(0, 30, 0, 0.99)], "cafe")
    assist.next_run()
    assist.accept()
    assert list(session.labels) == [0] * 5 + [2] * 3 + [0] * 22


def test_an_answer_names_the_model_that_proposed_the_run() -> None:
    session = Session(40)
    assist = Assist(session)
    assist.learnt([Proposal(0, 30, 0, 0.99)], "cafe")
    assist.next_run()
    assist.learnt([Proposal(30, 40, 0, 0.99)], "f00d")  # while the person looks at the run
    events = [assist.accept(), assist.accept()]
    assert [event.proposed.model for event in events if isinstance(event, Change) and event.proposed] == [
        "cafe",
        "f00d",
    ]


def test_the_least_certain_run_is_shown_first_if_asked_for() -> None:
    session = Session(30)
    assist = Assist(session)
    assist.learnt([Proposal(0, 10, 0, 0.9), Proposal(10, 20, 1, 0.4), Proposal(20, 30, 0, 0.8)], "cafe")
    assist.least_certain_first = True
    starts = []
    assist.next_run()
    while assist.run is not None:
        starts.append(assist.run.start)
        assist.accept()
    assert starts == [10, 20, 0]


def test_labels_in_doubt_are_given_anew(tmp_path: Path) -> None:
    session = Session(20, bytes([0] * 20))
    assist = Assist(session)
    assist.doubt([Proposal(5, 8, 1, 0.9), Proposal(12, 14, 1, 0.7)])
    assist.accept()
    assist.answer(0)  # it was right
    assert list(session.labels) == [0] * 5 + [1] * 3 + [0] * 12 and assist.asking is Asking.NOTHING


def test_a_person_gives_labels_unless_the_model_did(tmp_path: Path) -> None:
    record(tmp_path / "day", ["door", None])
    with open_recording(tmp_path / "day") as recording:
        assert count_origins(recording) == {PERSON: 1}

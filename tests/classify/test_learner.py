"""What is learnt beside labelling, from real frames in its thread and its process, and that both end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from classify.actions import Actions
from classify.assist import Asking, Assist
from classify.learner import QUESTIONS, Learner
from classify.session import Session
from classify.window.keymap import Action, Do
from classify.window.view import Legend
from storage.labels.history import NONE
from storage.learn.head import Head, fit_head
from storage.learn.proposals import Proposal
from tests.classify.window.test_assist import TRUTH, record_scenes
from tests.support import wait_for

if TYPE_CHECKING:
    from classify.pictures import Pictures


pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    record_scenes(tmp_path / "day")
    return tmp_path / "day"


@pytest.fixture
def learner(eager: None, day: Path) -> Iterator[Learner]:
    learner = Learner(day, range(len(TRUTH)), 3)
    learner.start()
    yield learner
    learner.close()


def three_missing() -> Session:
    return Session(len(TRUTH), bytes(TRUTH[:3]) + bytes([NONE]) * 3 + bytes(TRUTH[6:]))


def actions_with(learner: Learner | None, session: Session, pictures: Pictures | None = None) -> Actions:
    """A window's actions, without a window."""

    def nothing(*_: object) -> None:
        pass

    legend = Legend("day", [], 3)
    seen = cast("Pictures", pictures)  # none where the learner knows the frames
    return Actions(
        session, seen, legend, time.monotonic, keep=nothing, load=nothing, assist=Assist(session), learner=learner
    )


def test_it_asks_and_proposes(learner: Learner) -> None:
    learner.ask(bytes([NONE]) * len(TRUTH))  # may be asked for before the frames are described
    wait_for(lambda: learner.questions is not None)
    assert learner.is_ready and "small grey pictures" in learner.note
    asked = learner.questions or []
    assert len(asked) == QUESTIONS and {TRUTH[position] for position in asked} == {0, 1, 2}
    labels = bytearray([NONE]) * len(TRUTH)
    for position in asked:
        labels[position] = TRUTH[position]
    learner.learn(bytes(labels))
    wait_for(lambda: learner.proposals is not None)
    proposals, model = learner.proposals or ([], "")
    assert len(model) == 12
    for run in proposals:
        assert set(TRUTH[run.start : run.stop]) == {run.label}
        labels[run.start : run.stop] = bytes([run.label]) * (run.stop - run.start)
    assert list(labels) == TRUTH


def test_one_class_alone_teaches_nothing(learner: Learner) -> None:
    learner.learn(bytes([1]) * 40 + bytes([NONE]) * (len(TRUTH) - 40))
    wait_for(lambda: learner.proposals is not None)
    assert learner.proposals == ([], "")


def test_labels_are_doubted_that_the_other_stretches_contradict(learner: Learner) -> None:
    labels = bytearray(TRUTH)
    labels[115:125] = bytes([1]) * 10  # in the middle of the second stretch of 0
    learner.doubt(bytes(labels))
    wait_for(lambda: learner.doubts is not None)
    first = (learner.doubts or [])[0]
    assert (first.start, first.stop, first.label) == (115, 125, 0)


def test_a_damaged_frame_is_told_and_not_asked_for(day: Path) -> None:
    (day / "00000007.png").write_bytes((day / "00000007.png").read_bytes()[:300])
    learner = Learner(day, range(len(TRUTH)), 3)
    learner.start()
    wait_for(lambda: learner.is_ready)
    assert learner.take_damaged() == [7] and learner.take_damaged() == []
    learner.close()


def test_it_ends_at_once_whatever_it_does(day: Path) -> None:
    def of_ours() -> bytes:
        return subprocess.run(["pgrep", "-f", f"classify.learner {day}"], capture_output=True, check=False).stdout

    for begun in (lambda: True, lambda: bool(of_ours())):
        learner = Learner(day, range(len(TRUTH)), 3)
        learner.start()
        wait_for(begun)
        learner.close()
        assert not of_ours()
    assert "learner" not in {thread.name for thread in threading.enumerate()}


def test_a_recording_that_is_gone_costs_a_line(tmp_path: Path) -> None:
    learner = Learner(tmp_path / "gone", range(3), 3)
    learner.start()
    wait_for(lambda: learner.has_failed)
    assert learner.note == f"the frames can't be described: {tmp_path / 'gone'}: no such recording"
    assert not learner.is_ready
    learner.close()


def test_a_process_that_was_killed_costs_a_line(day: Path) -> None:
    learner = Learner(day, range(len(TRUTH)), 3)
    learner.start()
    found = b""

    def is_there() -> bool:
        nonlocal found
        found = subprocess.run(["pgrep", "-f", f"classify.learner {day}"], capture_output=True, check=False).stdout
        return bool(found)

    wait_for(is_there)
    os.kill(int(found), signal.SIGKILL)
    wait_for(lambda: learner.has_failed)
    assert learner.note == "the frames can't be described: the process was ended by signal 9"
    learner.close()


def test_it_ends_between_two_fits(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []

    def fit(*given: Any) -> Head:
        fits.append(1)
        threading.Thread(target=learner.close).start()
        wait_for(lambda: learner._closed)
        return fit_head(*given)

    monkeypatch.setattr("storage.learn.folds.fit_head", fit)
    learner.doubt(bytes(TRUTH))
    wait_for(lambda: not learner._thread.is_alive())
    assert fits == [1]


def test_a_recording_that_is_renamed_meanwhile_ends_the_waiting(learner: Learner, day: Path) -> None:
    wait_for(lambda: learner.is_ready)
    day.rename(day.with_name("renamed"))
    actions = actions_with(learner, three_missing())
    actions.dialogue.doubt()
    assert actions.waiting is not None
    wait_for(lambda: learner.has_failed)
    assert not learner.is_busy and not learner.is_ready
    actions.go_on()
    assert actions.waiting is None and actions.look.message == learner.note
    assert learner.note.startswith("nothing more can be learnt from the labels: ") and str(day) in learner.note
    learner.doubt(bytes(TRUTH))
    assert not learner.is_busy


def test_questions_and_proposals_are_not_awaited_for_ever(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_no_memory(*_: object) -> None:
        raise MemoryError

    wait_for(lambda: learner.is_ready)
    monkeypatch.setattr(learner, "_answer", has_no_memory)
    actions = actions_with(learner, three_missing())
    actions.press(Action(Do.ASSIST))
    wait_for(lambda: learner.has_failed)
    actions.go_on()
    assert actions.waiting is None and actions.look.message.endswith("MemoryError")
    assert actions.assist.run is not None  # as without a model


def test_what_comes_while_it_is_asked_for_is_proposed(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for(lambda: learner.is_ready)
    actions = actions_with(learner, Session(len(TRUTH), bytes(TRUTH[:120]) + bytes([NONE]) * 80))
    actions.press(Action(Do.ASSIST))
    wait_for(lambda: learner.questions is not None)
    actions.go_on()
    monkeypatch.setattr(Learner, "is_busy", property(lambda self: not wait_for(lambda: not self._wanted)))
    while actions.assist.asking is Asking.FRAMES:
        actions.press(Action(Do.LABEL, TRUTH[actions.assist.frame or 0]))
    assert actions.assist.run is not None and actions.assist.run.certainty > 0


def test_an_undo_or_a_step_does_not_end_the_walk_through_doubts(learner: Learner) -> None:
    wait_for(lambda: learner.is_ready)
    session = Session(len(TRUTH), bytes(TRUTH))
    actions = actions_with(learner, session)
    assist = actions.assist
    first, second = Proposal(50, 53, 0, 0.9), Proposal(150, 152, 1, 0.7)
    assist.doubt([first, second])
    before = bytes(session.labels)
    actions.press(Action(Do.ENTER))
    assert assist.run == second
    actions.press(Action(Do.UNDO))
    assert assist.run == first and session.cursor == 50 and session.labels == before
    actions.press(Action(Do.ENTER))
    actions.press(Action(Do.STEP, 1))
    assert assist.asking is Asking.NOTHING
    actions.press(Action(Do.ASSIST))
    wait_for(lambda: learner.questions is not None)
    actions.go_on()
    assert assist.run == second
    actions.press(Action(Do.ENTER))
    assert assist.asking is Asking.NOTHING and actions.look.message == "no doubt is left"
    actions.press(Action(Do.UNDO))
    assert assist.run == second and assist.asking is Asking.DOUBTS


def test_undo_is_told_to_the_gate(learner: Learner) -> None:
    wait_for(lambda: learner.is_ready)
    actions = actions_with(learner, three_missing())
    actions.assist.learnt([Proposal(3, 6, 0, 0.99)], "cafe")
    actions.assist.next_run()
    for _ in range(3):
        actions.press(Action(Do.ENTER))
        assert actions.assist.gate.right == 1
        actions.press(Action(Do.UNDO))
        actions.assist.next_run()
        assert actions.assist.gate.right == 0


def test_it_need_not_be_started(tmp_path: Path) -> None:
    Learner(tmp_path, range(3), 3).close()
    assert "learner" not in {thread.name for thread in threading.enumerate()}

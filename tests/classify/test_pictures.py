"""Pictures made ready in a thread of their own, which nothing may end."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from classify.pictures import Pictures
from classify.session import NONE, Session
from classify.window.keymap import Action, Do
from storage import Frame
from storage.learn.proposals import Proposal
from tests.classify.test_learner import actions_with
from tests.support import PATIENCE_SECONDS, wait_for


def test_a_frame_that_no_library_understands_is_unreadable_and_holds_nothing_up() -> None:
    def read(position: int) -> Frame:
        if position == 1:
            raise RuntimeError("what is this?")
        return Frame(np.zeros((2, 3, 3), np.uint8), position, position)

    pictures = Pictures(3, read)
    assert [pictures.get(position).error for position in range(3)] == ["", "what is this?", ""]
    assert 1 in pictures.take_unreadable()
    pictures.close()


def test_what_is_found_to_be_unreadable_at_the_last_moment_gets_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged, is_asked = 60, threading.Event()

    def read(position: int) -> Frame:
        if position == damaged:
            assert is_asked.wait(PATIENCE_SECONDS)
            raise OSError
        return Frame(np.zeros((2, 3, 3), np.uint8), position, position)

    pictures, session = Pictures(100, read), Session(100)
    known_until = pictures.changes.known_until

    def known_after_all(position: int) -> int:
        if threading.current_thread() is threading.main_thread():  # who presses the key
            is_asked.set()
            wait_for(lambda: pictures.changes.is_known(0))
        return known_until(position)

    actions = actions_with(None, session, pictures)
    actions.assist.learnt([Proposal(50, 70, 1, 0.99)], "cafe")
    actions.assist.next_run()
    monkeypatch.setattr(pictures.changes, "known_until", known_after_all)
    actions.press(Action(Do.ENTER))
    is_asked.set()
    pictures.close()
    assert [n for n in range(50, 70) if session.labels[n] == NONE] == [damaged]

"""A session that goes on from its journal is the session that was left: labels, place, and all that undo takes back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from classify.keeping import Keeper, replay
from classify.session import Session
from storage.labels.classes import DEFAULT
from storage.labels.journal import LabelJournal

FRAMES = 30


@pytest.mark.parametrize("seed", range(40))
def test_keys_at_random(tmp_path: Path, seed: int) -> None:
    names = [f"{number:08d}.png" for number in range(FRAMES)]
    session, chance = Session(FRAMES), random.Random(seed)
    for _ in range(chance.randrange(1, 4)):  # times that the window is closed and opened again
        with LabelJournal(tmp_path / "labels.jsonl") as journal:
            press_keys(session, Keeper(journal, names, DEFAULT, session.cursor), journal, chance)
        resumed = resume(tmp_path / "labels.jsonl", names)
        assert history(resumed) == history(session)
        session = resume(tmp_path / "labels.jsonl", names)


def press_keys(session: Session, keeper: Keeper, journal: LabelJournal, chance: random.Random) -> None:
    """Mostly digits, as people do."""
    for _ in range(60):
        key = chance.choices(
            ("digit", "clear", "stretch", "hold", "jump", "look", "undo", "redo"), (40, 3, 3, 1, 3, 4, 6, 2)
        )
        event = None
        match key:
            case ["digit"]:
                event = session.label(chance.randrange(5))
            case ["clear"]:
                event = session.clear()
            case ["stretch"]:
                event = session.label_until(session.cursor + 4, chance.randrange(5))
            case ["hold"]:
                session.hold_on(not session.hold)
            case ["jump"]:
                event = session.pass_to(session.cursor + chance.randrange(-5, 6))
            case ["look"]:
                session.go(chance.randrange(FRAMES))
                keeper.look(session.cursor)
            case ["undo"]:
                event = session.undo()
            case ["redo"]:
                event = session.redo()
        if event is not None:
            keeper.keep(event, session.cursor)
        keeper.look(session.cursor)
    keeper.flush()
    journal.sync()


def resume(path: Path, names: Sequence[str]) -> Session:
    session = Session(len(names))
    with LabelJournal(path) as journal:
        replay(session, names, journal.entries)
    return session


def history(session: Session) -> list[tuple[bytes, int, int]]:
    """Labels, how many there are, and place: as they are, after each undo, and after each redo."""
    seen = [(bytes(session.labels), session.labelled, session.cursor)]
    while session.undo():
        seen.append((bytes(session.labels), session.labelled, session.cursor))
    while session.redo():
        seen.append((bytes(session.labels), session.labelled, session.cursor))
    return seen

"""A session that goes on from its journal is the session that was left: labels, place, and all that undo takes back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from classify.frames import open_frames
from classify.keeper import Keeper
from classify.session import Session
from storage import open_recording
from storage.labels import current
from storage.labels.classes import DEFAULT, known_classes, renumbered
from storage.labels.history import replay
from storage.labels.journal import Classes, Entry, LabelJournal, Labelled, Looked, Moving, Redone, Undone
from tests.support.labelled import record

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


NAMES = [f"{number:08d}.png" for number in range(8)]
AT = st.none() | st.sampled_from([*NAMES, "", "gone.png"])
RUNS = st.lists(
    st.sampled_from([*NAMES, "gone.png"]) | st.tuples(st.sampled_from(NAMES), st.integers(1, 9)), max_size=3
).map(tuple)
LABELS = st.none() | st.integers(0, 4)
LABELLED = st.builds(Labelled, RUNS, LABELS, AT, st.booleans()) | st.builds(
    Labelled, RUNS, LABELS, restored=st.just(True)
)
STEPS = st.builds(lambda place, label: Labelled((NAMES[place],), label, NAMES[place + 1]), st.integers(0, 6), LABELS)
ORDERS = st.permutations(["none", "door", "light", "3", "4"]).map(lambda names: Classes(tuple(names), tuple(names)))
ENTRIES = st.lists(
    st.one_of(
        *(LABELLED, STEPS, ORDERS, *(st.builds(Undone, AT), st.builds(Redone, AT)) * 2),
        *(st.builds(Looked, st.sampled_from(NAMES)), st.just(Moving())),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two") / "day1"
    record(path, [None] * len(NAMES))
    return path


@given(entries=ENTRIES)
@example(entries=[Labelled((NAMES[0],), 1), Undone(), Labelled((NAMES[1],), 2), Redone()])
def test_any_journal_says_the_same_in_the_window_and_without_one(day: Path, entries: list[Entry]) -> None:
    classes = known_classes(entries)
    with open_recording(day) as recording:
        opened = open_frames(recording, classes, entries, relabel=True)
        session = Session(len(opened.names), opened.labels)
        replay(session, opened.names, renumbered(entries, classes))
        in_window = [opened.class_of(label) for label in session.labels]
        assert in_window == current.replay(recording, entries)

"""What a key did is on the disk before the window shows anything of it, however slow the disk is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from classify.actions import Ended
from classify.desk import Labelling
from classify.frames import open_frames
from classify.keeper import Keeper
from classify.pictures import Pictures
from classify.session import NONE, Session
from classify.window.keyboard import SHIFT
from classify.window.view import Legend
from classify.work import Work, open_work
from storage.formats.png.reader import PngReader
from storage.labels.classes import DEFAULT
from storage.labels.journal import Entry, LabelJournal
from storage.learn.proposals import Proposal
from tests.support.labelled import record

if TYPE_CHECKING:
    from classify.learner import Learner

KEYS = [*map(ord, "0123b9u4"), ord("1") | SHIFT << 16, ord("s")]


class SlowDisk(LabelJournal):
    """A label journal on a disk that takes longer than to draw a picture."""

    waiting = syncs = 0

    def append(self, *entries: Entry) -> None:
        super().append(*entries)
        self.waiting += 1

    def sync(self) -> None:
        time.sleep(0.05)
        super().sync()
        self.waiting = 0
        self.syncs += 1


class Onlooker:
    """A window that watches the disk."""

    is_open = True
    size = (760, 712)

    def __init__(self, journal: SlowDisk, keys: Iterator[int], *, hurried: bool = False) -> None:
        self.journal, self.keys = journal, keys
        self.hurried = hurried  # whether all keys are pressed at once
        self.seen: list[int] = []

    def key(self, milliseconds: int) -> int | None:
        return next(self.keys, None) if milliseconds or self.hurried else None

    def listen(self) -> None:
        time.sleep(0.001)

    def click(self) -> tuple[int, int] | None:
        return None

    def show(self, picture: NDArray[np.uint8]) -> None:
        self.seen.append(self.journal.waiting)

    def set_title(self, title: str) -> None:
        self.seen.append(self.journal.waiting)


class ClosedInAHurry(Onlooker):
    """It is closed while the first key is done, and the others are pressed before that."""

    def show(self, picture: NDArray[np.uint8]) -> None:
        super().show(picture)
        self.hurried = len(self.seen) > 2
        self.is_open = not self.hurried


class Unhurried(Onlooker):
    """Its keys may also be clicks, and seconds that pass before the next one."""

    now = 0.0

    def __init__(self, journal: SlowDisk, deeds: Iterable[int | float | tuple[int, int, bool]]) -> None:
        super().__init__(journal, iter(()))
        self.deeds = iter(deeds)
        self.clicked: tuple[int, int, bool] | None = None

    def key(self, milliseconds: int) -> int | None:
        deed = next(self.deeds, None) if milliseconds and self.clicked is None else None
        self.clicked = deed if isinstance(deed, tuple) else self.clicked
        self.now += deed if isinstance(deed, float) else 0
        return deed if isinstance(deed, int) else None

    def click(self) -> tuple[int, int, bool] | None:
        clicked, self.clicked = self.clicked, None
        return clicked


def label(
    tmp_path: Path, keys: Iterable[int] = KEYS, *, hurried: bool = False, kind: type[Onlooker] = Onlooker
) -> tuple[Session, Onlooker, SlowDisk]:
    """Press keys; returns what came of it."""
    tmp_path.mkdir(exist_ok=True)
    record(tmp_path / "day", [None] * 40)
    (tmp_path / "day" / "00000001.png").write_bytes(b"no picture")
    reader = PngReader(tmp_path / "day")
    session, pictures = Session(len(reader)), Pictures(len(reader), reader.read)
    with SlowDisk(tmp_path / "labels.jsonl") as journal:
        window = kind(journal, iter(keys), hurried=hurried)
        opened = open_frames(reader, DEFAULT, journal.entries, relabel=False)
        keeper = Keeper(journal, reader.names, DEFAULT, 0)
        legend = Legend("day", [(number, str(number), 0) for number in range(5)], 5)
        assert Labelling(Work(opened, session, journal, keeper), pictures, legend, window).run() is Ended.SAVE
        assert not journal.waiting
    pictures.close()
    return session, window, journal


def test_nothing_is_shown_before_it_is_durable(tmp_path: Path) -> None:
    session, window, _ = label(tmp_path)
    assert len(window.seen) >= 2 * len(KEYS) and not any(window.seen)
    assert session.labelled > 10


def test_keys_that_wait_take_one_sync_together(tmp_path: Path) -> None:
    """And label what they label one by one, unreadable frames and all."""
    one_by_one, _, _ = label(tmp_path / "slow", map(ord, "0129u34s"))
    session, window, journal = label(tmp_path / "fast", map(ord, "0129u34s"), hurried=True)
    assert session.labels == one_by_one.labels and session.cursor == one_by_one.cursor
    assert journal.syncs == 1 and not any(window.seen)


def test_keys_before_the_end_of_the_window_are_done(tmp_path: Path) -> None:
    session, _, _ = label(tmp_path, map(ord, "0123s"), kind=ClosedInAHurry)
    assert session.labels[:4] == bytes([0, NONE, 2, 3])


MIDDLE = (14 + 732 // 2, 712 - 30 - 16 + 6, False)  # of the long timeline


@pytest.mark.parametrize(
    ("meanwhile", "frame", "later"),
    [
        ((ord("g"), ord("5")), 4, 2.0),  # a number is typed, until Enter
        ((ord("h"),), 0, 2.0),
        ((MIDDLE, 0.5), 20, 0.1),
    ],
)
def test_doubts_that_come_late_take_no_key_that_is_not_meant_for_them(
    tmp_path: Path, meanwhile: tuple[int | float | tuple[int, int, bool], ...], frame: int, later: float
) -> None:
    found = SimpleNamespace(has_failed=False, is_ready=True, is_busy=True, doubts=None, arrivals=0, proposals=None)
    found.progress, found.start, found.learn, found.take_damaged = 0.5, (lambda: None), len, list

    def deeds() -> Iterator[int | float | tuple[int, int, bool]]:
        yield from (2.0, ord(" "), 2.0)
        yield from meanwhile
        found.doubts = [Proposal(10, 12, 3, 0.9)]
        yield from (later, 0x0D, ord("2"), ord("s"))

    record(tmp_path / "day", [None] * 40)
    with open_work(tmp_path / "day") as work, SlowDisk(tmp_path / "labels.jsonl") as journal:
        pictures = Pictures(40, work.opened.read)
        legend = Legend("day", [(number, str(number), 0) for number in range(5)], 5)
        window = Unhurried(journal, deeds())
        learner = cast("Learner", found)
        Labelling(work, pictures, legend, window, lambda: window.now, learner=learner, doubting=True).run()
        pictures.close()
    assert [n for n, label in enumerate(work.session.labels) if label != NONE] == [frame]

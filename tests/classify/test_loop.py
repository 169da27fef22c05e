"""What a key did is on the disk before the window shows anything of it, however slow the disk is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classify.actions import Ended
from classify.desk import Labelling
from classify.frames import open_frames
from classify.keeper import Keeper
from classify.pictures import Pictures
from classify.session import Session
from classify.window.keyboard import SHIFT
from classify.window.view import Legend
from classify.work import Work
from storage.formats.png.reader import PngReader
from storage.labels.classes import DEFAULT
from storage.labels.journal import Entry, LabelJournal
from tests.support.labelled import record

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


def label(tmp_path: Path, keys: Iterable[int] = KEYS, *, hurried: bool = False) -> tuple[Session, Onlooker, SlowDisk]:
    """Press keys; returns what came of it."""
    tmp_path.mkdir(exist_ok=True)
    record(tmp_path / "day", [None] * 40)
    (tmp_path / "day" / "00000001.png").write_bytes(b"no picture")
    reader = PngReader(tmp_path / "day")
    session, pictures = Session(len(reader)), Pictures(len(reader), reader.read)
    with SlowDisk(tmp_path / "labels.jsonl") as journal:
        window = Onlooker(journal, iter(keys), hurried=hurried)
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

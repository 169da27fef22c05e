"""The journal says who gave a label, whatever happened since; what belongs together it keeps whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from classify.commit import save, take_back
from classify.work import open_work
from storage import open_recording
from storage.care.info import as_json, as_text, describe
from storage.labels.journal import Applied, LabelJournal, Labelled, Proposed, Undone, read_journal
from storage.labels.origins import PERSON, SEEN, UNSEEN, count_origins, origins
from tests.support.labelled import record

BY_MODEL = Proposed("3f2ac07d11aa", seen=True)
UNLOOKED_AT = Proposed("3f2ac07d11aa", seen=False)


@pytest.fixture
def day(tmp_path: Path) -> Path:
    record(tmp_path / "day", [None] * 12)
    return tmp_path / "day"


def write(day: Path, *entries: Labelled | Undone) -> None:
    with LabelJournal(day / "labels.jsonl") as journal:
        journal.append(*entries)


def frames(first: int, count: int) -> tuple[tuple[str, int]]:
    return ((f"{first:08d}.png", count),)


def told(day: Path) -> list[str | None]:
    with open_recording(day) as recording:
        return origins(recording)


def test_the_last_one_who_gave_a_label_counts_and_undo_gives_it_back(day: Path) -> None:
    write(
        day,
        Labelled(frames(0, 6), 1, proposed=BY_MODEL),
        Labelled(frames(4, 4), 0),
        Labelled(frames(6, 6), 2, proposed=UNLOOKED_AT),
        Labelled(frames(0, 1), None),
        Labelled(frames(2, 3), 2),
        Undone(),
    )
    assert told(day) == [None, *[SEEN] * 3, *[PERSON] * 2, *[UNSEEN] * 6]


def test_they_are_read_back_as_they_were_written(day: Path) -> None:
    written = [Labelled(frames(0, 2), 1, proposed=BY_MODEL, lines=2), Labelled(frames(2, 2), 0, joined=True)]
    write(day, *written)
    assert read_journal(day / "labels.jsonl") == written
    first, *lines = map(json.loads, (day / "labels.jsonl").read_text().splitlines())
    assert first["labels"] == 1  # earlier programs read the same labels
    assert [(line["label"], line["frames"]) for line in lines] == [
        (1, [["00000000.png", 2]]),
        (0, [["00000002.png", 2]]),
    ]


def test_sorting_keeps_who_gave_the_labels_and_so_does_taking_it_back(day: Path) -> None:
    with open_work(day) as work:
        session, keeper = work.session, work.keeper
        for event in (
            session.give([(0, 2, 1)], 2),
            session.give([(2, 5, 0)], 5, BY_MODEL),
            session.give([(5, 8, 1), (8, 12, 2)], 12, UNLOOKED_AT),
        ):
            assert event is not None
            keeper.keep(event, session.cursor)
        save(work.opened, session, work.journal)
    counted = {PERSON: 2, SEEN: 3, UNSEEN: 7}
    entries = read_journal(day / "labels.jsonl")
    assert [entry.seen for entry in entries if isinstance(entry, Applied)] == [True, False]
    info = describe(day)
    assert as_json(info)["labels"] == counted and "person 2, model, seen 3, model, unseen 7" in as_text(info)
    with LabelJournal(day / "labels.jsonl") as journal:
        take_back(day, journal)
    with open_recording(day) as recording:
        assert count_origins(recording) == counted


def test_a_journal_that_earlier_programs_would_misread_says_a_newer_version(day: Path) -> None:
    path = day / "labels.jsonl"
    with LabelJournal(path) as journal:
        journal.clear(Applied(frames(0, 2), seen=False))
    assert json.loads(path.read_text().splitlines()[0])["labels"] == 2
    assert read_journal(path) == [Applied(frames(0, 2), seen=False)]


def forty_runs() -> list[Labelled]:
    runs = [Labelled(frames(10 * n, 10), n % 3, "", n > 0, proposed=UNLOOKED_AT) for n in range(40)]
    return [Labelled(runs[0].frames, 0, "", proposed=UNLOOKED_AT, lines=40), *runs[1:]]


def test_of_forty_runs_that_are_accepted_at_once_all_or_none_survive(tmp_path: Path) -> None:
    """Wherever the file was cut off; what came before stays, and the journal goes on behind it."""
    path = tmp_path / "labels.jsonl"
    before = [Labelled(("00000900.png",), 1, ""), Undone(""), Labelled(frames(901, 3), 2, "")]
    with LabelJournal(path) as journal:
        journal.append(*before)
        already = path.stat().st_size
        journal.append(*forty_runs())
    whole = path.read_bytes()
    for length in [*range(already, len(whole), 41), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert read_journal(path) == before, length
    path.write_bytes(whole[: already + 2000])
    with LabelJournal(path) as journal:
        assert journal.entries == before
        journal.append(Labelled(("00000007.png",), 0, ""))
    assert read_journal(path) == [*before, Labelled(("00000007.png",), 0, "")]
    path.write_bytes(whole)
    assert len(read_journal(path)) == len(before) + 40


ACCEPTING = """
import sys
from pathlib import Path
from classify.work import open_work
from storage.labels.journal import Proposed

with open_work(Path(sys.argv[1])) as work:
    session = work.session
    while True:
        event = session.give([(3 * n, 3 * n + 3, n % 3) for n in range(40)], 120, Proposed("cafe", seen=False))
        work.keeper.keep(event, session.cursor)
        work.journal.sync()
        print("accepted", flush=True)
        work.keeper.keep(session.undo(), session.cursor)
        work.journal.sync()
        print("taken back", flush=True)
"""


def test_kill_while_forty_runs_are_accepted(tmp_path: Path) -> None:
    """What was told to be done is there; nothing is there by half."""
    day = tmp_path / "day"
    record(day, [None] * 120)
    for lines in (1, 2, 7, 12):
        command = [sys.executable, "-c", ACCEPTING, str(day)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
            assert process.stdout is not None
            said = [process.stdout.readline().strip() for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
            said += [line.strip() for line in process.stdout.read().splitlines()]
        with open_work(day) as work:
            assert work.session.labelled in (0, 120)
            assert said[0] == "accepted"
            if (event := work.session.undo()) is not None:
                work.keeper.keep(event, work.session.cursor)


def test_a_run_of_millions_of_frames_is_not_written_out(day: Path) -> None:
    """In a journal from elsewhere: a line may name as many, and there may be many lines."""
    millions = ("00000003.png", 9_999_999)
    lines = [Labelled((millions,), n % 3, proposed=UNLOOKED_AT) for n in range(200)]
    write(day, *lines, Labelled(frames(5, 2), 0))
    with LabelJournal(day / "labels.jsonl") as journal:
        journal.append(Applied((("00000000.png", 9_999_999),), seen=True))
    begun = time.process_time()
    assert told(day) == [None] * 3 + [UNSEEN] * 2 + [PERSON] * 2 + [UNSEEN] * 5
    assert time.process_time() - begun < 5


def test_sorting_keeps_runs_of_millions_as_short_as_they_are(day: Path) -> None:
    """Of such a journal, too: what is kept of it is no longer than what it says, in memory and in the file."""
    lines = [Labelled(((f"{n:08d}.png", 9_900_000),), 1, proposed=UNLOOKED_AT if n else BY_MODEL) for n in range(60)]
    write(day, *lines, Labelled(frames(20, 5), 2), Labelled(("cat.jpg",), 1, proposed=BY_MODEL))
    tracemalloc.start()
    with open_work(day) as work:
        save(work.opened, work.session, work.journal)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert [entry for entry in read_journal(day / "labels.jsonl") if isinstance(entry, Applied)] == [
        Applied(("00000000.png", "cat.jpg"), seen=True),
        Applied((("00000001.png", 19), ("00000025.png", 9_900_034)), seen=False),
    ]
    assert told(day) == [SEEN, *[UNSEEN] * 11]

"""The journal says who gave a label, whatever happened since; what belongs together it keeps whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from classify.commit import save, take_back
from classify.work import open_work
from storage import open_recording
from storage.care.info import as_json, describe
from storage.care.info_text import as_text
from storage.cli import main
from storage.formats.table import FORMATS, find_format
from storage.labels import PERSON, SEEN, UNSEEN
from storage.labels.journal import Applied, LabelJournal, Labelled, Proposed, Undone, read_journal
from storage.labels.origins import count_origins, origins
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
from collections import Counter
from dataclasses import replace
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


# --------------------------------------------------------------------------------------------- into another recording


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("target", ["new", "new.h5", "new.mkv", "new.mp4"])
def test_a_conversion_tells_who_gave_the_labels(day: Path, target: str, applied: bool) -> None:
    write(day, Labelled(frames(0, 3), 1), Labelled(frames(3, 4), 0, proposed=BY_MODEL))
    write(day, Labelled(frames(7, 2), 2, proposed=UNLOOKED_AT))
    if applied:
        with open_work(day) as work:
            save(work.opened, work.session, work.journal)
    assert main(["convert", str(day), str(day.parent / target)]) == 0
    with open_recording(day) as recording:
        expected = Counter(zip(origins(recording), recording.timestamps_ns, strict=True))
    with open_recording(day.parent / target) as recording:
        assert count_origins(recording) == {PERSON: 3, SEEN: 4, UNSEEN: 2}
        if target != "new.mp4":
            assert Counter(zip(origins(recording), recording.timestamps_ns, strict=True)) == expected


def test_labels_without_room_in_a_file_are_told_apart_too(day: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format without labels keeps them in the journal beside it."""
    row = replace(find_format(Path("a.mkv")), write_labels="", takes_labels=False)
    monkeypatch.setattr("storage.formats.table.FORMATS", (row, *(one for one in FORMATS if one.name != row.name)))
    write(day, Labelled(frames(0, 3), 1), Labelled(frames(3, 4), 0, proposed=UNLOOKED_AT))
    assert main(["convert", str(day), str(day.parent / "new.mkv")]) == 0
    assert told(day.parent / "new.mkv") == [*[PERSON] * 3, *[UNSEEN] * 4, *[None] * 5]


def test_an_import_keeps_who_gave_the_labels_that_it_does_not_change(day: Path) -> None:
    write(day, Labelled(frames(0, 6), 1, proposed=UNLOOKED_AT))
    path = day.parent / "day.mkv"
    assert main(["convert", str(day), str(path)]) == 0
    labels = day.parent / "labels.csv"
    labels.write_text("start,end,label\n0.0,0.35,1\n0.35,0.55,2\n0.55,0.95,1\n")
    assert main(["labels", str(path), "--import", str(labels), "--replace"]) == 0
    assert told(path) == [*[UNSEEN] * 4, *[PERSON] * 6, None, None]


def sorted_day(path: Path, count: int, *given: Labelled, seed: int = 0) -> Path:
    """A data directory of 10 frames a second whose labels are applied."""
    record(path, [None] * count, seed=seed)
    write(path, *given)
    with open_work(path) as work:
        save(work.opened, work.session, work.journal)
    return path


def by_time(*days: Path) -> dict[bytes, str | None]:
    """Who gave the label of each frame, by its pixels."""
    found = {}
    for day in days:
        with open_recording(day) as recording:
            found |= {
                frame.pixels.tobytes(): origin for frame, origin in zip(recording, origins(recording), strict=True)
            }
    return found


def test_a_merge_tells_who_gave_the_labels_also_one_that_is_repeated(tmp_path: Path) -> None:
    one = sorted_day(tmp_path / "one", 8, Labelled(frames(0, 5), 1), Labelled(frames(5, 3), 0, proposed=BY_MODEL))
    two = sorted_day(tmp_path / "two", 6, Labelled(frames(0, 6), 1, proposed=UNLOOKED_AT), seed=50)
    write(two, Labelled((("1/00000000.png", 3),), 0))  # waits, and does not go along
    out = tmp_path / "all"
    for inputs in ([one], [two, one], [one, two]):
        assert main(["merge", str(out), *map(str, inputs)]) == 0
    assert Counter(told(out)) == {PERSON: 5, SEEN: 3, UNSEEN: 6}
    assert list(by_time(out).values()) == list(by_time(one).values()) + [UNSEEN] * 6
    assert json.loads((out / "labels.jsonl").read_text().splitlines()[0])["labels"] == 2
    assert len(read_journal(out / "labels.jsonl")) == 2  # nothing is told twice


def test_a_split_tells_who_gave_the_labels_and_so_does_its_undoing(tmp_path: Path) -> None:
    runs = [Labelled(frames(20 * n, 20), n % 2, proposed=(None, BY_MODEL, UNLOOKED_AT)[n % 3]) for n in range(15)]
    day = sorted_day(tmp_path / "day", 300, *runs)
    before = by_time(day)
    assert main(["split", str(day), "--val", "0.3", "--gap", "1"]) == 0
    sides = [tmp_path / name for name in ("day", "val_day", "gap_day")]
    assert by_time(*sides) == before and all(set(told(side)) - {PERSON} for side in sides)
    assert main(["split", str(day), "--undo"]) == 0
    assert by_time(day) == before and sorted(path.name for path in tmp_path.iterdir()) == ["day"]


def test_a_split_that_was_killed_before_it_moved_a_frame_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = sorted_day(tmp_path / "day", 100, *(Labelled(frames(25 * n, 25), n % 2, proposed=BY_MODEL) for n in range(4)))
    with monkeypatch.context() as patch:
        patch.setattr("storage.care.split.move_files", lambda *_, **__: os._exit(9))
        if not (child := os.fork()):
            main(["split", str(day), "--gap", "0", "--val", "0.3"])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (tmp_path / "val_day" / "labels.jsonl").exists()
    assert main(["split", str(day), "--gap", "0", "--val", "0.3"]) == 0
    assert set(told(tmp_path / "val_day")) == {SEEN}

"""All that the window does to a recording, done without one: as a page in a browser, or a program, would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from classify.cli import main
from classify.commit import save, take_back
from classify.session import NONE, Event, Session
from classify.work import Work, open_work
from storage.errors import OptionError, StorageError
from storage.formats.table import open_recording
from storage.labels.journal import Classes
from tests.classify.test_loop import Onlooker
from tests.storage.formats.movie.test_reader import overwrite, shades, shown
from tests.support.labelled import record

NAMES = ("none", "door")


def do(work: Work, action: Callable[[Session], Event | None]) -> None:
    """One action, kept."""
    event = action(work.session)
    if event is not None:
        work.keeper.keep(event, work.session.cursor)
    work.journal.sync()


def given(path: Path) -> list[str | None]:
    with open_recording(path) as recording:
        return list(recording.labels)


def test_labelled_sorted_and_back(tmp_path: Path) -> None:
    day = tmp_path / "day7"
    record(day, [None] * 12)
    with open_work(day, classes=NAMES) as work:
        do(work, lambda session: session.label(1))
        do(work, lambda session: session.label_until(4, 0))
        do(work, lambda session: session.paint(6, 9, 1))
        do(work, lambda session: session.paint(7, 8, NONE))
        do(work, Session.undo)
        do(work, Session.undo)
        do(work, Session.redo)
        assert work.session.cursor == 4
    with open_work(day) as work:  # goes on, undo and all
        assert work.session.cursor == 4 and work.session.can_redo()
        assert list(work.session.labels) == [1, 0, 0, 0, NONE, NONE, 1, 1, 1, *[NONE] * 3]
        applied = save(work.opened, work.session, work.journal)
        assert applied.counts == {"none": 3, "door": 4}
    assert sorted(map(str, given(day))) == [*["None"] * 5, *["door"] * 4, *["none"] * 3]
    with open_work(day) as work:
        assert work.session.count == 5 and work.opened.sorted == {"none": 3, "door": 4}
        count, missing, renamed = take_back(day, work.journal)
        assert (count, missing, renamed) == (7, [], {})
    with open_work(day) as work:
        assert [work.session.counted(label) for label in (0, 1, NONE)] == [3, 4, 5]
    assert given(day) == [None] * 12


def test_looked_through_again(tmp_path: Path) -> None:
    day = tmp_path / "day7"
    record(day, [*"0011", None])
    with open_work(day, relabel=True) as work:
        assert (work.session.count, work.session.cursor) == (5, 0)
        do(work, lambda session: session.label(1))
        assert save(work.opened, work.session, work.journal).counts == {"1": 1}
    assert sorted(map(str, given(day))) == ["0", "1", "1", "1", "None"]


def test_what_cannot_be_labelled_is_told(tmp_path: Path) -> None:
    day = tmp_path / "day7"
    record(day, ["0", "1"])
    with open_work(day) as work:
        assert not work.opened.names and work.opened.sorted.total() == 2
        with pytest.raises(StorageError, match="another window"):
            open_work(day)
    for path in (day / "0", tmp_path / "day8"):
        with pytest.raises(StorageError):
            open_work(path)
    with open_work(day):
        pass  # nothing stayed locked
    assert not (day / "labels.jsonl").exists()


def test_names_that_no_directory_can_have(tmp_path: Path) -> None:
    record(tmp_path / "day9", [None, None])
    with pytest.raises(OptionError, match="choose another name, or give --class-dirs numbers"):
        open_work(tmp_path / "day9", classes=("on/off", "door"))
    with open_work(tmp_path / "day9", classes=("on/off", "door"), by_name=False) as work:
        assert work.opened.classes == Classes(("on/off", "door"), ("0", "1"))


@pytest.mark.parametrize(("name", "codec"), [("camera.avi", "mjpeg"), ("phone.mp4", "libx264")])
def test_damaged_pictures_of_a_foreign_video_are_skipped_counted_and_told(
    tmp_path: Path, name: str, codec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, count = tmp_path / name, 30
    # Each picture is on its own: whether what refers to a damaged one comes is up to FFmpeg's threads.
    at = shades(path, count, codec, **({} if codec == "mjpeg" else {"g": "1"}))
    for bad in (11, 12, 17):
        overwrite(path, at[bad] + 8, at[bad] + (at[bad + 1] - at[bad]) * 3 // 4, 255)
    with open_work(path, classes=NAMES) as work:
        readable = shown(work.opened.recording, range(count))
        damaged = sorted(set(range(count)) - readable.keys())
        assert 1 <= len(damaged) <= 3 and work.session.count == count
        for position in damaged:
            with pytest.raises(StorageError, match=rf"^[^\n]*{name}: frame {position} can't be decoded$"):
                work.opened.read(position)

    window = Onlooker(SimpleNamespace(waiting=0), iter([*map(ord, "1" * count), ord("s")]))  # type: ignore[arg-type]  # it asks nothing else
    monkeypatch.setattr("classify.window.window.Window", lambda _: window)
    monkeypatch.setattr("classify.window.window.load_opencv", lambda: None)
    window.close = lambda: None  # type: ignore[attr-defined]  # its user closes it
    assert main([str(path)]) == 0
    told = capsys.readouterr().err.splitlines()
    rest = len(damaged)
    assert told[-1] == f"{rest} frames are left without a class, {rest} of them unreadable", told
    assert f"{count - rest} frames labelled" in told[-2]
    assert given(path) == [None if n in damaged else "door" for n in range(count)]

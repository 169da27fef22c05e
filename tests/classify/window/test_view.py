"""What the window shows, without a window: lists, texts and times that fit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from classify.assist import Assist
from classify.pace import Pace
from classify.pictures import Picture, Pictures
from classify.player import SPEEDS, Player
from classify.session import FIRST_FOREIGN, Session
from classify.window.drawing import Drawing
from classify.window.layout import class_at, class_rows, lay_out
from classify.window.timeline import Near
from classify.window.view import ClassRow, Legend, Look, View, speed_text, timecode, title, view
from storage.frame import Frame
from tests.support import wait_for

SIZES = ((760, 432), (760, 712), (1200, 700))


def view_of(classes: int, current: int = 0) -> View:
    near = Near(0, bytearray([current] * 3), [], [], np.zeros(3, np.float32))
    rows = [ClassRow(label, f"class {label}", label) for label in range(classes)]
    return View(Legend("day7", [], 9), Look(), "", near, 0, 0, None, [], rows)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("current", [0, 8, 30, 59])
def test_sixty_classes_stay_in_their_place(size: tuple[int, int], current: int) -> None:
    panel = lay_out(*size).panel
    assert panel is not None
    view = view_of(60, current)
    rows = class_rows(panel, view)
    tops = [top for (_, top, _, _), _ in rows]
    assert current in [row.label for _, row in rows] and len(rows) >= 8
    assert min(after - before for before, after in pairwise(tops)) >= 18
    assert tops[-1] + 18 + 78 <= panel[1] + panel[3], "what is under the list has room"
    Drawing().draw(view, size)


@pytest.mark.parametrize("size", SIZES)
def test_nine_classes_are_all_there_to_be_clicked(size: tuple[int, int]) -> None:
    view, panel = view_of(12), lay_out(*size).panel
    assert panel is not None
    clicked = [class_at((panel[0] + 15, top), size, view) for top in range(panel[1], panel[1] + panel[3])]
    assert [label for label in dict.fromkeys(clicked) if label is not None] == list(range(FIRST_FOREIGN))


@pytest.mark.parametrize("size", SIZES)
def test_classes_without_a_key_are_told_apart_by_their_names(size: tuple[int, int]) -> None:
    """They have one colour, so the frame and the list say which of them it is."""
    layout, views = lay_out(*size), [view_of(60, label) for label in (9, 10, 59)]
    pictures = [Drawing().draw(replace(view, picture=Picture(np.zeros((9, 9, 3), np.uint8))), size) for view in views]
    assert layout.panel is not None
    for x, y, width, height in (layout.picture, layout.panel):
        assert len({picture[y : y + height, x : x + width].tobytes() for picture in pictures}) == 3


@pytest.mark.parametrize(
    ("minutes", "shown"), [(0.4, "0 mins"), (59.4, "59 mins"), (59.6, "1 h 0 mins"), (914, "15 h 14 mins")]
)
def test_long_estimates_are_told_in_hours(minutes: float, shown: str) -> None:
    session, pace = Session(1001), Pace()
    session.label(0)
    for second in range(2):
        pace.mark(3.0 * second, second)
    pace.minutes = lambda remaining: minutes  # type: ignore[method-assign]  # what it comes to is tested elsewhere
    told = title(session, Picture(None), pace, Legend("day7", [], 1))
    assert told.endswith(f"%, {shown} remaining")


def test_the_time_of_a_frame_is_beside_its_number() -> None:
    pictures = Pictures(3, lambda n: Frame(np.zeros((2, 2, 3), np.uint8), n, n), times=[0, 83_456_000_000])
    try:
        pictures.look_at(0)
        wait_for(lambda: pictures.knows_times, "the times")
        session, legend = Session(3), Legend("day7", [], 1)
        shown = []
        for cursor in range(3):
            session.go(cursor)
            shown.append(view(session, pictures, Player(), Look(), legend, assist=Assist(session), width=760))
    finally:
        pictures.close()
    assert [one.timecode for one in shown] == ["0:00.00", "1:23.45", ""]
    drawn = [Drawing().draw(replace(shown[0], timecode=timecode), (760, 712)).tobytes() for timecode in ("", "1:23.45")]
    assert drawn[0] != drawn[1]


def test_times_as_they_are_typed() -> None:
    assert [timecode(round(seconds * 1e9)) for seconds in (0, 0.05, 83.456, 3723.45)] == [
        "0:00.00", "0:00.05", "1:23.45", "1:02:03.45"
    ]  # fmt: skip


def test_slow_and_fast_play() -> None:
    player = Player()
    for _ in SPEEDS:
        player.change_speed(-1)
    player.start(1, 0, 0.0)
    assert [player.advance(20.0, 0.0), round(player.waits(0.0), 3)] == [1, 0.2] and speed_text(player.speed) == "¼ ×"
    for _ in SPEEDS:
        player.change_speed(1)
    assert speed_text(player.speed) == "8 ×" and player.advance(20.0, 1.0) == 5

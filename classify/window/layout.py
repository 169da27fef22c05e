"""The places of things in the window, and what a click there means."""

from __future__ import annotations

from dataclasses import dataclass

from classify.session import FIRST_FOREIGN
from classify.window.canvas import Box, Place
from classify.window.timeline import PITCH, near_left, near_stretch, zoomed_stretch
from classify.window.view import ClassRow, View

SIZE = (760, 712)
SMALLEST = (240, 200)
MARGIN, GAP = 14, 10
PANEL = 206
CLASSES_TOP, CLASSES_BELOW, LEAST_PITCH = 52, 78, 18  # of the list of classes in the panel


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of things in a window; None for those without room."""

    picture: Box
    panel: Box | None
    strip: Box | None
    near: Box | None
    whole: Box
    footer: Box


def lay_out(width: int, height: int) -> Layout:
    """Divide a window: the frame gets most of it, and in a small window all."""
    inner = width - 2 * MARGIN
    y = height - 30
    footer = (MARGIN, y, inner, 26)
    whole = (MARGIN, y - 16, inner, 12)
    y -= 16 + GAP
    near = strip = None
    if height >= 420:
        near = (MARGIN, y - 40, inner, 40)
        y -= 40 + GAP
    if height >= 520:
        strip = (MARGIN, y - 70, inner, 70)
        y -= 70 + GAP
    panel = None
    right = width - MARGIN
    if width >= 560:
        panel = (width - MARGIN - PANEL, MARGIN, PANEL, y - MARGIN)
        right -= PANEL + MARGIN
    return Layout((MARGIN, MARGIN, right - MARGIN, y - MARGIN), panel, strip, near, whole, footer)


def frame_at(place: Place, size: tuple[int, int], view: View) -> int | None:
    """Return the frame that a click on one of the timelines means."""
    x, y = place
    layout, cursor, count = lay_out(*size), view.cursor, view.count
    left, top, width, height = layout.whole
    if left <= x < left + width and top - 4 <= y < top + height + 4:
        first, stop = zoomed_stretch(cursor, count, view.look.zoom)
        return min(count - 1, first + (x - left) * (stop - first) // width)
    if layout.near is not None:
        left, top, width, height = layout.near
        if left <= x < left + width and top <= y < top + height:
            first, stop = near_stretch(width, cursor, count)
            found = first + (x - near_left(left, width, cursor, first)) // PITCH
            return found if first <= found < stop else None
    return None


def cell_at(place: Place, size: tuple[int, int], view: View) -> int | None:
    """Which of the small frames a click means."""
    strip = lay_out(*size).strip
    if strip is None:
        return None
    for number, (left, top, side, _) in enumerate(strip_cells(strip, view)):
        if left <= place[0] < left + side and top <= place[1] < top + side + 8:
            return number
    return None


def strip_cells(strip: Box, view: View) -> list[Box]:
    """Where the small frames are."""
    x, y, width, height = strip
    pitch = width // max(1, len(view.around))
    side = min(pitch - 8, height - 8)
    left = x + (width - pitch * len(view.around)) // 2 + (pitch - side) // 2
    return [(left + n * pitch, y, side, side) for n in range(len(view.around))]


def class_at(place: Place, size: tuple[int, int], view: View) -> int | None:
    """Return the label of the class that a click means, if it has a key."""
    panel = lay_out(*size).panel
    if panel is None:
        return None
    for (left, top, width, height), row in class_rows(panel, view):
        if left <= place[0] < left + width and top <= place[1] < top + height + 3 and row.label < FIRST_FOREIGN:
            return row.label
    return None


def class_rows(panel: Box, view: View) -> list[tuple[Box, ClassRow]]:
    """Return the places of the listed classes: as many as fit, and always the current frame's."""
    x, y, width, height = panel
    room = height - CLASSES_TOP - CLASSES_BELOW
    pitch = max(LEAST_PITCH, min(34, room // max(1, len(view.classes))))
    rows = list(view.classes)
    if len(rows) * pitch > room:
        fitting = max(1, room // pitch - 1)  # and a line for the others
        current = next((number for number, row in enumerate(rows) if row.label == view.current), 0)
        rows = rows[:fitting] if current < fitting else [*rows[: fitting - 1], rows[current]]
    return [((x, y + CLASSES_TOP + n * pitch, width, pitch - min(4, pitch // 6)), row) for n, row in enumerate(rows)]

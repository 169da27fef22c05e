"""Draws a `View`, at any size: the frame, the classes, the frames around it, the timelines and the help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from classify.session import FIRST_FOREIGN, NONE
from classify.window.canvas import BOLD, Box, Canvas, Colour, Font, shortened, text_width
from classify.window.keymap import HELP
from classify.window.layout import CLASSES_TOP, SMALLEST, class_rows, lay_out, strip_cells
from classify.window.timeline import UNREADABLE, WholeTimeline, draw_near, draw_proposals, label_colour
from classify.window.view import ClassRow, View, speed_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BACKGROUND: Colour = (18, 20, 25)
WELL: Colour = (10, 11, 14)
RAISED: Colour = (30, 33, 41)
TEXT: Colour = (234, 236, 241)
FAINT: Colour = (140, 148, 164)
DARK: Colour = (14, 15, 18)
GOOD: Colour = (66, 190, 130)
WARNING: Colour = (250, 196, 92)
BAD: Colour = (240, 104, 104)


class Drawing:
    """Draws views one after the other."""

    def __init__(self) -> None:
        self._timeline = WholeTimeline()
        self._canvas = Canvas(*SMALLEST)

    def draw(self, view: View, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the window's picture, shape (height, width, 3), uint8, RGB; good until the next one is drawn."""
        width, height = (max(least, given) for least, given in zip(SMALLEST, size, strict=True))
        canvas = self._canvas = self._canvas if self._canvas.size == (width, height) else Canvas(width, height)
        canvas.fill((0, 0, width, height), BACKGROUND)
        layout = lay_out(width, height)
        _draw_frame(canvas, layout.picture, view)
        if layout.panel:
            _draw_panel(canvas, layout.panel, view)
        if layout.strip:
            _draw_strip(canvas, layout.strip, view)
        if layout.near:
            draw_near(canvas, layout.near, view.near)
        self._timeline.draw(canvas, layout.whole, view.near, view.revision, view.look.zoom)
        draw_proposals(canvas, layout.whole, view.near, view.proposals, view.look.zoom)
        _draw_footer(canvas, layout.footer, view)
        if view.look.help:
            _draw_help(canvas)
        return canvas.pixels


# ------------------------------------------------------------------------------------------------------------ the frame


def _draw_frame(canvas: Canvas, box: Box, view: View) -> None:
    import numpy as np

    x, y, width, height = box
    canvas.fill(box, WELL)
    if view.picture is None:
        return
    if view.picture.pixels is None:
        _draw_unreadable(canvas, box, view.picture.error)
    else:
        shown = _scaled(view.picture.pixels, width, height)
        if view.look.bright:
            shown = _brightening()[shown]
        left, top = x + (width - shown.shape[1]) // 2, y + (height - shown.shape[0]) // 2
        canvas.paste(left, top, np.ascontiguousarray(shown))
    if view.cursor == view.count:
        _draw_done(canvas, box, view)
        return
    label = view.labels[view.cursor]
    if label != NONE and view.picture.pixels is not None:
        colour = label_colour(label)
        canvas.frame((x, y, width, height), colour, 4)
        row = next((row for row in view.classes if row.label == label), None)
        name = shortened(row.name if row else "", width - 40, Font(15, bold=True))
        canvas.pill((x + 12, y + 12, text_width(name, Font(15, bold=True)) + 20, 28), colour, 8)
        canvas.text((x + 22, y + 26), name, DARK, Font(15, bold=True))
    if view.look.bright:
        canvas.pill((x + width - 86, y + 12, 74, 24), RAISED)
        canvas.text((x + width - 49, y + 24), "brighter", TEXT, Font(13), align="middle")


def _scaled(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale a picture to what fits. Pixels stay visible when it grows, and are averaged when it shrinks."""
    import cv2
    import numpy as np

    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = (max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale)))
    how = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def _brightening() -> NDArray[np.uint8]:
    """Return what each value becomes: dark ones are lifted, bright ones stay different."""
    import numpy as np

    return np.asarray(np.rint(255 * (np.arange(256) / 255) ** 0.45), np.uint8)


def _draw_unreadable(canvas: Canvas, box: Box, error: str) -> None:
    x, y, width, height = box
    middle, centre = x + width // 2, y + height // 2
    canvas.frame((x, y, width, height), UNREADABLE, 4)
    canvas.text((middle, centre - 52), "This frame can't be read", BAD, Font(22, bold=True), align="middle")
    for n, line in enumerate(_wrapped(error, width - 48, 4)):
        canvas.text((middle, centre - 12 + 22 * n), line, TEXT, align="middle")
    canvas.text((middle, centre + 92), "any digit or → skips it; it will not be moved", FAINT, align="middle")


def _wrapped(text: str, width: int, lines: int) -> list[str]:
    """Break a text into lines of at most a width; at spaces, if there are any."""
    found: list[str] = []
    while text and len(found) < lines:
        end = len(text)
        while end > 1 and text_width(text[:end]) > width:
            end -= 1
        if end < len(text) and " " in text[:end]:
            end = text.rindex(" ", 0, end)
        found.append(text[:end])
        text = text[end:].lstrip()
    return found


def _draw_done(canvas: Canvas, box: Box, view: View) -> None:
    x, y, width, height = box
    canvas.dim((x, y, width, height), 0.82)
    middle, centre = x + width // 2, y + height // 2
    labelled, open_frames = view.count - view.labels.count(NONE), view.remaining
    colour, sign, word = (WARNING, "!", "The end") if open_frames else (GOOD, "✓", "Done")
    canvas.pill((middle - 30, centre - 118, 60, 60), colour, 30)
    canvas.text((middle, centre - 88), sign, DARK, Font(32, bold=True), align="middle")
    canvas.text((middle, centre - 30), word, TEXT, Font(26, bold=True), align="middle")
    counted = f"{labelled:,} of {view.count:,} frames have a label"
    canvas.text((middle, centre + 6), counted, TEXT, Font(15), align="middle")
    if open_frames:
        canvas.text((middle, centre + 32), f"F goes to the first of {open_frames:,} without", FAINT, align="middle")
    canvas.text((middle, centre + 64), f"S {view.legend.saving}", TEXT, Font(15), align="middle")
    canvas.text((middle, centre + 88), "Esc goes back", FAINT, align="middle")


# ---------------------------------------------------------------------------------------------------------- beside it


def _draw_panel(canvas: Canvas, box: Box, view: View) -> None:
    x, y, width, _ = box
    canvas.text((x, y + 10), shortened(view.legend.title, width, Font(17, bold=True)), TEXT, Font(17, bold=True))
    room = width - 8 - canvas.text((x + width, y + 34), view.timecode, TEXT, Font(13), align="right")
    place = f"{min(view.cursor + 1, view.count):,} of {view.count:,}"
    canvas.text((x, y + 34), place if text_width(place) <= room else place.partition(" ")[0], FAINT)
    rows = class_rows(box, view)
    at = y + CLASSES_TOP
    for place_of_row, row in rows:
        _draw_class(canvas, place_of_row, row, current=view.current == row.label)
        at = place_of_row[1] + place_of_row[3] + 4
    if others := len(view.classes) - len(rows):
        canvas.text((x + 36, at + 8), f"and {others:,} more classes", FAINT, Font(12))
        at += 20
    at += 4
    canvas.text((x + 10, at + 8), "no label", FAINT)
    canvas.text((x + width - 8, at + 8), f"{view.remaining:,}", FAINT, align="right")
    at += 26
    if view.near.unreadable:
        canvas.text((x + 10, at + 8), "unreadable", BAD)
        canvas.text((x + width - 8, at + 8), f"{len(view.near.unreadable):,}", BAD, align="right")
        at += 26
    at += 8
    if view.speed:
        canvas.pill((x + width - 72, at, 72, 32), RAISED, 8)
        canvas.triangle((x + width - 62, at + 9, 14, 14), TEXT, left=view.speed < 0)
        canvas.text((x + width - 40, at + 16), speed_text(abs(view.speed)), TEXT, Font(15, bold=True))
        width -= 80
    if view.mode:
        colour = label_colour(view.mode_label) if view.mode_label != NONE else WARNING
        canvas.pill((x, at, width, 32), colour, 8)
        canvas.text((x + 12, at + 16), shortened(view.mode, width - 24, BOLD), DARK, BOLD)


def _draw_class(canvas: Canvas, box: Box, row: ClassRow, *, current: bool) -> None:
    x, y, width, height = box
    middle = y + height // 2
    colour = label_colour(row.label)
    if current:
        canvas.pill((x, y, width, height), RAISED, 7)
    side = min(22, height)
    canvas.pill((x + 15 - side // 2, middle - side // 2, side, side), colour, 6)
    key = str(row.label) if row.label < FIRST_FOREIGN else ""
    canvas.text((x + 15, middle), key, DARK, BOLD, align="middle")
    count = f"{row.frames:,}"
    right = x + width - 8
    right -= canvas.text((right, middle), count, TEXT, Font(bold=current), align="right") + 6
    if row.sorted:
        right -= canvas.text((right, middle), f"+{row.sorted:,}", FAINT, Font(12), align="right") + 6
    name = shortened(row.name, max(1, right - x - 36), Font(bold=current))
    canvas.text((x + 36, middle), name, TEXT, Font(bold=current))


# ------------------------------------------------------------------------------------------------------------ under it


def _draw_strip(canvas: Canvas, box: Box, view: View) -> None:
    """The frames around the cursor, small, each over the colour of its label; or those of a run, and behind its end."""
    for n, (shown, (left, y, side, _)) in enumerate(zip(view.around, strip_cells(box, view), strict=True)):
        if shown is None:
            continue
        position, picture = shown
        canvas.fill((left, y, side, side), WELL)
        if picture is not None and picture.pixels is not None:
            small = _scaled(picture.pixels, side, side)
            small = _brightening()[small] if view.look.bright else small
            canvas.paste(left + (side - small.shape[1]) // 2, y + (side - small.shape[0]) // 2, small)
        elif picture is not None:
            canvas.fill((left, y, side, side), UNREADABLE)
            canvas.text((left + side // 2, y + side // 2), "×", TEXT, Font(20), align="middle")
        label = view.labels[position]
        if view.run is not None and n < view.inside and label == NONE:
            label = view.run.label
        canvas.fill((left, y + side + 3, side, 5), label_colour(label))
        if view.run is not None:
            if n == view.inside:  # the end of the run
                canvas.fill((left - 5, y, 3, side + 8), TEXT)
        elif position == view.cursor:
            canvas.frame((left - 3, y - 3, side + 6, side + 6), TEXT, 2)


def _draw_footer(canvas: Canvas, box: Box, view: View) -> None:
    x, y, width, height = box
    middle = y + height // 2
    hint = canvas.text((x + width, middle), "H help", FAINT, Font(13), align="right")
    if view.look.typed is not None:
        asked = f"go to frame: {view.look.typed}▏"
        canvas.text((x, middle), shortened(asked, width - hint - 20), TEXT, BOLD)
    else:
        canvas.text((x, middle), shortened(view.look.message, width - hint - 20), WARNING)


def _draw_help(canvas: Canvas) -> None:
    canvas.dim((0, 0, canvas.width, canvas.height), 0.86)
    rows = [row for row in HELP if canvas.height >= 560 or row[0]]
    pitch = min(29, (canvas.height - 90) // len(rows))
    top = (canvas.height - pitch * len(rows)) // 2 + 14
    size = 14 if pitch >= 24 else 11
    left = max(10, canvas.width // 2 - 270)
    canvas.text((left, top - 34), "Keys", TEXT, Font(22, bold=True))
    plain, bold = Font(size), Font(size, bold=True)
    for n, (keys, what) in enumerate(rows):
        middle = top + n * pitch + pitch // 2
        if keys:
            canvas.pill((left, middle - size + 2, text_width(keys, bold) + 16, 2 * size - 4), RAISED, 5)
            canvas.text((left + 8, middle), keys, TEXT, bold)
            fitting = shortened(what, canvas.width - left - 148, plain)
            canvas.text((left + 138, middle), fitting, (206, 210, 220), plain)
    mouse = "The mouse: click on a timeline to go there, on a class to label."
    canvas.text((left, top + len(rows) * pitch + 18), mouse, FAINT, Font(13))

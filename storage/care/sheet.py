"""A contact sheet: one picture that shows what a recording holds, a row of evenly spaced frames for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from storage.drawing import FAINT, GRID, INK, MISSING, PAPER, Canvas, Subject, refuse_existing, write_picture
from storage.errors import StorageError
from storage.formats.contract import FramesAreFiles
from storage.formats.table import open_recording
from storage.labels.classes import names_of_labels
from storage.labels.current import replay
from storage.labels.live import entries_beside
from storage.names import natural_key
from storage.recording import Recording

if TYPE_CHECKING:
    from PIL import Image

COLUMNS = 12
CELL = 96  # pixels, the longer side of a frame
SPACE = 4
MARGIN = 12
TEXT_WIDTH = 128
MAX_ROWS = 100  # further classes are counted, not drawn
MAX_PIXELS = 40_000_000  # a larger picture takes more time and memory than its thumbnail is worth

BAR = "#3b82f6"


def write_sheet(target: Path, paths: Sequence[Path], *, track: str | int | None = None) -> int:
    """Draw a contact sheet of recordings, of any format, and write it as a PNG file.

    An older sheet of the same recordings is replaced, any other file never.

    `track` is as in `storage.formats.table.open_recording`.

    Returns
    -------
    int
        How many frames are empty in it, as they have more than `MAX_PIXELS` pixels.

    Raises
    ------
    StorageError
        Another file has that name, or it can't be written; or there is no recording.
    """
    subject = Subject("sheet", paths)
    refuse_existing(target, subject)
    parts, empty = [], 0
    for path in paths:
        with open_recording(path, track=track) as recording:
            if not recording.has_pictures:
                recording.read(0)  # raises, and says so
            part, too_large = _draw_part(recording)
            parts.append(part)
            empty += too_large
    write_picture(target, _stack(parts), subject)
    return empty


def _draw_part(recording: Recording) -> tuple[Image.Image, int]:
    """Draw the part of a recording; returns it, and how many frames are too large to be in it."""
    by_class: dict[str | None, list[int]] = {}
    for index, label in enumerate(replay(recording, entries_beside(recording))):
        by_class.setdefault(label, []).append(index)
    called = names_of_labels(recording)
    names = sorted((name for name in by_class if name is not None), key=natural_key)
    rows: list[str | None] = [*names, *([None] if None in by_class else [])]
    shown = rows[:MAX_ROWS]
    first = _first_size(recording)
    height = int(max(56, min(2 * CELL, CELL * first[1] / first[0])))
    top = MARGIN + 30
    width = 2 * MARGIN + TEXT_WIDTH + COLUMNS * (CELL + SPACE) - SPACE
    canvas = Canvas(width, top + len(shown) * (height + SPACE) + MARGIN - SPACE)
    total = len(recording)
    classes = "class" if len(names) == 1 else "classes"
    heading = f"{recording.path}: {total} frames, {len(names) or 'no'} {classes}"
    if len(rows) > len(shown):
        heading += f", the first {len(shown)} of them"
    canvas.text((MARGIN, MARGIN), heading, 15, INK)
    empty = 0
    for row, name in enumerate(shown):
        indices = by_class[name]
        y = top + row * (height + SPACE)
        _draw_label(canvas, y, None if name is None else called.get(name, name), len(indices), total)
        for column, index in enumerate(_evenly(indices, COLUMNS)):
            x = MARGIN + TEXT_WIDTH + column * (CELL + SPACE)
            if _is_too_large(recording, index, first):
                canvas.box((x, y, x + CELL, y + height), MISSING)
                empty += 1
            else:
                canvas.paste((x, y), _thumbnail(recording, index, (CELL, height)))
    return canvas.finished(), empty


def _draw_label(canvas: Canvas, y: int, name: str | None, count: int, total: int) -> None:
    full = TEXT_WIDTH - 24
    shown = canvas.fitting("no class" if name is None else name, 18, full)
    canvas.text((MARGIN, y + 2), shown, 18, FAINT if name is None else INK)
    canvas.text((MARGIN, y + 28), f"{count}, {100 * count / total:.1f} %", 12, FAINT)
    canvas.box((MARGIN, y + 48, MARGIN + full, y + 53), GRID)
    canvas.box((MARGIN, y + 48, MARGIN + max(1, round(full * count / total)), y + 53), BAR)


def _thumbnail(recording: Recording, index: int, size: tuple[int, int]) -> Image.Image:
    """The frame, small; one that can't be read is a crossed-out box."""
    from PIL import Image, ImageDraw, ImageOps

    try:
        return ImageOps.pad(Image.fromarray(recording.read(index).pixels), size, color=PAPER)
    except (StorageError, OSError):
        image = Image.new("RGB", size, MISSING)
        draw = ImageDraw.Draw(image)
        draw.line((0, 0, *size), fill="#dc2626", width=2)
        draw.line((0, size[1], size[0], 0), fill="#dc2626", width=2)
        return image


def _first_size(recording: Recording) -> tuple[int, int]:
    """Width and height of the first frame that can be read and, by its file, is not too large."""
    for index in _evenly(list(range(len(recording))), COLUMNS):
        if _is_too_large(recording, index, (0, 0)):
            continue
        try:
            height, width, _ = recording.read(index).pixels.shape
        except (StorageError, OSError):
            continue
        return width, height
    return CELL, CELL


def _is_too_large(recording: Recording, index: int, first: tuple[int, int]) -> bool:
    """Whether a frame has more than `MAX_PIXELS`: by the head of its file, else by the size of the first frame."""
    size: tuple[int, int] | None = first
    if isinstance(recording, FramesAreFiles):
        try:
            size = recording.head(index).size
        except StorageError:
            return False  # it can't be read, and is drawn so
    return size is not None and size[0] * size[1] > MAX_PIXELS


def _evenly(indices: list[int], wanted: int) -> list[int]:
    """Choose so many items, evenly spaced: the middles of equal parts."""
    if len(indices) <= wanted:
        return indices
    return [indices[(2 * part + 1) * len(indices) // (2 * wanted)] for part in range(wanted)]


def _stack(parts: Sequence[Image.Image]) -> Image.Image:
    from PIL import Image

    sheet = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), PAPER)
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height
    return sheet

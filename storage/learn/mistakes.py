"""The frames that a model takes for another class than their label says: which they are, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from storage.drawing import FAINT, INK, MISSING, Canvas, Subject, refuse_existing, write_picture
from storage.errors import StorageError
from storage.formats.table import open_recording
from storage.learn.examples import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

CELL = 144  # pixels, the width and height of a frame
CAPTION = 40
SPACE = 8
MARGIN = 12
COLUMNS = 8
MOST = 64
NEAR_SECONDS = 1.0  # of two mistakes of one kind so near, the worse stands for both


@dataclass(frozen=True, slots=True)
class Mistake:
    """A frame that was taken for another class.

    Attributes
    ----------
    recording : path
    index : int
        Of the frame in its recording.
    name : str
        What a person finds it by.
    truth, guess : str
        Its class, and the one it was taken for.
    certainty : float
        Of the guess.
    """

    recording: Path
    index: int
    name: str
    truth: str
    guess: str
    certainty: float


def find_mistakes(examples: Examples, numbers: NDArray[np.int64], certainties: NDArray[np.float32]) -> list[Mistake]:
    """The mistakes, the most certain first; of near frames with the same mistake the worst stands for all.

    Parameters
    ----------
    examples : Examples
    numbers : ndarray, shape (M,), int64
        The frames that were judged.
    certainties : ndarray, shape (M, C), float32
        Of each class, for these frames.
    """
    truth, guess, classes = examples.labels[numbers], certainties.argmax(axis=1), examples.classes
    certain = certainties[np.arange(len(numbers)), guess]
    kept: dict[tuple[int, int, int], list[float]] = {}
    found = []
    for at in np.argsort(-certain, kind="stable"):
        if guess[at] == truth[at]:
            continue
        number = int(numbers[at])
        near = kept.setdefault((int(examples.of_recording[number]), int(truth[at]), int(guess[at])), [])
        if any(abs(examples.seconds[number] - other) < NEAR_SECONDS for other in near):
            continue
        near.append(float(examples.seconds[number]))
        recording, index = examples.place(number)
        name = examples.name(number)
        found.append(Mistake(recording.path, index, name, classes[truth[at]], classes[guess[at]], float(certain[at])))
    return found


def write_sheet(target: Path, mistakes: Sequence[Mistake], subject: Subject) -> None:
    """Draw mistakes, the first `MOST` of them, as a PNG file, in place of an older one of the same subject.

    Raises
    ------
    StorageError
        Another file has that name, or it can't be written; or the recordings keep no pictures.
    """
    refuse_existing(target, subject)
    shown = mistakes[:MOST]
    rows = max(1, -(-len(shown) // COLUMNS))
    canvas = Canvas(2 * MARGIN + COLUMNS * (CELL + SPACE) - SPACE, 2 * MARGIN + 30 + rows * (CELL + CAPTION + SPACE))
    heading = f"{len(shown)} of {len(mistakes)} mistakes, the most certain first" if mistakes else "no mistakes"
    canvas.text((MARGIN, MARGIN), heading, 15, INK)
    for number, mistake in enumerate(shown):
        row, column = divmod(number, COLUMNS)
        x, y = MARGIN + column * (CELL + SPACE), MARGIN + 30 + row * (CELL + CAPTION + SPACE)
        canvas.paste((x, y), _picture(mistake))
        said = f"{mistake.truth} → {mistake.guess} {mistake.certainty:.2f}"
        canvas.text((x, y + CELL + 2), canvas.fitting(said, 13, CELL), 13, INK)
        canvas.text((x, y + CELL + 20), canvas.fitting(Path(mistake.name).name, 11, CELL), 11, FAINT)
    write_picture(target, canvas.finished(), subject)


def _picture(mistake: Mistake) -> Image.Image:
    from PIL import Image, ImageOps

    with open_recording(mistake.recording) as recording:
        if not recording.has_pictures:
            recording.read(0)  # it says so
        try:
            pixels = recording.read(mistake.index).pixels
        except (StorageError, OSError):
            return Image.new("RGB", (CELL, CELL), MISSING)
    return ImageOps.pad(Image.fromarray(pixels), (CELL, CELL), color=MISSING)

"""The table of labels beside a recording that has no room for them: ``NAME.labels.csv``."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from storage.durable.files import replace_file
from storage.errors import StorageError
from storage.labels.beside import path_beside

TABLE_NAME = "labels.csv"
_HEADER = re.compile(r"frame([,;\t])class\s", re.IGNORECASE)


def write_table(path: Path, labels: Sequence[str | None], of_track: str = "") -> Path:
    """Write the labels of a recording that has no room for them into a table beside it; durable on return.

    The file is ``NAME.labels.csv`` with the columns ``frame`` and ``class``, a row for each frame that has a class;
    `of_track` (see `journal_path`) comes after the name.

    Returns
    -------
    path
        The table.

    Raises
    ------
    StorageError
        It can't be written, or the file that is there is something else.
    """
    target = path_beside(path, TABLE_NAME, of_track)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("frame", "class"))
    rows.writerows((frame, label) for frame, label in enumerate(labels) if label is not None)
    try:
        if os.path.lexists(target) and not _HEADER.match(target.read_text("utf-8-sig", "replace")):
            raise StorageError(f"{target} is something else than a table of labels; move it away")
        replace_file(target, text.getvalue().encode())
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror}; the labels are kept, but not in the table") from None
    return target


def read_table(path: Path, frames: int, of_track: str = "") -> list[str | None] | None:
    """The label of each frame of a recording, as `write_table` left them, or a spreadsheet saved them since; None if
    there is no table.

    Raises
    ------
    StorageError
        The table is damaged, or it is none of labels.
    """
    table = path_beside(path, TABLE_NAME, of_track)
    labels: list[str | None] = [None] * frames
    line = 1
    try:
        text = table.read_text("utf-8-sig")
        header = _HEADER.match(text)
        if header is None:
            raise ValueError("its columns are not frame,class")
        rows = csv.reader(io.StringIO(text), delimiter=header[1])
        next(rows)
        for row in filter(None, rows):
            line = rows.line_num
            frame, label = row
            number = int(frame)
            if not 0 <= number < frames:
                raise ValueError(f"there is no frame {number}")
            if labels[number] is not None:
                raise ValueError(f"frame {number} has two labels")
            labels[number] = label or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise StorageError(f"{table} is damaged (line {line}: {error}); move it away to go on without it") from None
    return labels

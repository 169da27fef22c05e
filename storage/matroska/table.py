"""The table of a file's blocks: what each is, when and where. With it a reader need not go through the file.

Matroska's own index, for players, has some keyframes only. The table stands in an element that other programs pass
over, with a checksum. While a file is written, the table grows in a file without a name, not in memory.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROW = struct.Struct("<BBqqq")
"""Track, whether it is a keyframe, time in microseconds, position in bytes, and the muxer's mark."""
MAGIC = b"pi-capture blocks 1\0"
COPY_BYTES = 1 << 20
MAX_BYTES = 1 << 32


class BlockTable:
    """A table that is being written.

    Parameters
    ----------
    directory : path
        Where there is room for it.
    rows : bytes
        What it begins with.
    """

    def __init__(self, directory: Path, rows: bytes = b"") -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 (`close` closes it)
        self._file.write(rows)
        self._complete = True

    def add(self, track: int, time: int, position: int, *, key: bool, mark: int) -> None:
        """Add a row. Without room for it the file gets no table."""
        try:
            self._file.write(ROW.pack(track, key, time, position, mark))
        except OSError:
            self._complete = False

    def is_complete(self) -> bool:
        """Whether no row is missing."""
        try:
            self._file.flush()
        except OSError:
            self._complete = False
        return self._complete

    def content(self) -> Iterator[bytes]:
        """What the element holds, in parts."""
        checksum = isal_zlib.crc32(MAGIC)
        yield MAGIC
        self._file.seek(0)
        while part := self._file.read(COPY_BYTES):
            checksum = isal_zlib.crc32(part, checksum)
            yield part
        yield struct.pack("<I", checksum)

    @property
    def size(self) -> int:
        """The length of the content, in bytes."""
        return len(MAGIC) + self._file.seek(0, os.SEEK_END) + 4

    def close(self) -> None:
        self._file.close()


def rows_of(track: int, times: Any, positions: Any, keys: Any, marks: Any) -> NDArray[np.void]:
    """Rows as an array, of columns that are arrays or lists."""
    import numpy as np

    rows = np.zeros(len(times), _row_type())
    rows["track"] = track
    for name, column in (("time", times), ("position", positions), ("key", keys), ("mark", marks)):
        rows[name] = column
    return rows


def read_table(fd: int, at: int, end: int) -> NDArray[np.void] | None:
    """The rows of the table between two positions of a file; None if it is damaged, or there is none."""
    import numpy as np

    if not len(MAGIC) + 4 <= end - at <= MAX_BYTES:
        return None
    data = os.pread(fd, end - at, at)
    rows = memoryview(data)[len(MAGIC) : -4]
    if not data.startswith(MAGIC) or len(rows) % ROW.size or len(data) < end - at:
        return None
    (checksum,) = struct.unpack("<I", data[-4:])
    return np.frombuffer(rows, _row_type()) if checksum == isal_zlib.crc32(memoryview(data)[:-4]) else None


def _row_type() -> Any:
    import numpy as np

    return np.dtype([("track", "u1"), ("key", "?"), ("time", "<i8"), ("position", "<i8"), ("mark", "<i8")])

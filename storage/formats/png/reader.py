"""Reads a data directory: its pictures as a recording, those of other programs too."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.durable.untrusted import parse_object
from storage.errors import StorageError
from storage.formats.png.codec import MAX_BYTES, decode_image, read_texts
from storage.formats.png.directory import class_directories, image_names, is_interrupted
from storage.formats.png.head import Head, head_of, read_head
from storage.formats.png.whole import fault
from storage.frame import Frame
from storage.names import natural_key
from storage.recording import Recording
from storage.sessions import read_sessions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PngReader(Recording):
    """The frames of a data directory: those without a class and those in class directories, in recording order.

    Pictures from elsewhere are read too; without a timestamp of their own they have their file's.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise StorageError(f"{path} is not a directory")
        super().__init__(path)
        self._heads: dict[int, Head] = {}
        self._entries = [(name, "") for name in image_names(path)]
        if directories := class_directories(path):
            for directory in directories:
                self._entries += [(name, directory.name) for name in image_names(directory)]
            self._entries.sort(key=lambda entry: (natural_key(entry[0]), entry[1]))

    @property
    def labels(self) -> list[str | None]:
        return [class_name or None for _, class_name in self._entries]

    @property
    def timestamps_ns(self) -> list[int]:
        return [_timestamp_ns(path, read_head(path)) for path in map(self.file, range(len(self)))]

    def _first_and_last_ns(self) -> tuple[int, int]:
        first, last = self.file(0), self.file(-1)  # not all of them: there can be a hundred thousand
        return _timestamp_ns(first, read_head(first)), _timestamp_ns(last, read_head(last))

    @cached_property
    def has_times(self) -> bool:
        """Whether the frames have times; those of files from elsewhere count if each frame has another."""
        if not len(self) or self.head(0).timestamp_ns is not None:
            return True
        return all(before < after for before, after in pairwise(self.timestamps_ns))

    @property
    def interrupted(self) -> bool:
        try:
            return is_interrupted(self.path)
        except StorageError:  # `sessions` says what is damaged
            return False

    @property
    def names(self) -> list[str]:
        """The frames' files as they are called in the directory: ``00000042.png``, ``0/00000007.png``."""
        return [f"{class_name}/{name}" if class_name else name for name, class_name in self._entries]

    @property
    def sessions(self) -> list[dict[str, Any]]:
        return read_sessions(self._path)

    def file(self, index: int) -> Path:
        name, class_name = self._entries[index]
        return self._path / class_name / name

    def head(self, index: int) -> Head:
        """The facts in the file of a frame; as they were when the frame was checked, if it was."""
        return self._heads.get(index) or read_head(self.file(index))

    def check(self, index: int) -> None:
        path, data = self._content(index)
        self._heads[index] = head_of(data)
        if (reason := fault(data)) is not None:
            raise StorageError(f"{path}: {reason}")

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> Frame:
        path, data = self._content(index)
        return Frame(_decoded(path, data), index, _timestamp_ns(path, head_of(data)), _metadata(data))

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return _decoded(*self._content(index))

    def _content(self, index: int) -> tuple[Path, bytes]:
        """The file of a frame, and its bytes. Raises `StorageError` if they can't be a picture's."""
        path = self.file(index)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise StorageError(f"{path}: is too large for a picture")
            return path, path.read_bytes()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from None


def _decoded(path: Path, data: bytes) -> NDArray[np.uint8]:
    try:
        return decode_image(data)
    except ValueError as error:
        raise StorageError(f"{path}: {error}") from None


def _timestamp_ns(path: Path, head: Head) -> int:
    return head.timestamp_ns if head.timestamp_ns is not None else path.stat().st_mtime_ns


def _metadata(data: bytes) -> dict[str, Any]:
    """What the camera reported; nothing if another program has something else there."""
    try:
        return parse_object(read_texts(data).get("Metadata", "{}"))
    except ValueError:
        return {}

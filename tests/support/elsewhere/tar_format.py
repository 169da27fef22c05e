"""A format of another distribution: a ``.tar`` of a PNG and a JSON file a frame, in order."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.durable.files import lock_descriptor
from storage.errors import StorageError, no_directory
from storage.formats.png.codec import decode_image, encode_png
from storage.formats.table import Format
from storage.frame import Frame
from storage.recording import Recording

TAR = Format("tar", ".tar", "tar_format:TarWriter", "tar_format:TarReader", summary="a PNG and a JSON file a frame")
BLOCK = tarfile.BLOCKSIZE


class TarWriter:
    """Appends the two members of a frame; their end of the archive is written by `close`."""

    def __init__(self, target: Path) -> None:
        if not target.parent.is_dir():
            raise no_directory(target.parent)
        self._new = not target.exists()
        self._fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            lock_descriptor(self._fd, f"{target} is being recorded into by another program")
            self._entries, self._end = find_members(self._fd)
            if not is_ours(self._fd):
                raise StorageError(f"{target} is no recording; choose another name")
        except BaseException:
            os.close(self._fd)
            raise
        os.ftruncate(self._fd, self._end)
        self._target, self.next_index, self.bytes_written, self._stored = target, len(self._entries), 0, 0
        self._facts: dict[str, Any] = {}

    @property
    def held(self) -> tuple[Path, int]:
        return self._target, self._fd

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._facts = {**self._facts, **facts}

    def encode(self, frame: Frame, label: str | None = None) -> bytes:
        facts = {"timestamp_ns": frame.timestamp_ns, "metadata": dict(frame.metadata)}
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            for suffix, data in (("png", encode_png(frame.pixels, {})), ("json", json.dumps(facts).encode())):
                member = tarfile.TarInfo(f"{frame.index:08d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            end = tar.offset
        return made.getvalue()[:end]

    def append(self, encoded: bytes) -> None:
        try:
            if os.pwrite(self._fd, encoded, self._end) < len(encoded):
                raise OSError(28, "No space left on device")
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._end += len(encoded)
        self.bytes_written += len(encoded)
        self._stored += 1

    def sync(self) -> int:
        stored = self._stored
        os.fsync(self._fd)
        return stored

    def close(self) -> int:
        if self._fd >= 0:
            os.pwrite(self._fd, bytes(2 * BLOCK), self._end)
            self.sync()
            if self._new and not self._stored:
                self._target.unlink()
            os.close(self._fd)
            self._fd = -1
        return self._stored


class TarReader(Recording):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb") as file:
            self._entries, end = find_members(file.fileno())
            self._cut = os.fstat(file.fileno()).st_size != end + 2 * BLOCK
            if not is_ours(file.fileno()):
                raise StorageError(f"{path} is no recording")

    interrupted = property(lambda self: self._cut)

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> Frame:
        try:
            picture, facts = (self._member(*place) for place in self._entries[index])
            told = json.loads(facts)
            return Frame(decode_image(picture), index, told["timestamp_ns"], told["metadata"])
        except (ValueError, OSError) as error:
            raise StorageError(f"{self._path}: frame {index} is damaged: {error}") from None

    @property
    def labels(self) -> Sequence[str | None]:
        return [None] * len(self)

    @property
    def timestamps_ns(self) -> Sequence[int]:
        return [json.loads(self._member(*facts))["timestamp_ns"] for _, facts in self._entries]

    def _member(self, start: int, size: int) -> bytes:
        with self._path.open("rb") as file:
            return os.pread(file.fileno(), size, start)


def is_ours(fd: int) -> bool:
    """Whether it begins as a recording does; one that was only just begun has no byte."""
    return b"00000000.png\0".startswith(os.pread(fd, 13, 0))


def find_members(fd: int) -> tuple[list[tuple[tuple[int, int], tuple[int, int]]], int]:
    """Where the picture and the facts of each whole frame are, and where the last one ends."""
    found, end = [], 0
    size = os.fstat(fd).st_size
    while True:
        places, at = [], end
        for suffix in ("png", "json"):
            try:
                member = tarfile.TarInfo.frombuf(os.pread(fd, BLOCK, at), "utf-8", "strict")
            except tarfile.HeaderError:
                return found, end
            if member.name != f"{len(found):08d}.{suffix}" or at + BLOCK + member.size > size:
                return found, end
            places.append((at + BLOCK, member.size))
            at += BLOCK + -(-member.size // BLOCK) * BLOCK
        if at > size:
            return found, end
        found.append((places[0], places[1]))
        end = at

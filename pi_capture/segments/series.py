"""The names of the segments that one long recording is made of: ``day1-20261121T101500-0001`` and on.

Each segment is a recording of its own, beside the others: ``day1-….mkv``, or a data directory ``day1-…`` (not one
inside ``day1``: training frameworks take every directory in a data directory for a class). The number orders them. The
time is for people, and may be wrong: it is when the segment began, by the wall clock.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pi_capture.errors import UsageError
from storage.formats.png.directory import locate
from storage.formats.table import find_format


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment and its place in the order."""

    number: int
    path: Path


@dataclass(frozen=True, slots=True)
class Series:
    """All segments of one target: their directory, and what their names begin and end with."""

    directory: Path
    stem: str
    suffix: str

    @classmethod
    def of(cls, target: Path, backend: str | None = None) -> Self:
        """Return the series of a target, which need not have segments yet.

        Raises
        ------
        UsageError
            The target is a class directory.
        StorageError
            The format of the target is unknown.
        """
        suffix = find_format(target, backend).suffix
        if not suffix and locate(target).class_name:
            raise UsageError(f"{target}: a class directory can't be cut into segments; record to its data directory")
        stem = target.name[: -len(suffix)] if suffix and target.name.lower().endswith(suffix) else target.name
        return cls(target.parent, stem, target.name[len(stem) :])

    def segments(self) -> list[Segment]:
        """Return the finished segments, oldest first."""
        return sorted((segment for segment, _ in self._find("", "")), key=lambda segment: segment.number)

    def begun(self) -> list[Segment]:
        """Return segments that a crash left under a temporary name, each with the path that it will get."""
        return [segment for segment, _ in self._find(r"\.", r"\.(?:reserve\.)?part")]

    def hidden(self, suffix: str) -> list[Path]:
        """Return files named ``.``, a segment's name and what the regular expression `suffix` matches."""
        return [path for _, path in self._find(r"\.", suffix)]

    def _find(self, before: str, after: str) -> Iterator[tuple[Segment, Path]]:
        """Yield segments and their files: those whose names are a segment's between two regular expressions."""
        name = re.escape(self.stem) + r"-\d{8}T\d{6}-(\d{4,12})" + re.escape(self.suffix)
        pattern = re.compile(f"{before}({name}){after}")
        for path in self.directory.iterdir():
            if match := pattern.fullmatch(path.name):
                yield Segment(int(match[2]), self.directory / match[1]), path

    def new_path(self, number: int) -> Path:
        """Return the name of a segment that begins now."""
        return self.directory / f"{self.stem}-{time.strftime('%Y%m%dT%H%M%S')}-{number:04d}{self.suffix}"

    @property
    def lock_path(self) -> Path:
        """The file that is locked while the series is recorded."""
        return self.directory / f".{self.stem}{self.suffix}.lock"

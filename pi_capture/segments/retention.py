"""Remove the oldest segments of a recording that have no labels, when its segments exceed a limit, or are uploaded.

A segment stays if it has labels, holds a file that its recorder did not write, or is locked by another program. Before
a segment is deleted it gets a hidden name; an interrupted removal is completed later.

A segment is uploaded if ``receipt.json`` beside it names it and its SHA-256; that is a manifest of the machine where it
arrived (see `storage.care.manifest`). The segment is read once more before it is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pi_capture.errors import UsageError
from pi_capture.recording.clocks import is_synchronised
from pi_capture.segments.series import Segment, Series
from storage.amounts import parse_size, parse_time
from storage.care.listing import RECEIPT_NAME
from storage.care.manifest import digest, read_manifest, state_of
from storage.durable.files import lock_descriptor, rename_new, sync_directory
from storage.errors import StorageError
from storage.formats.png.directory import FRAME_NAME, MOVES_NAME
from storage.formats.table import open_recording
from storage.labels.beside import JOURNAL_NAME, journal_path
from storage.sessions import SESSIONS_NAME, read_sessions

GOING = ".removing"
PAUSE_SECONDS = 0.02  # after each megabyte that is read to compare it: the disk and the processor are the recording's
UNSYNCHRONISED = "the clock isn't synchronised: no segment is removed for its age until it is"


@dataclass(frozen=True, slots=True)
class Keep:
    """The limits of ``--keep``. Each one that is given holds."""

    most_bytes: int | None = None  # of all segments together
    longest: float | None = None  # seconds since a segment ended
    least_free: int | None = None  # bytes free on the disk
    uploaded: bool = False  # only what the receipt names; without a limit, all of it
    text: str = ""  # the option as it was given, for messages

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """From ``20GB``, ``7d``, ``min-free=2GB`` and ``uploaded``; the strictest counts of several of a kind.

        Raises
        ------
        UsageError
            One is none of these.
        """
        sizes, times, free = list[int](), list[float](), list[int]()
        for text in (text for text in texts if text != "uploaded"):
            name, equals, size_text = text.partition("=")
            if equals and name == "min-free" and (size := parse_size(size_text)) is not None:
                free.append(size)
            elif (size := parse_size(text)) is not None:
                sizes.append(size)
            elif seconds := parse_time(text):
                times.append(seconds)
            else:
                raise UsageError(
                    f"--keep {text}: give a size, an age, the room to leave: 20GB, 7d, min-free=2GB; or uploaded"
                )
        return cls(
            min(sizes, default=None),
            min(times, default=None),
            max(free, default=None),
            "uploaded" in texts,
            f"--keep {' '.join(texts)}",
        )

    @property
    def has_limit(self) -> bool:
        return not (self.most_bytes is self.longest is self.least_free is None)


class _EndedError(Exception):
    """The recording ended while a segment was read."""


class Retention:
    """Removes segments of one series. While the wall clock isn't `synchronised`, none is removed for its age.

    When `end` is set, a segment that is being read to be compared with the receipt stays.
    """

    def __init__(
        self,
        series: Series,
        keep: Keep,
        synchronised: Callable[[], bool | None] = is_synchronised,
        end: threading.Event | None = None,
    ) -> None:
        self._series = series
        self._end = end or threading.Event()
        self._keep = keep
        self._synchronised = synchronised
        self._said: set[str] = set()
        self._sizes: dict[Path, int] = {}  # of closed segments, which don't change
        self._trusted: dict[Path, bool] = {}
        self._read_receipt: tuple[str, dict[str, set[str]]] = "", {}  # its state when it was read, and what it names
        self._digests: dict[Path, tuple[str, str]] = {}  # the state of a segment when it was read, and its SHA-256

    def tidy(self, in_use: set[Path]) -> list[str]:
        """Remove segments beyond the limits, except those in use; returns lines about it, each only once."""
        lines: list[str] = []
        try:
            self._complete()
            segments = self._series.segments()
            closed = [segment for segment in segments if segment.path not in in_use]
            total = sum(self._size(segment.path, segment.path in in_use) for segment in segments)
            old = self._too_old(closed, lines)
            receipt = self._receipt(lines) if self._keep.uploaded else None
            for segment in closed:
                free = shutil.disk_usage(self._series.directory).free
                too_much = self._keep.most_bytes is not None and total > self._keep.most_bytes
                too_full = self._keep.least_free is not None and free < self._keep.least_free
                over = too_much or too_full or segment.path in old
                named = receipt is None or segment.path.name in receipt
                if over and not named:
                    lines.append(f"segments that {RECEIPT_NAME} does not name stay, whatever {self._keep.text} says")
                if not named or (self._keep.has_limit and not over):
                    continue
                reason = self._remove(segment.path, None if receipt is None else receipt[segment.path.name])
                if reason is None:
                    size = self._sizes.pop(segment.path)
                    self._digests.pop(segment.path, None)
                    total -= size
                    lines.append(f"removed {segment.path} ({size / 1e6:.1f} MB): {self._keep.text}")
                else:
                    lines.append(f"{segment.path} stays, whatever {self._keep.text} says: {reason}")
        except _EndedError:
            pass
        except OSError as error:
            lines.append(f"{error.filename or self._series.directory}: {error.strerror}; nothing more was removed")
        new = [line for line in dict.fromkeys(lines) if line not in self._said]
        self._said.update(line for line in lines if not line.startswith("removed"))
        return new

    def _too_old(self, closed: Sequence[Segment], lines: list[str]) -> set[Path]:
        """Segments that ended too long ago. One without a trusted clock ended before the next one did."""
        if self._keep.longest is None or not closed:
            return set()
        if not self._synchronised():
            lines.append(UNSYNCHRONISED)
            return set()
        old, ended = set[Path](), time.time()
        for segment in reversed(closed):
            if self._had_true_time(segment.path):
                ended = min(ended, _last_change(segment.path))
            if time.time() - ended > self._keep.longest:
                old.add(segment.path)
        return old

    def _had_true_time(self, path: Path) -> bool:
        if path not in self._trusted:
            try:
                if path.is_dir():
                    sessions = read_sessions(path)
                else:
                    with open_recording(path) as recording:
                        sessions = recording.sessions
                anchors = sessions[-1].get("anchors", []) if sessions else []
                self._trusted[path] = bool(anchors) and all(anchor.get("synchronised") for anchor in anchors)
            except (StorageError, AttributeError, TypeError):
                self._trusted[path] = False
        return self._trusted[path]

    def _size(self, path: Path, in_use: bool) -> int:
        if path in self._sizes:
            return self._sizes[path]
        size = _bytes_in(path)
        if not in_use:
            self._sizes[path] = size
        return size

    def _receipt(self, lines: list[str]) -> dict[str, set[str]]:
        """By the name of a recording: its SHA-256, or several if several machines gave one this name."""
        path = self._series.directory / RECEIPT_NAME
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # to read a pipe could take for ever
                raise StorageError(f"{path} is no file; copy the receipt anew")
            state = state_of(path)
            if self._read_receipt[0] != state:
                named: dict[str, set[str]] = {}
                for entry in read_manifest(path).values():
                    named.setdefault(Path(entry.path).name, set()).add(entry.sha256)
                self._read_receipt = state, named
            return self._read_receipt[1]
        except FileNotFoundError:
            lines.append(f"there is no {path} yet: {self._keep.text} removes nothing until it is there")
        except StorageError as error:
            lines.append(f"{error}; {self._keep.text} removes nothing until then")
        return {}

    def _remove(self, path: Path, uploaded: set[str] | None) -> str | None:
        """Remove a segment, if its SHA-256 is among those `uploaded`; returns the reason if it stays."""
        before = state_of(path)
        if (reason := why_it_stays(path)) is not None:
            return reason
        if uploaded is not None:
            if path not in self._digests or self._digests[path][0] != before:
                self._digests[path] = before, digest(path, self._pause)
            if self._digests[path][1] not in uploaded:
                return f"its SHA-256 is not the one in {RECEIPT_NAME}"
        fd = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            lock_descriptor(fd, "it is in use")
            if state_of(path) != before:
                return "it is in use"
            going = path.with_name(f".{path.name}{GOING}")
            rename_new(path, going)
            if (reason := _why_labels_keep(path, going)) is not None:  # labelling began just now
                rename_new(going, path)
                return reason
            sync_directory(path.parent)
            _delete(going)
            return None
        except StorageError as error:
            return str(error)
        finally:
            os.close(fd)

    def _pause(self) -> None:
        if self._end.wait(PAUSE_SECONDS):
            raise _EndedError

    def _complete(self) -> None:
        """Delete the renamed segments of an interrupted removal."""
        for path in self._series.hidden(re.escape(GOING)):
            _delete(path)


def why_it_stays(path: Path) -> str | None:
    """Return why a segment must not be removed; None if it may be."""
    if path.is_symlink():
        return "it is a symbolic link"
    if (reason := _why_labels_keep(path, path)) is not None or path.is_dir():
        return reason
    try:
        with open_recording(path) as recording:
            return "it is labelled" if any(label is not None for label in recording.labels) else None
    except StorageError as error:
        return f"it can't be read ({error})"


def _why_labels_keep(path: Path, lies_at: Path) -> str | None:
    """Return why labels or other files beside the segment keep it. The file is not opened."""
    if lies_at.is_dir():
        return _why_directory_stays(lies_at)
    if journal_path(path).exists():
        return "it is labelled"
    beside = (other for other in path.parent.iterdir() if other.name.startswith(f"{path.name}."))
    return next((f"{other} belongs to it" for other in beside), None)


def _why_directory_stays(directory: Path) -> str | None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) or entry.name in (JOURNAL_NAME, MOVES_NAME):
                return "it is labelled"
            ours = FRAME_NAME.fullmatch(entry.name) or entry.name == SESSIONS_NAME or _is_temporary(entry.name)
            if not ours or not entry.is_file(follow_symlinks=False):
                return f"{entry.name} in it does not belong to the recording"
    return None


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")


def _last_change(path: Path) -> float:
    return max(file.stat(follow_symlinks=False).st_mtime for file in (path, path / SESSIONS_NAME) if file.exists())


def _bytes_in(path: Path | str) -> int:
    """The bytes of a file, or of all files in a directory; frames may get their names meanwhile."""
    if not os.path.isdir(path):
        return os.lstat(path).st_size
    total = 0
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                inside = entry.is_dir(follow_symlinks=False)
                total += _bytes_in(entry.path) if inside else entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    return total


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    sync_directory(path.parent)

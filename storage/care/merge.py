"""Bring several labelled data directories together in one, without copying a byte where the file system allows it.

Each recording session keeps its own block of numbers, written down in the result's ``recording.json`` before its first
frame goes there. So a frame's name follows from the frame alone: no two collide, a merge that was interrupted is
completed by repeating it, and one that is repeated adds what is new. Pictures that no session knows keep their names,
after the name of the directory that they came from.
"""

from __future__ import annotations

import errno
import filecmp
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from storage.care.layout import SPLIT_WORDS
from storage.care.split import is_split
from storage.durable.files import alternatives, lock_directory, rename_new, sync_directory, sync_filesystem
from storage.errors import StorageError, no_directory
from storage.formats.png.directory import class_directories, frame_name, image_names, is_interrupted, next_number
from storage.formats.png.head import Head, read_head
from storage.labels.classes import classes_of_directory, classes_together, keep_classes
from storage.labels.journal import Classes
from storage.labels.origins import applied_origins, keep_origins
from storage.names import printable
from storage.sessions import read_sessions, write_sessions

COPIES_A_SYNC = 256
MAX_NUMBER = 10**12  # larger numbers are nonsense
NO_LINKS_HERE = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}

_TEMPORARY_NAME = re.compile(r"\.merge-\d+\.part")


@dataclass(slots=True)
class Merged:
    """The result of a merge.

    Attributes
    ----------
    linked, copied : int
        Frames that were added, as a second name of the same file or as a copy.
    present : int
        Frames that were there already.
    counts : Counter
        Frames added to each class; "" counts those without one.
    left_out : dict
        For each input, its frames without a class, if they were not asked for.
    conflicts : list of (path, str)
        Frames that were not added, and why.
    """

    linked: int = 0
    copied: int = 0
    present: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, int] = field(default_factory=dict)
    conflicts: list[tuple[Path, str]] = field(default_factory=list)


def merge(
    out: Path,
    inputs: Sequence[Path],
    *,
    link: bool = True,
    unlabelled: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Merged:
    """Add the labelled frames of data directories to another; durable on return.

    Parameters
    ----------
    out : path
        The directory to add to; made if it is not there.
    inputs : sequence of path
        Data directories; they are not changed.
    link : bool
        Give frames a second name instead of copying them, where the file system can. Nothing here ever changes a
        frame's file, so the two don't disturb each other; but a program that edits pictures in place edits both.
    unlabelled : bool
        Take the frames without a class as well.
    progress : callable, optional
        Told how many of how many frames are done.

    Raises
    ------
    StorageError
        An input is no labelled data directory, or one of the directories is being recorded into: nothing was added. Or
        the disk failed: what was added is whole, and the same call goes on with the rest.
    """
    _check(out, inputs)
    made = not out.exists()
    locks = []
    out_is_ours = False
    try:
        for directory in inputs:
            locks.append(_lock(directory))
            if is_interrupted(directory):  # its late frames would get numbers of the next session
                raise StorageError(f"{directory} was interrupted: verify --repair completes it (nothing was added)")
        classes = classes_together([*([out] if out.exists() else []), *inputs])
        frames = _frames(inputs, unlabelled, classes)
        merged = Merged(left_out={} if unlabelled else {str(path): len(image_names(path)) for path in inputs})
        out.mkdir(exist_ok=True)
        locks.append(_lock(out))
        out_is_ours = True
        for directory in {out / frame.class_name for frame in frames if frame.class_name}:
            if directory.is_symlink():
                raise StorageError(f"{directory} is a symbolic link; a class directory must lie in its data directory")
        _remove_temporaries(out)
        adding = _Adding(out, link, merged, locks[-1])
        chosen = adding.choose_names(frames, _blocks(out, inputs, frames))
        keep_origins(out, {name: frame.origin for name, frame in chosen.items()})
        keep_classes(out, classes)
        for number, (name, frame) in enumerate(chosen.items(), 1 + len(frames) - len(chosen)):
            adding.place(name, frame)
            if progress is not None:
                progress(number, len(frames))
        adding.finish()
        return merged
    except OSError as error:
        raise StorageError(
            f"{error.filename or out}: {error.strerror}; what was added is whole, the same command adds the rest"
        ) from None
    finally:
        if out_is_ours:
            _remove_temporaries(out)
            if made and not os.listdir(out):
                out.rmdir()
        for lock in locks:
            os.close(lock)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame of an input."""

    data_dir: Path
    directory: str
    class_name: str
    """The directory of its class in the result."""
    name: str
    head: Head
    origin: str | None
    """The model's proposal that its class is, if it is one (`storage.labels.origins`)."""

    @property
    def path(self) -> str:
        return os.path.join(self.data_dir, self.directory, self.name)


# ----------------------------------------------------------------------------------------------------------- the inputs


def _check(out: Path, inputs: Sequence[Path]) -> None:
    real = [os.path.realpath(path) for path in inputs]
    for path, place in zip(inputs, real, strict=True):
        if not path.is_dir():
            there = path.exists()
            why = "is no directory of frames; files go into a file, such as all.mkv" if there else "no such directory"
            raise StorageError(f"{path}: {why}")
        if real.count(place) > 1:
            raise StorageError(f"{path} is given twice")
        target = os.path.realpath(out)
        if os.path.commonpath([place, target]) in (place, target):
            raise StorageError(f"{out} and {path} lie in each other; merge into a directory of its own")
    if os.path.lexists(out) and not out.is_dir():
        raise StorageError(f"{out} is not a directory; choose another name")
    if not out.parent.is_dir():
        raise no_directory(out.parent)
    if out.is_dir() and is_split(out):
        raise StorageError(f"{out} is split; take that back first: python -m storage split {out} --undo")


def _lock(directory: Path) -> int:
    return lock_directory(directory, f"{directory} is being recorded into or labelled; close that program first")


def _frames(inputs: Sequence[Path], unlabelled: bool, classes: Classes) -> list[_Frame]:
    frames: list[_Frame] = []
    place_of = dict(zip(classes.names, classes.directories, strict=True))
    for data_dir in inputs:
        before = len(frames)
        own = classes_of_directory(data_dir)
        name_of = dict(zip(own.directories, own.names, strict=True))
        names = {
            directory: image_names(directory)
            for directory in [*([data_dir] if unlabelled else []), *class_directories(data_dir)]
        }
        by_model = applied_origins(data_dir, chain.from_iterable(names.values()))
        for directory, inside in names.items():
            own_name = "" if directory == data_dir else directory.name
            class_name = place_of.get(name_of[own_name], own_name) if own_name else ""
            for name in inside:
                origin = by_model.get(name) if own_name else None
                frames.append(_Frame(data_dir, own_name, class_name, name, read_head(directory / name), origin))
        if len(frames) == before:
            raise StorageError(f"{data_dir} has no labelled frames; label it first: python -m classify {data_dir}")
    return frames


def _blocks(out: Path, inputs: Sequence[Path], frames: Sequence[_Frame]) -> dict[str, tuple[int, int]]:
    """For each session, the number of its first frame in `out`, and the number that this frame was recorded with.

    New sessions get the next free numbers; that is written down, durably, before any frame has one of them.
    """
    sessions = read_sessions(out)
    blocks = {session["id"]: _block(session) for session in sessions if _is_sound(session)}
    next_free = max([next_number(out), *(s["first_index"] + (s.get("frames") or 0) for s in sessions)])
    highest: dict[str, int] = {}
    for frame in frames:
        if frame.head.session and frame.head.index is not None and frame.head.index < MAX_NUMBER:
            highest[frame.head.session] = max(frame.head.index, highest.get(frame.head.session, 0))
    known = len(sessions)
    for data_dir in inputs:
        for session in read_sessions(data_dir):
            if _is_sound(session) and session["id"] in highest and session["id"] not in blocks:
                _, recorded = _block(session)
                length = max(int(session.get("frames") or 0), highest[session["id"]] - recorded + 1)
                blocks[session["id"]] = next_free, recorded
                place = {"first_index": next_free, "first_recorded": recorded, "frames": length}
                sessions.append({"merged_from": printable(_name_of(data_dir)), **session, **place})
                next_free += length
    if len(sessions) > known:
        write_sessions(out, sessions)
    return blocks


def _is_sound(session: dict[str, Any]) -> bool:
    """Whether a session's numbers can be believed: ``recording.json`` is not trusted."""
    numbers = [session["first_index"], session.get("first_recorded", 0), session.get("frames") or 0]
    return all(isinstance(number, int) and 0 <= number < MAX_NUMBER for number in numbers)


def _block(session: dict[str, Any]) -> tuple[int, int]:
    return session["first_index"], session.get("first_recorded", session["first_index"])


# ----------------------------------------------------------------------------------------------------------- the adding


class _Adding:
    """Puts the frames into the result, one after another."""

    def __init__(self, out: Path, link: bool, merged: Merged, lock: int) -> None:
        self._out = out
        self._link = link
        self._merged = merged
        self._lock = lock
        self._waiting: list[tuple[str, str]] = []  # copies that wait for a sync to get their names

    def choose_names(self, frames: Sequence[_Frame], blocks: dict[str, tuple[int, int]]) -> dict[str, _Frame]:
        """The frames to add, by the names that they get; what is there already is counted."""
        taken = {name: ("", os.path.join(self._out, name)) for name in image_names(self._out)}  # class and file
        for directory in class_directories(self._out):
            taken |= {name: (directory.name, os.path.join(directory, name)) for name in image_names(directory)}
        chosen: dict[str, _Frame] = {}
        for frame in frames:
            for name in alternatives(_wanted_name(frame, blocks)):
                if name not in taken:
                    chosen[name], taken[name] = frame, (frame.class_name, frame.path)
                    break
                there, file = taken[name]
                if _same(frame.path, file):
                    if there == frame.class_name:
                        self._merged.present += 1
                    else:
                        reason = f"is there already, in class {there}" if there else "is there already, without a class"
                        self._merged.conflicts.append((Path(frame.path), reason))
                    break
        return chosen

    def place(self, name: str, frame: _Frame) -> None:
        """Add a frame; its name is taken at once, or with the next copies that are published."""
        directory = self._out / frame.class_name
        if not directory.is_dir():
            directory.mkdir()
            sync_directory(self._out)
        if not (self._link and self._place_link(frame.path, f"{directory}/{name}")):
            temporary = f"{self._out}/.merge-{len(self._waiting)}.part"
            shutil.copy2(frame.path, temporary)
            self._waiting.append((temporary, f"{directory}/{name}"))
            self._merged.copied += 1
            if len(self._waiting) >= COPIES_A_SYNC:
                self._publish()
        self._merged.counts[frame.class_name] += 1

    def finish(self) -> None:
        self._publish()
        for directory in (self._out, *class_directories(self._out)):
            sync_directory(directory)

    def _place_link(self, source: str, target: str) -> bool:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in NO_LINKS_HERE:
                raise
            return False
        self._merged.linked += 1
        return True

    def _publish(self) -> None:
        """Give the copies their names, once they are on the disk."""
        if self._waiting:
            sync_filesystem(self._lock)
            for temporary, target in self._waiting:
                rename_new(temporary, target)
            self._waiting = []


def _wanted_name(frame: _Frame, blocks: dict[str, tuple[int, int]]) -> str:
    """The name by the frame's session and number; without these, after the directory that it comes from."""
    head = frame.head
    if head.session in blocks and head.index is not None:
        first, recorded = blocks[head.session]
        if recorded <= head.index < recorded + MAX_NUMBER and frame.name.lower().endswith(".png"):
            return frame_name(first + head.index - recorded)
    stem, suffix = os.path.splitext(f"{_name_of(frame.data_dir)}-{frame.name}")
    stem = re.sub(r"[-_. ]{2,}", "-", SPLIT_WORDS.sub("", stem)).strip("-_. ")
    return (stem or "frame") + suffix.lower()


def _name_of(data_dir: Path) -> str:
    return os.path.basename(os.path.abspath(data_dir))


def _same(one: str, other: str) -> bool:
    return os.path.samefile(one, other) or filecmp.cmp(one, other, shallow=False)


def _remove_temporaries(out: Path) -> None:
    for name in os.listdir(out):
        if _TEMPORARY_NAME.fullmatch(name):
            (out / name).unlink()

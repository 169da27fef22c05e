"""Which recordings lie in a directory. Links are none, and hidden names are left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from storage.formats.png.directory import FRAME_NAME, IMAGE_SUFFIXES, TEMPORARY_NAME
from storage.formats.table import all_formats
from storage.labels.beside import LABEL_ENDINGS, journal_path
from storage.sessions import SESSIONS_NAME

MANIFEST_NAME = "manifest.json"  # see `storage.care.manifest`
RECEIPT_NAME = "receipt.json"
LOOKED_AT = 1000  # entries of a directory, for a picture that makes it a recording


def recordings_in(directory: Path) -> Iterator[Path]:
    """The recordings in a directory and in all directories below it, by name. Raises OSError if it can't be read."""
    yield from _recordings_in(directory, recording_test())


def recordings_among(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths; in place of a directory that is no recording but holds some, these. Raises OSError as `recordings_in`.

    Pictures of others in one directory below it are its class, as when it is opened. Manifests, and labels beside
    files, are left out if they come with others, as ``DIR/*`` names them.
    """
    paths = list(paths)
    for path in paths:
        if len(paths) > 1 and (path.name in (MANIFEST_NAME, RECEIPT_NAME) or path.name.endswith(LABEL_ENDINGS)):
            continue
        found = [] if not path.is_dir() or _holds_pictures(str(path)) else list(recordings_in(path))
        own = any(one.parent != path or one.is_file() or (one / SESSIONS_NAME).is_file() for one in found)
        yield from found if own else [path]


def _recordings_in(directory: Path, is_recording: Callable[[os.DirEntry[str]], bool]) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in found:
        if is_recording(entry):
            yield directory / entry.name
        elif entry.is_dir(follow_symlinks=False):
            yield from _recordings_in(directory / entry.name, is_recording)


def recording_test() -> Callable[[os.DirEntry[str]], bool]:
    """Return the function that says whether an entry of a directory is a recording, by the formats installed now.

    It raises OSError if the entry has gone.
    """
    suffixes = tuple(suffix for row in all_formats() for suffix in (row.suffix, *row.also_reads) if suffix)
    return partial(_is_recording, suffixes)


def _is_recording(suffixes: tuple[str, ...], entry: os.DirEntry[str]) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return _holds_pictures(entry.path)
    return entry.name.lower().endswith(suffixes) and entry.is_file(follow_symlinks=False)


def _holds_pictures(directory: str) -> bool:
    """Whether a directory is a recording.

    It is one that was recorded into or labelled; or that has pictures in it, a class with a frame of ours, or two
    classes of pictures. One directory of other pictures is no class: ``docs/images`` makes no recording of ``docs``.
    A directory that was recorded into is no class either, but a recording itself.
    """
    if os.path.isfile(os.path.join(directory, SESSIONS_NAME)) or os.path.isfile(journal_path(Path(directory))):
        return True
    directories: list[str] = []
    for entry in first_entries(directory):
        if _is_picture(entry) or TEMPORARY_NAME.fullmatch(entry.name):
            return True
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            directories.append(entry.path)
    classes = 0
    for path in directories[:20]:
        if os.path.isfile(os.path.join(path, SESSIONS_NAME)):
            continue
        names = [entry.name for entry in first_entries(path) if _is_picture(entry)]
        classes += bool(names)
        if classes > 1 or any(map(FRAME_NAME.fullmatch, names)):
            return True
    return False


def _is_picture(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    return name.endswith(IMAGE_SUFFIXES) and not name.startswith(".") and entry.is_file(follow_symlinks=False)


def first_entries(directory: str) -> Iterator[os.DirEntry[str]]:
    """The first `LOOKED_AT` entries of a directory; none if it can't be read."""
    try:
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if number >= LOOKED_AT:
                    return
                yield entry
    except OSError:
        return

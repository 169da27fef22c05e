"""What training frameworks stumble over in a data directory, checked by the rules that each of them publishes.

All of them read the layout that `storage.formats.png.directory` describes. This module finds files and directories that
don't fit it, and names the reader that each breaks. For damaged frames see `storage.care.verify`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from storage.durable.files import lock_directory
from storage.durable.moves import is_interrupted
from storage.errors import StorageError
from storage.formats.png.directory import IMAGE_SUFFIXES, OTHER_SUFFIXES, class_directories, image_names
from storage.formats.png.head import read_head
from storage.names import look_alikes

SPLIT_WORDS = re.compile(
    r"(?<![A-Za-z])(?:train|training|test|testing|val|valid|validation|dev|eval|evaluation)(?![A-Za-z])", re.IGNORECASE
)
"""What Hugging Face datasets takes, in a path, for the name of a split."""
MANY = 5  # problems of one kind in one directory are listed one by one up to here, then counted


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the layout that a reader stumbles over.

    Attributes
    ----------
    path : path
        What it is about.
    what : str
        What is wrong with it.
    breaks : str
        Which reader does what because of it.
    """

    path: Path
    what: str
    breaks: str


def find_problems(data_dir: Path) -> list[Problem]:
    """Find everything in a data directory that a training framework would stumble over."""
    classes = {directory: image_names(directory) for directory in class_directories(data_dir)}
    pictures = {data_dir: image_names(data_dir), **classes}
    problems = list(_in_root(data_dir))
    for directory, names in classes.items():
        problems += _in_class(directory, names)
    problems += _in_classes_together(data_dir, classes)
    if pictures[data_dir] and classes:
        count = len(pictures[data_dir])
        breaks = "Hugging Face drops all labels; Keras leaves them out"
        problems.append(Problem(data_dir, f"has {count} frames without a class", breaks))
    problems += _in_pictures(data_dir, pictures)
    return problems


def _in_root(data_dir: Path) -> Iterator[Problem]:
    with os.scandir(data_dir) as scan:
        entries = list(scan)
    in_use = any(entry.name.endswith(".part") for entry in entries) and _is_in_use(data_dir)
    return _problems_of(data_dir, entries, lambda entry: _wrong_in_root(entry, in_use=in_use))


def _wrong_in_root(entry: os.DirEntry[str], *, in_use: bool) -> tuple[str, str] | None:
    """What is wrong with an entry of a data directory, and what that breaks."""
    if entry.is_dir(follow_symlinks=False):
        if entry.name.startswith("."):
            return "is a hidden directory", "torchvision takes it for a class and fails on it"
    elif entry.is_symlink():
        if entry.is_dir():
            return "is a link to a directory", "Keras and torchvision take it for a class; it is none here"
        if entry.name.lower().endswith(IMAGE_SUFFIXES):
            return "is a link, not a frame", "it is left out here"
    else:
        return _wrong_file_in_root(entry, in_use=in_use)
    return None


def _wrong_file_in_root(entry: os.DirEntry[str], *, in_use: bool) -> tuple[str, str] | None:
    if entry.name.endswith(".part") and not in_use:
        return (
            "is a temporary file of a program that was interrupted",
            "none; recording or merging here again clears up",
        )
    if wrong := _other_picture(entry.name):
        return wrong
    if entry.name.startswith(".") and entry.name.lower().endswith(IMAGE_SUFFIXES):
        return "is a hidden image", "Keras reads it when it reads without labels"
    with suppress(StorageError):  # a damaged journal is told with what else is damaged
        if entry.name.endswith(".jsonl") and is_interrupted(Path(entry.path)):
            return "tells of files that were being moved", "frames are on both sides; repeat the command that moved"
    return None


def _problems_of(
    directory: Path, entries: Iterable[os.DirEntry[str]], wrong: Callable[[os.DirEntry[str]], tuple[str, str] | None]
) -> Iterator[Problem]:
    """List what is wrong with entries of a directory: each, or one and a count where many have the same fault."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        if reason := wrong(entry):
            found.setdefault(reason, []).append(entry.name)
    for (what, breaks), names in sorted(found.items()):
        names.sort()
        for name in names if len(names) <= MANY else names[:1]:
            yield Problem(directory / name, what, breaks)
        if len(names) > MANY:
            yield Problem(directory, f"has {len(names) - 1} more of the same: {what}", breaks)


def _is_in_use(data_dir: Path) -> bool:
    """Whether a recorder has it; its temporaries are then not left over."""
    try:
        os.close(lock_directory(data_dir, ""))
    except StorageError:
        return True
    return False


def _in_class(directory: Path, pictures: Sequence[str]) -> Iterator[Problem]:
    if not pictures:
        yield Problem(directory, "is a class without frames", "torchvision fails; Keras counts it as a class")
    if SPLIT_WORDS.fullmatch(directory.name):
        yield Problem(directory, "has the name of a split", "Hugging Face and Ultralytics take it for one, not a class")
    with os.scandir(directory) as entries:
        yield from _problems_of(directory, entries, _wrong_in_class)


def _wrong_in_class(entry: os.DirEntry[str]) -> tuple[str, str] | None:
    """What is wrong with an entry of a class directory, and what that breaks; None for a frame."""
    if entry.is_symlink():
        if not os.path.exists(entry.path):
            return "is a link to nothing", "Keras finds it and fails when it reads it"
        return "is a link, not a frame", "Keras and torchvision follow it; it is left out here"
    if entry.is_dir():
        return "is a directory in a class", "Hugging Face drops all labels; Keras takes its pictures for this class"
    if not entry.is_file():
        return "is no file", "readers may hang on it"
    return _wrong_file_in_class(entry.name)


def _wrong_file_in_class(name: str) -> tuple[str, str] | None:
    image = name.lower().endswith(IMAGE_SUFFIXES)
    if name.startswith("."):
        breaks = "Keras and torchvision read it" if image else "it keeps the class alive when its frames have left"
        return f"is a hidden {'image' if image else 'file'}", breaks
    if wrong := _other_picture(name):
        return wrong
    if not image:
        return "is no image", "FiftyOne takes it for a sample"
    if SPLIT_WORDS.search(os.path.splitext(name)[0]):
        return "has the name of a split in its name", "Hugging Face reads only such files, as that split"
    return None


def _other_picture(name: str) -> tuple[str, str] | None:
    """What is wrong with a picture in a format that is not read; None for other files."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in OTHER_SUFFIXES:
        return None
    return (
        f"is a {suffix} picture, but no PNG, JPEG, BMP or GIF",
        "every command and Keras leave it out; convert it, to PNG for example",
    )


def _in_classes_together(data_dir: Path, classes: Mapping[Path, Sequence[str]]) -> Iterator[Problem]:
    names = [directory.name for directory in classes]
    if sorted(names) != names:
        yield Problem(
            data_dir,
            f"has classes in the order {', '.join(sorted(names)[:4])} … by spelling",
            f"Keras and torchvision number them so; give Keras class_names={names[:3]}…".replace("]…", ", …]"),
        )
    for other, name in look_alikes(names):
        yield Problem(
            data_dir / name,
            f"differs from class {other!r} only in case, spaces or how it is spelled in Unicode",
            "may be one class on Windows and macOS; two in Keras",
        )
    all_names = [name for pictures in classes.values() for name in pictures]
    if doubles := len(all_names) - len(set(all_names)):
        yield Problem(data_dir, f"has {doubles} names in two classes", "programs that put all files in one directory")


def _in_pictures(data_dir: Path, pictures: Mapping[Path, Sequence[str]]) -> Iterator[Problem]:
    turned: list[Path] = []
    moving: list[Path] = []
    sizes: Counter[tuple[int, int]] = Counter()
    for directory, names in pictures.items():
        for name in names:
            try:
                head = read_head(directory / name)
            except StorageError:
                continue  # `verify` reports it
            if head.turned:
                turned.append(directory / name)
            if head.moving:
                moving.append(directory / name)
            if head.size is not None:
                sizes[head.size] += 1
    if turned:
        count = f"and {len(turned) - 1} more are photos" if len(turned) > 1 else "is a photo"
        yield Problem(
            turned[0],
            f"{count} stored lying on the side (EXIF)",
            f"Keras and torchvision read them so, these commands upright; 'storage convert {data_dir} NEW' turns them",
        )
    if moving:
        count = f"and {len(moving) - 1} more are animations" if len(moving) > 1 else "is an animation"
        yield Problem(moving[0], count, "every command and Keras take its first picture and leave out the others")
    if len(sizes) > 1:
        shown = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common(3))
        yield Problem(
            data_dir,
            f"has frames of {len(sizes)} sizes: {shown}{' …' if len(sizes) > 3 else ''}",
            "Keras scales all to image_size, whatever their shape; torchvision fails without Resize",
        )

"""The layout of a data directory: which files are frames, which directories are classes, and what comes next.

``DATA_DIR/NNNNNNNN.png`` are frames without a class, ``DATA_DIR/CLASS/NNNNNNNN.png`` those with one. Keras and
torchvision take every directory for a class and Keras reads hidden images too, so DATA_DIR holds no directory but
non-empty classes, class directories hold nothing but frames, and a temporary never ends like an image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StorageError, no_directory
from storage.names import check_class_name, natural_key
from storage.sessions import SESSIONS_NAME, has_no_end, read_sessions

MOVES_NAME = "moves.jsonl"
"""The journal of the frames that were sorted, in the data directory (see `storage.durable.moves`)."""
SPLIT_NAME = "split.jsonl"
"""The journal of the frames that were held out, in the same place (see `storage.care.split`)."""
FRAME_NAME = re.compile(r"(\d{8,})\.png")
"""Names that the recorder gives; the number is the frame's index in the data directory."""
TEMPORARY_NAME = re.compile(r"\.(?:(?P<class_name>.+)-)?(?P<number>\d{8,})\.part")
"""Names of frames on their way to the disk, in the data directory."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
"""What Keras takes for an image, by the end of its name, in any case."""
OTHER_SUFFIXES = (
    ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".jxl", ".jp2", ".jpe", ".jfif", ".dng", ".cr2", ".cr3",
    ".nef", ".arw", ".raf", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".psd", ".exr",
)  # fmt: skip
"""Pictures that neither Keras nor this program takes."""

_USUAL_LENGTH = len("00000000.png")


@dataclass(frozen=True, slots=True)
class Place:
    """Where frames go: a data directory, and the class directory in it if the class is known already."""

    data_dir: Path
    class_name: str | None = None

    @property
    def directory(self) -> Path:
        return self.data_dir / self.class_name if self.class_name else self.data_dir


def frame_name(index: int) -> str:
    """The file name of a frame: ``00000042.png``."""
    return f"{index:08d}.png"


def locate(target: Path) -> Place:
    """Tell a data directory (``day1``) from a class directory in one (``day1/0``, ``day1/door``).

    A class directory is named by a number of up to three digits, or lies in a directory that has been recorded into.
    Nothing is created.

    Raises
    ------
    StorageError
        Frames can't be kept there: its parent is missing, or something that isn't a directory is in the way.
    """
    parent = target.parent
    # A bare "0" is a class only where the current directory is a data directory.
    numbered = re.fullmatch(r"\d{1,3}", target.name) is not None and len(target.parts) > 1
    place = Place(parent, target.name) if numbered or (parent / SESSIONS_NAME).is_file() else Place(target)
    if place.class_name:
        check_class_name(place.class_name)
    if place.class_name and place.directory.is_symlink():
        raise StorageError(f"{target} is a symbolic link; a class directory must lie in its data directory")
    for path in (place.data_dir, place.directory):
        if (path.exists() or path.is_symlink()) and not path.is_dir():
            raise StorageError(f"{path} is not a directory; choose another name")
    if not place.data_dir.parent.is_dir():
        raise no_directory(place.data_dir.parent)
    return place


def class_directories(data_dir: Path) -> list[Path]:
    """The class directories, numbers first in numeric order, then names; without links and hidden directories."""
    with os.scandir(data_dir) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
    return [data_dir / name for name in sorted(names, key=natural_key)]


def image_names(directory: Path) -> list[str]:
    """The names of the images that lie directly in a directory, in recording order; without links and hidden files."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if _is_frame(entry)]
    if all(len(name) == _USUAL_LENGTH and name.isascii() and name[:8].isdigit() for name in names):
        return sorted(names)  # the same order, several times quicker: there can be a hundred thousand
    return sorted(names, key=natural_key)


def _is_frame(entry: os.DirEntry[str]) -> bool:
    image = entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith(".")
    return image and entry.is_file(follow_symlinks=False)


def left_out(data_dir: Path) -> list[str]:
    """The pictures of a data directory that are no frames: links, hidden ones, those in other formats, and those in
    directories of a class directory."""
    found: list[str] = []
    for directory in (data_dir, *class_directories(data_dir)):
        with os.scandir(directory) as entries:
            for entry in entries:
                if directory != data_dir and entry.is_dir(follow_symlinks=False):
                    inside = ((at, name) for at, _, names in os.walk(entry.path) for name in names)
                    found += [os.path.join(at, name) for at, name in inside if _is_picture(name)]
                elif _is_picture(entry.name) and not _is_frame(entry):
                    found.append(entry.path)
    return sorted((os.path.relpath(path, data_dir) for path in found), key=natural_key)


def _is_picture(name: str) -> bool:
    """Whether a file is a picture of any format by its name; no "._name", where macOS keeps what it knows of a file."""
    return name.lower().endswith(IMAGE_SUFFIXES + OTHER_SUFFIXES) and not name.startswith("._")


def note_of_left_out(path: Path) -> str | None:
    """Report the pictures of a data directory that no command takes; None if there are none, or it is a file."""
    names = left_out(path) if path.is_dir() else []
    if not names:
        return None
    more = " …" if len(names) > 1 else ""
    what = f"{len(names)} picture{'s are' if more else ' is'} left out ({names[0]}{more})"
    return f"{path}: {what}; python -m storage verify says why"


def is_interrupted(data_dir: Path) -> bool:
    """Whether its last recording has no end: it is being recorded into, or a crash has cut it off.

    Raises
    ------
    StorageError
        What is known of its sessions is damaged.
    """
    return has_no_end(read_sessions(data_dir)) or any(TEMPORARY_NAME.fullmatch(name) for name in os.listdir(data_dir))


def next_number(data_dir: Path) -> int:
    """One more than the highest frame number found anywhere in the data directory."""
    directories = [data_dir, *class_directories(data_dir)]
    return 1 + max((number for directory in directories for number in _numbers(directory)), default=-1)


def _numbers(directory: Path) -> Iterator[int]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if match := FRAME_NAME.fullmatch(entry.name):
                yield int(match[1])

"""The table of formats: what a recording can be kept as, and where its writer and reader live.

To add a format, write one module with a Writer and a Reader and add its row here. Other distributions add theirs
through the entry-point group ``storage.formats``: each entry is a `Format`. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from storage.errors import OptionError, StorageError
from storage.frame import Frame
from storage.recording import Recording

if TYPE_CHECKING:
    from storage.tracks.sample_track import SampleTrack

Encoded = TypeVar("Encoded")


class Writer(Protocol[Encoded]):
    """A recording being made.

    The work is split so that it can run in parallel: `encode` does all that costs processor time and changes nothing,
    so several threads call it at once; `append` puts the finished bytes where they belong, in order, from one thread.
    `sync` may run in a third thread while frames are appended. The constructor takes the target's path, and refuses a
    target that another writer holds.
    """

    @property
    def next_index(self) -> int:
        """The index that the next recording's first frame gets: 0, or what follows the frames that are there."""

    @property
    def bytes_written(self) -> int:
        """Bytes appended so far by this writer."""

    @property
    def held(self) -> tuple[Path, int]:
        """What is recorded into, a file or a directory: its path, and the descriptor under which it is open and locked.

        The recording ends when the path leads to something else (`storage.durable.files.check_in_place`).
        """

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Add facts about the recording (camera, counts …), JSON-serialisable; stored by `close` at the latest."""

    def encode(self, frame: Frame, label: str | None = None) -> Encoded:
        """Turn a frame into what `append` takes. Pure; safe to call from several threads at once.

        `label` is the frame's class, if it is known already. A format that keeps labels apart from the frames takes
        none here; its module has ``write_labels(path, labels, classes)``: the class of each frame, and all classes
        in the order of their numbers, if it numbers them.
        """

    def append(self, encoded: Encoded) -> None:
        """Take the next frame, in order. Raises OSError when the disk is full; the writer stays usable for `sync`."""

    def sync(self) -> int:
        """Return the number of frames that now survive a power cut: all appended before the call, at least."""

    def close(self) -> int:
        """Sync, store the facts and let go of the target; returns what `sync` does.

        A recording without frames leaves nothing behind. May be called again.
        """


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table.

    Attributes
    ----------
    name : str
        What ``--backend`` calls it.
    suffix : str
        The end of a target's name that stands for it; empty for a directory.
    module, writer, reader : str
        Where its classes are; the reader may be a function, and in another module: ``module:function``.
    also_reads : tuple of str
        Other suffixes, of files that its reader opens and its writer does not make.
    options : tuple of str
        The keyword arguments that its writer takes, called so on the command line too.
    keeps_pictures, keeps_samples : bool
        Whether frames come back as pictures; whether sensors and sound go in as well.
    reads_tracks : bool
        Whether there may be several tracks of pictures: its reader takes which one as `track`.
    """

    name: str
    suffix: str
    module: str
    writer: str
    reader: str
    also_reads: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    keeps_pictures: bool = True
    keeps_samples: bool = False
    reads_tracks: bool = False

    def load(self, class_name: str) -> Any:
        module, _, name = class_name.rpartition(":")
        return getattr(importlib.import_module(module or self.module), name)


MOVIES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".nut", ".webm"),
    *(".ogv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv", ".wmv"),
)
VIDEO = ("storage.formats.video.writer", "VideoWriter", "open_video")
FORMATS = (
    Format("png", "", "storage.formats.png.writer", "PngWriter", "storage.formats.png.reader:PngReader"),
    Format(
        *("hdf5", ".h5", "storage.formats.hdf5.writer", "Hdf5Writer", "Hdf5Reader"),
        options=("compression",),
        reads_tracks=True,
    ),
    Format(
        *("features", ".features.h5", "storage.formats.features.recording", "FeaturesWriter", "FeaturesReader"),
        options=("weights",),
        keeps_pictures=False,
    ),
    Format(
        *("video", ".mkv", *VIDEO),
        also_reads=MOVIES,
        options=("codec", "crf"),
        keeps_samples=True,
        reads_tracks=True,
    ),
    Format("sound", ".mka", *VIDEO, keeps_pictures=False, keeps_samples=True, reads_tracks=True),
)


def all_formats() -> list[Format]:
    """The formats of this distribution and those that others have installed."""
    from importlib.metadata import entry_points  # which takes as long to import as all the rest

    return [*FORMATS, *(point.load() for point in entry_points(group="storage.formats"))]


def find_format(path: Path, name: str | None = None) -> Format:
    """The format called `name`; without a name, the one that the path's suffix stands for.

    Raises
    ------
    StorageError
        No format has that name or suffix.
    """
    formats = all_formats()
    if name is not None:
        for row in formats:
            if row.name == name:
                return row
        raise OptionError(f"unknown backend {name!r}; known are {', '.join(row.name for row in formats)}")
    if path.is_dir():
        return next(row for row in formats if not row.suffix)
    for row in sorted(formats, key=lambda row: -len(row.suffix)):
        if path.name.lower().endswith((row.suffix, *row.also_reads)) and (row.suffix or not path.suffix):
            return row
    known = ", ".join(row.suffix for row in formats if row.suffix)
    if path.is_file():
        raise StorageError(
            f"{path}: no format is known for {path.suffix!r}; if it is a video, record it first: "
            f"python -m pi_capture day1 -1 --camera {quote(f'file:{path}')}"
        )
    raise StorageError(
        f"{path}: no format is known for {path.suffix!r}; use a directory name"
        + (f" or one of {known}" if known else "")
        + ", or give --backend"
    )


def open_writer(
    path: Path,
    backend: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    tracks: Sequence[SampleTrack] = (),
    pictures: bool = True,
    more_tracks: bool = False,
) -> Writer[Any]:
    """Begin, or continue, the recording at `path`.

    Parameters
    ----------
    path : path
    backend : str, optional
        The format's name; by the path's suffix if not given.
    options : mapping, optional
        Of the format (`Format.options`); those that are None count as not given.
    tracks : sequence of storage.tracks.sample_track.SampleTrack
        Of sensors and sound, for a file that keeps such.
    pictures : bool
        Whether there will be frames at all.
    more_tracks : bool
        Whether its ``add_tracks``, if it has that, will be called before the first frame.

    Raises
    ------
    StorageError
        The target can't be written, is something else, or is being recorded into already; or its format has no such
        option.
    """
    row = find_format(path, backend)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    for name in given:
        if name not in row.options:
            having = [f"{other.name} ({other.suffix})" for other in all_formats() if name in other.options]
            raise OptionError(f"{path}: {row.name} has no --{name}; {', '.join(having) or 'no format'} has")
    if path.suffix.lower() in row.also_reads:
        better = path.with_suffix(row.suffix)
        raise OptionError(f"{path}: a crash would leave this unreadable; record to {better}, and convert that")
    if (tracks or not pictures) and not row.keeps_samples:
        better = path.with_suffix(".mkv")
        raise OptionError(f"{path}: sensors and sound go into a Matroska file; record to {better}")
    if pictures and row.name == "sound":
        raise OptionError(f"{path} has no room for pictures: record to {path.with_suffix('.mkv')}")
    if row.keeps_samples:
        given.update(tracks=tracks, pictures=pictures, more_tracks=more_tracks)
    writer: Writer[Any] = row.load(row.writer)(path, **given)
    return writer


def complete(path: Path) -> None:
    """Take up what a crash has left of a recording, as the next writer into it would.

    Raises
    ------
    StorageError
        There is none, it is being recorded into, or it is damaged.
    """
    row = find_format(path)
    mend = getattr(importlib.import_module(row.module), "repair", None)
    if mend is not None:
        mend(path)
    else:
        row.load(row.writer)(path).close()


def open_recording(path: Path | str, backend: str | None = None, *, track: str | int | None = None) -> Recording:
    """Open a recording for reading.

    Parameters
    ----------
    path : path
    backend : str, optional
        The format's name; by the path's suffix if not given.
    track : str or int, optional
        Which track of pictures, of a video that has several: its name, or its number among all tracks, as ``python -m
        storage info`` and ffprobe show them. The first one if not given.

    Raises
    ------
    StorageError
        There is none at `path`, or it can't be read, or it has no such track.
    """
    path = Path(path)
    if not path.exists():
        raise StorageError(f"{path}: no such recording")
    row = find_format(path, backend)
    if track is not None and not row.reads_tracks:
        raise StorageError(f"{path} has no tracks to choose from: {row.name} keeps one sequence of frames")
    recording: Recording = row.load(row.reader)(path) if track is None else row.load(row.reader)(path, track)
    return recording


WriteLabels = Callable[[Sequence[str | None], Sequence[str]], None]


def label_writer(path: Path, of_track: str = "") -> WriteLabels | None:
    """How a recording that is one file takes the class of each frame; None if its format has no way to, as a directory.

    It is given the label of each frame and the classes in their order.
    `of_track` is `Recording.of_track`. For Raises, see the function ``write_labels`` in the format's module.
    """
    row = find_format(path)
    write = getattr(importlib.import_module(row.module), "write_labels", None)
    if write is None:
        return None
    return partial(write, path, of_track=of_track) if of_track else partial(write, path)

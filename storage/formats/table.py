"""The table of formats: what a recording can be kept as, what each format can do, and where its parts live.

To add a format, write a Writer and a reader as `storage.formats.contract` asks for and add a row here. Other
distributions add theirs through the entry-point group ``storage.formats``: each entry is a `Format`. Parts are named as
``module:name``; nothing is imported before it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from storage.entry_points import entry_points
from storage.errors import OptionError, StorageError

if TYPE_CHECKING:
    from storage.formats import contract
    from storage.formats.contract import Append, FrameWriter, Repair, WriteLabels, Writer
    from storage.formats.features import recording as features
    from storage.formats.hdf5 import append as hdf5_append
    from storage.formats.hdf5 import writer as hdf5
    from storage.formats.movie.reader import MovieReader
    from storage.formats.movie.writer import MovieWriter
    from storage.formats.png.reader import PngReader
    from storage.formats.png.writer import PngWriter
    from storage.formats.video import append as video_append
    from storage.formats.video import file as video_file
    from storage.formats.video import labels as video_labels
    from storage.formats.video import writer as video
    from storage.recording import Recording
    from storage.tracks.sample_track import SampleTrack


@dataclass(frozen=True, slots=True)
class Format:
    """A row of the table. All parts are named as ``module:name``.

    Attributes
    ----------
    name : str
        What ``--backend`` calls it.
    suffix : str
        The end of a target's name that stands for it; empty for a directory.
    writer : str
        A class that is a `storage.formats.contract.Writer`.
    reader : str
        A class derived from `Recording`, or a function that returns one: it takes the path.
    write_labels : str
        A `storage.formats.contract.WriteLabels`; empty if labels stay beside the recording.
    append : str
        A `storage.formats.contract.Append`; empty if recordings can't be brought together as they are stored.
    repair : str
        A `storage.formats.contract.Repair`; empty if opening a writer is all that it takes.
    also_reads : tuple of str
        Other suffixes, of files that its reader opens and its writer does not make.
    options : tuple of str
        The keyword arguments that its writer takes, called so on the command line too.
    takes_pictures, keeps_pictures, keeps_samples : bool
        Whether frames go in; whether they come back as pictures; whether sensors and sound go in as well
        (`storage.formats.contract.KeepsSamples`).
    takes_labels : bool
        Whether `Writer.encode` keeps the label that a frame has when it is recorded.
    reads_tracks : bool
        Whether there may be several tracks of pictures: its reader takes which one as its second argument.
    summary : str
        What a recording is: its line in ``--help``.
    """

    name: str
    suffix: str
    writer: str
    reader: str
    write_labels: str = ""
    append: str = ""
    repair: str = ""
    also_reads: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    takes_pictures: bool = True
    keeps_pictures: bool = True
    keeps_samples: bool = False
    takes_labels: bool = False
    reads_tracks: bool = False
    summary: str = ""


MOVIES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".nut", ".webm"),
    *(".ogv", ".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".flv", ".wmv"),
    *(".h264", ".264", ".h265", ".265", ".hevc", ".m2v", ".mjpeg", ".gif", ".apng"),
)
VIDEO = Format(
    *("video", ".mkv", "storage.formats.video.writer:VideoWriter", "storage.formats.video.reader:open_video"),
    write_labels="storage.formats.video.labels:write_labels",
    append="storage.formats.video.append:append",
    repair="storage.formats.video.file:repair",
    also_reads=MOVIES,
    options=("codec", "crf"),
    keeps_samples=True,
    takes_labels=True,
    reads_tracks=True,
    summary="one lossless video, or smaller with --codec h264; every frame with its own time",
)
FORMATS = (
    # Where frames are files, the label is the directory, which a person chooses: `takes_labels` is False.
    Format(
        *("png", "", "storage.formats.png.writer:PngWriter", "storage.formats.png.reader:PngReader"),
        summary="a PNG file per frame, day1/0 a class directory; for labelling and for Keras as it is",
    ),
    Format(
        *("hdf5", ".h5", "storage.formats.hdf5.writer:Hdf5Writer", "storage.formats.hdf5.reader:Hdf5Reader"),
        write_labels="storage.formats.hdf5.writer:write_labels",
        append="storage.formats.hdf5.append:append",
        repair="storage.formats.hdf5.writer:repair",
        options=("compression",),
        reads_tracks=True,
        summary="one HDF5 file, a chunk per frame",
    ),
    Format(
        name="features",
        suffix=".features.h5",
        writer="storage.formats.features.recording:FeaturesWriter",
        reader="storage.formats.features.recording:FeaturesReader",
        write_labels="storage.formats.features.recording:write_labels",
        append="storage.formats.hdf5.append:append",
        repair="storage.formats.features.recording:repair",
        options=("weights",),
        keeps_pictures=False,
        summary="256 numbers per frame, by MobileNet, and no pictures",
    ),
    VIDEO,
    replace(
        VIDEO,
        name="sound",
        suffix=".mka",
        also_reads=(),
        options=(),
        takes_pictures=False,
        keeps_pictures=False,
        summary="sensors and sound alone, with --camera none",
    ),
)


def all_formats() -> Iterator[Format]:
    """Yield the formats of this distribution, and those that others have installed."""
    yield from FORMATS
    for point in entry_points("storage.formats"):
        yield point.load()


def find_format(path: Path, name: str | None = None) -> Format:
    """The format called `name`; without a name, the one with the longest end of the path's name as its suffix.

    Of several, it is the first of `all_formats`. What follows the last dot is a suffix if it is a word: ``day1.mkvv``
    is refused. ``2026.11.27`` names a directory.

    Raises
    ------
    StorageError
        No format has that name or suffix.
    """
    if name is not None:
        for row in all_formats():
            if row.name == name:
                return row
        raise OptionError(f"unknown backend {name!r}; known are {', '.join(row.name for row in all_formats())}")
    if path.is_dir():
        return next(row for row in all_formats() if not row.suffix)
    found = _by_suffix(path, FORMATS)
    if found is None or path.name.count(".") > 1:  # else no other format can have a longer suffix
        found = _by_suffix(path, all_formats())
    if found is not None:
        return found
    known = ", ".join(row.suffix for row in all_formats() if row.suffix)
    if path.is_file():
        raise StorageError(
            f"{path}: no format is known for {path.suffix!r}; if it is a video, record it first: "
            f"python -m pi_capture day1 -1 --camera {quote(f'file:{path}')}"
        )
    raise StorageError(
        f"{path}: no format is known for {path.suffix!r}; use one of {known}, or the name of a directory "
        "(--backend png makes one of this name)"
    )


SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*")


def _by_suffix(path: Path, formats: Iterable[Format]) -> Format | None:
    suffixes = [(suffix, row) for row in formats for suffix in (row.suffix, *row.also_reads)]
    fitting = [each for each in suffixes if path.name.lower().endswith(each[0]) and (each[0] or not _has_suffix(path))]
    return max(fitting, key=lambda each: len(each[0]))[1] if fitting else None


def _has_suffix(path: Path) -> bool:
    return bool(path.suffix) and (path.is_file() or SUFFIX.fullmatch(path.suffix) is not None)


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
        better = path.with_name(path.name.removesuffix(row.suffix) + format_with_samples().suffix)
        raise OptionError(f"{path}: sensors and sound go into a Matroska file; record to {better}")
    if pictures and not row.takes_pictures:
        better = path.with_suffix(format_with_samples().suffix)
        raise OptionError(f"{path} has no room for pictures: record to {better}")
    if row.keeps_samples:
        given.update(tracks=tracks, pictures=pictures, more_tracks=more_tracks)
    make: Callable[..., Writer[Any]] = _load(row.writer)
    is_new = bool(row.suffix) and not os.path.lexists(path)
    writer = make(path, **given)
    if is_new and not writer.next_index:  # otherwise it took up what a crash had left under its hidden name
        from storage.labels.beside import JOURNAL_NAME, refuse_left_over

        try:
            refuse_left_over(path, (f".{JOURNAL_NAME}",))
        except BaseException:
            writer.close()
            raise
    return writer


def complete(path: Path) -> None:
    """Take up what a crash has left of a recording, as the next writer into it would.

    Raises
    ------
    StorageError
        There is none, it is being recorded into, or it is damaged.
    """
    if repairing := find_repair(path):
        repairing(path)
    else:
        open_writer(path).close()


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
    read: Callable[..., Recording] = _load(row.reader)
    return read(path) if track is None else read(path, track)


def find_repair(path: Path) -> Repair | None:
    """The function that completes a recording after a crash; None if its format needs none."""
    row = find_format(path)
    repair: Repair | None = _load(row.repair) if row.repair else None
    return repair


def find_append(path: Path) -> Append | None:
    """The function that adds recordings to one of this name; None if its format has none."""
    row = find_format(path)
    append: Append | None = _load(row.append) if row.append else None
    return append


def label_writer(path: Path, of_track: str = "") -> Callable[[Sequence[str | None], Sequence[str]], None] | None:
    """The function that writes the class of each frame into a recording; None if its format has none, as a directory.

    It is given the label of each frame and the classes in their order.
    `of_track` is `Recording.of_track`. For Raises, see `storage.formats.contract.WriteLabels`.
    """
    row = find_format(path)
    if not row.write_labels:
        return None
    write: WriteLabels = _load(row.write_labels)
    return partial(write, path, of_track=of_track) if of_track else partial(write, path)


def format_with_samples() -> Format:
    """The format that sensors and sound are recorded in, with pictures."""
    return next(row for row in all_formats() if row.keeps_samples and row.takes_pictures)


def _load(part: str) -> Any:
    """Import what a row names."""
    from pkgutil import resolve_name

    return resolve_name(part)


if TYPE_CHECKING:

    def _writers(
        png: PngWriter, rows: hdf5.Hdf5Writer, numbers: features.FeaturesWriter, film: video.VideoWriter
    ) -> list[Writer[Any]]:
        """Let mypy hold each writer against the contract; below, each ability."""
        return [png, rows, numbers, film]

    def _movie_writer(movie: MovieWriter) -> FrameWriter[Any]:
        return movie

    _write_labels: list[WriteLabels] = [hdf5.write_labels, features.write_labels, video_labels.write_labels]
    _append: list[Append] = [hdf5_append.append, video_append.append]
    _repair: list[Repair] = [hdf5.repair, features.repair, video_file.repair]
    _keeps_samples: type[contract.KeepsSamples] = video.VideoWriter
    _takes_packets: type[contract.TakesPackets] = video.VideoWriter
    _may_be_lossy: type[contract.MayBeLossy] = video.VideoWriter
    _frames_are_files: type[contract.FramesAreFiles] = PngReader
    _keeps_features: type[contract.KeepsFeatures] = features.FeaturesReader
    _brings_sound: type[contract.BringsSound] = MovieReader

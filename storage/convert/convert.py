"""A recording of any format, or any video, into one of another format: frames, times, labels and what else was known.

The new one appears under its name when it is complete. PNG files are written by `storage.convert.extract`: they appear
as they come, and an interrupted conversion into them goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.convert.extract import extract, first_whole
from storage.convert.transfer import Progress, by_session, transfer
from storage.durable.files import appearing
from storage.errors import DamagedPictureError, OptionError, StorageError
from storage.formats.contract import BringsSound, FramesAreFiles, Writer
from storage.formats.movie.writer import SUFFIXES, USUAL_CRF, MovieWriter
from storage.formats.table import all_formats, find_format, label_writer, open_recording, open_writer
from storage.labels.beside import journal_path, refuse_left_over
from storage.labels.classes import keep_classes, recorded_classes
from storage.labels.current import keep_waiting, labels_as_they_stand
from storage.labels.journal import LabelJournal
from storage.labels.origins import keep_origins, origins
from storage.labels.table import write_table
from storage.recording import Recording, elapsed_ns, number_name

MOVIE_OPTIONS = ("crf",)
LONGEST_SECONDS = 9e9  # in nanoseconds, the most that 64 bits count


def convert(
    source: Path,
    target: Path,
    *,
    track: str | int | None = None,
    fps: float | None = None,
    codec: str | None = None,
    crf: int | None = None,
    weights: str | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> int:
    """Convert a recording; the names choose the formats.

    Parameters
    ----------
    source : path
        A recording, a directory of pictures from elsewhere, or any video.
    target : path
        What must not be there yet; a directory may be, if it is this conversion that began it.
    track : str or int, optional
        Which track of pictures, as in `storage.formats.table.open_recording`.
    fps : float, optional
        Give frame n the time n / fps instead of its own. Pictures without times of their own need it.
    codec, crf : str, int, optional
        Of a ``.mkv``, as in `storage.formats.video.writer.VideoWriter`; `crf` also of ``.mp4`` and ``.mov``, always
        H.264.
    weights : str, optional
        Of a ``.features.h5``, as in `storage.formats.features.recording.FeaturesWriter`.
    progress : callable, optional
        Told how many of how many frames are done.
    threads : int, optional
        As many as there are cores, if not given; for all but PNG files.

    Returns
    -------
    int
        The number of frames in the target.

    Raises
    ------
    StorageError
        The source can't be read, or the target not be made.
    """
    row = find_format(target)
    movie = target.suffix.lower() in SUFFIXES
    if not movie and target.suffix.lower() in row.also_reads:
        raise OptionError(f"{target}: videos are written as {row.suffix}, .mp4 and .mov")
    options = {"codec": codec, "crf": crf, "weights": weights}
    for name, value in options.items():
        if value is not None and name not in (MOVIE_OPTIONS if movie else row.options):
            having = [other.suffix for other in all_formats() if name in other.options]
            having += SUFFIXES if name in MOVIE_OPTIONS else ()
            raise OptionError(f"{target}: --{name} is for {', '.join(having)}")
    if not row.suffix:
        done = extract(source, target, track=track, times_from_fps=fps, progress=progress)
        return done.written + done.present
    leave_out = DamagedPictureError if row.keeps_pictures else StorageError
    with open_recording(source, track=track) as recording, appearing(target) as temporary:
        refuse_left_over(target)
        first_whole(recording, leave_out)
        classes = recorded_classes(recording)
        job = _Job(recording, _times(recording, fps), labels_as_they_stand(recording), progress, threads, leave_out)
        if movie:
            damaged = _write_movie(job, temporary, fps, USUAL_CRF if crf is None else crf)
        else:
            damaged = _write_recording(
                job, lambda: open_writer(temporary, options=options), labels_go_along=row.takes_labels
            )
        kept = [index for index in range(len(recording)) if index not in damaged]
        labels = [job.labels[index] for index in kept]
        if any(label is not None for label in labels):
            given = origins(recording)
            keep_origins(temporary, {number_name(number): given[index] for number, index in enumerate(kept)})
            keep_classes(temporary, classes)
            if movie:
                write_table(temporary, labels)
            elif not row.takes_labels:
                _label(temporary, labels, classes.directories)
        return len(labels)


@dataclass(frozen=True, slots=True)
class _Job:
    """A conversion: the recording, new times for its frames if they get any, its labels, and how it is done.

    `leave_out` is that of `storage.convert.transfer.transfer`.
    """

    recording: Recording
    times: Sequence[int] | None
    labels: Sequence[str | None]
    progress: Progress | None
    threads: int | None
    leave_out: type[StorageError]


def _write_recording(job: _Job, open_writer: Callable[[], Writer[Any]], *, labels_go_along: bool) -> set[int]:
    """Store a recording, session by session: each is one in the new recording too. Returns what was left out."""
    damaged: set[int] = set()
    for part in by_session(job.recording, other_times=job.times is not None):
        facts = part.facts if "id" in part.facts else {**part.facts, "id": _id_of(job, part.indices)}
        writer = open_writer()
        try:
            writer.describe({**facts, "converted_from": job.recording.path.name})
            damaged |= transfer(
                job.recording,
                part.indices,
                writer,
                labels=job.labels if labels_go_along else None,
                timestamps_ns=job.times,
                progress=job.progress,
                before=part.indices.start,
                total=len(job.recording),
                leave_out=job.leave_out,
                threads=job.threads,
            )
        finally:
            writer.close()
    return damaged


def _id_of(job: _Job, indices: range) -> str:
    """An id for a session that has none, by its files and times: a conversion that is repeated gives the same one."""
    recording, times = job.recording, job.times and list(job.times[indices.start : indices.stop])
    files = {recording.file(index) for index in indices} if isinstance(recording, FramesAreFiles) else {recording.path}
    digest = hashlib.sha256(f"{recording.of_track} {indices} {times}".encode())
    for file in sorted(files):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:8]


def _label(made: Path, labels: Sequence[str | None], classes: Sequence[str]) -> None:
    """Give a new recording its labels: into its file, or into the journal beside it."""
    if (write := label_writer(made)) is not None:
        write(labels, classes)
        return
    with open_recording(made) as recording, LabelJournal(journal_path(made)) as journal:
        journal.belongs_to(recording)
        keep_waiting(made, recording.names, journal, recording.labels, labels, restored=True)


def sound_goes_along(recording: Recording, fps: float | None) -> bool:
    """Whether the first sound of a video goes along into one for other programs (`SUFFIXES` of its writer)."""
    return isinstance(recording, BringsSound) and fps is None


def _write_movie(job: _Job, path: Path, fps: float | None, crf: int) -> set[int]:
    own = job.recording.timestamps_ns
    begin_ns = job.recording.begin_ns if isinstance(job.recording, BringsSound) and fps is None else None
    sound = (job.recording.path, begin_ns) if begin_ns is not None else None
    writer = MovieWriter(path, crf=crf, fps=fps, sound=sound)
    try:
        times = elapsed_ns(own if job.times is None else job.times)  # over all sessions: a video has one clock
        indices = range(len(times))
        return transfer(job.recording, indices, writer, timestamps_ns=times, progress=job.progress, threads=job.threads)
    finally:
        writer.close()


def _times(recording: Recording, fps: float | None) -> Sequence[int] | None:
    """The times that the frames get; None for their own."""
    if fps is not None:
        if fps * LONGEST_SECONDS < len(recording):
            raise OptionError(f"{fps:g} frames a second make it longer than a clock counts; give a larger --fps")
        return [round(n / fps * 1e9) for n in range(len(recording))]
    if not recording.has_times:
        raise StorageError(f"{recording.path}: its pictures have no times; give --fps")
    return None

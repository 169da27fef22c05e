"""A recording's tracks as plain files that any program reads: PNG, CSV and NPY, WAV, and a CSV of the labels.

All times are seconds of the file's own time, and the wall clock's where it is known, so the files fit together. Each
file appears when it is whole; interrupted, the same command goes on. See `storage.convert.extract` for frames.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from storage.convert.extract import GOES_ON, extract
from storage.convert.transfer import Progress
from storage.durable.files import appearing, replace_file
from storage.durable.untrusted import parse_json
from storage.errors import StorageError, no_directory
from storage.formats.video.reader import open_video
from storage.labels.classes import names_of_labels
from storage.labels.current import labels_as_they_stand
from storage.streams.export_samples import unix_text, write_csv, write_npy, write_wav
from storage.streams.labels import labels_of
from storage.tracks.containers import is_media
from storage.tracks.demux import Track, file_names, open_media, packets_of, read_tracks, tag_of
from storage.tracks.samples_read import find_damaged
from storage.tracks.wall_clock import stretch_at, stretches_of

TrackKind = Literal["frames", "sensors", "sound", "labels"]
MANIFEST = "export.json"
IDENTIFYING_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Exported:
    """A file, or a directory of frames, that an export has made.

    Attributes
    ----------
    file : str
        Its name in the directory.
    track : str
        Of which track.
    count : int
        Frames, samples or labels in it.
    begin : float
        When the first one is, in seconds of the file's time.
    new : bool
        Whether it was made now, rather than earlier.
    facts : mapping
        What else is known: rate, unit, channels …; ``damaged_blocks``, if some had to be left out.
    """

    file: str
    track: str
    count: int
    begin: float
    new: bool
    facts: dict[str, Any] = field(default_factory=dict)


def export(
    source: Path, directory: Path, *, only: Sequence[TrackKind] = (), progress: Progress | None = None
) -> list[Exported]:
    """Write the tracks of a Matroska or other media file into a directory.

    Parameters
    ----------
    source : path
    directory : path
        A new one, or one that an export of the same file has begun.
    only : sequence of str, optional
        ``frames``, ``sensors``, ``sound``, ``labels``; all of them if not given.
    progress : callable, optional
        Told how many of how many frames are done.

    Raises
    ------
    StorageError
        The file can't be read, or the directory holds something else.
    """
    if source.exists() and not (source.is_file() and is_media(source)):
        raise StorageError(f"{source} is no media file; for the frames of another recording: python -m storage extract")
    tracks = read_tracks(source)
    job = _Job(source, directory, progress)
    job.begin()
    try:
        return _export(job, tracks, set(only) or {"frames", "sensors", "sound", "labels"})
    except OSError as error:
        about = error.filename or directory
        raise StorageError(f"{about}: {error.strerror}; {GOES_ON}") from None


def _export(job: _Job, tracks: Sequence[Track], wanted: Set[str]) -> list[Exported]:
    done: list[Exported] = []
    if "frames" in wanted:
        done += job.frames([track for track in tracks if track.kind == "pictures"])
    for track in tracks:
        if track.kind == "sensor" and "sensors" in wanted:
            done += job.sensor(track)
        elif track.kind == "sound" and "sound" in wanted:
            done.append(job.sound(track))
    if "labels" in wanted:
        done += job.labels()
    job.end(done)
    return done


class _Job:
    """An export into a directory."""

    def __init__(self, source: Path, directory: Path, progress: Progress | None) -> None:
        self._source, self._directory, self._progress = source, directory, progress
        self._clocks = stretches_of(source)
        self._identity = _identity(source)
        self._names = file_names(read_tracks(source), ("frames", Path(MANIFEST).stem))
        self._known: dict[str, Any] = {}

    def begin(self) -> None:
        """Take the directory, unless it holds something else."""
        directory, manifest = self._directory, self._directory / MANIFEST
        if directory.exists() and not directory.is_dir():
            raise StorageError(f"{directory} is a file; give a directory")
        if manifest.exists():
            try:
                content = parse_json(manifest.read_bytes())
                self._known = {row["file"]: row for row in content["files"]}
                same = content["identity"] == self._identity
            except (ValueError, KeyError, TypeError):
                same = False
            if not same:
                which = "another file, or of this one before it changed"
                raise StorageError(f"{directory} holds an export of {which}; choose another name")
        elif directory.exists() and any(directory.iterdir()):
            raise StorageError(f"{directory} holds files that are not from there; choose another name")
        else:
            if not directory.parent.is_dir():
                raise no_directory(directory.parent)
            directory.mkdir(exist_ok=True)
            self._store()

    def end(self, done: Sequence[Exported]) -> None:
        """Note what there is now."""
        self._known |= {one.file: {name: value for name, value in asdict(one).items() if name != "new"} for one in done}
        self._store()

    def frames(self, tracks: Sequence[Track]) -> list[Exported]:
        done = []
        for track in tracks:
            if not _has_packets(self._source, track):
                continue
            name = "frames" if len(tracks) == 1 else f"frames-{self._names[track.number]}"
            with open_video(self._source, track.number) as recording:
                called, labels = names_of_labels(recording), labels_as_they_stand(recording)
                result = extract(recording, self._directory / name, progress=self._progress)
                times = recording.shown_ns
                classes = ("" if label is None else called.get(label, label) for label in labels)
                facts = zip(times, recording.timestamps_ns, classes, strict=True)
                rows = ((time, stamp, (n, stamp, name)) for n, (time, stamp, name) in enumerate(facts))
                table = self._table(f"{name}.csv", track, ("frame", "timestamp_ns", "class"), rows)
            count = result.written + result.present
            begin = times[0] / 1e9
            done.append(Exported(f"{name}/", track.name, count, begin, result.written > 0, {"codec": track.codec}))
            done.append(Exported(f"{name}.csv", track.name, count, begin, table))
        return done

    def sensor(self, track: Track) -> list[Exported]:
        name, clocks = self._names[track.number], self._clocks.get(track.number, [])
        return [
            self._file(f"{name}.csv", track, lambda path: write_csv(path, self._source, track, clocks)),
            self._file(f"{name}.npy", track, lambda path: write_npy(path, self._source, track, clocks)),
        ]

    def sound(self, track: Track) -> Exported:
        name = f"{self._names[track.number]}.wav"
        return self._file(name, track, lambda path: write_wav(path, self._source, track))

    def labels(self) -> list[Exported]:
        done = []
        tracks = read_tracks(self._source)
        alone = sum(track.kind in ("pictures", "labels") for track in tracks) == 1
        for one in labels_of(self._source, tracks):
            stem, name = self._names[one.track.number], one.track.name
            if one.track.kind == "pictures":
                if not one.intervals:
                    continue
                stem, name = "labels" if alone else f"labels-{stem}", "labels"
            begin = one.intervals[0].start_ns / 1e9 if one.intervals else 0.0
            rows = ((each.start_ns, None, (f"{each.end_ns / 1e9:.6f}", each.label)) for each in one.intervals)
            new = self._table(f"{stem}.csv", one.track, ("end_s", "class"), rows)
            done.append(Exported(f"{stem}.csv", name, len(one.intervals), begin, new))
        return done

    # ------------------------------------------------------------------------------------------------------- the parts

    def _table(
        self, name: str, track: Track, columns: Sequence[str], rows: Iterator[tuple[int, int | None, tuple[Any, ...]]]
    ) -> bool:
        """Write a CSV file of rows with a time, and a timestamp if they have one; False if it is there."""
        if (self._directory / name).exists():
            return False
        clocks = self._clocks.get(track.number)
        with appearing(self._directory / name) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["time_s", *(["unix_s"] if clocks else []), *columns])
            for time, stamp, values in rows:
                wall = []
                if clocks:  # by the timestamp where there is one: also right where a clock ran back
                    clock = stretch_at(clocks, time)
                    offset = clock.zero_ns if stamp is None else clock.wall_minus_monotonic_ns
                    wall = [unix_text(time if stamp is None else stamp, offset)]
                writer.writerow([f"{time / 1e9:.6f}", *wall, *values])
        return True

    def _file(self, name: str, track: Track, write: Callable[[Path], tuple[int, int]]) -> Exported:
        """Make a file of samples, unless it is there."""
        facts = {"codec": track.codec, "rate": track.rate, "channels": track.channels}
        facts |= {fact: text for fact in ("unit", "measured_rate") if (text := tag_of(track.tags, fact))}
        if damaged := len(find_damaged(self._source, track)[0]):
            facts["damaged_blocks"] = damaged
        known = self._known.get(name)
        if (self._directory / name).exists():
            count, begin = (known["count"], known["begin"]) if known else (0, 0.0)
            return Exported(name, track.name, count, begin, False, facts)
        with appearing(self._directory / name) as path:
            count, begin_ns = write(path)
        made = Exported(name, track.name, count, begin_ns / 1e9, True, facts)
        self.end([made])
        return made

    def _store(self) -> None:
        clocks = next(iter(self._clocks.values()), [])
        content = {
            "version": 1,
            "from": self._source.name,
            "identity": self._identity,
            "unix_seconds_at_0": next((one.zero_ns / 1e9 for one in clocks if one.zero_ns is not None), None),
            "clocks": [
                {
                    "from_s": one.begins_ns / 1e9,
                    "unix_minus_time_s": None if one.zero_ns is None else one.zero_ns / 1e9,
                    "synchronised": one.synchronised,
                }
                for one in clocks
            ],
            "files": list(self._known.values()),
        }
        data = json.dumps(content, indent=1, ensure_ascii=False).encode(errors="replace")  # as in `storage.sessions`
        replace_file(self._directory / MANIFEST, data + b"\n")


def _identity(path: Path) -> str:
    """Tells a file from others: its length, its first and its last bytes."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        front = file.read(IDENTIFYING_BYTES)
        file.seek(max(0, size - IDENTIFYING_BYTES))
        return hashlib.sha256(f"{size} ".encode() + front + file.read()).hexdigest()[:16]


def _has_packets(source: Path, track: Track) -> bool:
    with open_media(source) as container:
        return next(packets_of(container, track.number), None) is not None

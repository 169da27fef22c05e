"""The labels of a media file as they stand: those in its tracks, or instead of them those that wait beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.formats.video.reader import open_video
from storage.labels.beside import JOURNAL_NAME, LIVE_NAME, path_beside
from storage.labels.classes import names_beside, names_of_labels
from storage.labels.current import labels_as_they_stand
from storage.labels.exchange import to_intervals
from storage.labels.intervals import Interval
from storage.labels.table import TABLE_NAME
from storage.tracks.demux import Track, open_media, packets_of, tag_of
from storage.tracks.label_track import INPUT_TAG, label_tracks_for, read_intervals
from storage.tracks.picture_tracks import of_track


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels by their names, of a track of labels; or of the frames of a track of pictures, beside the file."""

    track: Track
    intervals: list[Interval]


def labels_of(path: Path, tracks: Sequence[Track]) -> list[Labels]:
    """The labels of a file with such tracks. Raises StorageError if they can't be read."""
    pictures = [track for track in tracks if track.kind == "pictures"]
    beside: list[Labels] = []
    corrected: dict[int, Labels] = {}
    for one in pictures:
        own = label_tracks_for(tracks, one)
        found = _beside(path, one, of_track(pictures, one), in_file=bool(own))
        if found is None:
            continue
        if own and tag_of(own[0].tags, INPUT_TAG) == tag_of(one.tags, INPUT_TAG):
            corrected[own[0].number] = Labels(own[0], found)
        else:
            beside.append(Labels(one, found))
    called = names_beside(path)
    in_file = [
        corrected.get(track.number)
        or Labels(track, [replace(one, label=called.get(one.label, one.label)) for one in read_intervals(path, track)])
        for track in tracks
        if track.kind == "labels"
    ]
    return [*in_file, *beside]


def _beside(path: Path, track: Track, of_track: str, *, in_file: bool) -> list[Interval] | None:
    """The labels of a track of pictures, where the file does not have them as they stand; None where it does."""
    table, *waiting = (path_beside(path, name, of_track).exists() for name in (TABLE_NAME, JOURNAL_NAME, LIVE_NAME))
    if in_file and not (table or any(waiting)):
        return None
    with open_media(path) as container:
        if next(packets_of(container, track.number), None) is None:
            return None
    with open_video(path, track.number) as recording:
        labels = labels_as_they_stand(recording)
        if in_file and not table and labels == list(recording.labels):
            return None
        called = names_of_labels(recording)
        names = [None if label is None else called.get(label, label) for label in labels]
        return to_intervals(recording.shown_ns, names, 1)

"""Labels in a track of subtitles: intervals of time with a class each, whichever program wrote them.

It also decides which such tracks are labels of a recording's frames: subtitles of a film are not.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StorageError
from storage.labels.intervals import MARKUP, Interval
from storage.names import check_class_name
from storage.tracks.demux import Track, duration_of, open_media, packets_of, tag_of, time_of, zero_of

SEAM_NS = 2_000_000  # what rounding to milliseconds leaves between two parts of one label
ROUNDED_NS = 1_000_000  # the end of a label may be that late in Matroska files of other programs
MOST_CLASSES = 100  # a track with more different texts than that is a film's subtitles
OUR_NAME = re.compile(r"labels(-\d+)?")
LABELS_TAG, INPUT_TAG = "labels", "merged_input"
"""Tags by `storage.streams.merge`: of a track of labels; and of any track, from which of the files it is."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle as it is in the file: its time and length in nanoseconds, and its bytes."""

    begin_ns: int
    lasting_ns: int
    data: bytes


def read_intervals(path: Path, track: Track) -> list[Interval]:
    """The labels of a track; parts of one label, as a recorder writes them, are joined. Raises StorageError."""
    with open_media(path) as container:
        zero = zero_of(container)
        packets = packets_of(container, track.number)
        return intervals_of([Cue(time_of(one, zero), duration_of(one), bytes(one)) for one in packets], track.codec)


def intervals_of(cues: Iterable[Cue], codec: str) -> list[Interval]:
    """The labels in the subtitles of a track."""
    texts = ((cue, text_of(cue.data, codec)) for cue in cues)
    found = [Interval(cue.begin_ns, cue.begin_ns + cue.lasting_ns, text) for cue, text in texts if text]
    found.sort(key=lambda one: (one.start_ns, one.end_ns))
    return _joined(found)


def _joined(intervals: Iterable[Interval]) -> list[Interval]:
    """Intervals in order; those of one label that follow each other without a gap become one."""
    last: dict[str, Interval] = {}
    done: list[Interval] = []
    for one in intervals:
        before = last.get(one.label)
        if before is not None and one.start_ns <= before.end_ns + SEAM_NS:
            last[one.label] = Interval(before.start_ns, max(before.end_ns, one.end_ns), one.label)
            continue
        if before is not None:
            done.append(before)
        last[one.label] = one
    return sorted([*done, *last.values()], key=lambda one: (one.start_ns, one.end_ns))


def text_of(data: bytes, codec: str) -> str:
    """What a subtitle says, without how it is to look."""
    return " ".join(_plain(data, codec).split())


def _plain(data: bytes, codec: str) -> str:
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = data.decode("utf-8", "replace")
    if codec in ("ass", "ssa"):
        return re.sub(r"\{[^}]*\}", "", text.split(",", 8)[-1]).replace("\\N", "\n").replace("\\h", " ")
    return MARKUP.sub("", text)


# ------------------------------------------------------------------------------------------------ the labels of frames


def carries_labels(track: Track, tracks: Sequence[Track]) -> bool:
    """Whether a track says that it has labels: `storage.streams.merge` noted so, or it is called as ours are.

    Those of a recording are ``labels``; or ``NAME-labels`` where its pictures are called NAME, among `tracks`.
    """
    name = tag_of(track.tags, "title", "name")
    named = OUR_NAME.fullmatch(name) or name in {f"{one.name}-labels" for one in tracks if one.kind == "pictures"}
    return track.kind == "labels" and bool(named or tag_of(track.tags, LABELS_TAG))


def label_tracks_for(tracks: Sequence[Track], pictures: Track) -> list[Track]:
    """The tracks that may have the labels of a track of pictures, the likeliest first.

    Where several files were merged, the labels that came with the pictures go before those that came alone; those that
    came with other pictures are theirs.
    """
    own = tag_of(pictures.tags, INPUT_TAG)
    others = {tag_of(track.tags, INPUT_TAG) for track in tracks if track.kind == "pictures"} - {own}
    found = [track for track in tracks if carries_labels(track, tracks) and tag_of(track.tags, INPUT_TAG) not in others]
    return sorted(found, key=lambda track: tag_of(track.tags, INPUT_TAG) != own)


def labels_of_frames(found: Iterable[tuple[Track, Sequence[Cue]]], shown_ns: Sequence[int]) -> list[str | None]:
    """The class of each frame by the first of these tracks that has labels, None for those without one.

    Parameters
    ----------
    found : iterable of (Track, sequence of Cue)
    shown_ns : sequence of int
        When each frame is shown, in nanoseconds of the file's time, ascending.
    """
    labels: list[str | None] = [None] * len(shown_ns)
    for track, cues in found:
        if not cues or not _are_classes(track, cues):
            continue
        for one in intervals_of(cues, track.codec):
            first = bisect_left(shown_ns, one.start_ns)
            end = bisect_left(shown_ns, max(one.end_ns - ROUNDED_NS, one.start_ns + 1))
            labels[first:end] = [one.label] * (end - first)
        break
    return labels


def _are_classes(track: Track, cues: Sequence[Cue]) -> bool:
    """Whether the texts are names of classes, not a film's dialogue: a line each, and not too many different ones."""
    if any("\n" in _plain(cue.data, track.codec).strip() for cue in cues):
        return False
    names = {text for cue in cues if (text := text_of(cue.data, track.codec))}
    try:
        for name in names:
            check_class_name(name)
    except StorageError:
        return False
    return len(names) <= MOST_CLASSES

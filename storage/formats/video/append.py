"""Parts of video recordings behind another one, packet by packet: nothing is decoded or encoded again.

The parts follow what is there without a gap in the file's own time, as a recording that is continued does. All of it is
appended before the file's head, in one go, says that it counts. A damaged frame goes along, and stays a damaged one: so
all others keep their numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from storage.errors import StorageError
from storage.formats.contract import Part
from storage.formats.video.clock import RecordingClock
from storage.formats.video.file import (
    PICTURES,
    codec_of,
    facts_of,
    is_ours,
    make_tags,
    muxer_for,
    open_locked,
    publish,
    recover,
    sessions_of,
)
from storage.formats.video.labels import LabelTrack
from storage.formats.video.reader import VideoReader
from storage.matroska.elements import Id
from storage.matroska.muxer import Muxer
from storage.matroska.reader import Contents, read_head
from storage.matroska.track import Block
from storage.tracks.samples import AT_THE_END, COUNTS, counted, is_padding, joined_tags, tracks_of, why_not_continued
from storage.tracks.wall_clock import moved_session


def append(
    path: Path,
    parts: Sequence[Part],
    classes: Sequence[str] = (),
    *,
    after: int,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """It is a `storage.formats.contract.Append`; a video has the names of classes and no numbers."""
    notes: list[str] = []
    sources = list(dict.fromkeys(part.path for part in parts))
    fd, hidden = open_locked(path)
    try:
        found, _ = recover(fd, hidden or path, named=hidden is None)
        if (len(sessions_of(found)) if found else 0) != after:
            raise StorageError(f"{path} has changed meanwhile; nothing was added")
        with closing(_open(sources[0])) as first:
            like = found or first.contents
        for source in sources:
            with closing(_open(source)) as reader:
                if (reason := _why_not(like, reader.contents)) is not None:
                    raise StorageError(f"{source} can't be merged as it is stored: {reason}")
        main = PICTURES if PICTURES in like.tracks else min(tracks_of(like))
        with closing(muxer_for(fd, path.parent, found, main_track=main)) as muxer:
            try:
                _Joining(muxer, found, like, notes).run(parts, progress)
            except BaseException:
                head = read_head(fd)
                if found is None or (head is not None and head.end == found.end):  # else it counts
                    os.ftruncate(fd, found.end if found else 0)
                raise
            if found is not None and found.head.index_at is not None:
                muxer.make_void(Id.CUES, found.head.index_at)
        if hidden is not None:
            publish(hidden, path)
        return notes
    finally:
        if hidden is not None and os.fstat(fd).st_size == 0:
            hidden.unlink(missing_ok=True)
        os.close(fd)


def _open(path: Path) -> VideoReader:
    if not is_ours(path):
        raise StorageError(
            f"{path} was not recorded by this program; convert it first: python -m storage convert, or bring it "
            "together with others track by track: python -m storage merge-streams"
        )
    return VideoReader(path)


def _why_not(there: Contents, other: Contents) -> str | None:
    """Why packets of the other file can't follow those of this one; None if they can."""
    one, two = there.tracks.get(PICTURES), other.tracks.get(PICTURES)
    if (one is None) != (two is None):
        return "it has no pictures, and what comes before it has" if one else "it has pictures, unlike those before it"
    if one is not None and two is not None:
        codecs, sizes = [codec_of(contents).name for contents in (other, there)], [two.size, one.size]
        if codecs[0] != codecs[1]:
            return f"its codec is {codecs[0]}, and that before it {codecs[1]}"
        if sizes[0] != sizes[1]:
            texts = ["x".join(map(str, size or ())) for size in sizes]
            return f"its frames are {texts[0]}, and those before it {texts[1]}"
        if (one.rgb, one.private) != (two.rgb, two.private):
            return "it was encoded with other settings; python -m storage convert encodes it anew"
    reason = why_not_continued(list(tracks_of(there).values()), list(tracks_of(other).values()))
    return None if reason is None else f"what comes before it {reason}. To put files side by side: merge-streams"


class _Joining:
    """What is being appended: where it is in the file's time, and what the tags will say."""

    def __init__(self, muxer: Muxer, found: Contents | None, like: Contents, notes: list[str]) -> None:
        self._muxer = muxer
        self._notes = notes
        self._new_tracks = [] if found else list(like.tracks.values())
        self._codec = codec_of(like).name if PICTURES in like.tracks else None
        self._numbers = {track.name: number for number, track in tracks_of(like).items()}
        self._rates = {number: track.rate for number, track in tracks_of(like).items()}
        self._labels = LabelTrack(once=True)
        self._clock = RecordingClock(found)
        self._begins = self._clock.begins
        self._frames = len(found.blocks[PICTURES]) if found and PICTURES in found.tracks else 0
        self._sessions = sessions_of(found) if found else []
        self._track_tags: dict[int | None, dict[str, str]] = {}
        if found:
            self._track_tags = {number: dict(found.track_tags.get(number, {})) for number in self._rates}

    def run(self, parts: Sequence[Part], progress: Callable[[int], None] | None) -> None:
        """Append the parts; on return they count."""
        first = self._frames
        if self._new_tracks:
            self._muxer.begin(self._new_tracks, self._tags())
        for part in parts:
            with closing(_open(part.path)) as reader:
                self._add(reader, part)
            if progress is not None:
                progress(self._frames - first)
        self._muxer.finish(self._tags())

    def _tags(self) -> dict[int | None, Mapping[str, str]]:
        of_file: dict[int | None, Mapping[str, str]] = {None: make_tags(self._codec, self._frames, self._sessions)}
        return of_file | self._track_tags

    def _add(self, reader: VideoReader, part: Part) -> None:
        """Append the blocks of a part, moved to where the file ends."""
        begin_us, blocks = _blocks_of(reader, part)
        by_us = self._begins - begin_us
        numbers = {PICTURES: PICTURES} | {
            number: self._numbers[track.name] for number, track in tracks_of(reader.contents).items()
        }
        end, labels, samples = self._begins, iter(part.labels), dict.fromkeys(self._rates, (0, 0))
        indices, damaged = iter(part.indices), list[int]()
        for source in blocks:
            block = replace(source, track=numbers[source.track], time=source.time + by_us)
            end = max(end, block.time + (block.duration or 0))
            if block.track != PICTURES:
                self._muxer.add(block, int(is_padding(block)))
                samples[block.track] = counted(samples[block.track], block, self._rates[block.track])
                continue
            index = next(indices)
            if index == part.indices.start and block.since_reference:
                raise StorageError(f"{part.path}: frame {index} needs a keyframe that is not there")
            for label in self._labels.place(block.time, next(labels)):
                self._muxer.add(label)
            self._muxer.add(block, facts_of(block)[0] if block.intact else reader.timestamps_ns[index])
            damaged += [] if block.intact else [index]
            self._clock.advance(block.time)
            self._frames += 1
        if part.indices:
            for label in self._labels.place(self._clock.last + self._clock.step, None):
                self._muxer.add(label)
        if damaged:
            count = f"1 frame is damaged and goes along: {damaged[0]}"
            if len(damaged) > 1:
                count = f"{len(damaged)} frames are damaged and go along, the first is {damaged[0]}"
            self._notes.append(f"{part.path}: {count}")
        self._begins = max(self._clock.last + self._clock.step, end if self._numbers else 0)
        self._sessions.append(
            {
                **moved_session(part.session, by_us * 1000),
                "first_index": self._frames - len(part.indices),
                "frames": len(part.indices),
            }
        )
        for name, number in self._numbers.items():
            tags = _tags_of(reader, name, part.session) | dict(zip(COUNTS, map(str, samples[number]), strict=True))
            self._track_tags[number] = joined_tags(self._track_tags.get(number, {}), tags, self._rates[number])


def _tags_of(reader: VideoReader, name: str, session: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a track, as of one session alone."""
    contents = reader.contents
    number = next(number for number, track in tracks_of(contents).items() if track.name == name)
    tags = {fact: text for fact, text in contents.track_tags.get(number, {}).items() if fact not in AT_THE_END}
    known = session.get("tracks")
    facts = known.get(name) if isinstance(known, dict) else None
    found = facts.items() if isinstance(facts, dict) else ()
    return tags | {fact.upper(): str(value) for fact, value in found if value is not None}


def _blocks_of(reader: VideoReader, part: Part) -> tuple[int, Iterator[Block]]:
    """When a part begins in its file's time, in microseconds; and its blocks but for labels, in the file's order."""
    contents = reader.contents
    pictures = contents.blocks.get(PICTURES)
    begins = [_begin_of(session, reader) for session in reader.sessions]
    begin = _begin_of(part.session, reader)
    end = min((other for other in begins if other > begin), default=1 << 62)
    positions: list[int] = []
    frames: dict[int, int] = {}
    if pictures is not None:
        positions += pictures.positions[part.indices.start : part.indices.stop].tolist()
        frames = dict(zip(positions, part.indices, strict=True))
    for number in tracks_of(contents):
        blocks = contents.blocks[number]
        inside = (blocks.times >= begin) & (blocks.times < end)
        positions += blocks.positions[np.flatnonzero(inside)].tolist()

    def block(at: int) -> Block:
        try:
            return reader.block(at, f"byte {at}")
        except StorageError:
            if at not in frames:
                raise
            return reader.damaged_block(frames[at])

    return begin, map(block, sorted(positions))


def _begin_of(session: Mapping[str, Any], reader: VideoReader) -> int:
    """When a session begins in its file's time, in microseconds."""
    clock = session.get("clock")
    begins = clock.get("begins_us") if isinstance(clock, dict) else None
    if isinstance(begins, int):
        return begins
    times = reader.contents.blocks[PICTURES].times
    return int(times[min(int(session["first_index"]), len(times) - 1)])

"""What FFmpeg's muxer leaves out of a Matroska file, added once the file is whole.

FFV1 gets the name that every player knows, FLAC its number of samples, each track its statistics. The list of tracks
grows into the room of the tags, and the tags go to the end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from storage.durable.files import write_all
from storage.matroska.elements import Id, checksum, codec_fields, element, encode_size, seek_entry, tag_entry, void
from storage.matroska.parse import children, elements_in, parse_number
from storage.matroska.reader import element_at
from storage.matroska.statistics import FLAC, Statistics, parse_total, with_total

LAYOUT = (Id.SEEK_HEAD, Id.INFO, Id.TRACKS, Id.TAGS)
"""What FFmpeg begins a file with, with empty space between."""

CHANGED = (Id.SEEK_HEAD, Id.TRACKS, Id.TAGS)


def complete(path: Path, statistics: Sequence[Statistics]) -> None:
    """Add to a file that FFmpeg has finished what it left out; the statistics are in the order of the tracks.

    Raises
    ------
    ValueError
        Its elements are not those of FFmpeg's muxer, or leave no room. Nothing was changed.
    """
    with path.open("r+b") as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        _, _, segment_at = element_at(fd, 0, size)
        _, body_at, _ = element_at(fd, segment_at, size)
        found, at = dict[int, tuple[int, int, int]](), body_at
        for kind in LAYOUT:
            while (one := element_at(fd, at, size))[0] == Id.VOID:
                at = one[2]
            if one[0] != kind:
                raise ValueError("its elements are in another order than FFmpeg's")
            found[kind] = at, *one[1:]
            at = one[2]
        seeks, tracks, tags = (os.pread(fd, end - start, start) for _, start, end in (found[kind] for kind in CHANGED))
        entries = [content for kind, content in elements_in(tracks) if kind == Id.TRACK_ENTRY]
        pairs = list(zip(entries, statistics, strict=True))
        new_tracks = _checked(Id.TRACKS, *(_entry(*pair) for pair in pairs))
        kept = [_without_duration(content) for kind, content in elements_in(tags) if kind == Id.TAG]
        more = [tag_entry(parse_number(children(entry)[Id.TRACK_UID]), one.tags()) for entry, one in pairs]
        new_tags = _checked(Id.TAGS, *kept, *more)
        places = [children(seek) for kind, seek in elements_in(seeks) if kind == Id.SEEK]
        positions = {parse_number(one[Id.SEEK_ID]): parse_number(one[Id.SEEK_POSITION]) for one in places}
        positions[Id.TAGS] = size - body_at
        index = _checked(Id.SEEK_HEAD, *(seek_entry(*item) for item in positions.items()))
        (index_at, *_), (info_at, *_), (tracks_at, *_), _ = found.values()
        writes = [
            (_filling(index, info_at - index_at), index_at),
            (_filling(new_tracks, at - tracks_at), tracks_at),
            (new_tags, size),
            (encode_size(size + len(new_tags) - body_at, 8), body_at - 8),
        ]
        for data, place in writes:
            write_all(fd, data, place)


def _checked(kind: int, *parts: bytes) -> bytes:
    return element(kind, checksum(*parts), *parts)


def _filling(new: bytes, room: int) -> bytes:
    """An element for the place of others, with empty space behind it. Raises ValueError if it takes more room."""
    if room - len(new) < 2:
        raise ValueError("there is no room for what FFmpeg leaves out")
    return new + void(room - len(new))


def _entry(content: bytes, statistics: Statistics) -> bytes:
    """The entry of a track in the file's list."""
    fields = children(content)
    codec, private = fields[Id.CODEC_ID].decode(), fields.get(Id.CODEC_PRIVATE, b"")
    video = children(fields.get(Id.VIDEO, b""))
    size = (parse_number(video[Id.PIXEL_WIDTH]), parse_number(video[Id.PIXEL_HEIGHT])) if video else None
    codec, private = codec_fields(codec, private, size)
    if codec == FLAC and not parse_total(private):
        private = with_total(private, statistics.samples)
    changed = (Id.CODEC_ID, Id.CODEC_PRIVATE, Id.VOID)
    kept = [element(kind, body) for kind, body in elements_in(content) if kind not in changed]
    decoder = [element(Id.CODEC_PRIVATE, private)] if private else []
    return element(Id.TRACK_ENTRY, *kept, element(Id.CODEC_ID, codec.encode()), *decoder)


def _without_duration(tag: bytes) -> bytes:
    """A tag but for FFmpeg's DURATION, which is when the track ends."""
    kept = (item for item in elements_in(tag) if children(item[1]).get(Id.TAG_NAME) != b"DURATION")
    return element(Id.TAG, *(element(*item) for item in kept))

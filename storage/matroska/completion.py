"""What FFmpeg's muxer leaves out of a Matroska file, added once the file is whole.

FFV1 gets the name that every player knows, FLAC its number of samples, each track its statistics. The list of tracks
grows into the room of the tags, and the tags go to the end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.durable.files import write_all
from storage.matroska.elements import Id, checksum, codec_fields, element, encode_size, seek_entry, tag_entry, void
from storage.matroska.parse import children, elements_in, parse_number
from storage.matroska.reader import element_at

FLAC, FLAC_TOTAL = "A_FLAC", slice(21, 26)
"""The last 36 bits there, in what a FLAC decoder needs first, are the number of samples; 0 if unknown (RFC 9639)."""


@dataclass(slots=True)
class Statistics:
    """What a track holds; times are in nanoseconds, `samples` those of each channel."""

    packets: int = 0
    size: int = 0
    begin_ns: int = 1 << 63
    end_ns: int = 0
    samples: int = 0

    def add(self, size: int, begin_ns: int, end_ns: int, samples: int) -> None:
        """Count a packet of `size` bytes."""
        self.packets += 1
        self.size += size
        self.begin_ns, self.end_ns = min(self.begin_ns, begin_ns), max(self.end_ns, end_ns)
        self.samples += samples

    def tags(self) -> dict[str, str]:
        """The tags that mkvmerge writes."""
        lasting_ns = max(0, self.end_ns - self.begin_ns)
        seconds, ns = divmod(lasting_ns, 1_000_000_000)
        return {
            "BPS": str(self.size * 8_000_000_000 // lasting_ns if lasting_ns else 0),
            "DURATION": f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ns:09}",
            "NUMBER_OF_FRAMES": str(self.packets),
            "NUMBER_OF_BYTES": str(self.size),
        }


def complete(path: Path, statistics: Sequence[Statistics]) -> None:
    """Add to a file that FFmpeg has finished what it left out; the statistics are in the order of the tracks.

    Raises
    ------
    ValueError
        Its elements are not those of FFmpeg's muxer.
    """
    with path.open("r+b") as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        _, _, segment_at = element_at(fd, 0, size)
        _, body_at, _ = element_at(fd, segment_at, size)
        found, at, kind = {}, body_at, 0
        while kind != Id.TAGS:
            kind, start, end = element_at(fd, at, size)
            found[kind] = at, start, end
            at = end
        kinds = Id.SEEK_HEAD, Id.TRACKS, Id.TAGS
        seeks, tracks, tags = (os.pread(fd, found[one][2] - found[one][1], found[one][1]) for one in kinds)
        entries = [content for kind, content in elements_in(tracks) if kind == Id.TRACK_ENTRY]
        pairs = list(zip(entries, statistics, strict=True))
        _replace(fd, found[Id.TRACKS][0], at, _checked(Id.TRACKS, *(_entry(*pair) for pair in pairs)))
        kept = [_without_duration(content) for kind, content in elements_in(tags) if kind == Id.TAG]
        more = [tag_entry(parse_number(children(entry)[Id.TRACK_UID]), one.tags()) for entry, one in pairs]
        new_tags = _checked(Id.TAGS, *kept, *more)
        write_all(fd, new_tags, size)
        places = [children(seek) for kind, seek in elements_in(seeks) if kind == Id.SEEK]
        positions = {parse_number(one[Id.SEEK_ID]): parse_number(one[Id.SEEK_POSITION]) for one in places}
        positions[Id.TAGS] = size - body_at
        index = _checked(Id.SEEK_HEAD, *(seek_entry(*item) for item in positions.items()))
        _replace(fd, found[Id.SEEK_HEAD][0], found[Id.INFO][0], index)
        write_all(fd, encode_size(size + len(new_tags) - body_at, 8), body_at - 8)


def _checked(kind: int, *parts: bytes) -> bytes:
    return element(kind, checksum(*parts), *parts)


def _replace(fd: int, at: int, end: int, new: bytes) -> None:
    """Write an element where others were, and empty space behind it. Raises ValueError if it takes more room."""
    left = end - at - len(new)
    if left < 2:
        raise ValueError("there is no room for what FFmpeg leaves out")
    write_all(fd, new + void(left), at)


def _entry(content: bytes, statistics: Statistics) -> bytes:
    """The entry of a track in the file's list."""
    fields = children(content)
    codec, private = fields[Id.CODEC_ID].decode(), fields.get(Id.CODEC_PRIVATE, b"")
    video = children(fields.get(Id.VIDEO, b""))
    size = (parse_number(video[Id.PIXEL_WIDTH]), parse_number(video[Id.PIXEL_HEIGHT])) if video else None
    codec, private = codec_fields(codec, private, size)
    if codec == FLAC:
        private = _with_total(private, statistics.samples)
    changed = (Id.CODEC_ID, Id.CODEC_PRIVATE, Id.VOID)
    kept = [element(kind, body) for kind, body in elements_in(content) if kind not in changed]
    decoder = [element(Id.CODEC_PRIVATE, private)] if private else []
    return element(Id.TRACK_ENTRY, *kept, element(Id.CODEC_ID, codec.encode()), *decoder)


def _with_total(private: bytes, samples: int) -> bytes:
    """What a FLAC decoder needs first, with the number of samples if it had none."""
    fields = int.from_bytes(private[FLAC_TOTAL], "big")
    if fields % (1 << 36) or samples >= 1 << 36:
        return private
    return private[: FLAC_TOTAL.start] + (fields + samples).to_bytes(5, "big") + private[FLAC_TOTAL.stop :]


def _without_duration(tag: bytes) -> bytes:
    """A tag but for FFmpeg's DURATION, which is when the track ends."""
    kept = (item for item in elements_in(tag) if children(item[1]).get(Id.TAG_NAME) != b"DURATION")
    return element(Id.TAG, *(element(*item) for item in kept))

"""Matroska over a connection: elements as in `storage.matroska.muxer`'s files, sent and read one by one.

Any FFmpeg tool reads such a stream. This program's own notes, such as the time, are elements that others pass over.
What arrives is checked: lengths are bounded, and each block has a checksum.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.durable.untrusted import parse_object
from storage.matroska.elements import MUXER, Id, checksum, element, head, track_entry
from storage.matroska.parse import elements_in, is_intact, parse_cluster, parse_tracks
from storage.matroska.track import Block, Track

NOTE_MARK = b"pi-capture:"
MOST_SMALL = 1 << 20  # bytes of anything but a picture


def opening(tracks: Sequence[Track]) -> bytes:
    """What a stream begins with."""
    uuid = os.urandom(16)
    entries = b"".join(track_entry(track, uuid) for track in tracks)
    return head(uuid, time.time_ns()) + element(Id.TRACKS, checksum(entries), entries)


def note(content: Mapping[str, Any]) -> bytes:
    """A note from this program to itself, JSON-serialisable."""
    return element(Id.VOID, NOTE_MARK, json.dumps(content, separators=(",", ":")).encode())


def is_ours(front: bytes) -> bool:
    """Whether the first bytes of a stream, `len(opening)` of them or fewer, are those of `opening`."""
    return front.startswith(b"\x1a\x45\xdf\xa3") and MUXER.encode() in front[:512]


class BrokenOffError(ValueError):
    """A stream ends within an element."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """The tracks of a stream, by number."""

    tracks: Mapping[int, Track]


Element = Tracks | Block | Mapping[str, Any]
"""What comes: the tracks, then packets and notes."""


class Incoming:
    """Reads a stream.

    Parameters
    ----------
    receive : callable
        Gives so many bytes, or fewer if the stream ends.
    """

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self.most = MOST_SMALL
        """The most bytes of an element; set from the size of the pictures."""

    def next(self) -> Element | None:
        """The next element; None when the stream has ended after one.

        Raises
        ------
        ValueError
            It breaks off, or is none of ours.
        """
        while True:
            front = self._receive(1)
            if not front:
                return None
            kind = self._identifier(front)
            length = self._length()
            if kind == Id.SEGMENT:
                continue  # its elements follow each other
            if length is None or length > self.most:
                raise ValueError(f"an element of {length if length is not None else 'endless'} bytes")
            content = self._exactly(length)
            if kind == Id.CLUSTER:
                if not is_intact(content):
                    raise ValueError("a damaged picture")
                return parse_cluster(content, length)
            if kind == Id.TRACKS:
                if not is_intact(content):
                    raise ValueError("a damaged list of tracks")
                try:
                    return Tracks(parse_tracks(content[6:]))
                except ValueError:
                    raise ValueError("a damaged list of tracks") from None
            if kind == Id.VOID and content.startswith(NOTE_MARK):
                try:
                    return parse_object(content[len(NOTE_MARK) :])
                except ValueError:
                    raise ValueError("a damaged note") from None
            if kind == Id.EBML and (Id.DOC_TYPE, b"matroska") not in list(elements_in(content)):
                raise ValueError("no Matroska")

    def _identifier(self, front: bytes) -> int:
        width = 9 - front[0].bit_length()
        if width > 4:
            raise ValueError("no Matroska")
        return int.from_bytes(front + self._exactly(width - 1), "big")

    def _length(self) -> int | None:
        front = self._exactly(1)
        width = 9 - front[0].bit_length()
        if width > 8:
            raise ValueError("no Matroska")
        whole = front + self._exactly(width - 1)
        every = (1 << 7 * width) - 1
        length = int.from_bytes(whole, "big") & every
        return None if length == every else length

    def _exactly(self, count: int) -> bytes:
        data = self._receive(count)
        if len(data) < count:
            raise BrokenOffError("it broke off")
        return data

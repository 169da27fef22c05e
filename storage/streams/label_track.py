"""Labels in a track of subtitles: stretches of time with a class each, whichever program wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.streams.tracks import Track, duration_of, open_media, packets_of, time_of, zero_of

SEAM_NS = 2_000_000  # what rounding to milliseconds leaves between two parts of one label


@dataclass(frozen=True, slots=True)
class Interval:
    """From one time up to another, in nanoseconds of the file's time, this label holds."""

    begin_ns: int
    end_ns: int
    label: str


def read_intervals(path: Path, track: Track) -> list[Interval]:
    """The labels of a track; what was written in parts, as it is while recording, is one. Raises StorageError."""
    found = []
    with open_media(path) as container:
        zero = zero_of(container)
        for packet in packets_of(container, track.number):
            text = text_of(bytes(packet), track.codec)
            if text:
                begin = time_of(packet, zero)
                found.append(Interval(begin, begin + duration_of(packet), text))
    found.sort(key=lambda one: (one.begin_ns, one.end_ns))
    return list(joined(found))


def joined(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """The same with parts of one label, which follow each other without a gap, as one."""
    open_ones: dict[str, Interval] = {}
    done: list[Interval] = []
    for one in intervals:
        before = open_ones.get(one.label)
        if before is not None and one.begin_ns <= before.end_ns + SEAM_NS:
            open_ones[one.label] = Interval(before.begin_ns, max(before.end_ns, one.end_ns), one.label)
            continue
        if before is not None:
            done.append(before)
        open_ones[one.label] = one
    return iter(sorted([*done, *open_ones.values()], key=lambda one: (one.begin_ns, one.end_ns)))


def text_of(data: bytes, codec: str) -> str:
    """What a subtitle says, without how it is to look."""
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = data.decode("utf-8", "replace")
    if codec in ("ass", "ssa"):
        text = re.sub(r"\{[^}]*\}", "", text.split(",", 8)[-1]).replace("\\N", "\n").replace("\\h", " ")
    else:
        text = re.sub(r"</?[a-zA-Z][^<>]*>", "", text)
    return " ".join(text.split())

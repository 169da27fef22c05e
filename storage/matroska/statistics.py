"""What a track holds in all: the statistics that mkvmerge writes, and the number of samples of FLAC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from storage.matroska.elements import TICK_NS, Id
from storage.matroska.parse import children, parse_elements, parse_number
from storage.matroska.track import Block, Track

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

    def add_block(self, track: Track, block: Block, size: int) -> None:
        """Count a block of the track, whose packet has `size` bytes."""
        lasting = block.duration or 0
        samples = round(lasting * track.sound.rate / 1e6) if track.sound else 0
        self.add(size, block.time * TICK_NS, (block.time + lasting) * TICK_NS, samples)

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


def parse_statistics(track: Track, tags: Mapping[str, str], packets: int, begin_ns: int) -> Statistics | None:
    """Those of a track with these tags, whose `packets` begin at that time; None if they are not in the tags."""
    duration = re.fullmatch(r"(\d{2,9}):(\d\d):(\d\d)\.(\d{9})", tags.get("DURATION", ""))
    size = re.fullmatch(r"\d{1,18}", tags.get("NUMBER_OF_BYTES", ""))
    if duration is None or size is None or tags.get("NUMBER_OF_FRAMES") != str(packets):
        return None
    if not packets:
        return Statistics()
    hours, minutes, seconds, ns = map(int, duration.groups())
    end_ns = begin_ns + ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + ns
    samples = parse_total(track.private) if track.codec == FLAC else 0
    return Statistics(packets, int(size[0]), begin_ns, end_ns, samples)


def parse_total(private: bytes) -> int:
    """The number of samples, in what a FLAC decoder needs first; 0 if unknown."""
    return int.from_bytes(private[FLAC_TOTAL], "big") % (1 << 36)


def with_total(private: bytes, samples: int) -> bytes:
    """What a FLAC decoder needs first, with the number of samples; 0 if unknown."""
    if len(private) < FLAC_TOTAL.stop:
        return private
    known = samples if samples < 1 << 36 else 0
    fields = int.from_bytes(private[FLAC_TOTAL], "big") - parse_total(private) + known
    return private[: FLAC_TOTAL.start] + fields.to_bytes(5, "big") + private[FLAC_TOTAL.stop :]


def with_totals(entries: bytes, samples: Mapping[int, int]) -> bytes:
    """A list of tracks, as long as before, with the number of samples of each track of FLAC that is in `samples`."""
    changed = bytearray(entries)
    for _, begin, end in parse_elements(entries):
        entry = entries[begin:end]
        fields = children(entry)
        number = parse_number(fields.get(Id.TRACK_NUMBER, b""))
        if fields.get(Id.CODEC_ID) == FLAC.encode() and number in samples:
            for kind, start, stop in parse_elements(entry):
                if kind == Id.CODEC_PRIVATE:
                    changed[begin + start : begin + stop] = with_total(entry[start:stop], samples[number])
    return bytes(changed)

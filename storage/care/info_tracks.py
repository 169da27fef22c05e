"""What `storage.care.info` says of a media file's tracks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.tracks.demux import Track, channel_labels, open_media, tag_of, tracks_of
from storage.tracks.extents import Extent, read_extents
from storage.tracks.pauses import tells_wrong_time
from storage.tracks.samples_read import measured_rate
from storage.tracks.wall_clock import sessions_of


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """A track, how far it goes, and what is known of the first session that it is from; empty if nothing is."""

    track: Track
    extent: Extent
    facts: Mapping[str, Any]

    @property
    def measured_rate(self) -> float | None:
        return measured_rate(self.track)

    @property
    def states_its_rate(self) -> bool:
        """Whether this program recorded it, but could not measure its rate."""
        return bool(tag_of(self.track.tags, "stated_rate")) and self.measured_rate is None

    @property
    def rate(self) -> float | None:
        return self.extent.rate(self.track)

    def as_json(self) -> dict[str, Any]:
        track, extent = self.track, self.extent
        return {
            "number": track.number,
            "kind": track.kind,
            "name": track.name,
            "codec": track.codec,
            "rate": self.rate,
            "measured_rate": self.measured_rate,
            "unit": tag_of(track.tags, "unit"),
            "channels": track.channels,
            "labels": channel_labels(track) if track.kind == "sensor" else [],
            "begin": extent.begin_ns / 1e9,
            "seconds": round(extent.seconds, 6),
            "count": extent.count,
            **{name: self.facts.get(name) for name in ("started", "camera", "host")},
        }


def describe_tracks(path: Path) -> tuple[list[TrackInfo], list[tuple[str, str, str]], list[str]]:
    """The tracks of a media file, `Info.problems` of all, and `Info.unsynchronised`.

    Raises
    ------
    StorageError
        It can't be read.
    """
    with open_media(path) as container:
        found, of_file = tracks_of(container), dict(container.metadata)
    extents = read_extents(path, found)
    sessions = {track.number: sessions_of(track, found, of_file) for track in found}
    every = {str(session.get("id")): session for known in sessions.values() for session in known}
    problems = [(id, *problem) for id, session in every.items() for problem in _problems_of(session)]
    infos = [TrackInfo(one, extents[one.number], next(iter(sessions[one.number]), {})) for one in found]
    return infos, problems, [id for id, session in every.items() if tells_wrong_time(session)]


def _problems_of(session: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    found = session.get("problems")
    for name, texts in found.items() if isinstance(found, dict) else ():
        yield from ((str(name), str(text)) for text in (texts if isinstance(texts, list) else ()))

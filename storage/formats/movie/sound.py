"""Sensors and sound of a file without pictures that `merge-streams` or another program made."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import NoPictureError
from storage.recording import Recording
from storage.tracks.containers import open_movie
from storage.tracks.demux import tracks_of
from storage.tracks.picture_tracks import NO_PICTURE
from storage.tracks.samples_read import DecodedSamples, rounded_clocks, sample_tracks_in
from storage.tracks.wall_clock import sessions_of

if TYPE_CHECKING:
    from storage.frame import Frame
    from storage.tracks.sample_reader import SampleReader


class SoundReader(Recording):
    """A recording without frames; its samples are in `tracks`.

    Raises
    ------
    StorageError
        It is no media file, or is damaged.
    NoPictureError
        It has no samples either.
    """

    has_pictures = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with closing(open_movie(path)) as container:
            found = tracks_of(container)
            self._sessions = sessions_of(found[0], found, container.metadata) if found else []
            self._sample_tracks = sample_tracks_in(container, found)
        if not self._sample_tracks:
            raise NoPictureError(NO_PICTURE.format(path))

    @property
    def sessions(self) -> list[dict[str, Any]]:
        return [{"id": None, **one, "first_index": 0, "frames": 0} for one in self._sessions]

    @property
    def tracks(self) -> Sequence[SampleReader]:
        clocks = rounded_clocks(self.sessions)
        return [DecodedSamples(self._path, track, described, clocks) for track, described in self._sample_tracks]

    @property
    def labels(self) -> Sequence[str | None]:
        return []

    @property
    def timestamps_ns(self) -> Sequence[int]:
        return []

    def __len__(self) -> int:
        return 0

    def read(self, index: int) -> Frame:
        raise NoPictureError(NO_PICTURE.format(self._path))

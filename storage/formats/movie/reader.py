"""Videos that a phone, a screen recorder or any other program made, read as recordings.

FFmpeg takes them apart; here each frame gets its place and its time, and is found again. A file may not name other
files or hosts. This program's own videos are read by `storage.formats.video.reader`.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import DamagedPictureError, StorageError
from storage.forks import renew_after_fork
from storage.formats.colours import to_rgb
from storage.formats.movie.decode import FILLER, decode
from storage.formats.movie.places import find_places
from storage.formats.movie.turn import Turn
from storage.formats.png.codec import MAX_PIXELS
from storage.frame import Frame
from storage.labels.table import read_table
from storage.recording import Recording
from storage.sessions import TIME_FACTS
from storage.tracks.containers import open_movie, reason_of
from storage.tracks.demux import Track, tracks_of
from storage.tracks.label_track import label_tracks_for, labels_of_frames
from storage.tracks.picture_tracks import Wanted, choose, of_track
from storage.tracks.sample_reader import Clock, SampleReader
from storage.tracks.samples_read import ROUNDED_NS, DecodedSamples, rounded_clocks, sample_tracks_in
from storage.tracks.wall_clock import sessions_of

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

IDENTIFYING_BYTES = 1 << 20
INEXACT_AFTER_SEEK = ("mpeg", "mpegts")  # a seek lands within a packet: pictures are whole from the next keyframe on


class MovieReader(Recording):
    """The frames of any video, upright, in the order in which they are shown.

    Frames are decoded when they are read: in order fastest, any other from the keyframe before it. A timestamp is the
    file's own. Frames of this program keep their exact timestamps and facts if another program copies them into a
    Matroska file.

    Parameters
    ----------
    path : path
    track : str or int, optional
        A track of pictures, by its name or its number among all tracks; by default the first.

    Attributes
    ----------
    picture_tracks : list of Track
        Those that there are.
    track : Track
        The one that is read.

    Raises
    ------
    StorageError
        It is no video, none that can be read, or has no such track.
    """

    may_lack_pictures = True

    def __init__(self, path: Path, track: Wanted = None) -> None:
        super().__init__(path)
        self._container: InputContainer | None = (container := open_movie(path))
        try:
            tracks = tracks_of(container)
            self.picture_tracks = [one for one in tracks if one.kind == "pictures"]
            self.track = choose(self.picture_tracks, track, path)
            self.of_track = of_track(self.picture_tracks, self.track)
            self._stream = _prepared(path, container, self.track)
            label_tracks = label_tracks_for(tracks, self.track)
            self._places, self._cues = find_places(container, self._stream, path, label_tracks)
            self._sessions = sessions_of(self.track, tracks, container.metadata)
            self._sample_tracks = sample_tracks_in(container, tracks)
        except BaseException:
            container.close()
            raise
        self._warm_up = int(container.format.name in INEXACT_AFTER_SEEK)
        self._start()
        renew_after_fork(self)

    def _start(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()
        self._turns: dict[int, Turn] = {}  # by the rotation that PyAV says: it doesn't tell a mirror
        self._reading = threading.Lock()
        self._run: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._early: dict[int, av.VideoFrame] = {}
        self._position = -1  # of the last frame that was looked for; -1 before any
        self._start_place = 0

    def begin_anew(self) -> object:
        """See `storage.forks`."""
        given_up = self._container, self._stream, self._scaler, self._run, self._early
        self._container = None
        self._start()
        return given_up

    def __reduce__(self) -> tuple[type[MovieReader], tuple[Any, ...]]:
        return type(self), (self._path, self.track.number)

    @property
    def independent(self) -> bool:
        return False  # FFmpeg has threads of its own

    @cached_property
    def labels(self) -> Sequence[str | None]:
        table = read_table(self._path, len(self), self.of_track)
        return labels_of_frames(self._cues, self._places.shown_ns) if table is None else table

    @cached_property
    def sessions(self) -> list[dict[str, Any]]:
        """What our recorder noted of each session, if a copy or a merge has kept it and all the frames."""
        sessions = self._sessions
        if not self._places.exact:  # the times are the file's, and the offset is for others
            sessions = [{name: fact for name, fact in one.items() if name not in TIME_FACTS} for one in sessions]
        if len(sessions) == 1:
            return [{"id": None, **sessions[0], "first_index": 0, "frames": len(self)}]
        begins, counts = [one.get("first_index") for one in sessions], [one.get("frames") for one in sessions]
        whole = all(isinstance(number, int) and number >= 0 for number in (*begins, *counts))
        return sessions if whole and [*begins, len(self)] == list(accumulate(counts, initial=0)) else []

    @cached_property
    def identity(self) -> str | None:
        """The session's, if all its frames are here; else of the pictures as they are stored: the first megabyte."""
        if self._sessions and sum(one.get("frames") or 0 for one in self._sessions) == len(self):
            return super().identity
        import av

        digest, rest = hashlib.sha256(), IDENTIFYING_BYTES
        with suppress(av.error.FFmpegError, OSError), open_movie(self._path) as container:
            for packet in container.demux(container.streams[self.track.number]):
                digest.update(memoryview(packet)[:rest])
                rest -= min(rest, packet.size)
                if not rest:
                    break
        return digest.hexdigest()[:16]

    @cached_property
    def tracks(self) -> Sequence[SampleReader]:
        clocks = rounded_clocks(self.sessions) or list(_clocks_by_frames(self.shown_ns, self.timestamps_ns))
        return [DecodedSamples(self._path, track, described, clocks) for track, described in self._sample_tracks]

    @property
    def begin_ns(self) -> int:
        return self._places.begin_ns

    @property
    def shown_ns(self) -> Sequence[int]:
        return self._places.shown_ns

    @property
    def timestamps_ns(self) -> Sequence[int]:
        return self._places.timestamps_ns

    def close(self) -> None:
        with self._reading:
            self._early, self._run = {}, iter(())
            if self._container is not None:
                self._container.close()

    def __len__(self) -> int:
        return len(self._places.shown_ns)

    def read(self, index: int) -> Frame:
        with self._reading:
            picture = self._find(index)
            if picture is None:
                raise DamagedPictureError(f"{self._path}: frame {index} can't be decoded")
            metadata = self._places.metadata.get(index, {})
            return Frame(self._upright(picture, index), index, self._places.timestamps_ns[index], metadata)

    def _upright(self, picture: av.VideoFrame, index: int) -> NDArray[np.uint8]:
        """The pixels, turned as the file says."""
        import av

        turn = self._turns.get(picture.rotation)
        if turn is None:
            turn = self._turns[picture.rotation] = Turn.of(picture)
        try:
            return turn.upright(to_rgb(picture, self._scaler))
        except (av.error.FFmpegError, ValueError) as error:
            kind = f"{picture.format.name}, matrix {picture.colorspace} of H.273"
            reason = f"can't be converted to RGB ({kind}): {reason_of(error)}"
            raise DamagedPictureError(f"{self._path}: frame {index} {reason}") from None

    # ------------------------------------------------------------------------------------------------- finding a frame

    def _find(self, index: int) -> av.VideoFrame | None:
        keys = self._places.keys
        nearest = bisect_right(keys, index) - 1
        if self._position < index and nearest >= 0 and keys[nearest] <= self._position + 1 and self._position >= 0:
            return self._go_on(index)
        # A seek may land behind the frame, where a container's index is inexact: then from one keyframe earlier.
        nearest -= self._warm_up
        for start in dict.fromkeys((max(nearest, 0), max(nearest - 1, 0), 0)):
            self._begin(start)
            picture = self._go_on(index)
            if picture is not None or self._landed <= index:
                return picture
        return None

    def _begin(self, key: int) -> None:
        """Decode from a keyframe on."""
        import av

        self._early, self._landed, self._position = {}, len(self), -1
        container = self._container
        try:
            if container is None or key == 0:  # a seek to the first picture may land behind it
                raise ValueError("from the beginning")
            at, in_bytes = self._places.seeks[key], self._places.untimed
            container.seek(at, stream=self._stream, unsupported_byte_offset=in_bytes)
        except (av.error.FFmpegError, OSError, ValueError):
            if container is not None:
                container.close()
            container, key = self._reopened(), 0
        self._run = self._decode(container, from_key=key > 0)

    def _reopened(self) -> InputContainer:
        self._container = container = open_movie(self._path)
        self._stream = _prepared(self._path, container, self.track)
        return container

    def _go_on(self, index: int) -> av.VideoFrame | None:
        """Decode up to a frame; None if the file has lost it.

        Pictures whose times contradict the order in which they are shown wait for their turn.
        """
        self._early = {place: picture for place, picture in self._early.items() if place >= index}
        self._position = index
        while index not in self._early and len(self._early) <= self._places.disorder:
            item = next(self._run, None)
            if item is None:
                break
            place, picture = item
            self._landed = min(self._landed, place)
            if place >= index:
                self._early[place] = picture
        return self._early.pop(index, None)

    def _decode(self, container: InputContainer, *, from_key: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        """Pictures from here on, each with its place; after a seek from the next keyframe on."""
        import av

        places = self._places
        try:
            numbered = self._numbered(container, from_key=from_key)
            for number, picture in decode(numbered, self._stream, counted=places.counted):
                place = places.of_packet[number] if number < len(places.of_packet) else -1
                if picture is not None and place >= self._start_place:
                    yield place, picture
        except (av.error.FFmpegError, OSError, ValueError):  # the file can't be read any further
            return

    def _numbered(self, container: InputContainer, *, from_key: bool) -> Iterator[tuple[int, av.Packet[VideoStream]]]:
        """Packets from here on, each with its number; after a seek from the next keyframe on.

        `_start_place` becomes the first place whose picture is whole: pictures shown before the keyframe may need older
        ones. Pictures of a warm-up have no number: the first keyframe may bear another's time.
        """
        places = self._places
        number, keys = FILLER, 0
        self._start_place = 0
        for packet in container.demux(self._stream):
            if not packet.size:
                continue
            known = places.number_of_key(packet) if from_key and number == FILLER else None
            keys += known is not None
            if not from_key or number != FILLER:
                number += 1
            elif known is not None and keys > self._warm_up:
                number, self._start_place = known, places.of_packet[known]
            elif not keys:
                continue
            yield number, packet


def _clocks_by_frames(shown_ns: Sequence[int], timestamps_ns: Sequence[int]) -> Iterator[Clock]:
    """How timestamps follow from the file's time, by the frames: a clock where that changes."""
    last: int | None = None
    for shown, timestamp in zip(shown_ns, timestamps_ns, strict=True):
        if last is None or abs(timestamp - shown - last) > ROUNDED_NS:
            last = timestamp - shown
            yield Clock(shown // 1000, last)


def _prepared(path: Path, container: InputContainer, track: Track) -> VideoStream:
    """A track of an open file, ready to be decoded. Raises StorageError if FFmpeg can't."""
    stream: Any = container.streams[track.number]
    if stream.codec_context is None:
        raise StorageError(f"{path}: FFmpeg has no decoder for its pictures here")
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    chosen: VideoStream = stream
    return chosen

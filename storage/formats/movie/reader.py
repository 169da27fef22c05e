"""Videos that a phone, a screen recorder or any other program made, read as recordings.

FFmpeg takes them apart; here every frame gets its place and its time, and any of them is found again. A file is a
stranger's: it may not name other files or hosts, and what can't be read ends in one line. The videos that this program
records are read by `storage.formats.video.writer`.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import DamagedPictureError, StorageError
from storage.forks import renew_after_fork
from storage.formats.movie.places import find_places, packet_time
from storage.formats.video.codecs import MAX_PIXELS
from storage.frame import Frame
from storage.labels.journal import read_table
from storage.recording import Recording
from storage.tracks.containers import is_torn, open_movie
from storage.tracks.demux import Track, tracks_of
from storage.tracks.label_track import label_tracks_for, labels_of_frames
from storage.tracks.picture_tracks import Wanted, choose, of_track
from storage.tracks.wall_clock import sessions_of

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

INEXACT_AFTER_SEEK = ("mpeg", "mpegts")  # a seek lands within a packet: right up to the next keyframe is nothing
OF_EXACT_TIMES = ("wall_minus_monotonic_ns", "anchors", "clock")


class MovieReader(Recording):
    """The frames of any video, upright, in the order in which they are shown.

    Nothing is decoded before it is asked for. Frames next to each other are read fastest in order; any other is decoded
    from the keyframe before it. A timestamp is the file's own; what this program recorded and another one has copied
    into a new Matroska file keeps its exact ones, and its facts.

    Parameters
    ----------
    path : path
    track : str or int, optional
        Which track of pictures, by its name or its number among all tracks; the first one if not given.

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

    def __init__(self, path: Path, track: Wanted = None) -> None:
        self._path = path
        self._container: InputContainer | None = (container := open_movie(path))
        try:
            tracks = tracks_of(container)
            self.picture_tracks = [one for one in tracks if one.kind == "pictures"]
            self.track = choose(self.picture_tracks, track, path)
            self.of_track = of_track(self.picture_tracks, self.track)
            self._threads = "AUTO"
            self._stream = _prepared(path, container, self.track, self._threads)
            label_tracks = label_tracks_for(tracks, self.track)
            self._places, self._cues = find_places(container, self._stream, path, label_tracks)
            self._sessions = sessions_of(self.track, tracks, container.metadata)
        except BaseException:
            container.close()
            raise
        self._warm_up = int(container.format.name in INEXACT_AFTER_SEEK)
        self._start()
        renew_after_fork(self)

    def _start(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()
        self._reading = threading.Lock()
        self._run: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._ahead: tuple[int, av.VideoFrame] | None = None
        self._position = -1  # of the last frame that was decoded; -1 before any

    def begin_anew(self) -> object:
        """See `storage.forks`."""
        given_up = self._container, self._stream, self._scaler, self._run, self._ahead
        self._container = None
        self._start()
        return given_up

    @property
    def path(self) -> Path:
        return self._path

    def __reduce__(self) -> tuple[type[MovieReader], tuple[Any, ...]]:
        return type(self), (self._path, self.track.number)

    @property
    def independent(self) -> bool:
        """Whether several threads read faster than one: FFmpeg has its own."""
        return False

    @cached_property
    def labels(self) -> Sequence[str | None]:
        table = read_table(self._path, len(self), self.of_track)
        return labels_of_frames(self._cues, self._places.shown_ns) if table is None else table

    @cached_property
    def sessions(self) -> list[dict[str, Any]]:
        """What our recorder noted of each session, if another program, or a merge, has kept it with all the frames."""
        sessions = self._sessions
        if not self._places.exact:  # the file's times, and not those that the offset is for
            sessions = [{name: fact for name, fact in one.items() if name not in OF_EXACT_TIMES} for one in sessions]
        if len(sessions) == 1:
            return [{"id": None, **sessions[0], "first_index": 0, "frames": len(self)}]
        begins, counts = [one.get("first_index") for one in sessions], [one.get("frames") for one in sessions]
        whole = all(isinstance(number, int) and number >= 0 for number in (*begins, *counts))
        return sessions if whole and [*begins, len(self)] == list(accumulate(counts, initial=0)) else []

    @property
    def begin_ns(self) -> int:
        """The time of the first frame on the file's own clock, which is that of its sound too."""
        return self._places.begin_ns

    @property
    def shown_ns(self) -> Sequence[int]:
        return self._places.shown_ns

    @property
    def timestamps_ns(self) -> Sequence[int]:
        return self._places.timestamps_ns

    def close(self) -> None:
        with self._reading:
            self._ahead, self._run = None, iter(())
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
            return Frame(self._upright(picture), index, self._places.timestamps_ns[index], metadata)

    def _upright(self, picture: av.VideoFrame) -> NDArray[np.uint8]:
        """The pixels, turned as the file asks for: phones store what they saw, and how they were held."""
        import numpy as np

        pixels: NDArray[np.uint8] = np.asarray(self._scaler.reformat(picture, format="rgb24").to_ndarray(), np.uint8)
        turns = round(getattr(picture, "rotation", 0) / 90) % 4  # PyAV 14.0 does not tell
        upright = np.ascontiguousarray(np.rot90(pixels, turns))
        return upright.copy() if upright.base is not None else upright  # the decoder uses its memory again

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

        self._ahead, self._landed, self._position, self._key = None, len(self), -1, key
        container = self._container or self._reopened()
        try:
            if key == 0 and self._warm_up:
                raise ValueError("a seek would land behind the first picture")
            container.seek(self._places.seeks[key], stream=self._stream)
        except (av.error.FFmpegError, OSError, ValueError):  # it can't: from the beginning, then
            container.close()
            container, key = self._reopened(), 0
        self._run = self._decode(container, from_key=key > 0)

    def _reopened(self) -> InputContainer:
        self._container = container = open_movie(self._path)
        self._stream = _prepared(self._path, container, self.track, self._threads)
        return container

    def _go_on(self, index: int) -> av.VideoFrame | None:
        """Decode up to a frame; None if the file has lost it."""
        while (item := self._ahead or next(self._run, None)) is not None:
            self._ahead = None
            self._position, picture = item
            self._landed = min(self._landed, self._position)
            if self._position == index:
                return picture
            if self._position > index:
                self._ahead = item
                self._position = index
                return None
        return None

    def _decode(self, container: InputContainer, *, from_key: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        """Pictures from here on, each with its place; after a seek from the next keyframe on."""
        import av

        places, stream = self._places, self._stream
        number, warming_up = -1, self._warm_up if from_key else 0
        start = expected = 0  # the places of the first picture that is whole, and of the next one
        lost = False
        for packet in _packets(container, stream):
            if packet is not None:
                known = places.numbers.get(packet_time(packet, counted=places.counted)) if packet.is_keyframe else None
                if number < 0 and from_key:
                    if known is None:
                        continue
                    number = known
                    start = expected = places.of_packet[number]
                elif warming_up and known is not None:
                    number, warming_up = known, warming_up - 1
                    start = places.of_packet[number]
                else:
                    number += 1
                packet.pts = packet.dts = number  # the decoder hands it on with the picture
            try:
                if packet is not None and is_torn(packet):
                    lost = True
                    continue
                pictures = stream.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                lost, pictures = True, []
            for picture in pictures:
                place = places.of_picture(picture, expected, lost=lost)
                expected = place + 1
                if not warming_up and place >= start:  # what is shown before the keyframe needs what comes before it
                    yield place, picture
        if expected < len(self) and self._threads == "AUTO":
            yield from self._last_pictures(container)

    def _last_pictures(self, container: InputContainer) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode once more from the keyframe on: a thread of FFmpeg's that fails keeps the pictures of others."""
        self._threads = "SLICE"
        container.close()
        self._container = None
        self._begin(self._key)
        item = next(self._run, None)
        if item is not None:
            yield item


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream] | None]:
    """Those with something in them, and None at the end, or where the file can't be read any further."""
    import av

    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except (av.error.FFmpegError, OSError, ValueError):
        pass
    yield None


def _prepared(path: Path, container: InputContainer, track: Track, threads: str) -> VideoStream:
    """A track of an open file, ready to be decoded. Raises StorageError if FFmpeg can't."""
    stream: Any = container.streams[track.number]
    if stream.codec_context is None:
        raise StorageError(f"{path}: FFmpeg has no decoder for its pictures here")
    stream.thread_type = threads
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    chosen: VideoStream = stream
    return chosen

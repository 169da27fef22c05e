"""The sensors and the sound of this machine, all together; each is a `pi_capture.samples.track`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pi_capture.errors import UsageError
from storage.formats.table import find_format, format_with_samples

if TYPE_CHECKING:
    from pi_capture.samples.clock import Dated
    from pi_capture.samples.sensors import SampleSource, Sensor
    from pi_capture.samples.sink import SampleSink
    from pi_capture.samples.track import LocalTrack
    from storage.tracks.sample_track import SampleTrack

END_SECONDS = 5.0
TICK_SECONDS = 0.01  # between two looks at what came


class SampleWatch(Protocol):
    """Gets all samples that are recorded. Must return at once."""

    def begin_samples(self, tracks: Sequence[SampleTrack]) -> None:
        """Expect samples of these tracks."""

    def offer_samples(self, name: str, piece: Dated) -> None:
        """Take samples or a pause. Each track's come in order, from a thread of its own."""


class LocalTracks:
    """All sensors and sound of a recording. `say` is called from any thread with a line about one of them.

    Without `pictures`, the recording ends when all of them have.
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        sink: SampleSink | None,
        watches: Sequence[SampleWatch],
        say: Callable[[str], None],
        *,
        pictures: bool = True,
    ) -> None:
        self._sink = sink  # None where there are no sources
        self._pictures = pictures
        self._end_ns: int | None = None
        self._ending = threading.Lock()
        self._tracks: list[LocalTrack] = []
        if sources and sink is not None:
            from pi_capture.samples.track import LocalTrack

            self._tracks = [LocalTrack(source, sink, watches, say, self._goes_on_without) for source in sources]
        self._going_on = list(self._tracks)
        for watch in watches:
            watch.begin_samples([source.track for source in sources])

    def __bool__(self) -> bool:
        return bool(self._tracks)

    def start(self) -> None:
        for track in self._tracks:
            track.start()

    def begin(self, begin_ns: int | None, end_ns: int | None = None) -> None:
        """Set the time from which and until which samples are kept; None keeps all.

        What standard input brings is kept from its first sample on, as its program may have begun long before.
        """
        self._end_ns = end_ns
        kept_from = [track.kept_from_ns for track in self._tracks]
        if begin_ns is not None and self._sink is not None and self._tracks:
            self._sink.begin_at(min([begin_ns, *(kept_ns for kept_ns in kept_from if kept_ns is not None)]))
        for track, kept_ns in zip(self._tracks, kept_from, strict=True):
            track.begin(begin_ns if kept_ns is None else None, end_ns)

    @property
    def first_ns(self) -> int | None:
        """The time of the first sample."""
        return min((track.first_ns for track in self._tracks if track.first_ns is not None), default=None)

    @property
    def under_way(self) -> bool:
        """Whether something came of each, or never will; of standard input, whether its first sample is dated."""
        return all(track.ended or (track.came and not track.awaits_its_time) for track in self._tracks)

    @property
    def ended(self) -> bool:
        """Whether all have ended."""
        return all(track.ended for track in self._tracks)

    def _goes_on_without(self, track: LocalTrack) -> bool:
        """Whether the recording goes on though a track has ended."""
        with self._ending:  # of two that end at once, the second one ends it
            self._going_on = [other for other in self._going_on if other is not track]
            return self._pictures or bool(self._going_on)

    def end(self, *, early_end_is_fine: bool) -> list[str]:
        """Stop all, when what is late has come; returns the problems."""
        self._wait_for_the_rest()
        for track in self._tracks:
            track.end()
        until = time.monotonic() + END_SECONDS
        for track in self._tracks:
            track.join(until - time.monotonic())
            track.note_what_came_before()
        for track in self._tracks:
            track.note_problems(early_end_is_fine=early_end_is_fine)
        return [problem for track in self._tracks for problem in track.problems(early_end_is_fine=early_end_is_fine)]

    def _wait_for_the_rest(self) -> None:
        """Give samples up to the end as long to arrive as they have within a recording; note what is silent then."""
        if not self._tracks:
            return
        from pi_capture.samples.clock import DECIDE_NS

        now_ns = time.monotonic_ns()
        is_up = self._end_ns is not None and self._end_ns <= now_ns
        end_ns = self._end_ns if is_up and self._end_ns is not None else now_ns

        def lacks(track: LocalTrack) -> bool:
            return track.lacks_samples(end_ns) if is_up else track.is_silent(end_ns)

        late, until_ns = self._tracks, now_ns + DECIDE_NS
        while (late := [track for track in late if lacks(track)]) and time.monotonic_ns() < until_ns:
            time.sleep(TICK_SECONDS)
        for track in late:
            track.note_silence(end_ns)


def check_target(target: Path, backend: str | None) -> None:
    """Raise UsageError if sensors and sound can't be recorded there."""
    row = find_format(target, backend)
    if not row.keeps_samples:
        better = target.with_name(target.name.removesuffix(row.suffix) + format_with_samples().suffix)
        raise UsageError(f"{target}: sensors and sound go into a Matroska file; record to {better}")


def open_streams(
    sensors: Sequence[Sensor | str], audio: Sequence[str], audio_codec: str, say: Callable[[str], None]
) -> list[SampleSource]:
    """Open all sensors and sound without starting them. `say` is called from their threads with their complaints.

    Raises
    ------
    UsageError
        A text form is wrong, or two contradict each other.
    CameraError
        There is no such device.
    """
    if not (sensors or audio):
        return []
    from pi_capture.samples.sensors import Command, parse_sensor
    from storage.tracks.sample_track import TAKEN_NAMES

    parsed = [parse_sensor(sensor) if isinstance(sensor, str) else sensor for sensor in sensors]
    names = [sensor.track.name for sensor in parsed]
    if len(set(names)) < len(names):
        raise UsageError(f"two sensors are called {max(names, key=names.count)}; each needs its own name")
    if taken := set(names).intersection(TAKEN_NAMES):
        raise UsageError(f"a sensor can't be called {min(taken)}: that is another track; choose another name")
    if [sensor.command for sensor in parsed].count("-") > 1:
        raise UsageError("only one sensor can read standard input")
    streams: list[SampleSource] = [Command(sensor, say) for sensor in parsed]
    try:
        for number, spec in enumerate(audio, 1):
            from pi_capture.samples.sound import open_sound

            streams.append(open_sound(spec, audio_codec, "sound" if number == 1 else f"sound-{number}", say))
    except BaseException:
        for stream in streams:
            stream.stop()
        raise
    return streams

"""Store frames durably: bounded queue → encoders → writer, and a sync every second.

`Recorder` is the half that stores; a program that makes its own frames uses it directly. For frames from
a camera see `pi_capture.recording.capture`; for what a format does with a frame, `storage.formats.contract`.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pi_capture.errors import RecordingError, explain
from pi_capture.recording.clocks import Anchors
from pi_capture.recording.encoders import EncoderPool
from pi_capture.recording.images import copy_of_json, nanoseconds_of, pixels_of
from pi_capture.recording.machine import facts_of_this_machine
from pi_capture.recording.sink import FrameSink
from pi_capture.status import Status, Summary, added_up, measured_rate
from storage.durable.files import check_in_place
from storage.errors import GoneError
from storage.formats.contract import KeepsSamples, MayBeLossy, TakesPackets, Writer
from storage.formats.table import find_format, open_writer
from storage.frame import Frame, size_text
from storage.labels.beside import journal_path, live_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pi_capture.samples.queue import SampleQueue
    from storage.tracks.sample_track import SampleTrack

QUEUE_BYTES = 64_000_000  # what the queue may hold: a second or more of 640x480, while the disk takes its time
SYNC_BYTES = 16_000_000  # a fast recording syncs as soon as this has come together: the disk never idles, then hurries
QUEUE_FRAMES = (4, 512)  # the fewest and the most frames it may hold, however large they are


class Recorder(FrameSink):
    """Stores frames, in order, as any format of the table.

    >>> with Recorder("day1", fps=30) as recorder:  # doctest: +SKIP
    ...     for image in simulation:
    ...         recorder.write(image)

    Parameters
    ----------
    target : path
        Where to: ``day1``, ``day1/0`` … Frames are added to what is there.
    fps : float, optional
        Frames per second of the program's own time: frame n without a timestamp gets n / fps. Without it, such a frame
        gets the time it was written at.
    backend : str, optional
        The format's name; by the target's suffix if not given.
    sync_interval : float
        Seconds between syncs: a power cut loses these at most.
    facts : mapping, optional
        Kept with the recording, JSON-serialisable. ``{"live": True}`` says that your timestamps are of
        `time.monotonic`; then it is known when each frame was recorded.
    options : mapping, optional
        Options of the format, as on the command line: ``compression``, ``codec``, ``crf``, ``weights``.
    tracks : sequence of storage.SampleTrack
        Of sensors and sound, in a Matroska file; `write_samples` adds to them.
    pictures : bool
        Whether there will be frames. Samples wait for the first one.
    more_tracks : bool
        Whether `add_tracks` of `samples` is called before the first frame.

    Raises
    ------
    StorageError
        The target or these options can't be used.
    ValueError
        The rate is no number above 0, or the facts are no JSON.
    """

    def __init__(
        self,
        target: Path | str,
        *,
        fps: float | None = None,
        backend: str | None = None,
        sync_interval: float = 1.0,
        facts: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        tracks: Sequence[SampleTrack] = (),
        pictures: bool = True,
        more_tracks: bool = False,
    ) -> None:
        if fps is not None and not 0 < fps < math.inf:
            raise ValueError(f"fps is a number of frames a second, more than 0; this one is {fps}")
        facts = copy_of_json(facts or {}, "facts")
        self._tells_live = "live" in facts
        self._target = Path(target)
        self._fps = fps
        form = find_format(self._target, backend)
        self._backend = form.name
        self._sync_interval = sync_interval
        self._writer: Writer[Any] = open_writer(
            self._target, backend, options, tracks=tracks, pictures=pictures, more_tracks=more_tracks
        )
        _settle_labels(self._target, self._writer)
        self._label_of: Callable[[int], str | None] | None = None
        self._anchors = Anchors()
        self._describing = threading.Lock()
        self._clock_was_set: dict[str, int] = {}  # goes with the next frame that is kept
        self.describe({"backend": self._backend, "fps": fps, **facts_of_this_machine(), **facts})
        self.describe({"anchors": self._anchors.all})

        self._first_index: int = self._writer.next_index
        self._next_index = self._first_index
        self._shape: tuple[int, ...] | None = None
        self._span_ns: tuple[int, int] | None = None
        self._captured = self._stored = self._durable = 0
        self._dropped_queue = self._dropped_camera = self._dropped_disk = 0
        self._uncounted = {"dropped_queue": 0, "dropped_camera": 0}  # lost since the last frame that was kept
        self._last_packet: int | None = None
        self._failure: Exception | None = None
        self._pictures, self._durable_samples = pictures, 0
        self._samples: SampleQueue | None = None
        if isinstance(self._writer, KeepsSamples):
            from pi_capture.samples.queue import SampleQueue

            self._samples = SampleQueue(self._writer, tracks, self._fail, self._check, self.describe)

        self._encoders: EncoderPool[Any] | None = None
        self._storing: threading.Thread | None = None
        self._syncing = threading.Thread(target=self._sync_regularly, name="sync", daemon=True)
        self._sync_soon = threading.Event()
        self._synced_bytes = 0
        self._closing = False
        self._syncing.start()

    # ---------------------------------------------------------------------------------------------- frames coming in

    def write(
        self,
        image: NDArray[np.uint8] | bytes,
        timestamp: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a frame; waits while the encoders are behind.

        Parameters
        ----------
        image : ndarray, shape (height, width, 3), uint8, RGB; or bytes
            A picture, or one encoded as PNG or JPEG. All of a recording have the same size. The array may be reused
            after the call.
        timestamp : float, optional
            Its time in seconds, on a clock of your choice. Without it, and without `fps`, it is now.
        metadata : mapping, optional
            Kept with the frame, JSON-serialisable.

        Raises
        ------
        ValueError
            `image` is no picture or has another size than the first, `timestamp` is no number or `metadata` no JSON.
        RecordingError
            The recording has failed, as on a full disk.
        """
        pixels, metadata = pixels_of(image), copy_of_json(metadata or {}, "metadata")
        if timestamp is not None:
            timestamp_ns = nanoseconds_of(timestamp)
        elif self._fps is not None:
            timestamp_ns = round((self._next_index - self._first_index) / self._fps * 1e9)
        else:
            timestamp_ns = self._now_ns()
        self.put(Frame(pixels, 0, timestamp_ns, metadata), wait=True)

    @property
    def samples(self) -> SampleQueue | None:
        return self._samples

    def write_samples(self, name: str, samples: NDArray[Any], timestamp: float | None = None) -> None:
        """Add samples to a track; waits while the disk is behind.

        Parameters
        ----------
        name : str
            Of the track.
        samples : ndarray, shape (n, channels), or (n,) for one channel
            Numbers. In a track of integers floats are sound, from -1 to 1.
        timestamp : float, optional
            The time of the first one in seconds, on the clock that the frames have; without it they follow those
            before. A gap is padded.

        Raises
        ------
        ValueError
            There is no such track, they don't fit it, or they begin before those that are there end.
        RecordingError
            The recording has failed, as on a full disk.
        """
        if self._samples is None or not self._samples.track_names:
            raise ValueError("this recorder has no tracks of samples")
        self._samples.write(name, samples, None if timestamp is None else nanoseconds_of(timestamp), self._now_ns)

    def _now_ns(self) -> int:
        """When what has no timestamp begins. By the machine's clock it is known how far the wall clock is from it."""
        if self._fps is not None:
            return 0
        if not self._tells_live:
            self._tells_live = True
            self.describe({"live": True})
        return time.monotonic_ns()

    def _check(self) -> None:
        """Raise if nothing can be added any more."""
        if self._closing:
            raise ValueError("this recorder is closed")
        if self._failure is not None:
            raise self._fail_with_summary()

    def put(self, frame: Frame, *, wait: bool) -> bool:
        """See `FrameSink.put`. A packet that needs a dropped frame to be decoded is dropped too."""
        self._check()
        if self._encoders is None or frame.pixels.shape != self._shape:
            self._encoders = self._begin(frame)
        self._captured += 1
        missing = frame.metadata.get("dropped_camera", 0)
        self._dropped_camera += missing
        self._uncounted["dropped_camera"] += missing
        metadata = frame.metadata
        if any(self._uncounted.values()):
            metadata = {**metadata, **{cause: count for cause, count in self._uncounted.items() if count}}
        clock_was_set = self._clock_was_set
        if clock_was_set:
            metadata = {**metadata, **clock_was_set}
        numbered = replace(frame, index=self._next_index, metadata=metadata)
        packet = frame.packet
        needs_a_dropped_one = (
            packet is not None and not packet.follows(self._last_packet) and self.takes_packets is not None
        )
        if needs_a_dropped_one or not self._encoders.put(numbered, wait=wait):
            self._dropped_queue += 1
            self._uncounted["dropped_queue"] += 1
            return False
        self._uncounted = dict.fromkeys(self._uncounted, 0)
        if self._clock_was_set is clock_was_set:  # else it was set again meanwhile
            self._clock_was_set = {}
        self._next_index += 1
        self._last_packet = frame.packet.number if frame.packet is not None else None
        first_ns = self._span_ns[0] if self._span_ns else frame.timestamp_ns
        self._span_ns = first_ns, frame.timestamp_ns
        return True

    def miss(self, count: int) -> None:
        self._dropped_camera += count

    def _begin(self, frame: Frame) -> EncoderPool[Any]:
        """Fix the recording's size by its first frame, and start the threads."""
        if self._shape is not None:
            raise ValueError(
                f"this frame is {size_text(frame.pixels.shape)}, the recording's are {size_text(self._shape)}"
            )
        self._shape = frame.pixels.shape
        self.describe({"size": size_text(self._shape)})
        fewest, most = QUEUE_FRAMES
        capacity = max(fewest, min(most, QUEUE_BYTES // frame.pixels.nbytes))
        encoders: EncoderPool[Any] = EncoderPool(self._encode, capacity, os.cpu_count() or 1)
        self._storing = threading.Thread(target=self._store, args=(encoders,), name="store", daemon=True)
        self._storing.start()
        return encoders

    # -------------------------------------------------------------------------------------- encoding, storing, syncing

    def _encode(self, frame: Frame) -> Any:
        label = self._label_of(frame.timestamp_ns) if self._label_of is not None else None
        return self._writer.encode(frame) if label is None else self._writer.encode(frame, label)

    def _store(self, encoders: EncoderPool[Any]) -> None:
        """Append what the encoders finish, in the order in which it came."""
        while (batch := encoders.next_batch()) is not None:
            for encoded in batch:
                if self._failure is None:
                    try:
                        self._append(encoded)
                        self._stored += 1
                        continue
                    except Exception as error:
                        self._fail(error)
                self._dropped_disk += 1
            encoders.done(len(batch))

    def _append(self, encoded: Any) -> None:
        if isinstance(encoded, Exception):
            raise encoded
        self._writer.append(encoded)
        if self._writer.bytes_written - self._synced_bytes > SYNC_BYTES:
            self._sync_soon.set()

    def _fail(self, error: Exception) -> None:
        try:
            check_in_place(*self._writer.held)
        except GoneError as gone:  # this explains whatever failed
            error = gone
        except OSError:
            pass
        self._failure = self._failure or error

    def _sync_regularly(self) -> None:
        while True:
            self._sync_soon.wait(self._sync_interval)
            if self._closing:
                return
            self._sync_soon.clear()
            self._look_at_clocks()
            try:
                self._synced_bytes = self._writer.bytes_written
                samples = self._samples_stored
                self._durable = self._writer.sync()
                self._durable_samples = samples
                check_in_place(*self._writer.held)
            except Exception as error:
                self._fail(error)

    def _look_at_clocks(self) -> None:
        before = self._anchors.all
        if (offset_ns := self._anchors.look()) is not None:
            self._clock_was_set = {"wall_minus_monotonic_ns": offset_ns}
        if self._anchors.all is not before:
            self.describe({"anchors": self._anchors.all})

    def take_losses_from(self, other: Recorder) -> None:
        """Count the losses since another recorder's last frame with the first frame of this one."""
        self._uncounted, other._uncounted = other._uncounted, dict.fromkeys(other._uncounted, 0)

    # --------------------------------------------------------------------------------------------------- state and end

    @property
    def _samples_stored(self) -> int:
        return self._samples.stored if self._samples is not None else 0

    @property
    def bytes_written(self) -> int:
        return self._writer.bytes_written

    @property
    def failed(self) -> bool:
        return self._failure is not None

    @property
    def target(self) -> Path:
        return self._target

    @property
    def backend(self) -> str:
        """The format's name."""
        return self._backend

    @property
    def first_index(self) -> int:
        """The index of the first frame that this recorder stores."""
        return self._first_index

    @property
    def next_timestamp_ns(self) -> int:
        """A time after that of every frame so far."""
        return self._span_ns[1] + 1 if self._span_ns else 0

    def label_by(self, label_of: Callable[[int], str | None]) -> None:
        """Store each frame with the label of its timestamp; for formats that keep labels with the frames."""
        self._label_of = label_of

    @property
    def lossless(self) -> bool:
        return not isinstance(self._writer, MayBeLossy) or self._writer.lossless

    @property
    def takes_packets(self) -> tuple[str, int] | None:
        return self._writer.takes_packets if isinstance(self._writer, TakesPackets) else None

    def describe(self, facts: Mapping[str, Any]) -> None:
        with self._describing:  # a sensor's thread may have something to tell, too
            self._writer.describe(facts)

    def status(self) -> Status:
        return Status(
            self._stored,
            self._durable if self._pictures else self._durable_samples,
            self._dropped_queue,
            self._dropped_camera,
            self._dropped_disk,
            self._writer.bytes_written,
            queue_fill=self._encoders.fill if self._encoders is not None else 0.0,
            samples=self._samples_stored,
            captured=self._captured,
        )

    def summary(self) -> Summary:
        tracks = self._samples.summaries() if self._samples is not None else {}
        frames = self._stored
        fps = measured_rate(frames, self._span_ns) or self._fps or 0.0
        longest = max(((track.samples + track.padded) / track.rate for track in tracks.values()), default=0.0)
        return Summary(
            **added_up([self.status()]),
            seconds=round(frames / fps if frames and fps else longest, 3),
            fps=round(fps, 3),
            path=str(self._target),
            backend=self._backend,
            size=size_text(self._shape) if self._shape else None,
            tracks=tracks,
        )

    def close(self, end: str = "finished") -> Summary:
        if self._closing:
            return self.summary()
        self._closing = True
        if self._encoders is not None and self._storing is not None:
            self._encoders.close()
            self._storing.join()
        if self._samples is not None:
            self._samples.close()
        self._sync_soon.set()
        self._syncing.join()
        try:
            check_in_place(*self._writer.held)
        except Exception as error:
            self._fail(error)
        counts = {name: getattr(self.status(), name) for name in ("dropped_queue", "dropped_camera", "dropped_disk")}
        self.describe({**counts, "end": f"failed: {self._failure}" if self._failure else end})
        try:
            self._durable = self._writer.close()
        except Exception as error:
            self._failure = self._failure or error
        if isinstance(self._failure, GoneError):
            self._durable = 0  # nothing is under the target's name any more
        self._dropped_disk += self._stored - self._durable  # written, but lost in a sync that failed
        self._stored = self._durable
        if self._failure is not None:
            raise self._fail_with_summary()
        return self.summary()

    def _fail_with_summary(self) -> RecordingError:
        return RecordingError(explain(self._failure, self._target), self.summary())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            self.close("finished" if error is None else f"stopped by {type(error).__name__}")
        except RecordingError:
            if error is None:
                raise


def _settle_labels(target: Path, writer: Writer[Any]) -> None:
    """Give existing frames the live labels that a crash left over; what is said of labels to come is out of date."""
    try:
        if not (live_path(target).exists() or journal_path(target).exists()):
            return
        from storage.labels.live import adopt
        from storage.labels.origins import forget_origins

        adopt(target, recover=False)
        forget_origins(target, writer.next_index)
    except BaseException:
        writer.close()
        raise

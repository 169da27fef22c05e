"""Several senders into one Matroska file: each is a recording of its own until the end, and then a track of that file.

The recordings are in a directory beside it, each as safe from a crash as any. This machine's clock dates all, so that
they fit together to the nanosecond. `storage.streams.merge` makes one file of them; they are removed when every packet
has been found again in that file. For one sender see `pi_capture.network.receiver`.
"""

from __future__ import annotations

import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi_capture.errors import CameraError, RecordingError, explain
from pi_capture.live.labels import Changes
from pi_capture.network.address import SILENCE_SECONDS, Address
from pi_capture.network.door import Door
from pi_capture.network.parts import bring_together, how_to_merge, prepare
from pi_capture.network.receiver import StreamSource
from pi_capture.network.tls import check_identity
from pi_capture.network.transport import AGAIN_SECONDS, FIRST_SECONDS
from pi_capture.recording.machine import facts_of_this_machine
from pi_capture.recording.recorder import Recorder
from pi_capture.samples.received import ReceivedTracks
from pi_capture.status import Status, Summary, added_up
from storage.errors import StorageError
from storage.formats.table import VIDEO
from storage.names import free_name

if TYPE_CHECKING:
    from pi_capture.recording.observers import Observers
    from pi_capture.recording.options import RecordOptions

LAST_SECONDS = 2.0  # for what is on its way when time is up


def gather(
    target: Path,
    seconds: float,
    place: Address,
    options: RecordOptions,
    observers: Observers,
) -> Summary:
    """Record what `place.senders` machines send.

    Parameters
    ----------
    target : path
        A ``.mkv`` that does not exist yet. The recordings are in ``NAME.parts`` beside it until it does.
    seconds : float
        How long, from the first frame of any sender; -1 until `stop` is set, or all of them have ended.
    place : Address
        Where to wait for them.
    options : RecordOptions
        `size`, `fps`, `sync_interval` and those of the format are used.
    observers : Observers
        `stop`, `say` and `progress` are used.

    Raises
    ------
    UsageError, CameraError, StorageError
        Nothing was recorded.
    RecordingError
        A sender vanished, never came or could not be stored, or the recordings could not be brought together; what was
        recorded is safe.
    """
    stop, say = observers.stop, observers.say
    parts = prepare(target)
    if place.identity:
        check_identity(place.identity)
    with closing(Door(place, say)) as door:
        gathering = _Gathering(parts, place, options, seconds=seconds, door=door, say=say)
        problems = gathering.run(stop, observers.progress)
    stop.set()  # wakes the threads that wait for the end
    recorded = [lane for lane in gathering.lanes if lane.path.exists() and lane.summary.frames]
    if not recorded:
        with suppress(OSError):
            parts.rmdir()
        raise CameraError("; ".join(problems) or f"{place}: nothing was received")
    summary = _total([lane.summary for lane in recorded], target)
    say(f"bringing {len(recorded)} recordings together in {target}")
    try:
        size = bring_together(target, [lane.path for lane in recorded])
    except (StorageError, OSError) as error:
        problems.append(f"{explain(error, target)}; {how_to_merge(target)}")
        raise RecordingError("; ".join(problems), summary) from None
    with suppress(OSError):
        parts.rmdir()
    summary = replace(summary, bytes=size)
    if problems:
        raise RecordingError("; ".join(problems), summary)
    return summary


class _Gathering:
    """All senders: a lane for each that connected."""

    def __init__(
        self, parts: Path, place: Address, options: RecordOptions, *, seconds: float, door: Door,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.parts, self.place, self.options, self.say = parts, place, options, say
        self._seconds, self._door = seconds, door
        self._lanes: list[_Lane] = []
        self._by_token: dict[str, _Lane] = {}
        self._lock = threading.Lock()
        self.until_ns: float | None = None
        self.seen = time.monotonic()  # when a sender was last connected
        self.offset_ns = facts_of_this_machine()["wall_minus_monotonic_ns"]  # the same in all, so that they fit

    @property
    def lanes(self) -> list[_Lane]:
        with self._lock:
            return list(self._lanes)

    def run(self, stop: threading.Event, progress: Callable[[Status], None]) -> list[str]:
        """Receive until the end. Returns what went wrong."""
        problems: list[str] = []
        try:
            while not stop.is_set() and not self._over():
                self._accept()
                lanes = self.lanes
                if any(lane.receiving for lane in lanes):
                    self.seen = time.monotonic()
                if each := [lane.recorder.status() for lane in lanes if lane.recorder is not None]:
                    progress(Status.total(each))
            missing = self.place.senders - len(self.lanes)
            if missing and not stop.is_set() and not self._time_is_up():
                problems.append(f"{self.place}: {missing} of {self.place.senders} senders never came")
        finally:
            for lane in self.lanes:
                lane.stop()
            for lane in self.lanes:
                lane.thread.join()
        for lane in self.lanes:
            problems += [f"{lane.name}: {lane.failure}"] if lane.failure else lane.problems
        return problems

    def begin(self, timestamp_ns: int) -> int | None:
        """Note a frame. Returns when the recording ends, None for never.

        Time runs from the frame that was captured first, which may not be the first to arrive.
        """
        until_ns = float("inf") if self._seconds < 0 else timestamp_ns + self._seconds * 1e9
        with self._lock:
            self.until_ns = until_ns if self.until_ns is None else min(self.until_ns, until_ns)
            return None if self._seconds < 0 else round(self.until_ns)

    def forget(self, lane: _Lane) -> None:
        """Drop a lane that recorded nothing; another sender may have its place."""
        with self._lock:
            self._lanes.remove(lane)
            self._by_token = {token: one for token, one in self._by_token.items() if one is not lane}

    def _time_is_up(self) -> bool:
        return self.until_ns is not None and time.monotonic_ns() > self.until_ns + LAST_SECONDS * 1e9

    def _over(self) -> bool:
        lanes = self.lanes
        if self._time_is_up() or (len(lanes) == self.place.senders and not any(lane.alive for lane in lanes)):
            return True
        patience = AGAIN_SECONDS if lanes else FIRST_SECONDS
        return not any(lane.alive for lane in lanes) and time.monotonic() - self.seen > patience

    def _accept(self) -> None:
        try:
            visitor = self._door.next()
        except OSError as error:  # such as too many open files: those that are connected go on
            self.say(f"{self.place}: {error.strerror}")
            time.sleep(1)
            return
        if visitor is not None and visitor.facts is None:
            visitor.connection.close()
            self._door.refuse("a program that is no --stream-to (something else came)")
        elif visitor is not None and visitor.facts is not None:
            self._let_in(visitor.connection, visitor.facts)

    def _let_in(self, connection: socket.socket, facts: Mapping[str, Any]) -> None:
        """Give a sender's connection to its lane."""
        token = str(facts.get("sender") or [facts.get(name) for name in ("machine", "host", "boot_id", "camera")])
        with self._lock:
            lane = self._by_token.get(token) or self._started_again(facts)
            full = lane is None and len(self._lanes) >= self.place.senders
            if lane is None and not full:
                lane = _Lane(self, facts, free_name(_slug(facts), {one.name for one in self._lanes}))
                self._lanes.append(lane)
            if lane is not None:
                self._by_token[token] = lane
        if lane is None or not lane.alive:
            connection.close()
            self.say(f"{self.place}: hung up on {_slug(facts)}: " + ("there are enough" if full else "it had ended"))
            return
        lane.arrived(connection)

    def _started_again(self, facts: Mapping[str, Any]) -> _Lane | None:
        """Return the lane of a sender that broke off, if this may be that sender after a crash or a power cut."""
        identity = _slug(facts), facts.get("machine")
        waiting = (one for one in self._lanes if one.alive and one.broke_off and one.identity == identity)
        return next(waiting, None)


class _Lane:
    """One sender: its connections, one after another, and its recording. It is a `pi_capture.network.transport.Way`."""

    def __init__(self, gathering: _Gathering, sender: Mapping[str, Any], name: str) -> None:
        self.identity, self.name = (_slug(sender), sender.get("machine")), name
        self._source: StreamSource | None = None
        self.path = gathering.parts / f"{name}{VIDEO.suffix}"
        self.recorder: Recorder | None = None
        self._received: ReceivedTracks | None = None
        self._last_ns: int | None = None  # of the last frame that was recorded
        self.problems: list[str] = []  # of its samples
        self.failure = ""
        self.receiving = self.broke_off = False
        self.summary = Summary(0, 0.0, 0.0, 0, 0, 0, 0, str(self.path), "matroska", None)
        self._gathering = gathering
        self._connections: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._current: socket.socket | None = None
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"lane {name}", daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    def arrived(self, connection: socket.socket) -> None:
        """Go on with a new connection; an old one is closed."""
        self._hang_up()
        self._connections.put(connection)

    def stop(self) -> None:
        self._stop.set()
        if self._source is not None:
            self._source.close()
        self._hang_up()

    def meet(self, seconds: float, closed: threading.Event) -> socket.socket:
        """Return the next connection. Waits for it while others are connected, and `seconds` longer."""
        first = self._current is None
        self.receiving = False
        since = time.monotonic()
        if not (first or self.broke_off or closed.is_set() or self._stop.is_set()):
            self.broke_off = True
            self._gathering.say(f"{self.name} broke off; the others go on, and it may come back")
        while not closed.is_set() and not self._stop.is_set():
            try:
                self._current = self._connections.get(timeout=0.25)
            except queue.Empty:
                if time.monotonic() - max(since, self._gathering.seen) > seconds:
                    break
                continue
            self.receiving, self.broke_off = True, False
            self._gathering.say(f"{self.name}{' is there' if first else ': the sender is back'}")
            return self._current
        raise CameraError("gone")

    def close(self) -> None:
        """Do nothing: the lanes share the door."""

    def _hang_up(self) -> None:
        if self._current is not None:
            with suppress(OSError):
                self._current.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        end = "finished"
        try:
            self._receive()
        except (CameraError, StorageError) as error:
            if not self._stop.is_set():
                self.failure = str(error)
        except RecordingError:
            pass  # raised again when it is closed
        except Exception as error:  # one sender must not end the others
            self.failure = repr(error)
        finally:
            self.receiving = False
        if self.recorder is None:
            self._gathering.say(f"{self.name}: {self.failure or 'nothing came'}")
            self._gathering.forget(self)
            return
        end = f"failed: {self.failure}" if self.failure else "stopped" if self._stop.is_set() else end
        if self._received is not None:
            self.problems = self._received.end(self._last_ns)
        try:
            self.summary = self.recorder.close(end)
        except RecordingError as error:
            self.failure, self.summary = str(error), error.summary
        how = self.failure or ("stopped" if self._stop.is_set() else "ended")
        self._gathering.say(f"{self.name}: {how}, {self.summary.frames} frames")

    def _receive(self) -> None:
        gathering, options = self._gathering, self._gathering.options
        connection = self.meet(SILENCE_SECONDS, self._stop)
        source = self._source = StreamSource(gathering.place, self, connection, options.size, options.fps)
        try:
            clock = {"wall_minus_monotonic_ns": gathering.offset_ns}
            facts = {**source.info.facts(), "track_name": self.name, **clock}
            labels = Changes()
            source.give_labels_to(labels.start)
            begun: tuple[int, Recorder, ReceivedTracks] | None = None
            for frame in source:
                if self._stop.is_set():
                    return
                until_ns = gathering.begin(frame.timestamp_ns)
                late = until_ns is not None and frame.timestamp_ns >= until_ns
                if begun is None:
                    if late:
                        return
                    begun = frame.timestamp_ns, *self._begin_recording(source, facts, labels)
                first_ns, recorder, received = begun
                received.begin(first_ns, until_ns)
                if late and received.complete:  # until then earlier samples may still come
                    return
                if not late:
                    self._last_ns = frame.timestamp_ns
                    recorder.put(frame, wait=False)
            if begun is not None:
                begun[1].miss(source.missing)
        finally:
            source.close()

    def _begin_recording(
        self, source: StreamSource, facts: Mapping[str, Any], labels: Changes
    ) -> tuple[Recorder, ReceivedTracks]:
        """Make the file, with all tracks that the sender has, when its first frame has come."""
        options = self._gathering.options
        self.recorder = Recorder(
            self.path, sync_interval=options.sync_interval, facts=facts, options=options.options, more_tracks=True
        )
        assert self.recorder.samples is not None  # a Matroska file keeps samples
        self._received = ReceivedTracks(self.recorder.samples, source.tracks, prefix=f"{self.name}-")
        source.give_samples_to(self._received.store, self._gathering.say)

        def label_of(timestamp_ns: int) -> str | None:
            label = labels.at(timestamp_ns)
            return None if label is None else source.classes[label]

        self.recorder.label_by(label_of)
        return self.recorder, self._received


def _slug(facts: Mapping[str, Any]) -> str:
    """Return ``HOST-CAMERA``, for the name of a file and a track."""
    words = [re.sub(r"[^A-Za-z0-9_]+", "-", str(facts.get(name) or "")).strip("-")[:40] for name in ("host", "camera")]
    return "-".join(word for word in words if word) or "sender"


def _total(each: Sequence[Summary], target: Path) -> Summary:
    counts = added_up(each)
    seconds = max(one.seconds for one in each)
    sizes = {one.size for one in each}
    return Summary(
        **counts,
        seconds=seconds,
        fps=round(counts["frames"] / seconds, 3) if seconds else 0.0,
        path=str(target),
        backend=each[0].backend,
        size=sizes.pop() if len(sizes) == 1 else None,
        tracks={name: track for one in each for name, track in one.tracks.items()},
    )

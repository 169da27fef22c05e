"""Frames from one recording to another: read, decoded and encoded in parallel, stored in order, a few at a time.

`storage.convert.extract` and `storage.convert.convert` choose the frames and make the other recording. The sessions'
facts are copied too.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from storage.errors import DamagedPictureError, StorageError
from storage.formats.contract import FramesAreFiles, FrameWriter
from storage.frame import Frame, size_text
from storage.recording import Recording, ranges_of
from storage.sessions import TIME_FACTS, WALL_CLOCK, spans_of

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)

AHEAD_PER_THREAD = 4
SYNC_BYTES, SYNC_FRAMES = 64_000_000, 2000
MOST_PARTS = 100  # sessions that alternate more often than that are not kept apart
OF_THE_OTHER_FILE = ("first_index", "frames", "codec", "crf", "backend")


@dataclass(frozen=True, slots=True)
class SessionPart:
    """Frames of one session that follow each other, and what is known of the session."""

    indices: range
    facts: Mapping[str, Any]


def transfer(
    recording: Recording,
    indices: Sequence[int],
    writer: FrameWriter[Any],
    *,
    labels: Sequence[str | None] | None = None,
    timestamps_ns: Sequence[int] | None = None,
    progress: Progress | None = None,
    before: int = 0,
    total: int | None = None,
    any_size: bool = False,
    leave_out: type[StorageError] = DamagedPictureError,
    threads: int | None = None,
) -> set[int]:
    """Store frames of a recording, in order; the writer is left open.

    Frames that are left out are reported.

    Parameters
    ----------
    recording : Recording
    indices : sequence of int
        Which frames. They keep their numbers.
    writer : FrameWriter
    labels : sequence, optional
        The class of each frame of the recording, for a writer that takes labels with the frames.
    timestamps_ns : sequence of int, optional
        Other times for the frames of the recording.
    progress : callable, optional
        Called after each frame with the number of frames done, those `before` included, and the `total`.
    before, total : int
        Frames done earlier, and frames in all; by default none, and the number of `indices`.
    any_size : bool
        Whether frames may have other sizes than the first.
    leave_out : type
        Of errors: a frame that can't be read for such a reason is left out. By default pictures of a video that can't
        be decoded.
    threads : int, optional
        As many as there are cores, if not given.

    Returns
    -------
    set of int
        The numbers of those that were left out.

    Raises
    ------
    StorageError
        A frame of a recording is damaged, or has another size than the first.
    """
    size: tuple[int, ...] = ()
    reasons: dict[int, str] = {}

    def read(index: int) -> Frame | None:
        try:
            return recording.read(index)
        except leave_out as error:
            reasons[index] = str(error)
            return None

    def encode(frame: Frame | None) -> Any:
        if frame is None:
            return None
        if frame.pixels.shape != size and not any_size:
            what = f"{size_text(frame.pixels.shape)}, and those before it {size_text(size)}"
            raise StorageError(f"{recording.path}: frame {frame.index} is {what}; a recording has one size")
        if timestamps_ns is not None:
            metadata = {name: value for name, value in frame.metadata.items() if name != WALL_CLOCK}
            frame = replace(frame, timestamp_ns=timestamps_ns[frame.index], metadata=metadata)
        return writer.encode(frame) if labels is None else writer.encode(frame, labels[frame.index])

    def read_and_encode(index: int) -> Any:
        return encode(read(index))

    size = next((frame.pixels.shape for frame in map(read, indices) if frame is not None), ())
    threads = threads or os.cpu_count() or 1
    encoded: Iterable[Any]
    if recording.independent:
        encoded = in_order(read_and_encode, indices, threads)
    else:
        encoded = in_order(encode, map(read, indices), threads)
    synced_bytes = synced = 0
    for count, one in enumerate(encoded, 1):
        if one is not None:
            writer.append(one)
        if writer.bytes_written - synced_bytes > SYNC_BYTES or count - synced >= SYNC_FRAMES:
            writer.sync()
            synced_bytes, synced = writer.bytes_written, count
        if progress is not None:
            progress(before + count, len(indices) if total is None else total)
    if reasons:
        log.warning("%s", about_left_out(recording.path, reasons))
    return set(reasons)


def about_left_out(path: Path, reasons: Mapping[int, str]) -> str:
    """A line about frames that are left out, from why each is.

    >>> about_left_out(Path("day1"), {5: "is empty"})
    'day1: frame 5 is left out: is empty'
    >>> about_left_out(Path("day1"), {6: "is torn", 5: "is empty"})
    'day1: frames 5-6 are left out; the first: is empty'
    """
    numbers = sorted(reasons)
    reason = reasons[numbers[0]].removeprefix(f"{path}: ")
    if len(numbers) == 1:
        return f"{path}: frame {numbers[0]} is left out: {reason}"
    return f"{path}: frames {in_words(numbers)} are left out; the first: {reason}"


def in_words(numbers: Sequence[int]) -> str:
    """Ascending numbers as text, with runs joined.

    >>> in_words([1, 5, 6, 7])
    '1, 5-7'
    """
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ranges_of(numbers))


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int = AHEAD_PER_THREAD
) -> Iterator[Result]:
    """Apply a function in several threads. Results come in the items' order; only `ahead` a thread wait at any time.

    >>> list(in_order(abs, [-2, 1, -3], threads=2))
    [2, 1, 3]
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= threads * ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


# ---------------------------------------------------------------------------------------------- sessions and their time


def by_session(recording: Recording, *, other_times: bool = False) -> list[SessionPart]:
    """The frames by session, in order; all in one part where nothing is known, or too much alternates.

    With `other_times` the frames get times that are not their own: then what is known of these is left out.
    """
    left_out = OF_THE_OTHER_FILE + (("id", *TIME_FACTS) if other_times else ())
    if isinstance(recording, FramesAreFiles):
        known: dict[str | None, Mapping[str, Any]] = {None: {}}
        known |= {str(session.get("id")): session for session in recording.sessions}
        ids = (recording.head(index).session for index in range(len(recording)))
        found = _runs([known.setdefault(id, {"id": id}) for id in ids])
        if len(found) > MOST_PARTS:
            found = [SessionPart(range(len(recording)), {})]
    else:
        found = _sessions_of_a_file(recording)
    return [
        SessionPart(part.indices, {name: fact for name, fact in part.facts.items() if name not in left_out})
        for part in found
    ]


def _sessions_of_a_file(recording: Recording) -> list[SessionPart]:
    sessions = recording.sessions
    spans = spans_of(sessions, len(recording))
    if spans is None:
        return [SessionPart(range(len(recording)), sessions[0] if len(sessions) == 1 else {})]
    return [SessionPart(span, facts) for span, facts in zip(spans, sessions, strict=True) if span]


def _runs(facts: Sequence[Mapping[str, Any]]) -> list[SessionPart]:
    found, start = [], 0
    for _, group in groupby(facts, key=id):
        run = list(group)
        found.append(SessionPart(range(start, start + len(run)), run[0]))
        start += len(run)
    return found

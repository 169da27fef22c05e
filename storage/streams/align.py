"""Where several files lie in time, relative to the first: by hand, by the wall clock, or by something all of them saw.

A flash is looked for in the brightness of pictures, a click in sound and sensors; cross-correlation compares the whole
envelope of sound and sensors. What comes out says how it was found and how well it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from storage.errors import StorageError
from storage.streams.signals import Signal, brightness, envelope
from storage.tracks.demux import Track, read_tracks
from storage.tracks.wall_clock import wall_clock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SyncEvent = Literal["flash", "click", "cross-correlation"]
MOST_EVENTS = 40
PROMINENT = 8.0  # times the usual change: what counts as an event
NEAR_STRONGEST = 0.35  # of the strongest one
SAME_EVENT_SECONDS = 0.25  # a click rings, a flash fades
MOST_ELSEWHERE = 0.6  # of the events that fit at the best place may fit at another one
PLURALS = {"flash": "flashes", "click": "clicks"}
SEARCH_SECONDS = 0.5
WINDOWS = 8  # of an overlap, each correlated for itself
LEAST_CORRELATION = 0.25
LEAST_LEAD = 1.15  # over the next best place
COARSE_RATE, FINE_RATE = 50, 1000  # values a second
MOST_APART_NS = 86_400_000_000_000  # a Raspberry Pi without network begins at some day in the past
COARSE_CLOCK_NS = 1_000_000_000  # how exact other programs are about the begin of a file


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a file begins.

    Attributes
    ----------
    path : path
    offset_ns : int
        When its time 0 is, in nanoseconds of the first file's time.
    how : str
        ``first``, ``by hand``, ``wall clock``, ``flash``, ``click``, ``cross-correlation``, or ``as given`` for labels,
        whose times count from the first file's begin.
    residual_ns : int or None
        How far off it may be: the largest difference that remains between what was compared, and the steps of that;
        None where nothing shows it.
    note : str
        What else to know, in words.
    """

    path: Path
    offset_ns: int
    how: str
    residual_ns: int | None = None
    note: str = ""


def align(inputs: Sequence[Path], offsets: Mapping[str, float], sync_on: SyncEvent | None) -> list[Alignment]:
    """Find where each file lies.

    Parameters
    ----------
    inputs : sequence of path
        The first one's time is that of all.
    offsets : mapping
        In seconds, by path, name or stem; what is given here is not looked for.
    sync_on : str, optional
        What to look for; the wall clock counts for files that have nothing of the kind.

    Raises
    ------
    StorageError
        A file can't be read or aligned, or an offset is for none of them.
    """
    by_hand = _by_path(inputs, offsets)
    found: list[Alignment] = []
    for path in inputs:
        if path in by_hand:
            found.append(Alignment(path, round(by_hand[path] * 1e9), "by hand"))
        elif not found:
            found.append(Alignment(path, 0, "first"))
        else:
            found.append(_find(path, found, sync_on))
    return found


def _by_path(inputs: Sequence[Path], offsets: Mapping[str, float]) -> dict[Path, float]:
    if len(set(inputs)) != len(inputs):
        raise StorageError(f"{next(path for path in inputs if inputs.count(path) > 1)} is given twice")
    by_path = {}
    for name, seconds in offsets.items():
        fitting = [path for path in inputs if name == str(path)]
        fitting = fitting or [path for path in inputs if name == path.name]
        fitting = fitting or [path for path in inputs if name == path.stem]
        if len(fitting) != 1:
            which = "is none" if not fitting else "could be several"
            raise StorageError(f"--offset {name}={seconds:+g}: {name} {which} of the files; give its name as above")
        by_path[fitting[0]] = seconds
    return by_path


def _find(path: Path, found: Sequence[Alignment], sync_on: SyncEvent | None) -> Alignment:
    """Align a file to one of those that are aligned already, the first if that can be."""
    name = path.stem
    reasons = []
    if sync_on is not None:
        for other in found:
            try:
                event = _by_event(path, other.path, sync_on)
            except _NothingFoundError as error:
                reasons.append(str(error))
                continue
            offset, residual, note = event
            note += "" if other is found[0] else f", compared with {other.path.name}"
            return Alignment(path, other.offset_ns + offset, sync_on, residual, note)
    if all(track.kind == "labels" for track in read_tracks(path)):
        return Alignment(path, 0, "as given", note=f"its times count from the begin of {found[0].path.name}")
    mine = wall_clock(path)
    for other in found:
        theirs = wall_clock(other.path)
        if mine is not None and theirs is not None:
            coarse = not (mine.exact and theirs.exact)
            several = (
                "its later sessions come at once in it; only the first is in its place" if mine.sessions > 1 else ""
            )
            note = "of other programs, to a second or so" if coarse else several
            if mine.unsynchronised != theirs.unsynchronised:  # one boot has one clock, right or wrong
                note = "; ".join(filter(None, (note, "not synchronised with a time server: it may be far off")))
            begin = other.offset_ns + mine.zero_ns - theirs.zero_ns
            if abs(begin) > MOST_APART_NS:
                raise StorageError(
                    f"{path} and {found[0].path} are {abs(begin) / 86_400e9:.1f} days apart by their clocks, one of "
                    f"which must be wrong; give --offset {name}=SECONDS"
                )
            return Alignment(path, begin, "wall clock", COARSE_CLOCK_NS if coarse else None, note)
    missing = path if mine is None else found[0].path
    what = f"{reasons[0]}, and {missing.name}" if reasons else str(missing)
    raise StorageError(
        f"{what} does not tell when it was recorded; say where {path.name} begins: --offset {name}=SECONDS"
        + ("" if sync_on else ", or find it by what both saw: --sync-on flash, click or cross-correlation")
    )


# ----------------------------------------------------------------------------------------------------- what both saw


class _NothingFoundError(Exception):
    """Two files can't be compared in this way; the message is the reason."""


def _by_event(path: Path, other: Path, sync_on: SyncEvent) -> tuple[int, int, str]:
    """A file's time 0 in another file's time, how far that may be off, and what it was found by."""
    kinds = ("pictures",) if sync_on == "flash" else ("sound", "sensor")
    mine, theirs = _first(path, kinds), _first(other, kinds)
    if sync_on == "cross-correlation":
        return _correlate(
            lambda rate: envelope(other, theirs, rate), lambda rate: envelope(path, mine, rate), path, other
        )
    read = brightness if sync_on == "flash" else _clicks
    return _match(read(other, theirs), read(path, mine), path, other, sync_on)


def _first(path: Path, kinds: Sequence[str]) -> Track:
    for kind in kinds:
        for track in read_tracks(path):
            if track.kind == kind:
                return track
    raise _NothingFoundError(f"{path} has no {' or '.join(kinds)}")


def _clicks(path: Path, track: Track) -> Signal:
    return envelope(path, track, FINE_RATE)


def _match(theirs: Signal, mine: Signal, path: Path, other: Path, what: str) -> tuple[int, int, str]:
    """Lay the events of two signals onto each other."""
    import numpy as np

    events = []
    for signal, file in ((theirs, other), (mine, path)):
        times = _events(signal)
        if not len(times):
            raise _NothingFoundError(f"{file} has no {what} that stands out")
        events.append(times)
    step = max(theirs.step_seconds, mine.step_seconds)
    tolerance = max(2.5 * step, 0.02)
    candidates = (events[0][:, None] - events[1][None, :]).ravel()
    fits = [np.sum(np.abs(candidates - offset) <= tolerance) for offset in candidates]
    best = int(np.max(fits))
    tops = candidates[np.asarray(fits) == best]
    elsewhere = np.abs(candidates - np.median(tops)) > 2 * tolerance
    second = int(np.max(np.asarray(fits)[elsewhere], initial=0))
    fewest = min(len(times) for times in events)
    if best < fewest / 2 or second > best * MOST_ELSEWHERE:
        raise StorageError(
            f"{path} and {other} could lie in several ways: of {len(events[1])} and {len(events[0])} "
            f"{PLURALS[what]}, {best} fit at best, and {second} elsewhere; give --offset {path.stem}=SECONDS"
        )
    near = candidates[np.abs(candidates - np.median(tops)) <= tolerance]
    offset = float(np.median(near))
    residual = float(np.abs(near - offset).max()) + (theirs.step_seconds + mine.step_seconds) / 2
    return round(offset * 1e9), round(residual * 1e9), f"{best} {PLURALS[what] if best > 1 else what}"


def _events(signal: Signal) -> NDArray[np.float64]:
    """The times at which a signal suddenly rises, in seconds; the strongest ones."""
    import numpy as np

    rises = np.diff(signal.values, prepend=signal.values[:1])
    if not len(rises):
        return np.empty(0)
    usual = float(np.median(np.abs(rises))) + float(np.abs(rises).mean()) * 0.5
    threshold = max(PROMINENT * usual, NEAR_STRONGEST * float(rises.max()), signal.least_rise)
    chosen: list[float] = []
    for index in np.argsort(rises)[::-1]:
        if rises[index] < threshold or len(chosen) == MOST_EVENTS:
            break
        time = float(signal.times[index])
        if all(abs(time - known) > SAME_EVENT_SECONDS for known in chosen):
            chosen.append(time)
    return np.sort(np.asarray(chosen))


def _correlate(
    theirs: Callable[[int], Signal], mine: Callable[[int], Signal], path: Path, other: Path
) -> tuple[int, int, str]:
    """Shift one envelope along the other: coarsely over everything, then finely around there, part by part."""
    import numpy as np

    a, b = theirs(COARSE_RATE), mine(COARSE_RATE)
    lags, strength = _correlation(_even(a, COARSE_RATE), _even(b, COARSE_RATE))
    top = int(strength.argmax())
    rest = np.abs(lags - lags[top]) > COARSE_RATE * SEARCH_SECONDS
    second = float(strength[rest].max(initial=0.0))
    if strength[top] < LEAST_CORRELATION or strength[top] < LEAST_LEAD * second:
        raise StorageError(
            f"{path} and {other} do not sound alike anywhere (at best {max(strength[top], 0):.2f} of 1); "
            f"give --offset {path.stem}=SECONDS"
        )
    start_a, start_b = float(a.times[0]), float(b.times[0])
    coarse = lags[top] / COARSE_RATE + start_a - start_b
    fine_a, fine_b = theirs(FINE_RATE), mine(FINE_RATE)
    found = _windows(fine_a, fine_b, coarse)
    offset = float(np.median(found)) if len(found) else coarse
    spread = float(np.abs(found - offset).max()) if len(found) else 1 / COARSE_RATE
    note = f"envelopes alike to {strength[top]:.2f} of 1"
    return round(offset * 1e9), round((spread + 1 / FINE_RATE) * 1e9), note


def _windows(a: Signal, b: Signal, coarse: float) -> NDArray[np.float64]:
    """The offset found in each of several parts of what two signals share, in seconds; of those that are clear."""
    import numpy as np

    whole_a, whole_b = _even(a, FINE_RATE), _even(b, FINE_RATE)
    start_a, start_b = float(a.times[0]), float(b.times[0]) + coarse
    begin, end = max(start_a, start_b), min(start_a + len(whole_a) / FINE_RATE, start_b + len(whole_b) / FINE_RATE)
    length = max((end - begin) / WINDOWS, 4 * SEARCH_SECONDS)
    found = []
    for part in range(int((end - begin) / length + 1e-9) or 1):
        at = begin + part * length
        piece_a = _cut(whole_a, at - start_a, length)
        piece_b = _cut(whole_b, at - start_b, length)
        if min(len(piece_a), len(piece_b)) < FINE_RATE * SEARCH_SECONDS:
            continue
        lags, strength = _correlation(piece_a, piece_b)
        near = np.abs(lags) <= FINE_RATE * SEARCH_SECONDS
        top = int(np.where(near, strength, -1).argmax())
        if strength[top] >= LEAST_CORRELATION:
            found.append(coarse + lags[top] / FINE_RATE)
    return np.asarray(found)


def _cut(values: NDArray[np.float32], begin: float, length: float) -> NDArray[np.float32]:
    start = round(begin * FINE_RATE)
    return values[max(start, 0) : max(start + round(length * FINE_RATE), 0)]


def _even(signal: Signal, rate: int) -> NDArray[np.float32]:
    """The values at even steps, so many a second."""
    import numpy as np

    if len(signal.times) < 2:
        return np.asarray(signal.values, np.float32)
    wanted = np.arange(signal.times[0], signal.times[-1], 1 / rate)
    return np.interp(wanted, signal.times, signal.values).astype(np.float32)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How alike `a` and `b` are, -1 to 1, for each lag of `b`'s begin behind `a`'s that lets a fair part overlap."""
    import numpy as np

    size = 1 << (len(a) + len(b) - 1).bit_length()
    a, b = a - a.mean(), b - b.mean()
    cross = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    lags = np.arange(-len(b) + 1, len(a))
    products = cross[lags % size]
    energy_a, energy_b = (np.concatenate([[0.0], np.cumsum(np.square(part, dtype=np.float64))]) for part in (a, b))
    low, high = np.maximum(lags, 0), np.minimum(lags + len(b), len(a))
    shared = (energy_a[high] - energy_a[low]) * (energy_b[high - lags] - energy_b[low - lags])
    least = 0.1 * min(len(a), len(b))
    usable = (high - low >= least) & (shared > 1e-6 * max(energy_a[-1] * energy_b[-1], 1e-30))
    strength = np.where(usable, products / np.sqrt(np.maximum(shared, 1e-30)), 0.0)
    return lags, strength

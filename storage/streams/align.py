"""Where several files lie in time, relative to the first: by hand, by the wall clock, or by something all of them saw.

A flash is looked for in the brightness of pictures, a click in sound and sensors; cross-correlation compares the whole
envelope of sound and sensors. What was seen at two times or more also shows how much faster one clock ran: that is
undone. What comes out says how it was found and how well it fits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from storage.errors import StorageError
from storage.names import printable
from storage.streams.signals import Signal, brightness, envelope
from storage.tracks.demux import Track, open_media, read_tracks
from storage.tracks.pauses import Pauses, is_unsynchronised, same_clock
from storage.tracks.wall_clock import read_pauses, wall_clock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Matched = tuple[NDArray[np.float64], NDArray[np.float64], str, tuple[NDArray[np.float64], NDArray[np.float64]]]

SyncEvent = Literal["flash", "click", "cross-correlation"]
MOST_EVENTS = 40
PROMINENT = 8.0  # times the usual change: what counts as an event
NEAR_STRONGEST = 0.35  # of the strongest one
SAME_EVENT_SECONDS = 0.25  # a click rings, a flash fades
ONSET = 0.5  # of its strongest rise
MOST_ELSEWHERE = 0.6  # of the events that fit at the best place may fit at another one
PLURALS = {"flash": "flashes", "click": "clicks"}
SEARCH_SECONDS = 0.5
WINDOWS = 8  # of an overlap, each correlated for itself
MOST_DRIFT = 500e-6  # that is looked for
USUAL_DRIFT = 200e-6  # computers and sound cards differ by 10 to 200 ppm: who knows no more knows nothing
LEAST_CORRELATION = 0.25
LEAST_LEAD = 1.15  # over the next best place
COARSE_RATE, FINE_RATE = 50, 1000  # values a second
MOST_APART_NS = 86_400_000_000_000  # a Raspberry Pi without network begins at some day in the past
COARSE_CLOCK_NS = 1_000_000_000  # how exact other programs are about the begin of a file

log = logging.getLogger(__name__)


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
        None where nothing shows it. Over the whole file where the drift is known, else only there.
    note : str
        What else to know, in words.
    drift : float or None
        By which part its clock runs faster than the first file's; 0 if no difference shows, None if nothing tells.
    pauses : mapping
        Those of each track, by its number.
    """

    path: Path
    offset_ns: int
    how: str
    residual_ns: int | None = None
    note: str = ""
    drift: float | None = None
    pauses: Mapping[int, Pauses] = field(default_factory=dict)

    def place(self, elapsed_ns: int) -> int:
        """Where a moment of the file lies, its pauses included, in nanoseconds of the first file's time."""
        drift = self.drift or 0.0
        return self.offset_ns + elapsed_ns - round(elapsed_ns * drift / (1 + drift))


def align(inputs: Sequence[Path], offsets: Mapping[str, float], sync_on: SyncEvent | None) -> list[Alignment]:
    """Find where each file lies.

    Parameters
    ----------
    inputs : sequence of path
        The first one's time is that of all.
    offsets : mapping
        In seconds, by path, name or stem; what is given here is not looked for.
    sync_on : str, optional
        What to look for; labels alone have nothing of the kind, and count from the first file's begin.

    Raises
    ------
    StorageError
        A file can't be read or aligned, or an offset is for none of them.
    """
    by_hand = _by_path(inputs, offsets)
    found: list[Alignment] = []
    for path in inputs:
        pauses = read_pauses(path)
        if path in by_hand:
            one = Alignment(path, round(by_hand[path] * 1e9), "by hand")
        elif not found:
            one = Alignment(path, 0, "first")
        else:
            one = _find(path, found, pauses, sync_on)
        if one.how == "as given":  # they are of the first file's own time
            pauses = dict.fromkeys(pauses, next(iter(found[0].pauses.values()), Pauses()))
        elif notes := dict.fromkeys(filter(None, (one.note, *(each.note for each in pauses.values())))):
            one = replace(one, note="; ".join(notes))
        found.append(replace(one, pauses=pauses))
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
            names = ", ".join(printable(str(path)) for path in inputs)
            raise StorageError(f"--offset {name}={seconds:+g}: {name} {which} of the files; give one of {names}")
        by_path[fitting[0]] = seconds
    return by_path


def _find(path: Path, found: Sequence[Alignment], pauses: Mapping[int, Pauses], sync_on: SyncEvent | None) -> Alignment:
    """Align a file to one of those that are aligned already, the first if that can be."""
    by_hand = f"--offset {path.stem}=SECONDS"
    if all(track.kind == "labels" for track in read_tracks(path)):
        return Alignment(path, 0, "as given", note=f"its times count from the begin of {found[0].path.name}")
    if sync_on is not None:
        reasons = []
        for other in found:
            try:
                return _by_event(path, pauses, other, sync_on, compared=other is not found[0])
            except _NothingFoundError as error:
                reasons.append(str(error))
        raise StorageError(f"{reasons[0]}, so that --sync-on {sync_on} can't place {path.name}; give {by_hand}")
    mine = wall_clock(path)
    for other in found:
        theirs = wall_clock(other.path)
        if mine is None or theirs is None:
            continue
        if same_clock(mine.session, theirs.session):
            begin = other.place(mine.clock_ns - theirs.clock_ns)
            return Alignment(path, begin, "wall clock", note="both are of one machine", drift=other.drift)
        exact = mine.exact and theirs.exact
        notes = [] if exact else ["of other programs, to a second or so"]
        unsure = [file.name for file, clock in ((path, mine), (other.path, theirs)) if is_unsynchronised(clock.session)]
        if unsure:
            clocks = (
                f"the clock of {unsure[0]} was" if len(unsure) == 1 else f"the clocks of {' and '.join(unsure)} were"
            )
            notes.append(f"{clocks} not synchronised with a time server: it may be far off")
        begin = other.place(mine.zero_ns - theirs.zero_ns)
        if abs(begin) > MOST_APART_NS:
            raise StorageError(
                f"{path} and {found[0].path} are {abs(begin) / 86_400e9:.1f} days apart by their clocks, one of "
                f"which must be wrong; give {by_hand}"
            )
        return Alignment(path, begin, "wall clock", None if exact else COARSE_CLOCK_NS, "; ".join(notes))
    missing = path if mine is None else found[0].path
    raise StorageError(
        f"{missing} does not tell when it was recorded; say where {path.name} begins: {by_hand}, "
        "or find it by what both saw: --sync-on flash, click or cross-correlation"
    )


# ----------------------------------------------------------------------------------------------------- what both saw


class _NothingFoundError(Exception):
    """Two files can't be compared in this way; the message is the reason."""


def _by_event(
    path: Path, pauses: Mapping[int, Pauses], other: Alignment, sync_on: SyncEvent, *, compared: bool
) -> Alignment:
    """Align a file to another one by what both saw; `compared` is whether to say to which."""
    kinds = ("pictures",) if sync_on == "flash" else ("sound", "sensor")
    mine, theirs = _tracks_of(path, kinds), _tracks_of(other.path, kinds)
    left, tracks = None, ""
    if sync_on == "cross-correlation":

        def read(rate: int, *, first: bool) -> Signal:
            file, track, known = (other.path, theirs[0], other.pauses) if first else (path, mine[0], pauses)
            return envelope(file, track, rate, known[track.number])

        times, offsets, step, note = _correlate(read, path, other.path)
    else:
        many = 1 if sync_on == "flash" else None
        there = _seen(other.path, theirs[:many], other.pauses, sync_on)
        here = _seen(path, mine[:many], pauses, sync_on)
        (one, another), (times, offsets, note, left) = _match_best(there, here, path, other.path, sync_on)
        step = (one.step_seconds + another.step_seconds) / 2
        if sync_on == "click" and max(len(mine), len(theirs)) > 1:
            tracks = f"heard in its {printable(another.track.name)} and {printable(other.path.name)}'s "
            tracks += printable(one.track.name)
    with open_media(path) as container:
        end = max((each.at(1000 * (container.duration or 0)) for each in pauses.values()), default=0) / 1e9
    line = _line(times, offsets, step, end)
    astray = _astray(left, line, path, other.path, sync_on) if left is not None else ""
    notes = [note, tracks, astray, line.note, f"compared with {other.path.name}" if compared else ""]
    drift = line.drift
    if drift is not None and other.drift:
        drift = (1 + drift) * (1 + other.drift) - 1
    return Alignment(
        path,
        other.place(round(line.offset * 1e9)),
        sync_on,
        round(line.residual * 1e9) + (other.residual_ns or 0),
        "; ".join(filter(None, notes)),
        drift if drift is not None else other.drift,
    )


def _tracks_of(path: Path, kinds: Sequence[str]) -> list[Track]:
    tracks = read_tracks(path)
    found = [track for kind in kinds for track in tracks if track.kind == kind]
    if not found:
        raise _NothingFoundError(f"{path} has no {' or '.join(kinds)}")
    return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """The events in a track: when each was, by how much they stand out, and how exactly a moment is known."""

    track: Track
    times: NDArray[np.float64]
    prominence: float
    step_seconds: float


def _seen(path: Path, tracks: Sequence[Track], pauses: Mapping[int, Pauses], what: str) -> list[_Seen]:
    """The events in each of these tracks that has some."""
    found = []
    for track in tracks:
        between = pauses[track.number]
        try:
            signal = brightness(path, track, between) if what == "flash" else envelope(path, track, FINE_RATE, between)
        except StorageError:
            if len(tracks) == 1:
                raise
            continue  # it holds no sample: another one may
        times, prominence = _events(signal)
        if len(times):
            found.append(_Seen(track, times, prominence, signal.step_seconds))
    if not found:
        raise _NothingFoundError(f"{path} has no {what} that stands out")
    return found


@dataclass(frozen=True, slots=True)
class _Line:
    """Where a file's time 0 lies in another one's time, in seconds; how far off that is; and as `Alignment.drift`."""

    offset: float
    residual: float
    drift: float | None
    note: str


def _line(times: NDArray[np.float64], offsets: NDArray[np.float64], step: float, end: float) -> _Line:
    """The offset and, if they show it, the drift that fit what was found at some times of a file of so many seconds.

    Two events, each known to within a part of a second, show a drift to within twice that, by the time between them.
    """
    import numpy as np

    span = float(np.ptp(times))
    slope = float(np.polyfit(times - times.mean(), offsets, 1)[0]) if span else 0.0
    rest = offsets - slope * times
    remaining = float(np.ptp(rest)) / 2 + step
    unsure = 2 * remaining / span if span else np.inf
    flat, apart = (float(offsets.max()) + float(offsets.min())) / 2, float(np.ptp(offsets)) / 2 + step
    if unsure > USUAL_DRIFT:
        alone = "in too short a time to show" if span else "one alone does not show"
        return _Line(flat, apart, None, f"{alone} how the clocks drift")
    beyond = unsure * max(float(times.min()), end - float(times.max()), 0.0)
    if abs(slope) <= unsure:
        return _Line(flat, apart + beyond, 0.0, f"no drift, to within {unsure * 1e6:.0f} ppm")
    drift = 1 / (1 + slope) - 1
    note = (
        f"its clock {abs(drift) * 1e6:.0f} ppm {'fast' if drift > 0 else 'slow'}, {abs(slope) * end * 1e3:.1f} ms over "
        f"the file: undone"
    )
    return _Line((float(rest.max()) + float(rest.min())) / 2, remaining + beyond, drift, note)


def _match_best(
    theirs: Sequence[_Seen], mine: Sequence[_Seen], path: Path, other: Path, what: str
) -> tuple[tuple[_Seen, _Seen], _Matched]:
    """Match the two tracks of which most events fit, of several such the two that stand out most."""
    pairs = [(one, another) for one in theirs for another in mine]
    pairs.sort(key=lambda pair: min(pair[0].prominence, pair[1].prominence), reverse=True)
    refused: StorageError | None = None
    best: tuple[tuple[_Seen, _Seen], _Matched] | None = None
    for pair in pairs:
        try:
            matched = _match(*pair, path, other, what)
        except StorageError as error:
            refused = refused or error
            continue
        if best is None or len(matched[0]) > len(best[1][0]):
            best = pair, matched
    if best is None:
        assert refused is not None
        raise refused
    return best


def _match(theirs: _Seen, mine: _Seen, path: Path, other: Path, what: str) -> _Matched:
    """Lay the events of two tracks onto each other.

    Returns when each was, how much later in the other one, how many of which, and the times of those that fit to none:
    in the other one, and in this one.
    """
    import numpy as np

    events: list[NDArray[np.float64]] = [theirs.times, mine.times]
    tolerance = max(2.5 * max(theirs.step_seconds, mine.step_seconds), 0.02)
    a, b = np.meshgrid(*events, indexing="ij")
    a, b = a.ravel(), b.ravel()
    fits = np.array([_fitting(a - one, b - other_one, tolerance) for one, other_one in zip(a, b, strict=True)])
    best = int(fits[:, 0].max())
    at = int(fits[:, 0].argmax())
    off = np.abs(a - a[at] - (b - b[at]) * (1 + fits[at, 1]))
    second = int(fits[off > 2 * tolerance, 0].max(initial=0))
    fewest = min(len(times) for times in events)
    if best < fewest / 2 or second > best * MOST_ELSEWHERE:
        raise StorageError(
            f"{path} and {other} could lie in several ways: of {len(events[1])} and {len(events[0])} "
            f"{PLURALS[what]}, {best} fit at best, and {second} elsewhere; give --offset {path.stem}=SECONDS"
        )
    fit = off <= tolerance + 1e-6
    if all(len(times) == best for times in events):
        note = _counted(best, what)
    else:
        note = f"{best} of its {_counted(len(events[1]), what)}, {best} of {printable(other.name)}'s {len(events[0])}"
    left = np.setdiff1d(events[0], a[fit]), np.setdiff1d(events[1], b[fit])
    return b[fit], (a - b)[fit], note, left


def _counted(count: int, what: str) -> str:
    return f"{count} {PLURALS[what] if count > 1 else what}"


def _astray(
    left: tuple[NDArray[np.float64], NDArray[np.float64]], line: _Line, path: Path, other: Path, what: str
) -> str:
    """Note, and warn of, events that both files have but that come apart where the others fit.

    Two are taken for the same if each is the nearest to the other. If one file lost samples, all that follow are off.
    """
    import numpy as np

    a, b = left
    if not len(a) or not len(b):
        return ""
    late = a[:, None] - (line.offset + b / (1 + (line.drift or 0.0)))
    nearest = np.abs(late).argmin(axis=0)  # of `a`, to each of `b`
    mutual = np.abs(late).argmin(axis=1)[nearest] == np.arange(len(b))
    off = np.abs(late[nearest, np.arange(len(b))])
    found = np.flatnonzero(mutual & (off <= SEARCH_SECONDS))
    if not len(found):
        return ""
    worst = int(found[off[found].argmax()])
    far = f"{'up to ' if len(found) > 1 else ''}{off[worst] * 1e3:.0f} ms off"
    log.warning(
        "%s and %s: %s that both have %s %s where the others fit, at %.2f s in %s: see whether one lost something "
        "there, or heard something else; or give --offset %s=SECONDS",
        *(path, other, _counted(len(found), what), "is" if len(found) == 1 else "are", far),
        *(b[worst], path.name, path.stem),
    )
    return f"{len(found)} in both {'is' if len(found) == 1 else 'are'} {far}"


def _fitting(a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> tuple[int, float]:
    """How many events fit if those at 0 are the same, and with which drift; the smallest that fits as many."""
    import numpy as np

    near = np.abs(a - b) <= tolerance + MOST_DRIFT * np.abs(b)
    late, after = (a - b)[near], b[near]
    apart = np.abs(after) > SAME_EVENT_SECONDS / 2
    always = int(np.sum(~apart & (np.abs(late) <= tolerance)))
    late, after = late[apart] * np.sign(after[apart]), np.abs(after[apart])
    least = np.maximum((late - tolerance) / after, -MOST_DRIFT)
    most = np.minimum((late + tolerance) / after, MOST_DRIFT)
    drifts = np.concatenate([[0.0], least, most])
    counts = np.sum((least <= drifts[:, None] + 1e-12) & (drifts[:, None] <= most + 1e-12), axis=1)
    best = min(range(len(drifts)), key=lambda one: (-counts[one], abs(drifts[one])))
    return always + int(counts[best]), float(drifts[best])


def _events(signal: Signal) -> tuple[NDArray[np.float64], float]:
    """The times at which a signal suddenly rises, in seconds; the strongest ones, and how far above what is usual."""
    import numpy as np

    rises = np.diff(signal.values, prepend=signal.values[:1])
    if not len(rises):
        return np.empty(0), 0.0
    usual = float(np.median(np.abs(rises))) + float(np.abs(rises).mean()) * 0.5
    threshold = max(PROMINENT * usual, NEAR_STRONGEST * float(rises.max()), signal.least_rise)
    chosen: list[float] = []
    for index in np.argsort(rises)[::-1]:
        if rises[index] < threshold or len(chosen) == MOST_EVENTS:
            break
        time = float(signal.times[index])
        if all(abs(time - known) > SAME_EVENT_SECONDS for known in chosen):
            # It begins with the first of the rises that are about as strong: what rings may be strongest later.
            before = int(np.searchsorted(signal.times, time - SAME_EVENT_SECONDS / 2))
            first = before + int(np.argmax(rises[before : index + 1] >= ONSET * rises[index]))
            chosen.append(float(signal.times[first]))
    return np.sort(np.asarray(chosen)), float(rises.max()) / usual if usual else 0.0


def _correlate(
    read: Callable[..., Signal], path: Path, other: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, str]:
    """Shift one envelope along the other: coarsely over everything, then finely around there, part by part.

    Returns the time of each part, how much later it is in the other file, how exactly that is known, and how alike they
    are.
    """
    import numpy as np

    a, b = read(COARSE_RATE, first=True), read(COARSE_RATE, first=False)
    lags, strength = _correlation(_even(a, COARSE_RATE), _even(b, COARSE_RATE))
    top = int(strength.argmax())
    rest = np.abs(lags - lags[top]) > COARSE_RATE * SEARCH_SECONDS
    second = float(strength[rest].max(initial=0.0))
    if strength[top] < LEAST_CORRELATION or strength[top] < LEAST_LEAD * second:
        raise StorageError(
            f"{path} and {other} do not sound alike, or at several places: the likeness is "
            f"{max(strength[top], 0):.2f} of 1 at the best place, and {second:.2f} at the next best; it must be "
            f"{LEAST_CORRELATION} at least, and {LEAST_LEAD} times the next best; give --offset {path.stem}=SECONDS"
        )
    coarse = lags[top] / COARSE_RATE + float(a.times[0]) - float(b.times[0])
    times, offsets = _windows(read(FINE_RATE, first=True), read(FINE_RATE, first=False), coarse)
    note, step = f"envelopes alike to {strength[top]:.2f} of 1", 1 / FINE_RATE
    if not len(times):
        times, offsets, step = b.times[:1], np.array([coarse]), 1 / COARSE_RATE
    return times, offsets, step, note


def _windows(a: Signal, b: Signal, coarse: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The offset found in each of several parts of what two signals share, and when that is in `b`; of clear ones."""
    import numpy as np

    whole_a, whole_b = _even(a, FINE_RATE), _even(b, FINE_RATE)
    start_a, start_b = float(a.times[0]), float(b.times[0]) + coarse
    begin, end = max(start_a, start_b), min(start_a + len(whole_a) / FINE_RATE, start_b + len(whole_b) / FINE_RATE)
    length = max((end - begin) / WINDOWS, 4 * SEARCH_SECONDS)
    times, found = [], []
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
            times.append(at - coarse + length / 2)
            found.append(coarse + lags[top] / FINE_RATE)
    return np.asarray(times), np.asarray(found)


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

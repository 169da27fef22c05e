"""Samples that go from one machine to another, as further tracks of the stream that has the pictures.

A block has samples, not encoded, with the time of the first by the sender's clock, and its number in the track. Numbers
count pauses too. So they show what is missing, because a sensor was silent or the connection was too slow, and the
receiver pads it. For connections see `pi_capture.network.sender` and `pi_capture.network.receiver`.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pi_capture.samples.clock import BESIDE_BYTES, SECOND, SLACK_SECONDS, Arrived, Dated
from storage.durable.untrusted import parse_object
from storage.matroska.track import AUDIO_TRACK, Block, Sound, Track
from storage.tracks.sample_track import CODECS, Codec, SampleTrack
from storage.tracks.samples import FIRST_TRACK, MAX_TRACKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAITING_BYTES = 4_000_000  # 20 seconds of sound
BLOCK_SECONDS, BLOCK_BYTES = 0.2, 500_000
MOST_NUMBERS = 4e6  # a second, of all channels
MOST_NAME, MOST_TEXT = 200, 1000  # characters
ALL_TEXT = 8000  # of all sources together: an introduction is short (`pi_capture.network.door`)
RATE_SECONDS = 4.0  # with less the rate counts as unknown
RAW = {codec.track: codec for codec in CODECS if codec.encoder is None}
"""The forms that go over the wire: samples are encoded only in the file that they come into."""


def _raw(track: SampleTrack) -> Codec:
    return next(codec for codec in RAW.values() if codec.dtype == track.kept_as.dtype)


# ---------------------------------------------------------------------------------------------------------- outgoing


@dataclass(frozen=True, slots=True)
class Waiting:
    """Samples that wait: their track, by its place, and the number of the first."""

    track: int
    number: int
    timestamp_ns: int
    samples: NDArray[Any]


class Outgoing:
    """A sender's samples that wait for the connection. All but `blocks` return at once, under the sender's lock."""

    def __init__(self) -> None:
        self.tracks: Sequence[SampleTrack] = ()
        self.offered = self.sent = 0  # samples, of all tracks
        self._places: dict[str, int] = {}
        self._next: list[int] = []
        self._most: list[int] = []
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0

    def begin(self, tracks: Sequence[SampleTrack]) -> None:
        self.tracks = list(tracks)
        self._places = {track.name: place for place, track in enumerate(tracks)}
        self._next = [0] * len(tracks)
        self._most = [_most_in_a_block(track) for track in tracks]

    def put(self, name: str, piece: Dated, *, connected: bool) -> None:
        """Add samples or a pause. If too much waits, the oldest samples go."""
        place = self._places[name]
        number = self._next[place]
        self._next[place] += piece.count
        if piece.samples is None:
            return
        self.offered += piece.count
        if not connected:
            return
        most, rate = self._most[place], self.tracks[place].rate
        for begin in range(0, piece.count, most):
            part = piece.samples[begin : begin + most]
            at_ns = piece.timestamp_ns + round(begin / rate * SECOND)
            self._waiting.append(Waiting(place, number + begin, at_ns, part))
            self._bytes += part.nbytes + BESIDE_BYTES
        while self._bytes > WAITING_BYTES:
            self._bytes -= self._waiting.popleft().samples.nbytes + BESIDE_BYTES

    @property
    def any(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def pop_all(self) -> list[Waiting]:
        """Remove and return all that waits."""
        waiting = list(self._waiting)
        self.clear()
        return waiting

    def clear(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self._bytes = 0

    # ----------------------------------------------------------------------------------------- from the sender's thread

    def entries(self) -> list[Track]:
        """Return the tracks for the opening of the stream."""
        raws = [_raw(track) for track in self.tracks]
        return [
            Track(number, AUDIO_TRACK, raw.track, b"", track.name, sound=Sound(track.rate, track.channels, raw.bits))
            for number, (track, raw) in enumerate(zip(self.tracks, raws, strict=True), FIRST_TRACK)
        ]

    def described(self) -> dict[str, dict[str, Any]]:
        """Return the other facts of each track, by its number."""
        most = min(MOST_TEXT, ALL_TEXT // max(1, len(self.tracks)))
        return {
            str(number): {
                "codec": track.codec,
                "unit": track.unit,
                "labels": track.labels,
                "source": track.source[:most],
            }
            for number, track in enumerate(self.tracks, FIRST_TRACK)
        }

    def blocks(self, waiting: Sequence[Waiting], origin_ns: int, last: dict[int, int]) -> Iterator[tuple[Block, int]]:
        """Yield what waits as blocks, each with its number of samples.

        `origin_ns` is where the stream's own time begins; `last` keeps the time of each track's last block.
        """
        for place, track in enumerate(self.tracks):
            pieces = [one for one in waiting if one.track == place]
            while pieces:
                joined = _joined(pieces, self._most[place])
                pieces = pieces[len(joined) :]
                first, count = joined[0], sum(len(one.samples) for one in joined)
                number = place + FIRST_TRACK
                at = last[number] = max((first.timestamp_ns - origin_ns) // 1000, last.get(number, -1) + 1)
                facts = json.dumps({"timestamp_ns": first.timestamp_ns, "number": first.number}).encode()
                data = b"".join(one.samples.tobytes() for one in joined)
                yield Block(number, at, data, facts, duration=max(1, round(count / track.rate * 1e6))), count


def _most_in_a_block(track: SampleTrack) -> int:
    size = track.channels * (4 if track.kept_as.dtype == "<f4" else 2)
    return max(1, min(round(track.rate * BLOCK_SECONDS), BLOCK_BYTES // size))


def _joined(pieces: Sequence[Waiting], most: int) -> Sequence[Waiting]:
    """Return the first pieces that follow each other and fit into a block together."""
    count = len(pieces[0].samples)
    for at, piece in enumerate(pieces[1:], 1):
        count += len(piece.samples)
        if count > most or piece.number != pieces[at - 1].number + len(pieces[at - 1].samples):
            return pieces[:at]
    return pieces


# ---------------------------------------------------------------------------------------------------------- incoming


class Arrivals:
    """The samples of one sender, over all its connections."""

    def __init__(self) -> None:
        self.tracks: list[SampleTrack] = []  # as the first connection had them; later ones are left out
        self._arriving: dict[str, _ArrivingTrack] = {}
        self._by_number: dict[int, _ArrivingTrack] = {}
        self._sender: object = None
        self._begun = False

    def connect(self, entries: Mapping[int, Track], hello: Mapping[str, Any]) -> list[str]:
        """Begin a connection with these tracks. Returns the names of those that are left out. Raises ValueError."""
        found = _tracks_in(entries, hello)
        facts = hello.get("facts")
        sender = facts.get("sender") if isinstance(facts, dict) else None
        if not self._begun:
            self.tracks, self._begun = list(found.values()), True
            self._arriving = {track.name: _ArrivingTrack(track) for track in self.tracks}
        elif sender is None or sender != self._sender:
            for track in self._arriving.values():
                track.begin_anew()
        self._sender = sender
        self._by_number = {
            number: self._arriving[track.name]
            for number, track in found.items()
            if track.name in self._arriving and self._arriving[track.name].track.fits(track)
        }
        return [track.name for number, track in found.items() if number not in self._by_number]

    def receive(self, block: Block, offset_ns: int) -> Arrived | None:
        """Return the samples of a block, if its track is kept; `offset_ns` is the sender's clock minus ours.

        Raises ValueError if it is damaged.
        """
        track = self._by_number.get(block.track)
        return None if track is None else track.receive(block, offset_ns)


class _ArrivingTrack:
    """A track of the sender, and how far its samples have come."""

    def __init__(self, track: SampleTrack) -> None:
        self.track = track
        self._began: int | None = None  # by our clock
        self._padded = 0
        self._due: int | None = None  # the number of the sample that follows
        self._due_ns = 0
        self._anchor: tuple[int, int] | None = None  # number and time of the first since the sender began
        self._rate = track.rate

    def begin_anew(self) -> None:
        """Go on with a sender that was started again: its numbers begin anew."""
        if self._due is not None:
            self._due = -1
        self._anchor, self._rate = None, self.track.rate

    def receive(self, block: Block, offset_ns: int) -> Arrived:
        import numpy as np

        facts = parse_object(block.facts)
        sent_ns, number = facts.get("timestamp_ns"), facts.get("number")
        if type(sent_ns) is not int or type(number) is not int or abs(sent_ns) >= 1 << 62 or not 0 <= number < 1 << 62:
            raise ValueError("impossible numbers")
        dtype = np.dtype(self.track.kept_as.dtype)
        if not block.data or len(block.data) % (dtype.itemsize * self.track.channels):
            raise ValueError("a torn sample")
        samples = np.frombuffer(block.data, dtype).reshape(-1, self.track.channels)
        at_ns = sent_ns - offset_ns
        pieces = [Dated(at_ns, len(samples), samples)]
        if missing := self._missing(number, at_ns):
            pieces.insert(0, Dated(self._due_ns, missing))
        self._measure(number, sent_ns)
        self._due = number + len(samples)
        self._due_ns = at_ns + round(len(samples) / self._rate * SECOND)
        return Arrived(self.track.name, pieces, self._rate)

    def _missing(self, number: int, at_ns: int) -> int:
        """Count the samples missing before that number; no more of them than there was time for."""
        now = time.monotonic_ns()
        if self._began is None or self._due is None:
            self._began = now
            return 0
        if 0 <= number < self._due:
            raise ValueError("samples that were there already")
        missing = number - self._due if self._due >= 0 else round((at_ns - self._due_ns) / SECOND * self._rate)
        passed = (now - self._began) / SECOND + SLACK_SECONDS
        missing = max(0, min(missing, int(passed * 2 * self.track.rate) - self._padded))
        self._padded += missing
        return missing

    def _measure(self, number: int, sent_ns: int) -> None:
        if self._anchor is None:
            self._anchor = number, sent_ns
            return
        seconds = (sent_ns - self._anchor[1]) / SECOND
        if seconds > RATE_SECONDS and 0.01 < (number - self._anchor[0]) / seconds / self.track.rate < 100:
            self._rate = (number - self._anchor[0]) / seconds


def _tracks_in(entries: Mapping[int, Track], hello: Mapping[str, Any]) -> dict[int, SampleTrack]:
    """Return the tracks of samples in a stream, by their numbers. Raises ValueError if one is impossible."""
    described = hello.get("tracks")
    described = described if isinstance(described, dict) else {}
    found: dict[int, SampleTrack] = {}
    for number, entry in entries.items():
        if entry.kind != AUDIO_TRACK:
            continue
        raw, given = RAW.get(entry.codec), described.get(str(number))
        given = given if isinstance(given, dict) else {}
        if raw is None or entry.sound is None or entry.sound.rate * entry.sound.channels > MOST_NUMBERS:
            raise ValueError("samples of a kind that can't be received")
        name = _text(entry.name, MOST_NAME)
        codec = next((one for one in CODECS if one.name == given.get("codec") and one.dtype == raw.dtype), raw)
        labels = given.get("labels")
        labels = (
            tuple(_text(label, MOST_NAME).replace("|", "/") for label in labels) if isinstance(labels, list) else ()
        )
        unit, source = _text(given.get("unit"), MOST_NAME), _text(given.get("source"), MOST_TEXT)
        found[number] = SampleTrack(name, entry.sound.rate, entry.sound.channels, codec.name, unit, labels, source)
    if len(found) > MAX_TRACKS or len({track.name for track in found.values()}) < len(found):
        raise ValueError("too many sensors, or two of one name")
    return found


def _text(given: object, most: int) -> str:
    """Return a text from the network as one short line."""
    return "".join(sign if sign.isprintable() else " " for sign in str(given or "")[:most]).strip()

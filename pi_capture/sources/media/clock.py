"""When a decoded picture was taken, and which pictures to keep of a stream that is faster than wanted.

Plain arithmetic in nanoseconds: `pi_capture.sources.media.read` gives each picture's own time, if it has one, and the
time of its arrival.
"""

from __future__ import annotations

import time
from typing import Protocol

from storage.formats.movie.clock import SLIP_NS

LATEST_NS = 15_000_000_000  # older on arrival, a picture is not late: its clock was set anew
DRIFT = 1e-4  # how much faster than ours a sender's clock may run; quartz is better than 100 ppm
LASTING_NS = 5_000_000_000  # pictures that are late by the same time for so long are not late: their clock is
LASTING_PICTURES = 5
SLOWER = 3  # times that, and later and later: the pictures come slower than their clock says
TRIES = 3  # a stream that lost its time this often is dated by arrival


class Clock(Protocol):
    """Dates pictures in the order in which they are shown."""

    def date(self, own_ns: int | None, arrival_ns: int) -> int:
        """Return a picture's timestamp, later than the one before; `own_ns` is its own time, None if it has none."""


class LiveClock:
    """Puts a stream's own times on this machine's monotonic clock.

    A picture arrives after it was taken; the one that travelled for the shortest time shows best how far the two clocks
    are apart. So their distance is the smallest seen. It may grow by `DRIFT`, as clocks run at unequal speeds.

    If a time runs back, stands still, falls far behind or runs ahead of its arrival, the picture is dated by its
    arrival. If the next picture's time goes on from there, the camera's clock was set anew, and
    the distance is measured anew. So it is if all pictures of some seconds are late by the same time: the clock stood
    still during a pause. After the third time, or if pictures are later and later, the stream is dated by arrival only.

    Parameters
    ----------
    period_ns : int
        Nominal time from one picture to the next, for one without a time among others that have one.
    same_machine : bool
        The times may be this machine's own, of its wall clock or its monotonic clock, as most devices' are. They are
        recognised by their value, and taken exactly.

    Attributes
    ----------
    jumped : bool
        Whether a time was not one of the stream's clock so far.
    """

    def __init__(self, period_ns: int, *, same_machine: bool = False) -> None:
        self.jumped = False
        self._period_ns = period_ns
        self._ahead_ns = max(SLIP_NS, 2 * period_ns)  # that a time may run ahead: earlier ones may be late by that
        self._same_machine = same_machine
        self._drift = DRIFT
        self._distance_ns: int | None = None  # to be added to a time of the stream's own
        self._heard_ns = 0
        self._first_own_ns = 0
        self._last_own_ns: int | None = None
        self._last_by_own_ns = 0  # the timestamp of the picture of that time
        self._late: list[tuple[int, int]] = []  # arrivals, each with how late it was: of the last seconds, if all were
        self._slower = 0  # how often in a row they were later and later
        self._last_ns: int | None = None
        self._step_ns = period_ns  # from one picture to the next, by the last two
        self._late_ns = 0  # how long after its time the last picture arrived
        self._other: tuple[int, int] | None = None  # a time of another clock, and its distance
        self._tries = TRIES

    def hear(self, own_ns: int, arrival_ns: int) -> None:
        """Note that a packet of the stream's time `own_ns` arrived; it may be decoded later."""
        distance = arrival_ns - own_ns
        if self._distance_ns is None:
            if self._same_machine and (known := _known_distance(own_ns, arrival_ns)) is not None:
                self._drift, distance = 0.0, known
            self._distance_ns, self._first_own_ns = distance, own_ns
        elif self._last_own_ns is None or distance >= self._distance_ns - self._ahead_ns:
            since_ns = max(0, arrival_ns - self._heard_ns)
            self._distance_ns = min(self._distance_ns + round(since_ns * self._drift), distance)
        self._heard_ns = max(self._heard_ns, arrival_ns)

    def date(self, own_ns: int | None, arrival_ns: int) -> int:
        last = self._last_ns
        if own_ns is not None and self._tries:
            found = self._by_own_time(own_ns, arrival_ns)
        elif self._distance_ns is None or not self._tries:
            found = arrival_ns
        elif last is None:
            found = self._first_own_ns + self._distance_ns - self._period_ns
        else:
            found = min(last + self._period_ns, arrival_ns)
        self._last_ns = found if last is None else max(found, last + 1)
        return self._last_ns

    def _by_own_time(self, own_ns: int, arrival_ns: int) -> int:
        self.hear(own_ns, arrival_ns)
        assert self._distance_ns is not None
        if not self._fits(own_ns, self._last_own_ns, self._distance_ns, arrival_ns):
            if self._other is None or not self._fits(own_ns, *self._other, arrival_ns):
                return self._by_arrival(own_ns, arrival_ns)
            self._last_own_ns, self._distance_ns = self._other
            self._drift = DRIFT
            self._tries -= 1
            self.hear(own_ns, arrival_ns)
        elif (late_ns := self._lasting_lateness(own_ns, arrival_ns)) > 0:
            self._distance_ns += late_ns
            self._tries -= 1
            self.jumped = True
        found = own_ns + self._distance_ns
        if self._last_own_ns is not None:
            # If the distance turns out to be smaller, time goes at half speed until that is made up for.
            step_ns = self._step_ns = own_ns - self._last_own_ns
            last_ns = self._last_by_own_ns if self._last_ns is None else self._last_ns
            left_ns = step_ns - (last_ns - self._last_by_own_ns)  # after those that were dated by arrival
            found = max(found, last_ns + max(left_ns, min(step_ns, self._period_ns)) // 2)
        self._other = None
        self._last_own_ns, self._last_by_own_ns, self._late_ns = own_ns, found, arrival_ns - found
        return found

    def _lasting_lateness(self, own_ns: int, arrival_ns: int) -> int:
        """Return by how much all pictures of the last seconds were late, if that is the clock's doing; else 0.

        What waited in the network is less late from picture to picture, or more and more while that is too slow.
        """
        assert self._distance_ns is not None
        late_ns = arrival_ns - own_ns - self._distance_ns
        if late_ns <= self._ahead_ns:
            self._late, self._slower = [], 0
            return 0
        self._late.append((arrival_ns, late_ns))
        if arrival_ns - self._late[0][0] < LASTING_NS or len(self._late) < LASTING_PICTURES:
            return 0
        latenesses = [late for _, late in self._late]
        least_ns, growth_ns = min(latenesses), late_ns - latenesses[0]
        self._late = []
        spread_ns = max(latenesses) - least_ns
        if spread_ns < self._ahead_ns // 4:
            return least_ns
        self._slower = self._slower + 1 if growth_ns > spread_ns // 2 else 0
        if self._slower < SLOWER:
            return 0
        self._tries = 1  # the last one: pictures come slower than their times say
        return late_ns

    def _fits(self, own_ns: int, last_own_ns: int | None, distance_ns: int, arrival_ns: int) -> bool:
        """Whether a time goes on from the last one, on a clock at that distance."""
        on_the_way_ns = arrival_ns - own_ns - distance_ns
        return (last_own_ns is None or own_ns > last_own_ns) and -self._ahead_ns <= on_the_way_ns <= LATEST_NS

    def _by_arrival(self, own_ns: int, arrival_ns: int) -> int:
        """Return the arrival, less the last picture's delay: a decoder may hand pictures out late.

        If it arrived about when the next picture was due, it is that one: arrivals jitter, the camera does not.
        """
        found = arrival_ns - (self._late_ns if 0 <= self._late_ns < SLIP_NS else 0)
        due = found if self._last_ns is None else self._last_ns + self._step_ns
        if abs(found - due) < 2 * self._step_ns:
            found = min(due, arrival_ns)
        self._other = own_ns, found - own_ns
        self.jumped = True
        return found


def _known_distance(own_ns: int, arrival_ns: int) -> int | None:
    for distance in (time.monotonic_ns() - time.time_ns(), 0):
        if 0 <= arrival_ns - (own_ns + distance) < SLIP_NS:
            return distance
    return None


class Thinner:
    """Chooses the pictures nearest to an even rate."""

    def __init__(self, fps: float) -> None:
        self._period_ns = 1e9 / fps
        self._due_ns = 0.0
        self._before_ns: int | None = None
        self._usual_ns = 0.0  # from one picture to the next

    def takes(self, timestamp_ns: int) -> bool:
        """Whether to keep the picture of this time; the first one is kept."""
        before, self._before_ns = self._before_ns, timestamp_ns
        if before is None:
            self._due_ns = timestamp_ns + self._period_ns
            return True
        between = timestamp_ns - before
        usual = self._usual_ns = self._usual_ns or between
        self._usual_ns += (min(between, 2 * usual) - usual) / 8
        if timestamp_ns < self._due_ns - min(self._usual_ns, self._period_ns) / 2:  # the next one will be nearer
            return False
        late = timestamp_ns - self._due_ns > self._period_ns
        self._due_ns = (timestamp_ns if late else self._due_ns) + self._period_ns
        return True

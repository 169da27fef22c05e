"""When pictures are dated: files with odd times, and streams on other clocks than ours."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from pi_capture.sources.media.clock import LiveClock, Thinner
from storage.formats.movie.clock import FileClock

MS = 1_000_000
SECOND = 1_000_000_000
HERE = 5_000 * SECOND  # what our clock shows when a stream's shows 0


def test_a_files_times_are_kept() -> None:
    clock = FileClock(40 * MS)
    times = [7, 8 * MS, 3 * SECOND, 3 * SECOND + 1]
    assert [clock.date(t) for t in times] == times


@pytest.mark.parametrize(
    ("own", "dated"),
    [
        ([None, None, None], [0, 40, 80]),
        ([100, None, None, 300], [100, 140, 180, 300]),
        ([0, 40, 0, 40, 80], [0, 40, 40, 40, 80]),  # slips: a nanosecond each
        ([0, 40, 5000, 0, 40, 100], [0, 40, 5000, 5040, 5080, 5140]),  # two files joined
    ],
)
def test_a_files_times_only_grow(own: list[int | None], dated: list[int]) -> None:
    clock = FileClock(40 * MS)
    times = [clock.date(None if t is None else t * MS) for t in own]
    assert [t // MS for t in times] == dated
    assert all(a < b for a, b in pairwise(times))


def test_a_live_pictures_time_does_not_shake_with_its_arrival() -> None:
    draw = random.Random(1)
    clock = LiveClock(40 * MS)
    times = []
    for n in range(2000):
        delay = 5 * MS + round(draw.expovariate(1 / (30 * MS)))
        times.append(clock.date(n * 40 * MS, HERE + n * 40 * MS + delay))
    steps = [b - a for a, b in pairwise(times[200:])]
    assert max(abs(step - 40 * MS) for step in steps) < MS
    assert abs(times[-1] - (HERE + 1999 * 40 * MS + 5 * MS)) < 5 * MS


def test_what_piled_up_is_dated_back() -> None:
    clock = LiveClock(40 * MS)
    arrival = HERE + 100 * 40 * MS  # a hundred pictures at once, the newest of them new
    for n in range(101):
        clock.hear(n * 40 * MS, arrival)
    assert [clock.date(n * 40 * MS, arrival) for n in range(101)] == [HERE + n * 40 * MS for n in range(101)]


def test_when_a_stream_turns_out_to_be_newer_no_pictures_are_dated_together() -> None:
    clock, times = LiveClock(40 * MS), []
    for n in range(100):
        arrival = HERE + max(n, min(n, 49) + 12) * 40 * MS  # half a second late, and then in time
        times.append(clock.date(n * 40 * MS, arrival))
    steps = [b - a for a, b in pairwise(times)]
    assert min(steps) == 20 * MS
    assert max(steps) < 41 * MS
    assert times[-1] - (HERE + 99 * 40 * MS) < MS


@pytest.mark.parametrize("faster", [-90e-6, 90e-6])
def test_a_clock_that_runs_differently_is_followed(faster: float) -> None:
    clock = LiveClock(SECOND)
    for n in range(24 * 3600):
        arrival = HERE + n * SECOND
        dated = clock.date(round(n * SECOND * (1 + faster)), arrival)
        assert 0 <= arrival - dated < MS


def test_a_camera_that_starts_anew() -> None:
    clock = LiveClock(40 * MS)
    before = [clock.date((900 + n) * 40 * MS, HERE + n * 40 * MS) for n in range(50)]
    after = [clock.date(n * 40 * MS, HERE + (75 + n) * 40 * MS) for n in range(50)]
    assert before[-1] == HERE + 49 * 40 * MS
    assert after == [HERE + (75 + n) * 40 * MS for n in range(50)]


JUMPS = {
    "set forward": lambda n: 100 * SECOND if n >= 70 else 0,
    "set forward by little": lambda n: 2 * SECOND if n >= 70 else 0,
    "set back": lambda n: -5 * SECOND if n >= 70 else 0,
    "set forward, and back again": lambda n: 40 * SECOND if 50 <= n < 90 else 0,
    "now and then far ahead": lambda n: 3600 * SECOND if n % 17 == 16 else 0,
    "now and then far behind": lambda n: -3600 * SECOND if n % 17 == 16 else 0,
}


@pytest.mark.parametrize("late", [0, 5])
@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_a_clock_that_jumps_where_arrivals_do_not(jump: Callable[[int], int], late: int) -> None:
    """`late` is how many packets the decoder has taken when it hands a picture out."""
    draw, clock, times = random.Random(3), LiveClock(50 * MS), []
    own = [20_000 * SECOND + n * 50 * MS + jump(n) for n in range(200)]
    arrivals = [HERE + n * 50 * MS + draw.randrange(4 * MS) for n in range(200)]
    for n in range(200):
        clock.hear(own[n], arrivals[n])
        if n >= late:
            times.append(clock.date(own[n - late], arrivals[n]))
    assert clock.jumped
    steps = [b - a for a, b in pairwise(times)]
    assert min(steps) > 40 * MS and max(steps) < 60 * MS
    assert times[-1] - times[0] == pytest.approx((199 - late) * 50 * MS, abs=8 * MS)


def test_a_pause_that_arrivals_confirm_is_none_of_the_clock() -> None:
    clock = LiveClock(50 * MS)
    own = [n * 50 * MS + (30 * SECOND if n >= 40 else 0) for n in range(80)]
    assert [clock.date(t, HERE + t) for t in own] == [HERE + t for t in own]
    assert not clock.jumped


def test_a_clock_that_stood_still_during_a_pause_is_set_anew() -> None:
    clock = LiveClock(50 * MS)
    arrivals = [HERE + n * 50 * MS + (7 * SECOND if n >= 60 else 0) for n in range(400)]
    times = [clock.date(n * 50 * MS, arrivals[n]) for n in range(400)]
    assert clock.jumped
    assert times[:60] == arrivals[:60] and times[-200:] == arrivals[-200:]
    assert min(b - a for a, b in pairwise(times)) == 50 * MS


def test_what_waited_in_the_network_keeps_its_own_times() -> None:
    """Nothing for four seconds, then all at once; and a network that is too slow for nine, and catches up in six."""
    clock = LiveClock(50 * MS)
    late = [max(0, 140 - n) * 50 * MS if n >= 60 else 0 for n in range(300)]
    late += [min(n * 20, 180 * 20, max(0, 300 - n) * 30) * MS for n in range(400)]
    times = [clock.date(n * 50 * MS, HERE + n * 50 * MS + late[n]) for n in range(700)]
    assert max(abs(t - HERE - n * 50 * MS) for n, t in enumerate(times)) < 5 * MS
    assert not clock.jumped


def test_pictures_that_come_slower_than_their_times_say_are_dated_by_arrival() -> None:
    clock = LiveClock(40 * MS)
    arrivals = [HERE + n * 70 * MS for n in range(600)]
    times = [clock.date(n * 40 * MS, arrivals[n]) for n in range(600)]
    assert all(a < b for a, b in pairwise(times))
    assert times[-250:] == arrivals[-250:]


def test_a_clock_of_whole_seconds_gives_even_times() -> None:
    clock = LiveClock(50 * MS)
    times = [clock.date(n // 20 * SECOND, HERE + n * 50 * MS) for n in range(200)]
    assert times == [HERE + n * 50 * MS for n in range(200)]


@pytest.mark.parametrize("own", [lambda n: 0, lambda n: 10**15 - n * MS, lambda n: n * 4 * MS, lambda n: None])
def test_times_that_mean_nothing_are_not_used(own) -> None:  # type: ignore[no-untyped-def]
    clock = LiveClock(40 * MS)
    for n in range(5000):
        arrival = HERE + n * 40 * MS
        dated = clock.date(own(n), arrival)
        assert 0 <= arrival - dated <= 15 * SECOND
    assert dated == arrival


def test_a_picture_without_a_time_among_others() -> None:
    clock = LiveClock(40 * MS)
    arrival = HERE + 20 * 40 * MS
    for n in range(1, 21):
        clock.hear(n * 40 * MS, arrival)
    own = [None, *(n * 40 * MS for n in range(1, 10)), None, *(n * 40 * MS for n in range(11, 21))]
    assert [clock.date(t, arrival) for t in own] == [HERE + n * 40 * MS for n in range(21)]


@pytest.mark.parametrize("now_ns", [time.time_ns, time.monotonic_ns])
def test_this_machines_own_clocks_are_recognised(now_ns) -> None:  # type: ignore[no-untyped-def]
    clock = LiveClock(40 * MS, same_machine=True)
    own, monotonic = now_ns(), time.monotonic_ns()
    dated = [clock.date(own + n * 40 * MS, monotonic + n * 40 * MS + (30 - n) * MS) for n in range(30)]
    assert abs(dated[0] - monotonic) < MS  # not when it arrived
    assert all(b - a == 40 * MS for a, b in pairwise(dated))


def kept(times_ms: list[float], fps: float) -> list[float]:
    thinner = Thinner(fps)
    return [t for t in times_ms if thinner.takes(round(t * MS))]


def test_thinning_takes_the_nearest() -> None:
    assert kept([n * 100 for n in range(11)], 5) == [0, 200, 400, 600, 800, 1000]
    assert kept([n * 100 for n in range(11)], 4) == [0, 200, 500, 700, 1000]
    assert kept([n * 100 for n in range(11)], 30) == [n * 100 for n in range(11)]
    assert kept([0, 5, 3000, 3005, 3100], 10) == [0, 3000, 3100]
    assert kept([0, 7000, 14_000, 60_000], 0.1) == [0, 7000, 60_000]


@pytest.mark.parametrize("fps", [1, 7, 15, 20, 29, 29.97])
def test_thinning_keeps_the_rate_whatever_shakes(fps: float) -> None:
    draw = random.Random(2)
    times = [n * 1000 / 30 + draw.uniform(-12, 12) for n in range(3000)]
    assert len(kept(times, fps)) == pytest.approx(100 * fps, rel=0.02)
    steps = [b - a for a, b in pairwise(kept(times, fps))]
    assert max(steps) < 1000 / fps + 1000 / 30 + 24


def test_a_wrong_time_that_arrives_late_keeps_its_distance() -> None:
    """A busy machine sees pictures up to a period late; the camera took them evenly."""
    clock = LiveClock(50 * MS)
    wrong, late = {13: 7_000_000 * MS, 27: -900_000 * MS}, {13: 41 * MS, 27: 63 * MS, 20: 30 * MS}
    found = [clock.date(n * 50 * MS + wrong.get(n, 0), n * 50 * MS + 5 * MS + late.get(n, 0)) for n in range(40)]
    steps = {after - before for before, after in pairwise(found)}
    assert all(abs(step - 50 * MS) < MS for step in steps), steps

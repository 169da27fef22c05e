"""Recording only what moves: which frames are kept, and how those that are not are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pi_capture.errors import UsageError
from pi_capture.recording.motion import Motion, MotionWish, small_grey
from storage.frame import Frame
from tests.pi_capture.recording.test_retry import run

SECOND = 10**9


def frames(moving: set[int], count: int, metadata: dict[str, object] | None = None) -> Iterator[Frame]:
    """Ten a second, of a noisy room in which something shows up in some of them."""
    rng = np.random.default_rng(0)
    for n in range(count):
        pixels = rng.normal(100, 8, (96, 128, 3)).clip(0, 255).astype(np.uint8)
        if n in moving:
            pixels[20:60, 20:60] = 200
        yield Frame(pixels, n, n * SECOND // 10, metadata or {})


def pick(wish: MotionWish, source: Iterator[Frame]) -> tuple[list[Frame], int]:
    motion = Motion(wish)
    return [kept for frame in source for kept in motion.pick(frame)], motion.not_kept


def test_what_moves_is_kept_with_some_before_and_after() -> None:
    kept, not_kept = pick(MotionWish(1, pre_roll=0.5, post_roll=1), frames({50, 51, 90}, 120))
    # The background forgets slowly what was in it for an instant: what leaves counts as motion as well, or not.
    numbers = [frame.index for frame in kept]
    assert numbers[: 5 + 2] == list(range(45, 52))
    assert 85 in numbers and 84 not in numbers
    assert not_kept + len(kept) == 120
    first, before = kept[numbers.index(85)], kept[numbers.index(85) - 1]
    assert first.metadata == {"not_kept": 85 - before.index - 1, "gap_ns": first.timestamp_ns - before.timestamp_ns}
    assert [frame.metadata.get("not_kept", 0) for frame in kept] == [
        b.index - a.index - 1 for a, b in pairwise([Frame(kept[0].pixels, -1, 0), *kept])
    ]


def test_what_the_camera_lost_is_not_forgotten() -> None:
    kept, _ = pick(MotionWish(1, pre_roll=0, post_roll=0), frames({60}, 61, {"dropped_camera": 2}))
    assert [frame.index for frame in kept] == [60]
    assert kept[0].metadata["not_kept"] == 60 and kept[0].metadata["dropped_camera"] == 2 * 61


def test_a_pause_of_the_camera_is_told_though_nothing_moved_when_it_came_back() -> None:
    seen = [replace(one, metadata={"gap": "camera"} if n == 30 else {}) for n, one in enumerate(frames({10, 60}, 61))]
    kept, _ = pick(MotionWish(1, pre_roll=0, post_roll=0), iter(seen))
    assert [frame.index for frame in kept] == [10, 60]
    assert [frame.metadata.get("gap") for frame in kept] == [None, "camera"]
    assert kept[1].metadata["gap_ns"] == 5 * SECOND


def test_a_light_that_is_switched_on_is_no_motion() -> None:
    motion = Motion(MotionWish(1, pre_roll=0, post_roll=0))
    room = np.random.default_rng(1).integers(40, 120, (96, 128, 3)).astype(np.uint8)
    assert [motion.changed_percent(room), motion.changed_percent(room)] == [0, 0]
    assert motion.changed_percent(room + np.uint8(60)) < 1
    room[10:40, 10:40] += 80
    assert motion.changed_percent(room) > 1


def test_the_pre_roll_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi_capture.recording.around.PRE_ROLL_BYTES", 5 * 96 * 128 * 3)
    kept, _ = pick(MotionWish(1, pre_roll=3600, post_roll=0), frames({70}, 71))
    assert [frame.index for frame in kept] == [66, 67, 68, 69, 70]


def test_a_small_picture_of_any_size() -> None:
    for size in ((24, 32), (480, 640), (1, 1), (481, 641)):
        small = small_grey(np.full((*size, 3), 7, np.uint8))
        assert (small == 7).all() and max(small.shape) < 128


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 100.0}, {"pre_roll": -1.0}])
def test_nonsense(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        MotionWish(**wrong)


def test_on_the_command_line(tmp_path: Path) -> None:
    stop = "Motion.pick = lambda self, frame, pick=Motion.pick: ("
    stop += "signal.raise_signal(signal.SIGINT) if frame.metadata['number'] == 320 else None, pick(self, frame))[1]"
    options = ("--on-motion", "--pre-roll", "0.1", "--post-roll", "0.1")
    done = run(
        tmp_path,
        "fault:still",
        -1,
        *options,
        program=f"import signal\nfrom pi_capture.recording.motion import Motion\n{stop}",
    )
    assert done.status == 0, done.told
    summary = done.summary
    assert summary["captured"] > 320
    # Every hundred frames thirty move; some before and after are kept, and what the background takes to settle.
    moving = [n for n in range(1, 320) if n % 100 < 30]
    lost = [n for n in moving if n not in done.numbers]
    assert len(lost) <= summary["dropped_queue"] and summary["frames"] > len(moving) + 3 * 2
    assert summary["not_kept"] >= 3 * 20
    steps = [b - a - 1 for a, b in pairwise([done.numbers[0] - 1, *done.numbers])]
    told = [frame.metadata.get("not_kept", 0) + frame.metadata.get("dropped_queue", 0) for frame in done.frames]
    assert steps[1:] == told[1:] and sum(told) > 0
    assert f"{summary['not_kept']} without motion not kept" in done.told[-1]

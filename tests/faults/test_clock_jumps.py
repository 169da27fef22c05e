"""The wall clock is set while a recording is made: nothing is reordered, renamed or overwritten, and it is noted when.

libfaketime fakes the wall clock of one process, and leaves the monotonic one alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from pi_capture.recording.clocks import MOST_ANCHORS, Anchors
from pi_capture.segments.series import Series
from storage import open_recording
from storage.sessions import read_sessions
from tests.faults.table import note
from tests.support import PATIENCE_SECONDS, REPOSITORY, wait_for

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
FILES = ("day1.h5", "day1.mkv")
HOUR_NS = 3600 * 10**9


def fake_clock(clock: Path) -> Mapping[str, str]:
    """The environment of a process whose wall clock follows what stands in a file."""
    assert LIBRARIES, "scripts/test.sh installs faketime"
    set_clock(clock, "+0")
    return {
        **os.environ,
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(clock: Path, seconds: str) -> None:
    """Let the clock go wrong by so much. It is read all the time, and may never be found empty."""
    new = clock.with_suffix(".new")
    new.write_text(seconds)
    new.replace(clock)


def anchors_in(day: Path) -> int:
    return sum(len(session["anchors"]) for session in read_sessions(day))


def frames_in(day: Path) -> int:
    return len(list(day.glob("*.png")))


def record(tmp_path: Path, target: str, *options: str) -> None:
    """Set the clock back an hour, then forward two, while a camera is recorded."""
    clock = tmp_path / "clock"
    command = [sys.executable, "-m", "pi_capture", str(tmp_path / target), "-1", "--camera", "demo", "--size", "64x64"]
    recorder = subprocess.Popen(
        [*command, "--sync-interval", "0.1", *options], env=fake_clock(clock), cwd=REPOSITORY, stderr=subprocess.PIPE
    )
    day = tmp_path / target
    wait_for(lambda: list(tmp_path.glob("day1*")), process=recorder)
    for number, offset in enumerate(("+0", "-3600", "+3600")):
        set_clock(clock, offset)
        if target == "day1":
            wait_for(lambda: anchors_in(day) > number, process=recorder)  # noqa: B023
            stored = frames_in(day)
            wait_for(lambda: frames_in(day) > stored + 5, process=recorder)  # noqa: B023
        else:
            time.sleep(3)  # nobody can look into the file meanwhile; a sync may take its time
    recorder.send_signal(signal.SIGTERM)
    _, told = recorder.communicate(timeout=PATIENCE_SECONDS)
    assert recorder.returncode == 0, told


@pytest.mark.parametrize("target", ["day1", *(pytest.param(name, marks=pytest.mark.slow) for name in FILES)])
def test_the_clock_is_set_while_it_records(tmp_path: Path, target: str) -> None:
    record(tmp_path, target)
    with open_recording(tmp_path / target) as recording:
        frames = list(recording)
        sessions = read_sessions(tmp_path / target) if target == "day1" else recording.sessions  # type: ignore[attr-defined]
    assert [frame.index for frame in frames] == list(range(len(frames))) and frames
    lost = [sum(f.metadata.get(f"dropped_{cause}", 0) for cause in ("camera", "queue")) for f in frames]
    steps = [round((after.timestamp_ns - before.timestamp_ns) * 30 / 1e9) - 1 for before, after in pairwise(frames)]
    assert steps == lost[1:]
    (session,) = sessions
    offsets = [anchor["wall_ns"] - anchor["monotonic_ns"] for anchor in session["anchors"]]
    jumps = [round((after - before) / HOUR_NS) for before, after in pairwise(offsets) if abs(after - before) > 10**9]
    assert jumps == [-1, 2]
    noted = [f.metadata["wall_minus_monotonic_ns"] for f in frames if "wall_minus_monotonic_ns" in f.metadata]
    assert [round((offset - offsets[0]) / HOUR_NS) for offset in noted] == [-1, 1]
    assert {anchor["boot_id"] for anchor in session["anchors"]} == {session["boot_id"]}
    note("wall clock set", target, len(frames), tried=2)


@pytest.mark.slow
def test_segments_stay_in_order(tmp_path: Path) -> None:
    record(tmp_path, "day1.mkv", "--segment", "0.7s")
    paths = [segment.path for segment in Series.of(tmp_path / "day1.mkv").segments()]
    assert len(paths) >= 4
    assert [path.name for path in paths] != sorted(path.name for path in paths), "the clock was not set back"
    times = [stamp for path in paths for stamp in open_recording(path).timestamps_ns]
    assert times == sorted(set(times))
    note("wall clock set", "day1.mkv", len(times), tried=2)


def test_the_hours_follow_the_clock_on_the_wall(tmp_path: Path) -> None:
    now = datetime.now()
    hours = f"{now - timedelta(minutes=2):%H:%M}-{now + timedelta(minutes=30):%H:%M}"
    day, clock = tmp_path / "day1", tmp_path / "clock"
    recorder = subprocess.Popen(
        [
            *(sys.executable, "-m", "pi_capture", str(day), "-1", "--camera", "demo"),
            *("--size", "64x64", "--between", hours),
        ],
        env=fake_clock(clock), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: list(day.glob("*.png")), process=recorder)
    set_clock(clock, "+3600")
    assert recorder.stderr is not None
    assert recorder.stderr.readline() == f"waiting for the hours {hours}; the camera is free until then\n"
    time.sleep(0.5)
    stored = len(list(day.glob("*.png")))
    set_clock(clock, "+0")
    # Frames from before the jump may get their names only now, by the last sync: those after it tell of a gap.
    wait_for(lambda: any("gap" in frame.metadata for frame in open_recording(day)[stored:]), process=recorder)
    recorder.send_signal(signal.SIGTERM)
    recorder.communicate(timeout=PATIENCE_SECONDS)
    assert recorder.returncode == 0
    (gap,) = [frame.metadata for frame in open_recording(day) if "gap" in frame.metadata]
    assert gap["gap"] == "schedule" and gap["gap_ns"] > 0.5e9
    (session,) = read_sessions(day)
    assert session["reopened"] == 1 and session["gaps"][0]["cause"] == "schedule"


def test_a_reading_of_the_clocks_that_is_held_up_is_no_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another thread, or another program, runs between the reading of one clock and of the other."""
    anchors = Anchors()
    held_up = iter([0.3])
    wall_ns = time.time_ns

    def late() -> int:
        time.sleep(next(held_up, 0))
        return wall_ns()

    monkeypatch.setattr("pi_capture.recording.clocks.time.time_ns", late)
    assert anchors.look() is None and anchors.look() is None


def test_there_are_never_many_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    anchors = Anchors()
    now = dict(anchors.all[0])
    monkeypatch.setattr("pi_capture.recording.clocks.anchor", lambda: dict(now))
    for second in range(30 * 86400 // 10):
        now["monotonic_ns"] += 10 * 10**9
        now["wall_ns"] += 10 * 10**9 + (HOUR_NS if second % 5000 == 4999 else 0)
        anchors.look()
        assert len(anchors.all) <= MOST_ANCHORS
    stamps = [anchor["monotonic_ns"] for anchor in anchors.all]
    assert stamps == sorted(stamps) and len(stamps) > MOST_ANCHORS // 4
    assert stamps[-1] - stamps[0] > 29 * 86400 * 10**9

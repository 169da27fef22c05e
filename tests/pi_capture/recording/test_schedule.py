"""Recording at some hours of the day only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pi_capture.errors import UsageError
from pi_capture.recording.schedule import Schedule
from storage import open_recording
from storage.sessions import read_sessions
from tests.faults.fault_camera import install
from tests.pi_capture.recording.test_retry import code_of
from tests.support import REPOSITORY


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-29T{clock}")


@pytest.mark.parametrize(
    ("texts", "open_at", "closed_at"),
    [
        ((), ["00:00", "12:00"], []),
        (("08:00-18:00",), ["08:00", "17:59:59"], ["07:59:59", "18:00", "00:00"]),
        (("22:00-06:30",), ["22:00", "23:59:59", "00:00", "06:29"], ["06:30", "21:59"]),
        (("08:00-09:00", "20:15-24:00"), ["08:30", "20:15", "23:59"], ["09:00", "00:00"]),
        (("08:00-09:00,10:00-11:00",), ["08:30", "10:30"], ["09:30"]),
    ],
)
def test_hours(texts: tuple[str, ...], open_at: list[str], closed_at: list[str]) -> None:
    schedule = Schedule.parse(texts)
    assert all(schedule.is_open(at(clock)) for clock in open_at)
    assert not any(schedule.is_open(at(clock)) for clock in closed_at)


@pytest.mark.parametrize("wrong", ["8-18", "08:00-25:00", "08:60-09:00", "24:00-06:00", "08:00-08:00", "", "08:00"])
def test_nonsense(wrong: str) -> None:
    with pytest.raises(UsageError, match="08:00-18:00"):
        Schedule.parse([wrong])


def test_on_the_command_line_nonsense_is_wrong_usage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pi_capture", str(tmp_path / "day1"), "1", "--camera", "demo", "--between", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_camera_is_free_outside_and_opened_again_inside(tmp_path: Path) -> None:
    """In a time zone made up for it the recorder asks a little before noon first; the hours are from noon on."""
    day = tmp_path / "day1"
    arguments = [str(day), "1", "--camera", "fault:steady", "--size", "source", "--between", "12:00-13:00"]
    program = """
import os, time
from pi_capture.recording.schedule import Schedule
is_open = Schedule.is_open
def first_look(schedule):
    seconds = round(12 * 3600 - 3 - time.time()) % 86400
    os.environ["TZ"] = f"TST-{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    time.tzset()
    print(os.environ["TZ"])
    Schedule.is_open = is_open
    return is_open(schedule)
Schedule.is_open = first_look
"""
    done = subprocess.run(
        [sys.executable, "-c", code_of(arguments, program)],
        capture_output=True, text=True, check=False, cwd=REPOSITORY, env=install(tmp_path / "site"), timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "waiting for the hours 12:00-13:00; the camera is free until then"
    (session,) = read_sessions(day)
    os.environ["TZ"] = done.stdout.strip()
    time.tzset()
    try:
        wall_ns = open_recording(day)[0].timestamp_ns + session["wall_minus_monotonic_ns"]
        begun = datetime.fromtimestamp(wall_ns / 1e9)
    finally:
        del os.environ["TZ"]
        time.tzset()
    assert timedelta(0) <= begun - begun.replace(hour=12, minute=0, second=0, microsecond=0) < timedelta(hours=1)

"""USB cameras, as far as it goes without one: what is chosen, how losses are counted, what a person is told.

`tests/cameras` records from the kernel's own drivers.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from pi_capture.errors import CameraError
from pi_capture.sources import open_source
from pi_capture.sources.v4l2 import ioctl as v4l2
from pi_capture.sources.v4l2.modes import Mode, choose_interval, choose_mode
from pi_capture.sources.v4l2.source import LossCounter

YUYV, MJPG, GREY = (v4l2.fourcc(name) for name in ("YUYV", "MJPG", "GREY"))


def at(*rates: int) -> tuple[Fraction, ...]:
    return tuple(Fraction(1, rate) for rate in rates)


WEBCAM = [
    Mode(MJPG, (640, 480), at(30, 15)),
    Mode(MJPG, (1280, 720), at(30)),
    Mode(MJPG, (1920, 1080), (Fraction(333333, 10_000_000),)),
    Mode(MJPG, (160, 120), at(60, 30)),
    Mode(YUYV, (160, 120), at(30, 15)),
    Mode(YUYV, (176, 144), at(30)),
    Mode(YUYV, (640, 480), at(30, 15)),
    Mode(YUYV, (1280, 720), at(10)),
    Mode(YUYV, (1920, 1080), at(5)),
]


@pytest.mark.parametrize(
    ("size", "fps", "chosen"),
    [
        ((128, 128), None, (YUYV, (176, 144))),  # 160x120 doesn't cover it
        ((160, 120), None, (YUYV, (160, 120))),
        ((160, 120), 60.0, (MJPG, (160, 120))),  # only JPEG is fast enough
        ((640, 480), None, (YUYV, (640, 480))),
        ((641, 480), None, (MJPG, (1280, 720))),
        ((1280, 720), 10.0, (YUYV, (1280, 720))),
        ((1280, 720), None, (MJPG, (1280, 720))),
        (None, None, (MJPG, (1920, 1080))),  # 30.00003 is 30
        (None, 5.0, (YUYV, (1920, 1080))),
        (None, 60.0, (MJPG, (160, 120))),
        ((4000, 3000), None, (MJPG, (1920, 1080))),  # nothing covers it
    ],
)
def test_the_mode_chosen(size: tuple[int, int] | None, fps: float | None, chosen: tuple[int, tuple[int, int]]) -> None:
    for modes in (WEBCAM, WEBCAM[::-1]):
        mode = choose_mode(modes, size, fps)
        assert (mode.pixel_format, mode.size) == chosen


def test_a_camera_that_tells_no_rates_is_believed_to_reach_any() -> None:
    modes = [Mode(GREY, (640, 480), ()), Mode(YUYV, (640, 480), ()), Mode(YUYV, (1280, 960), ())]
    assert choose_mode(modes, (320, 240), 90.0) == modes[1]
    assert choose_mode(modes, None, None) == modes[2]


@pytest.mark.parametrize(
    ("intervals", "fps", "chosen"),
    [
        (at(60, 30, 15), None, Fraction(1, 30)),
        (at(60, 50), None, Fraction(1, 50)),
        (at(25, 15), None, Fraction(1, 25)),
        (at(60, 30, 20, 10), 15.0, Fraction(1, 20)),
        (at(60, 30), 90.0, Fraction(1, 60)),
        ((Fraction(1001, 30000), Fraction(1, 15)), 30.0, Fraction(1001, 30000)),
        ((), 12.5, Fraction(2, 25)),
        ((), None, Fraction(0)),
    ],
)
def test_the_rate_chosen(intervals: tuple[Fraction, ...], fps: float | None, chosen: Fraction) -> None:
    assert choose_interval(intervals, fps) == chosen


def count(sequences: list[int | None]) -> list[int]:
    """Losses told with each whole frame; None stands for a torn one."""
    counter, told = LossCounter(), []
    for sequence in sequences:
        if sequence is None:
            counter.torn()
        else:
            told.append(counter.lost_before(sequence))
    return told


def test_losses_are_counted_by_the_drivers_numbers() -> None:
    assert count([7, 8, 9, 12, 13]) == [0, 0, 0, 2, 0]
    assert count([None, 1, 2]) == [0, 0]  # before the first, nothing was lost
    assert count([4, None, 6]) == [0, 1]  # the torn one had number 5
    assert count([4, None, 9]) == [0, 4]
    assert count([0xFFFFFFFE, 0xFFFFFFFF, 0, 3]) == [0, 0, 0, 2]  # the number wraps
    assert count([0xFFFFFFFE, 1]) == [0, 2]
    assert count([100, 0, 1]) == [0, 0, 0]  # the driver began anew
    assert count([0, 0, None, None, 0]) == [0, 0, 2]  # a driver that doesn't count


def test_the_kernels_layouts() -> None:
    """The sizes are part of the ioctl numbers, so the kernel refuses a wrong one; the offsets it can't check."""
    assert ctypes.sizeof(v4l2.Buffer) == 88
    assert (v4l2.Buffer.timestamp.offset, v4l2.Buffer.sequence.offset, v4l2.Buffer.m.offset) == (24, 56, 64)
    assert v4l2.Format.fmt.offset == 8
    assert (v4l2.VIDIOC_QUERYCAP, v4l2.VIDIOC_S_FMT, v4l2.VIDIOC_DQBUF) == (0x80685600, 0xC0D05605, 0xC0585611)
    assert (v4l2.VIDIOC_S_PARM, v4l2.VIDIOC_ENUM_FRAMEINTERVALS) == (0xC0CC5616, 0xC034564B)
    assert v4l2.fourcc_name(YUYV) == "YUYV"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("/dev/video94", "/dev/video94: no such camera; --list-cameras shows those there are"),
        ("94", "/dev/video94: no such camera; --list-cameras shows those there are"),
        ("/dev/null", "/dev/null is not a camera; --list-cameras shows those there are"),
        (__file__, f"{__file__} is not a camera; --list-cameras shows those there are"),
    ],
)
def test_what_is_no_camera(address: str, told: str) -> None:
    with pytest.raises(CameraError) as error:
        open_source(f"v4l2:{address}")
    assert str(error.value) == told


def test_a_failed_opening_leaves_nothing_open() -> None:
    before = os.listdir("/proc/self/fd")
    for address in ("/dev/null", "/dev/video94", __file__):
        with pytest.raises(CameraError):
            open_source(f"v4l2:{address}")
    assert os.listdir("/proc/self/fd") == before


def test_on_the_command_line_it_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pi_capture", str(tmp_path / "day1"), "1", "--camera", "v4l2:/dev/video94"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "pi_capture: /dev/video94: no such camera; --list-cameras shows those there are\n"

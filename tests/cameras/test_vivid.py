"""The kernel's test camera: known colours in every pixel format, and faults on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pi_capture.errors import CameraError
from pi_capture.sources import open_source
from pi_capture.sources.v4l2 import ioctl as v4l2_ioctl
from pi_capture.sources.v4l2 import modes
from storage import open_recording
from tests.cameras.conftest import run_cli, start_cli, wait_for

pytestmark = pytest.mark.cameras

Control = Callable[..., None]
RED, GREEN, BLUE, WHITE = 7, 8, 9, 6  # vivid's test patterns
QUIET = {"osd_text_mode": 2}  # no text over the picture


def take(source: Any, count: int) -> list[Any]:
    return [frame for _, frame in zip(range(count), source, strict=False)]


@pytest.mark.parametrize("fourcc", ["YUYV", "UYVY", "NV12", "NV21", "YU12", "RGB3", "BGR3"])
def test_colours(vivid: Path, control: Control, monkeypatch: pytest.MonkeyPatch, fourcc: str) -> None:
    code = v4l2_ioctl.fourcc(fourcc)
    monkeypatch.setattr(modes, "PIXEL_FORMATS", {code: modes.PIXEL_FORMATS[code]})
    for pattern, colour in ((RED, (255, 0, 0)), (GREEN, (0, 255, 0)), (BLUE, (0, 0, 255)), (WHITE, (255, 255, 255))):
        control(test_pattern=pattern, **QUIET)
        for size in ((320, 180), (64, 64)):
            source = open_source(f"v4l2:{vivid}", size)
            frame = take(source, 2)[-1]
            source.close()
            assert source.info.details["pixel_format"] == fourcc
            assert frame.pixels.shape == (size[1], size[0], 3)
            assert frame.pixels[size[1] // 2, size[0] // 2].tolist() == pytest.approx(colour, abs=6)


def test_grey(vivid: Path, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    code = v4l2_ioctl.fourcc("GREY")
    monkeypatch.setattr(modes, "PIXEL_FORMATS", {code: "gray"})
    control(test_pattern=WHITE, **QUIET)
    source = open_source(f"v4l2:{vivid}", (64, 64))
    frame = take(source, 2)[-1]
    source.close()
    assert frame.pixels.shape == (64, 64, 3)
    assert frame.pixels[32, 32].min() > 230


def test_range_and_matrix_are_the_drivers(vivid: Path, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "PIXEL_FORMATS", {v4l2_ioctl.fourcc("YUYV"): "yuyv422"})
    for colorspace in (0, 1, 2):  # SMPTE 170M, Rec. 709, sRGB
        for quantization in (0, 1, 2):  # as usual, full, limited
            control(colorspace=colorspace, quantization=quantization, test_pattern=RED, **QUIET)
            source = open_source(f"v4l2:{vivid}", (320, 180))
            frame = take(source, 2)[-1]
            source.close()
            assert frame.pixels[90, 160].tolist() == pytest.approx([255, 0, 0], abs=6), (colorspace, quantization)


def test_dropped_buffers_are_counted(vivid: Path, control: Control, tmp_path: Path) -> None:
    control(percentage_of_dropped_buffers=25)
    done = run_cli(tmp_path / "day1", 4, "--camera", f"v4l2:{vivid}", "--json")
    assert done.returncode == 0, done.stderr
    summary, frames = json.loads(done.stdout), list(open_recording(tmp_path / "day1"))
    print(done.stderr.strip())
    counted = sum(frame.metadata.get("dropped_camera", 0) for frame in frames)
    assert counted == summary["dropped_camera"] > 5
    # What was taken, counted and left in the queue makes up the time that passed.
    passed = (frames[-1].timestamp_ns - frames[0].timestamp_ns) * 30 / 1e9
    assert len(frames) - 1 + counted + summary["dropped_queue"] == pytest.approx(passed, abs=2)


def test_a_frame_with_an_error_is_counted_and_not_kept(vivid: Path, control: Control) -> None:
    source = open_source(f"v4l2:{vivid}", (320, 180))
    frames = iter(source)
    next(frames)
    control(inject_v4l2_buf_flag_error=1)
    lost = sum(next(frames).metadata.get("dropped_camera", 0) for _ in range(30))
    source.close()
    assert lost >= 1


def test_numbers_and_timestamps_that_wrap(vivid: Path, control: Control) -> None:
    control(wrap_sequence_number=1, wrap_timestamp=2)
    before = time.monotonic_ns()
    source = open_source(f"v4l2:{vivid}", (320, 180))
    frames = take(source, 150)  # vivid wraps after 128
    source.close()
    assert all(b.timestamp_ns > a.timestamp_ns for a, b in pairwise(frames))
    assert before < frames[0].timestamp_ns < frames[-1].timestamp_ns < time.monotonic_ns()
    lost = sum(frame.metadata.get("dropped_camera", 0) for frame in frames)
    print(f"{lost} lost in 150")
    assert lost < 75


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("inject_fatal_streaming_error", "{} stopped with an input error; unplug it and plug it in again"),
        ("disconnect", "{} was unplugged"),
    ],
)
def test_a_fatal_error_ends_in_one_line(vivid: Path, control: Control, tmp_path: Path, fault: str, told: str) -> None:
    day = tmp_path / "day1"
    recorder = start_cli(day, -1, "--camera", f"v4l2:{vivid}", "--json")
    wait_for(lambda: len(list(day.glob("*.png"))) >= 10, "ten frames")
    control(**{fault: 1})
    out, err = recorder.communicate(timeout=60)
    print(err.strip())
    assert recorder.returncode == 1
    assert err.splitlines()[-1] == "pi_capture: " + told.format(vivid)
    assert "Traceback" not in err
    assert json.loads(out)["frames"] == len(list(open_recording(day))) >= 10


@pytest.mark.parametrize("fault", ["inject_vidioc_reqbufs_error", "inject_vidioc_streamon_error"])
def test_a_driver_that_refuses_ends_in_one_line(vivid: Path, control: Control, fault: str) -> None:
    control(**{fault: 1})
    with pytest.raises(CameraError, match=f"^{vivid}: "):
        take(open_source(f"v4l2:{vivid}", (320, 180)), 1)

"""The real picamera2 and libcamera, on libcamera's virtual cameras.

They deliver NV12 only and have no exposure controls; what a Pi's sensor and image processor add is in
`tests/pi_capture/sources/picamera2/test_source.py`, whose stand-in is held against the real class here.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pi_capture.errors import CameraError
from pi_capture.sources import open_source
from storage import open_recording
from tests.cameras.conftest import FPS, REPOSITORY
from tests.cameras.rig import numbered, virtual_cameras
from tests.pi_capture.sources.picamera2 import test_source as stand_in

pytestmark = pytest.mark.cameras

RUN = f"""
import sys
from tests.cameras.rig import virtual_cameras
virtual_cameras.install({FPS})
from pi_capture.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=120)


def assert_losses_are_told(frames: list[Any]) -> None:
    """Exactly, wherever the timestamps leave no doubt.

    These cameras are dated by a thread of this machine, not by a sensor: when it is late and then catches up, a gap of
    one and a half frames may be counted as a loss that was none.
    """
    clear = 0
    for before, after in pairwise(frames):
        durations = (after.timestamp_ns - before.timestamp_ns) * FPS / 1e9
        if round(durations) >= 1 and abs(durations - round(durations)) < 0.25:
            clear += 1
            told = after.metadata.get("dropped_camera", 0) + after.metadata.get("dropped_queue", 0)
            assert told == round(durations) - 1
    assert clear > len(frames) // 2


def test_everything_the_stand_in_answers_to_is_in_the_real_class(virtual: None) -> None:
    from picamera2 import Picamera2
    from picamera2.job import Job
    from picamera2.request import CompletedRequest

    for ours, real in (
        (stand_in.Picamera2, Picamera2),
        (stand_in.Request, CompletedRequest),
        (stand_in.Job, Job),
    ):
        for name, function in inspect.getmembers(ours, inspect.isfunction):
            if name.startswith("_") and name != "__init__":
                continue
            if name == "__init__" and real is not Picamera2:
                continue
            wanted = inspect.signature(function).parameters
            offered = inspect.signature(inspect.getattr_static(real, name).__get__(None, real)).parameters
            assert set(wanted) <= set(offered), f"{real.__name__}.{name}"
    for name in ("camera_properties", "camera_controls", "sensor_modes"):
        assert isinstance(inspect.getattr_static(Picamera2, name), property)


def test_the_numbers_of_libcameras_enums() -> None:
    from libcamera import controls

    from pi_capture.sources.picamera2 import source

    modes, states = controls.AfModeEnum, controls.AfStateEnum
    assert (modes.Manual, modes.Auto, modes.Continuous) == (source.AF_MANUAL, source.AF_AUTO, source.AF_CONTINUOUS)
    assert controls.AfTriggerEnum.Start == source.AF_START
    assert (states.Focused, states.Failed) == (source.AF_FOCUSED, source.AF_FAILED)
    assert controls.HdrModeEnum.SingleExposure == source.HDR_SINGLE_EXPOSURE


def test_bgr888_is_red_green_blue_in_memory(virtual: None) -> None:
    """Byte by byte as picamera2 hands it out, which calls it RGB when it writes a picture."""
    from picamera2.request import Helpers

    memory = np.arange(2 * 2 * 3, dtype=np.uint8)
    config = {"format": "BGR888", "size": (2, 2), "stride": 6}
    helpers = Helpers(None)
    np.testing.assert_array_equal(helpers.make_array(memory, config), memory.reshape(2, 2, 3))
    image = helpers.make_image(memory, config)
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (0, 1, 2)


def test_the_list(virtual: None) -> None:
    done = run_cli("--list-cameras")
    assert sorted(done.stdout.split()) == ["imx708", "ov5647", "picamera2:0", "picamera2:1"]
    assert done.returncode == 0


@pytest.mark.parametrize("size", [(640, 480), (128, 128), (127, 95), None])
def test_colours(spec_of: Callable[[str], str], size: tuple[int, int] | None) -> None:
    source = open_source(spec_of("ov5647"), size)
    frame = next(iter(source))
    source.close()
    width, height = size or (640, 480)
    assert source.info.size == (width, height)
    assert frame.pixels.shape == (height, width, 3)
    assert frame.pixels.flags.c_contiguous
    left, right = frame.pixels[height // 2, width // 4], frame.pixels[height // 2, 3 * width // 4]
    assert left[0] > 200 and left[1:].max() < 40
    assert right[2] > 180 and right[:2].max() < 60


def test_a_hundred_frames_in_order(spec_of: Callable[[str], str]) -> None:
    source = open_source(spec_of("imx708"), (640, 480))
    before = time.monotonic_ns()
    frames = [frame for _, frame in zip(range(100), source, strict=False)]
    after = time.monotonic_ns()
    source.close()
    shown = [numbered.number_of(frame.pixels[..., 1]) for frame in frames]
    apart = [(b.timestamp_ns - a.timestamp_ns) / 1e6 for a, b in pairwise(frames)]
    lost = sum(frame.metadata.get("dropped_camera", 0) for frame in frames)
    print(f"ms apart: median {np.median(apart):.2f}, most {max(apart):.2f}; {lost} lost; {source.info}")

    assert [frame.index for frame in frames] == list(range(100))
    assert before - 1e9 < frames[0].timestamp_ns < frames[-1].timestamp_ns < after
    assert min(apart) > 0
    assert np.median(apart) == pytest.approx(1000 / FPS, abs=5)
    assert source.info.fps == FPS
    # Each picture is shown four times; the pictures come in order.
    assert {(b - a) % 12 for a, b in pairwise(shown)} <= {0, 1, 2}
    assert len(set(shown)) == 12


def test_a_slow_consumers_losses_are_counted(spec_of: Callable[[str], str]) -> None:
    source = open_source(spec_of("imx708"), (64, 64))
    frames, counted = iter(source), 0
    first = last = next(frames)
    for index in range(60):
        last = next(frames)
        counted += last.metadata.get("dropped_camera", 0)
        if index % 10 == 5:
            time.sleep(0.3)
    source.close()
    passed = round((last.timestamp_ns - first.timestamp_ns) * FPS / 1e9)
    assert counted > 10
    assert 60 + counted >= passed - 1  # nothing was lost untold


def test_a_recording(spec_of: Callable[[str], str], tmp_path: Path) -> None:
    done = run_cli(tmp_path / "day1", 3, "--camera", spec_of("imx708"), "--size", "640x480", "--no-jitter", "--json")
    print(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    summary, frames = json.loads(done.stdout), list(open_recording(tmp_path / "day1"))
    assert summary["frames"] == len(frames)
    assert_losses_are_told(frames)
    lost = summary["dropped_camera"] + summary["dropped_queue"]
    assert len(frames) + lost >= 3 * FPS - 2
    shown = [numbered.number_of(frame.pixels[..., 1]) for frame in frames]
    assert len(set(shown)) == 12
    assert "imx708" in (tmp_path / "day1/recording.json").read_text()


def test_without_exposure_controls_there_is_no_jitter(spec_of: Callable[[str], str], tmp_path: Path) -> None:
    source = open_source(spec_of("ov5647"), (64, 64))
    next(iter(source))
    assert source.lock_exposure() == {}
    source.set_controls({"AnalogueGain": 2.0})
    assert next(iter(source)).pixels.any()
    source.close()


def test_a_camera_that_stops_delivering_ends_in_one_line(spec_of: Callable[[str], str]) -> None:
    spec = spec_of("imx708")
    source = open_source(spec, (128, 128))
    frames = iter(source)
    next(frames)
    for clock in virtual_cameras.clocks.values():
        clock.stop()
    with pytest.raises(CameraError) as error:
        for _ in range(20):
            next(frames)
    assert str(error.value) == f"{spec} delivered no picture for 5 s; check the camera's cable"
    again = open_source(spec, (128, 128))  # it was given back
    assert next(iter(again)).pixels.any()
    again.close()


def test_a_busy_camera(spec_of: Callable[[str], str]) -> None:
    spec = spec_of("imx708")
    source = open_source(spec, (128, 128))
    with pytest.raises(CameraError, match="is in use by another program"):
        open_source(spec)
    assert next(iter(source)).pixels.any()
    source.close()


def test_a_number_that_is_not_there(virtual: None) -> None:
    done = run_cli("/tmp/never", 1, "--camera", "picamera2:7")
    assert done.returncode == 1
    assert done.stderr == "pi_capture: there is no Raspberry Pi camera 7; this machine has 2, counted from 0\n"


def test_closing_from_another_thread_ends_the_wait(spec_of: Callable[[str], str]) -> None:
    source = open_source(spec_of("imx708"), (128, 128))
    threading.Timer(0.5, source.close).start()
    assert 0 < len(list(source)) < 2 * FPS
    source.close()


def test_two_cameras_at_once(virtual: None) -> None:
    first, second = open_source("picamera2:0", (64, 64)), open_source("picamera2:1", (64, 64))
    for _, _, _ in zip(range(10), first, second, strict=False):
        pass
    first.close()
    assert next(iter(second)).index == 10
    second.close()

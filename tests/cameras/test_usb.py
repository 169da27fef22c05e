"""A USB camera, the kernel's uvcvideo driver and our recorder, end to end. Each frame shows its number."""

from __future__ import annotations

import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pi_capture.errors import CameraError
from pi_capture.sources import open_source
from storage import open_recording
from storage.frame import Frame
from tests.cameras.conftest import run_cli, start_cli, wait_for
from tests.cameras.rig import numbered
from tests.cameras.rig.usb_camera import UsbCamera

pytestmark = pytest.mark.cameras

Plug = Callable[..., UsbCamera]


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [numbered.number_of(frame.pixels[..., 1]) for frame in frames]


def assert_every_frame_is_there_or_counted(frames: Sequence[Frame], modulo: int) -> int:
    """Returns how many were counted as lost by the camera."""
    lost = [frame.metadata.get("dropped_camera", 0) for frame in frames]
    queued = [frame.metadata.get("dropped_queue", 0) for frame in frames]
    steps = [(after - before) % modulo for before, after in pairwise(numbers(frames))]
    assert steps == [1 + camera + queue for camera, queue in zip(lost[1:], queued[1:], strict=True)]
    assert all(after.timestamp_ns > before.timestamp_ns for before, after in pairwise(frames))
    return sum(lost)


@pytest.mark.parametrize(("pixel_format", "modulo"), [("MJPG", 256), ("YUYV", 65536)])
def test_a_recording_holds_every_frame_in_order(plug_in: Plug, tmp_path: Path, pixel_format: str, modulo: int) -> None:
    camera = plug_in(jpeg_only=pixel_format == "MJPG")
    done = run_cli(tmp_path / "day1", 3, "--camera", f"v4l2:{camera.path}", "--size", "320x240", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    recording = open_recording(tmp_path / "day1")
    frames = list(recording)
    print(pixel_format, done.stderr.strip(), numbers(frames)[:10])

    assert summary["frames"] == len(frames) > 20
    assert assert_every_frame_is_there_or_counted(frames, modulo) == summary["dropped_camera"]
    facts = json.loads((tmp_path / "day1/recording.json").read_text())
    assert pixel_format in json.dumps(facts)
    assert "Soft UVC camera" in json.dumps(facts)


def test_the_kernel_dates_the_frames(plug_in: Plug) -> None:
    camera = plug_in(jpeg_only=True)
    before = time.monotonic_ns()
    source = open_source(f"v4l2:{camera.path}", (320, 240))
    frames = [frame for _, frame in zip(range(60), source, strict=False)]
    source.close()
    assert before < frames[0].timestamp_ns < frames[-1].timestamp_ns < time.monotonic_ns()
    apart = [(b.timestamp_ns - a.timestamp_ns) / 1e6 for a, b in pairwise(frames)]
    print(f"ms apart: median {statistics.median(apart):.2f}, least {min(apart):.2f}, most {max(apart):.2f}")
    assert 25 < statistics.median(apart) < 50
    assert source.info.fps == pytest.approx(30, abs=0.01)


def test_rate_and_size(plug_in: Plug) -> None:
    camera = plug_in()
    for size, fps, captured, rate in (
        ((128, 128), None, [320, 240], 30),
        ((640, 100), 10.0, [640, 360], 10),
        ((641, 100), 15.0, [1280, 720], 20),
        (None, None, [1280, 720], 30),
    ):
        source = open_source(f"v4l2:{camera.path}", size, fps)
        frame = next(iter(source))
        source.close()
        assert source.info.details["captured_size"] == captured
        assert source.info.fps == pytest.approx(rate, abs=0.01)
        assert frame.pixels.shape == (*(size or (1280, 720))[::-1], 3)
        assert source.info.size == (size or (1280, 720))


def test_torn_pictures_are_counted_and_never_kept(plug_in: Plug, tmp_path: Path) -> None:
    camera = plug_in(jpeg_only=True, torn_every=5)
    done = run_cli(tmp_path / "day1", 3, "--camera", f"v4l2:{camera.path}", "--size", "320x240", "--json")
    assert done.returncode == 0, done.stderr
    frames = list(open_recording(tmp_path / "day1"))
    assert assert_every_frame_is_there_or_counted(frames, 256) >= len(frames) // 5
    assert not [number for number in numbers(frames) if number % 5 == 0]
    print(done.stderr.strip())


def test_torn_pictures_only_end_in_one_line(plug_in: Plug, tmp_path: Path) -> None:
    camera = plug_in(jpeg_only=True, torn_every=1)
    done = run_cli(tmp_path / "day1", 3, "--camera", f"v4l2:{camera.path}")
    assert done.returncode == 1
    assert done.stderr == f"pi_capture: {camera.path} delivers torn pictures only; try another cable or USB port\n"


def test_unplugged_while_recording_and_plugged_in_again(plug_in: Plug, tmp_path: Path) -> None:
    camera, day = plug_in(), tmp_path / "day1"
    recorder = start_cli(day, -1, "--camera", f"v4l2:{camera.path}", "--size", "320x240", "--json")
    wait_for(lambda: len(list(day.glob("*.png"))) >= 10, "ten frames")
    path = camera.path
    camera.unplug()
    out, told = recorder.communicate(timeout=60)
    print(told.strip())

    assert recorder.returncode == 1
    assert told.splitlines()[-1] == f"pi_capture: {path} was unplugged"
    assert "Traceback" not in told
    frames = list(open_recording(day))
    assert json.loads(out)["frames"] == len(frames) >= 10
    assert_every_frame_is_there_or_counted(frames, 65536)

    wait_for(lambda: not os.path.exists(path), "the node to vanish")
    camera.plug()
    again = run_cli(day, 1, "--camera", f"v4l2:{camera.path}", "--size", "320x240", "--json")
    assert again.returncode == 0, again.stderr
    assert len(list(day.glob("*.png"))) == len(frames) + json.loads(again.stdout)["frames"]


def test_unplugged_and_plugged_in_again_ten_times_under_retry(plug_in: Plug, tmp_path: Path) -> None:
    camera, day = plug_in(jpeg_only=True), tmp_path / "day1"
    path = camera.path
    recorder = start_cli(day, -1, "--camera", f"v4l2:{path}", "--size", "320x240", "--json", "--retry")
    stored = 0
    for _ in range(10):
        wait_for(lambda: len(list(day.glob("*.png"))) >= stored + 40, "forty more frames")  # noqa: B023 (at once)
        camera.unplug()
        wait_for(lambda: not os.path.exists(path), "the node to vanish")
        stored = len(list(day.glob("*.png")))
        camera.plug()
        assert camera.path == path
    wait_for(lambda: len(list(day.glob("*.png"))) >= stored + 40, "the last frames")
    recorder.send_signal(signal.SIGTERM)
    out, told = recorder.communicate(timeout=60)
    print(told.strip())

    assert recorder.returncode == 0 and "Traceback" not in told
    summary = json.loads(out)
    frames = list(open_recording(day))
    gaps = [number for number, frame in enumerate(frames) if "gap" in frame.metadata]
    assert len(gaps) == summary["reopened"] == 10
    assert summary["captured"] == summary["frames"] + summary["dropped_queue"] and summary["frames"] == len(frames)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    for first, after in pairwise([0, *gaps, len(frames)]):
        # While it is plugged, the emulated bus swaps packets: whether each loss is counted, the tests above tell.
        stretch = frames[first:after]
        assert len(stretch) >= 10 and len(set(numbers(stretch))) == len(stretch) < 256
        assert all(after.timestamp_ns > before.timestamp_ns for before, after in pairwise(stretch))
    for number in gaps:
        gap_ns = frames[number].timestamp_ns - frames[number - 1].timestamp_ns
        assert frames[number].metadata["gap_ns"] == gap_ns > 0
        print(f"gap before frame {number}: {gap_ns / 1e9:.2f} s")


def test_a_camera_that_falls_silent_ends_in_one_line(plug_in: Plug) -> None:
    camera = plug_in()
    source = open_source(f"v4l2:{camera.path}", (320, 240))
    frames = iter(source)
    next(frames)
    camera.stalled = True
    with pytest.raises(CameraError) as error:
        for _ in range(30):
            next(frames)
    source.close()
    assert str(error.value) == f"{camera.path} delivered no picture for 5 s; unplug it and plug it in again"


def test_a_busy_camera(plug_in: Plug, tmp_path: Path) -> None:
    camera = plug_in()
    source = open_source(f"v4l2:{camera.path}", (320, 240))
    next(iter(source))
    done = run_cli(tmp_path / "day1", 1, "--camera", f"v4l2:{camera.path}")
    frame = next(iter(source))
    source.close()
    assert frame.pixels.any()
    assert done.returncode == 1
    assert done.stderr == f"pi_capture: {camera.path} is in use by another program; close that one first\n"


def test_no_permission(plug_in: Plug) -> None:
    camera = plug_in()
    os.chmod(camera.path, 0o600)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    with TemporaryDirectory(dir="/tmp") as day:
        os.chmod(day, 0o777)
        done = run_cli(day, 1, "--camera", f"v4l2:{camera.path}", **nobody)
    assert done.returncode == 1
    assert done.stderr.startswith(f"pi_capture: no permission to open {camera.path}: run 'sudo usermod -aG video")
    listed = run_cli("--list-cameras", **nobody)
    assert listed.stdout.startswith(f"v4l2:{camera.path}\t")


def test_the_list_shows_cameras_and_no_other_nodes(plug_in: Plug) -> None:
    camera = plug_in()
    nodes = sorted(Path("/dev").glob("video*"))
    assert len(nodes) == 2  # pictures, and the camera's own data about them
    done = run_cli("--list-cameras")
    assert done.stdout == f"v4l2:{camera.path}\tSoft UVC camera\n"
    other = next(node for node in nodes if str(node) != camera.path)
    with pytest.raises(CameraError, match="is a video device but delivers no pictures"):
        open_source(f"v4l2:{other}")
    source = open_source("auto")
    assert source.info.camera == f"v4l2:{camera.path}"
    source.close()


def test_closing_from_another_thread_ends_the_wait(plug_in: Plug) -> None:
    camera = plug_in()
    before = len(os.listdir("/proc/self/fd"))
    source = open_source(f"v4l2:{camera.path}", (320, 240))
    camera.stalled = True
    threading.Timer(0.5, source.close).start()
    assert list(source) == []
    source.close()
    camera.stalled = False
    wait_for(lambda: len(os.listdir("/proc/self/fd")) == before, "everything to be closed", 5)
    again = open_source(f"v4l2:{camera.path}", (320, 240))
    assert next(iter(again)).pixels.any()
    again.close()

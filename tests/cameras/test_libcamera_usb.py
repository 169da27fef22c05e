"""picamera2 on a USB camera, through libcamera's own UVC pipeline: JPEG pictures, and a cable that is pulled.

It needs a device manager and changes how the machine sees its USB controller, so it has a process and a throw-away
machine to itself.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pi_capture.errors import CameraError
from pi_capture.sources import list_cameras, open_source
from pi_capture.sources.picamera2.source import USB_ID

pytestmark = pytest.mark.cameras


@pytest.fixture(scope="module")
def camera() -> Iterator[Any]:
    os.environ.update(USB_CAMERA_VHCI="/run/vhci", SYSTEMD_DEVICE_VERIFY_SYSFS="0")
    rig: Any = pytest.importorskip("usb_camera", reason="run by scripts/camera_tests.sh")
    virtual: Any = pytest.importorskip("picam2_virtual")
    subprocess.run(["/usr/lib/systemd/systemd-udevd", "--daemon"], check=True)
    subprocess.run(["udevadm", "trigger"], check=True)
    subprocess.run(["udevadm", "settle"], check=True)
    rig.load_modules()
    subprocess.run(["sh", Path(rig.__file__).with_name("firmware_node.sh")], check=True)
    with rig.UsbCameraProcess() as plugged:  # its own process: libcamera keeps the interpreter while it talks to it
        subprocess.run(["udevadm", "settle"], check=True)
        found = virtual.install().global_camera_info()
        plugged.spec = next(f"picamera2:{n}" for n, camera in enumerate(found) if USB_ID.search(camera["Id"]))
        plugged.number_of = rig.frame_number
        yield plugged


def test_it_is_listed_once_by_v4l2(camera: Any) -> None:
    listed = [found.spec for found in list_cameras() if "UVC" in found.model]
    assert listed == [f"v4l2:{camera.path}"]


@pytest.mark.parametrize("size", [(640, 360), (600, 350), None])
def test_jpeg_pictures(camera: Any, size: tuple[int, int] | None) -> None:
    source = open_source(camera.spec, size)
    frames = [frame for _, frame in zip(range(20), source, strict=False)]
    source.close()
    print(source.info)
    assert source.info.details["pixel_format"] == "MJPEG"
    assert source.info.fps is None
    width, height = size or source.info.size
    assert {frame.pixels.shape for frame in frames} == {(height, width, 3)}
    assert all(b.timestamp_ns > a.timestamp_ns for a, b in pairwise(frames))
    if size != (600, 350):  # nothing was cut off the number
        shown = [camera.number_of(frame.pixels[..., 1]) for frame in frames]
        apart = [round((b.timestamp_ns - a.timestamp_ns) / 1e6) for a, b in pairwise(frames)]
        print("shown", shown, "ms apart", apart)
        steps = [(b - a) % 256 for a, b in pairwise(shown)]
        # None twice. A slow machine loses some, but no more than went by at 30 a second; the camera catches up in
        # bursts of up to 0.2 s, and libcamera doesn't say how many they were.
        assert all(0 < step <= ms * 30 / 1000 + 7 for step, ms in zip(steps, apart, strict=True)), (shown, apart)


def test_unplugged(camera: Any) -> None:
    source = open_source(camera.spec, (128, 128))
    frames = iter(source)
    next(frames)
    camera.unplug()
    with pytest.raises(CameraError, match=re.escape(f"{camera.spec} delivered no picture for 5 s")):
        for _ in range(100):
            next(frames)

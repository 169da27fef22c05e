"""picamera2 on a USB camera, through libcamera's own UVC pipeline: JPEG pictures, and a cable that is pulled.

It needs a device manager and changes how the machine sees its USB controller, so it has a process and a throw-away
machine to itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from pi_capture.errors import CameraError
from pi_capture.sources import list_cameras, open_source
from pi_capture.sources.picamera2.source import REQUESTS_AHEAD, USB_ID
from tests.cameras.rig import numbered, usb_camera, virtual_cameras

pytestmark = pytest.mark.cameras


@dataclass(frozen=True)
class Camera:
    path: str
    spec: str
    unplug: Callable[[], None]


@pytest.fixture(scope="module")
def camera() -> Iterator[Camera]:
    usb_camera.load_modules()
    subprocess.run(["/usr/lib/systemd/systemd-udevd", "--daemon"], check=True)
    subprocess.run(["udevadm", "trigger"], check=True)
    subprocess.run(["udevadm", "settle"], check=True)
    plugged = usb_camera.UsbCameraProcess(usb_camera.name_controller())
    subprocess.run(["udevadm", "settle"], check=True)
    virtual_cameras.install()
    from picamera2 import Picamera2

    found = Picamera2.global_camera_info()
    spec = next(f"picamera2:{number}" for number, camera in enumerate(found) if USB_ID.search(camera["Id"]))
    yield Camera(plugged.path, spec, plugged.unplug)
    plugged.unplug()


def test_it_is_listed_once_by_v4l2(camera: Camera) -> None:
    listed = [found.spec for found in list_cameras() if "UVC" in found.model]
    assert listed == [f"v4l2:{camera.path}"]


@pytest.mark.parametrize("size", [(640, 360), (600, 350), None])
def test_jpeg_pictures(camera: Camera, size: tuple[int, int] | None) -> None:
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
        shown = [numbered.number_of(frame.pixels[..., 1]) for frame in frames]
        apart = [round((b.timestamp_ns - a.timestamp_ns) / 1e6) for a, b in pairwise(frames)]
        print("shown", shown, "ms apart", apart)
        steps = [(b - a) % 256 for a, b in pairwise(shown)]
        # None twice. A slow machine loses some, but no more than went by at 30 a second; the camera catches up in
        # bursts of up to 0.2 s, and libcamera doesn't say how many they were.
        assert all(0 < step <= ms * 30 / 1000 + 7 for step, ms in zip(steps, apart, strict=True)), (shown, apart)


def test_unplugged(camera: Camera) -> None:
    source = open_source(camera.spec, (128, 128))
    frames = iter(source)
    next(frames)
    camera.unplug()
    # If a frame was finished before, libcamera refuses its request, unless it has not noticed yet.
    ends = (
        "delivered no picture for 5 s; check the camera's cable",
        "stopped: Failed to queue request: No such device",
    )
    with pytest.raises(CameraError) as error:
        for _ in range(REQUESTS_AHEAD + 3):
            next(frames)
    assert str(error.value) in [f"{camera.spec} {end}" for end in ends]

"""The cameras that `scripts/camera_tests.sh` provides: rig/README.md says how."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pi_capture.sources import list_cameras
from tests.cameras.rig import numbered, usb_camera, virtual_cameras
from tests.support import REPOSITORY

FPS = 30  # of virtual cameras


@pytest.fixture(scope="session", autouse=True)
def _rig() -> None:
    """These tests load kernel modules and change libcamera's cameras: nowhere but in the rig."""
    if "CAMERA_RIG" not in os.environ:
        pytest.skip("run by scripts/camera_tests.sh")


def run_cli(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """``python -m pi_capture …``, to its end."""
    command = [sys.executable, "-m", "pi_capture", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=120, **options)


def start_cli(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pi_capture", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Camera "imx708" shows the numbers 0 to 11, each for a few times, and "ov5647" red beside blue."""
    numbers, colours = tmp_path_factory.mktemp("numbers"), tmp_path_factory.mktemp("colours")
    for number in range(12):
        (numbers / f"{number}.jpg").write_bytes(numbered.jpeg(number, (640, 480)))
    halves = np.zeros((480, 640, 3), np.uint8)
    halves[:, :320, 0], halves[:, 320:, 2] = 220, 220
    out = io.BytesIO()
    Image.fromarray(halves).save(out, "JPEG", quality=95)
    (colours / "0.jpg").write_bytes(out.getvalue())

    cameras = {"imx708": (numbers, [(640, 480), (1280, 720)]), "ov5647": (colours, [(640, 480)])}
    with virtual_cameras.plugged_in(cameras):
        virtual_cameras.install(FPS)
        yield


@pytest.fixture
def spec_of(virtual: None) -> Callable[[str], str]:
    return lambda model: next(camera.spec for camera in list_cameras() if camera.model == model)


@pytest.fixture
def plug_in() -> Iterator[Callable[..., usb_camera.UsbCamera]]:
    """Plugs in a USB camera: ``plug_in(jpeg_only=True, torn_every=5)``."""
    usb_camera.load_modules()
    plugged = []

    def plug_one_in(**options: Any) -> usb_camera.UsbCamera:
        camera = usb_camera.UsbCamera(**options)
        camera.plug()
        plugged.append(camera)
        return camera

    yield plug_one_in
    for camera in plugged:
        camera.unplug()


@pytest.fixture
def vivid() -> Iterator[Path]:
    """The node of the kernel's test camera, freshly loaded: it injects faults and draws what it is told."""
    wait_for(lambda: subprocess.run(["modprobe", "-r", "vivid"], check=False).returncode == 0, "the last vivid to go")
    subprocess.run(["modprobe", "vivid", "n_devs=1", "node_types=0x1"], check=True)
    found: list[Path] = []

    def appeared() -> bool:
        names = Path("/sys/class/video4linux").glob("video*/name")
        found[:] = [Path("/dev") / name.parent.name for name in names if name.read_text().startswith("vivid")]
        return bool(found) and found[0].exists()

    wait_for(appeared, "vivid's node")
    yield found[0]
    subprocess.run(["modprobe", "-r", "vivid"], check=False)


@pytest.fixture
def control(vivid: Path) -> Callable[..., None]:
    """Sets vivid's controls: ``control(test_pattern=7)``."""

    def set_controls(**values: int) -> None:
        wanted = ",".join(f"{name}={value}" for name, value in values.items())
        subprocess.run(["v4l2-ctl", "-d", str(vivid), "-c", wanted], check=True, timeout=30)

    return set_controls

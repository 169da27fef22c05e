"""The cameras that `scripts/camera_tests.sh` provides.

A rig is a directory on the module path with ``usb_camera`` (a USB camera in software, bound by the kernel's uvcvideo
driver, which draws a number into each frame) and ``picam2_virtual`` (picamera2 on libcamera's virtual cameras).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


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


def tear(picture: bytes) -> bytes:
    """A JPEG whose end was lost on the way."""
    return picture[: len(picture) // 2]


@pytest.fixture
def usb_camera() -> Iterator[Callable[..., Any]]:
    """Plugs in a USB camera: ``usb_camera(only="MJPG", torn_every=5)``."""
    rig: Any = pytest.importorskip("usb_camera", reason="run by scripts/camera_tests.sh")
    rig.load_modules()
    plugged = []

    class Camera(rig.UsbCamera):
        torn_every = 0

        def _frame(self, subtype: int, size: tuple[int, int]) -> bytes:
            number, picture = self.sent, super()._frame(subtype, size)
            return tear(picture) if self.torn_every and number % self.torn_every == 0 else picture

    def plug_in(only: str | None = None, torn_every: int = 0) -> Any:
        camera = Camera()
        camera.torn_every = torn_every
        camera.number_of = rig.frame_number
        if only == "MJPG":  # name the other format something that nobody knows
            camera.cfg = camera.cfg.replace(b"YUY2", b"?UY2")
        camera.plug()
        plugged.append(camera)
        return camera

    yield plug_in
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

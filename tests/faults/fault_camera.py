"""Cameras with faults that no software can cause in a real one, installed like somebody else's distribution.

`install` writes one whose source ``fault:NAME`` delivers frames that tell their number (see `picture`), a hundred a
second, and has a fault: NAME is ``steady``, or what happens at every tenth frame: ``unplugged``, ``broken`` (an
exception nobody thought of), ``ends``; or at the tenth frame and for ever: ``silent`` (a wait that `close` ends),
``wedged`` (a call that nothing ends), ``frozen`` (one that keeps the interpreter's lock too); or what happens when it
is opened: ``late`` (it is not there the first three times). ``still`` never moves but for three tenths of each second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SOURCE = """
import ctypes, threading, time
from pathlib import Path
import numpy as np
from pi_capture.errors import CameraError
from pi_capture.sources import SourceInfo
from storage.frame import Frame

HERE = Path(__file__).parent
opened = delivered = 0


def open(address, size, fps):
    global opened
    opened += 1
    if address == "late" and opened <= 3:
        raise CameraError("fault:late is not plugged in")
    return Camera(address, fps or 100.0)


class Camera:
    def __init__(self, fault, fps):
        self.fault, self.fps, self.closed = fault, fps, threading.Event()
        self.info = SourceInfo(f"fault:{fault}", "a camera with a fault", (32, 24), fps, True)

    def __iter__(self):
        global delivered
        for n in range(10**9):
            if self.closed.wait(1 / self.fps):
                return
            if n == 10 and self.fault == "silent":
                self.closed.wait()
                return
            if n == 10 and self.fault == "wedged":
                while True:
                    time.sleep(1)
            if n == 10 and self.fault == "frozen":
                ctypes.PyDLL(None).sleep(1000)
            if n == 10 and self.fault == "unplugged":
                raise CameraError("fault:unplugged was unplugged")
            if n == 10 and self.fault == "broken":
                raise RuntimeError("it broke")
            if n == 10 and self.fault == "ends":
                return
            number, delivered = delivered, delivered + 1
            pixels = np.full((24, 32, 3), number % 256, np.uint8)
            if self.fault == "still":
                pixels[:] = 100
                if number % 100 < 30:
                    pixels[:12, :16] = 200 if number % 2 else 0
            yield Frame(pixels, n, time.monotonic_ns(), {"number": number})

    def close(self):
        self.closed.set()
"""


def install(directory: Path) -> Mapping[str, str]:
    """The environment in which ``fault:NAME`` is known."""
    facts = directory / "fault_camera-1.0.dist-info"
    facts.mkdir(parents=True, exist_ok=True)
    (directory / "fault_camera.py").write_text(SOURCE)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: fault-camera\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[pi_capture.sources]\nfault = fault_camera:open\n")
    return {**os.environ, "PYTHONPATH": f"{directory}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

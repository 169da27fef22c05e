"""Real sensors for the tests: commands that print numbers by the clock."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port, wait_for_listener

_SCRIPT = """
import os, struct, sys, time
try:
    os.nice(-15)  # no load of the machine makes a sensor late
except OSError:
    pass
rate, channels, form, pause_at, pause = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], *map(float, sys.argv[4:6])
begun, n, shift = time.monotonic(), 0, 0.0
while True:
    now = time.time()
    if form == "pulse":
        values = [float(now % 1 < 0.1)] * channels
    else:
        values = [n + channel / 4 for channel in range(channels)]
    if form == "text":
        sys.stdout.write(" ".join(map(str, values)) + "\\n")
        sys.stdout.flush()
    else:
        sys.stdout.buffer.write(struct.pack(f"<{channels}f", *values))
        sys.stdout.buffer.flush()
    n += 1
    if pause and n == round(pause_at * rate):
        shift = pause
    time.sleep(max(0, begun + shift + n / rate - time.monotonic()))
"""


def sensor(rate: float, channels: int = 1, form: str = "f32le", pause: tuple[float, float] = (0, 0)) -> str:
    """A command that prints 0, 1, 2 … so often (channel c has c / 4 more), and pauses once: when, and for how long.

    The form ``pulse`` prints 1 in the first tenth of each second of the wall clock, else 0.
    """
    values = (rate, channels, form, *pause)
    return shlex.join([sys.executable, "-S", "-c", _SCRIPT, *map(str, values)])


def counting(first: float, count: int, channels: int) -> list[list[float]]:
    return [[first + n + channel / 4 for channel in range(channels)] for n in range(count)]


@contextmanager
def flashing() -> Iterator[str]:
    """A camera on the network that shows white in the first tenth of each second of the wall clock, else black."""
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    flash = "drawbox=c=white:t=fill:enable='lt(mod(time(0),1),0.1)'"
    graph = f"color=black:s=64x48:r=30,realtime,{flash},format=yuvj420p"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", graph, "-c:v", "mjpeg", "-flush_packets", "1"]
    with subprocess.Popen([*command, "-f", "nut", f"{url}?listen=1"]) as server:
        try:
            wait_for_listener(port)
            yield url
        finally:
            server.kill()


def clicking() -> str:
    """Sound that is there in the first tenth of each second of the wall clock."""
    return "lavfi:aevalsrc='if(lt(mod(time(0),1),0.1),0.8,0)':s=48000:n=240"


def session_of(path: Path) -> dict[str, object]:
    """What is known of the last session of a recording."""
    from storage import open_recording

    with open_recording(path) as recording:
        found: dict[str, object] = recording.sessions[-1]  # type: ignore[attr-defined]
        return found

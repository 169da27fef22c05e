"""What several tests need: a screen, and small videos."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.weights import fill_cache


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """The name of an X display of 640x480 pixels, on a screen that nobody sees."""
    assert shutil.which("Xvfb"), "scripts/test.sh installs xvfb"
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


@pytest.fixture(scope="session")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ``.tflite`` file that this process, and those which it starts, find as the weights ``imagenet``."""
    before = os.environ.get("XDG_CACHE_HOME")
    cache = tmp_path_factory.mktemp("cache")
    model = fill_cache(cache)
    os.environ["XDG_CACHE_HOME"] = str(cache)
    yield model
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``python -m pi_capture`` with the arguments given; what still runs when the test ends is killed."""
    from tests.test_cli import start

    processes = []

    def begin(*arguments: object, **options: int) -> subprocess.Popen[str]:
        processes.append(start(*arguments, **options))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def desktop() -> Iterator[str]:
    """The name of an X display with room for the labeller's window."""
    assert shutil.which("Xvfb") and shutil.which("xdotool"), "scripts/test.sh installs xvfb and xdotool"
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
        server.terminate()


def picture(n: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A noisy picture that is different for each number: (height, width, 3) uint8 RGB."""
    return np.random.default_rng(n).integers(0, 256, (size[1], size[0], 3), np.uint8)


PIXEL_FORMATS = {"ffv1": "bgr0", "png": "rgb24", "mjpeg": "yuvj420p"}


def write_video(
    path: Path,
    times: list[Fraction],
    *,
    size: tuple[int, int] = (64, 48),
    codec: str = "ffv1",
    container_format: str | None = None,
    unit: Fraction = Fraction(1, 1000),
) -> None:
    """A video of `picture`s at the given times in seconds, multiples of `unit`; lossless RGB with ffv1 and png."""
    import av

    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=30 if unit < Fraction(1, 100) else 1 / unit)
        stream.width, stream.height = size
        stream.pix_fmt = PIXEL_FORMATS.get(codec, "yuv420p")
        stream.codec_context.time_base = unit
        for n, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(n, size), format="rgb24")
            frame.pts, frame.time_base = int(time / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

"""What several tests need: a screen, and small videos."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from storage.formats.features.export import export_model
from storage.formats.features.weights import exported_name
from tests.support import ELSEWHERE
from tests.support.labeller import desktop_of
from tests.support.weights import make_random

with suppress(ModuleNotFoundError):  # scripts/site.sh and others make do without it
    import hypothesis

    # On a busy machine it takes long to think of something, and a fixture for all examples is meant.
    _UNCHECKED = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture]
    hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=_UNCHECKED)
    hypothesis.settings.load_profile("busy")

REFERENCE = Path(__file__).parents[2] / "shared" / "data"  # what the tests marked `reference` need

# Under nohup or in the background of a script these are ignored, and would be in all programs that tests start.
# With a handler pytest goes on as well, and they begin with the default.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """The name of an X display of 640x480 pixels, on a screen that nobody sees."""
    assert shutil.which("Xvfb"), "scripts/test.sh installs xvfb"
    with desktop_of("640x480") as display:
        yield display


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format ``tar`` and the camera ``images`` are installed, for this process and those that it starts."""
    monkeypatch.syspath_prepend(ELSEWHERE)
    monkeypatch.setenv("PYTHONPATH", f"{ELSEWHERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.fixture
def eager(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What describes frames has the priority of others: at the lowest one a busy machine gives it no turn at all."""
    place = tmp_path_factory.mktemp("eager")
    (place / "sitecustomize.py").write_text("import os\nos.nice = lambda more: 0\n")
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that `make_random` makes."""
    directory = tmp_path_factory.mktemp("random")
    make_random(directory)
    return directory


@pytest.fixture(scope="session")
def mobilenet(random_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ``.tflite`` file that this process, and those which it starts, find as the weights ``imagenet``."""
    cache = tmp_path_factory.mktemp("cache")
    model = cache / "pi-capture" / exported_name("imagenet")
    model.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield export_model(random_weights / "random.weights.h5", model)


@pytest.fixture(scope="session", params=["made", pytest.param("reference", marks=pytest.mark.reference)])
def footage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A film with sound, H.264 with B-frames in AVI, 480x360 at 10 frames per second; and how many frames it has."""
    if request.param == "reference":
        return REFERENCE / "pedestrians.avi", 795
    path = tmp_path_factory.mktemp("footage") / "film.avi"
    inputs = ["-f", "lavfi", "-i", "testsrc2=size=480x360:rate=10", "-f", "lavfi", "-i", "sine"]
    encoders = ["-c:v", "libx264", "-bf", "2", "-c:a", "libmp3lame"]
    subprocess.run(["ffmpeg", "-v", "error", *inputs, "-t", "4", *encoders, path], check=True)
    return path, 40


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``python -m pi_capture`` with the arguments given; what still runs when the test ends is killed."""
    from tests.pi_capture.test_cli import start

    processes = []

    def begin(*arguments: object, **options: int) -> subprocess.Popen[str]:
        processes.append(start(*arguments, **options))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def desktop() -> Iterator[str]:
    """The name of an X display with room for the labeller's window, in which nothing was pressed before."""
    assert shutil.which("Xvfb") and shutil.which("xdotool"), "scripts/test.sh installs xvfb and xdotool"
    from tests.support.labeller import desktop_of

    with desktop_of("1280x1024") as name:
        yield name


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

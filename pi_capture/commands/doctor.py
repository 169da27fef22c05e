"""``python -m pi_capture doctor``: check whether this machine can record, and how fast.

Each check is a function that yields findings. Nothing is changed: the trial recordings that measure the speed of the
target are removed again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pi_capture import namesakes
from pi_capture.errors import CameraError, RecordingError, UsageError
from pi_capture.recording.clocks import is_synchronised
from pi_capture.recording.machine import directory_at
from storage.commands.console import Parser, print_line
from storage.errors import StorageError, library_advice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRIAL_SECONDS = 0.5
TRIAL_FILL = 0.2  # of the queue: what is in it at the end of a trial is waited for
TAKES = "about 10 seconds"
TRIAL_SIZES = ((128, 128), (640, 480))
WANTED_FPS = 30
BLOCK = 4_000_000  # bytes, of the trial of the disk
LOW_SPACE, NO_SPACE = 2_000_000_000, 50_000_000  # bytes
HOT = 80.0  # °C; a Raspberry Pi slows down from there on
NEEDED = ("numpy", "PIL", "isal", *(["zlib_ng"] if platform.machine() == "aarch64" else []), "av", "h5py", "tqdm")
THROTTLED = {  # bits of the Raspberry Pi's firmware
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "at the soft temperature limit now",
    16: "under-voltage since the boot",
    17: "frequency was capped since the boot",
    18: "was throttled since the boot",
    19: "was at the soft temperature limit since the boot",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check."""

    check: str
    state: str  # ``ok``, ``warn`` (it will record, but …) or ``fail`` (it won't)
    found: str
    advice: str = ""  # what to do


@dataclass(frozen=True, slots=True)
class Question:
    """The recording that is asked about."""

    target: Path
    camera: str
    size: tuple[int, int] | None


def main(arguments: Sequence[str]) -> int:
    """Run the checks; returns the exit status, 1 if something would stop a recording."""
    from pi_capture.arguments import size

    parser = Parser(
        prog="python -m pi_capture doctor",
        description=f"Check what a recording needs: the camera, the disk, the clock, the libraries. It takes {TAKES}.",
        epilog="exit status: 0 it will record; 1 something would stop a recording",
    )
    parser.add_argument(
        "directory",
        metavar="DIRECTORY",
        nargs="?",
        type=Path,
        default=Path(),
        help="where you want to record (default: here)",
    )
    parser.add_argument("--camera", metavar="SPEC", default="auto", help="what to record from (default: auto)")
    parser.add_argument(
        "--size", metavar="WxH", type=size, default="128x128", help="size of the frames (default: 128x128)"
    )
    parser.add_argument("--json", action="store_true", help="print one object on stdout")
    args = parser.parse_args(arguments)
    if not args.json:
        print_line(f"checking; this takes {TAKES}", sys.stderr)
    findings = []
    for finding in examine(Question(args.directory, args.camera, args.size)):
        findings.append(finding)
        if not args.json:
            print_line(f"{finding.state:4}  {finding.check:12}  {finding.found}")
            if finding.advice:
                print_line(f"{'':18}  → {finding.advice}")
            sys.stdout.flush()
    failed = any(finding.state == "fail" for finding in findings)
    if args.json:
        print(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}))
    return int(failed)


def examine(question: Question) -> Iterator[Finding]:
    """Run all checks, the most important first."""
    yield from _names(question)
    packages = list(_packages(question))
    yield from packages
    if any(finding.state == "fail" for finding in packages):
        return  # the others need them
    for check in (_camera, _devices, _picamera2, space, _speed, clock, heat, _window, _features):
        yield from check(question)


# ----------------------------------------------------------------------------------------------------------- libraries


def _packages(question: Question) -> Iterator[Finding]:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        yield Finding("libraries", "fail", f"missing for {sys.executable}: {', '.join(missing)}", library_advice())
    else:
        yield Finding("libraries", "ok", f"Python {sys.version.split()[0]}, {_versions('numpy', 'pillow', 'av')}")


def _names(question: Question) -> Iterator[Finding]:
    """Modules of others under the names of our packages."""
    for name, path in namesakes.in_working_directory():
        command = "pi-capture" if name == "pi_capture" else f"pi-{name}"
        advice = f"rename it, work in another directory, or run {command}"
        yield Finding("names", "warn", f"python -m {name} runs {path}, not this toolkit", advice)
    for name, owner in namesakes.of_other_distributions():
        found = f"the distribution {owner} has a package {name} too, and one may have replaced the other"
        advice = f"pip uninstall {owner}, then install this toolkit again; or give each its own virtual environment"
        yield Finding("names", "warn", found, advice)


def _versions(*names: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def _picamera2(question: Question) -> Iterator[Finding]:
    """Load the Raspberry Pi's camera library beside the other libraries, in another process."""
    model = _read(Path("/proc/device-tree/model")).rstrip("\0")
    if importlib.util.find_spec("picamera2") is None:
        if model.startswith("Raspberry Pi"):
            advice = "sudo apt install python3-picamera2, and a virtual environment with --system-site-packages"
            yield Finding("picamera2", "warn", f"not installed for {sys.executable} on this {model}", advice)
        return
    versions = _versions("picamera2", "numpy", "simplejpeg")
    done = _python("import picamera2")
    if done.returncode == 0:
        yield Finding("picamera2", "ok", versions)
        return
    reason = (done.stderr.strip().splitlines() or ["it crashed"])[-1]
    if "numpy.dtype size changed" in done.stderr:
        advice = f"apt's simplejpeg is for an older numpy: {sys.executable} -m pip install --upgrade simplejpeg"
    elif "libcamera" in reason:
        advice = "sudo apt install python3-libcamera, and a virtual environment with --system-site-packages"
    else:
        advice = "sudo apt install --reinstall python3-picamera2"
    yield Finding("picamera2", "warn", f"can't be loaded: {reason} ({versions})", advice)


def _window(question: Question) -> Iterator[Finding]:
    """Labelling needs a window; recording does not."""
    if importlib.util.find_spec("cv2") is None:
        yield Finding(
            "window", "warn", "no OpenCV: python -m classify can't show a window", "pip install '.[classify]'"
        )
        return
    done = _python(
        "import ctypes, cv2, pathlib; print(cv2.getBuildInformation()); plugins = pathlib.Path(cv2.__file__).parent; "
        "[ctypes.CDLL(str(path)) for path in plugins.glob('qt/plugins/platforms/libqxcb.so')]"
    )
    toolkit = re.search(r"^\s*GUI:\s*(\S+)", done.stdout, re.MULTILINE)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it crashed"])[-1]
        advice = (
            "sudo apt install libgl1 libglib2.0-0 libsm6" if ".so" in reason else "pip install --upgrade opencv-python"
        )
        yield Finding("window", "warn", f"OpenCV can't be loaded: {reason}", advice)
    elif toolkit is None or toolkit[1] == "NONE":
        found = "this OpenCV was built without windows: python -m classify can't show one"
        yield Finding("window", "warn", found, "pip uninstall opencv-python-headless; pip install opencv-python")
    else:
        screen = (
            ""
            if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
            else "; no user is logged in to a screen here"
        )
        yield Finding("window", "ok", f"OpenCV with {toolkit[1]}{screen}")


def network(question: Question) -> Iterator[Finding]:
    """Whether the files are there that good models need; unlike `_features` it loads none of them."""
    from storage.formats.features.extractor import find_model

    found = "no trained network: models see only tiny grey pictures, and learn little"
    if importlib.util.find_spec("ai_edge_litert") is None:
        yield Finding("model", "warn", found, "connect this machine to the internet, and run sh scripts/quickstart.sh")
        return
    try:
        find_model("imagenet")
    except StorageError as error:
        yield Finding("model", "warn", found, str(error))


def _features(question: Question) -> Iterator[Finding]:
    """Recordings of features need a network; models are worse without."""
    from storage.formats.features.extractor import Extractor

    try:
        Extractor()
    except StorageError as error:
        found = "no trained network: models learn little, and .features.h5 files can't be recorded"
        yield Finding("features", "warn", found, str(error))
    else:
        yield Finding("features", "ok", "LiteRT and the weights of MobileNet are there")


def _python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in another process: a library may crash."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


# -------------------------------------------------------------------------------------------------------------- camera


def _camera(question: Question) -> Iterator[Finding]:
    from pi_capture.sources import open_source

    try:
        source = open_source(question.camera, question.size)
        try:
            began = time.monotonic()
            frame = next(iter(source), None)
        finally:
            source.close()
    except (CameraError, UsageError) as error:
        yield Finding("camera", "fail", str(error), "python -m pi_capture --list-cameras shows what is plugged in")
        return
    if frame is None:
        yield Finding("camera", "fail", f"{source.info.camera} delivers no frame", "check the cable")
        return
    height, width = frame.pixels.shape[:2]
    found = f"{source.info.camera} ({source.info.model}), {width}x{height}, first frame after"
    yield Finding("camera", "ok", f"{found} {time.monotonic() - began:.1f} s")


def _devices(question: Question) -> Iterator[Finding]:
    """Whether this user may use the devices of cameras."""
    import grp
    import pwd

    devices = [
        *sorted(Path("/dev").glob("video*")), *sorted(Path("/dev").glob("media*")),
        *sorted(Path("/dev/dma_heap").glob("*")),
    ]  # fmt: skip
    if not devices:
        found = "no /dev/video*, /dev/media* or /dev/dma_heap/*: the kernel knows no camera"
        yield Finding("devices", "ok" if question.camera.startswith(("demo", "file:")) else "warn", found)
        return
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if not closed:
        yield Finding("devices", "ok", f"all {len(devices)} camera devices may be used")
        return
    group = grp.getgrgid(closed[0].stat().st_gid).gr_name
    if group == "root":
        rule = 'SUBSYSTEM=="dma_heap", GROUP="video", MODE="0660"'
        advice = f"they are root's: put {rule} into /etc/udev/rules.d/99-camera.rules, and so for the others; restart"
    else:
        user = pwd.getpwuid(os.getuid()).pw_name
        advice = f"sudo usermod -aG {group} {user}, then log in again"
    yield Finding("devices", "warn", f"no access to {', '.join(map(str, closed))}", advice)


# -------------------------------------------------------------------------------------------------------------- target


def space(question: Question) -> Iterator[Finding]:
    place = directory_at(question.target)
    free = shutil.disk_usage(place).free
    state = "fail" if free < NO_SPACE else "warn" if free < LOW_SPACE else "ok"
    advice = "" if state == "ok" else "make room, or record to another disk"
    yield Finding("space", state, f"{free / 1e9:.1f} GB free in {place}", advice)


def _speed(question: Question) -> Iterator[Finding]:
    """Measure the disk, and the rate of each format on it, by recordings beside the target."""
    place = directory_at(question.target)
    try:
        trial = Path(tempfile.mkdtemp(prefix=".pi-capture-doctor-", dir=place))
    except OSError as error:
        user = f"user {os.getuid()}" if hasattr(os, "getuid") else "you"
        advice = f"choose another place, or give {place} to {user}"
        yield Finding("disk", "fail", f"{place} can't be written to: {error.strerror}", advice)
        return
    try:
        yield _disk(trial)
        sizes = TRIAL_SIZES if question.size in (None, TRIAL_SIZES[0]) else (question.size,)
        for size in sizes:
            if size is not None:
                yield from _formats(trial, size)
    except OSError as error:
        yield Finding("disk", "fail", f"{place}: {error.strerror or error}", "check the disk, or record to another")
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _disk(trial: Path) -> Finding:
    waits = []
    with (trial / "small").open("wb", buffering=0) as file:
        for _ in _for(TRIAL_SECONDS / 2):
            file.write(bytes(4096))
            began = time.monotonic()
            os.fsync(file.fileno())
            waits.append(time.monotonic() - began)
    block, written, began = os.urandom(BLOCK), 0, time.monotonic()
    with (trial / "large").open("wb", buffering=0) as file:
        for _ in _for(TRIAL_SECONDS / 2):
            written += file.write(block)
            os.fsync(file.fileno())
    speed = written / (time.monotonic() - began)
    (trial / "large").unlink()
    typical, worst = statistics.median(waits) * 1e3, max(waits) * 1e3
    found = f"{speed / 1e6:.0f} MB/s; an fsync takes {typical:.1f} ms, at worst {worst:.0f} ms"
    slow = speed < 5e6 or worst > 1000
    return Finding("disk", "warn" if slow else "ok", found, "use a faster card or disk" if slow else "")


def _formats(trial: Path, size: tuple[int, int]) -> Iterator[Finding]:
    """Measure the rate of each format, until all is durable, with pictures as noisy as a camera's."""
    from storage.formats.table import all_formats

    pictures = _noisy_pictures(size)
    for row in all_formats():
        if not row.keeps_pictures:
            continue
        name = f"{row.name} {size[0]}x{size[1]}"
        try:
            fps, bytes_a_frame = _record(trial / f"{row.name}-{size[0]}{row.suffix}", row.name, pictures)
        except (StorageError, RecordingError, ImportError) as error:
            yield Finding("speed", "warn", f"{name}: can't be recorded: {error}", "use another format")
            continue
        slow = fps < WANTED_FPS
        advice = "record smaller frames or fewer of them (--size, --fps), or another format" if slow else ""
        yield Finding(
            "speed", "warn" if slow else "ok", f"{name}: {fps:.0f} frames a second, {bytes_a_frame / 1e3:.0f} KB each",
            advice,
        )  # fmt: skip


def _record(target: Path, backend: str, pictures: Sequence[NDArray[np.uint8]]) -> tuple[float, float]:
    """Return frames a second, and bytes a frame, of a real recording."""
    from pi_capture.recording.recorder import Recorder

    began = time.monotonic()
    with Recorder(target, backend=backend, fps=WANTED_FPS) as recorder:
        for n in _for(TRIAL_SECONDS):
            while recorder.status().queue_fill > TRIAL_FILL:
                time.sleep(0.001)
            recorder.write(pictures[n % len(pictures)])
    passed = time.monotonic() - began
    summary = recorder.summary()
    return summary.frames / passed, summary.bytes / max(summary.frames, 1)


def _noisy_pictures(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Return eight pictures, (height, width, 3) uint8: a slope of light with a sensor's noise."""
    import numpy as np

    width, height = size
    light = np.linspace(40, 200, width)[None, :, None] * np.linspace(0.6, 1, height)[:, None, None]
    random = np.random.default_rng(0)
    return [np.clip(light + random.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8) for _ in range(8)]


def _for(seconds: float) -> Iterator[int]:
    """Yield 0, 1, 2 … until the time is over."""
    until, n = time.monotonic() + seconds, 0
    while n == 0 or time.monotonic() < until:
        yield n
        n += 1


# ------------------------------------------------------------------------------------------------------------- machine


def clock(question: Question) -> Iterator[Finding]:
    synchronised = is_synchronised()
    if synchronised is None:
        return
    if not synchronised:
        found = "not synchronised: dates may be wrong; the frames' order and distances are right all the same"
        yield Finding("clock", "warn", found, "sudo timedatectl set-ntp true; without a network, a real-time clock")
    else:
        yield Finding("clock", "ok", "synchronised")


def heat(question: Question) -> Iterator[Finding]:
    zones = Path("/sys/class/thermal").glob("thermal_zone*")
    read = [(_read(zone / "type").strip(), _read(zone / "temp").strip()) for zone in zones]
    celsius = [int(text) / 1000 for kind, text in read if text.lstrip("-").isdigit() and "cpu" in kind]
    if celsius:
        hot = max(celsius) > HOT
        advice = "cool it: at this temperature it slows down, and frames are lost" if hot else ""
        yield Finding("temperature", "warn" if hot else "ok", f"{max(celsius):.0f} °C", advice)
    bits = _throttled()
    if bits is not None:
        found = [text for bit, text in THROTTLED.items() if bits >> bit & 1]
        advice = "use a power supply that is strong enough, and cool it" if found else ""
        yield Finding("power", "warn" if found else "ok", ", ".join(found) or "never throttled since the boot", advice)


def _throttled() -> int | None:
    """Return the power flags of a Raspberry Pi's firmware; None elsewhere."""
    text = _read(Path("/sys/devices/platform/soc/soc:firmware/get_throttled"))
    if not text and shutil.which("vcgencmd"):
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, check=False, timeout=10)
        text = done.stdout.strip().removeprefix("throttled=0x")
    try:
        return int(text, 16)
    except ValueError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

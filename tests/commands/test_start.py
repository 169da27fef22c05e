"""What a command does not use, it does not import either: its start is most of what a short one costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pi_capture.cli import COMMANDS
from tests.support import REPOSITORY

DEMO = ("--camera", "demo", "--countdown", "0", "--quiet")
MAIN = "import {package}.cli\nassert {package}.cli.main({arguments!r}) == 0\n"
HELP = "from {package}.cli import main\ntry:\n    main([*{words!r}, '--help'])\nexcept SystemExit:\n    pass\n"
READ = "import storage\nassert storage.open_recording({path!r})[0].pixels.shape == (128, 128, 3)\n"
SAY = "import sys\nprint('loaded', *sys.modules)"

LOOK_UPS = ("importlib.metadata", "email", "hashlib", "tomllib")
LABELS = ("storage.labels.journal", "storage.labels.classes", "storage.labels.intervals", "storage.durable.log")
MEDIA = ("av", "storage.matroska", "storage.formats.video", "storage.formats.movie", "storage.tracks.demux")
CARE = ("storage.care.split", "storage.care.manifest", "storage.durable.moves", "storage.learn", "storage.batch")
OF_RECORDING = (
    *("pi_capture.segments", "pi_capture.recording.verdicts", "pi_capture.recording.motion"),
    *(
        "pi_capture.samples.sensors",
        "pi_capture.samples.clock",
        "pi_capture.samples.received",
        "pi_capture.live.labels",
    ),
    *("pi_capture.network.receiver", "pi_capture.report.mqtt", "http.server", "ssl"),
)
HEAVY = ("numpy", "av", "cv2", "PIL", "h5py", "starlette")
ALWAYS = (*LABELS, *MEDIA, *CARE)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with recordings of all formats."""
    place = tmp_path_factory.mktemp("recorded")
    for name in ("day1", "day1.h5", "day1.mkv"):
        command = [sys.executable, "-m", "pi_capture", str(place / name), "0.1", *DEMO]
        subprocess.run(command, cwd=REPOSITORY, check=True)
    return place


def loaded(code: str) -> list[str]:
    """What Python has imported by the end of a program."""
    done = subprocess.run(
        [sys.executable, "-c", code + SAY], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()[1:]


def among(modules: Sequence[str], unwanted: Sequence[str]) -> list[str]:
    return [one for one in modules if any(one == name or one.startswith(f"{name}.") for name in unwanted)]


@pytest.mark.parametrize("package", ["pi_capture", "classify", "storage"])
def test_help(package: str) -> None:
    unwanted = (*ALWAYS, *LOOK_UPS, *HEAVY, "difflib", "json", "socket", "pi_capture.recording.options")
    contracts = ("pi_capture.sources.contract", "storage.formats.contract", "storage.recording")
    assert among(loaded(HELP.format(package=package, words=[])), (*unwanted, *contracts)) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str) -> None:
    found = loaded(HELP.format(package="pi_capture", words=[command]))
    assert COMMANDS[command].partition(":")[0] in found and among(found, (*HEAVY, "importlib.metadata")) == []


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [
        ("day1", (*ALWAYS, *LOOK_UPS, "numpy", "PIL", "h5py", "storage.formats.hdf5", "pi_capture")),
        ("day1.h5", (*ALWAYS, *LOOK_UPS, "PIL", "storage.formats.png.codec", "pi_capture")),
        (
            "day1.mkv",
            (*CARE, *LOOK_UPS, "PIL", "h5py", "storage.labels.journal", "storage.formats.movie", "pi_capture"),
        ),
    ],
)
def test_info(recorded: Path, name: str, unwanted: Sequence[str]) -> None:
    found = loaded(MAIN.format(package="storage", arguments=["info", str(recorded / name)]))
    assert "storage.care.info" in found and among(found, unwanted) == []


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [("day1", ("h5py", "storage.formats.hdf5")), ("day1.h5", ("storage.formats.png.writer",))],
)
def test_a_frame_recorded(tmp_path: Path, name: str, unwanted: Sequence[str]) -> None:
    arguments = [str(tmp_path / name), "0.03", *DEMO]
    found = loaded(MAIN.format(package="pi_capture", arguments=arguments))
    assert "pi_capture.recording.capture" in found
    assert among(found, (*ALWAYS, *OF_RECORDING, *unwanted, "importlib.metadata", "email", "tomllib")) == []


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [("day1", ("h5py", "storage.formats.hdf5")), ("day1.h5", ("PIL", "storage.formats.png"))],
)
def test_a_frame_read(recorded: Path, name: str, unwanted: Sequence[str]) -> None:
    found = loaded(READ.format(path=str(recorded / name)))
    assert "numpy" in found
    assert among(found, (*ALWAYS, *LOOK_UPS, *unwanted, "argparse", "storage.commands", "pi_capture")) == []

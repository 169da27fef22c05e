"""Programs whose standard streams are closed or full, and which are told to end at a moment of no recording."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pi_capture import Recorder
from storage import open_recording
from storage.sessions import read_sessions
from tests.pi_capture.test_cli import DEMO
from tests.support import PATIENCE_SECONDS, REPOSITORY, wait_for


def start(module: str, *arguments: object, redirected: str = "", cwd: Path) -> subprocess.Popen[str]:
    command = shlex.join([sys.executable, "-m", module, *map(str, arguments)])
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        ["sh", "-c", f"exec {command} {redirected}"], cwd=cwd, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("name", ["day1", "day1.mkv", "day1.h5"])
def test_closed_streams_are_no_place_for_a_recording(tmp_path: Path, name: str, closed: str) -> None:
    recorder = start("pi_capture", name, 0.5, *DEMO, "--json-lines", redirected=closed, cwd=tmp_path)
    assert recorder.wait(PATIENCE_SECONDS) == 0
    assert len(open_recording(tmp_path / name)) > 0
    converter = start("storage", "convert", name, "copy.mkv", redirected=closed, cwd=tmp_path)
    assert converter.wait(PATIENCE_SECONDS) == 0
    assert len(open_recording(tmp_path / "copy.mkv")) == len(open_recording(tmp_path / name))


@pytest.mark.parametrize("module", ["storage", "classify"])
def test_failures_without_any_stream(tmp_path: Path, module: str) -> None:
    words = ["info", "nowhere"] if module == "storage" else ["nowhere"]
    assert start(module, *words, redirected="<&- >&- 2>&-", cwd=tmp_path).wait(PATIENCE_SECONDS) == 1
    _, told = start(module, *words, redirected=">&-", cwd=tmp_path).communicate(timeout=PATIENCE_SECONDS)
    assert len(told.splitlines()) == 1 and "nowhere" in told


def test_a_full_log_does_not_end_a_recording(tmp_path: Path) -> None:
    recorder = start("pi_capture", "day1", 1, *DEMO, "--json-lines", redirected=">/dev/full", cwd=tmp_path)
    _, told = recorder.communicate(timeout=PATIENCE_SECONDS)
    assert recorder.returncode == 0 and " frames in " in told
    assert read_sessions(tmp_path / "day1")[-1]["end"] == "finished"


def test_ctrl_c_before_the_recording_begins(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow.toml")
    recorder = start("pi_capture", "day1", 1, *DEMO, "--config", "slow.toml", cwd=tmp_path)
    with (tmp_path / "slow.toml").open("w"):  # it has been opened for reading, too
        recorder.send_signal(signal.SIGINT)
        _, told = recorder.communicate(timeout=PATIENCE_SECONDS)
    assert (recorder.returncode, told) == (130, "pi_capture: interrupted\n")
    assert not (tmp_path / "day1").exists()


SIGNALLED_WITHIN = """
import signal, threading
from pi_capture.report.systemd import StopSignals

stop = threading.Event()
with StopSignals(stop):
    with stop._cond:  # as within its wait() and its set(), for some microseconds
        signal.raise_signal(signal.SIGTERM)
    print(stop.wait(200))
"""


def test_a_signal_may_come_at_any_moment() -> None:
    """Also while the recording looks whether it is to end, or a first signal is being taken in."""
    command = [sys.executable, "-c", SIGNALLED_WITHIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_a_second_ctrl_c_speaks_of_no_recording_where_there_is_none() -> None:
    twice = "stop.set()\n    signal.raise_signal(signal.SIGINT)\n"
    command = [sys.executable, "-c", SIGNALLED_WITHIN.partition("with stop._cond")[0] + twice]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert (done.returncode, done.stderr) == (130, "\naborted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_conversion_that_is_told_to_end_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    with Recorder(tmp_path / "day1", fps=30) as recorder:
        for _ in range(150):
            recorder.write(noise)
    before = sorted(os.listdir(tmp_path))
    converter = start("storage", "convert", "day1", "day1.mkv", cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob(".day1.mkv.making/*")), "a hidden file", converter)
    converter.send_signal(number)
    _, told = converter.communicate(timeout=PATIENCE_SECONDS)
    assert converter.returncode == 130 and len(told.splitlines()) == 1 and "interrupted" in told
    assert sorted(os.listdir(tmp_path)) == before


def test_a_summary_that_nobody_takes_is_not_the_disks_fault(tmp_path: Path) -> None:
    recorder = start("pi_capture", "day1", 1, *DEMO, "--json", redirected=">/dev/full", cwd=tmp_path)
    told = recorder.communicate(timeout=PATIENCE_SECONDS)[1]
    assert recorder.returncode == 1
    assert told.splitlines()[-1] == "pi_capture: standard output: No space left on device", told

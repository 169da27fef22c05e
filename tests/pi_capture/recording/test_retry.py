"""A camera that fails while it records: what was recorded is safe, and with --retry it is opened again."""

from __future__ import annotations

import http.server
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pi_capture import Recorder, record
from storage import open_recording
from storage.frame import Frame
from tests.faults.fault_camera import install
from tests.support import REPOSITORY, wait_for


class Recorded:
    def __init__(self, day: Path, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.told = done.returncode, done.stderr.splitlines()
        self.summary: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        self.frames: list[Frame] = list(open_recording(day)) if day.exists() else []
        self.numbers = [frame.metadata["number"] for frame in self.frames]
        if self.summary:
            assert_every_frame_is_accounted_for(self.summary, len(self.frames))


def assert_every_frame_is_accounted_for(summary: dict[str, Any], stored: int) -> None:
    assert stored == summary["frames"]
    lost = summary["dropped_queue"] + summary["dropped_disk"] + summary["not_kept"]
    assert summary["captured"] == summary["frames"] + lost


def code_of(arguments: list[str], program: str) -> str:
    imports = "import sys\nfrom pi_capture import cli\nfrom pi_capture.recording import capture, retry, take"
    return f"{imports}\n{program}\nsys.exit(cli.main({arguments!r}))"


def run(tmp_path: Path, camera: str, seconds: float, *options: str, program: str = "") -> Recorded:
    """Record, in a process in which a test may have changed some number."""
    arguments = [str(tmp_path / "day1"), str(seconds), "--camera", camera, "--size", "source", "--json", *options]
    done = subprocess.run(
        [sys.executable, "-c", code_of(arguments, program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=install(tmp_path / "site"),
        timeout=120,
    )
    print(done.stderr)
    return Recorded(tmp_path / "day1", done)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("unplugged", "fault:unplugged was unplugged"),
        ("broken", "RuntimeError('it broke')"),
        ("ends", "the camera's stream ended"),
    ],
)
def test_it_is_opened_again_and_the_gaps_are_noted(tmp_path: Path, fault: str, reason: str) -> None:
    done = run(tmp_path, f"fault:{fault}", 1, "--retry", program="retry.FIRST_PAUSE = 0.1; retry.STEADY_FRAMES = 5")
    assert done.status == 0
    assert done.numbers == list(range(len(done.frames))) and len(done.frames) > 10
    reopened = [n for n, frame in enumerate(done.frames) if "gap" in frame.metadata]
    assert reopened == list(range(10, len(done.frames), 10))
    for n in reopened:
        metadata = done.frames[n].metadata
        assert metadata["gap"] == "camera"
        assert metadata["gap_ns"] == done.frames[n].timestamp_ns - done.frames[n - 1].timestamp_ns > 0.1e9
    assert done.summary["reopened"] == len(reopened)
    assert f"{reason}; opening it again in 0.1 s" in done.told
    session = json.loads((tmp_path / "day1/recording.json").read_text())["sessions"][-1]
    assert session["reopened"] == done.summary["reopened"] and session["gaps"][0]["why"] == reason


@pytest.mark.parametrize("fault", ["unplugged", "broken"])
def test_without_retry_it_ends(tmp_path: Path, fault: str) -> None:
    done = run(tmp_path, f"fault:{fault}", -1)
    assert done.status == 1 and done.numbers == list(range(10))
    assert done.told[-1].startswith("pi_capture: ") and "Traceback" not in "".join(done.told)


def test_enough_is_enough(tmp_path: Path) -> None:
    done = run(tmp_path, "fault:unplugged", -1, "--retry", "2", program="retry.FIRST_PAUSE = 0.1")
    assert done.status == 1 and done.numbers == list(range(30))
    assert [line for line in done.told if "opening it again" in line] == [
        "fault:unplugged was unplugged; opening it again in 0.1 s",
        "fault:unplugged was unplugged; opening it again in 0.2 s",
    ]
    assert done.told[-1] == "pi_capture: fault:unplugged was unplugged"


def test_a_camera_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    done = run(tmp_path, "fault:late", 0.3, "--retry", program="retry.FIRST_PAUSE = 0.05")
    assert done.status == 0 and done.summary["reopened"] == 0
    assert done.frames and "gap" not in done.frames[0].metadata
    assert done.told.count("fault:late is not plugged in; opening it again in 0.1 s") == 1
    assert run(tmp_path / "2", "fault:late", 1).told == ["pi_capture: fault:late is not plugged in"]


def test_a_camera_that_falls_silent_is_opened_again(tmp_path: Path) -> None:
    numbers = "take.STALL_SECONDS = 0.6; take.PATIENCE_SECONDS = 0.2; retry.FIRST_PAUSE = 0.1; retry.STEADY_FRAMES = 5"
    done = run(tmp_path, "fault:silent", 4, "--retry", program=numbers)
    assert done.status == 0
    assert done.numbers == list(range(len(done.frames))) and len(done.frames) >= 20
    assert re.search(r"^the camera delivered nothing for \d+ s; opening it again in 0.1 s$", "\n".join(done.told), re.M)


def test_a_call_that_never_returns_ends_the_recorder_and_loses_nothing(tmp_path: Path) -> None:
    numbers = "take.STALL_SECONDS = 0.6; take.PATIENCE_SECONDS = 0.2"
    done = run(tmp_path, "fault:wedged", -1, "--retry", program=numbers)
    assert done.status == 1 and done.numbers == list(range(10))
    assert done.told[-1] == (
        "pi_capture: the camera hangs in a call that can't be interrupted; start the recorder again"
    )


def test_an_interpreter_that_never_runs_again_is_ended(tmp_path: Path) -> None:
    numbers = "capture.WEDGED_SECONDS = 1; take.STALL_SECONDS = 0.5"
    done = run(tmp_path, "fault:frozen", -1, "--retry", "--sync-interval", "0.02", program=numbers)
    assert done.status == -signal.SIGABRT and "Fatal Python error: Aborted" in done.told
    assert done.told[-1] == "pi_capture: Python is blocked as a whole; the recorder was ended"
    with Recorder(tmp_path / "day1"):  # takes up what was not stored yet
        pass
    numbers_there = [frame.metadata["number"] for frame in open_recording(tmp_path / "day1")]
    assert numbers_there == list(range(len(numbers_there))) and len(numbers_there) >= max(1, len(done.frames))


def test_a_program_that_takes_its_time_is_not_taken_for_a_blocked_one(tmp_path: Path) -> None:
    """As where the terminal is stopped with Ctrl-S: one thread waits, the others run."""
    code = f"""
import time
from pi_capture import record
from pi_capture.recording import capture
capture.WEDGED_SECONDS = 1
summary = record({str(tmp_path / "day1")!r}, 0.3, camera="demo", retry=-1, progress=lambda _: time.sleep(3))
print(summary.frames > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize(("options", "seconds"), [([], 2.0), (["--retry"], 4.0)])
def test_a_process_that_was_stopped_goes_on(tmp_path: Path, options: list[str], seconds: float) -> None:
    """As by Ctrl-Z or a frozen container: longer than a camera, or the whole process, may be silent, more than once."""
    arguments = [str(tmp_path / "day1"), "-1", "--camera", "demo", "--size", "64x48", "--countdown", "0", *options]
    numbers = "take.STALL_SECONDS = 1; take.STOPPED_SECONDS = 0.8; capture.WEDGED_SECONDS = 3.5"
    code = code_of(arguments, numbers)
    recorder = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)

    def wait_for_a_frame() -> None:
        before = len(list((tmp_path / "day1").glob("*.png")))
        wait_for(lambda: len(list((tmp_path / "day1").glob("*.png"))) > before, "another frame", recorder)

    wait_for_a_frame()
    for _ in range(3):
        recorder.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        recorder.send_signal(signal.SIGCONT)
        wait_for_a_frame()
    recorder.send_signal(signal.SIGINT)
    _, told = recorder.communicate(timeout=120)
    assert recorder.returncode == 0, told


class Webcam(http.server.BaseHTTPRequestHandler):
    on = threading.Event()

    def do_GET(self) -> None:
        picture = io.BytesIO()
        Image.new("RGB", (64, 48)).save(picture, "JPEG")
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
        self.end_headers()
        while self.on.wait():
            try:
                self.wfile.write(b"--cut\r\nContent-Type: image/jpeg\r\n\r\n" + picture.getvalue() + b"\r\n")
            except OSError:
                return
            time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_network_camera_is_opened_again_after_a_stop_of_the_process(tmp_path: Path) -> None:
    """Without --retry: it is the program that was silent, not the camera."""
    day, patience = tmp_path / "day1", "open_url.__kwdefaults__['patience'] = 2; take.STOPPED_SECONDS = 1"
    Webcam.on.set()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webcam) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        camera = ["--camera", f"http://127.0.0.1:{server.server_address[1]}/", "--size", "source"]
        code = code_of([str(day), "-1", *camera], f"from pi_capture.sources.media.source import open_url\n{patience}")
        recorder = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        assert recorder.stderr is not None
        wait_for(lambda: list(day.glob("*.png")), "a frame", recorder)
        Webcam.on.clear()
        time.sleep(0.4)  # all that it sent has come
        recorder.send_signal(signal.SIGSTOP)
        time.sleep(3)
        before = len(list(day.glob("*.png")))
        recorder.send_signal(signal.SIGCONT)
        while "opening it again in" not in (line := recorder.stderr.readline()):
            assert line, "it has ended"
        Webcam.on.set()
        wait_for(lambda: len(list(day.glob("*.png"))) > before, "another frame", recorder)
        recorder.send_signal(signal.SIGINT)
        _, told = recorder.communicate(timeout=120)
        server.shutdown()
    assert recorder.returncode == 0, told


def test_a_signal_ends_the_wait_for_a_camera(tmp_path: Path) -> None:
    arguments = [str(tmp_path / "day1"), "-1", "--camera", "fault:unplugged", "--size", "source", "--retry"]
    code = code_of(arguments, "retry.FIRST_PAUSE = 1000")
    recorder = subprocess.Popen(
        [sys.executable, "-c", code], env=install(tmp_path / "site"), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    assert recorder.stderr is not None
    while "opening it again in" not in (line := recorder.stderr.readline()):
        assert line, "it has ended"
    recorder.send_signal(signal.SIGTERM)
    recorder.communicate(timeout=120)  # long before the pause is over
    assert recorder.returncode == 0
    assert len(list(open_recording(tmp_path / "day1"))) == 10


def test_where_stderr_is_no_file_as_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    summary = record(tmp_path / "day1", 0.3, camera="demo", retry=-1)
    assert summary.frames + summary.dropped_camera + summary.dropped_queue == 9

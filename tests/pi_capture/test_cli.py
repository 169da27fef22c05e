"""``python -m pi_capture`` as a person, a script or systemd meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pi_capture.cli import main
from storage import open_recording
from storage.formats.png.whole import fault
from tests.support import REPOSITORY, wait_for

DEMO = ["--camera", "demo", "--fps", "60"]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pi_capture", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120, env=environment)


def start(*arguments: object, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pi_capture", *map(str, arguments)]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def wait_for_frames(day: Path) -> None:
    wait_for(lambda: list(day.glob("*.png")), "a frame")


def test_a_timed_recording(tmp_path: Path) -> None:
    done = run(tmp_path / "day1", 1, *DEMO, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert list(summary) == [
        "frames", "seconds", "fps", "dropped_queue", "dropped_camera", "dropped_disk", "bytes", "path", "backend",
        "size", "tracks", "captured", "not_kept", "reopened", "segments", "newest",
    ]  # fmt: skip
    frames = list(open_recording(tmp_path / "day1"))
    assert summary["frames"] == len(frames) > 0
    assert summary["frames"] + summary["dropped_camera"] + summary["dropped_queue"] == 60
    assert summary["size"] == "128x128" and summary["backend"] == "png" and summary["path"] == str(tmp_path / "day1")
    assert summary["bytes"] == sum(file.stat().st_size for file in (tmp_path / "day1").glob("*.png"))
    assert frames[0].pixels.shape == (128, 128, 3) and frames[0].metadata["label"] in range(5)
    told = done.stderr.splitlines()
    assert len(told) == 1 and f"{len(frames)} frames in {summary['seconds']:.1f} s" in told[0]


def test_what_is_wrong_with_the_target_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, status, told in (
        ("", 2, "DIRECTORY and SECONDS are needed"),
        ("file/day1", 1, "file is not a directory; choose another name"),
        ("file/day1.h5", 1, "file is not a directory; choose another name"),
        ("my frames/day1.mkv", 1, "mkdir -p 'my frames'"),
    ):
        done = run(name, 1, *DEMO, cwd=tmp_path)
        assert done.returncode == status and told in done.stderr.splitlines()[-1], done
    assert os.listdir(tmp_path) == ["file"]


def test_into_a_class_directory(tmp_path: Path) -> None:
    assert run(tmp_path / "day1/0", 0.3, *DEMO).returncode == 0
    assert run(tmp_path / "day1/1", 0.3, *DEMO).returncode == 0
    assert {p.name for p in (tmp_path / "day1").iterdir()} == {"0", "1", "recording.json"}
    assert all(p.suffix == ".png" for name in "01" for p in (tmp_path / "day1" / name).iterdir())
    assert set(open_recording(tmp_path / "day1").labels) == {"0", "1"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_normal_end(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path / "day1", -1, *DEMO, "--sync-interval", 0.1, "--json")
    wait_for_frames(tmp_path / "day1")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    files = list((tmp_path / "day1").glob("*.png"))
    assert json.loads(out)["frames"] == len(files) > 0
    assert all(fault(file.read_bytes()) is None for file in files)
    assert not list((tmp_path / "day1").glob(".*"))
    (session,) = json.loads((tmp_path / "day1/recording.json").read_text())["sessions"]
    assert session["end"] == "stopped" and session["frames"] == len(files) and session["camera"] == "demo:0"


LOST = """
import signal, sys
class Lost:
    def find_spec(self, name, *rest):
        if name in ("pi_capture.recording.capture", "storage.learn.classifier"):
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                pass
sys.meta_path.insert(0, Lost())
"""
"""Ctrl-C while modules are loaded, where Python ignores exceptions: a callback of its import lock."""


MODULE, _, FUNCTION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"][
    "pi-capture"
].partition(":")
SCRIPT = f"import sys; from {MODULE} import {FUNCTION}; sys.exit({FUNCTION}())"  # as pip writes it


@pytest.mark.parametrize("words", [["day1", "1", *DEMO], ["watch", "day1.model"]], ids=["record", "watch"])
@pytest.mark.parametrize("program", [["-m", "pi_capture"], ["-c", SCRIPT]], ids=["module", "script"])
def test_ctrl_c_while_it_is_loaded_is_not_lost(tmp_path: Path, program: list[str], words: list[str]) -> None:
    (tmp_path / "sitecustomize").mkdir()  # Python imports it before anything else
    (tmp_path / "sitecustomize/__init__.py").write_text(LOST)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, *program, *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "pi_capture: interrupted\n")
    assert not (tmp_path / "day1").exists()


def test_under_nohup_a_closed_terminal_is_no_end(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does it; programs that are started inherit it
    try:
        process = start(tmp_path / "day1", -1, *DEMO, "--sync-interval", 0.1)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for_frames(tmp_path / "day1")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


def test_an_interrupt_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    """As ``timeout -s INT`` gives it: to its command, and then to all of their group."""
    process = start(tmp_path / "day1", -1, *DEMO, "--sync-interval", 0.1)
    wait_for_frames(tmp_path / "day1")
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)  # so that it is another one, not the same that waits
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "aborted" not in err, err


def test_a_second_ctrl_c_aborts_and_loses_nothing_that_showed(tmp_path: Path) -> None:
    # A stopped process gets both signals at once when it goes on: the second while the first is being dealt with.
    process = start(tmp_path / "day1", -1, *DEMO, "--sync-interval", 0.1)
    wait_for_frames(tmp_path / "day1")
    process.send_signal(signal.SIGINT)
    for _ in range(200):
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    _, err = process.communicate(timeout=120)
    assert process.returncode in (0, 130)
    assert "Traceback" not in err
    shown = {file.name for file in (tmp_path / "day1").glob("*.png")}
    assert run(tmp_path / "day1", 0.2, *DEMO).returncode == 0
    files = list((tmp_path / "day1").glob("*.png"))
    assert shown < {file.name for file in files}
    assert all(fault(file.read_bytes()) is None for file in files)


BAD_USAGE = [
    ["x"],
    ["x", "abc"],
    ["x", "0"],
    ["x", "-2"],
    ["x", "nan"],
    ["x", "5", "--size", "0x0"],
    ["x", "5", "--size", "128"],
    ["x", "5", "--size", "99999x99999"],
    ["x", "5", "--fps", "0"],
    ["x", "5", "--sync-interval", "0"],
    ["x", "5", "--camera", "nonsense"],
    ["x", "5", "--camera", "demo:seed"],
    ["x", "5", "--camera", "ffmpeg:nonsense:x"],
    ["x", "5", *DEMO, "--backend", "nonsense"],
    ["x", "5", *DEMO, "--focus", "far"],
    ["x", "5", *DEMO, "--focus", "once"],  # for a Raspberry Pi camera
    ["x", "5", *DEMO, "--hdr"],
    ["x", "5", "--camera", "picamera2", "--hdr", "--jitter"],
    ["x.mka", "5", "--camera", "none", "--audio", "lavfi:sine", "--focus", "once"],
    ["x.mkv", "5", "--camera", "tcp://127.0.0.1:47613?listen&senders=2", "--focus", "once"],
]
FAILURES = [
    ["missing/parents/x", "5", *DEMO],
    ["a-file", "5", *DEMO],
    ["a-file/0", "5", *DEMO],
    ["x.h5x", "5", *DEMO],
    ["x", "5", "--camera", "v4l2:/dev/video99"],
    ["x", "5", "--camera", "v4l2:a-file"],
    ["x", "5", "--camera", "file:no-such.mp4"],
    ["x", "5", "--camera", "file:a-file"],
    ["x", "5", "--camera", "file:a-directory"],
    ["x", "5", "--camera", "picamera2:7"],
    ["x", "5", "--camera", "rtsp://127.0.0.1:9/none"],
    ["x", "5", "--camera", "screen:99.0"],
    ["a-link/0", "5", *DEMO],
]


@pytest.mark.parametrize(
    ("status", "arguments"),
    [*((2, arguments) for arguments in BAD_USAGE), *((1, arguments) for arguments in FAILURES)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_clear_line_and_changes_nothing(tmp_path: Path, status: int, arguments: list[str]) -> None:
    (tmp_path / "a-file").write_text("not a video")
    (tmp_path / "a-directory").mkdir()
    (tmp_path / "a-link").mkdir()
    (tmp_path / "a-link" / "0").symlink_to(tmp_path / "a-directory")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert "pi_capture: " in last and len(last) < 400
    if status == 1:
        assert len(done.stderr.splitlines()) == 1, done.stderr
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "a-file").read_text() == "not a video"


@pytest.mark.parametrize(
    ("camera", "meant"),
    [("clip.mp4", "file:clip.mp4"), ("a-film", "file:a-film"), ("/dev/video7", "v4l2:/dev/video7")],
)
def test_a_camera_that_is_a_path_is_understood_and_asked_about(tmp_path: Path, camera: str, meant: str) -> None:
    (tmp_path / "a-film").touch()
    done = run("x", "1min", "--camera", camera, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"pi_capture: unknown camera '{camera}'; did you mean {meant}?\n")
    assert not (tmp_path / "x").exists()


def test_a_directory_that_may_not_be_written_to(tmp_path: Path) -> None:
    closed = Path("/proc/self")  # refuses everybody, root too
    done = run(closed / "day1", 1, *DEMO)
    assert done.returncode == 1
    assert done.stderr.startswith(f"pi_capture: {closed / 'day1'}: ") and len(done.stderr.splitlines()) == 1


def test_two_recorders_in_one_directory(tmp_path: Path) -> None:
    first = start(tmp_path / "day1", -1, *DEMO, "--sync-interval", 0.1)
    wait_for_frames(tmp_path / "day1")
    second = run(tmp_path / "day1/0", 1, *DEMO)
    assert second.returncode == 1
    assert "being recorded into" in second.stderr and len(second.stderr.splitlines()) == 1
    first.send_signal(signal.SIGINT)
    assert first.wait(120) == 0
    first.communicate()
    assert not (tmp_path / "day1/0").exists()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, pi_capture.cli as cli; cli.build_parser().format_help(); "
        "heavy = 'numpy', 'av', 'cv2', 'PIL', 'h5py', 'tensorflow', 'picamera2', 'tqdm'; "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_camera_without_its_library_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    for name in [name for name in sys.modules if name.startswith("pi_capture.sources.demo")]:
        monkeypatch.delitem(sys.modules, name)
    assert main([str(tmp_path / "day1"), "1", *DEMO]) == 1
    told = capsys.readouterr().err
    assert "PIL is not installed for" in told and told.count("\n") == 1


@pytest.mark.parametrize("module", ["pi_capture", "classify", "storage", "studio"])
def test_a_python_without_the_libraries_is_told_in_one_line(tmp_path: Path, module: str) -> None:
    (tmp_path / "day1").mkdir()
    words = {
        **{
            "pi_capture": ["pi_capture", "day1", "1", *DEMO],
            "studio": ["pi_capture", "studio", "--listen", "localhost:0"],
        },
        **{"classify": ["classify", "day1"], "storage": ["storage", "info", "day1"]},
    }[module]
    # The system's own Python, outside of the virtual environment; -S: without its site-packages.
    command = [str(Path(sys.executable).resolve()), "-S", "-m", *words]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert "is not installed for" in done.stderr and done.stderr.count("\n") == 1
    assert ". .venv/bin/activate" in done.stderr
    assert list((tmp_path / "day1").iterdir()) == []


@pytest.mark.parametrize("columns", [120, 0], ids=["a terminal", "a serial console"])
def test_the_progress_line_on_a_terminal(tmp_path: Path, columns: int) -> None:
    import pty
    import termios

    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    command = [sys.executable, "-m", "pi_capture", str(tmp_path / "day1"), "2", *DEMO, "--countdown", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            chunk = os.read(controller, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(controller)
    assert process.wait(120) == 0
    text = shown.decode()
    assert "recording in 1" in text
    assert "dropped" in text and "MB/hour" in text and "s left" in text
    assert re.search(r" frames in [12]\.\d s ", text)  # the last ones may be lost on a busy machine


def test_footage_frame_by_frame(tmp_path: Path, footage: tuple[Path, int]) -> None:
    """All frames, each with exactly the decoded video's pixels and its own time."""
    import av
    import cv2
    from PIL import Image

    film, count = footage
    done = run(tmp_path / "out", -1, "--camera", f"file:{film}", "--size", "source", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["frames"], summary["size"], summary["fps"]) == (count, "480x360", 10.0)
    assert summary["dropped_queue"] == summary["dropped_camera"] == 0
    files = sorted((tmp_path / "out").glob("*.png"))
    assert len(files) == count
    timestamps_ns = open_recording(tmp_path / "out").timestamps_ns
    with av.open(str(film)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            expected = frame.to_ndarray(format="rgb24")
            assert np.array_equal(np.asarray(Image.open(files[n])), expected), n
            assert np.array_equal(cv2.imread(str(files[n]))[..., ::-1], expected), n
            assert timestamps_ns[n] == n * 100_000_000
    assert n == count - 1
    checked = subprocess.run(["pngcheck", "-q", *map(str, files)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_an_odd_name_stays_one_line(tmp_path: Path) -> None:
    done = run("a\nb\udcff", 1, "--camera", "demo", "--quiet", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr.startswith(r"a\nb\udcff: ") and done.stderr.count("\n") == 1, done
    assert len(list((tmp_path / "a\nb\udcff").glob("*.png"))) > 3

"""``python -m pi_capture watch`` as a person or a program meets it."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pi_capture import Recorder
from pi_capture.cli import main
from storage.formats.table import label_writer
from storage.labels.beside import journal_path
from storage.labels.journal import Classes, LabelJournal
from storage.learn.classifier import Classifier
from storage.learn.head import Head
from storage.learn.model import Model, write_model
from tests.pi_capture.live.test_labels import Terminal
from tests.pi_capture.live.test_preview import Screen
from tests.pi_capture.test_cli import run
from tests.support import REPOSITORY, is_running, wait_for
from tests.support.networks import COLOURS, plain, put_network

MOST_MEMORY = 100_000_000
SMOOTHED = 2  # frames, until a class that is sure is believed


def film(path: Path, *parts: tuple[str, int], fps: float = 10) -> Path:
    """A recording of pictures of one colour, so many of each."""
    with Recorder(path, fps=fps) as recorder:
        for colour, count in parts:
            for _ in range(count):
                recorder.write(plain(colour))
    return path


def watch(model: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run("watch", model, *arguments)


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


# ----------------------------------------------------------------------------------------------------- what is reported


@pytest.mark.parametrize("name", ["day1.mkv", "day1.h5"])
def test_a_recording_is_compared_with_its_labels(tmp_path: Path, name: str) -> None:
    day = film(tmp_path / name, ("red", 20), ("blue", 20), ("green", 10))
    write = label_writer(day)
    assert write is not None
    # Two are wrong, and five have no label.
    write(["red"] * 20 + ["blue"] * 18 + ["green"] * 2 + ["green"] * 5 + [None] * 5, ["red", "blue", "green"])
    done = watch(put_network(tmp_path), "--camera", f"file:{day}", "--hold", 0)
    assert done.returncode == 0, done
    said = [line.split() for line in done.stdout.splitlines()]
    begun = said.index(["is,", "said:", *COLOURS])
    rows = {row[0]: list(map(int, row[1:])) for row in said[begun + 1 : -1]}
    assert rows == {"red": [20, 0, 0], "green": [0, 5, 2], "blue": [0, 0, 18]}
    accuracy, as_said = float(said[-1][1]), float(said[-1][-5])
    assert said[-1][:6] == ["accuracy", f"{43 / 45:.3f}", "of", "45", "labelled", "frames,"]
    assert accuracy - 2 * SMOOTHED / 45 <= as_said < accuracy and "50 frames in" in done.stderr
    summary = lines_of(watch(put_network(tmp_path), "--camera", f"file:{day}", "--hold", 0, "--json-lines"))[-1]
    assert (summary["event"], summary["frames"], summary["labelled"]) == ("summary", 50, 45)
    assert summary["accuracy"] == pytest.approx(43 / 45, abs=1e-4)
    assert summary["accuracy_as_said"] == pytest.approx(as_said, abs=1e-3)
    assert summary["confusion"] == {"red": {"red": 20}, "blue": {"blue": 18}, "green": {"blue": 2, "green": 5}}


def test_classes_are_compared_by_their_names(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    film(day / "0", ("red", 10))
    film(day / "1", ("blue", 10))
    network = put_network(tmp_path)
    unknown = lines_of(watch(network, "--camera", f"file:{day}", "--hold", 0, "--json-lines"))[-1]
    assert unknown["accuracy"] == 0 and unknown["confusion"]["0"] == {"red": 10}
    with LabelJournal(journal_path(day)) as journal:
        journal.append(Classes(("red", "blue"), ("0", "1")))
    known = lines_of(watch(network, "--camera", f"file:{day}", "--hold", 0, "--json-lines"))[-1]
    assert known["accuracy"] == 1 and known["confusion"]["red"] == {"red": 10}


def test_a_line_of_json_for_each_frame(tmp_path: Path) -> None:
    day = film(tmp_path / "day1.mkv", ("red", 8), ("green", 8))
    *frames, summary = lines_of(watch(put_network(tmp_path), "--camera", f"file:{day}", "--hold", 0.25, "--json-lines"))
    assert len(frames) == 16 and all(frame["event"] == "frame" for frame in frames)
    assert [frame["timestamp_ns"] for frame in frames[:3]] == [0, 100_000_000, 200_000_000]
    assert list(frames[0]["certainties"]) == list(COLOURS) and frames[0]["certainties"]["red"] > 0.98
    said = [frame["class"] for frame in frames]
    assert said[:4] == [None, None, None, "red"]  # a class must lead for a quarter of a second
    assert said[4:11] == ["red"] * 7 and said[-1] == "green"
    assert summary["classes"] == {"red": said.count("red"), "green": said.count("green")}


def test_without_a_terminal_there_is_a_line_for_each_class(tmp_path: Path) -> None:
    day = film(tmp_path / "day1.mkv", ("red", 10), ("green", 10), ("red", 10))
    done = watch(put_network(tmp_path), "--camera", f"file:{day}")
    said = [line.split()[2] for line in done.stdout.splitlines()]
    assert said == ["red", "green", "red"] and "30 frames in" in done.stderr
    assert watch(put_network(tmp_path), "--camera", f"file:{day}", "--quiet").stdout == ""
    short = watch(put_network(tmp_path), 1.8, "--camera", f"file:{day}")
    assert [line.split()[2] for line in short.stdout.splitlines()] == ["red", "green"] and "18 frames" in short.stderr


def test_on_a_terminal_there_is_one_line_that_changes(tmp_path: Path) -> None:
    network = put_network(tmp_path)
    terminal = Terminal([sys.executable, "-m", "pi_capture", "watch", str(network), "--camera", "demo"])
    terminal.sees("red 0.")
    terminal.sees(" a second")
    terminal.process.send_signal(signal.SIGINT)
    terminal.sees(" frames in ")
    assert terminal.process.wait(120) == 0


def test_the_window_has_the_class_in_it(tmp_path: Path, screen: str) -> None:
    here = Screen(screen)
    network = put_network(tmp_path)
    options = ("--camera", "demo", "--size", "160x120", "--preview")
    watching = here.start(sys.executable, "-m", "pi_capture", "watch", str(network), *options)
    try:
        wait_for(lambda: here.window("float.tflite"))
        wait_for(lambda: "- red 0." in here.ask("xdotool", "getwindowname", here.window("float.tflite")))
    finally:
        watching.send_signal(signal.SIGINT)
    assert watching.wait(120) == 0


def test_a_reader_that_goes_away_ends_it_without_a_word(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pi_capture", "watch", str(put_network(tmp_path)), "--camera", "demo"]
    with subprocess.Popen(
        [*command, "--json-lines"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
    ) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert json.loads(watching.stdout.readline())["event"] == "frame"
        watching.stdout.close()
        assert watching.wait(120) == 1 and watching.stderr.read() == b""


# ------------------------------------------------------------------------------------------------------------ the model


def test_a_model_file(tmp_path: Path) -> None:
    """A thumbnail's mean tells the colours apart, as grey values: with weights by hand."""
    greys = np.array([0.299, 0.587, 0.114]) * 200 / 255
    weights = np.repeat(greys[None] * 2, 256, axis=0).astype(np.float32)  # the nearest of three means
    bias = (-256 * greys**2).astype(np.float32)
    head = Head(np.zeros(256, np.float32), np.ones(256, np.float32), weights, bias)
    write_model(tmp_path / "day1.model", Model(COLOURS, "thumbnail", head, None).data)
    day = film(tmp_path / "day2.mkv", ("blue", 10), ("green", 10), ("red", 10))
    done = watch(tmp_path / "day1.model", "--camera", f"file:{day}")
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["blue", "green", "red"], done


def test_what_is_no_model_costs_one_line(tmp_path: Path) -> None:
    damaged = put_network(tmp_path)
    damaged.write_bytes(b"\0".join([damaged.read_bytes()[:16], damaged.read_bytes()[17:]]))
    (tmp_path / "zip.model").write_bytes(b"PK\3\4" + b"\0" * 100)
    for name, reason in (
        ("float.tflite", "LiteRT crashes on it"),
        ("zip.model", "is no whole model file"),
        ("none.model", "No such file"),
        (".", "Is a directory"),
    ):
        done = watch(tmp_path / name, 1, "--camera", "demo")
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1 and not done.stdout and reason in line and str(tmp_path) in line, done


def test_a_model_that_fails_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([np.array([1, 0, 0], np.float32)] * 4)
    bad = Classifier(COLOURS, (16, 16), "of the test", "0" * 64, lambda pixels: next(answers))
    monkeypatch.setattr("storage.learn.classifier.open_classifier", lambda path, pixels: bad)
    day = film(tmp_path / "day1.mkv", ("red", 9))
    assert main(["watch", "bad.model", "--camera", f"file:{day}", "--quiet"]) == 1
    counts, reason = capsys.readouterr().err.splitlines()
    assert counts.startswith("4 frames in") and reason == "pi_capture: the model failed: StopIteration()"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--on", "rot=true"], "one of the model's classes: red, green, blue"),
        (["--on", "red"], "give CLASS=COMMAND"),
        (["--on", "red=no-such-command -x"], "there is no command 'no-such-command'"),
        (["--on", "red='"], "No closing quotation"),
        (["--pixels", "1..1"], "give what black and white are"),
        (["--hold", "-1"], "give seconds"),
        (["--size", "0x3"], "give WIDTHxHEIGHT"),
        (["--camera", "file:day2.mkv", "--size", "64x48"], "--size does nothing with --camera file:"),
        (["--camera", "file:day2.mkv", "--retry"], "--retry does nothing with --camera file:"),
        (["--camera", "file:day2.mkv", "--hdr"], "--hdr does nothing with --camera file:"),
        (["--camera", "demo", "--focus", "once"], "--focus: demo:0 takes none"),
        (["--identity", "day.pem"], "--identity does nothing without a tls://"),
        (["--camera", "tcp://0.0.0.0:7000?listen&senders=2"], "senders= is for recording"),
    ],
)
def test_wrong_usage(tmp_path: Path, options: list[str], reason: str) -> None:
    done = watch(put_network(tmp_path), 1, "--camera", "demo", *options)
    assert done.returncode == 2 and reason in done.stderr and len(done.stderr.splitlines()) == 1, done


def test_who_can_be_heard_is_told(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        url = f"tcp://0.0.0.0:{taken.getsockname()[1]}?listen"
        done = watch(put_network(tmp_path), 1, "--camera", url)
    warning, *_, reason = done.stderr.splitlines()
    assert done.returncode == 1 and "not encrypted, and open to all" in warning and "in use" in reason, done


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    done = watch(put_network(tmp_path), 1, "--camera", "v4l2:/dev/video99")
    assert done.returncode == 1 and "/dev/video99" in done.stderr and len(done.stderr.splitlines()) <= 2, done
    done = watch(put_network(tmp_path), "--camera", f"file:{tmp_path}/none.mkv")
    assert done.returncode == 1 and "no such recording" in done.stderr, done


def test_it_takes_little_memory(tmp_path: Path) -> None:
    words = ["pi_capture", "watch", str(put_network(tmp_path)), "2", "--camera", "demo", "--quiet"]
    program = "import runpy, sys; sys.argv = sys.argv[1:]\n"
    program += "try: runpy.run_module('pi_capture', run_name='__main__', alter_sys=True)\n"
    program += "finally: print(*(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    most = re.search(r"VmHWM:\s+([0-9]+) kB", done.stdout)
    assert done.returncode == 0 and most and int(most[1]) * 1024 < MOST_MEMORY, done


# ------------------------------------------------------------------------------------------------------------- commands


def logging(log: Path, more: str = "") -> str:
    """A command that notes its class, its certainty and its process in a file."""
    program = (
        f"import os; print(os.environ['PI_CAPTURE_CLASS'], os.environ['PI_CAPTURE_CERTAINTY'], os.getpid(), {more!r}"
    )
    program += f", file=open({str(log)!r}, 'a'))"
    return shlex.join([sys.executable, "-c", program])


def test_commands_are_run_when_a_class_begins(tmp_path: Path) -> None:
    day = film(tmp_path / "day1.mkv", ("red", 20), ("green", 20), ("red", 20), fps=20)
    log = tmp_path / "log"
    on = ("--on", f"red={logging(log)}", "--on", f"green={logging(log)}")
    done = watch(put_network(tmp_path), "--camera", f"file:{day}", "--json-lines", *on)
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) == 3)
    said = [line.split() for line in log.read_text().splitlines()]
    assert [name for name, *_ in said] == ["red", "green", "red"]
    assert all(float(certainty) > 0.98 for _, certainty, _ in said)
    assert len(lines_of(done)) == 61  # nothing of the commands is among it


def test_no_shell_reads_a_command(tmp_path: Path) -> None:
    day = film(tmp_path / "day1.mkv", ("red", 20))
    command = f"echo $HOME ; `id` > {tmp_path}/x 'a  b'"
    done = watch(put_network(tmp_path), "--camera", f"file:{day}", "--on", f"red={command}")
    assert f"$HOME ; `id` > {tmp_path}/x a  b" in done.stderr and not (tmp_path / "x").exists(), done


def test_a_command_is_not_started_while_it_runs(tmp_path: Path) -> None:
    day = film(tmp_path / "day1.mkv", *[("red", 10), ("green", 10)] * 3, fps=20)
    log = tmp_path / "log"
    program = f"import time; print(1, file=open({str(log)!r}, 'a')); time.sleep(600)"
    began = time.monotonic()
    done = watch(
        put_network(tmp_path),
        *("--camera", f"file:{day}", "--hold", 0.1, "--on", f"red={shlex.join([sys.executable, '-c', program])}"),
    )
    assert done.returncode == 0 and time.monotonic() - began < 60  # it was not waited for
    assert log.read_text() == "1\n"
    assert "--on red: its command still runs" in done.stderr and "2 times its command still ran" in done.stderr, done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_command_outlives_the_program(tmp_path: Path, number: signal.Signals) -> None:
    """Nor what it started, and what takes no notice of SIGTERM."""
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"
    command = [sys.executable, "-m", "pi_capture", "watch", str(put_network(tmp_path)), "--camera", "demo", "--quiet"]
    on = f"red={shlex.join(['sh', '-c', script])}"
    with subprocess.Popen([*command, "--on", on], stderr=subprocess.PIPE, cwd=REPOSITORY) as watching:
        wait_for(pids.exists)
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(map(is_running, started))
        watching.send_signal(number)
        assert watching.wait(120) == (-9 if number == signal.SIGKILL else 0)
        wait_for(lambda: not any(map(is_running, started)))

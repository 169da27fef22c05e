"""A running recording's numbers: ``--metrics`` over real HTTP, ``--json-lines`` on stdout."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.pi_capture.test_cli import DEMO, run, wait_for_frames
from tests.support import wait_for

Start = Callable[..., subprocess.Popen[str]]


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    match = re.fullmatch(r"metrics at (http://127\.0\.0\.1:\d+/metrics)\n", process.stderr.readline())
    assert match is not None
    return match[1]


def read(url: str) -> dict[str, float]:
    """Name with labels → value, checked for what Prometheus' text format demands."""
    with urllib.request.urlopen(url, timeout=120) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    assert text.endswith("\n")
    values, typed = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split()
            assert kind in ("counter", "gauge") and name.endswith("_total") == (kind == "counter")
            typed.add(name)
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z_]+)(\{cause="[a-z]+"\})? (\S+)', line)
            assert match is not None and match[1] in typed, line
            values[match[1] + (match[2] or "")] = float(match[3])
    return values


def test_metrics_of_a_running_recording(tmp_path: Path, started: Start) -> None:
    process = started(tmp_path / "day1", -1, *DEMO, "--metrics", 0, "--sync-interval", 0.1)
    url = url_of(process)
    wait_for_frames(tmp_path / "day1")
    first = read(url)
    while (last := read(url))["pi_capture_durable_frames_total"] <= first["pi_capture_durable_frames_total"] + 20:
        time.sleep(0.02)
    assert last["pi_capture_frames_total"] >= last["pi_capture_durable_frames_total"] > 20
    assert last["pi_capture_durable_frames_total"] <= len(list((tmp_path / "day1").glob("*.png")))
    assert last["pi_capture_written_bytes_total"] > first["pi_capture_written_bytes_total"]
    assert last["pi_capture_frames_per_second"] > 0 and last["pi_capture_free_bytes"] > 0
    assert 0 <= last["pi_capture_queue_fill_ratio"] <= 1 and last["pi_capture_seconds_since_durable"] >= 0
    assert {f'pi_capture_dropped_frames_total{{cause="{cause}"}}' for cause in ("queue", "camera", "disk")} < set(last)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url + "x", timeout=120)
    with socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0]))):  # one who never asks
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and len(err.splitlines()) == 1


def test_idle_clients_cost_no_descriptors_and_keep_nobody_out(tmp_path: Path, started: Start) -> None:
    process = started(tmp_path / "day1", -1, *DEMO, "--metrics", 0)
    url = url_of(process)
    wait_for_frames(tmp_path / "day1")
    descriptors = Path(f"/proc/{process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with ExitStack() as idle:
        for _ in range(300):
            client = idle.enter_context(socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0]))))
            with suppress(ConnectionError):
                client.send(b"G")
        assert read(url)["pi_capture_frames_total"] > 0
        assert len(list(descriptors.iterdir())) < before + 40
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "full queue" not in err, err


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:9", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("a.example", 421), ("", 421)]
)
def test_pages_that_mean_this_machine_by_another_name_learn_nothing(
    tmp_path: Path, started: Start, host: str, status: int
) -> None:
    process = started(tmp_path / "day1", -1, *DEMO, "--metrics", 0)
    request = urllib.request.Request(url_of(process), headers={"Host": host})
    try:
        assert urllib.request.urlopen(request, timeout=120).status == status
    except urllib.error.HTTPError as error:
        assert error.code == status and b"frames" not in error.read()


def test_when_nothing_becomes_durable_the_seconds_grow(tmp_path: Path, started: Start) -> None:
    process = started(tmp_path / "day1", -1, *DEMO, "--metrics", 0, "--sync-interval", 1000)
    url = url_of(process)
    wait_for(lambda: read(url)["pi_capture_frames_total"] >= 30, "30 frames")
    first = read(url)
    time.sleep(0.05)
    second = read(url)
    assert second["pi_capture_durable_frames_total"] == 0
    assert second["pi_capture_seconds_since_durable"] > first["pi_capture_seconds_since_durable"] > 0.4
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.parametrize("unwanted", ["hours", "motion"])
def test_while_no_frame_is_wanted_the_seconds_stay(tmp_path: Path, started: Start, unwanted: str) -> None:
    """An alarm on them would ring every night."""
    hour = (time.localtime().tm_hour + 12) % 24
    words = {"hours": ["--between", f"{hour:02}:00-{hour:02}:01"], "motion": ["--on-motion", 99]}[unwanted]
    process = started(tmp_path / "day1", -1, *DEMO, "--metrics", 0, *words)
    url = url_of(process)
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 6, "six seconds without a frame")
    assert read(url)["pi_capture_seconds_since_durable"] < 4
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)


def test_a_port_in_use_is_told_before_anything_is_recorded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(tmp_path / "day1", 1, *DEMO, "--metrics", taken.getsockname()[1])
    assert done.returncode == 1 and done.stdout == ""
    assert "the port is in use" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "day1").exists()


@pytest.mark.parametrize("port", ["x", "-1", "65536", "1.5"])
def test_a_port_that_is_none(tmp_path: Path, port: str) -> None:
    assert run(tmp_path / "day1", 1, *DEMO, f"--metrics={port}").returncode == 2
    assert not (tmp_path / "day1").exists()


def test_json_lines(tmp_path: Path) -> None:
    done = run(tmp_path / "day1", 4, *DEMO, "--json-lines", "--sync-interval", 0.2)
    assert done.returncode == 0
    *statuses, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(statuses) >= 2 and all(line["event"] == "status" for line in statuses)
    assert list(statuses[0]) == [
        "event", "frames", "durable", "dropped_queue", "dropped_camera", "dropped_disk", "bytes", "fps", "queue_fill",
        "free_bytes", "seconds_since_durable",
    ]  # fmt: skip
    frames = [line["frames"] for line in statuses]
    assert frames == sorted(frames) and frames[-1] > frames[0]
    assert all(line["durable"] <= line["frames"] for line in statuses)
    assert summary["event"] == "summary"
    assert summary["frames"] == len(list((tmp_path / "day1").glob("*.png"))) >= frames[-1]


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "asleep"])
def test_a_reader_of_json_lines_is_not_waited_for(tmp_path: Path, gone: bool, started: Start) -> None:
    """Nobody reads: the pipe is closed, or full. The recording goes on, and ends well."""
    import fcntl
    import os

    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    if gone:
        os.close(reader)
    else:
        os.write(writer, bytes(4000))
    process = started(tmp_path / "day1", -1, *DEMO, "--json-lines", "--sync-interval", 0.1, stdout=writer)
    os.close(writer)
    wait_for(lambda: len(list((tmp_path / "day1").glob("*.png"))) >= 150, "150 frames", process)
    process.send_signal(signal.SIGINT)
    if not gone:
        while os.read(reader, 65536):
            pass
        os.close(reader)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "Error" not in err, err

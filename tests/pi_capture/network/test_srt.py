"""Frames by SRT, over this machine's loopback and a bad line, through the real program."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from storage import open_recording
from tests.pi_capture.network.test_sender import demo, end, free_port, start
from tests.support.live import sensor
from tests.support.network import Line


def wait_for_udp(port: int, *, prefix: tuple[str, ...] = ()) -> None:
    until = time.monotonic() + 30
    while (
        f":{port} " not in subprocess.run([*prefix, "ss", "-Hlun"], capture_output=True, text=True, check=True).stdout
    ):
        assert time.monotonic() < until, "nobody listens"
        time.sleep(0.05)


def sending(target: Path, seconds: float, url: str) -> tuple[object, ...]:
    return (*demo(target, seconds, 1)[:-1], url)


def check_received(sent: Path, received: Path, least: int, *, broke_off: bool = False) -> None:
    """Each frame is one that was sent, bit by bit, and as far from the first as it was there, but for its way."""
    with open_recording(sent) as theirs, open_recording(received) as ours:
        assert len(ours) >= least
        places = {time_ns: index for index, time_ns in enumerate(theirs.timestamps_ns)}
        for frame in ours:
            original = theirs.read(places[frame.metadata["sender_timestamp_ns"]])
            assert np.array_equal(frame.pixels, original.pixels)
            assert "clock_offset_ns" not in frame.metadata
        details = ours.sessions[0]["details"]
        assert details["clocks"].startswith("not compared") and details["clock_offset_ns"] is None
        assert details["sender"]["camera"] == "demo"
        assert list(ours.timestamps_ns) == sorted(set(ours.timestamps_ns))
        late = [frame.timestamp_ns - frame.metadata["sender_timestamp_ns"] for frame in ours]
        if not broke_off:
            assert abs(late[0] - late[-1]) < 50e6, (late[0] / 1e6, late[-1] / 1e6)


@pytest.mark.parametrize("listening", ["receiver", "sender"])
def test_every_frame_arrives_encrypted(tmp_path: Path, listening: str) -> None:
    url = f"srt://127.0.0.1:{free_port()}?passphrase=not-a-secret"
    port = int(url.rpartition(":")[2].partition("?")[0])
    receive = (tmp_path / "here.mkv", -1, "--camera", url, "--size", "source")
    send = sending(tmp_path / "there.mkv", 4 if listening == "receiver" else 8, url)  # a receiver takes time to start
    if listening == "receiver":
        receiver = start(*receive[:3], f"{url}&listen", *receive[4:])
        wait_for_udp(port)
        sender = start(*send)
    else:
        sender = start(*send[:-1], f"{url}&listen")
        wait_for_udp(port)
        receiver = start(*receive)
    said = end(sender)
    assert "connected" in said and "not-a-secret" not in said, said
    told = end(receiver)  # when the sender says that it was the last frame
    assert "not-a-secret" not in told
    check_received(tmp_path / "there.mkv", tmp_path / "here.mkv", 60)
    with open_recording(tmp_path / "here.mkv") as ours:
        assert f" {len(ours)} frames sent" in said, said
    assert b"not-a-secret" not in (tmp_path / "here.mkv").read_bytes()


def test_samples_come_along(tmp_path: Path) -> None:
    """Dated like the pictures: by what came quickest."""
    port = free_port()
    receiver = start(tmp_path / "here.mkv", -1, "--camera", f"srt://127.0.0.1:{port}?listen", "--size", "source")
    wait_for_udp(port)
    beside = ("--sensor", f"imu,rate=100,channels=2={sensor(100, 2)}")
    end(start(*sending(tmp_path / "there.mkv", 4, f"srt://127.0.0.1:{port}"), *beside))
    end(receiver)
    with open_recording(tmp_path / "there.mkv") as theirs, open_recording(tmp_path / "here.mkv") as ours:
        (there, sent), (here, came) = theirs.tracks[0].read(), ours.tracks[0].read()
        assert len(came) > 200 and came.tobytes() == sent[-len(came) :].tobytes()
        last = ours.read(len(ours) - 1)
        late = last.timestamp_ns - last.metadata["sender_timestamp_ns"]
        assert abs(here[-1] - there[-1] - late) < 10e6


@pytest.mark.slow
def test_a_program_that_dies_does_not_hurt_the_recording(tmp_path: Path) -> None:
    port = free_port()
    receiver = start(tmp_path / "here.mkv", -1, "--camera", f"srt://127.0.0.1:{port}?listen", "--size", "source")
    wait_for_udp(port)
    sender = start(*sending(tmp_path / "there.mkv", 8, f"srt://127.0.0.1:{port}"))
    until = time.monotonic() + 30
    while not (tmp_path / "here.mkv").exists() or (tmp_path / "here.mkv").stat().st_size < 50_000:
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(child_of(sender.pid), signal.SIGKILL)
    told = end(sender)
    assert "connection lost" in told and told.count(": connected") == 2, told
    end(receiver)
    check_received(tmp_path / "there.mkv", tmp_path / "here.mkv", 60, broke_off=True)
    with open_recording(tmp_path / "there.mkv") as theirs:
        assert theirs.timestamps_ns[-1] - theirs.timestamps_ns[0] > 7.9e9


def child_of(pid: int) -> int:
    found = subprocess.run(["pgrep", "-P", str(pid), "ffmpeg"], capture_output=True, text=True, check=True).stdout
    return int(found.split()[0])


def test_nobody_there_and_no_program(tmp_path: Path) -> None:
    url = f"srt://127.0.0.1:{free_port()}"
    told = end(start(tmp_path / "day1", 1, "--camera", url), 1)
    assert len(told.splitlines()) == 1 and "can't be reached (no answer" in told, told
    told = end(start(*sending(tmp_path / "there.mkv", 4, url)))
    assert told.count("no answer") == 1 and "the recording goes on" in told and "0 frames sent" in told, told
    before = os.environ["PATH"]
    try:
        os.environ["PATH"] = "/nowhere"
        without = start(tmp_path / "day1", 1, "--camera", "demo", "--stream-to", url)
    finally:
        os.environ["PATH"] = before
    told = end(without, 1)
    assert len(told.splitlines()) == 1 and "sudo apt install ffmpeg" in told, told
    assert [path.name for path in tmp_path.iterdir()] == ["there.mkv"]


def test_what_another_program_sends_is_received(tmp_path: Path) -> None:
    """A device that sends MPEG-TS in SRT's live mode."""
    port = free_port()
    receiver = start(
        tmp_path / "here", -1, "--camera", f"srt://127.0.0.1:{port}?listen&transtype=live", "--size", "64x48"
    )
    wait_for_udp(port)
    pictures = ["-re", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=3", "-c:v", "mpeg2video", "-g", "5"]
    subprocess.run(
        ["ffmpeg", "-v", "error", *pictures, "-f", "mpegts", f"srt://127.0.0.1:{port}?pkt_size=1316"], check=True
    )
    time.sleep(0.5)
    receiver.send_signal(signal.SIGINT)
    receiver.communicate(timeout=30)
    with open_recording(tmp_path / "here") as ours:
        assert len(ours) > 5 and ours.read(0).pixels.shape == (48, 64, 3)


@pytest.mark.slow
def test_a_bad_line(tmp_path: Path) -> None:
    """40 ms there and 40 ms back, and one packet in fifty lost."""
    with Line(0.04, 0.02) as between:
        receiver = start(
            tmp_path / "here.mkv", -1, "--camera", "srt://10.77.0.2:5000?listen", "--size", "source", on=(between, 1)
        )
        wait_for_udp(5000, prefix=tuple(between.run(1)))
        sender = start(*sending(tmp_path / "there.mkv", 5, "srt://10.77.0.2:5000"), on=(between, 0))
        assert "connected" in end(sender)
        end(receiver)
    check_received(tmp_path / "there.mkv", tmp_path / "here.mkv", 60)

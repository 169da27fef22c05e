"""Several machines' frames into one file: real recorders send, one of them dies, or the one that receives."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import open_recording
from storage.care.info import as_json, describe
from storage.errors import StorageError
from storage.formats.video.writer import VideoReader
from storage.tracks.demux import facts_of_packet, open_media, packets_of, tracks_of
from tests.pi_capture.live.test_labels import Terminal, label_a_while, recording
from tests.pi_capture.network.test_sender import (
    HandMade,
    demo,
    end,
    start,
    stop,
    wait_for_frames,
)
from tests.pi_capture.report.test_metrics import read, url_of
from tests.support import REPOSITORY, wait_for
from tests.support.live import sensor
from tests.support.network import Line
from tests.support.ports import free_port, wait_for_listener


def gather(target: Path, port: int, *options: object, seconds: float = -1, senders: int = 2) -> subprocess.Popen[str]:
    url = f"tcp://127.0.0.1:{port}?listen&senders={senders}"
    receiver = start(target, seconds, "--camera", url, "--size", "source", "--json", *options)
    wait_for_listener(port)
    return receiver


def other_demo(target: Path, seconds: float, port: int) -> tuple[object, ...]:
    return (target, seconds, "--camera", "demo:7", "--size", "64x48", "--stream-to", f"tcp://127.0.0.1:{port}")


def two_senders(directory: Path, port: int, size: int = 100_000) -> list[subprocess.Popen[str]]:
    """Two that go on until they are stopped; frames of both have come."""
    senders = [start(*demo(directory / "one.mkv", -1, port)), start(*other_demo(directory / "two.mkv", -1, port))]
    wait_for_frames(directory / "all.parts" / "*-demo.mkv", size)
    wait_for_frames(directory / "all.parts" / "*-demo-7.mkv", size)
    return senders


def wait_for_count(parts: Path, count: int) -> None:
    """Wait until so many frames are in the parts, whatever the part."""

    def found() -> int:
        total = 0
        for path in parts.glob("*.mkv"):
            with suppress(StorageError, OSError), open_recording(path) as part:
                total += len(part)
        return total

    wait_for(lambda: found() >= count, f"{count} frames in {parts}")


def tracks_in(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Of each track of pictures, by name: when each frame is in the file and when it was received, in nanoseconds."""
    with open_media(path) as container:
        tracks = tracks_of(container)
    found = {}
    for track in tracks:
        with open_media(path) as container:
            packets = list(packets_of(container, track.number))
        if track.kind == "pictures":
            found[track.name] = [
                (round(packet.pts * packet.time_base * 10**9), facts_of_packet(packet)["timestamp_ns"])
                for packet in packets
            ]
    return found


def assert_on_one_clock(tracks: dict[str, list[tuple[int, int]]]) -> None:
    """The file's time and the receiver's clock differ by the same everywhere, to the millisecond that the file has."""
    apart = [there - here for track in tracks.values() for there, here in track]
    assert max(apart) - min(apart) <= 1_100_000, (max(apart) - min(apart)) / 1e6


def names(tracks: dict[str, list[tuple[int, int]]]) -> list[str]:
    return sorted(name.partition("-demo")[2] for name in tracks)


def test_each_sender_becomes_a_track(tmp_path: Path) -> None:
    port, began = free_port(), time.time()
    receiver = gather(tmp_path / "all.mkv", port)
    for sender in two_senders(tmp_path, port, 300_000):
        stop(sender)
    out, told = receiver.communicate(timeout=120)
    assert receiver.returncode == 0, told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.mkv", "one.mkv", "two.mkv"]
    tracks = tracks_in(tmp_path / "all.mkv")
    assert names(tracks) == ["", "-7"]
    assert_on_one_clock(tracks)
    counts = sorted(len(track) for track in tracks.values())
    assert counts[0] > 10 and json.loads(out)["frames"] == sum(counts)
    rows = [row for row in as_json(describe(tmp_path / "all.mkv"))["tracks"] if row["kind"] == "pictures"]
    assert [row["host"] for row in rows] == [socket.gethostname()] * 2
    for row in rows:
        (session,) = describe(tmp_path / "all.mkv", track=row["number"]).sessions
        assert session.facts["camera"] == row["camera"] and f"tcp://127.0.0.1:{port}" in row["camera"]
        assert session.begun is not None and began < session.begun < time.time()
        assert session.frames == len(tracks[row["name"]])
    with open_recording(tmp_path / "all.mkv") as ours:
        first = ours.read(5)
        own = tmp_path / ("one.mkv" if first.pixels.shape == (64, 96, 3) else "two.mkv")
        with open_recording(own) as theirs:
            place = theirs.timestamps_ns.index(first.metadata["sender_timestamp_ns"])
            assert np.array_equal(theirs.read(place).pixels, first.pixels)


def test_the_numbers_of_all_senders_together(tmp_path: Path) -> None:
    port = free_port()
    receiver = gather(tmp_path / "all.mkv", port, "--json-lines", "--metrics", 0)
    url = url_of(receiver)
    senders = two_senders(tmp_path, port)
    wait_for(lambda: read(url)["pi_capture_durable_frames_total"] >= 60, "60 frames", receiver)
    for sender in senders:
        sender.send_signal(signal.SIGSTOP)
    assert receiver.stdout is not None
    counts = [0]
    while counts[-2:] != [counts[-1]] * 2 or counts[-1] < 60:  # all that was sent is in the last one
        counts.append(json.loads(receiver.stdout.readline())["frames"])
    receiver.send_signal(signal.SIGINT)
    out, told = receiver.communicate(timeout=120)
    assert receiver.returncode == 0, told
    for sender in senders:
        sender.send_signal(signal.SIGCONT)
        stop(sender)
    *statuses, summary = [json.loads(line) for line in out.splitlines()]
    counts += [line["frames"] for line in statuses]
    with (
        open_recording(tmp_path / "all.mkv", track="0") as first,
        open_recording(tmp_path / "all.mkv", track="1") as other,
    ):
        assert summary["event"] == "summary" and summary["frames"] == len(first) + len(other)
        assert counts == sorted(counts) and max(len(first), len(other)) < counts[-1] <= summary["frames"]


def test_a_sender_that_is_killed_does_not_hurt_the_others(tmp_path: Path) -> None:
    port = free_port()
    receiver = gather(tmp_path / "all.mkv", port)
    dies, lives = two_senders(tmp_path, port)
    dies.kill()
    dies.communicate()
    again = start(*demo(tmp_path / "one-more.mkv", -1, port))  # as after a power cut, it takes its old place
    assert receiver.stderr is not None
    told = ""
    while "is back" not in told:
        told += (line := receiver.stderr.readline())
        assert line, told
    left = stop(lives)
    stop(again)
    told += end(receiver)
    assert "broke off; the others go on" in told, told
    tracks = tracks_in(tmp_path / "all.mkv")
    with open_recording(tmp_path / "two.mkv") as theirs:
        whole = next(track for name, track in tracks.items() if name.endswith("-7"))
        counts = re.search(r"(\d+) frames sent, (\d+) dropped", left)
        assert counts is not None, left
        sent, before = map(int, counts.groups())  # before it was connected
        assert len(whole) == sent and len(theirs) <= sent + before, left
    assert len(tracks) == 2
    assert_on_one_clock(tracks)


@pytest.mark.slow
def test_a_sender_that_comes_back_goes_on_in_its_track(tmp_path: Path) -> None:
    """Its connection breaks, not the sender: what is between them hangs up once."""
    port, middle = free_port(), free_port()
    receiver = gather(tmp_path / "all.mkv", port)
    relay = [sys.executable, "-c", RELAY, str(middle), str(port)]
    between = subprocess.Popen(relay)
    wait_for_listener(middle)
    comes_back = start(*demo(tmp_path / "one.mkv", 6, middle))
    lives = start(*other_demo(tmp_path / "two.mkv", 6, port))
    wait_for_frames(tmp_path / "all.parts" / "*-demo.mkv")
    between.kill()
    between.wait()
    between = subprocess.Popen(relay)
    end(comes_back)
    end(lives)
    between.kill()
    between.wait()
    told = end(receiver)
    assert "is back" in told, told
    tracks = tracks_in(tmp_path / "all.mkv")
    assert names(tracks) == ["", "-7"]
    assert_on_one_clock(tracks)


RELAY = """
import socket, sys, threading
def carry(one, other):
    try:
        while data := one.recv(65536): other.sendall(data)
    except OSError: pass
    try: other.shutdown(socket.SHUT_WR)
    except OSError: pass
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        one = server.accept()[0]
        other = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
        for pair in ((one, other), (other, one)):
            threading.Thread(target=carry, args=pair, daemon=True).start()
"""


def test_a_receiver_that_is_killed_leaves_every_part(tmp_path: Path) -> None:
    port = free_port()
    receiver = gather(tmp_path / "all.mkv", port, "--json-lines")
    senders = two_senders(tmp_path, port)
    assert receiver.stdout is not None
    durable = 0
    while durable < 60:
        durable = json.loads(receiver.stdout.readline())["durable"]
    receiver.kill()
    receiver.communicate()
    for sender in senders:
        stop(sender)
    assert not (tmp_path / "all.mkv").exists()

    told = end(start(tmp_path / "all.mkv", 1, "--camera", f"tcp://127.0.0.1:{port}?listen&senders=2"), 1)
    assert len(told.splitlines()) == 1 and "python -m storage merge-streams" in told, told
    parts = sorted((tmp_path / "all.parts").glob("*.mkv"))
    merge = [sys.executable, "-m", "storage", "merge-streams", str(tmp_path / "all.mkv"), *map(str, parts)]
    subprocess.run(merge, check=True, capture_output=True, cwd=REPOSITORY)
    tracks = tracks_in(tmp_path / "all.mkv")
    assert names(tracks) == ["", "-7"]
    assert_on_one_clock(tracks)
    assert sum(map(len, tracks.values())) >= durable


def test_sensors_sound_and_labels_of_each_sender(tmp_path: Path) -> None:
    """Named after who sends them, as they were sent, and at their time beside that sender's pictures."""
    port = free_port()
    receiver = gather(tmp_path / "all.mkv", port)
    imu, sound = f"imu,rate=100,channels=2,unit=N,labels=x|y={sensor(100, 2)}", "lavfi:sine=sample_rate=8000"
    one = start(*demo(tmp_path / "one.mkv", -1, port), "--sensor", imu, "--audio", sound)
    to = f"tcp://127.0.0.1:{port}"
    two = Terminal(recording(tmp_path / "two.mkv", "--camera", "demo:7", "--sensor", imu, "--stream-to", to))
    known = label_a_while(two)
    two.press("\x03")
    assert two.ends() == 0, two.shown
    two.close()
    wait_for_frames(tmp_path / "all.parts" / "*-demo.mkv")
    stop(one)
    out, told = receiver.communicate(timeout=120)
    assert receiver.returncode == 0, told
    assert [path.name for path in sorted(tmp_path.iterdir()) if path.name[:3] == "all"] == ["all.mkv"]
    host = socket.gethostname()
    with open_media(tmp_path / "all.mkv") as container:
        tracks = {track.name.removeprefix(f"{host}-"): track for track in tracks_of(container)}
    assert set(tracks) == {"demo", "demo-imu", "demo-sound", "demo-7", "demo-7-imu", "demo-7-labels"}, tracks
    assert tracks["demo-7-imu"].tags["CHANNEL_LABELS"] == "x|y" and tracks["demo-7-imu"].tags["UNIT"] == "N"
    assert set(json.loads(out)["tracks"]) == {f"{host}-{name}" for name in ("demo-imu", "demo-sound", "demo-7-imu")}
    assert_on_one_clock(tracks_in(tmp_path / "all.mkv"))

    def packets(number: int) -> list[Any]:
        with open_media(tmp_path / "all.mkv") as container:
            return list(packets_of(container, number))

    first = packets(tracks["demo-7"].number)[0]
    clock_ns = facts_of_packet(first)["timestamp_ns"] - round(first.pts * first.time_base * 10**9)
    for name, camera in (("one", "demo"), ("two", "demo-7")):
        came = packets(tracks[f"{camera}-imu"].number)
        facts = [facts_of_packet(packet)["metadata"] for packet in packets(tracks[camera].number)]
        off_ns = 2 * max(fact["clock_uncertainty_ns"] for fact in facts)  # of these samples, and of `first`
        with VideoReader(tmp_path / f"{name}.mkv") as theirs:
            times, samples = theirs.tracks[0].read()
        assert b"".join(map(bytes, came)) == samples.tobytes()
        for packet in came:
            (place,) = np.flatnonzero(samples[:, 0] == np.frombuffer(bytes(packet), "<f4")[0])
            assert abs(packet.pts * packet.time_base * 10**9 + clock_ns - times[place]) < off_ns + 3e6
    spoken = [
        (
            float(packet.pts * packet.time_base) + clock_ns / 1e9,
            float(packet.duration * packet.time_base),
            bytes(packet),
        )
        for packet in packets(tracks["demo-7-labels"].number)
    ]
    assert {text.decode() for *_, text in spoken} == {"none", "door", "light"}
    off = off_ns / 1e9 + 0.02
    frames = [facts_of_packet(packet)["timestamp_ns"] / 1e9 for packet in packets(tracks["demo-7"].number)]

    def label_of(time: float) -> str | None:
        at = time + 0.005  # the file has milliseconds
        return next((text.decode() for begin, lasting, text in spoken if begin <= at < begin + lasting), None)

    for since, until, label in known:
        within = {label_of(time) for time in frames if since + off < time < until - off}
        assert within == {label}, (label, within)


def test_two_clocks_and_a_bad_line(tmp_path: Path) -> None:
    """40 ms there and 40 ms back, one packet in fifty lost; the senders' clocks are 1000 and 500 s ahead of ours."""
    with Line(0.04, 0.02) as between:
        url = "tcp://10.77.0.2:5000?listen&senders=2"
        receiver = start(tmp_path / "all.mkv", -1, "--camera", url, "--size", "source", on=(between, 1))
        wait_for_listener(5000, prefix=tuple(between.run(1)))
        one = start(*demo(tmp_path / "one.mkv", 4, 5000, host="10.77.0.2"), on=(between, 0), ahead=1000)
        two = start(*demo(tmp_path / "two.mkv", 4, 5000, host="10.77.0.2"), on=(between, 0), ahead=500)
        for process in (one, two, receiver):
            end(process)
    tracks = tracks_in(tmp_path / "all.mkv")
    assert len(tracks) == 2
    assert_on_one_clock(tracks)
    received = [here for track in tracks.values() for _, here in track]
    assert max(received) - min(received) < 60e9


def test_time_is_up_for_all_at_once(tmp_path: Path) -> None:
    port = free_port()
    receiver = gather(tmp_path / "all.mkv", port, seconds=2)
    senders = [start(*demo(tmp_path / "one.mkv", -1, port)), start(*other_demo(tmp_path / "two.mkv", -1, port))]
    end(receiver)
    for sender in senders:
        stop(sender)
    received = [here for track in tracks_in(tmp_path / "all.mkv").values() for _, here in track]
    assert max(received) - min(received) < 2e9


def test_strangers_are_turned_away(tmp_path: Path) -> None:
    port = free_port()
    receiver = gather(tmp_path / "all.mkv", port)
    silent = socket.create_connection(("127.0.0.1", port))  # it says nothing, and keeps nobody waiting
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(1000))
        with suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    senders = two_senders(tmp_path, port)
    end(start(*demo(tmp_path / "three.mkv", 1, port)))
    for sender in senders:
        stop(sender)
    silent.close()
    told = end(receiver)
    assert "a program that is no --stream-to" in told and "there are enough" in told, told
    assert names(tracks_in(tmp_path / "all.mkv")) == ["", "-7"]


def test_it_ends_at_once_when_it_is_told_to(tmp_path: Path) -> None:
    """While one sender is there, and one has broken off."""
    port = free_port()
    receiver = gather(tmp_path / "all.mkv", port)
    dies, lives = two_senders(tmp_path, port)
    dies.kill()
    dies.communicate()
    told = stop(receiver)
    stop(lives)
    assert "vanished" not in told and "-demo: stopped" in told, told  # it was not waited for
    assert len(set(told.splitlines())) == len(told.splitlines()), told
    assert names(tracks_in(tmp_path / "all.mkv")) == ["", "-7"]


def test_another_machine_of_the_same_name_gets_a_track_of_its_own(tmp_path: Path) -> None:
    port = free_port()
    receiver = gather(tmp_path / "all.mkv", port)
    facts = {"host": "shed", "camera": "demo"}
    for number, machine in enumerate(("one", "two", "one")):
        sender = HandMade(machine=machine, sender=str(number), **facts)
        sender.serve(port, sender.opening() + sender.frame(number * 10), end=None if number < 2 else 21)
        wait_for_count(tmp_path / "all.parts", number + 1)
    receiver.send_signal(signal.SIGINT)
    end(receiver)
    tracks = tracks_in(tmp_path / "all.mkv")
    assert {name: len(track) for name, track in tracks.items()} == {"shed-demo": 2, "shed-demo-2": 1}


@pytest.mark.parametrize(
    ("target", "given", "status", "complaint"),
    [
        ("all", "?listen&senders=2", 2, "into a .mkv"),
        ("all.mkv", "?senders=2", 2, "senders= is for"),
        ("all.mkv", "?listen&senders=x", 2, "senders= is the number of"),
        ("all.mkv", "?listen&senders=2 --segment 1h", 2, "--segment: not with several"),
        ("there.mkv", "?listen&senders=2", 1, "is there already"),
    ],
)
def test_what_can_not_be(tmp_path: Path, target: str, given: str, status: int, complaint: str) -> None:
    url, *more = f"tcp://127.0.0.1:5000{given}".split()
    (tmp_path / "there.mkv").write_bytes(b"x")
    told = end(start(tmp_path / target, 1, "--camera", url, *more), status)
    assert len(told.splitlines()) == 1 and complaint in told, told
    assert [path.name for path in tmp_path.iterdir()] == ["there.mkv"]

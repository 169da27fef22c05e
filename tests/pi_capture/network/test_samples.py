"""Sensors and sound from one machine to another beside the pictures: what arrives, and what can go wrong."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import open_recording
from storage.errors import StorageError
from storage.formats.video.codecs import Encoder, find_codec
from storage.formats.video.writer import VideoReader
from storage.labels.beside import live_path
from storage.labels.current import labels_as_they_stand
from storage.matroska.elements import cluster_bytes
from storage.matroska.stream import note, opening
from storage.matroska.track import AUDIO_TRACK, VIDEO_TRACK, Block, Sound, Track
from tests.pi_capture.live.test_labels import Terminal, check, label_a_while, recording
from tests.pi_capture.network.test_gather import RELAY
from tests.pi_capture.network.test_sender import (
    demo,
    end,
    start,
    stop,
    wait_for_frames,
    wait_for_line,
)
from tests.support.live import sensor, session_of
from tests.support.network import Line
from tests.support.ports import free_port, wait_for_listener

IMU = ("--sensor", f"imu,rate=200,channels=2,unit=m/s²,labels=x|y={sensor(200, 2)}")
HANGS = f"{sensor(200)} & sleep 2; kill -STOP $!; wait"
SOUND = ("--audio", "lavfi:sine=frequency=440:sample_rate=8000")


def wait_for_samples(path: Path, count: int, name: str = "imu") -> None:
    """Wait until so many samples of a sensor, without those that are padded, are in a recording that grows."""
    until, found = time.monotonic() + 120, 0
    while found < count:
        assert time.monotonic() < until, f"{found} of {count} samples came into {path}"
        time.sleep(0.05)
        with suppress(StorageError, OSError):
            found = int(np.count_nonzero(~np.isnan(samples_of(path, name)[1][:, 0])))


def receive(target: Path, port: int, *more: object, seconds: float = -1) -> subprocess.Popen[str]:
    receiver = start(target, seconds, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source", *more)
    wait_for_listener(port)
    return receiver


def samples_of(path: Path, name: str) -> tuple[Any, Any]:
    with VideoReader(path) as recording:
        (track,) = [track for track in recording.tracks if track.name == name]
        return track.read()


def off_ns(received: Path, best_ns: int = 34_000_000) -> int:
    """By how much times may be wrong: by so much, and the clocks were compared as exactly as the machine answered."""
    with open_recording(received) as frames:
        return best_ns + 2 * max(int(frame.metadata["clock_uncertainty_ns"]) for frame in frames)


def check_samples(sent: Path, received: Path, name: str, ahead_ns: int = 0) -> Any:
    """What came is bit by bit what was sent, at its time; what did not is NaN. Returns what came."""
    there, theirs = samples_of(sent, name)
    here, ours = samples_of(received, name)
    came = ~np.isnan(ours).any(axis=1)
    places = {value: place for place, value in enumerate(theirs[:, 0].tolist())}
    matching = [places[value] for value in ours[came][:, 0].tolist()]
    assert ours[came].tobytes() == theirs[matching].tobytes()
    assert np.abs(here[came] - (there[matching] - ahead_ns)).max() < off_ns(received)
    assert np.abs(np.diff(here) - np.diff(here).mean()).max() < off_ns(received), "a gap is padded"
    return ours[came]


def test_samples_arrive_as_they_were(tmp_path: Path) -> None:
    port = free_port()
    receiver = receive(tmp_path / "here.mkv", port, "--json")
    sender = start(*demo(tmp_path / "there.mkv", -1, port, *IMU, *SOUND))
    wait_for_frames(tmp_path / "here.mkv", 500_000)
    told = stop(sender)
    counts = re.search(r"(\d+) samples sent, (\d+) dropped", told)
    assert counts is not None, told
    summary = json.loads(receiver.communicate(timeout=120)[0])
    assert receiver.returncode == 0 and summary["tracks"]["imu"]["padded"] == 0
    check_samples(tmp_path / "there.mkv", tmp_path / "here.mkv", "imu")
    before = 0  # it was connected, and that is all that was dropped
    for name in ("imu", "sound"):
        (there, theirs), (here, ours) = (samples_of(tmp_path / f"{place}.mkv", name) for place in ("there", "here"))
        assert ours.tobytes() == theirs[-len(ours) :].tobytes()
        assert np.abs(here - there[-len(here) :]).max() < off_ns(tmp_path / "here.mkv")
        before += len(theirs) - len(ours)
    assert int(counts[2]) <= before
    with VideoReader(tmp_path / "there.mkv") as theirs, VideoReader(tmp_path / "here.mkv") as ours:
        for here, there in zip(ours.tracks, theirs.tracks, strict=True):
            source = " ".join(there.track.source.splitlines())  # a command of several lines becomes one
            assert here.track == replace(there.track, source=source.strip()[:1000])
        assert 0 <= ours.tracks[0].read()[0][0] - ours.timestamps_ns[0] < 0.5e9
        last = [int(one.tracks[0].read()[0][-1]) - one.timestamps_ns[-1] for one in (theirs, ours)]
        assert abs(last[0] - last[1]) < off_ns(tmp_path / "here.mkv")


def test_sound_keeps_its_codec(tmp_path: Path) -> None:
    port = free_port()
    receiver = receive(tmp_path / "here.mkv", port)
    sender = start(*demo(tmp_path / "there.mkv", -1, port, *SOUND, "--audio-codec", "opus"))
    wait_for_frames(tmp_path / "here.mkv", 300_000)
    stop(sender)
    end(receiver)
    with VideoReader(tmp_path / "there.mkv") as theirs, VideoReader(tmp_path / "here.mkv") as ours:
        assert ours.tracks[0].track == theirs.tracks[0].track and ours.tracks[0].track.codec == "opus"
        (there, loud), (here, heard) = theirs.tracks[0].read(), ours.tracks[0].read()
    loud, there = loud[-len(heard) :], there[-len(heard) :]  # before, it was not connected
    assert len(heard) > 24_000 and np.abs(here - there).max() < off_ns(tmp_path / "here.mkv")
    assert np.abs(heard).mean() == pytest.approx(np.abs(loud).mean(), rel=0.05)


def test_a_recording_of_so_many_seconds_has_as_much_of_everything_and_goes_on_later(tmp_path: Path) -> None:
    port = free_port()
    sender = start(*demo(tmp_path / "there.mkv", -1, port, *IMU))
    for _ in range(2):
        end(start(tmp_path / "here.mkv", 2, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source"))
    other = start(
        tmp_path / "other.mkv", 1, "--camera", f"tcp://127.0.0.1:{port}?listen", "--sensor", f"a,rate=9={sensor(9)}"
    )
    end(other)
    stop(sender)
    _, samples = samples_of(tmp_path / "here.mkv", "imu")
    assert abs(len(samples) - 800) <= 40
    with VideoReader(tmp_path / "other.mkv") as both:
        assert [track.name for track in both.tracks] == ["a", "imu"]
    sender = start(*demo(tmp_path / "more.mkv", -1, port))
    told = end(start(tmp_path / "here.mkv", 2, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source"), 1)
    assert "has imu (200 a second" in told.splitlines()[-1], told
    stop(sender)


@pytest.mark.parametrize(
    ("target", "pattern", "size"), [("here", "here/00000012.png", 0), ("here.h5", "here.h5", 300_000)]
)
def test_a_receiver_that_can_not_keep_them_keeps_the_pictures(
    tmp_path: Path, target: str, pattern: str, size: int
) -> None:
    port = free_port()
    receiver = receive(tmp_path / target, port)
    sender = start(*demo(tmp_path / "there.mkv", -1, port, *IMU, *SOUND))
    wait_for_frames(tmp_path / pattern, size)
    stop(sender)
    told = end(receiver)
    assert sum("sends imu, sound, which are not kept; record to a .mkv" in line for line in told.splitlines()) == 1, (
        told
    )
    with open_recording(tmp_path / target) as ours:
        assert len(ours) > 10


def test_a_connection_that_breaks_leaves_a_gap_of_the_right_length(tmp_path: Path) -> None:
    port, middle = free_port(), free_port()
    receiver = receive(tmp_path / "here.mkv", port)
    relay = [sys.executable, "-c", RELAY, str(middle), str(port)]
    between = subprocess.Popen(relay)
    wait_for_listener(middle)
    sender = start(*demo(tmp_path / "there.mkv", -1, middle, *IMU))
    wait_for_samples(tmp_path / "here.mkv", 200)
    between.kill()
    between.wait()
    time.sleep(0.5)
    between = subprocess.Popen(relay)
    told = wait_for_line(sender, ": connected") + wait_for_line(sender, ": connected")
    wait_for_samples(tmp_path / "here.mkv", 600)
    told += stop(sender)
    between.kill()
    between.wait()
    end(receiver)
    assert " samples sent" in told, told
    came = check_samples(tmp_path / "there.mkv", tmp_path / "here.mkv", "imu")
    _, ours = samples_of(tmp_path / "here.mkv", "imu")
    _, theirs = samples_of(tmp_path / "there.mkv", "imu")
    (before,) = np.flatnonzero(theirs[:, 0] == ours[0, 0])  # it was connected
    assert len(ours) == len(theirs) - before and 50 < len(ours) - len(came) < len(ours) - 200
    assert ours[-1].tobytes() == theirs[-1].tobytes()


def test_a_sensor_of_the_sender_that_falls_silent_is_told_here_too(tmp_path: Path) -> None:
    port = free_port()
    sender = start(*demo(tmp_path / "there.mkv", -1, port, *IMU, "--sensor", f"hangs,rate=200={HANGS}"))
    seconds = 6
    receiver = start(tmp_path / "here.mkv", seconds, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source")
    told = receiver.communicate(timeout=60)[1]
    sender.send_signal(signal.SIGINT)
    assert "hangs: nothing came in the last " in end(sender, 1)
    problem = r"hangs: nothing came in the last [45]\.\d+ s; the recording went on without it"
    assert receiver.returncode == 1 and re.search(f"^pi_capture: {problem}$", told, re.M), told
    assert list(session_of(tmp_path / "here.mkv")["problems"]) == ["hangs"]  # type: ignore[call-overload]


def test_a_sender_that_was_started_again_goes_on_in_its_tracks(tmp_path: Path) -> None:
    port = free_port()
    receiver = receive(tmp_path / "here.mkv", port)
    sender = start(*demo(tmp_path / "there.mkv", -1, port, *IMU))
    wait_for_samples(tmp_path / "here.mkv", 200)
    sender.kill()
    sender.communicate()
    more = ("--sensor", f"other,rate=20={sensor(20)}")
    count = len(samples_of(tmp_path / "here.mkv", "imu")[1])
    sender = start(*demo(tmp_path / "more.mkv", -1, port, *IMU, *more))
    wait_for_samples(tmp_path / "here.mkv", count + 600)
    stop(sender)
    told = end(receiver)
    assert "not kept, as they were not there at first: other" in told, told
    here, ours = samples_of(tmp_path / "here.mkv", "imu")
    there, theirs = samples_of(tmp_path / "more.mkv", "imu")
    off = off_ns(tmp_path / "here.mkv")
    assert ours[-300:].tobytes() == theirs[-300:].tobytes() and np.abs(here[-300:] - there[-300:]).max() < off
    assert np.abs(np.diff(here) - 5e6).max() < off_ns(tmp_path / "here.mkv", 3_000_000), "padded to the sample"


def test_one_sender_after_another_with_retry(tmp_path: Path) -> None:
    """Each ends in order, and the tracks go on: the second has a sensor of the same name that is another one."""
    port = free_port()
    receiver = receive(tmp_path / "here.mkv", port, "--retry")
    force = ("--sensor", f"force,rate=50={sensor(50)}")
    sender = start(*demo(tmp_path / "one.mkv", -1, port, *IMU, *force))
    wait_for_samples(tmp_path / "here.mkv", 400)
    stop(sender)
    told = wait_for_line(receiver, "opening it again in")
    wait_for_listener(port)
    other = ("--sensor", f"force,rate=50,channels=3={sensor(50, 3)}")
    count = len(samples_of(tmp_path / "here.mkv", "imu")[1])
    sender = start(*demo(tmp_path / "two.mkv", -1, port, *IMU, *other))
    wait_for_samples(tmp_path / "here.mkv", count + 600)
    stop(sender)
    told += wait_for_line(receiver, "opening it again in")
    told += stop(receiver)
    assert "not kept, as they were not there at first: force" in told, told
    here, ours = samples_of(tmp_path / "here.mkv", "imu")
    off = off_ns(tmp_path / "here.mkv")
    for name, part in (("one", slice(0, 300)), ("two", slice(-300, None))):
        there, theirs = samples_of(tmp_path / f"{name}.mkv", "imu")
        (place,) = np.flatnonzero(theirs[:, 0] == ours[part][0, 0])
        same = slice(place, place + 300)
        assert ours[part].tobytes() == theirs[same].tobytes() and np.abs(here[part] - there[same]).max() < off
    assert np.abs(np.diff(here) - 5e6).max() < off_ns(tmp_path / "here.mkv", 3_000_000), "padded to the sample"
    came, sent = (samples_of(tmp_path / f"{name}.mkv", "force")[1] for name in ("here", "one"))
    assert len(came) > 50 and np.array_equal(came, sent[-len(came) :])


def test_a_network_that_takes_nothing_costs_the_local_samples_nothing(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        more = (*IMU, "--json", "--sensor", f"fast,rate=4000,channels=64={sensor(4000, 64)}")
        sender = start(*demo(tmp_path / "there.mkv", -1, port, *more))
        connection, _ = server.accept()
        wait_for_samples(tmp_path / "there.mkv", 1000)
        wait_for_samples(tmp_path / "there.mkv", 8000, "fast")  # more than the connection holds
        sender.send_signal(signal.SIGINT)
        out, told = sender.communicate(timeout=120)
        connection.close()
    summary = json.loads(out)
    assert summary["tracks"]["imu"]["padded"] == summary["tracks"]["imu"]["lost"] == 0
    _, samples = samples_of(tmp_path / "there.mkv", "imu")
    assert np.array_equal(samples[:, 0], np.arange(samples[0, 0], samples[0, 0] + len(samples)))
    assert int(told.rpartition(" samples sent, ")[2].split()[0]) > 1000, told


def test_two_machines_and_a_bad_line(tmp_path: Path) -> None:
    """40 ms there and 40 ms back, one packet in fifty lost, and clocks that are 1000 s apart."""
    with Line(0.04, 0.02) as between:
        url = "tcp://10.77.0.2:5000?listen"
        receiver = start(tmp_path / "here.mkv", -1, "--camera", url, "--size", "source", on=(between, 1))
        wait_for_listener(5000, prefix=tuple(between.run(1)))
        end(start(*demo(tmp_path / "there.mkv", 5, 5000, *IMU, host="10.77.0.2"), on=(between, 0), ahead=1000))
        end(receiver)
    came = check_samples(tmp_path / "there.mkv", tmp_path / "here.mkv", "imu", 1000 * 10**9)
    assert len(came) > 500


def test_any_ffmpeg_tool_receives_the_samples(tmp_path: Path) -> None:
    port = free_port()
    record = ["ffmpeg", "-v", "error", "-i", f"tcp://127.0.0.1:{port}?listen", "-c", "copy", "-map", "0"]
    ffmpeg = subprocess.Popen([*record, str(tmp_path / "a.mkv")], stderr=subprocess.PIPE, text=True)
    wait_for_listener(port)
    end(start(*demo(tmp_path / "there.mkv", 3, port, *IMU)))
    _, told = ffmpeg.communicate(timeout=120)
    assert ffmpeg.returncode == 0 and not told, told
    raw = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.mkv"), "-map", "0:a:0", "-f", "f32le", "-c", "copy", "-"]
    copied = np.frombuffer(subprocess.run(raw, capture_output=True, check=True).stdout, "<f4").reshape(-1, 2)
    _, theirs = samples_of(tmp_path / "there.mkv", "imu")
    assert len(copied) > 300 and copied.tobytes() in theirs.tobytes()


@pytest.mark.slow
def test_a_sender_whose_pictures_are_rare(tmp_path: Path) -> None:
    port = free_port()
    receiver = receive(tmp_path / "here.mkv", port)
    end(start(*demo(tmp_path / "there.mkv", 18, port, *IMU, "--fps", 0.06)), seconds=120)
    end(receiver)
    (_, theirs), (_, ours) = samples_of(tmp_path / "there.mkv", "imu"), samples_of(tmp_path / "here.mkv", "imu")
    assert ours.tobytes() == theirs.tobytes()
    with VideoReader(tmp_path / "here.mkv") as recording:
        assert len(recording) == 2


def test_samples_alone_are_not_sent(tmp_path: Path) -> None:
    options = ("--camera", "none", *IMU, "--stream-to", "tcp://127.0.0.1:5000")
    told = end(start(tmp_path / "a.mka", 1, *options), 2)
    assert len(told.splitlines()) == 1 and "sent with pictures only" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["here.mkv", "here", "here/0", "segments.mkv"])
def test_live_labels_come_along(tmp_path: Path, name: str) -> None:
    port = free_port()
    more = ("--segment", "1h") if "segments" in name else ()
    receiver = receive(tmp_path / name, port, *more)
    terminal = Terminal(recording(tmp_path / "there.mkv", "--stream-to", f"tcp://127.0.0.1:{port}"))
    known = label_a_while(terminal)
    terminal.press("\x03")
    assert terminal.ends() == 0, terminal.shown
    terminal.close()
    told = end(receiver)
    if name in ("here.mkv", "here"):
        check(tmp_path / name, known, off_ns(tmp_path / name, 1_000_000) / 1e9)
        assert not live_path(tmp_path / name).exists()
        with open_recording(tmp_path / name) as ours, open_recording(tmp_path / "there.mkv") as theirs:
            sent = dict(zip(theirs.timestamps_ns, labels_as_they_stand(theirs), strict=True))
            given = labels_as_they_stand(ours)
            assert [sent[frame.metadata["sender_timestamp_ns"]] for frame in ours] == given
    else:
        assert told.count("the sender's labels are not kept: ") == 1, told


# ------------------------------------------------------------------------------------------------ what is not believed

CODEC = find_codec("ffv1")
ENCODER = Encoder(CODEC, (64, 48), None, threads=1)
PICTURE = ENCODER.encode(np.zeros((48, 64, 3), np.uint8), key=True)
CAMERA = Track(1, VIDEO_TRACK, CODEC.track, ENCODER.private, "camera", (64, 48), True)


def frame(number: int, **more: object) -> bytes:
    facts = {"timestamp_ns": number * 33_000_000, "metadata": {}, "number": number, **more}
    return cluster_bytes(Block(1, number * 33_000, PICTURE, json.dumps(facts).encode()))


def block(number: object, timestamp_ns: object, data: bytes = bytes(800), track: int = 3) -> bytes:
    facts = {"timestamp_ns": timestamp_ns, "number": number}
    return cluster_bytes(Block(track, 1000, data, json.dumps(facts).encode(), duration=1000))


def stream(
    rate: float = 100.0, channels: int = 2, codec: str = "A_PCM/FLOAT/IEEE", name: str = "a", **told: Any
) -> bytes:
    entry = Track(3, AUDIO_TRACK, codec, b"", name, sound=Sound(rate, channels, 32))
    return opening([CAMERA, entry]) + note({"facts": {}, "codec": "ffv1", **told})


def serve(connection: socket.socket, data: bytes) -> None:
    """Send a stream, and tell the time whenever it is asked for."""
    connection.sendall(data)
    connection.settimeout(120)
    with suppress(OSError):
        while asked := connection.recv(12):
            _, at = struct.unpack(">4sQ", asked)
            connection.sendall(note({"asked": at, "came": at, "answered": at}))


HOSTILE = {
    "rate": stream(rate=1e12),
    "not a rate": stream(rate=float("nan")),
    "channels": stream(channels=200),
    "codec": stream(codec="A_VORBIS"),
    "nameless": stream(name="\n"),
    "labels": stream(tracks={"3": {"labels": ["x"] * 1000}}),
    "twice": opening(
        [CAMERA, *(Track(n, AUDIO_TRACK, "A_PCM/FLOAT/IEEE", b"", "a", sound=Sound(9, 1)) for n in (3, 4))]
    )
    + note({"facts": {}, "codec": "ffv1"}),
    "torn": stream() + frame(0) + block(0, 0, bytes(803)),
    "empty": stream() + frame(0) + block(0, 0, b""),
    "no number": stream() + frame(0) + block("x", 0),
    "huge number": stream() + frame(0) + block(1 << 80, 0),
    "no time": stream() + frame(0) + block(0, None),
    "classes": stream(classes=["../x", "b"]),
    "too many classes": stream(classes=list("abcdefghijkl")),
    "no class": stream(classes=["a"]) + frame(0, label=1),
    "no label": stream(classes=["a"]) + frame(0, label="a"),
    "backwards": stream() + frame(0) + block(1000, 0) + block(0, 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_samples_end_in_one_line(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        receiver = start(tmp_path / "here.mkv", -1, "--camera", f"tcp://127.0.0.1:{port}", "--size", "source")
        with server.accept()[0] as connection:
            with suppress(OSError):
                serve(connection, HOSTILE[name])
            told = end(receiver, 1)
    complaint = told.splitlines()[-1]
    assert f"tcp://127.0.0.1:{port}" in complaint and ("is no stream" in complaint or "damaged " in complaint), told


def test_a_stream_that_asks_for_years_of_padding_gets_seconds(tmp_path: Path) -> None:
    port = free_port()
    receiver = receive(tmp_path / "here.mkv", port)
    odd = {"3": {"codec": "opus", "unit": ["m"], "labels": ["x|\ud800", "\n" * 5000], "source": {"a": 1}}, "4": 5}
    jumps = block(0, 0) + block(1 << 50, 10**18) + block(1 << 55, 1 << 61) + block(7, 0, track=99)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        serve(connection, stream(tracks=odd) + frame(0) + jumps + frame(1) + note({"end": 2}))
        connection.close()
        end(receiver)
    assert (tmp_path / "here.mkv").stat().st_size < 1e6
    with VideoReader(tmp_path / "here.mkv") as recording:
        (track,) = recording.tracks
        assert track.track.labels == ("x/", "") and 300 <= len(track.read()[1]) < 4000


def test_a_stream_without_samples_still_works(tmp_path: Path) -> None:
    """As older versions of this program send it: one track, and no word of others."""
    port = free_port()
    receiver = receive(tmp_path / "here.mkv", port)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        hello = opening([CAMERA]) + note({"facts": {}, "codec": "ffv1"})
        serve(connection, hello + b"".join(map(frame, range(5))) + note({"end": 5}))
        end(receiver)
    with VideoReader(tmp_path / "here.mkv") as recording:
        assert len(recording) == 5 and not recording.tracks

"""Frames from one machine to another while it records them: over this machine's loopback, and over a bad line."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from pi_capture import CameraError
from pi_capture.network.clock import measured
from pi_capture.network.door import introduction
from pi_capture.network.receiver import PINGS_AT_FIRST
from pi_capture.network.sender import PING
from pi_capture.sources import open_source
from storage import open_recording
from storage.formats.video.codecs import Encoder, find_codec
from storage.matroska.elements import cluster_bytes
from storage.matroska.stream import note, opening
from storage.matroska.track import VIDEO_TRACK, Block, Track
from tests.support import REPOSITORY, wait_for
from tests.support.network import Line
from tests.support.ports import free_port, wait_for_listener

PROGRAM = [sys.executable, "-m", "pi_capture"]


def start(
    *arguments: object, on: tuple[Line, int] | None = None, ahead: int = 0, program: Sequence[str] = PROGRAM
) -> subprocess.Popen[str]:
    """The recorder, on one of two machines, with a monotonic clock that is so many seconds ahead."""
    command = [*program, *map(str, arguments)]
    if ahead:
        command = ["unshare", "--time", "--monotonic", str(ahead), "--fork", *command]
    command = command if on is None else on[0].run(on[1], *command)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], status: int = 0, seconds: float = 120) -> str:
    _, told = process.communicate(timeout=seconds)
    assert process.returncode == status and "Traceback" not in told, told
    return told


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    return end(process)


def wait_for_frames(path: Path, size: int = 100_000) -> None:
    """Wait until a file that a pattern names has so many bytes; a frame has 18,000 at 96x64, and 9,000 at 64x48."""
    wait_for(lambda: any(part.stat().st_size > size for part in path.parent.glob(path.name)), path)


def wait_for_line(process: subprocess.Popen[str], words: str) -> str:
    """What a program says up to a line with these words."""
    assert process.stderr is not None
    told = ""
    while words not in told:
        told += (line := process.stderr.readline())
        assert line, told
    return told


def demo(target: Path, seconds: float, port: int, *options: object, host: str = "127.0.0.1") -> tuple[object, ...]:
    return (target, seconds, "--camera", "demo", "--size", "96x64", "--stream-to", f"tcp://{host}:{port}", *options)


def check_same(sent: Path, received: Path, ahead_ns: int = 0) -> None:
    """What was received are frames that were sent, bit by bit, each at its time; the sender's clock is `ahead_ns`."""
    with open_recording(sent) as theirs, open_recording(received) as ours:
        places = {time_ns: index for index, time_ns in enumerate(theirs.timestamps_ns)}
        assert len(ours) > 10
        last_ns = -1
        for frame in ours:
            sent_ns, offset = frame.metadata["sender_timestamp_ns"], frame.metadata["clock_offset_ns"]
            original = theirs.read(places[sent_ns])
            assert np.array_equal(frame.pixels, original.pixels)
            assert frame.metadata["label"] == original.metadata["label"]
            assert abs(offset - ahead_ns) <= frame.metadata["clock_uncertainty_ns"]
            since_ns, last_ns = frame.timestamp_ns - last_ns, frame.timestamp_ns
            if frame.timestamp_ns != sent_ns - offset:  # ascending, whatever became of the offset
                assert 0 < since_ns <= 1 + frame.metadata.get("dropped_queue", 0)
        assert list(ours.timestamps_ns) == sorted(set(ours.timestamps_ns))


@pytest.mark.parametrize("listening", ["receiver", "sender"])
def test_every_frame_arrives_as_it_was(tmp_path: Path, listening: str) -> None:
    port = free_port()
    if listening == "receiver":
        receiver = start(tmp_path / "here.mkv", -1, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source")
        wait_for_listener(port)
        sender = start(*demo(tmp_path / "there.mkv", -1, port))
    else:
        sender = start(*demo(tmp_path / "there.mkv", -1, port)[:-1], f"tcp://127.0.0.1:{port}?listen")
        wait_for_listener(port)
        receiver = start(tmp_path / "here.mkv", -1, "--camera", f"tcp://127.0.0.1:{port}", "--size", "source")
    wait_for_frames(tmp_path / "here.mkv", 300_000)
    told = stop(sender)
    assert "connected" in told and "frames sent" in told
    end(receiver)  # when the sender says that it was the last frame
    check_same(tmp_path / "there.mkv", tmp_path / "here.mkv")
    with open_recording(tmp_path / "here.mkv") as ours:
        facts = ours.sessions[0]
    assert facts["details"]["sender"]["camera"] == "demo" and facts["details"]["sender"]["boot_id"]
    assert abs(facts["details"]["clock_offset_ns"]) <= facts["details"]["clock_uncertainty_ns"]


def test_any_ffmpeg_tool_receives_it(tmp_path: Path) -> None:
    port = free_port()
    record = ["ffmpeg", "-v", "error", "-i", f"tcp://127.0.0.1:{port}?listen", "-c", "copy", str(tmp_path / "a.mkv")]
    ffmpeg = subprocess.Popen(record, stderr=subprocess.PIPE, text=True)
    wait_for_listener(port)
    end(start(*demo(tmp_path / "there", 2, port)))
    _, told = ffmpeg.communicate(timeout=120)
    assert ffmpeg.returncode == 0, told
    with open_recording(tmp_path / "there") as theirs, open_recording(tmp_path / "a.mkv") as copied:
        assert 0 < len(copied) <= len(theirs)
        for place in (0, -1):
            same = theirs.timestamps_ns.index(copied.timestamps_ns[place])  # exact, through FFmpeg's hands
            assert np.array_equal(copied[place].pixels, theirs[same].pixels)


def test_what_ffmpeg_sends_is_received(tmp_path: Path) -> None:
    port = free_port()
    receiver = start(tmp_path / "here", -1, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source")
    wait_for_listener(port)
    pictures = ["-re", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2"]
    send = [*pictures, "-c:v", "ffv1", "-f", "nut", f"tcp://127.0.0.1:{port}"]
    subprocess.run(["ffmpeg", "-v", "error", *send], check=True)
    receiver.communicate(timeout=120)  # FFmpeg has hung up
    with open_recording(tmp_path / "here") as ours:
        assert len(ours) > 5 and ours.read(0).pixels.shape == (48, 64, 3)


@contextmanager
def serving(beginning: bytes, rest: bytes, begun: threading.Event, go_on: threading.Event) -> Iterator[str]:
    """An address that sends the beginning, and the rest when it is told to go on."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(beginning)
            begun.set()
            go_on.wait()
            with suppress(OSError):  # it may have hung up
                connection.sendall(rest)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            go_on.set()
            thread.join()


def test_a_sender_that_says_nothing_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi_capture.network.door.SILENCE_SECONDS", 0.4)
    with serving(b"", b"", threading.Event(), threading.Event()) as url, pytest.raises(CameraError) as failed:
        open_source(url, None)
    assert str(failed.value) == f"{url}: nothing came for 0 s; check the address, and the sender"


def test_another_program_may_begin_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi_capture.network.door.SILENCE_SECONDS", 0.4)
    film = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=6"]
    sent = subprocess.run([*film, "-f", "matroska", "-c:v", "ffv1", "-"], check=True, capture_output=True).stdout
    begun, waited = threading.Event(), threading.Event()

    def introduction_of(connection: socket.socket) -> dict[str, object] | None:
        assert begun.wait(120)
        try:
            return introduction(connection)
        finally:
            waited.set()

    monkeypatch.setattr("pi_capture.network.receiver.introduction", introduction_of)
    with serving(sent[:200], sent[200:], begun, waited) as url, closing(open_source(url, None)) as source:
        assert source.info.size == (64, 48)


def test_a_receiver_that_goes_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    sender = start(*demo(tmp_path / "there", -1, port))  # nobody is there yet
    told = wait_for_line(sender, "Connection refused; the recording goes on")
    for part in ("one.mkv", "two.mkv"):
        receiver = start(tmp_path / part, -1, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source")
        wait_for_frames(tmp_path / part, 300_000)
        stop(receiver)
        told += wait_for_line(sender, "connection lost")
    told += stop(sender)
    assert told.count(": connected") == 2 and "dropped" in told, told
    with open_recording(tmp_path / "there") as theirs:
        _, *lost = [sum(frame.metadata.get(f"dropped_{by}", 0) for by in ("camera", "queue")) for frame in theirs]
        seconds = (theirs.timestamps_ns[-1] - theirs.timestamps_ns[0]) / 1e9
    assert len(lost) + sum(lost) == round(30 * seconds)
    for part in ("one.mkv", "two.mkv"):
        check_same(tmp_path / "there", tmp_path / part)


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}?listen"
        for arguments in (("--camera", url), ("--camera", "demo", "--stream-to", url)):
            told = end(start(tmp_path / "day1", 1, *arguments), 1)
            assert len(told.splitlines()) == 1 and "Address already in use; choose another port" in told, told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "complaint"),
    [("srt://desk:5000", "give tcp://"), ("desk:5000", "give tcp://"),
     ("tcp://desk", "give tcp://"), ("tcp://desk:99999", "give tcp://"), ("tcp://desk:5000?secure", "codec="),
     ("tcp://desk:5000?listen&senders=2", "is for --camera"), ("tcp://desk:5000?codec=x", "known are")],
)  # fmt: skip
def test_addresses_that_can_not_be(tmp_path: Path, url: str, complaint: str) -> None:
    told = end(start(tmp_path / "day1", 1, "--camera", "demo", "--stream-to", url), 2)
    assert len(told.splitlines()) == 1 and complaint in told, told
    assert list(tmp_path.iterdir()) == []


START = opening([Track(1, VIDEO_TRACK, "V_FFV1", b"", "camera", (64, 48), True)])
HOSTILE = {
    "nothing": b"",
    "text": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000,
    "huge": START + b"\x1f\x43\xb6\x75\x08\xff\xff\xff\xff\xff\xff\xff",
    "endless": START + b"\xec\x01\xff\xff\xff\xff\xff\xff\xff" * 10,
    "nested": START + note({})[:-2].replace(b"{", b"") + b"[" * 200_000,
    "damaged": START + note({"facts": {}, "codec": "ffv1"}) + b"\x1f\x43\xb6\x75\x84abcd",
    "pixels": opening([Track(1, VIDEO_TRACK, "V_FFV1", b"", "c", (1 << 20, 1 << 20), True)]) + note({"codec": "ffv1"}),
    "zeros": START + bytes(100_000),
    "torn": START[: len(START) - 20],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_sender_ends_in_one_line(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        receiver = start(tmp_path / "day1", -1, "--camera", f"tcp://127.0.0.1:{port}")
        connection, _ = server.accept()
        with connection:
            connection.sendall(HOSTILE[name])
            with suppress(OSError):  # it has hung up
                connection.shutdown(socket.SHUT_WR)
            told = end(receiver, 1)
    assert len(told.splitlines()) == 1 and f"tcp://127.0.0.1:{port}" in told, told
    assert list(tmp_path.iterdir()) == []


def tell_the_time(connection: socket.socket) -> bool:
    """Answer a receiver that compares the clocks; False if it hangs up."""
    for _ in range(PINGS_AT_FIRST):
        ping = connection.recv(PING.size, socket.MSG_WAITALL)
        if len(ping) < PING.size:
            return False
        now = time.monotonic_ns()
        connection.sendall(note({"asked": PING.unpack(ping)[1], "came": now, "answered": now}))
    return True


class HandMade:
    """A sender that the test is: what it sends, and how it breaks off."""

    def __init__(self, **facts: str) -> None:
        self._facts = facts
        self._codec = find_codec("ffv1")
        self._encoder = Encoder(self._codec, (64, 48), None, threads=1)
        self._began_ns = time.monotonic_ns()
        self._picture = np.zeros((48, 64, 3), np.uint8)
        self._encoder.encode(self._picture, key=True)  # what its decoder needs first is known then

    def opening(self) -> bytes:
        track = Track(1, VIDEO_TRACK, self._codec.track, self._encoder.private, "camera", (64, 48), True)
        return opening([track]) + note({"facts": self._facts, "codec": "ffv1"})

    def frame(self, number: int, **metadata: int) -> bytes:
        """A tenth of a second for each number."""
        at_ns = self._began_ns + number * 100_000_000
        facts = json.dumps({"timestamp_ns": at_ns, "number": number, "metadata": metadata}).encode()
        packet = self._encoder.encode(self._picture, key=True)
        return cluster_bytes(Block(1, number * 100_000, packet, facts))

    def serve(self, port: int, data: bytes, *, end: int | None = None) -> None:
        """Connect, send, answer for the time as senders do; and say that it is the end, or just hang up.

        A receiver that takes the stream compares the clocks before that, and hangs up after it.
        """
        taken = self.opening() in data
        with socket.create_connection(("127.0.0.1", port)) as connection, suppress(OSError):  # it may hang up
            connection.settimeout(120)
            connection.sendall(data)
            if taken and not tell_the_time(connection):
                return
            if end is not None:
                connection.sendall(note({"end": end}))
            connection.shutdown(socket.SHUT_WR)
            while taken and connection.recv(4096):
                pass


def test_strangers_before_the_sender_cost_nothing(tmp_path: Path) -> None:
    """All that is hostile, a silent one, and one byte after another: the sender is received all the same."""
    port = free_port()
    receiver = start(tmp_path / "day1", -1, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source", "--json")
    wait_for_listener(port)
    silent = socket.create_connection(("127.0.0.1", port))
    slow = socket.create_connection(("127.0.0.1", port))
    for hostile in HOSTILE.values():
        with socket.create_connection(("127.0.0.1", port)) as connection, suppress(OSError):
            connection.sendall(hostile)
            slow.send(START[:1])
    sender = HandMade()
    sender.serve(port, sender.opening() + sender.frame(0) + sender.frame(1), end=2)
    out, told = receiver.communicate(timeout=120)
    silent.close()
    slow.close()
    assert receiver.returncode == 0 and json.loads(out)["frames"] == 2, told


@pytest.mark.parametrize("words", [b"HEAD /video HTTP/1.0\r\n\r\n", b"\x16\x03\x03\x00\xa5\x01", b"SSH-2.0-scan\r\n"])
def test_a_program_that_says_something_else_and_stays_is_hung_up_on(tmp_path: Path, words: bytes) -> None:
    """FFmpeg would wait for the rest of its words; the sender that connects then is received."""
    port = free_port()
    url = f"tcp://127.0.0.1:{port}?listen"
    receiver = start(tmp_path / "day1", -1, "--camera", url, "--size", "source", "--json")
    wait_for_listener(port)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(words)
        sender = HandMade()
        sender.serve(port, sender.opening() + sender.frame(0) + sender.frame(3), end=4)
        out, told = receiver.communicate(timeout=120)
        assert receiver.returncode == 0, told
        connection.settimeout(120)
        assert connection.recv(1) == b"", "it is still held"
    summary = json.loads(out)
    assert (summary["frames"], summary["dropped_camera"]) == (2, 2), summary


def test_in_a_break_no_other_machine_takes_the_place(tmp_path: Path) -> None:
    """It sends what a sender sends, slowly; the true one is back after longer than any camera may be silent."""
    port = free_port()
    url = f"tcp://127.0.0.1:{port}?listen"
    receiver = start(tmp_path / "day1", -1, "--camera", url, "--size", "source", "--json")
    wait_for_listener(port)
    sender, other = HandMade(machine="one"), HandMade(machine="two")
    sender.serve(port, sender.opening() + sender.frame(0))
    trying = threading.Thread(target=other.serve, args=(port, other.opening() + other.frame(70)))
    trying.start()
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(other.opening()[:-100])
        time.sleep(16)
    while receiver.poll() is None:  # as a sender tries, until it was received to its end
        with suppress(OSError):
            sender.serve(port, sender.opening() + sender.frame(8), end=9)
    trying.join()
    out, told = receiver.communicate(timeout=120)
    assert receiver.returncode == 0, told
    summary = json.loads(out)
    assert (summary["frames"], summary["dropped_camera"]) == (2, 7), summary


def test_pictures_of_a_size_that_no_camera_has_are_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        receiver = start(tmp_path / "day1", -1, "--camera", f"tcp://127.0.0.1:{server.getsockname()[1]}")
        with server.accept()[0] as connection:
            track = Track(1, VIDEO_TRACK, "V_FFV1", b"", "camera", (9_000, 8_000), True)
            connection.sendall(opening([track]) + note({"facts": {}, "codec": "ffv1"}))
            assert "impossible size" in end(receiver, 1)


@pytest.mark.parametrize("thinned", [False, True])
def test_every_frame_lost_on_the_way_is_counted(tmp_path: Path, thinned: bool) -> None:
    """By the sender's camera before a frame that is left out here, between two that came, and after the last one."""
    port = free_port()
    receiver = start(
        *(tmp_path / "day1", -1, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source", "--json"),
        *(("--fps", 5) if thinned else ()),
    )
    wait_for_listener(port)
    sender = HandMade()
    frames = [sender.frame(0), sender.frame(1, dropped_camera=4, dropped_queue=100)]
    frames += [sender.frame(number) for number in (2, 6, 7)]
    sender.serve(port, sender.opening() + b"".join(frames), end=13)
    out, told = receiver.communicate(timeout=120)
    assert receiver.returncode == 0, told
    summary = json.loads(out)
    assert summary["dropped_camera"] == 4 + 3 + 5, summary
    assert summary["frames"] < 5 if thinned else summary["frames"] == 5


def test_a_sender_that_has_gone_before_all_is_read_has_ended_in_order(tmp_path: Path) -> None:
    """As when the receiver is busy: its next question for the time finds nobody, and what was sent is all there."""
    port = free_port()
    receiver = start(tmp_path / "day1", -1, "--camera", f"tcp://127.0.0.1:{port}?listen", "--size", "source", "--json")
    wait_for_listener(port)
    sender = HandMade()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(sender.opening())
        assert tell_the_time(connection)
        receiver.send_signal(signal.SIGSTOP)
        connection.sendall(sender.frame(0) + sender.frame(1) + note({"end": 2}))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # to reset it
    time.sleep(1.1)  # a question is due
    receiver.send_signal(signal.SIGCONT)
    out, told = receiver.communicate(timeout=120)
    assert receiver.returncode == 0 and json.loads(out)["frames"] == 2, told


def test_strangers_and_false_starts_in_a_break_are_passed_over(tmp_path: Path) -> None:
    port = free_port()
    url = f"tcp://127.0.0.1:{port}?listen"
    receiver = start(tmp_path / "day1", -1, "--camera", url, "--size", "source", "--json")
    wait_for_listener(port)
    sender = HandMade()
    sender.serve(port, sender.opening() + sender.frame(0) + sender.frame(1))
    sender.serve(port, b"GET / HTTP/1.1\r\n\r\n")
    sender.serve(port, sender.opening()[:700])
    sender.serve(port, sender.opening() + sender.frame(40) + sender.frame(41), end=42)
    out, told = receiver.communicate(timeout=120)
    assert receiver.returncode == 0, told
    summary = json.loads(out)
    assert (summary["frames"], summary["dropped_camera"]) == (4, 38), summary


def test_a_hostile_receiver_does_not_hurt_the_recording(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        sender = start(*demo(tmp_path / "there", 2, port, "--json"))
        connection, _ = server.accept()
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 1000)
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        out, told = sender.communicate(timeout=120)
    summary = json.loads(out)
    assert "connection lost" in told and sender.returncode == 0, told
    assert summary["frames"] + summary["dropped_camera"] + summary["dropped_queue"] == 60


def test_a_receiver_that_takes_nothing_costs_frames_on_the_wire_only(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sender = start(
            *demo(tmp_path / "there.mkv", -1, port)[:4], "--size", "640x480", "--stream-to", f"tcp://127.0.0.1:{port}",
            "--codec", "mjpeg", "--json-lines",
        )  # fmt: skip
        connection, _ = server.accept()
        assert sender.stdout is not None
        while json.loads(sender.stdout.readline())["frames"] < 100:
            pass
        sender.send_signal(signal.SIGINT)
        out, told = sender.communicate(timeout=120)
        connection.close()
    assert sender.returncode == 0, told
    summary = json.loads(out.splitlines()[-1])
    assert summary["dropped_queue"] == 0, "the wire must not hold the recording up"
    assert int(told.rpartition(" frames sent, ")[2].split()[0]) > 10, told


def test_the_last_frames_may_take_their_time(tmp_path: Path) -> None:
    """A receiver that takes one after another, for longer than one that takes nothing is waited for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        options = ("--camera", "demo", "--size", "320x240", "--fps", "10", "--stream-to", url)
        sender = start(tmp_path / "there.mkv", -1, *options)
        connection, _ = server.accept()
    with connection:
        wait_for_frames(tmp_path / "there.mkv", 3_600_000)
        sender.send_signal(signal.SIGINT)
        came = b""
        while more := connection.recv(150_000, socket.MSG_WAITALL):
            came = came[-100:] + more
            time.sleep(0.2)
    end(sender)
    assert b'{"end":' in came


def test_the_offset_of_two_clocks() -> None:
    """The sender's clock is 5 s ahead; the way there takes 30 ms, the way back 10 ms."""
    ms = 1_000_000
    found = measured(asked=0, came=5030 * ms, answered=5031 * ms, back=41 * ms)
    assert found.uncertainty_ns == 20 * ms
    assert abs(found.ns - 5000 * ms) <= found.uncertainty_ns


def test_two_machines_and_a_bad_line(tmp_path: Path) -> None:
    """40 ms there and 40 ms back, one packet in fifty lost, and clocks that are 1000 s apart."""
    with Line(0.04, 0.02) as between:
        receiver = start(
            tmp_path / "here.mkv", -1, "--camera", "tcp://10.77.0.2:5000?listen", "--size", "source", on=(between, 1)
        )
        wait_for_listener(5000, prefix=tuple(between.run(1)))
        sender = start(*demo(tmp_path / "there.mkv", 5, 5000, host="10.77.0.2"), on=(between, 0), ahead=1000)
        told = end(sender)
        assert "connected" in told
        end(receiver)
    check_same(tmp_path / "there.mkv", tmp_path / "here.mkv", ahead_ns=1000 * 10**9)
    with open_recording(tmp_path / "here.mkv") as ours:
        uncertain = [frame.metadata["clock_uncertainty_ns"] for frame in ours]
    assert 40e6 <= uncertain[-1] < min(uncertain) + 1e6, "the quickest answer counts"


@pytest.mark.slow
def test_a_host_that_vanishes(tmp_path: Path) -> None:
    with Line(0.01, 0.0) as between:
        receiver = start(tmp_path / "here", -1, "--camera", "tcp://10.77.0.2:5000?listen", on=(between, 1))
        wait_for_listener(5000, prefix=tuple(between.run(1)))
        sender = start(*demo(tmp_path / "there", 20, 5000, host="10.77.0.2"), on=(between, 0))
        wait_for(lambda: list((tmp_path / "here").glob("*.png")), "a frame")
        between.cut = True
        told = end(sender)
        assert "connection lost" in told, told
        with open_recording(tmp_path / "there") as theirs:
            assert theirs.timestamps_ns[-1] - theirs.timestamps_ns[0] > 19.9e9
        told = end(receiver, 1, seconds=90)
        assert "the sender has vanished; what came before is safe" in told
    with open_recording(tmp_path / "here") as ours:
        assert len(ours) > 3

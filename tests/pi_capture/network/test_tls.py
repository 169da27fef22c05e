"""``tls://``: only who has the same identity sends or receives, and nobody else learns or costs anything."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pi_capture.network.sender import PING
from pi_capture.network.tls import secure
from tests.pi_capture.network.test_gather import names, other_demo, tracks_in
from tests.pi_capture.network.test_sender import (
    check_same,
    demo,
    end,
    start,
    stop,
    wait_for_frames,
    wait_for_line,
)
from tests.pi_capture.test_cli import run
from tests.support import REPOSITORY
from tests.support.ports import free_port, wait_for_listener


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    done = run("make-identity", tmp_path / "day.pem")
    assert done.returncode == 0, done.stderr
    return tmp_path / "day.pem"


def sender(target: Path, seconds: float, url: str, identity: Path) -> tuple[object, ...]:
    return (*demo(target, seconds, 0)[:-1], url, "--identity", identity)


def test_an_identity_is_its_owner_s_and_never_overwritten(identity: Path) -> None:
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    before = identity.read_bytes()
    done = run("make-identity", identity)
    assert done.returncode == 1 and f"{identity} exists" in done.stderr and len(done.stderr.splitlines()) == 1
    assert identity.read_bytes() == before


def test_without_openssl_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pi_capture", "make-identity", str(tmp_path / "day.pem")]
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "apt install openssl" in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("listening", ["receiver", "sender"])
def test_every_frame_arrives_and_nothing_of_it_is_seen_on_the_way(
    tmp_path: Path, identity: Path, listening: str
) -> None:
    port, middle = free_port(), free_port()
    seen = bytearray()
    receive = ("--size", "source", "--identity", identity)
    at, to = f"tls://127.0.0.1:{port}?listen", f"tls://127.0.0.1:{middle}"
    between = threading.Thread(target=overhear, args=(middle, port, seen), daemon=True)
    if listening == "receiver":
        receiver = start(tmp_path / "here.mkv", -1, "--camera", at, *receive)
        wait_for_listener(port)
        between.start()
        wait_for_listener(middle)
        sends = start(*sender(tmp_path / "there.mkv", -1, to, identity))
    else:
        sends = start(*sender(tmp_path / "there.mkv", -1, at, identity))
        wait_for_listener(port)
        between.start()
        wait_for_listener(middle)
        receiver = start(tmp_path / "here.mkv", -1, "--camera", to, *receive)
    wait_for_frames(tmp_path / "here.mkv", 300_000)
    told = stop(sends)
    assert "connected" in told and "not encrypted" not in told, told
    end(receiver)  # when the sender says that it was the last frame
    between.join(120)
    check_same(tmp_path / "there.mkv", tmp_path / "here.mkv")
    assert len(seen) > 100_000 and b"matroska" not in seen and b"demo" not in seen


def overhear(port: int, to: int, seen: bytearray) -> None:
    """Hand one connection on, and keep what went through."""

    def carry(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                seen.extend(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", port)) as server:
        one, _ = server.accept()
    with one, socket.create_connection(("127.0.0.1", to)) as other:
        back = threading.Thread(target=carry, args=(other, one))
        back.start()
        carry(one, other)
        back.join()


def test_who_has_another_identity_or_none_is_sent_away(tmp_path: Path, identity: Path) -> None:
    run("make-identity", tmp_path / "other.pem")
    port = free_port()
    url = f"tls://127.0.0.1:{port}"
    receive = ("--camera", f"{url}?listen", "--size", "source", "--identity", identity)
    receiver = start(tmp_path / "here.mkv", -1, *receive)
    wait_for_listener(port)
    silent = socket.create_connection(("127.0.0.1", port))
    for strange in (sender(tmp_path / "a", -1, url, tmp_path / "other.pem"), demo(tmp_path / "b", -1, port)):
        sends = start(*strange)
        told = wait_for_line(sends, "the recording goes on")
        assert "connection lost" in told or "no TLS by the same identity" in told, told
        stop(sends)
    receiver_told = wait_for_line(receiver, "hung up on")
    assert "hung up on one without this identity (" in receiver_told and "--identity" in receiver_told, receiver_told
    sends = start(*sender(tmp_path / "there.mkv", -1, url, identity))
    wait_for_frames(tmp_path / "here.mkv", 300_000)
    stop(sends)
    end(receiver)
    silent.close()
    check_same(tmp_path / "there.mkv", tmp_path / "here.mkv")


def test_several_senders_with_an_identity_that_openssl_made(tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-days", "1"]
    subprocess.run([*made, "-keyout", pem, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    port = free_port()
    url = f"tls://127.0.0.1:{port}"
    receive = ("--camera", f"{url}?listen&senders=2", "--size", "source", "--identity", pem)
    receiver = start(tmp_path / "all.mkv", -1, *receive)
    wait_for_listener(port)
    one = start(*sender(tmp_path / "one.mkv", -1, url, pem))
    two = start(*other_demo(tmp_path / "two.mkv", -1, 0)[:-1], url, "--identity", pem)
    wait_for_frames(tmp_path / "all.parts" / "*-demo.mkv")
    wait_for_frames(tmp_path / "all.parts" / "*-demo-7.mkv")
    for process in (one, two):
        stop(process)
    end(receiver)
    assert names(tracks_in(tmp_path / "all.mkv")) == ["", "-7"]


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("--camera", "tls://127.0.0.1:5000?listen"), 2, "give --identity FILE"),
        (("--camera", "demo", "--stream-to", "tls://127.0.0.1:5000"), 2, "give --identity FILE"),
        (("--camera", "demo", "--identity", "day.pem"), 2, "does nothing without a tls://"),
        (("--camera", "tls://127.0.0.1:5000?listen", "--identity", "/nowhere.pem"), 1, "No such file"),
        (("--camera", "demo", "--stream-to", "tls://[::1]:5000", "--identity", "/dev/null"), 1, "it is no file"),
        (("--camera", "tls://127.0.0.1:5000?listen&senders=2", "--identity", __file__), 1, "no certificate"),
        (("--camera", "tls://127.0.0.1:5000?listen", "--identity", "/tmp"), 1, "it is no file"),
    ],
)
def test_what_can_not_be(tmp_path: Path, arguments: tuple[str, ...], status: int, complaint: str) -> None:
    told = end(start(tmp_path / "day1.mkv", 1, *arguments), status)
    assert len(told.splitlines()) == 1 and complaint in told, told
    assert not (tmp_path / "day1.mkv").exists()


def test_a_pipe_in_place_of_an_identity_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "day.pem")
    told = end(start(*sender(tmp_path / "day1.mkv", 1, "tls://127.0.0.1:9", tmp_path / "day.pem")), 1)
    assert "it is no file" in told and len(told.splitlines()) == 1


def test_an_identity_is_read_once(tmp_path: Path, identity: Path) -> None:
    """Whatever happens to the file, who records goes on and is found again."""
    port = free_port()
    url = f"tls://127.0.0.1:{port}"
    receive = ("--camera", f"{url}?listen", "--size", "source", "--identity", identity)
    sends = start(*sender(tmp_path / "there.mkv", -1, url, identity))
    wait_for_frames(tmp_path / "there.mkv")
    identity.rename(tmp_path / "moved.pem")
    identity.write_text("something else")
    receive = (*receive[:-1], tmp_path / "moved.pem")
    receiver = start(tmp_path / "here.mkv", -1, *receive)
    wait_for_frames(tmp_path / "here.mkv")
    told = stop(sends)
    assert "connected" in told, told
    end(receiver)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_key_that_others_can_read_is_told(tmp_path: Path, identity: Path, mode: int, warned: int) -> None:
    identity.chmod(mode)
    told = end(start(*sender(tmp_path / "day1.mkv", 0.5, "tls://127.0.0.1:9", identity)))
    assert told.count(f"chmod 600 {identity}") == warned, told


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.2", False), ("[::1]", False), ("localhost", False), ("192.0.2.1", True)]
)
def test_tcp_beyond_this_machine_is_told_in_one_line(tmp_path: Path, host: str, warned: bool) -> None:
    told = end(start(tmp_path / "day1.mkv", 0.5, "--camera", "demo", "--stream-to", f"tcp://{host}:9"))
    assert told.count("not encrypted") == warned, told


PATIENT = """\
import pi_capture.network.sender
pi_capture.network.sender.FLUSH_SECONDS = pi_capture.network.sender.MOST_FLUSH_SECONDS = 60
from pi_capture.__main__ import run
raise SystemExit(run())
"""
"""A recorder whose last frames may take long on their way, as on a busy machine."""


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_the_end_arrives_at_a_receiver_that_is_slow(tmp_path: Path, identity: Path, scheme: str) -> None:
    """It asks for the time all along, and has not read the last frames yet when the sender has sent them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        options = ("--size", "320x240", "--fps", "10", "--stream-to", url)
        secret = ("--identity", identity) if scheme == "tls" else ()
        program = [sys.executable, "-c", PATIENT]
        sends = start(tmp_path / "there", -1, "--camera", "demo", *options, *secret, program=program)
        connection = server.accept()[0]
    if scheme == "tls":
        connection = secure(connection, str(identity), server=True, seconds=30)
    with connection:
        came = connection.recv(1000)
        time.sleep(1)
        sends.send_signal(signal.SIGINT)
        with suppress(ConnectionError):
            while more := connection.recv(100_000):
                came = came[-100:] + more
                connection.sendall(PING.pack(b"PING", 1) * 50)
                time.sleep(0.001)
    end(sends)
    assert b'{"end":' in came[-100:]

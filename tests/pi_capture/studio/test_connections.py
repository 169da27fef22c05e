"""Clients that say nothing, or come in crowds."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest

from pi_capture.studio.connections import MOST_CONNECTIONS
from tests.support import PATIENCE_SECONDS
from tests.support.studio import Running


def ask(studio: Running) -> None:
    assert studio.new_browser().get("/").status_code == 401


def test_a_thousand_connections_keep_nobody_out(studio: Running) -> None:
    recorder = studio.post("/api/recorders", {"name": "day2", "camera": "demo", "fps": 30, "seconds": 600})
    with contextlib.ExitStack() as crowd:
        for number in range(1000):
            client = crowd.enter_context(socket.socket())
            client.settimeout(PATIENCE_SECONDS)
            client.connect(("127.0.0.1", studio.port))
            if number % 2:
                with contextlib.suppress(OSError):  # it is closed already
                    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            if number % 100 == 0:
                ask(studio)
        ask(studio)
        assert descriptors(studio) < MOST_CONNECTIONS + 60
        found = studio.get("/api/recorders")["recorders"]
        assert [one["dropped_queue"] for one in found if one["id"] == recorder["id"]] == [0]
    studio.post(f"/api/recorders/{recorder['id']}/stop")


def descriptors(studio: Running) -> int:
    return len(os.listdir(f"/proc/{studio.process.pid}/fd"))


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"POST /api/x HTTP/1.1\r\n"])
def test_who_never_asks_is_let_go(studio: Running, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", studio.port), timeout=PATIENCE_SECONDS) as slow:
        slow.sendall(said)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1) == b""


def test_a_body_that_is_no_http_is_refused_in_silence(tmp_path: Path) -> None:
    studio = Running(tmp_path)
    head = b"POST /api/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert studio.process.stderr is not None
    try:
        for first, second in ((head + b"xyz\r\n", b""), (head, b"no length\r\n")):
            with socket.create_connection(("127.0.0.1", studio.port), timeout=PATIENCE_SECONDS) as client:
                client.sendall(first)
                with contextlib.suppress(OSError):
                    assert client.recv(4096).split()[1] in (b"400", b"403")
                    client.sendall(second)
                    while client.recv(4096):
                        pass
        ask(studio)
        studio.process.terminate()
        assert "Traceback" not in studio.process.stderr.read()
    finally:
        studio.kill()


def test_a_body_that_never_ends_is_let_go(studio: Running) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in studio.browser.cookies.items())
    head = "POST /api/trash/empty HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nX-Studio: 1\r\n"
    with socket.create_connection(("127.0.0.1", studio.port), timeout=PATIENCE_SECONDS) as slow:
        slow.sendall(f"{head}Cookie: {cookie}\r\nContent-Length: 1000\r\n\r\n{{".encode())
        answer = slow.recv(4096)
        assert answer.split()[1] == b"413"


def test_a_head_is_bounded(studio: Running) -> None:
    with (
        socket.create_connection(("127.0.0.1", studio.port), timeout=PATIENCE_SECONDS) as client,
        contextlib.suppress(OSError),
    ):
        client.sendall(b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 100_000)
        assert client.recv(4096).split()[1:2] in ([b"400"], [b"431"], [])
    ask(studio)

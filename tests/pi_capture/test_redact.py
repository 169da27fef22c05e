"""Secrets stay on the machine: in no message, no file, and nothing that goes over a wire."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

from pi_capture.redact import program_of, without_secrets
from pi_capture.sources import SourceInfo
from tests.conftest import write_video
from tests.pi_capture.network.test_sender import end, start
from tests.support.live import sensor

SECRETS = (b"xyzzy77", b"plugh99", b"frotz55", b"keeper")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://camera/live", "rtsp://camera/live"),
        ("rtsp://camera:554/@user/live@1", "rtsp://camera:554/@user/live@1"),
        ("rtsp://[::1]:554/live", "rtsp://[::1]:554/live"),
        ("rtsp://user@camera/live", "rtsp://camera/live"),
        ("rtsp://user:pass@camera:554/live", "rtsp://camera:554/live"),
        ("rtsp://user:p@ss:w@camera/live", "rtsp://camera/live"),
        ("rtsp://user:p/a?s#s@camera/live", "rtsp://camera/live"),
        ("http://camera/cgi?user=admin&pwd=x&channel=1", "http://camera/cgi?user=…&pwd=…&channel=1"),
        ("http://camera/v?jwt=e/y=&x=Zm9v&size=640x480", "http://camera/v?jwt=…&x=…&size=640x480"),
        ("http://camera/v?hunter2#access_token=abc", "http://camera/v?…#access_token=…"),
        ("rtsp://camera/user=me_password=a_b_channel=1.sdp", "rtsp://camera/user=…_password=…_channel=1.sdp"),
        ("srt://camera:9?passphrase=verysecret&mode=caller", "srt://camera:9?passphrase=…&mode=caller"),
        ("ffmpeg:concat:http://a:b@x/1|http://c:d@y/2", "ffmpeg:concat:http://x/1|http://y/2"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_secrets_of_an_address_are_not_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("-", "-"),
        ("./imu", "./imu"),
        ("./imu --key k", "./imu …"),
        ("KEY=k A='b c' curl -u a:b http://x", "curl …"),
        ("'", "…"),
    ],
)
def test_what_a_sensor_s_command_is_given_is_not_shown(command: str, shown: str) -> None:
    assert program_of(command) == shown


def test_a_source_of_another_distribution_tells_no_secrets_either() -> None:
    info = SourceInfo("lens:http://a:xyzzy77@x", "m", (2, 2), None, True, {"from": [{"url": "http://a:xyzzy77@x"}]})
    assert "xyzzy77" not in repr(info) and info.details == {"from": [{"url": "http://x"}]}


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[str]:
    """A video on a web server that asks for no password, and is given one."""
    write_video(tmp_path / "clip.mkv", [Fraction(n, 10) for n in range(15)])

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://keeper:xyzzy77@127.0.0.1:{server.server_port}/clip.mkv?token=plugh99"
        server.shutdown()


@pytest.mark.parametrize("target", ["day1", "day1.mkv", "day1.h5"])
def test_nothing_secret_is_told_stored_or_sent(tmp_path: Path, camera: str, target: str) -> None:
    came = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def receive() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(1 << 16):
                    came.extend(data)

        receiver = threading.Thread(target=receive)
        receiver.start()
        to = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        spoken = ("--sensor", f"imu,rate=100=KEY=frotz55 {sensor(100)}") if target.endswith(".mkv") else ()
        told = end(start(tmp_path / target, -1, "--camera", camera, "--size", "source", "--stream-to", to, *spoken))
        receiver.join(120)
    assert b"127.0.0.1" in came and b"clip.mkv" in came
    path = tmp_path / target
    files = [file.read_bytes() for file in ([path] if path.is_file() else path.iterdir())]
    assert b"/clip.mkv?token=" in b"".join(files)
    assert not [secret for secret in SECRETS if any(secret in data for data in [*files, came, told.encode()])]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--camera", "rtps:keeper:xyzzy77@camera"), 2),
        (("--camera", "rtsp://keeper:xyzzy77@127.0.0.1:1/live?sid=plugh99"), 1),
        (("--camera", "demo", "--stream-to", "tcp://keeper:xyzzy77@127.0.0.1:1/x?token=plugh99"), 2),
        (("--camera", "demo", "--sensor", "curl -H frotz55"), 2),
    ],
)
def test_errors_hold_no_secrets(tmp_path: Path, arguments: tuple[str, ...], status: int) -> None:
    told = end(start(tmp_path / "day1.mkv", 1, *arguments), status).encode()
    assert len(told.splitlines()) == 1 and not [secret for secret in SECRETS if secret in told], told

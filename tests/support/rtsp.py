"""A camera that speaks RTSP, as small as a test needs it: one viewer, one stream, carried in the RTSP connection."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 32\r\na=control:video\r\n"
PICTURES = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25"]
REPLIES = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
    "DESCRIBE": "Content-Type: application/sdp\r\n",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
    "PLAY": "Session: 1\r\n",
}


@contextmanager
def rtsp_camera(user: str, password: str, seconds: float) -> Iterator[int]:
    """Serve 25 pictures a second for some seconds on a port of this machine, to whoever knows the password."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        secret = base64.b64encode(f"{user}:{password}".encode()).decode()
        threading.Thread(target=_serve, args=(listening, f"Basic {secret}", seconds), daemon=True).start()
        yield port


def _serve(listening: socket.socket, authorization: str, seconds: float) -> None:
    with suppress(OSError):
        while True:
            viewer, _ = listening.accept()
            with viewer, viewer.makefile("rb") as requests, suppress(OSError):
                _answer(viewer, requests, authorization, seconds)


def _answer(viewer: socket.socket, requests: Iterator[bytes], authorization: str, seconds: float) -> None:
    lines: list[str] = []
    for line in requests:
        if line.strip():
            lines.append(line.decode().strip())
            continue
        method = lines[0].split()[0]
        headers = dict(header.split(": ", 1) for header in lines[1:])
        status, reply, body = "200 OK", REPLIES.get(method, ""), SDP if method == "DESCRIBE" else ""
        if headers.get("Authorization") != authorization:
            status, reply, body = "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"\r\n', ""
        head = f"RTSP/1.0 {status}\r\nCSeq: {headers['CSeq']}\r\n{reply}Content-Length: {len(body)}\r\n\r\n"
        viewer.sendall((head + body).encode())
        if method == "PLAY" and status == "200 OK":
            _play(viewer, seconds)
            return
        lines = []


def _play(viewer: socket.socket, seconds: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.bind(("127.0.0.1", 0))
        packets.settimeout(0.2)
        target = f"rtp://127.0.0.1:{packets.getsockname()[1]}?rtcpport=9"
        command = [*PICTURES, "-t", str(seconds), "-g", "5", "-c:v", "mpeg2video", "-f", "rtp", target]
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while True:  # until all is sent, or the viewer has gone
                over = sender.poll() is not None
                try:
                    packet = packets.recv(65536)
                except TimeoutError:
                    if over:
                        return
                    continue
                viewer.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
        finally:
            sender.kill()
            sender.wait()

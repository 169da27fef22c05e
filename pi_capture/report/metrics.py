"""The state of a recording for programs: Prometheus' text over HTTP, and a line of JSON a second.

The recording never waits for a reader. See `pi_capture.report.progress` for the text that people see.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from pi_capture.status import Status

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    from pi_capture.status import Summary

HOST = "127.0.0.1"
LINE_SECONDS = 1.0
END_SECONDS = 1.0  # that the end of a recording waits for a disk or a network which hangs
CLIENT_SECONDS = 10.0  # that a client may take to send its request
MOST_CLIENTS = 16  # at a time: the recorder needs its descriptors itself
OUR_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.I)
"""The hosts that a request may name. Another one comes from a web page whose domain points at this machine."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTED = ("frames", "durable", "dropped_queue", "dropped_camera", "dropped_disk", "bytes")
"""The numbers of a `Status` that are shown as they are."""
METRICS = (  # number of a `Meter`, name, type, help
    ("frames", "pi_capture_frames_total", "counter", "Frames stored."),
    ("durable", "pi_capture_durable_frames_total", "counter", "Frames stored that survive a power cut."),
    ("bytes", "pi_capture_written_bytes_total", "counter", "Bytes stored."),
    ("fps", "pi_capture_frames_per_second", "gauge", "Frames stored a second, over the last five seconds."),
    ("queue_fill", "pi_capture_queue_fill_ratio", "gauge", "How full the queue is; frames are dropped at 1."),
    ("free_bytes", "pi_capture_free_bytes", "gauge", "Bytes left on the target's disk."),
    (
        "seconds_since_durable",
        "pi_capture_seconds_since_durable",
        "gauge",
        "Since a frame last became durable, or none was wanted.",
    ),
)
DROPPED = "pi_capture_dropped_frames_total"


class Meter:
    """Keeps the numbers of the last status; any thread may read them. Before the first one, only the space is known."""

    def __init__(self, free_bytes: int) -> None:
        self._last: dict[str, float] = {}
        self._durable_at, self._done = time.monotonic(), 0
        self.show(Status.total([]), 0.0, free_bytes)

    def show(self, status: Status, fps: float, free_bytes: int) -> None:
        """Take a status; called a few times a second."""
        done = status.durable + status.not_kept
        if done > self._done or status.paused:  # outside the hours, or while nothing moves, no frame is due
            self._durable_at = time.monotonic()
        self._done = done
        counts = {name: getattr(status, name) for name in COUNTED}
        rest = {"fps": round(fps, 3), "queue_fill": round(status.queue_fill, 3), "free_bytes": free_bytes}
        self._last = {**counts, **rest}

    def end(self, summary: Summary) -> None:
        """Take the counts of a recording that has ended: what is stored now is durable."""
        samples = sum(track.samples for track in summary.tracks.values())
        counts = {name: getattr(summary, name) for name in COUNTED if name != "durable"}
        self._last |= {**counts, "durable": summary.frames if summary.size else samples, "queue_fill": 0.0}

    def read(self) -> dict[str, float]:
        """Return the last numbers, and how long ago a frame became durable or none was wanted, or the start."""
        return {**self._last, "seconds_since_durable": round(time.monotonic() - self._durable_at, 3)}


class MetricsServer:
    """Answers ``http://127.0.0.1:PORT/metrics`` within this context, in threads of its own.

    Raises
    ------
    OSError
        The port is taken.
    """

    def __init__(self, port: int, meter: Meter) -> None:
        try:
            self._server = _server(port, meter)
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "the port is in use; give another" if taken else str(error)
            raise OSError(errno.EADDRINUSE, reason, f"--metrics {port}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class JsonLines:
    """Prints a status a second on stdout, and the summary at the end, a line of JSON each.

    A slow reader misses lines. A reader that has gone, or a full disk, does not end the recording.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._due = 0.0

    def show(self) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + LINE_SECONDS
            self._print({"event": "status", **self._meter.read()}, wait=False)

    def end(self, summary: Summary) -> None:
        """Print the summary."""
        self._print({"event": "summary", **asdict(summary)}, wait=True)

    def _print(self, line: Mapping[str, Any], *, wait: bool) -> None:
        try:
            # A pipe that is ready takes a line as short as this at once.
            if wait or select.select([], [sys.stdout], [], 0)[1]:
                print(json.dumps(line), flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def repeated(action: Callable[[], None], seconds: float, name: str) -> Iterator[None]:
    """Call a function at once, and every so many seconds within this context, in a thread of its own."""
    end = threading.Event()

    def repeat() -> None:
        action()
        while not end.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(END_SECONDS)


def as_prometheus(numbers: Mapping[str, float], recording: str = "") -> str:
    """Return the numbers of a `Meter` in Prometheus' text format, with the label ``recording`` if it is given."""
    labels = {"recording": recording} if recording else {}
    lines = []
    for number, name, kind, text in METRICS:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", _sample(name, labels, numbers[number])]
    lines += [f"# HELP {DROPPED} Frames lost, by what lost them.", f"# TYPE {DROPPED} counter"]
    for cause in ("queue", "camera", "disk"):
        lines.append(_sample(DROPPED, {**labels, "cause": cause}, numbers[f"dropped_{cause}"]))
    return "\n".join(lines) + "\n"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    escapes = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    pairs = ",".join(f'{label}="{text.translate(escapes)}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


def _server(port: int, meter: Meter) -> ThreadingHTTPServer:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS

        def do_GET(self) -> None:
            if not OUR_HOST.fullmatch(self.headers.get("Host", HOST).strip()):
                status, text = 421, f"it is at http://127.0.0.1:{port}\n"
            elif self.path.partition("?")[0] not in ("/metrics", "/"):
                status, text = 404, "it is at /metrics\n"
            else:
                status, text = 200, as_prometheus(meter.read())
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log no requests."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128  # while idle clients take all places, a new one waits in the kernel

        def __init__(self) -> None:
            super().__init__((HOST, port), Handler)
            self._clients: list[socket.socket] = []
            self._gone = threading.Condition()

        def process_request(self, request: Any, client_address: Any) -> None:
            with self._gone:
                while len(self._clients) >= MOST_CLIENTS:  # the oldest has had the most time for its request
                    with suppress(OSError):
                        self._clients[0].shutdown(socket.SHUT_RDWR)
                    self._gone.wait(CLIENT_SECONDS)
                self._clients.append(request)
            super().process_request(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            super().shutdown_request(request)
            with self._gone:
                self._clients.remove(request)
                self._gone.notify()

        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore clients that went away."""

    return Server()

"""SRT, through the program ``ffmpeg``: PyAV's wheels come without that protocol, Debian's program has it.

The program carries bytes between a local socket and the network. It may end at any moment. For what the bytes mean see
`sender` and `receiver`.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pi_capture.errors import CameraError

if TYPE_CHECKING:
    from pi_capture.network.address import Address

PROGRAM = "ffmpeg"
WAIT_SECONDS = 30.0  # for a connection; an orphaned program keeps the port no longer
OPENED = "Output #0"  # how its report goes on when both of its ends are there
NOBODY_CAME = ("Connection timed out", "Connection setup failure: connection time out")

NO_ANSWER = "no answer, or the connection broke off"  # which it has no better words for


def check_program() -> None:
    """Raise CameraError if the program is not there, or does not know SRT."""
    if shutil.which(PROGRAM) is None:
        raise CameraError(f"srt:// needs the program {PROGRAM}; install it: sudo apt install ffmpeg")
    known = subprocess.run(
        [PROGRAM, "-hide_banner", "-protocols"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if "srt" not in known.stdout.split():
        raise CameraError(f"the program {PROGRAM} here was built without SRT; use tcp://, or Debian's ffmpeg")


class Relay:
    """The program, running, for one connection.

    If `sending`, what is put into `connection` goes out; otherwise what comes in can be read there.
    """

    def __init__(self, place: Address, *, sending: bool) -> None:
        self.connection, theirs = socket.socketpair()
        self.connected = threading.Event()
        self._last: deque[str] = deque(maxlen=1)
        pipe = ["-f", "data", "-i", "pipe:0"], ["-f", "data", "pipe:1"]
        network = ["-f", "data", "-i", _url(place)], ["-f", "data", _url(place)]
        source, sink = (pipe[0], network[1]) if sending else (network[0], pipe[1])
        try:
            self._process = subprocess.Popen(
                [PROGRAM, "-hide_banner", "-nostdin", "-nostats", "-nofind_stream_info", *source,
                 "-map", "0", "-c", "copy", "-flush_packets", "1", *sink],
                stdin=theirs.fileno() if sending else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if sending else theirs.fileno(),
                stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self.connection.close()
            raise CameraError(f"{place}: {PROGRAM}: {error.strerror}") from None
        finally:
            theirs.close()
        self._thread = threading.Thread(target=self._listen, name="srt", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def nobody_came(self) -> bool:
        """Whether it ended because there was no other side in time."""
        return self.complaint() in NOBODY_CAME

    def complaint(self) -> str:
        """Why it ended, in its words without the address; "" if it runs, or did not say."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # it closes its end a moment before it has gone
        if self.alive:
            return ""
        self._thread.join(1.0)
        said = self._last[0].rpartition(": ")[2] if self._last else ""
        return NO_ANSWER if said == "Input/output error" else said

    def close(self, seconds: float = 0.0) -> None:
        """End it; it has so long to send what it holds. May be called again."""
        self.connection.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        """Read its messages and keep the last error."""
        assert self._process.stderr is not None
        with self._process.stderr as said:
            for line in said:
                if line.startswith(OPENED):
                    self.connected.set()
                if ": " in line and ("srt" in line or "rror" in line) and not line.startswith(("Input #", "Output #")):
                    self._last.append(line.strip())


def _url(place: Address) -> str:
    """Reliable, as our stream has to be whole; another ``transtype`` is for what other devices send."""
    options = {"transtype": "file", "mode": "listener" if place.listen else "caller", **place.options}
    if place.listen:
        options["listen_timeout"] = str(round(WAIT_SECONDS * 1e6))
    if "latency" in options:  # FFmpeg has microseconds where the rest of the world has milliseconds
        options["latency"] = str(int(options["latency"]) * 1000)
    return f"srt://{place.place}?{urlencode(options)}"

"""Ports for programs that are told where to listen, and so can't take any that is free."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from contextlib import suppress

from tests.support import wait_for

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_PORTS = range(12_000 + 2_000 * (_WORKER % 10), 14_000 + 2_000 * (_WORKER % 10))
"""This worker's own, and below those that the kernel hands out: nothing takes one before the program listens there."""


def free_port() -> int:
    """A port at which nothing listens."""
    while True:
        port = random.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_for_listener(port: int, *, prefix: tuple[str, ...] = ()) -> None:
    """Until somebody waits for connections there; looked up, as a connection would be taken for the sender."""
    asking = [*prefix, "ss", "-Hltn"]
    wait_for(lambda: f":{port} " in subprocess.run(asking, capture_output=True, text=True, check=True).stdout, port)

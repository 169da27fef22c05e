"""The studio's server, from its socket to its end, and the addresses by which it is reached."""

from __future__ import annotations

import ipaddress
import socket
import sys
from pathlib import Path

from pi_capture.studio.app import build
from pi_capture.studio.auth import Keys, kept_token, names_of_this_machine
from pi_capture.studio.connections import BoundedProtocol


def serve(folder: Path, listener: socket.socket, *, new_token: bool, certificate: tuple[Path, Path] | None) -> int:
    """Serve until a signal comes; returns the exit status."""
    import uvicorn

    host = listener.getsockname()[0]
    keys = Keys(kept_token(new=new_token), f"studio_{listener.getsockname()[1]}", certificate is not None)
    names = set() if is_loopback(host) else names_of_this_machine()
    config = uvicorn.Config(
        build(folder, keys, names),
        http=BoundedProtocol,
        ws="none",
        loop="asyncio",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16 * 1024,
        ssl_certfile=certificate and certificate[0],
        ssl_keyfile=certificate and certificate[1],
    )
    for line in addresses(listener, names, keys.token, "http" if certificate is None else "https"):
        say(line)
    uvicorn.Server(config).run([listener])
    return 0


def addresses(listener: socket.socket, names: set[str], token: str, scheme: str) -> list[str]:
    """The lines that say how to reach the studio."""
    host, port = listener.getsockname()[:2]
    query = f"/?token={token}"
    if is_loopback(host):
        shown = "127.0.0.1" if ":" not in host else "[::1]"
        user = f"{socket.gethostname().partition('.')[0]}.local"
        return [
            f"studio: {scheme}://{shown}:{port}{query}",
            f"from another machine: ssh -L {port}:localhost:{port} {user}, then {scheme}://localhost:{port}{query}",
        ]
    local = sorted(name for name in names if name.endswith(".local"))
    hosts = [*local, f"[{host}]" if ":" in host else host] if not _is_any(host) else local
    return [f"studio: {scheme}://{name}:{port}{query}" for name in hosts] + (
        ["who reads the network can read along; --tls-cert and --tls-key, or ssh -L, keep it private"]
        if scheme == "http"
        else []
    )


def is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _is_any(host: str) -> bool:
    return ipaddress.ip_address(host).is_unspecified


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

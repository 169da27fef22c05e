"""The studio's server, from its socket to its end, and the addresses by which it is reached."""

from __future__ import annotations

import ctypes
import fcntl
import io
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pi_capture.studio.app import build
from pi_capture.studio.auth import Keys, kept_token, names_of_this_machine
from pi_capture.studio.certificate import checked_names
from pi_capture.studio.connections import MOST_CONNECTIONS, BoundedProtocol

SIOCGIFADDR = 0x8915  # of netdevice(7)
M_TRIM_THRESHOLD, M_ARENA_MAX = -1, -8  # of glibc's mallopt
READ_ALONG = "others in this network can read what you send; docs/studio.md, In a class, says how to keep it private"


def serve(
    folder: Path, listener: socket.socket, host: str, *, new_token: bool, certificate: tuple[Path, Path] | None
) -> int:
    """Serve until a signal comes; returns the exit status. `host` is what the listener was asked to listen to."""
    import uvicorn

    _keep_little_memory()
    address, port = listener.getsockname()[:2]
    certified = checked_names(*certificate) if certificate is not None else set()
    typed = set() if _is_address(host) else {host.lower()}
    alone = ip_address(address).is_loopback
    names = typed | certified | (set() if alone else names_of_this_machine())
    keys = Keys(kept_token(new=new_token), f"studio_{port}", certificate is not None)
    config = uvicorn.Config(
        build(folder, keys, names),
        http=BoundedProtocol,
        ws="none",
        loop="asyncio",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=MOST_CONNECTIONS,  # so many asyncio accepts at once, before it closes any
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16 * 1024,
        ssl_certfile=certificate and certificate[0],
        ssl_keyfile=certificate and certificate[1],
    )
    openable = {name for name in certified if "*" not in name and (name == "localhost") == alone}
    urls, more = addresses(listener, sorted(typed | openable), keys)
    for url in urls:
        say(f"studio: {url}")
    if more:
        say(more)
    if not alone and sys.stderr.isatty() and sys.stderr.encoding.lower().startswith("utf"):
        numbers = [] if keys.secure else [url for url in urls if _is_address(str(urlsplit(url).hostname))]
        with suppress(ImportError):  # new sources in an environment of before: the addresses are there all the same
            say(qr_code((numbers or urls)[0]))  # few phones find .local names; a certificate holds for names
    uvicorn.Server(config).run([listener])
    return 0


def addresses(listener: socket.socket, names: Sequence[str], keys: Keys) -> tuple[list[str], str]:
    """The addresses of the studio, and a line on how to reach or guard it.

    `names` of this machine were typed, or are in its certificate.
    """
    address, port = listener.getsockname()[:2]
    scheme, query = "https" if keys.secure else "http", f"/?token={keys.token}"
    local = sorted(name for name in names_of_this_machine() if name.endswith(".local"))
    if ip_address(address).is_loopback:
        hosts = [*names, _in_a_url(address)]
        tunnel = f"{port}:{'localhost' if address == '127.0.0.1' else _in_a_url(address)}:{port}"
        there = f"{scheme}://localhost:{port}{query}"
        more = f"from another machine: ssh -L {tunnel} {(local or ['NAME'])[0]}, then {there}"
    elif ip_address(address).is_unspecified:
        hosts = [*(names or local), *map(_in_a_url, own_addresses(listener.family))]
        more = "" if keys.secure else READ_ALONG
    else:
        hosts = [*names, _in_a_url(address)]
        more = "" if keys.secure else READ_ALONG
    return [f"{scheme}://{host}:{port}{query}" for host in hosts], more


def qr_code(url: str) -> str:
    """An address for the camera of a phone or a tablet: lines for a terminal, white and black whatever its colours."""
    import segno

    code = io.StringIO()
    segno.make(url, error="l", micro=False).terminal(code, border=2, compact=True)
    return "\n".join(f"\x1b[38;5;231;48;5;16m{line}\x1b[0m" for line in code.getvalue().splitlines())


def own_addresses(family: socket.AddressFamily) -> list[str]:
    """The addresses by which others of the network reach this machine; an IPv6 socket has both kinds."""
    found = []
    for kind, anywhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(kind, socket.SOCK_DGRAM) as asked:
            if kind in (socket.AF_INET, family):
                asked.connect((anywhere, 9))  # which asks the routing table, and sends nothing
                found.append(asked.getsockname()[0])
    return found or _of_interfaces()


def _of_interfaces() -> list[str]:
    """The IPv4 addresses of this machine where no way leads further, as of a Pi that is the access point."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has none
                answer = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("40s", name.encode()))  # a struct ifreq
                found.append(socket.inet_ntoa(answer[20:24]))
    return [address for address in found if not ip_address(address).is_loopback]


def _keep_little_memory() -> None:
    """Have freed memory given back. glibc has a heap for each thread, and keeps in all of them what pictures took: with
    100,000 frames open a quarter of the process.
    """
    with suppress(AttributeError):  # of another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_TRIM_THRESHOLD, 128 * 1024)


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        ip_address(host)
        return True
    return False


def _in_a_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

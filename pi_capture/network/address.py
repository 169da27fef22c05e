"""``tcp://`` and ``tls://`` addresses, and connections to and from them."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from pi_capture.errors import CameraError, UsageError
from pi_capture.redact import without_secrets

SILENCE_SECONDS = 8.0  # after which a connection that takes nothing counts as lost
BACKLOG = 16  # connections that wait in the kernel
MOST_SENDERS = 8  # into one file; for each, 64 MB may wait for the disk


@dataclass(frozen=True, slots=True)
class Address:
    """``tcp://HOST:PORT`` to connect to, or with ``?listen`` to wait for connections at.

    ``codec=`` is how pictures are sent, ``senders=`` how many senders are waited for. ``tls://`` is encrypted, between
    machines with the same `identity`, a file with a certificate and its key (`pi_capture.network.tls`).
    """

    host: str
    port: int
    listen: bool
    codec: str
    senders: int = 1
    scheme: str = "tcp"
    identity: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}" + ("?listen" if self.listen else "")

    @property
    def place(self) -> str:
        """``HOST:PORT``, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @staticmethod
    def parse(text: str, option: str) -> Address:
        """Read an address. Raises UsageError, in which `option` names what it was given for."""
        shown = without_secrets(text)
        form = f"{option} {shown}: give tcp://HOST:PORT, or tcp://ADDRESS:PORT?listen to be connected to"
        try:
            parts = urlsplit(text)
            port = parts.port
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
        except ValueError:
            raise UsageError(form) from None
        known = parts.scheme in ("tcp", "tls")
        if not known or not parts.hostname or not port or parts.username or parts.path not in ("", "/"):
            raise UsageError(form)
        listen = query.pop("listen", "0") != "0"
        codec, senders = query.pop("codec", "ffv1"), query.pop("senders", "1")
        identity = query.pop("identity", "") if parts.scheme == "tls" else ""
        if parts.scheme == "tls" and not identity:
            raise UsageError(f"{option} {shown}: give --identity FILE; python -m pi_capture make-identity makes one")
        if not senders.isdecimal() or not 1 <= int(senders) <= MOST_SENDERS:
            raise UsageError(f"{form}; senders= is the number of senders to wait for, up to {MOST_SENDERS}")
        if int(senders) > 1 and (option != "--camera" or not listen):
            raise UsageError(f"{form}; senders= is for --camera tcp://ADDRESS:PORT?listen")
        if query:
            raise UsageError(f"{form}; beside listen there is codec=, as in ?codec=h264")
        return Address(parts.hostname, port, listen, codec, int(senders), parts.scheme, identity)


def several_senders(camera: str) -> Address | None:
    """Return the address of ``--camera`` if it waits for more than one sender. Raises UsageError."""
    if not camera.startswith(("tcp://", "tls://")) or "senders=" not in camera:
        return None
    place = Address.parse(camera, "--camera")
    return place if place.senders > 1 else None


def with_identity(urls: Sequence[str], identity: str | None) -> list[str]:
    """Add the identity to each ``tls://`` that has none. Raises UsageError for one that nothing uses."""
    if identity is None:
        return list(urls)
    if not any(url.startswith("tls://") for url in urls):
        raise UsageError("--identity does nothing without a tls:// to send to or receive from; give both, or neither")
    added = f"identity={quote(identity)}"
    return [
        f"{url}{'&' if '?' in url else '?'}{added}" if url.startswith("tls://") and "identity=" not in url else url
        for url in urls
    ]


def exposed(url: str) -> str | None:
    """Return a warning if others can read what is sent, or the key that keeps it secret; None if they can't."""
    if not url.startswith(("tcp://", "tls://")):
        return None
    place = Address.parse(url, "--camera")
    if place.identity:
        return _open_to_others(place.identity)
    with suppress(ValueError):
        if ipaddress.ip_address(place.host).is_loopback:
            return None
    if place.host == "localhost":
        return None
    return f"{place}: not encrypted, and open to all on that network; tls:// admits only machines with your --identity"


def _open_to_others(identity: str) -> str | None:
    from pi_capture.network.tls import check_identity

    with suppress(OSError, CameraError):  # who opens it tells that
        check_identity(identity)
        if os.stat(identity).st_mode & (stat.S_IROTH | stat.S_IWOTH):
            return f"--identity {identity}: other users of this machine can read its key; chmod 600 {identity}"
    return None


def listen_at(address: Address) -> socket.socket:
    """Return a socket that waits for connections. Raises CameraError if the address is taken, or not this machine's."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise CameraError(f"{address}: {reason}; choose another port, or an address of this machine") from None
    return listener


def connect_to(address: Address, seconds: float) -> socket.socket:
    """Return a connection. Raises OSError."""
    from pi_capture.network.tls import secure

    connection = socket.create_connection((address.host, address.port), timeout=seconds)
    prepare(connection)
    return secure(connection, address.identity, server=False, seconds=seconds) if address.identity else connection


def prepare(connection: socket.socket) -> None:
    """Have small messages sent at once, and a peer that has vanished noticed."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(SILENCE_SECONDS * 1000))
        for name, value in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 1), ("TCP_KEEPCNT", 5)):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

"""TLS between two machines that hold the same certificate, and how such an identity is made.

Both present it, and accept no other. Names and dates in it are not checked: a Pi may have no clock, and any address. A
thread carries the bytes between the encrypted connection and a plain socket, which is used like a connection without
TLS.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pi_capture.errors import CameraError
from storage.commands.console import Parser, print_line
from storage.durable.files import appearing

NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL: the certificate is known byte by byte
MOST_BYTES = 1 << 20  # of an identity
CHUNK_BYTES = 1 << 18
BUFFER_BYTES = 512 * 1024  # more would be late
LINGER_SECONDS = 8.0  # for the other side, when ours has ended


@dataclass(frozen=True, slots=True)
class _Identity:
    """A certificate, and what presents it: to a server, and as one."""

    certificate: bytes
    client: ssl.SSLContext
    server: ssl.SSLContext


def check_identity(path: str) -> None:
    """Raise CameraError if that is no file with a certificate and its key.

    From then on the file is not read again: a recording goes on when it is gone, and a connection comes back.
    """
    _load(path)


def secure(connection: socket.socket, identity: str, *, server: bool, seconds: float) -> socket.socket:
    """Return our end of an encrypted connection over `connection`, made within so many seconds.

    Raises
    ------
    OSError
        There is no TLS, or the other side has another identity. `connection` is closed then.
    """
    known = _load(identity)
    connection.settimeout(seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    try:
        context = known.server if server else known.client
        encrypted = context.wrap_socket(connection, server_side=server)
    except ssl.SSLError as error:
        connection.close()
        raise OSError(0, f"no TLS by the same identity ({error.reason or error})") from None
    except OSError:
        connection.close()
        raise
    if encrypted.getpeercert(binary_form=True) != known.certificate:
        encrypted.close()
        raise OSError(0, "another identity")
    ours, inner = socket.socketpair()
    threading.Thread(target=_carry, args=(encrypted, inner), name="tls", daemon=True).start()
    return ours


@cache
def _load(path: str) -> _Identity:
    advice = "make one: python -m pi_capture make-identity FILE"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading another kind could take for ever
            raise CameraError(f"--identity {path}: it is no file; {advice}")
        text = Path(path).read_bytes()[:MOST_BYTES].decode("ascii", "replace")
        begin, end = ssl.PEM_HEADER, ssl.PEM_FOOTER
        certificate = ssl.PEM_cert_to_DER_cert(text[text.index(begin) : text.index(end) + len(end)])
        return _Identity(certificate, _context(path, server=False), _context(path, server=True))
    except (ssl.SSLError, ValueError):
        raise CameraError(f"--identity {path}: it holds no certificate with its key; {advice}") from None
    except OSError as error:
        raise CameraError(f"--identity {path}: {error.strerror}") from None


def _context(identity: str, *, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    context.load_cert_chain(identity, password=lambda: b"")  # never ask at the terminal
    context.load_verify_locations(identity)
    if server:
        context.num_tickets = 0  # each connection presents the certificate again
    return context


def _carry(encrypted: ssl.SSLSocket, inner: socket.socket) -> None:
    """Carry bytes both ways until both sides have ended, or one is gone."""
    sending, receiving = True, True  # as seen from here
    outgoing = incoming = memoryview(b"")
    with encrypted, inner, suppress(OSError):
        encrypted.setblocking(False)
        inner.setblocking(False)
        while sending or receiving:
            reads = [inner] * (sending and not outgoing) + [encrypted] * (receiving and not incoming)
            writes = [encrypted] * bool(outgoing) + [inner] * bool(incoming)
            # What is decrypted already select does not show.
            waiting = receiving and not incoming and encrypted.pending()
            ready = select.select(reads, writes, [], 0 if waiting else None if sending else LINGER_SECONDS)
            if not any(ready) and not waiting:
                return
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if receiving and not incoming:
                    incoming = memoryview(encrypted.recv(CHUNK_BYTES))
                    receiving = bool(incoming)
                    if not receiving:
                        inner.shutdown(socket.SHUT_WR)
            with suppress(BlockingIOError):
                if incoming:
                    incoming = incoming[inner.send(incoming) :]
            with suppress(BlockingIOError):
                if sending and not outgoing:
                    outgoing = memoryview(inner.recv(CHUNK_BYTES))
                    sending = bool(outgoing)
                    if not sending:  # SSLSocket.shutdown would end both directions
                        socket.socket.shutdown(encrypted, socket.SHUT_WR)
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if outgoing:
                    outgoing = outgoing[encrypted.send(outgoing) :]


# ------------------------------------------------------------------------------------------------------- make-identity

MAKE_IDENTITY = """\
Make an identity for tls://: a certificate and its key, in one file. Copy it to every machine that sends or receives, by
a way that you trust, such as scp. A machine that has it is let in.
"""


def make_identity(arguments: Sequence[str]) -> int:
    """``make-identity``; returns the exit status."""
    parser = Parser(
        prog="python -m pi_capture make-identity",
        description=MAKE_IDENTITY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="what to make, such as day.pem; it must not exist yet")
    path: Path = parser.parse_args(arguments).file
    key = _openssl("genpkey", "-algorithm", "ed25519")
    certificate = _openssl(
        *("req", "-x509", "-new", "-key", "/dev/stdin", "-subj", "/CN=pi-capture", "-days", "36500"), given=key
    )
    with appearing(path) as made, open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key + certificate)
    print_line(f"{path}: copy it to the other machine, and give --identity {path} on both")
    return 0


def _openssl(*arguments: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=False)
    except FileNotFoundError:
        raise CameraError("make-identity needs the program openssl; install it: sudo apt install openssl") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CameraError(f"openssl {arguments[0]} failed: {reason}")
    return done.stdout

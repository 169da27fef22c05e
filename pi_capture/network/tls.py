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
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pi_capture.errors import CameraError

NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL: the certificate is known byte by byte
CHUNK_BYTES = 1 << 18
BUFFER_BYTES = 512 * 1024  # more would be late
LINGER_SECONDS = 8.0  # for the other side, when ours has ended


def check_identity(path: str) -> None:
    """Raise CameraError if that is no file with a certificate and its key."""
    _context(path, server=False)


def secure(connection: socket.socket, identity: str, *, server: bool, seconds: float) -> socket.socket:
    """Return our end of an encrypted connection over `connection`, made within so many seconds.

    Raises
    ------
    OSError
        There is no TLS, or the other side has another identity. `connection` is closed then.
    """
    connection.settimeout(seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    try:
        encrypted = _context(identity, server=server).wrap_socket(connection, server_side=server)
    except ssl.SSLError as error:
        connection.close()
        raise OSError(0, f"no TLS by the same identity ({error.reason or error})") from None
    except OSError:
        connection.close()
        raise
    if encrypted.getpeercert(binary_form=True) != _certificate(identity):
        encrypted.close()
        raise OSError(0, "another identity")
    ours, inner = socket.socketpair()
    threading.Thread(target=_carry, args=(encrypted, inner), name="tls", daemon=True).start()
    return ours


def _context(identity: str, *, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    try:
        context.load_cert_chain(identity, password=lambda: b"")  # never ask at the terminal
        context.load_verify_locations(identity)
    except ssl.SSLError:
        advice = "make one: python -m pi_capture make-identity FILE"
        raise CameraError(f"--identity {identity}: it holds no certificate with its key; {advice}") from None
    except OSError as error:
        raise CameraError(f"--identity {identity}: {error.strerror}") from None
    if server:
        context.num_tickets = 0  # each connection presents the certificate again
    return context


def _certificate(identity: str) -> bytes:
    text = Path(identity).read_text()
    begin, end = ssl.PEM_HEADER, ssl.PEM_FOOTER
    return ssl.PEM_cert_to_DER_cert(text[text.index(begin) : text.index(end) + len(end)])


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
            waiting = (
                receiving and not incoming and encrypted.pending()
            )  # decrypted already, which select does not show
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
    parser = argparse.ArgumentParser(
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
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(key + certificate)
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        path.unlink()
        raise
    print(f"{path}: copy it to the other machine, and give --identity {path} on both")
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

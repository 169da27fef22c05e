"""``python -m pi_capture studio``: the command line of the studio, and where it listens."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from pi_capture.errors import UsageError
from storage.commands.console import Parser

PORT = 8765
EXAMPLES = """\
examples:
  python -m pi_capture studio                           the recordings of this directory, for this machine's browser
  python -m pi_capture studio recordings --listen 0.0.0.0:8765     and for the browsers of the local network

The studio shows an address with a token. Whoever opens the whole address may record, label and delete. Ctrl-C ends the
studio; recordings that it started go on.
"""


def main(arguments: Sequence[str]) -> int:
    """Serve until Ctrl-C; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if (args.tls_cert is None) != (args.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together; give both, or neither")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a head's products are too narrow for several threads
    from pi_capture.studio.server import serve

    certificate = None if args.tls_cert is None else (args.tls_cert, args.tls_key)
    host, port = args.listen
    return serve(args.folder, _listen(host, port), host, new_token=args.new_token, certificate=certificate)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m pi_capture studio",
        description="See, record and label in a browser, on this machine or another one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", type=Path, default=Path(), help="where recordings are (default: here)"
    )
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=address,
        default=("127.0.0.1", PORT),
        help=f"default: 127.0.0.1:{PORT}, for this machine alone; 0.0.0.0:{PORT} for the network",
    )
    parser.add_argument("--tls-cert", metavar="FILE", type=Path, help="serve https with this certificate (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="its key (PEM)")
    parser.add_argument("--new-token", action="store_true", help="shut out all browsers that were let in before")
    return parser


def address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` as typed: ``127.0.0.1:8765``, ``[::]:8765``, or the port alone."""
    host, separator, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16) or (separator and not host):
        raise argparse.ArgumentTypeError(f"{text!r}: give HOST:PORT, such as 127.0.0.1:{PORT}")
    return host.strip("[]") or "127.0.0.1", int(port)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError if the name is unknown, OSError if the port is taken."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise UsageError(f"--listen: there is no {host[:60]!r}; give an address of this machine") from None
    from pi_capture.studio.connections import BoundedListener

    listener = BoundedListener(family, kind, protocol)  # asyncio sets TCP_NODELAY only where the protocol is told
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] is all addresses, on any system
    try:
        listener.bind(place)
        listener.listen()  # who opens the address as soon as it is shown waits, and is not turned away
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"{error.strerror}; end what runs there, or give another --listen", f"--listen {host}:{port}"
        ) from None
    return listener

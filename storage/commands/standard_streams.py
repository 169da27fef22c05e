"""Standard streams and signals: what every command line sets up before anything else.

A program may be started with its standard input, output or error closed, as ``2>&-`` does. Then the next file that it
opens takes their place. That may be a recording, and a library would write its error messages into it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def open_standard_streams() -> None:
    """Connect closed standard streams to /dev/null."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115 (stays open)
            setattr(sys, f"__{name}__", getattr(sys, name))


@contextmanager
def stopped_like_ctrl_c() -> Iterator[None]:
    """Within this context SIGTERM and a closed terminal do what Ctrl-C does: half-made files are removed."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup stays what it is
                before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_ctrl_c(said: bytes = b"") -> Iterator[None]:
    """Within this context Ctrl-C ends the process at once: as an exception it can be lost while modules are loaded."""

    def end(*_: object) -> None:
        os.write(2, said)
        os._exit(130)

    before = signal.getsignal(signal.SIGINT)  # a shell's background job ignores it, and so do we
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)

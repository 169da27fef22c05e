"""A file for the textfile collector of Prometheus' node_exporter, written anew every few seconds.

It appears whole, and goes when the recording ends: numbers that nothing keeps up to date would mislead. One recording
keeps it, as long as it holds the lock of a hidden file beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pi_capture.errors import UsageError
from pi_capture.report.metrics import Meter, as_prometheus, repeated
from storage.durable.files import lock_file
from storage.errors import BusyError

SECONDS = 15.0  # Prometheus asks about as often
READABLE = 0o644  # by the user that node_exporter runs as


@contextmanager
def written(path: Path, recording: str, meter: Meter, say: Callable[[str], None]) -> Iterator[None]:
    """Write the numbers of a meter within this context, in a thread of its own; `recording` is their label.

    A failure is told once, by `say`, and never touches the recording.

    Raises
    ------
    UsageError
        node_exporter would not read a file of this name.
    """
    if path.suffix != ".prom":
        raise UsageError(f"--textfile {path}: node_exporter reads files whose names end with .prom; give such a name")
    told = False
    lock_path, lock = path.with_name(f".{path.name}.lock"), None

    def write() -> None:
        nonlocal told, lock
        try:
            text = as_prometheus(meter.read(), recording).encode(errors="replace")
            if lock is None:
                lock = lock_file(lock_path, "another recording keeps this file, and each needs one of its own")
            _replace(path, text)
        except (OSError, BusyError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            if not told:
                say(f"--textfile {path}: {reason}; the recording goes on, and it is tried again")
            told = True

    try:
        with repeated(write, SECONDS, "textfile"):
            yield
    finally:
        if lock is not None:
            for ours in (path, lock_path):
                with suppress(OSError):
                    ours.unlink(missing_ok=True)
            os.close(lock)


def _replace(path: Path, text: bytes) -> None:
    """Replace a file as a whole. It is not synced: it is of no use after a power cut."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(text)
    temporary.chmod(READABLE)
    os.replace(temporary, path)

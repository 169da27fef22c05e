"""The window of `classify` that labels a recording now, and how it is ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from pi_capture.studio.answers import RefusedError
from storage.durable.files import is_locked
from storage.labels.beside import journal_path

END_SECONDS = 20.0  # for a window to end


def is_labelled(path: Path) -> bool:
    """Whether a program labels a recording now."""
    return is_locked(journal_path(path))


def end_window(path: Path) -> None:
    """End the window that labels a recording: each of its labels is on the disk already.

    Raises
    ------
    RefusedError
        It is no window of this user that labels it, or it does not end.
    """
    journal = journal_path(path)
    until = time.monotonic() + END_SECONDS
    while is_locked(journal):
        for pid in _holders(journal):
            if not _is_window(pid):
                raise RefusedError(f"process {pid} labels this recording, and is not a window; end it first", 409)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() > until:
            raise RefusedError("the window does not close; close it by hand", 409)
        time.sleep(0.05)


def _holders(file: Path) -> set[int]:
    """The processes that hold the lock of a file, as the kernel tells them."""
    facts = file.stat()
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {int(words[4]) for words in lines if len(words) > 5 and words[5] == place and int(words[4]) > 0}


def _is_window(pid: int) -> bool:
    """Whether a process is ``python -m classify`` or the console script, or is just ending."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True
    named = any(pair == (b"-m", b"classify") for pair in pairwise(words))
    return named or words == [b""] or any(word.endswith((b"/classify", b"/classify/__main__.py")) for word in words[:2])

"""Commands of the user's that end with this program, however it ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

GUARDED = """
exec 3<&0 </dev/null
((exec >/dev/null 2>&1; read -r _ <&3; trap '' TERM; kill -TERM 0; sleep 1; kill -KILL 0) &)
exec 3<&- "$@"
"""
"""Becomes a command, after it started a shell beside it in its group that ends all of it when standard input ends: this
program, which holds the other end, is gone then, however it ended, and nobody else would free a serial port. (Linux's
`PR_SET_PDEATHSIG` sees the end of a thread, not of the program, and reaches one process only.)"""


def start_guarded(
    command: Sequence[str],
    *,
    stdout: int | None = None,
    stderr: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own; what still runs of it ends when its ``stdin`` is closed.

    Its standard input is empty. Raises OSError if there can be no more processes; a command that can't be run ends
    with status 126 or 127, as in a shell.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARDED, "sh", *command], stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, bufsize=0,
        start_new_session=True, env={**os.environ, **environment} if environment else None,
    )  # fmt: skip

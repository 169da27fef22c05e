"""This machine: the facts that every recording keeps, and where a recording comes to lie."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pi_capture.recording.clocks import boot_id


def machine_token() -> str:
    """Return a token of this machine: always the same, unique, and not to be traced back."""
    from hashlib import sha256

    secret = boot_id() or ""
    with suppress(OSError):
        secret = Path("/etc/machine-id").read_text().strip() or secret
    return sha256(f"pi-capture {secret}".encode()).hexdigest()[:32]


def facts_of_this_machine() -> dict[str, Any]:
    """Return time, host and versions; the wall clock is the monotonic clock plus the offset."""
    import platform

    from pi_capture import __version__

    now_ns = time.time_ns()
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now_ns / 1e9)),
        "wall_minus_monotonic_ns": now_ns - time.monotonic_ns(),
        "boot_id": boot_id(),
        "host": platform.node(),
        "versions": {
            "pi_capture": __version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
    }


def directory_at(target: Path) -> Path:
    """Return the nearest directory that exists: the target itself, or the one that it will be made in."""
    absolute = target.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.is_dir())

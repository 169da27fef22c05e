"""What several tests share."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
ELSEWHERE = REPOSITORY / "tests" / "support" / "elsewhere"
"""A distribution of others, with a format and a camera: its modules, and its entry points."""
PATIENCE_SECONDS = 240.0
"""How long a test waits for what is sure to come: on a busy machine a program is loaded for a minute."""


def wait_for(condition: Callable[[], Any], what: object = "it", process: subprocess.Popen[Any] | None = None) -> Any:
    """Wait for a condition; its value. Until then a process must not end."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, f"in vain: {what}"
        assert process is None or process.poll() is None, f"it ended before: {what}"
        time.sleep(0.01)
    return value

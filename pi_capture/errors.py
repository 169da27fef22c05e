"""The failures of cameras and of the recording loop that a user sees."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import StorageError

if TYPE_CHECKING:
    from pi_capture.status import Summary


class CameraError(Exception):
    """A camera, file or screen can't be opened, or stopped delivering.

    The message is one line for the user: what failed, on which device, and what to do.
    """


class PreviewError(Exception):
    """No window with the live picture can be opened; the message is one line and says what to do."""


class UsageError(ValueError):
    """A size, specification or option that is wrong, whatever camera there is (exit status 2)."""


class RecordingError(Exception):
    """A recording ended early, or a sensor's did. What was recorded is safe; `summary` counts it.

    Attributes
    ----------
    summary : Summary
        What was stored, as after a recording that ended well.
    has_all_frames : bool
        Whether only something beside the pictures failed.
    """

    def __init__(self, message: str, summary: Summary, *, has_all_frames: bool = False) -> None:
        super().__init__(message)
        self.summary = summary
        self.has_all_frames = has_all_frames


def explain(error: Exception | None, target: Path) -> str:
    """Return why a recording into `target` ended, in one line for the user."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{target}: the disk is full; what was recorded is safe. Make room, or record to another disk"
    if isinstance(error, OSError):
        return f"{target}: {error.strerror or error}; what was recorded before is safe. Check the disk"
    if isinstance(error, StorageError):
        return str(error)
    return f"{target}: {type(error).__name__}: {error}"

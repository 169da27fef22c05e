"""The failures of cameras and of the recording loop that a user sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pi_capture.status import Summary


class CameraError(Exception):
    """A camera, file or screen can't be opened, or stopped delivering.

    The message is one line for the person at the keyboard: what failed, on which device, and what to do.
    """


class PreviewError(Exception):
    """There can be no window with the live picture; the message is one line and says what to do."""


class UsageError(ValueError):
    """A size, specification or option that is wrong, whatever camera there is (exit status 2)."""


class RecordingError(Exception):
    """A recording ended early. What was recorded is safe; `summary` counts it.

    Attributes
    ----------
    summary : Summary
        What was stored, as after a recording that ended well.
    """

    def __init__(self, message: str, summary: Summary) -> None:
        super().__init__(message)
        self.summary = summary

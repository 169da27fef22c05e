"""Record frames from cameras, files, screens and programs.

>>> from pi_capture import record
>>> record("day1", 60, camera="demo")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing's own is True for a checker too, and takes 15 ms in which Ctrl-C shows a traceback
if TYPE_CHECKING:
    from pi_capture.errors import CameraError, RecordingError, UsageError
    from pi_capture.recording.capture import record
    from pi_capture.recording.options import RecordOptions
    from pi_capture.recording.recorder import Recorder
    from pi_capture.status import Summary

__version__ = "0.1.0"
__all__ = ["CameraError", "RecordOptions", "Recorder", "RecordingError", "Summary", "UsageError", "record"]

_HOMES = {
    "record": "pi_capture.recording.capture",
    "RecordOptions": "pi_capture.recording.options",
    "Recorder": "pi_capture.recording.recorder",
    "Summary": "pi_capture.status",
    **dict.fromkeys(("CameraError", "RecordingError", "UsageError"), "pi_capture.errors"),
}


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: the command line answers ``--help`` without any of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

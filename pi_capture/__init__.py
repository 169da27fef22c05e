"""Record frames from cameras, files, screens and programs.

>>> from pi_capture import record
>>> record("day1", 60, camera="demo")  # doctest: +SKIP
"""

__version__ = "0.1.0"

from pi_capture.capture import record
from pi_capture.errors import CameraError, RecordingError, UsageError
from pi_capture.recorder import Recorder, Summary

__all__ = ["CameraError", "Recorder", "RecordingError", "Summary", "UsageError", "record"]

"""Recordings at rest: formats, labels, and the layout that training frameworks read."""

from storage.errors import StorageError
from storage.formats.table import open_recording
from storage.frame import Frame
from storage.recording import Recording
from storage.tracks.sample_track import SampleTrack

__all__ = ["Frame", "Recording", "SampleTrack", "StorageError", "open_recording"]

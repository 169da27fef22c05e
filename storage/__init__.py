"""Recordings at rest: formats, labels, and the layout that training frameworks read."""

from importlib import import_module

TYPE_CHECKING = False  # typing's own is True for a checker too, and takes 15 ms in which Ctrl-C shows a traceback
if TYPE_CHECKING:
    from storage.errors import StorageError
    from storage.formats.table import open_recording
    from storage.frame import Frame
    from storage.recording import Recording
    from storage.tracks.sample_track import SampleTrack

__all__ = ["Frame", "Recording", "SampleTrack", "StorageError", "open_recording"]

_HOMES = {
    "Frame": "storage.frame",
    "Recording": "storage.recording",
    "SampleTrack": "storage.tracks.sample_track",
    "StorageError": "storage.errors",
    "open_recording": "storage.formats.table",
}


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: Ctrl-C while it is loaded comes when ``__main__`` is ready for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

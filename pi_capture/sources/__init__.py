"""Cameras, files and screens: the contract of a source, the table of all, and a package for each."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pi_capture.sources.contract import (
        Accompanied,
        Camera,
        Controllable,
        Encoding,
        Focus,
        Focusing,
        HighDynamicRange,
        Size,
        Source,
        SourceInfo,
    )
    from pi_capture.sources.table import SOURCES, SourceKind, list_cameras, open_source

__all__ = [
    "SOURCES",
    "Accompanied",
    "Camera",
    "Controllable",
    "Encoding",
    "Focus",
    "Focusing",
    "HighDynamicRange",
    "Size",
    "Source",
    "SourceInfo",
    "SourceKind",
    "list_cameras",
    "open_source",
]

_OF_THE_TABLE = ("SOURCES", "SourceKind", "list_cameras", "open_source")


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for: ``--help`` shows the table without the contract."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "table" if name in _OF_THE_TABLE else "contract"
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

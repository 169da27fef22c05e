"""Cameras, files and screens: the contract of a source, the table of all, and a package for each."""

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

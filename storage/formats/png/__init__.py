"""The png format: a directory with a PNG file for each frame."""

from storage.formats.png.reader import PngReader
from storage.formats.png.writer import PngWriter

__all__ = ["PngReader", "PngWriter"]

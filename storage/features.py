"""The features format, for programs: 256 numbers a frame."""

from storage.formats.features.recording import FeaturesReader, write_labels

__all__ = ["FeaturesReader", "write_labels"]

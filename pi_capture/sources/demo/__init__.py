"""A drawn scene, for trying things out without a camera."""

from pi_capture.sources.demo.play import CLASSES
from pi_capture.sources.demo.source import draw

__all__ = ["CLASSES", "draw"]

"""From the camera to the disk: a frame's way."""

HOLD_SECONDS = 0.3
"""For so many seconds a class must lead before it counts, if nothing else is asked for."""

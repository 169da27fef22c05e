"""From the camera to the disk: a frame's way."""

"""The png format: a directory with a PNG file for each frame."""

"""The live picture in a window, and labels from keys while recording."""

"""A person beside the recording: the picture in a window, and labels from the keys of a terminal."""

"""The video format: a Matroska file with each frame's own time. `writer` has its Writer, `reader` its Reader."""

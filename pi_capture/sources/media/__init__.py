"""Whatever FFmpeg opens: files, URLs, screens and devices."""

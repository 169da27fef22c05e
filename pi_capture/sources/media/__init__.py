"""Files, URLs, screens and devices, through FFmpeg."""

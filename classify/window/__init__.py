"""The OpenCV window: what is drawn in it, and which key does what."""

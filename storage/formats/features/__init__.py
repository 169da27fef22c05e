"""The features format: the 256 numbers that MobileNet makes of a frame, without its picture."""

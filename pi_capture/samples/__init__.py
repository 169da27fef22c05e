"""Sensors and sound beside the pictures: where samples come from, when each was taken, and their way to the file."""

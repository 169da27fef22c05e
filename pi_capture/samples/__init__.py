"""Sensors and sound: where samples come from, when each was taken, and how they get into the file."""

"""Recordings cut into segments: the recorder, the names, the removal of old segments."""

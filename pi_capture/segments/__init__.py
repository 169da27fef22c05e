"""Recordings cut while they go on: their recorder, their names, and which of them go."""

"""Recordings that go from one machine to another while they are made."""

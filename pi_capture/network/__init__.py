"""Recordings from one machine to another while they are made. What receives them is a source: `sources.stream`."""

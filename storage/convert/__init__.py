"""Frames from one recording into another."""

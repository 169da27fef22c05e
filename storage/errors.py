"""The failures that storage tells a person about."""

from __future__ import annotations


class StorageError(Exception):
    """A recording can't be made, read or changed.

    The message is one line for the person at the keyboard: what failed, on which file, and what to do.
    """


class BusyError(StorageError):
    """Another program is recording into it, or changing it."""

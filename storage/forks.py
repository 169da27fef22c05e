"""Readers in forked processes, such as the workers of PyTorch's DataLoader.

A fork does not copy FFmpeg's threads: a decoder or scaler that had some waits for them for ever, also when it is freed.
And both processes share one position in a file that FFmpeg has open. So a reader begins anew in the forked process,
with a new decoder and a new file. The old ones stay unused until the process ends.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Reader(Protocol):
    """A reader that begins anew in a forked process."""

    def begin_anew(self) -> object:
        """Give up locks, decoders and what FFmpeg has open, without closing it; returns what must not be freed."""


_readers: WeakSet[Reader] = WeakSet()
_given_up: list[object] = []


def renew_after_fork(reader: Reader) -> None:
    """Let a reader begin anew in every process that is forked from this one while the reader lives."""
    _readers.add(reader)


def _in_the_child() -> None:
    _given_up.extend(reader.begin_anew() for reader in list(_readers))


os.register_at_fork(after_in_child=_in_the_child)

"""A disk that is only thought of: what one file would hold if the power went, sector by sector."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SECTOR = 512


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that changes the file, or makes it durable: "write", "cut" or "sync"."""

    kind: str
    address: int = 0
    data: bytes = b""


class Disk:
    """`os`, with the calls that concern one file noted down in their order. Nothing waits for a real disk.

    Parameters
    ----------
    inode : int
        Of the file; 0 for the first one that is written to.
    """

    def __init__(self, inode: int = 0) -> None:
        self.inode = inode
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def pwrite(self, fd: int, data: bytes, address: int) -> int:
        self._note(fd, Call("write", address, bytes(data)))
        return os.pwrite(fd, data, address)

    def ftruncate(self, fd: int, size: int) -> None:
        self._note(fd, Call("cut", size))
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        self._note(fd, Call("sync"))

    def _note(self, fd: int, call: Call) -> None:
        inode = os.fstat(fd).st_ino
        self.inode = self.inode or inode
        if inode == self.inode:
            self.calls.append(call)


def after(image: bytes, calls: Sequence[Call], arrives: Callable[[], bool]) -> bytes:
    """A file's content after some calls, of which each sector arrives on the disk or not."""
    disk = bytearray(image)
    for call in calls:
        if call.kind == "cut" and arrives():
            disk = disk[: call.address].ljust(call.address, b"\0")
        at = 0
        while at < len(call.data):
            until = min(len(call.data), at + SECTOR - (call.address + at) % SECTOR)
            if arrives():
                disk = disk.ljust(call.address + until, b"\0")
                disk[call.address + at : call.address + until] = call.data[at:until]
            at = until
    return bytes(disk)

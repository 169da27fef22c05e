"""An HDF5 file that changes in whole transactions, whatever happens: the file object that h5py writes through.

libhdf5 changes a file in place and in any order: a crash in between leaves a file that can't be opened. So it writes
to a `TransactionFile`, which keeps one rule: **what the last commit covers stays as it is until the next commit is on
the disk as a whole.** With ``committed`` for the end of the file at the last commit:

- A write below ``committed`` stays in memory, in pages, and every read sees it there.
- A write above goes to the file at once: nothing that the last commit covers refers to it.

`commit` then works in four steps.

1. *Log.* Append to the file the pages that changed, and a trailer: the old and the new end, the length of the log, a
   CRC of everything that was appended since the last commit, and a CRC of the log itself. Sync.
2. *Apply.* Write the pages where they belong. Sync.
3. *Cut.* Cut the log off.
4. From now on ``committed`` is the new end.

Why no crash loses what a commit covers. The disk may have any of the writes since the last sync, in any order, the last
one in part. Look at the last bytes of the file, where a whole log has its trailer.

- Before the sync of step 1 returns: either the log is not whole, or something that was appended is missing (one of the
  two CRCs fails), or all of both is there. In the first two cases nothing below ``committed`` has changed: this is the
  file of the last commit, with bytes behind its end that belong to nothing. In the third it is the new commit.
- After it, until the sync of step 2 returns: the log is whole, and stays so. Whatever part of the pages has arrived,
  writing all of them once more gives the new commit.
- After that: all pages are there. If the log is seen again, because the cut of step 3 was lost, it is the one of the
  last commit (an older one has been overwritten or cut off, and that synced, before that commit's log was whole), and
  writing its pages again changes nothing. New writes above ``committed`` overwrite it: then its CRC fails.

`recover` is therefore all that a writer does after a crash: apply the log if it is whole, and cut off what is behind
the end that the superblock tells. A reader that may not write looks through the log instead (`read_log`).

Other programs see the file between two commits as an ordinary HDF5 file. In step 2, a millisecond each second, they may
see some pages old and some new: an open that falls into it can fail, and is tried again. After a crash in that
millisecond they can't open it until the toolkit has recovered it.

A full disk never reaches libhdf5, which crashes on it: bytes without room stay in memory, `failure` has the error, and
`commit` tries again before it changes anything.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from isal import isal_zlib

from storage.durable.files import check_in_place, create_file, lock_descriptor, reserve, write_all
from storage.errors import GoneError, StorageError, no_directory
from storage.formats.hdf5.heap import HEAP_SIGNATURE, read_heap

PAGE = 512  # small: each page that changes is written twice, and syncs change a few bytes here and there
READ_BYTES = 1 << 20

SIGNATURE = b"\x89HDF\r\n\x1a\n"
LOG_SIGNATURE = b"pi-redo1"
_TRAILER = struct.Struct("<8sQQQII")  # signature; old end, new end, length of the runs; CRC of what came, of the log
_RUN = struct.Struct("<QQ")  # address and length; then the bytes


class Run(NamedTuple):
    """Bytes that belong to an address."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """A commit that was on the disk as a whole, and may not have been applied: the runs, and the file's new end."""

    runs: list[Run]
    end: int


class TransactionFile:
    """A file object for ``h5py.File``, and what makes the changes durable: `commit`.

    It is not locked against other threads: the caller lets in one at a time.

    Parameters
    ----------
    file : int or file object
        Open for reading and, unless nothing will be written, for writing. A descriptor is the caller's to close.
    log : Log, optional
        Look at the file as if this were applied.

    Attributes
    ----------
    failure : OSError or None
        Why bytes have no room on the disk; they wait in memory for the next `commit`.
    """

    def __init__(self, file: int | io.FileIO, log: Log | None = None) -> None:
        self._file = file  # which is closed with the last reference to it
        self._fd = fd = file if isinstance(file, int) else file.fileno()
        self._position = 0
        self._pages: dict[int, bytearray] = {}
        self.failure: OSError | None = None
        self._broken = False  # what the disk holds is not known any more
        self._needs_log = False
        self.committed = self._end = os.fstat(fd).st_size
        if log is not None:
            for address, data in log.runs:
                self._keep(address, memoryview(data))
            self.committed = self._end = log.end

    # ------------------------------------------------------------------------------------------------ what h5py calls

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is durable before `commit`."""

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size
        return self._end

    def read(self, size: int = -1) -> bytes:
        buffer = bytearray(max(0, self._end - self._position) if size < 0 else size)
        return bytes(memoryview(buffer)[: self.readinto(buffer)])

    def readinto(self, buffer: bytearray | memoryview) -> int:
        view = memoryview(buffer).cast("B")
        size = self._read_into(view, self._position)
        if view[:5] == HEAP_SIGNATURE + b"\1" and self._sizes_are_8:  # signature and version
            read_heap(self.read_at, self._position)
        self._position += size
        return size

    def read_at(self, address: int, size: int) -> bytes:
        """Bytes from an address on, fewer at the end of the file; from any thread, while nothing is written."""
        buffer = bytearray(max(0, min(size, self._end - address)))
        self._read_into(memoryview(buffer), address)
        return bytes(buffer)

    def _read_into(self, view: memoryview, start: int) -> int:
        size = max(0, min(len(view), self._end - start))
        done = os.preadv(self._fd, [view[:size]], start) if size else 0
        view[done:size] = bytes(size - done)  # room that libhdf5 took and has not written to
        if self._pages:
            for number in range(start // PAGE, -(-(start + size) // PAGE)):
                if (page := self._pages.get(number)) is not None:
                    first, last = max(start, number * PAGE), min(start + size, number * PAGE + PAGE)
                    view[first - start : last - start] = page[first - number * PAGE : last - number * PAGE]
        return size

    @property
    def _sizes_are_8(self) -> bool:
        """Whether addresses and lengths in this file have 8 bytes, as all but the oddest have."""
        head = self.read_at(0, 16)
        return head[9:11] == b"\x08\x08" if head[8] > 1 else head[13:15] == b"\x08\x08"

    def write(self, data: bytes | memoryview) -> int:
        """Take the bytes, whether or not the disk has room for them."""
        view, start = memoryview(data).cast("B"), self._position
        boundary = -(-self.committed // PAGE) * PAGE  # the page that the last commit ends in is kept in memory too
        below = max(0, min(len(view), boundary - start))
        if below:
            self._keep(start, view[:below])
        if below < len(view) and not self._put(start + below, view[below:]):
            self._keep(start + below, view[below:])
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def _put(self, address: int, view: memoryview) -> bool:
        if self.failure is None:
            try:
                write_all(self._fd, view, address)
            except OSError as error:
                self.failure = error
        return self.failure is None

    def _keep(self, address: int, view: memoryview) -> None:
        """Put bytes into the pages in memory."""
        at = 0
        while at < len(view):
            number, offset = divmod(address + at, PAGE)
            if number not in self._pages:
                self._pages[number] = bytearray(os.pread(self._fd, PAGE, number * PAGE).ljust(PAGE, b"\0"))
            part = view[at : at + PAGE - offset]
            self._pages[number][offset : offset + len(part)] = part
            at += len(part)

    # -------------------------------------------------------------------------------------------------- the transaction

    @property
    def changed(self) -> bool:
        return bool(self._pages) or self._end != self.committed

    def commit(self) -> None:
        """Make all changes durable, all at once. libhdf5 has been flushed before.

        Raises
        ------
        OSError
            The disk is full, and nothing has changed: it can be tried again. Or it failed, and what it holds is not
            known: every later commit fails too.
        """
        if self._broken:
            raise OSError(errno.EIO, "the disk failed before")
        if not self.changed:
            return
        for address, data in self._runs(self.committed, self._end):
            write_all(self._fd, data, address)
        self.failure = None
        runs = list(self._runs(0, self.committed))
        end_of_data = max(self.committed, self._end)
        os.ftruncate(self._fd, end_of_data)
        came = _crc_of(self._fd, self.committed, self._end)
        write_all(self._fd, _encode_log(runs, self.committed, self._end, came), end_of_data)
        self._broken = True
        os.fsync(self._fd)
        self._needs_log = True
        for address, data in runs:
            write_all(self._fd, data, address)
        os.fsync(self._fd)
        self._broken = self._needs_log = False
        self._pages.clear()
        self.committed = self._end
        os.ftruncate(self._fd, self._end)

    def give_up(self) -> None:
        """Leave the file as the last commit left it: whatever libhdf5 still writes goes nowhere."""
        self.failure = OSError(errno.EBADF, "closed")
        if not self._needs_log:
            os.ftruncate(self._fd, self.committed)

    def _runs(self, start: int, stop: int) -> Iterator[Run]:
        """The bytes in the pages from one address up to another, in order: the superblock comes first."""
        first, joined = 0, bytearray()
        for number in [*sorted(self._pages), -1]:
            if joined and number * PAGE != first + len(joined):
                low, high = max(first, start), min(first + len(joined), stop)
                if low < high:
                    yield Run(low, bytes(joined[low - first : high - first]))
                joined.clear()
            if number >= 0:
                first = first if joined else number * PAGE
                joined += self._pages[number]


def _encode_log(runs: list[Run], start: int, end: int, came: int) -> bytes:
    body = b"".join(_RUN.pack(address, len(data)) + data for address, data in runs)
    trailer = _TRAILER.pack(LOG_SIGNATURE, start, end, len(body), came, 0)
    return body + trailer[:-4] + struct.pack("<I", isal_zlib.crc32(trailer[:-4], isal_zlib.crc32(body)))


def read_log(fd: int) -> Log | None:
    """The log at the end of a file, if it is whole, and what was appended before it is too."""
    size = os.fstat(fd).st_size
    trailer = os.pread(fd, _TRAILER.size, max(0, size - _TRAILER.size))
    if not trailer.startswith(LOG_SIGNATURE) or len(trailer) < _TRAILER.size:
        return None
    _, start, end, length, came, crc = _TRAILER.unpack(trailer)
    if max(start, end) + length + _TRAILER.size != size:
        return None
    body = os.pread(fd, length, max(start, end))
    if isal_zlib.crc32(trailer[:-4], isal_zlib.crc32(body)) != crc or _crc_of(fd, start, end) != came:
        return None
    runs, at = [], 0
    while at + _RUN.size <= length:
        address, count = _RUN.unpack_from(body, at)
        at += _RUN.size
        if address + count > start or at + count > length:
            return None
        runs.append(Run(address, body[at : at + count]))
        at += count
    return Log(runs, end)


def recover(fd: int) -> int:
    """Make of a file what the last commit made of it. Returns how many bytes behind it were cut off.

    Raises
    ------
    OSError
        It can't be written to.
    """
    size = os.fstat(fd).st_size
    if (log := read_log(fd)) is not None:
        for address, data in log.runs:
            write_all(fd, data, address)
        os.fsync(fd)
        os.ftruncate(fd, log.end)
    end = stored_end(fd)
    if end is not None and end < os.fstat(fd).st_size:
        os.ftruncate(fd, end)
    return size - os.fstat(fd).st_size


def stored_end(fd: int) -> int | None:
    """Where an HDF5 file ends, by its superblock; None if there is none at the beginning of the file."""
    head = os.pread(fd, 64, 0).ljust(64, b"\xff")  # of a file that is cut off within, the end is far too large
    if not head.startswith(SIGNATURE) or head[8] > 3:
        return None
    (end,) = struct.unpack_from("<Q", head, {0: 40, 1: 44}.get(head[8], 28))
    return int(end)


def _crc_of(fd: int, start: int, stop: int) -> int:
    crc, buffer = 0, memoryview(bytearray(READ_BYTES))
    while start < stop and (count := os.preadv(fd, [buffer[: stop - start]], start)):
        crc = isal_zlib.crc32(buffer[:count], crc)
        start += count
    return crc


class LockedFile:
    """A file that is locked against other writers, with room set aside for its last commit.

    Parameters
    ----------
    path : path
    new : bytes, optional
        What to put into a file that is not there. Without it, it has to be.

    Raises
    ------
    StorageError
        It can't be written to, is no file, or another program writes to it.
    """

    def __init__(self, path: Path, new: bytes | None = None) -> None:
        real = Path(os.path.realpath(path))  # two names of one file are one file
        if not real.parent.is_dir():
            raise no_directory(path.parent)
        self.path = path
        self._reserve = real.with_name(f".{real.name}.reserve.part")
        self._fd, self.created = -1, False
        try:
            self.created = new is not None and not os.path.lexists(real) and _create(real, new)
            if not stat.S_ISREG(real.stat().st_mode):  # before it is opened: opening a pipe would wait for ever
                raise StorageError(f"{path} is not a file; choose another name")
            self._fd = os.open(real, os.O_RDWR | os.O_CLOEXEC)
            lock_descriptor(
                self._fd, f"{path} is being recorded into or open for writing in another program; close it there"
            )
            reserve(self._reserve)
        except OSError as error:
            self.close(keep=not self.created)
            raise StorageError(f"{path}: {error.strerror}; nothing was recorded into it") from None
        except BaseException:
            self.close(keep=not self.created)
            raise

    @property
    def fd(self) -> int:
        """-1 once it is closed."""
        return self._fd

    def release_reserve(self) -> None:
        """Free the room that was set aside for the last commit."""
        self._reserve.unlink(missing_ok=True)

    def close(self, *, keep: bool = True) -> None:
        """Let go of the file; remove it if it is not to be kept."""
        if self._fd < 0:
            return
        try:
            self.release_reserve()
            if not keep:
                with suppress(GoneError):  # another file of that name stays
                    check_in_place(self.path, self._fd)
                    os.unlink(os.path.realpath(self.path))
        finally:
            os.close(self._fd)
            self._fd = -1


def _create(path: Path, data: bytes) -> bool:
    """Make a file; False if there is something by that name meanwhile."""
    try:
        create_file(path, data)
    except FileExistsError:
        return False
    return True

"""Files that appear whole or not at all, and survive a power cut once they appear.

Nothing here knows what the files hold. On Linux these are system calls; where a call is missing (macOS, Windows, some
network file systems) the function uses the next best, and says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

from storage.errors import BusyError, GoneError, StorageError, no_directory

RENAME_NOREPLACE = 1  # linux/fs.h
AT_FDCWD = -100  # linux/fcntl.h
RESERVE_BYTES = 256 * 1024  # more than finishing any recording writes


def sync_filesystem(directory_fd: int) -> None:
    """Return when everything written to the file system of an open directory is on the disk.

    One call for a whole batch of files (Linux `syncfs`); elsewhere `os.sync`, which reports no errors.

    Raises
    ------
    OSError
        The disk could not store something (reported by Linux 5.8 and newer).
    """
    if _syncfs is None:
        os.sync()
    elif _syncfs(directory_fd) != 0:
        raise _last_error()


def sync_directory(path: Path | str) -> None:
    """Return when the names in a directory are on the disk (no-op on Windows, which can't)."""
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path | str) -> None:
    """Return when the content of a file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def rename_new(source: Path | str, target: Path | str) -> None:
    """Rename, but never onto something that is there already.

    On file systems without an exclusive rename (some network ones) it is a check followed by a rename: then only the
    directory's lock keeps two programs apart.

    Raises
    ------
    FileExistsError
        `target` is taken; nothing was changed.
    """
    if _renameat2 is not None:
        done = _renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE)
        if done == 0:
            return
        error = _last_error(target)
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise error
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def write_all(fd: int, data: bytes | memoryview, at: int | None = None) -> None:
    """Write all of some bytes to an open file: at byte `at`, or where the file stands.

    Raises
    ------
    OSError
        The disk did not take all of it. What it took is in the file.
    """
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):  # a write may be short: the disk filled up, or a signal came
        rest = view[done:]
        done += os.write(fd, rest) if at is None else os.pwrite(fd, rest, at + done)


def reserve(path: Path) -> None:
    """Set a little room aside in a file, so that a recording can be finished in order on a disk that filled up.

    Removing it gives the room back. It does not stay open: the kernel keeps a file system writable for open files.

    Raises
    ------
    OSError
        There is not so much room.
    """
    path.unlink(missing_ok=True)  # of a recorder that was killed
    write_new(path, bytes(RESERVE_BYTES))


def reserve_unnamed(directory: Path) -> IO[bytes]:
    """Set the same room aside in a file without a name, for a recording that is one open file: closing it frees the
    room.

    So does the end of the process, however it ends.

    Raises
    ------
    OSError
        There is not so much room.
    """
    from tempfile import TemporaryFile  # only what is recorded into needs it

    file = TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (the caller closes it)
    try:
        write_all(file.fileno(), bytes(RESERVE_BYTES))
    except BaseException:
        file.close()
        raise
    return file


def alternatives(name: str) -> Iterator[str]:
    """A name or path, then others to try, which keep its number: ``00000042.png``, ``00000042-2.png`` …"""
    yield name
    stem, suffix = os.path.splitext(name)
    for attempt in count(2):
        yield f"{stem}-{attempt}{suffix}"


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or if it is taken the first of its `alternatives` that is free."""
    return next(free for free in alternatives(name) if free not in taken)


def rename_free(source: Path | str, target: Path | str) -> str:
    """Rename to the target, or if that is taken to the first of its `alternatives` that is free; returns which."""
    for free in alternatives(os.fspath(target)):
        with suppress(FileExistsError):
            rename_new(source, free)
            break
    return free


def write_new(path: Path | str, data: bytes) -> None:
    """Write a file that must not exist yet; a failed write leaves nothing behind. Not synced."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(fd, data)
    except BaseException:
        os.close(fd)
        os.unlink(path)
        raise
    os.close(fd)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file's whole content: a reader, or the next boot, sees the old or the new, never a mix."""
    _name_when_durable(path, data, os.replace)


def create_file(path: Path, data: bytes) -> None:
    """Make a file that appears whole; durable on return. Raises FileExistsError if the name is taken."""
    _name_when_durable(path, data, rename_new)


def _name_when_durable(path: Path, data: bytes, rename: Callable[[Path, Path], None]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    write_new(temporary, data)
    try:
        sync_file(temporary)
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A place to make a file in. If all goes well the file gets its name at the end; otherwise it is removed.

    Files that are made beside it there, called ``NAME.…``, get their names just before it does.

    Raises
    ------
    StorageError
        There is something of that name already, or it can't be written there.
    """
    if not target.parent.is_dir():
        raise no_directory(target.parent)
    from shutil import rmtree

    if os.path.lexists(target):
        raise StorageError(f"{target} exists; choose another name")
    directory = target.with_name(f".{target.name}.making")
    try:
        directory.mkdir(exist_ok=True)
        lock = lock_directory(directory, f"{target} is being made by another program", follow=False)
    except OSError as error:
        if directory.is_symlink():
            raise StorageError(f"{directory} is a symbolic link; remove it, or choose another name") from None
        raise StorageError(f"{target}: {error.strerror}; choose a name that you may write to") from None
    try:
        _clear_making(directory, target.name)
    except BaseException:
        os.close(lock)
        raise
    try:
        yield directory / target.name
        sync_file(directory / target.name)
        _give_names(directory, target)
        sync_directory(target.parent)
    except StorageError as error:
        raise type(error)(str(error).replace(str(directory / target.name), str(target))) from None
    except FileExistsError:
        raise StorageError(f"{target} was made by another program meanwhile; choose another name") from None
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror or error}; nothing of it is left") from None
    finally:
        rmtree(directory, ignore_errors=True)
        os.close(lock)


def _give_names(directory: Path, target: Path) -> None:
    """Give a file its name, after those beside it. They stay in the directory too: so a repetition knows them."""
    named: list[Path] = []
    try:
        for path in directory.iterdir():
            if path.name.startswith(f"{target.name}."):
                public = target.with_name(path.name)
                try:
                    os.link(path, public)
                except FileExistsError:
                    raise
                except OSError:  # no links here
                    rename_new(path, public)
                named.append(public)
        rename_new(directory / target.name, target)
    except BaseException:
        for public in named:
            public.unlink()
        raise


def _clear_making(directory: Path, name: str) -> None:
    """Remove what an interrupted `appearing` left, and the names that it gave; any other file stays."""
    left_over = list(directory.iterdir())
    for path in left_over:
        if name not in path.name or path.is_dir():
            raise StorageError(f"{directory} holds {path.name}, which is not of {name}; move it away")
    unnamed = directory / name in left_over
    for path in left_over:
        public = directory.parent / path.name
        if unnamed and os.path.lexists(public) and os.path.samestat(path.lstat(), public.lstat()):
            public.unlink()
        path.unlink()


def lock_directory(path: Path, taken: str, *, follow: bool = True) -> int:
    """Take the directory's lock until the returned file descriptor is closed or the process ends, however it ends.

    The lock is advisory and leaves no file behind. Where directories can't be locked (Windows, some network file
    systems) there is none. With `follow` False, a symbolic link raises OSError.

    Raises
    ------
    BusyError
        Another process holds it: `taken` is the message.
    """
    if sys.platform == "win32":
        return os.open(os.devnull, os.O_RDONLY)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        lock_descriptor(fd, taken)
    except BaseException:
        os.close(fd)
        raise
    return fd


def lock_file(path: Path, taken: str, *, create: bool = True) -> int:
    """Take the lock of a file; it is held as in `lock_directory`.

    The file is created if it is not there, unless `create` is False: then FileNotFoundError is raised.

    To remove the file, unlink it before the returned file descriptor is closed.

    Raises
    ------
    BusyError
        Another process holds it: `taken` is the message.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | (os.O_CREAT if create else 0)
    while True:
        fd = os.open(path, flags, 0o666)
        try:
            lock_descriptor(fd, taken)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its holder removed it just now: the lock means nothing


def lock_descriptor(fd: int, taken: str) -> None:
    """Lock an open file or directory against all other writers until it is closed, if the file system has locks.

    The lock belongs to what is open and not to its name: it holds for hard links, and after a move. A file must be open
    for writing. On Linux its readers are let in, and programs that use HDF5's own locks can read but not write: HDF5
    sees the shared `flock`, while our writers keep each other out by a lock of the open file description, which HDF5
    does not ask for. Elsewhere there is one exclusive lock for all.

    Raises
    ------
    BusyError
        It is locked: `taken` is the message.
    """
    if sys.platform == "win32":
        return
    import fcntl

    is_file = stat.S_ISREG(os.fstat(fd).st_mode)
    try:
        if sys.platform == "linux" and is_file:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            whole_file = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock64
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, whole_file)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(taken) from None
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise


def is_locked(path: Path) -> bool:
    """Whether a writer has locked a file by `lock_descriptor`; False where only locking the file would show it."""
    if sys.platform != "linux" or not path.is_file():  # opening a pipe would wait for ever
        return False
    import fcntl

    try:
        with path.open("rb", buffering=0) as file:
            whole_file = struct.pack("hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)  # struct flock64
            answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, whole_file)
    except OSError:
        return False
    return bool(struct.unpack("hhqqi0q", answer)[0] != fcntl.F_UNLCK)


def check_in_place(path: Path, fd: int) -> None:
    """Raise `GoneError` if the path of an open file or directory now leads to something else, or nowhere."""
    held = os.fstat(fd)
    try:
        if os.path.samestat(held, os.stat(path)):
            return
    except (FileNotFoundError, NotADirectoryError):
        pass
    if held.st_nlink == 0:
        raise GoneError(f"{path} was deleted while it was being recorded into; what was recorded in it is lost")
    raise GoneError(
        f"{path} was moved or replaced while it was being recorded into; what was recorded is in what was moved"
    )


def _last_error(path: Path | str | None = None) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), *([str(path)] if path else []))


def _libc_function(name: str, *arguments: type) -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    function: ctypes._NamedFuncPointer | None = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = arguments
    return function


_syncfs = _libc_function("syncfs", ctypes.c_int)
_renameat2 = _libc_function("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

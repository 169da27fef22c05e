"""Where recordings come from and results go: a directory, or an object store, behind what a batch needs of them.

A batch's own files lie in OUT under `OWN`. Whatever has a name there is whole; what is being made has none yet.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from storage.durable.files import lock_file, rename_new, sync_directory, sync_file, write_new
from storage.errors import BusyError, StorageError, first_line, no_directory

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

OWN = ".batch"
MAKING = "making"
LOCK = ".lock"  # in each directory there
PIECE_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or an object: its path from the place on, with ``/``; its bytes; and what changes when its content does"""

    key: str
    size: int
    tag: str


class Place(Protocol):
    """A directory or a part of an object store. All methods raise StorageError or OSError if it can't be reached.

    Attributes
    ----------
    url : str
    origin : str
        What stands for it in an OUT that several machines write to.
    """

    url: str
    origin: str

    def entries(self, under: str = "") -> Iterator[Entry]:
        """All files in it, those whose name is hidden too; or those under a key. In no order."""

    def beside(self, name: str) -> Iterator[Entry]:
        """The file of that name in it, and those whose names go on after a dot."""

    def read(self, key: str) -> bytes:
        """The content of a file. Raises FileNotFoundError if there is none."""

    def create(self, key: str, content: bytes) -> bool:
        """Make a file, whole and durable; False if it is there already, which stays."""

    def replace(self, key: str, content: bytes) -> None:
        """Make a file, or replace all that it held, at once."""

    def remove(self, key: str) -> None:
        """Remove a file, if it is there."""

    def exists(self, key: str) -> bool:
        """Whether there is a file of that name now."""

    def lent(self, entries: Sequence[Entry]) -> AbstractContext:
        """A local directory in which these lie at their keys, while the context lasts."""

    def making(self) -> AbstractContext:
        """A local directory with nothing visible in it, while the context lasts."""

    def publish(self, made: Path, key: str) -> None:
        """Give what was made in a local directory its place under a key; what lay there is replaced. Durable."""


if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    AbstractContext = AbstractContextManager[Path]


def open_place(name: str) -> Place:
    """The place of that name: a path, or an URL such as ``s3://bucket/prefix``.

    Raises
    ------
    StorageError
        It is an URL that can't be opened.
    """
    return Bucket(name) if "://" in name else Directory(Path(name))


class Directory:
    """A directory, which need not be there yet."""

    def __init__(self, root: Path) -> None:
        self.url = str(root)
        self.origin = f"{socket.gethostname()}:{root.resolve()}"
        self._root = root.absolute()

    def entries(self, under: str = "") -> Iterator[Entry]:
        todo = [self._root / under]
        if under and not todo[0].is_dir():
            return
        while todo:
            with os.scandir(todo.pop()) as found:
                for one in found:
                    if one.is_dir(follow_symlinks=False):
                        if Path(one.path) != self._root / OWN / MAKING:
                            todo.append(Path(one.path))
                    elif one.is_file():
                        with suppress(FileNotFoundError):  # a recorder gave its .part its name meanwhile
                            yield self._entry(one)

    def beside(self, name: str) -> Iterator[Entry]:
        with os.scandir(self._root) as found:
            yield from (self._entry(one) for one in found if f"{one.name}.".startswith(f"{name}.") and one.is_file())

    def _entry(self, one: os.DirEntry[str]) -> Entry:
        about = one.stat()
        key = Path(one.path).relative_to(self._root).as_posix()
        return Entry(key, about.st_size, str(about.st_mtime_ns))

    def read(self, key: str) -> bytes:
        return (self._root / key).read_bytes()

    def create(self, key: str, content: bytes) -> bool:
        try:
            self._put(key, content, exclusive=True)
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, content: bytes) -> None:
        self._put(key, content, exclusive=False)

    def _put(self, key: str, content: bytes, *, exclusive: bool) -> None:
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.making() as scratch:
            write_new(scratch / target.name, content)
            sync_file(scratch / target.name)
            (rename_new if exclusive else os.replace)(scratch / target.name, target)
        sync_directory(target.parent)

    def remove(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        return (self._root / key).exists()

    @contextmanager
    def lent(self, entries: Sequence[Entry]) -> Iterator[Path]:
        yield self._root

    def making(self) -> AbstractContext:
        return _scratch(self._root / OWN / MAKING)

    def publish(self, made: Path, key: str) -> None:
        target = self._root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        for directory, _, names in os.walk(made):
            for name in names:
                sync_file(Path(directory) / name)
            sync_directory(Path(directory))
        try:
            rename_new(made, target)
        except FileExistsError:  # of an earlier content, or of a run that was killed before its marker
            with self.making() as old:
                with suppress(FileNotFoundError):  # another run is between these two
                    os.rename(target, old / "replaced")
                with suppress(FileExistsError):  # another run was faster
                    rename_new(made, target)
        sync_directory(target.parent)


class Bucket:
    """A part of an object store, by obstore."""

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ModuleNotFoundError:
            raise StorageError(f"{url} needs obstore: pip install 'pi-capture[s3]'") from None
        self.url = self.origin = url.rstrip("/")
        self._obstore = obstore
        with self._told():
            self._store: ObjectStore = from_url(self.url)

    def __reduce__(self) -> tuple[type[Bucket], tuple[str]]:
        return Bucket, (self.url,)

    def entries(self, under: str = "") -> Iterator[Entry]:
        with self._told():
            for some in self._obstore.list(self._store, under or None):
                yield from map(_entry, some)

    def beside(self, name: str) -> Iterator[Entry]:
        with self._told():
            found = self._obstore.list_with_delimiter(self._store)["objects"]
        return (_entry(one) for one in found if f"{one['path']}.".startswith(f"{name}."))

    def read(self, key: str) -> bytes:
        with self._told(key):
            return bytes(self._obstore.get(self._store, key).bytes())

    def create(self, key: str, content: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._told(key):
            try:
                self._obstore.put(self._store, key, content, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def replace(self, key: str, content: bytes) -> None:
        with self._told(key):
            self._obstore.put(self._store, key, content)

    def remove(self, key: str) -> None:
        with self._told(key), suppress(FileNotFoundError):
            self._obstore.delete(self._store, key)

    def exists(self, key: str) -> bool:
        try:
            with self._told(key):
                self._obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def lent(self, entries: Sequence[Entry]) -> Iterator[Path]:
        with self.making() as directory:
            for entry in entries:
                target = directory / entry.key
                target.parent.mkdir(parents=True, exist_ok=True)
                with self._told(entry.key), target.open("xb") as file:
                    for piece in self._obstore.get(self._store, entry.key, options={"if_match": entry.tag}):
                        file.write(piece)
            yield directory

    def making(self) -> AbstractContext:
        return _scratch(Path(tempfile.gettempdir()) / f"pi-capture-batch-{os.getuid()}")

    def publish(self, made: Path, key: str) -> None:
        files = {f"{key}/{path.relative_to(made).as_posix()}": path for path in made.rglob("*") if path.is_file()}
        for name, path in sorted(files.items()):
            with self._told(name):
                self._obstore.put(self._store, name, path)
        for entry in [*self.entries(key)]:
            if entry.key not in files:  # of an earlier content
                self.remove(entry.key)

    @contextmanager
    def _told(self, key: str = "") -> Iterator[None]:
        from obstore.exceptions import BaseError, InvalidPathError, NotFoundError

        name = f"{self.url}/{key}" if key else self.url
        try:
            yield
        except (NotFoundError, FileNotFoundError):
            raise FileNotFoundError(2, "no such object", name) from None
        except InvalidPathError as error:  # obstore lists nothing then, also not what is beside it
            path = re.search('"(.+?)"', str(error))
            raise StorageError(
                f"{name} has an object whose name is no path (// or a part of dots): {path[1] if path else error}; "
                "rename it, or give places without it"
            ) from None
        except (BaseError, ValueError) as error:
            raise StorageError(f"{name}: {first_line(error)}") from None


def _entry(one: ObjectMeta) -> Entry:
    return Entry(one["path"], one["size"], one["e_tag"] or str(one["last_modified"]))


_CLEARING = threading.Lock()


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A directory of this process's own, removed in the end; what processes that were killed left there, too."""
    with _CLEARING:
        _clear(parent)
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise no_directory(parent) from None
    directory, lock = _locked(parent)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _locked(parent: Path) -> tuple[Path, int]:
    """A new directory that nobody clears while its lock is held."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=f"{socket.gethostname()}-", dir=parent))
        with suppress(BusyError, FileNotFoundError):  # another process took it for one that was left
            return directory, lock_file(directory / LOCK, str(directory))


@cache
def _clear(parent: Path) -> None:
    """Remove what processes of this machine left that are gone; once a process, before it makes anything there.

    A lock says that one is still there. A process number would not: containers may share a name and a directory.
    """
    if sys.platform == "win32" or not parent.is_dir():
        return
    for path in parent.iterdir():
        if path.name.rpartition("-")[0] != socket.gethostname():
            continue
        with suppress(OSError, BusyError):
            lock = lock_file(path / LOCK, str(path))
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)

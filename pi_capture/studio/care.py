"""What is done with a whole recording or model: checks, splits, sheets, downloads, the trash.

The work of ``python -m storage`` is done by that command, in a process of its own: what a broken file does to a library
does not reach the studio, and memory comes back.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import secrets
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pi_capture.commands.doctor import Question, clock, heat, network, space
from pi_capture.studio.answers import RefusedError
from pi_capture.studio.recordings import bytes_of
from storage.durable.files import is_locked, lock_directory, rename_free, sync_directory
from storage.errors import StorageError
from storage.labels.beside import files_beside, journal_path
from storage.labels.journal import LabelJournal
from storage.names import printable

TRASH_NAME = ".pi-capture-trash"
CHUNK_BYTES = 256_000
ZIP64_FROM = 1_000_000_000  # bytes of a file that may grow while it is read; 2 GiB is what fits without


# ------------------------------------------------------------------------------------------------- python -m storage …


async def storage(*words: str | Path, statuses: Sequence[int] = (0, 3)) -> bytes:
    """Run a command of ``python -m storage``; its standard output.

    Raises
    ------
    RefusedError
        It failed; with its last line.
    """
    command = [sys.executable, "-m", "storage", *map(str, words)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, told = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode not in statuses:
        lines = told.decode(errors="replace").strip().splitlines() or ["it failed"]
        raise RefusedError(lines[-1].removeprefix("storage: "), 422)
    return out


async def storage_json(*words: str | Path) -> dict[str, Any]:
    """What a command says with ``--json``. Raises RefusedError."""
    value: dict[str, Any] = json.loads(await storage(*words, "--json"))
    return value


async def drawn(option: str, path: Path) -> bytes:
    """The PNG file that ``info --sheet`` or ``info --plot`` draws. Raises RefusedError."""
    with tempfile.TemporaryDirectory(prefix="pi-capture-studio-") as place:
        target = Path(place, "drawn.png")
        await storage("info", path, option, target)
        return await asyncio.to_thread(target.read_bytes)


# ------------------------------------------------------------------------------------------------------------- download


def files_of(path: Path) -> Iterator[tuple[Path, str]]:
    """The files of a recording, and what they are called in an archive of it. Links and hidden files are left out."""
    if path.is_dir():
        for place, directories, names in os.walk(path):
            directories[:] = sorted(name for name in directories if not name.startswith("."))
            for name in sorted(names):
                file = Path(place, name)
                if not name.startswith(".") and not file.is_symlink() and file.is_file():
                    yield file, str(file.relative_to(path.parent))
        return
    yield path, path.name
    for file in files_beside(path):
        yield file, file.name


class _Pipe(io.RawIOBase):
    """What a ZIP file is written to, to be taken away piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def zipped(path: Path) -> Iterator[bytes]:
    """All files of a recording as a ZIP file, not compressed: pictures are already."""
    pipe = _Pipe()
    names: set[str] = set()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for file, name in files_of(path):
            try:
                descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:  # it has gone since
                continue
            with open(descriptor, "rb") as source:
                told = printable(name).replace("\\", "_")  # which Windows takes for a directory's end
                while told in names:
                    told = "_".join(os.path.splitext(told))  # as in a_.png
                names.add(told)
                facts = zipfile.ZipInfo.from_file(file, told, strict_timestamps=False)
                with archive.open(facts, "w", force_zip64=facts.file_size > ZIP64_FROM) as entry:
                    while data := source.read(CHUNK_BYTES):
                        entry.write(data)
                        if len(data) == CHUNK_BYTES:
                            yield pipe.take()
            yield pipe.take()
    yield pipe.take()


# ---------------------------------------------------------------------------------------------------------------- trash


class Trash:
    """What was deleted in a folder, until it is deleted for good: a directory for each, with a number for its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = folder / TRASH_NAME

    def items(self) -> list[dict[str, Any]]:
        """What is in it, the newest first."""
        found = []
        for place in self._places():
            recording = _recording_in(place)
            if recording is not None:
                size = sum(bytes_of(path) for path in place.iterdir())
                since = place.stat().st_mtime
                found.append({"id": place.name, "name": printable(recording.name), "bytes": size, "since": since})
        return sorted(found, key=lambda item: -item["since"])

    def count(self) -> int:
        """How many recordings and models are in it."""
        return sum(_recording_in(place) is not None for place in self._places())

    def put(self, path: Path) -> None:
        """Move a recording or a model there. Raises StorageError if it is in use."""
        _check_unused(path)
        try:
            self._check_place()
            self._place.mkdir(mode=0o700, exist_ok=True)
            place = self._place / secrets.token_hex(8)
            place.mkdir(mode=0o700)
            files = [] if path.is_dir() else files_beside(path)
            for file in (path, *files):
                os.rename(file, place / file.name)
            os.utime(place)
            sync_directory(place)
            sync_directory(self._folder)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; it was not moved to the trash") from None

    def restore(self, id: str) -> str:
        """Move a recording or a model back; its name then. What has that name meanwhile keeps it.

        Raises
        ------
        RefusedError
            There is none such.
        """
        place = self._find(id)
        recording = _recording_in(place)
        if recording is None:
            raise RefusedError("there is nothing like that in the trash", 404)
        try:
            back = Path(rename_free(recording, self._folder / recording.name))
            for file in place.iterdir():
                rename_free(file, self._folder / (back.name + file.name.removeprefix(recording.name)))
            place.rmdir()
            sync_directory(self._folder)
        except OSError as error:
            raise StorageError(f"{recording.name}: {error.strerror}") from None
        return back.name

    def empty(self, ids: Sequence[str]) -> tuple[int, int]:
        """Delete recordings and models for good, and all thumbnails in the cache; how many, and how many bytes."""
        from storage.learn.describe import forget_descriptions

        places = [self._find(id) for id in dict.fromkeys(ids)]
        size = sum(bytes_of(path) for place in places for path in place.iterdir())
        for place in places:
            shutil.rmtree(place)
        if places:
            forget_descriptions()
        return len(places), size

    def _places(self) -> list[Path]:
        try:
            self._check_place()
            return [path for path in self._place.iterdir() if path.is_dir() and not path.is_symlink()]
        except OSError:
            return []

    def _check_place(self) -> None:
        """Raise OSError if the trash is a link: what is outside of the folder is none of ours."""
        if self._place.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "is a link; remove it", str(self._place))

    def _find(self, id: str) -> Path:
        for place in self._places():
            if place.name == id:
                return place
        raise RefusedError("there is nothing like that in the trash any more", 404)


def _recording_in(place: Path) -> Path | None:
    """The recording in a directory of the trash: the one with the shortest name, to which the others add."""
    return min(place.iterdir(), key=lambda path: len(path.name), default=None)


def _check_unused(path: Path) -> None:
    """Raise StorageError if a recording is being recorded into, labelled or split."""
    from storage.care.split import is_held_out, is_split

    busy = f"{path.name} is in use: it is being recorded into or labelled; end that first"
    if path.is_dir():
        os.close(lock_directory(path, busy, follow=False))
        if is_split(path):
            raise StorageError(f"{path.name} is split; undo that first, or its parts would not fit together any more")
        if is_held_out(path):
            whole = path.name.partition("_")[2]
            raise StorageError(f"{path.name} is a part of {whole}, which is split; undo that first")
    elif is_locked(path):
        raise StorageError(busy)
    if journal_path(path).exists():
        with LabelJournal(journal_path(path)):
            pass


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def warnings(folder: Path) -> list[dict[str, str]]:
    """What ``doctor`` warns of, of the checks that take no time."""
    question = Question(folder, "auto", None)
    findings = [finding for check in (space, clock, heat, network) for finding in check(question)]
    return [asdict(finding) for finding in findings if finding.state != "ok"]

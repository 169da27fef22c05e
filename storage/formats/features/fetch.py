"""Fetches the weights of the default network, once: an archive of TensorFlow's model garden.

It holds MobileNet v1 0.25 for 128x128 as a ``.tflite`` file, so that no TensorFlow is needed; Apache-2.0.

What was fetched before a connection broke is kept, and the next time goes on after it.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urldefrag, urlsplit
from urllib.request import Request, urlopen

from storage.durable.files import lock_file, replace_file
from storage.errors import StorageError

MEMBER = "mobilenet_v1_0.25_128.tflite"
SHA256 = "879ddc3e0857f3611b5cf248e36de2288c7a11ea8c2ed8a8bdded635e6010dfe"
"""Of the archive, 10,800,019 bytes; published by OpenVINO's Open Model Zoo, ``mobilenet-v1-0.25-128/model.yml``."""
URL = (
    "https://storage.googleapis.com/download.tensorflow.org/models/mobilenet_v1_2018_08_02/mobilenet_v1_0.25_128.tgz"
    f"#sha256={SHA256}"
)
SILENT_SECONDS = 20.0  # until the answer begins, and between its bytes
MOST_BYTES = 64_000_000
PIECE_BYTES = 1 << 16
OURS = ("localhost", "127.0.0.1", "::1")


def fetch(url: str, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Fetch an archive, and make `target` of the network in it. Its SHA-256 goes into a file beside that.

    Parameters
    ----------
    url : str
        ``https://``; ``http://`` on this machine only. ``#sha256=…`` at its end is that of the archive: another one is
        refused.
    target : path
        The ``.tflite`` file to make.
    progress : callable, optional
        Called with the bytes that are here, and how many there will be, 0 if that is unknown.

    Raises
    ------
    StorageError
        It can't be fetched, or is something else; what came is kept for the next time if it may be right.
    """
    url, _, known = url.partition("#sha256=")
    _check_address(url)
    partial = target.with_name(f"{target.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_file(partial, f"{target} is being fetched by another program")
        try:
            _go_on(url, partial, progress)
            try:
                content = network_in(partial, known)
            except StorageError:
                partial.unlink()
                raise
            keep(content, target)
            partial.unlink()
        finally:
            if partial.exists() and not partial.stat().st_size:
                partial.unlink()
            os.close(lock)
    except (URLError, HTTPException, TimeoutError) as error:
        reason = error.reason if isinstance(error, URLError) else repr(error)
        if isinstance(error, TimeoutError) or isinstance(reason, TimeoutError):
            reason = f"nothing came for {SILENT_SECONDS:g} s"
        raise StorageError(
            f"the weights can't be fetched ({urlsplit(url).hostname}: {reason}); try again, or run export-model on "
            "another machine, and here with --weights FILE, a copy of what it made"
        ) from None
    except OSError as error:
        raise StorageError(f"{error.filename or url}: {error.strerror or error}; try again") from None


def network_in(archive: Path, known: str = "") -> bytes:
    """What the ``.tflite`` file in an archive holds. Raises StorageError, also if its SHA-256 is not the one known."""
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if known and sha256 != known:
            raise StorageError(f"{archive} is not used: its SHA-256 is {sha256}, not {known}")
        try:
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:gz") as members:
                for member in members:
                    if Path(member.name).name != MEMBER or not member.isfile():  # a link leads anywhere
                        continue
                    if (found := members.extractfile(member)) is not None:
                        return found.read(MOST_BYTES)
        except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
            raise StorageError(f"{archive} is no archive of weights: {error}") from None
    raise StorageError(f"{archive} has no {MEMBER} in it")


def keep(content: bytes, target: Path) -> None:
    """Make `target`, and beside it the file with its SHA-256 that `check` and ``sha256sum -c`` compare it with."""
    sha256 = hashlib.sha256(content).hexdigest()
    replace_file(_sum_of(target), f"{sha256}  {target.name}\n".encode())
    replace_file(target, content)


def check(path: Path, content: bytes) -> None:
    """Raise StorageError if a file is not what `keep` has kept; what other files hold is right."""
    try:
        kept = _sum_of(path).read_text().split(maxsplit=1)[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return
    if kept != (sha256 := hashlib.sha256(content).hexdigest()):
        raise StorageError(f"{path} has changed since it was fetched (SHA-256 {sha256}); remove it, and fetch it again")


def _sum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _check_address(url: str) -> None:
    place = urlsplit(url)
    if place.scheme != "https" and not (place.scheme == "http" and place.hostname in OURS):
        raise StorageError(f"{url}: weights are fetched over https:// only")


def _go_on(url: str, partial: Path, progress: Callable[[int, int], None] | None) -> None:
    """Fetch what is still missing of a file."""
    with partial.open("r+b") as file:
        here = file.seek(0, os.SEEK_END)
        request = Request(url, headers={"Range": f"bytes={here}-", "User-Agent": "pi-capture"} if here else {})
        try:
            with _answer(request) as answer:
                _check_address(answer.url)  # where redirects led
                _append(answer, file, here, progress)
        except HTTPError as error:
            if error.code != 416:  # all of it is here
                raise


def _answer(request: Request) -> HTTPResponse:
    """What is answered. Raises TimeoutError: `urlopen` waits as long for each address, and longer for the addresses."""
    opened: Future[HTTPResponse] = Future()

    def ask() -> None:
        try:
            opened.set_result(urlopen(request, timeout=SILENT_SECONDS))
        except Exception as error:  # it belongs to the thread that waits
            opened.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return opened.result(SILENT_SECONDS)


def _append(answer: HTTPResponse, file: BinaryIO, here: int, progress: Callable[[int, int], None] | None) -> None:
    begin = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if answer.status != 206 or begin is None or int(begin[1]) != here:  # it begins anew
        here = file.seek(0)
        file.truncate()
    left = answer.headers.get("Content-Length", "")
    total = here + int(left) if left.isdigit() else 0
    while piece := answer.read1(PIECE_BYTES):  # what has come, before it may be waited for in vain
        here += file.write(piece)
        if here > MOST_BYTES:
            raise StorageError(
                f"{urldefrag(answer.url).url} sends more than {MOST_BYTES // 10**6} MB: these are not the weights"
            )
        if progress is not None:
            progress(here, total)
    if here < total:
        raise URLError(f"the connection broke after {here} of {total} bytes")

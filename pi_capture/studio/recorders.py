"""Recorders: those that run now, whoever started them, and new ones, each a process of its own.

A recorder is reached through the Unix socket that it offers (`pi_capture.report.viewers`). The studio keeps nothing of
it: one that is started again finds it there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pi_capture.config import Kind
from pi_capture.report.viewers import all_sockets
from pi_capture.studio.answers import RefusedError, identifier
from storage.names import printable

ANSWER_SECONDS = 5.0
LOAD_SECONDS = 30.0  # for the program to be loaded, on a slow or a busy machine
START_SECONDS = 8.0  # then, for the first frames, or for the camera to fail; some wait for motion, or for their hour
MOST_HEAD, MOST_BODY = 1 << 16, 1 << 24
SETTABLE = (
    *("on-motion", "pre-roll", "post-roll", "segment", "keep", "retry", "between", "jitter", "jitter-seed"),
    *("focus", "hdr", "countdown", "codec", "crf", "compression", "sync-interval"),
)
"""Options that a page may set; none names a file or a command."""

Record = tuple[dict[str, Any], bytes]


class Recorder:
    """A connection to a recorder. Raises OSError or EOFError when the recorder has ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> Recorder:
        async with asyncio.timeout(ANSWER_SECONDS):
            return cls(*await asyncio.open_unix_connection(str(path)))

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The status after a request."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await self.say(request)
            return (await self.record())[0]

    async def say(self, request: Mapping[str, Any]) -> None:
        self._writer.write(json.dumps(request).encode() + b"\n")
        await self._writer.drain()

    async def record(self) -> Record:
        return await read_record(self._reader)

    def close(self) -> None:
        self._writer.close()

    async def __aenter__(self) -> Recorder:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


async def read_record(reader: asyncio.StreamReader) -> Record:
    """The next record of a pack. Raises EOFError at its end, and if it is none."""
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > MOST_HEAD:
        raise EOFError
    head = json.loads(await reader.readexactly(length))
    if not 0 <= head["bytes"] <= MOST_BODY:
        raise EOFError
    return head, await reader.readexactly(head["bytes"])


GONE = (OSError, EOFError, TimeoutError, ValueError, KeyError)
"""What a recorder that ends just now makes of a request."""


async def statuses() -> dict[str, dict[str, Any]]:
    """The status of each recorder that runs, by identifier."""
    paths = await asyncio.to_thread(all_sockets)
    found = await asyncio.gather(*map(_status, paths))
    return {identifier(path): status for path, status in zip(paths, found, strict=True) if status is not None}


async def _status(path: Path) -> dict[str, Any] | None:
    try:
        async with await Recorder.connect(path) as recorder:
            return await recorder.ask({"want": "status"})
    except ConnectionRefusedError:  # it was killed, or does not listen yet
        if not Path(f"/proc/{path.stem}").exists():
            with suppress(OSError):
                path.unlink()
    except GONE:
        pass
    return None


async def find(id: str) -> Recorder:
    """A connection to the recorder with an identifier. Raises RefusedError if it has ended."""
    for path in await asyncio.to_thread(all_sockets):
        if identifier(path) == id:
            with suppress(*GONE):
                return await Recorder.connect(path)
    raise RefusedError("this recording has ended", 404)


async def ask(id: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The status of a recorder after a request. Raises RefusedError if it has ended, or takes too long."""
    async with await find(id) as recorder:
        try:
            return await recorder.ask(request)
        except TimeoutError:
            raise RefusedError("this recording goes on, but does not answer; try again", 503) from None
        except GONE:
            raise RefusedError("this recording has ended", 404) from None


async def live(id: str) -> AsyncIterator[Record]:
    """Status and picture, as they come, until the recording ends. Raises RefusedError if it has ended already."""
    async with await find(id) as recorder:
        with suppress(*GONE):
            await recorder.say({"want": "pictures"})
            while True:
                yield await recorder.record()


# ---------------------------------------------------------------------------------------------------------- a new one


def command_for(target: Path, wanted: Mapping[str, Any]) -> list[str]:
    """The words after ``python -m pi_capture`` for what a page asks, checked as the command line checks them.

    Raises
    ------
    RefusedError
        It makes no sense; in the command line's own words.
    """
    words = [str(target), f"{wanted.get('seconds', -1):g}", "--camera", wanted.get("camera", "auto")]
    words += ["--size", wanted.get("size", "128x128")]
    if wanted.get("fps") is not None:
        words += ["--fps", f"{wanted['fps']:g}"]
    if wanted.get("classes"):
        words += ["--live-labels", ",".join(wanted["classes"]), "--labels-from", "studio"]
    for name, value in wanted.get("options", {}).items():
        words += _option(name, value)
    return words


def _option(name: str, value: object) -> list[str]:
    from pi_capture.arguments import OPTIONS

    option = next((one for one in OPTIONS if one.name == name and name in SETTABLE), None)
    if option is None:
        raise RefusedError(f"{printable(name[:40])!r} can't be set here; known are {', '.join(SETTABLE)}")
    if value is False and option.kind is Kind.YES_OR_NO:
        return [f"--no-{name}"]
    if value is False or value is None:
        return []
    if value is True:
        return [f"--{name}"]
    if isinstance(value, list):
        return [word for one in value for word in _option(name, one)]
    if not isinstance(value, str | int | float) or str(value).startswith("-"):
        raise RefusedError(f"--{name}: {printable(json.dumps(value)[:40])} can't stand here")
    return [f"--{name}", str(value)]


async def check(words: Sequence[str]) -> None:
    """Have the command line check words. Raises RefusedError with what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pi_capture", *words, "--print-config"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    _, told = await process.communicate()
    if process.returncode:
        raise RefusedError(last_line(told))


def shown(words: Sequence[str]) -> str:
    """The command, to be copied."""
    return shlex.join(["python", "-m", "pi_capture", *words])


async def start(words: Sequence[str]) -> str:
    """Start a recorder, which outlives the studio; its identifier, once it says how it stands.

    Raises
    ------
    RefusedError
        It ended at once; with its last line.
    """
    with tempfile.TemporaryFile(prefix="pi-capture-") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pi_capture", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            env=_environment(),
        )
        until = time.monotonic() + LOAD_SECONDS
        is_there = False
        while True:
            if process.poll() is not None:
                raise RefusedError(last_line(_all_of(log)), 422)
            for path in await asyncio.to_thread(all_sockets):
                if path.stem != str(process.pid):
                    continue
                if not is_there:
                    is_there, until = True, time.monotonic() + START_SECONDS
                if await _records(path) or time.monotonic() > until:
                    _reap_later(process)
                    return identifier(path)
            if not is_there and time.monotonic() > until:
                _reap_later(process)
                raise RefusedError("it records, but can't be looked at; stop it in a terminal", 422)
            await asyncio.sleep(0.05)


async def _records(path: Path) -> bool:
    """Whether a recorder has its first frames."""
    status = await _status(path)
    return status is not None and status["frames"] > 0


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    """Let a thread wait for the end of a child, so that no zombie stays."""
    import threading

    threading.Thread(target=process.wait, name="recorder", daemon=True).start()


def _environment() -> dict[str, str]:
    """That of the studio, without settings that the command shown would not have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PI_CAPTURE_")}


def _all_of(log: IO[bytes]) -> bytes:
    log.seek(0)
    return log.read()


def last_line(told: bytes, otherwise: str = "it ended without a word") -> str:
    """What a program said last."""
    lines = told.decode(errors="replace").strip().splitlines() or [otherwise]
    return printable(lines[-1].removeprefix("pi_capture: ").removeprefix("python -m pi_capture: error: "))

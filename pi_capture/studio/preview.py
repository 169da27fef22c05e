"""What a camera sees, and a model says of it, from a short-lived process: no library of theirs takes the studio down.

``python -m pi_capture.studio.preview SPEC SIZE FPS [MODEL]`` writes a pack to standard output until its standard input
ends. With a model, frames are as large as what it looks at, and each record's head tells what it says, as ``python -m
pi_capture watch`` does.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pi_capture.errors import CameraError, UsageError
from pi_capture.live.packs import as_jpeg, packed
from pi_capture.report.viewers import LARGEST_SIDE, PICTURES_PER_SECOND
from pi_capture.studio.answers import RefusedError
from pi_capture.studio.recorders import GONE, LOAD_SECONDS, Record, last_line, read_record
from storage.errors import StorageError

if TYPE_CHECKING:
    from pi_capture.recording.verdicts import Watching

FIRST_SECONDS = 15.0  # for the first picture once the program is loaded, and for who looks
DESERTED_SECONDS = 2.0
MOST_SAID = 4096  # bytes


class Preview:
    """The one camera that is looked at."""

    def __init__(self) -> None:
        self.id = ""
        self.camera = ""
        self._by = ""  # who asked for it
        self._process: asyncio.subprocess.Process | None = None
        self._newest: Record | None = None
        self._count = 0
        self._came = asyncio.Condition()
        self._looking = 0
        self._left_at = 0.0
        self._starting, self._closing = asyncio.Lock(), asyncio.Lock()
        self._asked = 0  # how often the camera was asked for: the last one gets it, also if that is a recording
        self._task: asyncio.Task[Any] | None = None  # the one that reads from the process
        self._saying: asyncio.Task[bytes] | None = None

    def check_free(self, by: str) -> None:
        """Raise RefusedError if somebody else looks at the camera. Who gives no name may have it."""
        if by and self.id and self._looking and by != self._by:
            raise RefusedError("another page shows the camera", 409, in_use=True)

    async def start(self, camera: str, size: str, fps: float | None, model: Path | None = None, *, by: str = "") -> str:
        """Open a camera, and close the one before; what pages call it. With a model, classify what it sees.

        Raises
        ------
        RefusedError
            It can't be opened, or something else has asked for it since; the reason in one line.
        """
        self._asked = asked = self._asked + 1
        await self._close()  # also one that is still opening, however long that takes
        async with self._starting:
            self._check(asked)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pi_capture.studio.preview", camera, size, json.dumps(fps)),
                *([] if model is None else [str(model)]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in the studio's terminal is for the studio, which ends it in order
            )
            assert process.stdout is not None and process.stderr is not None
            self._process = process
            self._saying = asyncio.create_task(_last_said(process.stderr))
            self._task = opening = asyncio.create_task(read_record(process.stdout))
            try:
                async with asyncio.timeout(LOAD_SECONDS + FIRST_SECONDS if asked == self._asked else 0):
                    first = await opening
            except GONE:
                await self._close()
                self._check(asked)
                raise RefusedError(last_line(await self._saying, "the camera delivers no picture"), 422) from None
            self._check(asked)
            self.id, self.camera, self._by = secrets.token_hex(8), camera, by
            self._newest, self._count, self._left_at = first, 1, time.monotonic() + FIRST_SECONDS
            self._task = asyncio.create_task(self._read(process))
            return self.id

    async def end(self) -> None:
        """Close the camera; it is free on return."""
        self._asked += 1
        await self._close()

    @asynccontextmanager
    async def given_up(self) -> AsyncIterator[None]:
        """Close the camera, and open none meanwhile: who asks for one waits."""
        await self.end()
        async with self._starting:
            yield

    def _check(self, asked: int) -> None:
        """Raise RefusedError if something else has asked for the camera since."""
        if asked != self._asked:
            raise RefusedError("a recording or another page has taken the camera", 409)

    async def _close(self) -> None:
        async with self._closing:
            process, self._process, self.id = self._process, None, ""
            if process is not None:
                _kill(process)
            if self._task is not None:
                await asyncio.wait([self._task])
                self._task = None
            if process is not None:
                assert process.stdout is not None
                while await process.stdout.read(1 << 16):  # wait() would not return before the pipe is at its end
                    pass
                await process.wait()

    async def live(self, id: str) -> AsyncIterator[Record]:
        """Pictures as they come; the newest one for who is slow. If it fails, a last record's ``problem`` says why.

        Raises RefusedError if it has ended.
        """
        if not id or id != self.id:
            raise RefusedError("this preview has ended", 404)
        self._looking += 1
        seen = 0
        try:
            while True:
                async with self._came:
                    while self._count <= seen and self.id == id:
                        await self._came.wait()
                    if self.id != id or self._newest is None:
                        return
                    record, seen = self._newest, self._count
                yield record
                if "problem" in record[0]:
                    return
        finally:
            self._looking -= 1
            self._left_at = time.monotonic()

    async def close_if_deserted(self) -> None:
        """End it when nobody has looked for a while; called now and then."""
        if self.id and not self._looking and time.monotonic() > self._left_at + DESERTED_SECONDS:
            await self._close()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with suppress(*GONE):
            while True:
                record = await read_record(process.stdout)
                async with self._came:
                    self._newest = record
                    self._count += 1
                    self._came.notify_all()
        _kill(process)  # what sends no pack has no use of the camera
        if self._process is process and self._saying is not None:
            problem = last_line(await self._saying, "the camera's library or the model has crashed")
            self._newest, self._count = ({"problem": problem}, b""), self._count + 1
        async with self._came:
            self._came.notify_all()


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _last_said(stream: asyncio.StreamReader) -> bytes:
    """The end of what a program says until its end: a pipe that is not emptied would stop it."""
    said = b""
    while more := await stream.read(MOST_SAID):
        said = (said + more)[-MOST_SAID:]
    return said


# --------------------------------------------------------------------------------------------------- the process itself


def main(arguments: Sequence[str]) -> int:
    """Show what a camera sees; returns the exit status."""
    camera, wanted, fps, *model = arguments
    threading.Thread(target=_end_with_the_studio, daemon=True).start()
    # The studio ends this process at the end of its packs: that comes after the reason.
    with suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as packs:
        os.dup2(2, 1)  # for what a camera's library prints
        try:
            _show(packs, camera, wanted, fps, model[0] if model else None)
        except (CameraError, UsageError, StorageError, OSError) as error:
            print(str(error).replace("\n", " "), file=sys.stderr)
            return 1
    return 0


def _show(packs: IO[bytes], camera: str, wanted: str, fps: str, model: str | None) -> None:
    from pi_capture.arguments import size
    from pi_capture.sources import open_source

    due = 0.0
    watching = _watching(model) if model is not None else None
    shape = size(wanted) if watching is None else watching.classifier.size
    with closing(open_source(camera, shape, json.loads(fps))) as source:
        for frame in source:
            if watching is not None:
                watching.offer(frame)
                if watching.failure is not None:
                    raise StorageError(f"the model fails: {watching.failure}")
            now = time.monotonic()
            if now >= due:
                due = now + 1 / PICTURES_PER_SECOND
                height, width, _ = frame.pixels.shape
                head = {"size": f"{width}x{height}", **_said(watching)}
                packs.write(packed(head, as_jpeg(frame.pixels, LARGEST_SIDE)))
                packs.flush()


def _watching(model: str) -> Watching:
    from pi_capture.recording import HOLD_SECONDS
    from pi_capture.recording.verdicts import Watching
    from storage.learn.classifier import open_classifier

    return Watching(open_classifier(model), HOLD_SECONDS)


def _said(watching: Watching | None) -> dict[str, Any]:
    """What the model said last, for a record's head."""
    if watching is None or (last := watching.last) is None:
        return {}
    return {
        **{"class": last.name, "certainty": last.certainty, "certainties": last.certainties},
        **{"milliseconds": last.milliseconds, "seen": watching.seen},
    }


def _end_with_the_studio() -> None:
    while os.read(0, 4096):  # not sys.stdin, whose lock would be held at the interpreter's end
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

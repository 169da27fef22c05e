"""What the studio holds while it runs: the folder, the recordings that are open, the preview, and the streams."""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from classify.session import MOST_CLASSES
from classify.work import check_classes
from pi_capture.live.labels import checked_names
from pi_capture.live.packs import packed
from pi_capture.studio import recorders
from pi_capture.studio.answers import RefusedError, event, events, identifier, pack
from pi_capture.studio.care import Trash
from pi_capture.studio.givers import Givers
from pi_capture.studio.labelling import Labelling
from pi_capture.studio.preview import Preview
from pi_capture.studio.recordings import Entry, Folder, Open, Opened
from pi_capture.studio.training import Training
from pi_capture.studio.windows import end_window
from storage.errors import BusyError
from storage.names import printable

LOOK_SECONDS = 0.5
DESERTED_SECONDS = 60.0
MOST_STREAMS = 48


class Studio:
    """One folder, served.

    Raises
    ------
    StorageError
        It is no directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Folder(folder)
        self.trash = Trash(self.folder.path)
        self.preview = Preview()
        self.training = Training(self.folder.path)
        self.labellings: dict[Path, Labelling] = {}
        self._givers: dict[Path, Givers] = {}
        self._open = Open()
        self._opening: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)  # a window may take long to end
        self._streams = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the server runs; afterwards all labels are where a window finds them."""
        task = asyncio.create_task(self._look_around())
        try:
            yield
        finally:
            task.cancel()
            await self.preview.end()
            await self.training.cancel()
            for path in list(self.labellings):
                await self.let_go(path, "the studio has ended")

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(OSError):
                await self.preview.close_if_deserted()
            for path, labelling in list(self.labellings.items()):
                if labelling.deserted_seconds > DESERTED_SECONDS:
                    await self.let_go(path, "no page has looked at it for a while")
                else:
                    await to_thread(labelling.look_around)
            self.sweep()

    def check_streams(self) -> None:
        """Raise RefusedError if there are too many answers without end."""
        if self._streams >= MOST_STREAMS:
            raise RefusedError("too many pages look at once; close some", 503)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """While one more is sent."""
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def changes(
        self, look: Callable[[], Awaitable[dict[str, Any]]], pause: Callable[[dict[str, Any]], float]
    ) -> Response:
        """Server-sent events: what `look` sees, each time it has changed; it looks again after `pause` seconds."""
        self.check_streams()

        async def told() -> AsyncIterator[bytes]:
            with self.stream():
                last = None
                while True:
                    seen = await look()
                    yield event(seen) if seen != last else b":\n\n"
                    last = seen
                    await asyncio.sleep(pause(seen))

        return events(told())

    async def records(self, found: AsyncIterator[recorders.Record]) -> Response:
        """A pack without end. Raises RefusedError if there is nothing to show."""
        self.check_streams()
        try:
            first = await anext(found)
        except StopAsyncIteration:
            raise RefusedError("this has just ended", 404) from None

        async def packs() -> AsyncIterator[bytes]:
            with self.stream():
                yield packed(*first)
                async for head, body in found:
                    yield packed(head, body)

        return pack(packs())

    # ------------------------------------------------------------------------------------------------------- recordings

    async def entry(self, request: Request) -> Entry:
        """The recording that a request is about. Raises RefusedError if there is none."""
        return await to_thread(self.folder.find, request.path_params["id"])

    async def opened(self, request: Request) -> Opened:
        """The same, open."""
        path = (await self.entry(request)).path
        labelling = self.labellings.get(path)
        if labelling is not None and not labelling.closed:
            return Opened(labelling.recording, labelling.frames)
        return await to_thread(self._open.get, path)

    # -------------------------------------------------------------------------------------------------------- recorders

    async def recorders(self) -> list[dict[str, Any]]:
        """All recordings that go on now."""
        return [self.named(id, status) for id, status in (await recorders.statuses()).items()]

    async def recorder(self, id: str) -> dict[str, Any]:
        return self.named(id, await recorders.ask(id, {"want": "status"}))

    def named(self, id: str, status: Mapping[str, Any]) -> dict[str, Any]:
        """A recorder's status as pages know it: with identifiers, and without paths."""
        target = Path(status["target"])
        inside = target.is_relative_to(self.folder.path) and target != self.folder.path
        name = target.relative_to(self.folder.path).parts[0] if inside else None
        shown = {key: value for key, value in status.items() if key not in ("bytes", "pid", "target")}
        names = {key: printable(value) for key, value in shown.items() if isinstance(value, str)}
        return {
            **shown,
            **names,
            "classes": [*map(printable, status["classes"])],
            "id": id,
            "recording": None if name is None else identifier(name),
            "target": printable(str(target.relative_to(self.folder.path)) if inside else target.name),
        }

    # -------------------------------------------------------------------------------------------------------- labelling

    async def open_labelling(self, path: Path, asked: Mapping[str, Any]) -> Labelling:
        """Open a recording for labelling, or join those who do.

        Raises
        ------
        RefusedError
            A window labels it, or classes can't have these names.
        StorageError
            It can't be labelled.
        """
        classes = _names(asked.get("classes", []))
        by_name, relabel = asked.get("by_name"), asked.get("relabel")
        async with self._opening[path]:
            there = self.labellings.get(path)
            if there is not None and there.is_opened_as(classes, by_name, relabel):
                return there
            if there is not None:
                if classes:
                    await to_thread(check_classes, path, classes, by_name)  # else it stays open as it is
                await to_thread(there.close, "it was opened with other classes")
            await to_thread(self._open.forget, path)
            if asked.get("take_over"):
                await to_thread(end_window, path)
            try:
                labelling = await to_thread(
                    Labelling,
                    path,
                    classes=classes,
                    by_name=by_name,
                    relabel=bool(relabel),
                    givers=self._givers.get(path),
                )
            except BusyError as error:
                raise RefusedError(str(error), 409, take_over=True) from None
            self.labellings[path], self._givers[path] = labelling, labelling.givers
            return labelling

    async def labelling(self, request: Request) -> Labelling:
        """The open labelling that a request is about. Raises RefusedError if it is not open."""
        labelling = self.labellings.get((await self.entry(request)).path)
        if labelling is None or labelling.closed:
            raise RefusedError("it is not open for labelling any more; open it again", 409, reload=True)
        return labelling

    async def let_go(self, path: Path, why: str) -> None:
        """Close whatever is open of a recording; nothing is lost. Who opens it meanwhile waits."""
        async with self._opening[path]:
            labelling = self.labellings.pop(path, None)
            if labelling is not None:
                await to_thread(labelling.close, why)
            await to_thread(self._open.forget, path)

    def sweep(self) -> None:
        """Forget the labellings that have closed themselves."""
        for path, labelling in list(self.labellings.items()):
            if labelling.closed:
                del self.labellings[path]


def of(request: Request) -> Studio:
    """The studio that is asked."""
    studio: Studio = request.app.state.studio
    return studio


def _names(asked: list[Any]) -> list[str]:
    """The names that are asked for. Raises RefusedError if classes can't have them."""
    if len(asked) > MOST_CLASSES:
        raise RefusedError(f"At most {MOST_CLASSES} classes.")
    try:
        return list(checked_names(tuple(str(name).strip() for name in asked))) if asked else []
    except ValueError as error:
        raise RefusedError(f"classes: {error}") from None

"""Recordings: their facts, their frames, their checks, and the trash."""

from __future__ import annotations

from asyncio import to_thread
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from pi_capture.studio.answers import (
    Fields,
    Handler,
    RefusedError,
    body_of,
    frame_asked,
    identifier,
    numbers_asked,
    pack,
)
from pi_capture.studio.care import drawn, storage_json, zipped
from pi_capture.studio.labelling import undo_of_apply
from pi_capture.studio.recordings import labels_as_runs
from pi_capture.studio.studio import of
from pi_capture.studio.windows import is_labelled
from storage.names import printable


async def recording(request: Request) -> Response:
    """``GET /api/recordings/ID``: the facts of one recording. Counted anew only when it has changed.

    ``{"id", "name", "format": "png", "frames", "bytes", "seconds", "size": "128x128"|null, "classes": [{"name",
    "directory", "frames", "waiting"}], "unlabelled", "waiting", "state": "recording"|"to be labelled"|"labelled"|
    "split"|"held out"|"broken", "labelled_by": null|"a window"|"this studio", "can": ["label", "split", "undo split",
    "undo apply", "sheet", "plot"], "begun": ISO time|null, "interrupted": bool, "problem": null|"one line"}``.
    ``frames`` of a class are those that lie in it; ``waiting`` are labels in the journal that S has not applied.
    ``interrupted`` tells one that was cut off, as by a power cut. A broken one has status 200, state ``broken``, and
    ``problem``.
    """
    studio = of(request)
    entry = await studio.entry(request)
    goes_on = any(one["recording"] == entry.id for one in await studio.recorders())
    labelling = studio.labellings.get(entry.path)
    facts = await to_thread(studio.folder.facts, entry, settled=labelling is None and not goes_on)
    if labelling is not None and not labelling.closed:
        facts = {**facts, **await to_thread(labelling.label_facts), "labelled_by": "this studio"}
    else:
        facts["labelled_by"] = "a window" if await to_thread(is_labelled, entry.path) else None
    if goes_on:
        facts = {**facts, "state": "recording", "can": [], "problem": None}
    return JSONResponse(facts)


async def picture(request: Request) -> Response:
    """``GET /api/recordings/ID/picture``: a JPEG of a frame from its middle, at most 320 pixels wide or high."""
    studio = of(request)
    entry = await studio.entry(request)
    settled = entry.path not in studio.labellings
    return Response(await to_thread(studio.folder.picture, entry, settled=settled), media_type="image/jpeg")


async def frames(request: Request) -> Response:
    """``GET /api/recordings/ID/frames?first=0&count=30&step=1``: a pack of frames by their index in the recording.

    Or ``?at=3,7,12``: these.
    Heads: ``{"frame": index, "type": "image/png"|"image/jpeg", "proxy": bool, "error": ""}``, in order, at most 240;
    an unreadable frame has no body and an ``error``. A frame of at most 256 pixels is as it is stored; a larger one is
    a JPEG of at most 320 pixels (``proxy``). It may be aborted at any time.
    """
    opened = await of(request).opened(request)
    wanted = numbers_asked(request, len(opened.recording))
    return pack(opened.frames.pack((index, index) for index in wanted))


async def full_frame(request: Request) -> Response:
    """``GET /api/recordings/ID/frames/INDEX``: the whole picture, as PNG where it is stored so, else JPEG."""
    opened = await of(request).opened(request)
    kind, picture = await to_thread(opened.frames.full, frame_asked(request, len(opened.recording)))
    return Response(picture, media_type=kind)


async def labels(request: Request) -> Response:
    """``GET /api/recordings/ID/labels``: the labels as they stand, journal included.

    ``{"count", "classes": ["none", "door"], "runs": runs by index in the recording, "before": null|{"id", "name",
    "at": [index of each frame]}}``; labels are indices into ``classes``. ``before`` is the recording as it is once its
    split and the last S are undone, of one that is split and of its parts.
    """
    opened = await of(request).opened(request)
    return JSONResponse(await to_thread(labels_as_runs, opened.recording))


async def sheet(request: Request) -> Response:
    """``GET /api/recordings/ID/sheet``: the contact sheet, PNG."""
    entry = await of(request).entry(request)
    return Response(await drawn("--sheet", entry.path), media_type="image/png")


async def plot(request: Request) -> Response:
    """``GET /api/recordings/ID/plot``: the tracks of a media file over time, PNG."""
    entry = await of(request).entry(request)
    return Response(await drawn("--plot", entry.path), media_type="image/png")


async def download(request: Request) -> Response:
    """``GET /api/recordings/ID/download``: all files of the recording as a ZIP file, streamed (a plain link)."""
    entry = await of(request).entry(request)
    name = quote(f"{entry.name}.zip", errors="replace")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return StreamingResponse(zipped(entry.path), media_type="application/zip", headers=headers)


async def verify(request: Request) -> Response:
    """``POST /api/recordings/ID/verify`` ``{}``: is every frame whole? A large one takes a minute.

    ``{"frames": 300, "interrupted": null|"words", "broken": [{"file", "frame", "reason"}], "layout": [{"path", "what",
    "breaks"}]}``.
    """
    entry = await of(request).entry(request)
    (report,) = (await storage_json("verify", entry.path))["recordings"]
    return JSONResponse(without_folder(report, entry.path.parent))


async def split(request: Request) -> Response:
    """``POST /api/recordings/ID/split`` ``{"val": 0.1, "gap": 2, "seed": 0, "allow_missing": false, "dry_run": true}``.

    All fields may be left out; ``dry_run`` moves nothing. The answer is that of ``python -m storage split --json``.
    """
    studio = of(request)
    fields: Fields = {"val": (int, float), "gap": (int, float), "seed": int, "allow_missing": bool, "dry_run": bool}
    asked = await body_of(request, fields)
    entry = await studio.entry(request)
    words = [word for name in ("val", "gap", "seed") if name in asked for word in (f"--{name}", f"{asked[name]:.9g}")]
    words += [f"--{name.replace('_', '-')}" for name in ("allow_missing", "dry_run") if asked.get(name)]
    if not asked.get("dry_run"):
        await studio.let_go(entry.path, "it was split")
    return JSONResponse(without_folder(await storage_json("split", entry.path, *words), entry.path.parent))


async def undo_split(request: Request) -> Response:
    """``POST /api/recordings/ID/split/undo`` ``{}``: ``{"moved_back": count, "missing": [names]}``."""
    studio = of(request)
    await body_of(request, {})
    entry = await studio.entry(request)
    for name in (entry.path.name, f"val_{entry.path.name}", f"gap_{entry.path.name}"):
        await studio.let_go(entry.path.with_name(name), "its split was undone")
    return JSONResponse(without_folder(await storage_json("split", entry.path, "--undo"), entry.path.parent))


async def undo_apply(request: Request) -> Response:
    """``POST /api/recordings/ID/apply/undo`` ``{}``: undo of the last S.

    ``{"count": frames that are back, "missing": [names], "renamed": {name: name now}}``.

    An open labelling of it is closed before; its pages get the event ``closed`` and open it again.
    """
    studio = of(request)
    await body_of(request, {})
    entry = await studio.entry(request)
    await studio.let_go(entry.path, "the last Save was undone")
    count, missing, renamed = await to_thread(undo_of_apply, entry.path)
    return JSONResponse({"count": count, "missing": missing, "renamed": renamed})


async def to_trash(request: Request) -> Response:
    """``POST /api/recordings/ID/trash`` ``{}``: move it to the folder's trash. ``{"told": "words"}``."""
    studio = of(request)
    await body_of(request, {})
    entry = await studio.entry(request)
    await studio.let_go(entry.path, "it was moved to the trash")
    await to_thread(studio.trash.put, entry.path)
    return JSONResponse({"told": f"{printable(entry.name)} is in the trash"})


async def classes(request: Request) -> Response:
    """``GET /api/classes``: ``{"numbers": {class: its number, which is its colour's, in a recording that has it}}``."""
    return JSONResponse({"numbers": await to_thread(of(request).folder.class_numbers)})


async def trash(request: Request) -> Response:
    """``GET /api/trash``: ``{"items": [{"id", "name", "bytes", "since": seconds since 1970}]}``."""
    return JSONResponse({"items": await to_thread(of(request).trash.items)})


async def restore(request: Request) -> Response:
    """``POST /api/trash/ID/restore`` ``{}``: ``{"name": what it is called again, "id"}``. An existing name is kept."""
    await body_of(request, {})
    name = await to_thread(of(request).trash.restore, request.path_params["id"])
    return JSONResponse({"name": printable(name), "id": identifier(name)})


async def empty_trash(request: Request) -> Response:
    """``POST /api/trash/empty`` ``{"ids": [...]}``: delete these for good. ``{"deleted": count, "bytes"}``."""
    ids = (await body_of(request, {"ids": list})).get("ids", [])
    if not all(isinstance(id, str) for id in ids):
        raise RefusedError("ids: give a list of identifiers")
    count, size = await to_thread(of(request).trash.empty, ids)
    return JSONResponse({"deleted": count, "bytes": size})


# ------------------------------------------------------------------------------------------------ what routes share


def without_folder(value: Any, folder: Path) -> Any:
    """A command's answer without the folder's path, which is nobody's concern."""
    if isinstance(value, dict):
        return {name: without_folder(one, folder) for name, one in value.items() if name != "version"}
    if isinstance(value, list):
        return [without_folder(one, folder) for one in value]
    return printable(value.removeprefix(f"{folder}/")) if isinstance(value, str) else value


# ------------------------------------------------------------------------------------------------------------ the table

_RECORDING = "/api/recordings/{id}"
GETS: dict[str, Handler] = {
    _RECORDING: recording,
    f"{_RECORDING}/picture": picture,
    f"{_RECORDING}/frames": frames,
    f"{_RECORDING}/frames/{{frame:int}}": full_frame,
    f"{_RECORDING}/labels": labels,
    f"{_RECORDING}/sheet": sheet,
    f"{_RECORDING}/plot": plot,
    f"{_RECORDING}/download": download,
    "/api/classes": classes,
    "/api/trash": trash,
}
POSTS: dict[str, Handler] = {
    f"{_RECORDING}/verify": verify,
    f"{_RECORDING}/split": split,
    f"{_RECORDING}/split/undo": undo_split,
    f"{_RECORDING}/apply/undo": undo_apply,
    f"{_RECORDING}/trash": to_trash,
    "/api/trash/empty": empty_trash,
    "/api/trash/{id}/restore": restore,
}

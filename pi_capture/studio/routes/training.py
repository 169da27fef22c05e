"""Models: those that there are, and one in training."""

from __future__ import annotations

from asyncio import to_thread
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from pi_capture.studio.answers import Handler, RefusedError, body_of
from pi_capture.studio.studio import of
from pi_capture.studio.training import SUFFIX, find_model, shown_training, training_words
from storage.names import printable


async def model_file(request: Request) -> Response:
    """``GET /api/models/ID/download``: the model file (a plain link)."""
    path = await to_thread(find_model, of(request).folder.path, request.path_params["id"])
    return FileResponse(path, media_type="application/octet-stream", filename=printable(path.name))


async def model_to_trash(request: Request) -> Response:
    """``POST /api/models/ID/trash`` ``{}``: move it to the folder's trash. ``{"told": "words"}``."""
    studio = of(request)
    await body_of(request, {})
    path = await to_thread(find_model, studio.folder.path, request.path_params["id"])
    await to_thread(studio.trash.put, path)
    return JSONResponse({"told": f"{printable(path.name)} is in the trash"})


async def training_command(request: Request) -> Response:
    """``POST /api/training/command`` ``{"recordings": [ID, …], "name": "doors", "replace": false}``.

    → ``{"command": "python -m storage train …", "exists": whether a model of that name is there}``.
    """
    words, target = await wanted_training(request)
    return JSONResponse({"command": shown_training(words), "exists": target.exists()})


async def start_training(request: Request) -> Response:
    """``POST /api/training``, the same body: train a model, in a process of its own. → its status, as the events.

    409 while another is trained; ``replace`` replaces the model of that name.
    """
    studio = of(request)
    words, target = await wanted_training(request)
    await studio.training.start(words, target.name)
    return JSONResponse(studio.training.status)


async def training_events(request: Request) -> Response:
    """``GET /api/training/events``: server-sent events: the training that goes on, or went on last.

    ``{"state": "none"|"training"|"done"|"failed"|"cancelled", "name": "doors.model", "command", "what": "learning",
    "done": 3, "total": 11, "problem": null|"one line", "report": null|{"model": ID, "classes", "frames": {class: how
    many were learnt}, "stretches": {class: count}, "tested_on", "accuracy", "smoothed", "chance" (null: not tested),
    "confusion": frames by class (rows) and by what they were taken for, "kind", "seconds", "advice": [], "notes": [],
    "all_mistakes": count, "mistakes": [{"recording": ID, "index", "frame", "label", "guess", "certainty"}]}}``, at most
    24 mistakes, the most certain first.
    """
    studio = of(request)

    async def look() -> dict[str, Any]:
        return studio.training.shown

    return studio.changes(look, lambda status: 0.2 if status["state"] == "training" else 1.0)


async def cancel_training(request: Request) -> Response:
    """``POST /api/training/cancel`` ``{}``: end it; no model comes of it. → its status."""
    await body_of(request, {})
    await of(request).training.cancel()
    return JSONResponse(of(request).training.status)


# ------------------------------------------------------------------------------------------------ what routes share


async def wanted_training(request: Request) -> tuple[list[str], Path]:
    """The words of the command for what a page wants to train, and the model that it makes."""
    asked = await body_of(request, {"recordings": list, "name": str, "replace": bool})
    folder, ids = of(request).folder, asked.get("recordings", [])
    if not ids or not all(isinstance(id, str) for id in ids):
        raise RefusedError("choose a recording to learn from")
    paths = [(await to_thread(folder.find, id)).path for id in dict.fromkeys(ids)]
    target = folder.place(f"{asked.get('name', '')}{SUFFIX}")
    return training_words(paths, target, replace=asked.get("replace", False)), target


# ------------------------------------------------------------------------------------------------------------ the table

GETS: dict[str, Handler] = {
    "/api/models/{id}/download": model_file,
    "/api/training/events": training_events,
}
POSTS: dict[str, Handler] = {
    "/api/models/{id}/trash": model_to_trash,
    "/api/training": start_training,
    "/api/training/command": training_command,
    "/api/training/cancel": cancel_training,
}

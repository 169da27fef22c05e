"""Cameras: recorders and previews that run, and new ones."""

from __future__ import annotations

from asyncio import to_thread
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from classify.session import MOST_CLASSES
from pi_capture.sources import list_cameras
from pi_capture.studio.answers import Fields, Handler, RefusedError, body_of
from pi_capture.studio.recorders import ask, check, command_for, shown, start
from pi_capture.studio.recorders import live as live_of
from pi_capture.studio.studio import Studio, of
from pi_capture.studio.training import find_model
from storage.care.split import is_held_out, is_split
from storage.names import printable

CAMERAS = ("auto", "demo", "v4l2", "picamera2")
RECORDER_FIELDS: Fields = {
    **{"name": str, "camera": str, "size": str, "classes": list, "options": dict, "add": bool},
    **{"seconds": (int, float), "fps": (int, float, type(None))},
}


async def cameras(request: Request) -> Response:
    """``GET /api/cameras``: ``{"cameras": [{"spec": "v4l2:/dev/video0", "model"}]}``, the demo last, always there."""
    found = await to_thread(list_cameras)
    cameras = [{"spec": one.spec, "model": printable(one.model)} for one in found]
    return JSONResponse({"cameras": [*cameras, {"spec": "demo", "model": "a drawn scene, without a camera"}]})


async def command(request: Request) -> Response:
    """``POST /api/command``: check what is to be recorded, and say the command that does it.

    ``{"name": "day1.mkv", "seconds": -1|60, "camera": "demo", "size": "128x128"|"source", "fps": null|15,
    "classes": ["none", "door"], "options": {"codec": "h264"}}``, only the name is needed. ``options`` are those of
    ``python -m pi_capture --help`` that a page may set: on-motion, segment, keep, retry, codec, crf, compression,
    jitter, focus, hdr, countdown. → ``{"command": "python -m pi_capture …", "exists": bool}``; a wrong one is status
    400.
    """
    words, exists, _ = await wanted_recorder(request)
    await check(words)
    return JSONResponse({"command": shown(words), "exists": exists})


async def start_recorder(request: Request) -> Response:
    """``POST /api/recorders``, the same body: start it, in a process of its own. → a recorder as GET /api/recorders.

    With frames in a recording of that name, it is status 409 with ``"frames": count``, unless ``"add": true`` is given.
    It waits until the recorder answers or has ended; if it ended, its last line is the error, as ``camera busy``.
    A preview of the same camera is ended before.
    """
    studio = of(request)
    words, exists, add = await wanted_recorder(request)
    if exists and not add:
        frames = await to_thread(_frames_in, studio, Path(words[0]))
        if frames:
            name = printable(Path(words[0]).name)
            raise RefusedError(f"{name} exists already with {frames:,} frames", 409, frames=frames)
    async with studio.preview.given_up():
        id = await start(words)
    return JSONResponse(await studio.recorder(id))


async def recorders(request: Request) -> Response:
    """``GET /api/recorders``: all recordings that go on now, whoever started them.

    ``{"recorders": [{"id", "recording": ID|null if it is not in the folder, "target", "command", "camera", "size":
    "128x128"|null, "started": seconds since 1970, "seconds": -1|60, "frames", "durable", "dropped_queue",
    "dropped_camera", "dropped_disk", "fps", "queue_fill", "free_bytes", "seconds_left": of the disk or the
    recording|null, "classes": []|["none", "door"], "label": null|0, "line": "12 frames, …",
    "stopping": bool}]}``
    """
    return JSONResponse({"recorders": await of(request).recorders()})


async def recorder_events(request: Request) -> Response:
    """``GET /api/recorders/events``: server-sent events, the same object twice a second, as long as there is change."""
    studio = of(request)

    async def look() -> dict[str, Any]:
        return {"recorders": await studio.recorders()}

    return studio.changes(look, lambda found: 0.5 if found["recorders"] else 2.0)


async def live(request: Request) -> Response:
    """``GET /api/recorders/ID/live``: a pack without end: heads are a recorder's status, bodies JPEG pictures.

    At most 15 a second, at most 640 pixels; a slow reader gets fewer. It ends when the recording ends. A head without a
    body comes when only the status has changed.
    """
    return await of(request).records(live_of(request.path_params["id"]))


async def live_label(request: Request) -> Response:
    """``POST /api/recorders/ID/label`` ``{"label": 1|null}``: from now on frames have it. → its status."""
    label = (await body_of(request, {"label": (int, type(None))})).get("label")
    status = await ask(request.path_params["id"], {"label": label})
    return JSONResponse(of(request).named(request.path_params["id"], status))


async def stop_recorder(request: Request) -> Response:
    """``POST /api/recorders/ID/stop`` ``{}``: end it in order; may be repeated. → its status, ``stopping`` true."""
    await body_of(request, {})
    status = await ask(request.path_params["id"], {"stop": True})
    return JSONResponse(of(request).named(request.path_params["id"], status))


async def start_preview(request: Request) -> Response:
    """``POST /api/preview`` ``{"camera", "size", "fps", "model": ID|null}``: open a camera to look.

    → ``{"id"}``, or why it can't be. ``"by"`` names who asks: then a camera that another shows stays there, with status
    409 and ``"in_use": true``, unless ``"take": true`` is given. With a model, what the camera sees is classified, at
    the model's own size.
    """
    fields: Fields = {
        **{"camera": str, "size": str, "fps": (int, float, type(None)), "model": (str, type(None))},
        **{"by": str, "take": bool},
    }
    asked = await body_of(request, fields)
    camera, size, studio = asked.get("camera", "auto"), asked.get("size", "128x128"), of(request)
    if not asked.get("take"):
        studio.preview.check_free(asked.get("by", ""))
    model = None
    if asked.get("model") is not None:
        model = await to_thread(find_model, studio.folder.path, asked["model"])
    await check(["preview", "-1", "--camera", checked_camera(camera), "--size", size])
    return JSONResponse(
        {"id": await studio.preview.start(camera, size, asked.get("fps"), model, by=asked.get("by", ""))}
    )


async def watch_command(request: Request) -> Response:
    """``POST /api/watch/command`` ``{"model": ID, "camera": "demo"}``: the command that does the same in a terminal.

    → ``{"command": "python -m pi_capture watch …"}``.
    """
    asked = await body_of(request, {"model": str, "camera": str})
    model = await to_thread(find_model, of(request).folder.path, asked.get("model", ""))
    words = ["watch", str(model), "--camera", checked_camera(asked.get("camera", "auto"))]
    return JSONResponse({"command": shown(words)})


async def preview_live(request: Request) -> Response:
    """``GET /api/preview/ID/live``: a pack as of a recorder; heads are ``{"size": "640x480"}``.

    With a model, once it has said something: ``"class": "door"|null, "certainty": 0.9, "certainties": {class: 0 to 1},
    "milliseconds", "seen": frames that it has looked at``. If it fails, a last head has ``"problem": "one line"``.
    The camera is closed when nobody has looked for two seconds.
    """
    studio = of(request)
    return await studio.records(studio.preview.live(request.path_params["id"]))


# ------------------------------------------------------------------------------------------------ what routes share


async def wanted_recorder(request: Request) -> tuple[list[str], bool, bool]:
    """The words of the command for what a page wants to record, whether that is there, and whether to add to it.

    Raises RefusedError also if frames of what is there are held out, or it has those of another.
    """
    asked = await body_of(request, RECORDER_FIELDS)
    classes, options = asked.get("classes", []), asked.get("options", {})
    if len(classes) > MOST_CLASSES:
        raise RefusedError(f"At most {MOST_CLASSES} classes.")
    if not all(isinstance(name, str) for name in classes) or not all(isinstance(name, str) for name in options):
        raise RefusedError("classes: give a list of names")
    target = of(request).folder.place(asked.get("name", ""))
    asked["camera"] = checked_camera(asked.get("camera", "auto"))
    if is_split(target):
        way = "give another name, or press Look, then Undo the split"
        raise RefusedError(f"{printable(target.name)} is split: {way}", 409)
    if is_held_out(target):
        raise RefusedError(f"{printable(target.name)} is a part of a recording that is split: give another name", 409)
    return command_for(target, asked), target.exists(), asked.get("add", False)


def _frames_in(studio: Studio, target: Path) -> int:
    """How many frames a recording has; at least 1 if it can't be told."""
    found = next((entry for entry in studio.folder.entries() if entry.path == target), None)
    if found is None:
        return 0 if target.is_dir() else 1
    facts = studio.folder.facts(found)
    frames: int = facts["frames"]
    return frames or int(facts["state"] == "broken")


def checked_camera(camera: str) -> str:
    """A camera of this machine; files, addresses and screens are for who has a terminal."""
    if camera.partition(":")[0] not in CAMERAS:
        raise RefusedError(f"the camera {printable(camera[:60])!r} can't be chosen here")
    return camera


# ------------------------------------------------------------------------------------------------------------ the table

GETS: dict[str, Handler] = {
    "/api/cameras": cameras,
    "/api/recorders": recorders,
    "/api/recorders/events": recorder_events,
    "/api/recorders/{id}/live": live,
    "/api/preview/{id}/live": preview_live,
}
POSTS: dict[str, Handler] = {
    "/api/command": command,
    "/api/recorders": start_recorder,
    "/api/recorders/{id}/label": live_label,
    "/api/recorders/{id}/stop": stop_recorder,
    "/api/preview": start_preview,
    "/api/watch/command": watch_command,
}

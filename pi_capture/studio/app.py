"""The routes of the studio: what each answers is written at its function. This is the contract with the pages, whole,
which makes the file a long one.

Everything but ``/`` without a cookie needs the cookie (`pi_capture.studio.auth`). Each POST carries a JSON object, the
header ``X-Studio: 1``, and comes from our own pages. A failure is ``{"error": "one line for the person"}`` with status
400 (wrong request), 401 (no cookie), 403 (not from our pages), 404 (no such thing), 409 (somebody else holds it: with
``"take_over": true`` the same request with that field ends the other), 413, 422 (it can't be done now) or 503 (too many
streams). An ID is 16 hexadecimal digits; the names that come with IDs are data, never markup.

A *pack* is a sequence of records: the length of a head (4 bytes, big-endian), the head as JSON, then ``head.bytes``
bytes of body. *Runs* are ``[[start, stop, label], …]``: frames from ``start`` up to, but without, ``stop``; label 255
is none.
"""

from __future__ import annotations

import asyncio
import re
from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pi_capture.live.packs import packed
from pi_capture.sources import list_cameras
from pi_capture.studio.answers import (
    FAILURES,
    Fields,
    RefusedError,
    body_of,
    event,
    events,
    failure,
    identifier,
    number_of,
    pack,
)
from pi_capture.studio.auth import Door, Keys
from pi_capture.studio.care import drawn, free_bytes, storage_json, warnings, zipped
from pi_capture.studio.labelling import undo_of_apply
from pi_capture.studio.recorders import Record, ask, check, command_for, shown, start
from pi_capture.studio.recorders import live as live_of
from pi_capture.studio.recordings import labels_as_runs
from pi_capture.studio.studio import Studio
from pi_capture.studio.training import SUFFIX, find_model, model_facts, models_in, shown_training, training_words
from pi_capture.studio.windows import is_labelled
from storage.names import printable

STATIC = Path(__file__).parent / "static"
MOST_FRAMES, MOST_ACTIONS = 240, 500  # of one request
CAMERAS = ("auto", "demo", "v4l2", "picamera2")
RECORDER_FIELDS: Fields = {
    **{"name": str, "camera": str, "size": str, "classes": list, "options": dict},
    **{"seconds": (int, float), "fps": (int, float, type(None))},
}


# ----------------------------------------------------------------------------------------------------------------- home


async def page(request: Request) -> Response:
    """``GET /``: the page. ``GET /?token=TOKEN`` sets the cookie and redirects to ``/``."""
    return FileResponse(STATIC / "index.html", media_type="text/html")


async def home(request: Request) -> Response:
    """``GET /api/home``: what the folder holds. Quick: a recording's facts are asked for one by one.

    ``{"folder": "recordings", "free_bytes": 8e9, "warnings": [{"check", "state": "warn"|"fail", "found", "advice"}],
    "recordings": [{"id", "name", "changed": seconds since 1970}], "recorders": [as GET /api/recorders],
    "models": [{"id", "name", "bytes", "changed", "classes": ["none", "door"], "accuracy": 0.9|null,
    "problem": null|"one line"}], "trash": recordings and models in it}``, the newest first. ``warnings`` are those of
    ``doctor`` that cost nothing. A ``.tflite`` file is a model too, of which nothing more is said.
    """
    studio = of(request)
    entries = await to_thread(studio.folder.entries)
    return JSONResponse(
        {
            "folder": printable(studio.folder.path.name),
            "free_bytes": await to_thread(free_bytes, studio.folder.path),
            "warnings": await to_thread(warnings, studio.folder.path),
            "recordings": [{"id": one.id, "name": printable(one.name), "changed": one.changed} for one in entries],
            "models": await to_thread(lambda: [model_facts(one) for one in models_in(studio.folder.path)]),
            "recorders": await studio.recorders(),
            "trash": await to_thread(studio.trash.count),
        }
    )


async def recording(request: Request) -> Response:
    """``GET /api/recordings/ID``: the facts of one recording. Counted anew only when it has changed.

    ``{"id", "name", "format": "png", "frames", "bytes", "seconds", "size": "128x128"|null, "classes": [{"name",
    "directory", "frames", "waiting"}], "unlabelled", "waiting", "state": "recording"|"to be labelled"|"labelled"|
    "split"|"held out"|"broken", "labelled_by": null|"a window"|"this studio", "can": ["label", "split", "undo split",
    "undo apply", "sheet", "plot"], "begun": ISO time|null, "problem": null|"one line"}``.
    ``frames`` of a class are those that lie in it; ``waiting`` are labels in the journal that S has not applied.
    A broken one has status 200, state ``broken``, and ``problem``.
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
    opened.check(request.path_params["frame"])
    kind, picture = await to_thread(opened.frames.full, request.path_params["frame"])
    return Response(picture, media_type=kind)


async def labels(request: Request) -> Response:
    """``GET /api/recordings/ID/labels``: the labels as they stand, journal included.

    ``{"count", "classes": ["none", "door"], "runs": runs by index in the recording}``; labels are indices into
    ``classes``.
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
    await studio.let_go(entry.path, "its split was undone")
    return JSONResponse(without_folder(await storage_json("split", entry.path, "--undo"), entry.path.parent))


async def undo_apply(request: Request) -> Response:
    """``POST /api/recordings/ID/apply/undo`` ``{}``: undo of the last S.

    ``{"count": frames that are back, "missing": [names], "renamed": {name: name now}}``.

    An open labelling of it is closed before; its pages get the event ``closed`` and open it again.
    """
    studio = of(request)
    await body_of(request, {})
    entry = await studio.entry(request)
    await studio.let_go(entry.path, "sorting was undone")
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


# --------------------------------------------------------------------------------------------------------------- models


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


# --------------------------------------------------------------------------------------------------------------- record


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
    words, exists = await wanted_recorder(request)
    await check(words)
    return JSONResponse({"command": shown(words), "exists": exists})


async def start_recorder(request: Request) -> Response:
    """``POST /api/recorders``, the same body: start it, in a process of its own. → a recorder as GET /api/recorders.

    It waits until the recorder answers or has ended; if it ended, its last line is the error, as ``camera busy``.
    A preview of the same camera is ended before.
    """
    studio = of(request)
    words, _ = await wanted_recorder(request)
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

    return changes(studio, look, lambda found: 0.5 if found["recorders"] else 2.0)


async def live(request: Request) -> Response:
    """``GET /api/recorders/ID/live``: a pack without end: heads are a recorder's status, bodies JPEG pictures.

    At most 15 a second, at most 640 pixels; a slow reader gets fewer. It ends when the recording ends. A head without a
    body comes when only the status has changed.
    """
    return await records(of(request), live_of(request.path_params["id"]))


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

    → ``{"id"}``, or why it can't be. With a model, what the camera sees is classified, at the model's own size.
    """
    fields: Fields = {"camera": str, "size": str, "fps": (int, float, type(None)), "model": (str, type(None))}
    asked = await body_of(request, fields)
    camera, size, studio = asked.get("camera", "auto"), asked.get("size", "128x128"), of(request)
    model = None
    if asked.get("model") is not None:
        model = await to_thread(find_model, studio.folder.path, asked["model"])
    await check(["preview", "-1", "--camera", checked_camera(camera), "--size", size])
    return JSONResponse({"id": await studio.preview.start(camera, size, asked.get("fps"), model)})


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
    return await records(studio, studio.preview.live(request.path_params["id"]))


# ---------------------------------------------------------------------------------------------------------------- train


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
        return studio.training.status

    return changes(studio, look, lambda status: 0.2 if status["state"] == "training" else 1.0)


async def cancel_training(request: Request) -> Response:
    """``POST /api/training/cancel`` ``{}``: end it; no model comes of it. → its status."""
    await body_of(request, {})
    await of(request).training.cancel()
    return JSONResponse(of(request).training.status)


# ------------------------------------------------------------------------------------------------------------ labelling


async def open_labelling(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling``: open it for labelling, or join those who have it open.

    ``{"classes": ["none", "door"], "relabel": false, "by_name": false, "take_over": false}``, all may be left out;
    given ones count when it is opened first; with others it is opened anew. → the *state*:

    ``{"opening": "300-5f3a…", "count", "revision", "cursor", "labels": runs, "unreadable": [frames], "classes":
    [{"label": 0, "name", "sorted": frames in its directory}], "keys": number of classes with a key, "held": null|label,
    "hold": bool, "can_undo", "can_redo", "fps", "changes": {"known": frames examined, "at": [frames]}, "clients":
    {CLIENT: last seq done}, "saving": "sorts them into class directories", "told": ["words"], "help": as the event,
    "proposals": as in the event}``.

    409 with ``take_over`` if a window labels it. Frames are numbered by position: those without a class, unless
    relabelling; ``opening`` stands for which frames they are.
    """
    fields: Fields = {"classes": list, "relabel": (bool, type(None)), "by_name": (bool, type(None)), "take_over": bool}
    asked = await body_of(request, fields)
    studio = of(request)
    entry = await studio.entry(request)
    labelling = await studio.open_labelling(entry.path, asked)
    return JSONResponse(await to_thread(labelling.state))


async def labelling_events(request: Request) -> Response:
    """``GET /api/recordings/ID/labelling/events``: server-sent events.

    ``state``: the whole state, first and after every reconnection. ``change``: ``{"revision", "previous": revision
    before, "cursor", "labels": runs that changed, "by": client, "seq", "can_undo", "can_redo", "hold", "held",
    "unreadable": frames newly so}``. ``changes``: ``{"known", "at": all that are known}``. ``closed``: ``{"reason"}``,
    then the stream ends.

    ``help``: what the model asks. ``{"number": grows with each, "asking": "nothing"|"frames"|"runs"|"borders"|"doubts",
    "first", "stop": the frames that an answer is for, none while it is being found, "label": the proposed class or 255,
    "certainty": 0 to 1, "model": its hash|"", "shown": frames of the run and behind its end, "inside": how many of them
    are in it, "questions": how many frames are asked for, "least_certain_first", "described": how much of the recording
    is, 0 to 1, null before ``assist``, "said": "words"|""}``. ``proposals``: ``{"proposals": [[start, stop, label,
    certainty]]}``; they count for frames without a label.
    """
    studio = of(request)
    studio.check_streams()
    labelling = await studio.labelling(request)

    async def told() -> AsyncIterator[bytes]:
        listener = labelling.listen()
        try:
            with studio.stream():
                yield event(await to_thread(labelling.state), "state")
                async for name, value in listener:
                    yield event(value, name)
                    if name == "closed":
                        return
        finally:
            labelling.leave(listener)

    return events(told())


async def act(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling/actions``: do things, durable before the answer.

    ``{"client": "1 to 40 of A-Z a-z 0-9 _ -", "opening": as in the state, "actions": [{"seq": 1, "action": …}, …]}``,
    at most 500. Each client counts ``seq`` up from 1; one that was done already changes nothing. → ``{"done": last seq,
    "revision", "changes": [as the event ``change``], "told": "words"|"", "help": as the event}``. 409 with ``"reload":
    true`` if ``opening`` stands for other frames by now; none was done then.

    Actions have ``frame``, the frame looked at, except where told: ``label`` {label}; ``label_stretch`` {label}: up
    to the next visible change; ``label_run`` {first, stop, label|255}, without ``frame``; ``batch``: ten as 0;
    ``clear``; ``nudge`` {by: 1|-1}; ``hold`` {on}; ``pass`` {to, label|255}: jumped or played there, under a held
    label; ``switch`` {label, since: where play began, speed}: a label while playing; ``pause``; ``look``: only
    looked there; ``undo``, ``redo``, without ``frame``. Those of a model's help: ``assist``, ``bisect``,
    ``least_certain``, ``accept_sure``; without ``frame`` ``answer`` {first, stop, label, model: its hash if that is its
    proposal, else ""}, for what the page has shown; ``end_run`` {first, stop, cell: the number of the first frame shown
    that has another class}; ``stop_asking``.
    """
    asked = await body_of(request, {"client": str, "opening": str, "actions": list})
    client, actions = asked.get("client", ""), asked.get("actions", [])
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", client):
        raise RefusedError("client: give 1 to 40 of A-Z a-z 0-9 _ -")
    if len(actions) > MOST_ACTIONS or not all(isinstance(action, dict) for action in actions):
        raise RefusedError(f"actions: give a list of at most {MOST_ACTIONS} objects")
    labelling = await of(request).labelling(request)
    return JSONResponse(await to_thread(labelling.act, client, asked.get("opening", ""), actions))


async def labelling_frames(request: Request) -> Response:
    """``GET /api/recordings/ID/labelling/frames?first=0&count=30&step=1``: as ``frames``, by position."""
    labelling = await of(request).labelling(request)
    indices = labelling.indices
    wanted = numbers_asked(request, len(indices))
    return pack(labelling.frames.pack((position, indices[position]) for position in wanted))


async def labelling_full_frame(request: Request) -> Response:
    """``GET /api/recordings/ID/labelling/frames/POSITION``: as the whole picture, by position."""
    labelling = await of(request).labelling(request)
    position = request.path_params["frame"]
    if position >= len(labelling.indices):
        raise RefusedError("there is no such frame", 404)
    kind, picture = await to_thread(labelling.frames.full, labelling.indices[position])
    return Response(picture, media_type=kind)


async def apply(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling/apply`` ``{}``: S.

    ``{"counts": {directory: frames, "": frames that lost their class}, "renamed": {name: name now}, "missing": [names],
    "table": null|"name of the file beside it", "left": frames without a class}``. The labelling is closed; its pages
    get the event ``closed``.
    """
    await body_of(request, {})
    studio = of(request)
    labelling = await studio.labelling(request)
    try:
        return JSONResponse(await to_thread(labelling.apply))
    finally:
        studio.sweep()


async def close_labelling(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling/close`` ``{}``: let a window have it. Nothing is lost. ``{}``.

    It is closed as well when no page has listened to its events for a minute.
    """
    await body_of(request, {})
    studio = of(request)
    await studio.let_go((await studio.entry(request)).path, "it was closed by a page")
    return JSONResponse({})


# ------------------------------------------------------------------------------------------------------------ the table

Handler = Callable[[Request], Awaitable[Response]]

_RECORDING = "/api/recordings/{id}"
GETS: dict[str, Handler] = {
    "/": page,
    "/api/home": home,
    _RECORDING: recording,
    f"{_RECORDING}/picture": picture,
    f"{_RECORDING}/frames": frames,
    f"{_RECORDING}/frames/{{frame:int}}": full_frame,
    f"{_RECORDING}/labels": labels,
    f"{_RECORDING}/sheet": sheet,
    f"{_RECORDING}/plot": plot,
    f"{_RECORDING}/download": download,
    "/api/models/{id}/download": model_file,
    "/api/trash": trash,
    "/api/cameras": cameras,
    "/api/recorders": recorders,
    "/api/recorders/events": recorder_events,
    "/api/recorders/{id}/live": live,
    "/api/preview/{id}/live": preview_live,
    "/api/training/events": training_events,
    f"{_RECORDING}/labelling/events": labelling_events,
    f"{_RECORDING}/labelling/frames": labelling_frames,
    f"{_RECORDING}/labelling/frames/{{frame:int}}": labelling_full_frame,
}
POSTS: dict[str, Handler] = {
    f"{_RECORDING}/verify": verify,
    f"{_RECORDING}/split": split,
    f"{_RECORDING}/split/undo": undo_split,
    f"{_RECORDING}/apply/undo": undo_apply,
    f"{_RECORDING}/trash": to_trash,
    "/api/models/{id}/trash": model_to_trash,
    "/api/trash/empty": empty_trash,
    "/api/trash/{id}/restore": restore,
    "/api/command": command,
    "/api/recorders": start_recorder,
    "/api/recorders/{id}/label": live_label,
    "/api/recorders/{id}/stop": stop_recorder,
    "/api/preview": start_preview,
    "/api/watch/command": watch_command,
    "/api/training": start_training,
    "/api/training/command": training_command,
    "/api/training/cancel": cancel_training,
    f"{_RECORDING}/labelling": open_labelling,
    f"{_RECORDING}/labelling/actions": act,
    f"{_RECORDING}/labelling/apply": apply,
    f"{_RECORDING}/labelling/close": close_labelling,
}


# ------------------------------------------------------------------------------------------------ what routes share


def of(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


def numbers_asked(request: Request, count: int) -> Sequence[int]:
    """The frames that ``first``, ``count`` and ``step`` of a query ask for, or ``at``, as far as there are such."""
    if (asked := request.query_params.get("at")) is not None:
        if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", asked, re.ASCII) or asked.count(",") >= MOST_FRAMES:
            raise RefusedError(f"at: give at most {MOST_FRAMES} whole numbers with commas between them")
        return [number for number in map(int, asked.split(",")) if number < count]
    first = number_of(request, "first", 0, 0, 1 << 30)
    many = number_of(request, "count", 30, 1, MOST_FRAMES)
    step = number_of(request, "step", 1, 1, 1 << 20)
    return range(first, min(count, first + many * step), step)


def changes(
    studio: Studio, look: Callable[[], Awaitable[dict[str, Any]]], pause: Callable[[dict[str, Any]], float]
) -> Response:
    """Server-sent events: what `look` sees, each time it is something else; it looks again after `pause` seconds."""
    studio.check_streams()

    async def told() -> AsyncIterator[bytes]:
        with studio.stream():
            last = None
            while True:
                seen = await look()
                yield event(seen) if seen != last else b":\n\n"
                last = seen
                await asyncio.sleep(pause(seen))

    return events(told())


async def records(studio: Studio, found: AsyncIterator[Record]) -> Response:
    """A pack without end. Raises RefusedError if there is nothing to show."""
    studio.check_streams()
    try:
        first = await anext(found)
    except StopAsyncIteration:
        raise RefusedError("this has just ended", 404) from None

    async def packs() -> AsyncIterator[bytes]:
        with studio.stream():
            yield packed(*first)
            async for head, body in found:
                yield packed(head, body)

    return pack(packs())


async def wanted_recorder(request: Request) -> tuple[list[str], bool]:
    """The words of the command for what a page wants to record, and whether there is a recording of that name."""
    asked = await body_of(request, RECORDER_FIELDS)
    classes, options = asked.get("classes", []), asked.get("options", {})
    if not all(isinstance(name, str) for name in classes) or not all(isinstance(name, str) for name in options):
        raise RefusedError("classes: give a list of names")
    target = of(request).folder.place(asked.get("name", ""))
    asked["camera"] = checked_camera(asked.get("camera", "auto"))
    return command_for(target, asked), target.exists()


async def wanted_training(request: Request) -> tuple[list[str], Path]:
    """The words of the command for what a page wants to train, and the model that it makes."""
    asked = await body_of(request, {"recordings": list, "name": str, "replace": bool})
    folder, ids = of(request).folder, asked.get("recordings", [])
    if not ids or not all(isinstance(id, str) for id in ids):
        raise RefusedError("choose a recording to learn from")
    paths = [(await to_thread(folder.find, id)).path for id in dict.fromkeys(ids)]
    target = folder.place(f"{asked.get('name', '')}{SUFFIX}")
    return training_words(paths, target, replace=asked.get("replace", False)), target


def checked_camera(camera: str) -> str:
    """A camera of this machine; files, addresses and screens are for who has a terminal."""
    if camera.partition(":")[0] not in CAMERAS or camera.startswith("-"):
        raise RefusedError(f"the camera {printable(camera[:60])!r} can't be chosen here")
    return camera


def without_folder(value: Any, folder: Path) -> Any:
    """A command's answer without the folder's path, which is nobody's concern."""
    if isinstance(value, dict):
        return {name: without_folder(one, folder) for name, one in value.items() if name != "version"}
    if isinstance(value, list):
        return [without_folder(one, folder) for one in value]
    return printable(value.removeprefix(f"{folder}/")) if isinstance(value, str) else value


def build(folder: Path, keys: Keys, names: set[str]) -> Starlette:
    """The application.

    Parameters
    ----------
    folder : path
        Where the recordings are.
    keys : Keys
        What opens it.
    names : set of str
        What this machine is called, as `Door` takes it.
    """
    routes: list[Route | Mount] = [Route(path, handler, methods=["GET"]) for path, handler in GETS.items()]
    routes += [Route(path, handler, methods=["POST"]) for path, handler in POSTS.items()]
    routes.append(Mount("/static", StaticFiles(directory=STATIC)))
    studio = Studio(folder)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Door, keys=keys, names=names)],
        exception_handlers=dict.fromkeys(FAILURES, failure),
        lifespan=lambda _: studio.running(),
    )
    app.state.studio = studio
    return app

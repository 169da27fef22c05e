"""The routes of the studio: what each answers is written at its function. This is the contract with the pages.

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

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pi_capture.studio.answers import FAILURES, RefusedError, failure
from pi_capture.studio.auth import Door, Keys

STATIC = Path(__file__).parent / "static"


# ----------------------------------------------------------------------------------------------------------------- home


async def page(request: Request) -> Response:
    """``GET /``: the page. ``GET /?token=TOKEN`` sets the cookie and redirects to ``/``."""
    return FileResponse(STATIC / "index.html", media_type="text/html")


async def home(request: Request) -> Response:
    """``GET /api/home``: what the folder holds. Quick: a recording's facts are asked for one by one.

    ``{"folder": "recordings", "free_bytes": 8e9, "warnings": [{"check", "state": "warn"|"fail", "found", "advice"}],
    "recordings": [{"id", "name", "changed": seconds since 1970}], "recorders": [as GET /api/recorders],
    "trash": {"count", "bytes"}}``, recordings newest first. ``warnings`` are those of ``doctor`` that cost nothing.
    """
    raise RefusedError("not yet", 501)


async def recording(request: Request) -> Response:
    """``GET /api/recordings/ID``: the facts of one recording. Counted anew only when it has changed.

    ``{"id", "name", "format": "png", "frames", "bytes", "seconds", "size": "128x128"|null, "classes": [{"name",
    "directory", "frames", "waiting"}], "unlabelled", "waiting", "state": "recording"|"to be labelled"|"labelled"|
    "split"|"broken", "labelled_by": null|"a window"|"this studio", "can": ["label", "split", "undo split",
    "undo apply", "sheet", "plot"], "begun": ISO time|null, "problem": null|"one line"}``.
    ``frames`` of a class are those that lie in it; ``waiting`` are labels in the journal that S has not applied.
    A broken one has status 200, state ``broken``, and ``problem``.
    """
    raise RefusedError("not yet", 501)


async def picture(request: Request) -> Response:
    """``GET /api/recordings/ID/picture``: a JPEG of a frame from its middle, at most 320 pixels wide or high."""
    raise RefusedError("not yet", 501)


async def frames(request: Request) -> Response:
    """``GET /api/recordings/ID/frames?first=0&count=30&step=1``: a pack of frames by their index in the recording.

    Heads: ``{"frame": index, "type": "image/png"|"image/jpeg", "proxy": bool, "error": ""}``, in order, at most 240;
    an unreadable frame has no body and an ``error``. A frame of at most 256 pixels is as it is stored; a larger one is
    a JPEG of at most 320 pixels (``proxy``). It may be aborted at any time.
    """
    raise RefusedError("not yet", 501)


async def full_frame(request: Request) -> Response:
    """``GET /api/recordings/ID/frames/INDEX``: the whole picture, as PNG where it is stored so, else JPEG."""
    raise RefusedError("not yet", 501)


async def labels(request: Request) -> Response:
    """``GET /api/recordings/ID/labels``: the labels as they stand, journal included.

    ``{"count", "classes": ["none", "door"], "runs": runs by index in the recording}``; labels are indices into
    ``classes``.
    """
    raise RefusedError("not yet", 501)


async def sheet(request: Request) -> Response:
    """``GET /api/recordings/ID/sheet``: the contact sheet, PNG."""
    raise RefusedError("not yet", 501)


async def plot(request: Request) -> Response:
    """``GET /api/recordings/ID/plot``: the tracks of a media file over time, PNG."""
    raise RefusedError("not yet", 501)


async def download(request: Request) -> Response:
    """``GET /api/recordings/ID/download``: all files of the recording as a ZIP file, streamed (a plain link)."""
    raise RefusedError("not yet", 501)


async def verify(request: Request) -> Response:
    """``POST /api/recordings/ID/verify`` ``{}``: lines of JSON while it looks, then the result.

    ``{"done": 120, "total": 300}`` …, ``{"frames": 300, "interrupted": null|"words", "broken": [{"frame", "reason"}],
    "layout": [{"what", "breaks"}]}``; a failure on the way is a line ``{"error"}``.
    """
    raise RefusedError("not yet", 501)


async def split(request: Request) -> Response:
    """``POST /api/recordings/ID/split`` ``{"val": 0.1, "gap": 2, "seed": 0, "allow_missing": false, "dry_run": true}``.

    ``{"counts": {class: [train, validation, gap]}, "stretch": seconds, "held_out": stretches, "notes": ["words"],
    "moved": bool}``. All fields may be left out; ``dry_run`` moves nothing.
    """
    raise RefusedError("not yet", 501)


async def undo_split(request: Request) -> Response:
    """``POST /api/recordings/ID/split/undo`` ``{}``: ``{"moved_back": count, "missing": [names]}``."""
    raise RefusedError("not yet", 501)


async def undo_apply(request: Request) -> Response:
    """``POST /api/recordings/ID/apply/undo`` ``{}``: undo of the last S. ``{"told": ["words", …]}``.

    An open labelling of it is closed before; its pages get the event ``closed`` and open it again.
    """
    raise RefusedError("not yet", 501)


async def to_trash(request: Request) -> Response:
    """``POST /api/recordings/ID/trash`` ``{}``: move it to the folder's trash. ``{"told": "words"}``."""
    raise RefusedError("not yet", 501)


async def trash(request: Request) -> Response:
    """``GET /api/trash``: ``{"items": [{"id", "name", "bytes", "since": seconds since 1970}]}``."""
    raise RefusedError("not yet", 501)


async def restore(request: Request) -> Response:
    """``POST /api/trash/ID/restore`` ``{}``: ``{"name": what it is called again, "id"}``. An existing name is kept."""
    raise RefusedError("not yet", 501)


async def empty_trash(request: Request) -> Response:
    """``POST /api/trash/empty`` ``{"ids": [...]}``: delete these for good. ``{"deleted": count, "bytes"}``."""
    raise RefusedError("not yet", 501)


# --------------------------------------------------------------------------------------------------------------- record


async def cameras(request: Request) -> Response:
    """``GET /api/cameras``: ``{"cameras": [{"spec": "v4l2:/dev/video0", "model"}]}``, the demo last, always there."""
    raise RefusedError("not yet", 501)


async def command(request: Request) -> Response:
    """``POST /api/command``: check what is to be recorded, and say the command that does it.

    ``{"name": "day1.mkv", "seconds": -1|60, "camera": "demo", "size": "128x128"|"source", "fps": null|15,
    "classes": ["none", "door"], "options": {"codec": "h264"}}``, only the name is needed. ``options`` are those of
    ``python -m pi_capture --help`` that a page may set: on-motion, segment, keep, retry, codec, crf, compression,
    jitter, countdown. → ``{"command": "python -m pi_capture …", "exists": bool}``; a wrong one is status 400.
    """
    raise RefusedError("not yet", 501)


async def start_recorder(request: Request) -> Response:
    """``POST /api/recorders``, the same body: start it, in a process of its own. → a recorder as GET /api/recorders.

    It waits until the recorder answers or has ended; if it ended, its last line is the error, as ``camera busy``.
    A preview of the same camera is ended before.
    """
    raise RefusedError("not yet", 501)


async def recorders(request: Request) -> Response:
    """``GET /api/recorders``: all recordings that go on now, whoever started them.

    ``{"recorders": [{"id", "recording": ID|null if it is not in the folder, "target", "command", "camera", "size":
    "128x128"|null, "started": seconds since 1970, "seconds": -1|60, "frames", "durable", "dropped_queue",
    "dropped_camera", "dropped_disk", "bytes", "fps", "queue_fill", "free_bytes", "seconds_left": of the disk or the
    recording|null, "classes": []|["none", "door"], "label": null|0, "line": "12 frames, …",
    "stopping": bool}]}``
    """
    raise RefusedError("not yet", 501)


async def recorder_events(request: Request) -> Response:
    """``GET /api/recorders/events``: server-sent events, the same object twice a second, as long as there is change."""
    raise RefusedError("not yet", 501)


async def live(request: Request) -> Response:
    """``GET /api/recorders/ID/live``: a pack without end: heads are a recorder's status, bodies JPEG pictures.

    At most 15 a second, at most 640 pixels; a slow reader gets fewer. It ends when the recording ends. A head without a
    body comes when only the status has changed.
    """
    raise RefusedError("not yet", 501)


async def live_label(request: Request) -> Response:
    """``POST /api/recorders/ID/label`` ``{"label": 1|null}``: from now on frames have it. → its status."""
    raise RefusedError("not yet", 501)


async def stop_recorder(request: Request) -> Response:
    """``POST /api/recorders/ID/stop`` ``{}``: end it in order; may be repeated. → its status, ``stopping`` true."""
    raise RefusedError("not yet", 501)


async def start_preview(request: Request) -> Response:
    """``POST /api/preview`` ``{"camera", "size", "fps"}``: open a camera to look. → ``{"id"}``, or why it can't be."""
    raise RefusedError("not yet", 501)


async def preview_live(request: Request) -> Response:
    """``GET /api/preview/ID/live``: a pack as of a recorder; heads are ``{"size": "640x480"}``.

    The camera is closed when nobody has looked for two seconds.
    """
    raise RefusedError("not yet", 501)


# ------------------------------------------------------------------------------------------------------------ labelling


async def open_labelling(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling``: open it for labelling, or join those who have it open.

    ``{"classes": ["none", "door"], "relabel": false, "by_name": false, "take_over": false}``, all may be left out;
    given classes are taken when it is opened first. → the *state*:

    ``{"opening": "300-5f3a…", "count", "revision", "cursor", "labels": runs, "unreadable": [frames], "classes":
    [{"label": 0, "name", "sorted": frames in its directory}], "keys": number of classes with a key, "held": null|label,
    "hold": bool, "can_undo", "can_redo", "fps", "changes": {"known": frames examined, "at": [frames]}, "clients":
    {CLIENT: last seq done}, "saving": "sorts them into class directories", "told": ["words"]}``.

    409 with ``take_over`` if a window labels it. Frames are numbered by position: those without a class, unless
    relabelling; ``opening`` stands for which frames they are.
    """
    raise RefusedError("not yet", 501)


async def labelling_events(request: Request) -> Response:
    """``GET /api/recordings/ID/labelling/events``: server-sent events.

    ``state``: the whole state, first and after every reconnection. ``change``: ``{"revision", "previous": revision
    before, "cursor", "labels": runs that changed, "by": client, "seq", "can_undo", "can_redo", "hold", "held",
    "unreadable": frames newly so}``. ``changes``: ``{"known", "at": more frames}``. ``closed``: ``{"reason"}``, then
    the stream ends.
    """
    raise RefusedError("not yet", 501)


async def act(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling/actions``: do things, durable before the answer.

    ``{"client": "1 to 40 of A-Z a-z 0-9 _ -", "opening": as in the state, "actions": [{"seq": 1, "action": …}, …]}``,
    at most 500. Each client counts ``seq`` up from 1; one that was done already changes nothing. → ``{"done": last seq,
    "revision", "changes": [as the event ``change``], "told": "words"|""}``. 409 with ``"reload": true`` if ``opening``
    stands for other frames by now; none was done then.

    Actions have ``frame``, the frame looked at, except where told: ``label`` {label}; ``label_stretch`` {label}: up to
    the next visible change; ``label_run`` {first, stop, label|255}, without ``frame``; ``batch``: ten as 0; ``clear``;
    ``nudge`` {by: 1|-1}; ``hold`` {on}; ``pass`` {to}: jumped or played there, under the held label; ``switch`` {label,
    since: where play began, speed}: a label while playing; ``pause``; ``look``: only looked there; ``undo``, ``redo``,
    without ``frame``.
    """
    raise RefusedError("not yet", 501)


async def labelling_frames(request: Request) -> Response:
    """``GET /api/recordings/ID/labelling/frames?first=0&count=30&step=1``: as ``frames``, by position."""
    raise RefusedError("not yet", 501)


async def labelling_full_frame(request: Request) -> Response:
    """``GET /api/recordings/ID/labelling/frames/POSITION``: as the whole picture, by position."""
    raise RefusedError("not yet", 501)


async def apply(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling/apply`` ``{}``: S. ``{"told": ["words"], "left": frames without a class}``.

    The labelling is closed; its pages get the event ``closed``.
    """
    raise RefusedError("not yet", 501)


async def close_labelling(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling/close`` ``{}``: let a window have it. Nothing is lost. ``{}``.

    It is closed as well when no page has listened to its events for a minute.
    """
    raise RefusedError("not yet", 501)


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
    "/api/trash": trash,
    "/api/cameras": cameras,
    "/api/recorders": recorders,
    "/api/recorders/events": recorder_events,
    "/api/recorders/{id}/live": live,
    "/api/preview/{id}/live": preview_live,
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
    "/api/trash/empty": empty_trash,
    "/api/trash/{id}/restore": restore,
    "/api/command": command,
    "/api/recorders": start_recorder,
    "/api/recorders/{id}/label": live_label,
    "/api/recorders/{id}/stop": stop_recorder,
    "/api/preview": start_preview,
    f"{_RECORDING}/labelling": open_labelling,
    f"{_RECORDING}/labelling/actions": act,
    f"{_RECORDING}/labelling/apply": apply,
    f"{_RECORDING}/labelling/close": close_labelling,
}


def build(folder: Path, keys: Keys, names: set[str]) -> Starlette:
    """The application.

    Parameters
    ----------
    folder : path
        Where the recordings are.
    keys : Keys
        What opens it.
    names : set of str
        What this machine is called in the network; empty if only itself may ask.
    """
    routes: list[Route | Mount] = [Route(path, handler, methods=["GET"]) for path, handler in GETS.items()]
    routes += [Route(path, handler, methods=["POST"]) for path, handler in POSTS.items()]
    routes.append(Mount("/static", StaticFiles(directory=STATIC)))
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Door, keys=keys, names=names)],
        exception_handlers=dict.fromkeys(FAILURES, failure),
    )
    app.state.folder = folder
    return app

"""A recording that is open for labelling."""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pi_capture.studio.answers import (
    Fields,
    Handler,
    RefusedError,
    body_of,
    event,
    events,
    frame_asked,
    numbers_asked,
    pack,
)
from pi_capture.studio.studio import of

MOST_ACTIONS = 500  # of one request


async def open_labelling(request: Request) -> Response:
    """``POST /api/recordings/ID/labelling``: open it for labelling, or join those who have it open.

    ``{"classes": ["none", "door"], "relabel": false, "by_name": false, "take_over": false}``, all may be left out;
    given ones count when it is opened first; with others it is opened anew. → the *state*:

    ``{"session": another one each time it is opened, "opening": "300-5f3a…", "count", "revision", "cursor", "labels":
    runs, "unreadable": [frames], "classes": [{"label": 0, "name", "sorted": frames in its directory}], "keys": number
    of classes with a key, "held": null|label, "hold": bool, "can_undo", "can_redo", "fps", "changes": {"known": frames
    examined, "at": [frames]}, "clients": {CLIENT: last seq done}, "saving": "saves them, a directory for each class",
    "now": seconds since 1970, "told": ["words"], "help": as the event, "proposals": as in the event}``.

    With ``"frame": index in the recording`` the cursor is there, and 409 tells that the frame is sorted already.
    409 with ``take_over`` if a window labels it. Frames are numbered by position: those without a class, unless
    relabelling; ``opening`` stands for which frames they are.
    """
    fields: Fields = {
        **{"classes": list, "take_over": bool, "frame": int},
        **{"relabel": (bool, type(None)), "by_name": (bool, type(None))},
    }
    asked = await body_of(request, fields)
    studio = of(request)
    entry = await studio.entry(request)
    labelling = await studio.open_labelling(entry.path, asked)
    state = await to_thread(labelling.state)
    if "frame" in asked:
        state["cursor"] = labelling.position_of(asked["frame"])
    return JSONResponse(state)


async def labelling_events(request: Request) -> Response:
    """``GET /api/recordings/ID/labelling/events``: server-sent events.

    ``state``: the whole state, first and after every reconnection. ``change``: ``{"revision": one more with each,
    "cursor", "labels": runs that changed, "by": client, "seq", "can_undo", "can_redo", "hold", "held", "unreadable":
    frames newly so, "taken_from": the other client whose labels an undo took back|""}``. ``changes``: ``{"known", "at":
    all that are known}``. ``pages``: ``{"pages": how many listen}``, this one among them. ``closed``: ``{"reason"}``,
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
    "revision", "changes": [as the event ``change``], "told": "words"|"", "overtaken": frames, "help": as the event}``.
    409 with ``"reload": true`` if ``opening`` stands for other frames by now; none was done then.

    An action may have ``given``: when it was done on the page, in seconds since 1970 as ``now`` of the state counts
    them; otherwise, now. Frames that another client labelled after that keep their label: they were ``overtaken``.

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
    position = frame_asked(request, len(labelling.indices))
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

_LABELLING = "/api/recordings/{id}/labelling"
GETS: dict[str, Handler] = {
    f"{_LABELLING}/events": labelling_events,
    f"{_LABELLING}/frames": labelling_frames,
    f"{_LABELLING}/frames/{{frame:int}}": labelling_full_frame,
}
POSTS: dict[str, Handler] = {
    _LABELLING: open_labelling,
    f"{_LABELLING}/actions": act,
    f"{_LABELLING}/apply": apply,
    f"{_LABELLING}/close": close_labelling,
}

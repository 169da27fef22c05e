"""The studio as an application: its routes, and what holds for all of them.

What each route takes and answers is written at its function in `pi_capture.studio.routes`: the contract with the pages.

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

import socket
from asyncio import to_thread
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pi_capture.studio.answers import FAILURES, Handler, failure
from pi_capture.studio.auth import Door, Keys
from pi_capture.studio.care import free_bytes, warnings
from pi_capture.studio.routes import labelling, recorders, recordings, training
from pi_capture.studio.studio import Studio, of
from pi_capture.studio.training import model_facts, models_in
from storage.names import printable

STATIC = Path(__file__).parent / "static"


async def page(request: Request) -> Response:
    """``GET /``: the page. ``GET /?token=TOKEN`` sets the cookie and redirects to ``/``."""
    return FileResponse(STATIC / "index.html", media_type="text/html")


async def home(request: Request) -> Response:
    """``GET /api/home``: what the folder holds. Quick: a recording's facts are asked for one by one.

    ``{"folder": "recordings", "machine": "pi-07", "free_bytes": 8e9,
    "warnings": [{"check", "state": "warn"|"fail", "found", "advice"}],
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
            "machine": printable(socket.gethostname()),
            "free_bytes": await to_thread(free_bytes, studio.folder.path),
            "warnings": await to_thread(warnings, studio.folder.path),
            "recordings": [{"id": one.id, "name": printable(one.name), "changed": one.changed} for one in entries],
            "models": await to_thread(lambda: [model_facts(one) for one in models_in(studio.folder.path)]),
            "recorders": await studio.recorders(),
            "trash": await to_thread(studio.trash.count),
        }
    )


GETS: dict[str, Handler] = {
    "/": page,
    "/api/home": home,
    **recordings.GETS,
    **recorders.GETS,
    **training.GETS,
    **labelling.GETS,
}
POSTS: dict[str, Handler] = {**recordings.POSTS, **recorders.POSTS, **training.POSTS, **labelling.POSTS}


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

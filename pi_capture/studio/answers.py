"""What the studio answers: JSON, lines of JSON, packs, events, and failures in one line."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from pi_capture.errors import CameraError, UsageError
from storage.errors import BusyError, OptionError, StorageError
from storage.names import printable

PACK_TYPE = "application/x-pack"
MOST_FRAMES = 240  # of one request
Handler = Callable[[Request], Awaitable[Response]]

Fields = Mapping[str, type | tuple[type, ...]]
"""The fields that a request may have, and what may stand in each."""


def identifier(place: str | Path) -> str:
    """What pages call a recording of that name, or the recorder of that socket."""
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:16]


class RefusedError(Exception):
    """A request can't be done; the text is for the person, the status for the page."""

    def __init__(self, reason: str, status: int = 400, **more: Any) -> None:
        super().__init__(reason)
        self.status, self.more = status, more


def pack(records: Iterator[bytes] | AsyncIterator[bytes]) -> Response:
    """Records, as they come."""
    return StreamingResponse(records, media_type=PACK_TYPE)


def event(value: Mapping[str, Any], name: str = "message") -> bytes:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


def events(records: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(records, media_type="text/event-stream")


async def body_of(request: Request, known: Fields) -> dict[str, Any]:
    """The JSON object that a request carries; `known` has the type of each of its fields.

    Raises
    ------
    RefusedError
        It is none, or has a field that is unknown or of another type.
    """
    try:
        value = json.loads(await request.body() or b"{}", parse_int=_number)
        if "\\u0000" in json.dumps(value, ensure_ascii=False).encode().decode():  # nor is half a character a text
            raise ValueError
    except (ValueError, RecursionError):
        raise RefusedError("the request is no JSON") from None
    if not isinstance(value, dict):
        raise RefusedError("the request is no JSON object")
    for name, content in value.items():
        if name not in known:
            raise RefusedError(f"unknown field {printable(name[:40])!r}; known are {', '.join(known)}")
        if not is_one_of(content, known[name]):
            raise RefusedError(f"{name}: {printable(json.dumps(content)[:40])} can't stand here")
    return value


def _number(text: str) -> int:
    """A whole number, no larger than JavaScript counts. Raises ValueError."""
    if abs(value := int(text)) >= 1 << 53:
        raise ValueError
    return value


def is_one_of(content: object, wanted: type | tuple[type, ...]) -> bool:
    """Whether a value has one of the types; True is no number, and nor is infinity."""
    types = wanted if isinstance(wanted, tuple) else (wanted,)
    return type(content) in types and (not isinstance(content, float) or math.isfinite(content))


def number_of(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query, within bounds. Raises RefusedError."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise RefusedError(f"{name}: give a whole number from {least} to {most}")
    return int(text)


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


def frame_asked(request: Request, count: int) -> int:
    """The frame in a request's path, one of `count`. Raises RefusedError if there is none."""
    frame: int = request.path_params["frame"]
    if frame >= count:
        raise RefusedError("there is no such frame", 404)
    return frame


IN_PAGES = (
    (r"label it first: python -m classify .*", "press Label, then Save"),
    (r"((press )?S in )?'?python -m classify .*", "press Label, then Save"),
    (r"(to take that back|take that back first): python -m storage split .* --undo", "press Look, then Undo the split"),
    (r"record some: python -m pi_capture .* -1", "press New recording"),
    (r"python -m storage verify (says why|names them)", r"Look, then Verify, \1"),
    (r"^--live-labels: ", "classes: "),
    (r"^proposals are made from small grey pictures: .*", "The trained network is missing; tell your teacher."),
    (r": another window, or a page of the studio, is labelling this: .*", ": another window labels this recording"),
    (r"; U takes them back$", "; Undo takes them back"),
    (r"press a digit$", "press it"),
)
"""What commands say must be done, and how pages do it."""


def in_pages(text: str) -> str:
    """What a command says, in words for those who have no terminal."""
    for command, button in IN_PAGES:
        text = re.sub(command, button, text)
    return text


def failure(request: Request, error: Exception) -> Response:
    """A failure as ``{"error": "one line"}``, in which recordings are called by their names in the folder."""
    more: Mapping[str, Any] = {}
    if isinstance(error, RefusedError):
        status, more = error.status, error.more
    elif isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
    elif isinstance(error, UsageError | OptionError):
        status = 400
    elif isinstance(error, BusyError):
        status = 409
    else:
        status = 422
    reason = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    inside = reason.replace(f"{request.app.state.studio.folder.path}/", "").replace("\n", " ")
    return JSONResponse({"error": printable(in_pages(inside)), **more}, status)


FAILURES = (RefusedError, HTTPException, UsageError, CameraError, StorageError, OSError)
"""What is answered in one line; anything else is a fault of ours."""

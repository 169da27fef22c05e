"""Who may ask the studio for something: the token, the cookie, the names of this machine, and where a request is from.

The token is in the address that the terminal shows. It is answered with a cookie and a redirect, so that it stays in
no history. All other requests need the cookie, call this machine by one of its own names (a web page's owner can make
another name mean this machine), and change nothing unless they are sent by our own pages.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.errors import StorageError

MOST_BODY = 64 * 1024  # bytes; 500 actions take half of it
BODY_SECONDS = 10.0
COOKIE_SECONDS = 400 * 24 * 3600  # what browsers allow at most
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NO_COOKIE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>Studio</title></head><body><h1>Studio</h1>
<p>{} It is needed once in each browser.</p>
</body></html>"""
NO_TOKEN = "Open the whole address that the terminal shows, with its token."
OUT_OF_DATE = "This address is out of date, or not whole: open the one that the terminal shows now."


@dataclass(frozen=True, slots=True)
class Keys:
    """The token, and the cookie that stands for it.

    Attributes
    ----------
    token : str
        32 random bytes, in URL-safe base64.
    cookie : str
        The cookie's name: cookies of one host are shared by all its ports.
    secure : bool
        Served over TLS, and over nothing else.
    """

    token: str
    cookie: str
    secure: bool = False

    @property
    def value(self) -> str:
        """What the cookie holds: it does not give the token away."""
        return hmac.new(self.token.encode(), b"studio cookie", hashlib.sha256).hexdigest()

    def opens(self, headers: Headers) -> bool:
        """Whether a request has the cookie."""
        # Not http.cookies, which knows none at all where another program of this host has set an odd one.
        found = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        return hmac.compare_digest(found.encode(), self.value.encode())


def kept_token(*, new: bool = False) -> str:
    """The token of this user, made when it is needed first, and kept: browsers that were let in once stay so.

    Raises
    ------
    StorageError
        It can't be kept.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pi-capture"
    path = state / "studio-token"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not new and path.exists():
            token = path.read_text().strip()
            if re.fullmatch(r"[A-Za-z0-9_-]{43}", token) and not path.stat().st_mode & 0o077:
                return token
        token = secrets.token_urlsafe(32)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(token + "\n")
        return token
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; the studio's token can't be kept there") from None


def names_of_this_machine() -> set[str]:
    """What other machines call this one: its name, and its name in the local network."""
    name = socket.gethostname().partition(".")[0].lower()
    return {name, f"{name}.local"} if name else set()


class Door:
    """Lets in the requests that may come in, with the whole body of each.

    Parameters
    ----------
    app : ASGI application
    keys : Keys
    names : collection of str
        What this machine is called, lower-case; ``*.school.example`` is all that is one level below. The address that a
        connection came to is always one of its names, and so are those of the loopback.
    """

    def __init__(self, app: ASGIApp, keys: Keys, names: set[str]) -> None:
        self._app, self._keys, self._names = app, keys, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refuse(scope)
        if refused is None and scope["method"] == "POST":
            body = await _whole_body(receive)
            if body is None:
                refused = _told("the request is too long, or took too long", 413)
            else:
                receive = _replay(body, receive)
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        """The answer to a request that may not come in."""
        headers = Headers(scope=scope)
        if not self._is_ours(headers.get("host", ""), scope):
            return _told("this machine has another name; open the address that the terminal shows", 403)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return _told("there is GET and POST only", 405)
        if scope["method"] == "POST" and not _from_our_pages(headers, scope):
            return _told("this request is not from the studio's own page", 403)
        known = self._keys.opens(headers)
        if scope["path"] == "/" and scope["method"] == "GET":
            # Also for who is known: so the token does not stay in the address.
            no_cookie = NO_COOKIE.format(OUT_OF_DATE if b"token=" in scope["query_string"] else NO_TOKEN)
            return self._let_in(scope) or (None if known else HTMLResponse(no_cookie, 401))
        return None if known else _told("open the address with the token that the terminal shows", 401)

    def _is_ours(self, host: str, scope: Scope) -> bool:
        """Whether a request calls this machine by one of its names; through `ssh -L`, a loopback name has any port."""
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?", host)
        if match is None:
            return False
        name = match[1].lower()
        if name in LOOPBACK:
            return True
        server: tuple[str, int | None] = scope.get("server") or ("", None)
        address = server[0].removeprefix("::ffff:")  # so does a socket for both kinds of addresses call one of IPv4
        port = int(match[2]) if match[2] else 443 if scope["scheme"] == "https" else 80
        known = {*self._names, f"[{address}]" if ":" in address else address}
        return port == server[1] and (name in known or f"*.{name.partition('.')[2]}" in known)

    def _let_in(self, scope: Scope) -> Response | None:
        """With the right token: the cookie, and the same page without the token."""
        try:
            given = parse_qs(scope["query_string"].decode("ascii"), max_num_fields=8).get("token", [""])[0]
        except (UnicodeDecodeError, ValueError):
            return None
        if not hmac.compare_digest(given.encode(), self._keys.token.encode()):
            return None
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            self._keys.cookie,
            self._keys.value,
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=self._keys.secure,
        )
        return answer


def _from_our_pages(headers: Headers, scope: Scope) -> bool:
    """Whether a request is sent by a page of ours: other sites can neither choose its Origin nor add the header."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if headers.get("x-studio") != "1" or (origin is None and site is None):
        return False
    return origin in (None, f"{scope['scheme']}://{headers.get('host', '')}") and site in (None, "same-origin")


async def _whole_body(receive: Receive) -> bytes | None:
    """The body of a request; None if it is too long or takes too long."""
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MOST_BODY:
                    return None
                more = message.get("more_body", False)
    except TimeoutError:
        return None
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand out a body that was read already, then what comes after it."""
    waiting: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _told(reason: str, status: int) -> Response:
    return JSONResponse({"error": reason}, status, headers={"Connection": "close"} if status == 413 else None)

"""Who may ask the studio for something."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import httpx
import pytest

from pi_capture.studio.auth import MOST_BODY, kept_token
from pi_capture.studio.command import address
from tests.support import PATIENCE_SECONDS
from tests.support.studio import Running

ALL = ("/api/home", "/api/recorders", "/static/index.html", "/api/recordings/0123456789abcdef", "/nowhere")


def test_without_the_token_nothing_is_told(studio: Running) -> None:
    browser = studio.new_browser()
    for path in ALL:
        answer = browser.get(path)
        assert answer.status_code == 401, path
        assert "day1" not in answer.text
    assert browser.post("/api/trash/empty", json={"ids": []}).status_code == 401
    answer = browser.get("/")
    assert answer.status_code == 401 and "terminal" in answer.text
    for token in ("", "x", studio.token[:-1], studio.token + "x", "ü"):
        assert browser.get("/", params={"token": token}).status_code == 401
        assert not browser.cookies


def test_the_token_becomes_a_cookie_and_leaves_the_address(studio: Running) -> None:
    browser = studio.new_browser()
    answer = browser.get("/", params={"token": studio.token})
    assert answer.status_code == 200 and str(answer.url) == f"{studio.url}/"
    (first,) = answer.history
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and studio.token.lower() not in cookie
    assert browser.get("/api/home").status_code == 200


def test_a_wrong_cookie_is_none(studio: Running) -> None:
    (name,) = studio.browser.cookies.keys()
    for value in ("", "0" * 64, studio.token, 'a"b;c=d'):
        answer = httpx.get(f"{studio.url}/api/home", headers={"Cookie": f"{name}={value}"}, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost:", "", "127.0.0.2:{port}", "a b"],
)
def test_another_host_is_refused(studio: Running, host: str) -> None:
    """A page's owner can make a name mean this machine."""
    host = host.format(port=studio.port)
    assert studio.browser.get("/api/home", headers={"Host": host}).status_code in (400, 403)


def test_localhost_has_any_port(studio: Running) -> None:
    """As through ``ssh -L 9000:localhost:8765``."""
    for host in ("localhost:9000", "127.0.0.1:9000", f"localhost:{studio.port}", "[::1]:9000"):
        assert studio.browser.get("/api/home", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://{host}"},
        {"Origin": "http://{host}.evil.example"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"X-Studio": ""},
        {"X-Studio": "2"},
    ],
)
def test_a_post_of_another_page_is_refused(studio: Running, headers: dict[str, str]) -> None:
    host = studio.url.removeprefix("http://")
    given = {name: value.format(host=host) for name, value in headers.items()}
    answer = studio.browser.post("/api/trash/empty", json={"ids": []}, headers=given)
    assert answer.status_code == 403
    assert studio.post("/api/trash/empty", {"ids": []}) == {"deleted": 0, "bytes": 0}


def test_a_form_of_another_site_is_refused(studio: Running) -> None:
    """Its browser sends the cookie if it is told to, and can add no header."""
    form = httpx.Client(base_url=studio.url, cookies=dict(studio.browser.cookies), timeout=PATIENCE_SECONDS)
    path = f"{studio.recording('day1')}/trash"
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": studio.url}):
        answer = form.post(path, data={"x": "1"}, headers=headers)
        assert answer.status_code == 403
    assert form.get(path).status_code == 405
    assert (studio.folder / "day1").is_dir()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(studio: Running, method: str) -> None:
    answer = studio.browser.request(method, "/api/home")
    assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers


def test_every_answer_forbids_foreign_content(studio: Running) -> None:
    for answer in (studio.browser.get("/"), studio.browser.get("/nowhere"), studio.new_browser().get("/api/home")):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_body_is_bounded(studio: Running) -> None:
    answer = studio.browser.post("/api/trash/empty", content=b" " * (MOST_BODY + 1))
    assert answer.status_code == 413
    assert studio.browser.post("/api/trash/empty", content=b"[" * 60_000).status_code == 400
    assert studio.browser.post("/api/trash/empty", content=b"\xff\xfe").status_code == 400


def test_nothing_outside_of_the_folder(studio: Running) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/api/recordings/..%2f..%2fetc"):
        with socket.create_connection(("127.0.0.1", studio.port)) as raw:
            cookie = "; ".join(f"{name}={value}" for name, value in studio.browser.cookies.items())
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
            raw.sendall(request.encode())
            answer = b""
            while data := raw.recv(65536):
                answer += data
        assert answer.split()[1] == b"404", path


def test_the_token_stays_and_is_this_users_alone(studio: Running) -> None:
    cookies = dict(studio.browser.cookies)
    studio.kill()
    studio.start()
    assert httpx.get(f"{studio.url}/api/home", cookies=cookies, timeout=PATIENCE_SECONDS).status_code == 200
    (kept,) = studio.place.joinpath("state").rglob("studio-token")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert len(studio.token) >= 43


def test_an_old_address_is_called_so(studio: Running) -> None:
    stranger = studio.new_browser()
    assert "out of date" in stranger.get("/", params={"token": "x" * 43}).text
    assert "Open the whole address" in stranger.get("/").text


def test_a_new_token_shuts_browsers_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first = kept_token()
    assert kept_token() == first
    assert kept_token(new=True) != first
    (tmp_path / "pi-capture" / "studio-token").chmod(0o644)
    assert kept_token() not in (first, kept_token(new=True)), "others may have read it"


def test_listening_to_the_network(tmp_path: Path) -> None:
    with Running(tmp_path, host="0.0.0.0") as there:
        name = socket.gethostname().partition(".")[0].lower()
        assert f"http://{name}.local:{there.port}/?token=" in there.line
        for host, status in (
            (f"{name}.local:{there.port}", 200),
            (f"{name}:{there.port}", 200),
            (f"{name}.local:1", 403),
            (f"evil.local:{there.port}", 403),
        ):
            assert there.browser.get("/api/home", headers={"Host": host}).status_code == status
        assert there.new_browser().get("/api/home").status_code == 401


def test_what_can_be_listened_to() -> None:
    assert address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert address("[::]:8765") == ("::", 8765)
    assert address("8765") == ("127.0.0.1", 8765)

"""Where the studio listens, with and without TLS: each address that it shows can be opened."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pty
import re
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from pi_capture.errors import UsageError
from pi_capture.studio.certificate import checked_names
from pi_capture.studio.connections import MOST_CONNECTIONS
from tests.pi_capture.studio.browser import chromium, opened
from tests.support import PATIENCE_SECONDS
from tests.support.network import Line

NAME = "pi.school.example"


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as trial:
        try:
            trial.bind(("::1", 0))
        except OSError:
            return False
    return True


HOSTS = ["127.0.0.1", "127.0.1.1", "localhost", "0.0.0.0", *(["[::1]", "[::]"] if has_ipv6() else [])]


@contextmanager
def process(place: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "XDG_STATE_HOME": str(place), "XDG_RUNTIME_DIR": str(place)}
    with subprocess.Popen(
        [sys.executable, "-u", *command], cwd=place, env=environment, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def studio(place: Path, host: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    with process(place, "-m", "pi_capture", "studio", "--listen", f"{host}:0", *options) as started:
        yield started


def first_address(started: subprocess.Popen[str]) -> str:
    assert started.stderr is not None
    line = started.stderr.readline()
    assert line.startswith("studio: "), line
    return line.removeprefix("studio: ").strip()


def answer(address: str) -> int:
    with httpx.Client(follow_redirects=True, timeout=PATIENCE_SECONDS) as browser:
        return browser.get(address).status_code


@pytest.mark.parametrize("host", HOSTS)
def test_every_address_shown_can_be_opened(tmp_path: Path, host: str) -> None:
    with studio(tmp_path, host) as started:
        first = first_address(started)
        port, query = urlsplit(first).port, urlsplit(first).query
        reached = host if host in ("[::1]", "127.0.1.1", "localhost") else "127.0.0.1"
        assert answer(f"http://{reached}:{port}/?{query}") == 200
        if host in ("0.0.0.0", "[::]"):  # by an address that is none of the loopback's usual ones
            assert answer(f"http://127.0.1.1:{port}/?{query}") == 200
            assert answer(f"http://127.0.0.1:{port}/?token=x") == 401
        assert started.stderr is not None
        shown, last = [first], started.stderr.readline()
        while last.startswith("studio: "):
            shown.append(last.removeprefix("studio: ").strip())
            last = started.stderr.readline()
        assert last.startswith(
            "others in this network" if host in ("0.0.0.0", "[::]") else "from another machine: ssh -L"
        )
        for address in shown:
            name = urlsplit(address).hostname or ""
            if name.endswith(".local"):  # which avahi answers for
                assert name == f"{socket.gethostname().partition('.')[0].lower()}.local"
            elif name == "localhost" or name.startswith("127.") or name == "::1":
                assert answer(address) == 200
            else:
                bind(name)


def bind(address: str) -> None:
    """Raises OSError if it is no address of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
        trial.bind((address, 0))


def test_who_comes_as_soon_as_it_is_shown_is_let_in(tmp_path: Path) -> None:
    with studio(tmp_path, "127.0.0.1") as started:
        assert answer(first_address(started)) == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for network namespaces")
def test_the_address_in_a_network_that_leads_nowhere() -> None:
    """As of a Pi that is the access point itself."""
    code = "import socket; from pi_capture.studio.server import own_addresses; print(own_addresses(socket.AF_INET))"
    with Line(0, 0) as line:
        shown = subprocess.check_output(line.run(0, sys.executable, "-c", code), text=True)
    assert shown == "['10.77.0.1']\n"


def test_a_name_that_was_typed_is_one_of_its_names(tmp_path: Path) -> None:
    """Whatever it means to the machine: a line of /etc/hosts, or the school's own server of names."""
    code = "import socket; from pathlib import Path; from pi_capture.studio.server import serve\n"
    code += "listener = socket.create_server(('127.0.0.1', 0))\n"
    code += f"serve(Path('.'), listener, '{NAME}', new_token=False, certificate=None)"
    with process(tmp_path, "-c", code) as started:
        address = first_address(started)
        parts = urlsplit(address)
        assert parts.hostname == NAME
        there = f"http://127.0.0.1:{parts.port}/?{parts.query}"
        for host, status in (
            (f"{NAME}:{parts.port}", 303),
            (f"{NAME}:1", 403),
            (f"x.{NAME}:{parts.port}", 403),
            (f"evil.example:{parts.port}", 403),
        ):
            assert httpx.get(there, headers={"Host": host}, timeout=PATIENCE_SECONDS).status_code == status, host


@pytest.mark.parametrize(
    ("listen", "told"),
    [
        ("192.0.2.77:0", "--listen 192.0.2.77:0: Cannot assign requested address"),
        ("nowhere.invalid:0", "there is no 'nowhere.invalid'"),
        (f"{'a' * 70}:0", "there is no 'aaa"),
        ("127.0.0.1:{busy}", "--listen 127.0.0.1:{busy}: Address already in use"),
        ("127.0.0.1:65536", "give HOST:PORT"),
        ("127.0.0.1", "give HOST:PORT"),
        (":80", "give HOST:PORT"),
    ],
)
def test_where_it_can_not_listen(tmp_path: Path, listen: str, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = taken.getsockname()[1]
        command = ["-m", "pi_capture", "studio", "--listen", listen.format(busy=busy)]
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2) and told.format(busy=busy) in done.stderr
    assert "Traceback" not in done.stderr and "token=" not in done.stderr


# ------------------------------------------------------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate with names, and its key."""
    place = tmp_path_factory.mktemp("certificate")
    names = f"subjectAltName=DNS:{NAME},DNS:*.Rooms.example,DNS:localhost,IP:127.0.0.1"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-days", "1", "-subj", "/CN=pi", "-addext", names, "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(made, cwd=place, check=True, capture_output=True)
    return place / "certificate.pem", place / "key.pem"


def options_of(certificate: tuple[Path, Path]) -> tuple[str, ...]:
    return "--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])


def test_the_names_of_a_certificate(certificate: tuple[Path, Path]) -> None:
    assert checked_names(*certificate) == {NAME, "*.rooms.example", "localhost"}


def test_a_browser_over_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """By the address that is shown for the network; what changes something and what streams come through as well."""
    spki = subprocess.run(
        f"openssl x509 -in {certificate[0]} -pubkey -noout | openssl pkey -pubin -outform der",
        shell=True, check=True, capture_output=True,
    ).stdout  # fmt: skip
    trusted = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    rules = f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP door.rooms.example 127.0.0.1"
    with (
        studio(tmp_path, "0.0.0.0", *options_of(certificate)) as started,
        chromium(rules, f"--ignore-certificate-errors-spki-list={trusted}") as browser,
    ):
        address = first_address(started)
        assert address.startswith(f"https://{NAME}:")
        context, seen = opened(browser, "desktop")
        for there in (address, address.replace(NAME, "door.rooms.example"), address.replace(NAME, "127.0.0.1")):
            seen.page.goto(there)
            expect(seen.page).to_have_url(re.compile(r"/$|/#/$"))
            expect(seen.page.get_by_text("Nothing is recorded here yet.")).to_be_visible()
        for cookie in context.cookies():
            assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
        assert len(context.cookies()) == 3
        seen.page.get_by_role("link", name="New recording").click()
        picture = seen.page.get_by_role("img", name="What the camera sees")
        seen.page.get_by_label(re.compile("^Camera")).select_option("demo")
        expect(picture).to_have_attribute("data-frame", re.compile(r"\d+"))
        assert seen.complaints == []
        context.close()


def test_other_names_are_refused_over_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with studio(tmp_path, "127.0.0.1", *options_of(certificate)) as started:
        address = first_address(started)
        parts = urlsplit(address)
        assert parts.hostname == "localhost"
        browser = httpx.Client(verify=False, timeout=PATIENCE_SECONDS)
        there = f"https://127.0.0.1:{parts.port}/?{parts.query}"
        for name, status in ((NAME, 303), ("a.rooms.example", 303), ("a.b.rooms.example", 403), ("evil.example", 403)):
            assert browser.get(there, headers={"Host": f"{name}:{parts.port}"}).status_code == status, name


def test_who_never_begins_with_tls_keeps_nobody_out(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """More connections than a process may have files: all but the newest are let go."""
    with contextlib.ExitStack() as crowd, studio(tmp_path, "127.0.0.1", *options_of(certificate)) as started:
        address = first_address(started)
        port = urlsplit(address).port
        there = f"https://127.0.0.1:{port}/"
        browser = httpx.Client(verify=False, timeout=PATIENCE_SECONDS)
        assert browser.get(there).status_code == 401
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
        crowd.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        clients = [
            crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS))
            for _ in range(1200)
        ]
        assert httpx.get(there, verify=False, timeout=PATIENCE_SECONDS).status_code == 401
        assert len(os.listdir(f"/proc/{started.pid}/fd")) < 2 * MOST_CONNECTIONS
        for client in clients[:-MOST_CONNECTIONS]:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""


def test_a_certificate_that_is_for_no_server_is_told_apart(tmp_path: Path) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made += ["-days", "1", "-subj", "/CN=pi", "-addext", "extendedKeyUsage=clientAuth"]
    subprocess.run([*made, "-keyout", "key.pem", "-out", "c.pem"], cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(UsageError, match="browsers can't use this certificate"):
        checked_names(tmp_path / "c.pem", tmp_path / "key.pem")


def test_what_is_no_file_is_not_read(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A named pipe would be waited for, and one from a shell can be read once."""
    os.mkfifo(tmp_path / "key.pem")
    with pytest.raises(UsageError, match=r"--tls-key .*key.pem: it is no file"):
        checked_names(certificate[0], tmp_path / "key.pem")


@pytest.mark.parametrize(("cert", "key"), [("key", "cert"), ("cert", "other"), ("cert", "locked"), ("missing", "key")])
def test_what_is_no_certificate(tmp_path: Path, certificate: tuple[Path, Path], cert: str, key: str) -> None:
    files = {"cert": certificate[0], "key": certificate[1], "missing": tmp_path / "missing"}
    files |= {"other": tmp_path / "other.pem", "locked": tmp_path / "locked.pem"}
    make = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(files["other"])]
    subprocess.run(make, check=True, capture_output=True)
    lock = ["openssl", "pkey", "-in", str(files["key"]), "-aes128", "-passout", "pass:x", "-out", str(files["locked"])]
    subprocess.run(lock, check=True, capture_output=True)
    command = [sys.executable, "-m", "pi_capture", "studio", "--listen", "0", *options_of((files[cert], files[key]))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 2 and str(files[cert]) in done.stderr and len(done.stderr.splitlines()) == 1
    assert "token" not in done.stderr


def test_a_phone_reads_the_address_from_the_terminal(tmp_path: Path) -> None:
    screen, end = pty.openpty()
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-m", "pi_capture", "studio", "--listen", "0.0.0.0:0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=end) as started:
        shown = b""
        while shown.count(b"\x1b[0m") < 19:  # as many lines as the code has
            assert select.select([screen], [], [], PATIENCE_SECONDS)[0], shown
            shown += os.read(screen, 65536)
        started.kill()
    lines = shown.decode().splitlines()
    rows = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines if "\x1b" in line]
    halves = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
    pixels = np.uint8([[halves[char][half] for char in row] for row in rows for half in (0, 1)]) * 255
    photo = cv2.copyMakeBorder(np.kron(pixels, np.ones((8, 8), np.uint8)), 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=0)
    read = cv2.QRCodeDetector().detectAndDecode(photo)[0]
    assert f"studio: {read}" in lines and ip_address(str(urlsplit(read).hostname)).version == 4, lines[:3]
    os.close(screen)
    os.close(end)

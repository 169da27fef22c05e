"""The studio as a service of a machine that systemd has booted, beside a recording that is another service.

The tests build on each other, in this order.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from storage import open_recording
from tests.systemd.test_booted import SLOW, call, journal, show, wait_for

pytestmark = pytest.mark.systemd

STUDIO = "pi-capture@studio.service"
DOOR = "pi-capture@door.service"
FOLDER = Path("/srv/recordings/studio")
PROGRAM = (sys.executable, "-m", "pi_capture")
PORT = 8080


class Browser:
    """What has opened the newest address that the journal shows."""

    def __init__(self) -> None:
        wait_for(lambda: show("ActiveState", STUDIO) == "active" and listens(), "the studio does not listen")
        token = re.findall(rf"http://\S+:{PORT}/\?token=(\S+)", journal(STUDIO))[-1]
        url = f"http://127.0.0.1:{PORT}"
        headers = {"X-Studio": "1", "Origin": url}
        self._client = httpx.Client(base_url=url, headers=headers, follow_redirects=True, timeout=SLOW)
        assert self._client.get("/", params={"token": token}).status_code == 200

    def get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

    def post(self, path: str, body: object) -> Any:
        return self._client.post(path, json=body).raise_for_status().json()

    def recorder(self, target: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = self.get("/api/recorders")["recorders"]
        return next((one for one in found if one["target"] == target), None)

    def frames(self, target: str) -> int:
        recorder = self.recorder(target)
        return recorder["frames"] if recorder is not None else 0


def listens() -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", PORT)) == 0


def goes_on(browser: Browser) -> None:
    """The recording that the studio started has further frames."""
    before = browser.frames("desk")
    assert before > 0
    wait_for(lambda: browser.frames("desk") > before + 5, "the recording does not go on")


def test_it_is_installed_and_started() -> None:
    call("install", "-d", "-o", "pi", FOLDER)
    command = (*PROGRAM, "install-service", "studio", "--studio", FOLDER)
    print(call(*command, "--listen", f"0.0.0.0:{PORT}", "--user", "pi"))
    assert Browser().get("/api/home")["recordings"] == []
    assert call("systemctl", "is-enabled", STUDIO).strip() == "enabled"
    done = subprocess.run(["systemd-analyze", "verify", STUDIO], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "pi-capture" not in done.stderr, done.stderr


def test_it_records_as_its_user() -> None:
    browser = Browser()
    body = {"name": "desk", "camera": "demo", "fps": 20, "classes": ["none", "door"], "options": {"jitter": False}}
    recorder = browser.post("/api/recorders", body)
    assert browser.post(f"/api/recorders/{recorder['id']}/label", {"label": 1})["label"] == 1
    goes_on(browser)
    assert (FOLDER / "desk").owner() == "pi"


def test_it_sees_the_recording_of_another_service() -> None:
    file = Path("/srv/door.toml")
    file.write_text('directory = "/srv/recordings/studio/door"\nseconds = -1\ncamera = "demo"\nfps = 3\n')
    call(*PROGRAM, "install-service", "door", "--config", file, "--user", "pi")
    browser = Browser()
    wait_for(lambda: browser.frames("door") > 0, "it is not seen")
    call(*PROGRAM, "uninstall-service", "door")
    assert browser.recorder("door") is None and show("ActiveState", DOOR) == "inactive"


def test_a_restart_leaves_the_recording_and_the_browsers() -> None:
    browser = Browser()
    call("systemctl", "restart", STUDIO)
    Browser()
    goes_on(browser)  # with the cookie that it had


def test_a_kill_is_followed_by_a_restart_that_leaves_the_recording() -> None:
    browser = Browser()
    os.kill(int(show("MainPID", STUDIO)), signal.SIGKILL)
    wait_for(lambda: int(show("NRestarts", STUDIO)) == 1, "not restarted after SIGKILL")
    Browser()
    goes_on(browser)


def test_a_stop_leaves_the_recording_and_a_start_finds_it() -> None:
    call("systemctl", "stop", STUDIO)
    assert not listens()
    call("systemctl", "start", STUDIO)
    browser = Browser()
    goes_on(browser)
    recorder = browser.recorder("desk")
    assert recorder is not None and recorder["label"] == 1
    browser.post(f"/api/recorders/{recorder['id']}/stop", {})
    wait_for(lambda: browser.recorder("desk") is None, "the recording has not ended")
    with open_recording(FOLDER / "desk") as recording:
        assert [(one["end"], one["dropped_queue"]) for one in recording.sessions] == [("stopped", 0)]
        assert recording.sessions[0]["frames"] == len(recording) > 0


def test_it_labels_and_writes_nowhere_else() -> None:
    browser = Browser()
    path = f"/api/recordings/{browser.get('/api/home')['recordings'][0]['id']}/labelling"
    state = browser.post(path, {})
    action = {"seq": 1, "action": "label", "frame": 0, "label": 0}
    browser.post(f"{path}/actions", {"client": "x", "opening": state["opening"], "actions": [action]})
    assert browser.post(f"{path}/apply", {})["counts"]
    pid = show("MainPID", STUDIO)
    for place in ("/srv", "/home", "/etc/pi-capture"):
        done = subprocess.run(["nsenter", "-t", pid, "-m", "touch", f"{place}/trial"], capture_output=True, check=False)
        assert b"Read-only file system" in done.stderr, place


def test_uninstall_leaves_the_recordings() -> None:
    print(call(*PROGRAM, "uninstall-service", "studio"))
    assert not listens() and show("ActiveState", STUDIO) == "inactive"
    assert len(open_recording(FOLDER / "desk")) > 0
    assert not list(Path("/etc/systemd/system").rglob("*pi-capture@studio*"))

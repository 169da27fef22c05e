"""A studio in a process of its own, and who asks it."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support import PATIENCE_SECONDS


class Running:
    """``python -m pi_capture studio FOLDER``, and a browser that was let in.

    Its recorders, its token and what it keeps are in `place`, apart from those of this user.
    """

    def __init__(self, place: Path, *, host: str = "127.0.0.1") -> None:
        self.place, self.folder, self._host = place, place / "recordings", host
        self.folder.mkdir(exist_ok=True)
        (place / "run").mkdir(mode=0o700, exist_ok=True)
        self.environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(place / "cache"),
            "XDG_STATE_HOME": str(place / "state"),
            "XDG_RUNTIME_DIR": str(place / "run"),
            "PYTHONUNBUFFERED": "1",
        }
        self._started: list[subprocess.Popen[bytes]] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, at the port that it had before."""
        command = ["pi_capture", "studio", str(self.folder), "--listen", f"{self._host}:{self.port}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], stderr=subprocess.PIPE, env=self.environment, text=True
        )
        assert self.process.stderr is not None
        self.line = self.process.stderr.readline()
        match = re.search(r"http://\S+:(\d+)/\?token=(\S+)", self.line)
        assert match, self.line
        self.port, self.token = int(match[1]), match[2]
        self.url = f"http://127.0.0.1:{self.port}"
        self.browser = self.new_browser()
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                assert self.browser.get("/", params={"token": self.token}).status_code == 200
                return
            except httpx.ConnectError:
                assert time.monotonic() < until
                time.sleep(0.02)

    def new_browser(self) -> httpx.Client:
        headers = {"X-Studio": "1", "Origin": self.url}
        return httpx.Client(base_url=self.url, headers=headers, follow_redirects=True, timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.browser.close()

    def program(self, *words: str | Path) -> subprocess.Popen[bytes]:
        """Start a program of this project in the background; it is ended with the studio."""
        command = [sys.executable, "-m", *map(str, words)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.environment)
        self._started.append(process)
        return process

    # -------------------------------------------------------------------------------------------------------- asking it

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of an answer that must be right."""
        answer = self.browser.get(path, params=query)
        assert answer.status_code == 200, self._why(answer)
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.browser.post(path, json={} if body is None else body)
        assert answer.status_code == 200, self._why(answer)
        return answer.json()

    def _why(self, answer: httpx.Response) -> str:
        """The answer; of a fault of the studio's own also what it printed, and then it has ended."""
        if answer.status_code != 500:
            return answer.text
        self.process.kill()
        return answer.text + self.process.communicate()[1]

    def refused(self, path: str, body: Any = None) -> tuple[int, str]:
        """Status and reason of an answer that must be a refusal."""
        answer = self.browser.post(path, json={} if body is None else body)
        assert answer.status_code >= 400, answer.text
        reason: str = answer.json()["error"]
        assert "\n" not in reason and "Traceback" not in reason
        return answer.status_code, reason

    def recording(self, name: str) -> str:
        """The path of a recording's routes."""
        found = {one["name"]: one["id"] for one in self.get("/api/home")["recordings"]}
        return f"/api/recordings/{found[name]}"

    def pack(self, path: str, **query: Any) -> list[tuple[dict[str, Any], bytes]]:
        """A whole pack."""
        answer = self.browser.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return list(records(iter([answer.content])))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_SECONDS)
        self.kill()


def records(chunks: Iterator[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The records of a pack."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        while len(data) >= 4:
            end = 4 + struct.unpack_from(">I", data)[0]
            if len(data) < end:
                break
            head = json.loads(data[4:end])
            if len(data) < end + head["bytes"]:
                break
            yield head, bytes(data[end : end + head["bytes"]])
            del data[: end + head["bytes"]]

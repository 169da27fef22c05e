"""The live picture in a window, which never slows the recording.

The window has a process of its own (`pi_capture.live.preview_window`): when a display goes away, it ends each program
with a window there. A thread writes the newest frame into a pipe to that process, `SHOWN_PER_SECOND` times a second at
most; the recorder only stores a reference to the frame.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from pi_capture.errors import PreviewError
from pi_capture.live.packs import packed

if TYPE_CHECKING:
    from storage.frame import Frame

SHOWN_PER_SECOND = 15
MOST_SHOWN = (960, 720)  # larger pictures are shown with every second pixel, or fewer
PATIENCE_SECONDS = 30.0  # for the window to open, on a slow machine
CLOSING_SECONDS = 2.0


class Preview:
    """A window with the frames that are recorded. Raises PreviewError if none can be opened.

    `say` is called from another thread when the window closes early. `note` gives a text to show before the counts.
    `on_key` is called with each character typed into the window, and its time in nanoseconds of the monotonic clock.
    `what` goes on when the window is closed.
    """

    def __init__(
        self,
        title: str,
        say: Callable[[str], None],
        *,
        note: Callable[[], str] | None = None,
        on_key: Callable[[str, int], None] | None = None,
        what: str = "the recording",
    ) -> None:
        self._what = what
        self._say, self._note, self._on_key = say, note, on_key
        self._process = _open_window(title)
        self._newest: Frame | None = None
        self._text = "not recording yet"
        self._wake = threading.Event()
        self._over = False
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (("preview", self._send), ("preview keys", self._listen))
        ]
        for thread in self._threads:
            thread.start()

    def show(self, frame: Frame) -> None:
        """Show a frame, unless a newer one comes first. Returns at once."""
        self._newest = frame
        self._wake.set()

    def show_text(self, text: str) -> None:
        """Show a text below the pictures from now on."""
        self._text = text

    def close(self) -> None:
        """Close the window."""
        self._over = True
        self._wake.set()
        with suppress(OSError):
            if self._process.stdin is not None:  # which may still hold a part of a picture: nowhere takes it
                nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                os.dup2(nowhere, self._process.stdin.fileno(), inheritable=False)
                os.close(nowhere)
        try:
            self._process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(CLOSING_SECONDS)

    def _send(self) -> None:
        pipe = self._process.stdin
        while pipe is not None and not self._over:
            self._wake.wait()
            self._wake.clear()
            frame = self._newest
            if frame is None or self._over:
                continue
            width, height = frame.pixels.shape[1], frame.pixels.shape[0]
            step = max(1, -(-width // MOST_SHOWN[0]), -(-height // MOST_SHOWN[1]))
            pixels = frame.pixels[::step, ::step]
            text = f"{self._note()} {self._text}" if self._note is not None else self._text
            try:
                pipe.write(packed({"shape": pixels.shape, "text": text}, pixels.tobytes()))
                pipe.flush()
            except (OSError, ValueError):
                break
            time.sleep(1 / SHOWN_PER_SECOND)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, *rest = line.split()
            if word == b"key" and self._on_key is not None:
                self._on_key(chr(int(rest[0])), int(rest[1]))
        status = self._process.wait()
        if not self._over:
            self._over = True
            self._wake.set()
            how = "was closed" if status == 0 else "lost its display"
            self._say(f"preview: the window {how}; {self._what} goes on")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_window(title: str) -> subprocess.Popen[bytes]:
    """Start the window's process, and wait until the window is there. Raises PreviewError."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        raise PreviewError("--preview: there is no display; at the machine's own screen, or with ssh -X, there is one")
    process = subprocess.Popen(
        [sys.executable, "-m", "pi_capture.live.preview_window", title],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what Qt complains; the reason of a failure is on the output
        start_new_session=True,  # Ctrl-C is for the recording
    )
    timer = threading.Timer(PATIENCE_SECONDS, process.kill)
    timer.start()
    assert process.stdout is not None
    try:
        answer = process.stdout.readline().decode(errors="replace").strip()
    finally:
        timer.cancel()
    if answer == "open":
        return process
    process.kill()
    process.communicate()
    reason = answer or f"the display {os.environ.get('DISPLAY', '')} can't be opened"
    raise PreviewError(f"--preview: {reason}; record without it, or at a screen of your own (ssh -X)")

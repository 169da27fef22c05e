"""The process behind ``--preview``: it reads frames from standard input, shows the newest, and prints keys.

A frame is a record (`pi_capture.live.packs`) of its pixels, RGB; its head has their ``shape`` and the ``text`` below.
The process ends when its input ends, or its window is closed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from pi_capture.live.packs import read_record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "preview"
LEAST_WIDTH = 480
TEXT_HEIGHT = 28
TICK_MILLISECONDS = 15


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the recorder says when it is over
    os.environ["QT_QPA_PLATFORM"] = "xcb"  # OpenCV brings no other
    os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
    try:
        import cv2

        cv2.namedWindow(NAME, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    except ImportError:
        return _refuse("OpenCV is not installed: pip install 'pi-capture[classify]'")
    except cv2.error as error:
        return _refuse(f"no window can be opened ({error.err})")
    cv2.setWindowTitle(NAME, sys.argv[1])
    _say("open")
    incoming = _Incoming(sys.stdin.buffer)
    with suppress(cv2.error):  # the window is closed while something is drawn
        _show(cv2, incoming)
    return 0


def _show(cv2: Any, incoming: _Incoming) -> None:
    """Show frames until the input ends or the window is closed."""
    sized = False
    while not incoming.ended and _is_open(cv2):
        newest = incoming.pop_newest()
        if newest is not None:
            picture = _compose(cv2, *newest)
            if not sized:
                cv2.resizeWindow(NAME, picture.shape[1], picture.shape[0])
                sized = True
            cv2.setWindowTitle(NAME, f"{sys.argv[1]} - {newest[1]}")
            cv2.imshow(NAME, picture)
        key = cv2.waitKeyEx(TICK_MILLISECONDS)
        if 0 <= key < 128:
            _say(f"key {key} {time.monotonic_ns()}")


def _is_open(cv2: Any) -> bool:
    """Whether the window is still open."""
    try:
        return bool(cv2.getWindowProperty(NAME, cv2.WND_PROP_VISIBLE) >= 1)
    except cv2.error:
        return False


class _Incoming:
    """Reads frames as they come, and keeps the newest."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._newest: tuple[NDArray[np.uint8], str] | None = None
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def pop_newest(self) -> tuple[NDArray[np.uint8], str] | None:
        newest, self._newest = self._newest, None
        return newest

    def _read(self) -> None:
        import numpy as np

        with suppress(EOFError):
            while True:
                head, data = read_record(self._stream)
                self._newest = np.frombuffer(data, np.uint8).reshape(head["shape"]), head["text"]
        self.ended = True


def _compose(cv2: Any, pixels: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Return the picture, enlarged if it is small, with the text below it: BGR."""
    import numpy as np

    picture = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    times = -(-LEAST_WIDTH // picture.shape[1])
    if times > 1:
        picture = cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_NEAREST)
    below = np.zeros((TEXT_HEIGHT, picture.shape[1], 3), np.uint8)
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(below, plain, (6, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    composed: NDArray[np.uint8] = np.vstack([picture, below])
    return composed


def _say(line: str) -> None:
    print(line, flush=True)


def _refuse(reason: str) -> int:
    _say(reason.replace("\n", " "))
    return 1


if __name__ == "__main__":
    os._exit(main())  # at once: a thread may still wait for frames

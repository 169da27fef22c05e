"""The window, through OpenCV: it shows pictures and a title, and gives keys, clicks and its end.

Whatever prevents a window (no display, an OpenCV without windows, Wayland, a missing library) is found here first, and
explained in one line: Qt would end the whole program.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from classify.window.keyboard import Keyboard
from classify.window.xserver import XServer
from storage.errors import missing_library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "classify"
FRAME = (12, 48)  # the most that a window's frame and title take
CHECKS, CHECK_SECONDS = 8, 0.15  # of the place of a new window: so often it has to be right
CORRECTIONS = 20  # at most: some desktops choose the place of all windows
WITHOUT_A_SCREEN = ("offscreen", "minimal", "minimalegl", "vnc", "linuxfb", "eglfs")


class WindowError(Exception):
    """No window can be opened; the message says what to do."""


class Window:
    """A window of `size` (width, height) pixels.

    Raises
    ------
    WindowError
        There is no display, or OpenCV can't open windows.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        prepare()
        import cv2

        self._cv2 = cv2
        self._came: deque[int | tuple[int, int, bool]] = deque()  # keys and clicks, in the order in which they came
        self._server = XServer()
        self._keyboard = Keyboard(self._server)
        self._title = ""
        self._area = self._server.work_area()
        self._wanted, self._corner = fitting(size, self._area)
        self._size = self._wanted
        self._checks = self._corrections = 0  # of its place, still to come
        self._checked = 0.0
        try:
            cv2.namedWindow(NAME, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
            self._place()
            cv2.setMouseCallback(NAME, self._on_mouse)
        except cv2.error as error:
            raise WindowError(f"no window can be opened: {error.err}") from None

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Show a picture, (height, width, 3) uint8 RGB. It is on the screen after the next `key` or `listen`."""
        if self.is_open:  # OpenCV would open a closed window anew
            self._cv2.imshow(NAME, self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2BGR))

    def set_title(self, title: str) -> None:
        if title != self._title and self.is_open:
            self._title = title
            self._cv2.setWindowTitle(NAME, title)

    def listen(self) -> None:
        """Let the window live, and note keys. Of keys that come between two calls, only the last is kept."""
        self._wait(1)

    def key(self, milliseconds: int) -> int | None:
        """Return the next key (`classify.window.keyboard`); None if none comes in time, or a click is next.

        With 0 milliseconds it is one that `listen` has noted.
        """
        if milliseconds and not self._came:
            self._wait(milliseconds)
        if not self._came or not isinstance(code := self._came[0], int):
            return None
        self._came.popleft()
        return code

    def click(self) -> tuple[int, int, bool] | None:
        """Return where the picture was clicked on (x, y), and whether it was dragged there; None if a key is next."""
        if not self._came or isinstance(place := self._came[0], int):
            return None
        self._came.popleft()
        return place

    @property
    def is_open(self) -> bool:
        """Whether it is open: a person may close it."""
        try:
            return bool(self._cv2.getWindowProperty(NAME, self._cv2.WND_PROP_VISIBLE) >= 1)
        except self._cv2.error:
            return False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the room for the picture, which a person can change."""
        try:
            _, _, width, height = self._cv2.getWindowImageRect(NAME)
        except self._cv2.error:
            return self._size
        if width > 0 and height > 0:
            self._size = (width, height)
        return self._size

    def close(self) -> None:
        self._cv2.destroyAllWindows()
        self._cv2.waitKeyEx(1)
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, milliseconds: int) -> None:
        if self._server.watch_keys():
            self._checks, self._corrections = CHECKS, CORRECTIONS
        pause = CHECK_SECONDS * (1 + CORRECTIONS - self._corrections)  # longer for a desktop that is slow to answer
        if self._checks and time.monotonic() > self._checked + pause and self.is_open:
            self._checked = time.monotonic()
            if self._is_placed() or not self._corrections:
                self._checks -= 1
            else:
                self._corrections -= 1
                self._place(1)
                self._place()
        code = self._cv2.waitKeyEx(milliseconds)
        meant = None if code == -1 else self._keyboard.meant(code)
        if meant is not None:
            self._came.append(meant)

    def _is_placed(self) -> bool:
        """Whether it has its size, and is on the screen with its frame: a desktop may show it elsewhere at first."""
        if self._area is None:
            return True
        left, top, room_x, room_y = self._area
        frame_left, frame_right, frame_top, frame_bottom = self._server.frame()
        x, y, width, height = self._cv2.getWindowImageRect(NAME)
        return (
            (width, height) == self._wanted
            and left + frame_left <= x <= left + room_x - width - frame_right
            and top + frame_top <= y <= top + room_y - height - frame_bottom
        )

    def _place(self, beside: int = 0) -> None:
        """Ask for its size and place, or for those `beside`: Qt does nothing if it believes to have them already."""
        width, height = self._wanted
        self._cv2.resizeWindow(NAME, width - beside, height - beside)
        if self._corner is not None:
            x, y = self._corner
            self._cv2.moveWindow(NAME, x + beside, y + beside)

    def _on_mouse(self, event: int, x: int, y: int, flags: int, _: object) -> None:
        dragged = event == self._cv2.EVENT_MOUSEMOVE and flags & self._cv2.EVENT_FLAG_LBUTTON
        if event == self._cv2.EVENT_LBUTTONDOWN or dragged:
            self._came.append((x, y, bool(dragged)))


def fitting(
    size: tuple[int, int], area: tuple[int, int, int, int] | None
) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Return how large to open a window in an area of the screen (x, y, width, height), and where; None if unknown.

    In the middle if there is room; else in the corner, with its frame on the screen.
    """
    if area is None:
        return size, None
    (x, room_x), (y, room_y) = (
        (start, whole - frame) for start, whole, frame in zip(area[:2], area[2:], FRAME, strict=True)
    )
    width, height = min(size[0], room_x), min(size[1], room_y)
    return (width, height), (x + (room_x - width) // 2, y + (room_y - height) // 2)


# ---------------------------------------------------------------------------------------------------- before the window


def prepare() -> None:
    """Set what OpenCV and Qt must find when they are imported, and check that a window can be opened.

    Raises
    ------
    WindowError
        None can be opened.
    """
    if sys.platform.startswith("linux"):
        _choose_platform()
        _check_display()
    load_opencv()
    import cv2

    toolkit = _toolkit(cv2.getBuildInformation())
    if toolkit == "NONE":
        raise WindowError(
            "this OpenCV has no windows; replace it: pip uninstall opencv-python-headless, pip install opencv-python"
        )
    if toolkit.startswith("QT"):
        _set_fonts()
    cv2.setNumThreads(1)  # beside a busy program its threads wait for one another longer than they work


def load_opencv() -> None:
    """Import OpenCV and what its window needs; to be done before anything reads a video.

    Both its wheels and PyAV's bring parts of X's library, under the same names. Qt hangs at its first window if PyAV's
    were loaded first. It aborts there if a library of the system is missing: so its plugin is loaded here.

    Raises
    ------
    WindowError
        There is no OpenCV, or it can't be loaded.
    """
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(100_000_000))
    try:
        import cv2

        plugin = os.path.join(os.path.dirname(cv2.__file__), "qt", "plugins", "platforms", "libqxcb.so")
        if os.path.exists(plugin):
            ctypes.CDLL(plugin)
    except ModuleNotFoundError as error:
        raise WindowError(f"{missing_library(error)}; OpenCV alone: pip install opencv-python") from None
    except (ImportError, OSError) as error:
        raise WindowError(f"OpenCV can't be loaded ({error}); {_remedy(str(error))}") from None


def _remedy(error: str) -> str:
    """Return what to do about an OpenCV that can't be imported."""
    if ".so" in error:
        return "install what it needs: sudo apt install libgl1 libglib2.0-0 libsm6"
    return "install it: pip install opencv-python"


def _choose_platform() -> None:
    """Have Qt talk to X: the one in OpenCV's wheels has nothing else, and would end the program."""
    platform = os.environ.get("QT_QPA_PLATFORM", "")
    if platform.split(":")[0] in WITHOUT_A_SCREEN:
        raise WindowError(f"QT_QPA_PLATFORM is {platform!r}, which shows no window; unset it")
    os.environ["QT_QPA_PLATFORM"] = "xcb"


def _check_display() -> None:
    display = os.environ.get("DISPLAY", "")
    if not display:
        if os.environ.get("WAYLAND_DISPLAY"):
            raise WindowError("this desktop has no X server for the window; install one: sudo apt install xwayland")
        raise WindowError(
            "no display: label in a browser, python -m pi_capture studio shows the address to open; or run it on the "
            "machine's own desktop, or connect with ssh -X"
        )
    if not _answers(display):
        raise WindowError(f"the display {display} does not answer; run it on a desktop, or connect with ssh -X")


def _answers(display: str) -> bool:
    """Whether an X server lets us in."""
    server = XServer(display)
    try:
        return not server.refuses
    finally:
        server.close()


def _toolkit(build: str) -> str:
    """Return what an OpenCV draws its windows with, by its build information."""
    for line in build.splitlines():
        name, _, value = line.strip().partition(":")
        if name == "GUI":
            return value.strip().upper()
        if name.startswith(("GTK", "QT", "Win32 UI", "Cocoa")) and value.strip().startswith("YES"):
            return name.upper()
    return "NONE"


def _set_fonts() -> None:
    """Show Qt where fonts are if OpenCV's own are missing: else it complains at every start."""
    own = os.environ.get("QT_QPA_FONTDIR")
    system = "/usr/share/fonts/truetype/dejavu"
    if own and not os.path.isdir(own) and os.path.isdir(system):
        os.environ["QT_QPA_FONTDIR"] = system

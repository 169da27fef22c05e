"""The labeller as a person meets it: the program, its real window on a screen, and what it leaves in the directory."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from storage.formats.png.writer import PngWriter
from storage.frame import Frame
from tests.support import PATIENCE_SECONDS, wait_for


def record_brightening(day: Path, frames: int, fps: float = 10) -> None:
    """Record frames that get brighter, so that each is another one."""
    writer = PngWriter(day)
    for n in range(frames):
        pixels = np.full((32, 32, 3), 5 * n, np.uint8)
        writer.append(writer.encode(Frame(pixels, n, round(n * 1e9 / fps))))
    writer.close()


NOTING_KEYS = """
import sys
from classify.__main__ import run
from classify.window.keyboard import Keyboard
from classify.window.window import Window

notes, meant, key, taken = open(sys.argv.pop(1), "ab", 0), Keyboard.meant, Window.key, []

def take(self, code):
    if code not in range(0xFFE1, 0xFFEF):  # Shift and the like
        taken.append(b".")
    return meant(self, code)

def next_key(self, milliseconds):
    if milliseconds and not self._came:  # all that were taken are done, and what came of them is shown
        notes.write(b"".join(taken))
        taken.clear()
    return key(self, milliseconds)

Keyboard.meant, Window.key = take, next_key
sys.exit(run())
"""
"""The labeller, that writes a byte to a file whenever it has done what a key asks for."""


def classify(
    day: Path, *options: str, display: str | None, program: Sequence[str] = ("-m", "classify"), **variables: str
) -> subprocess.Popen[str]:
    """Start the labeller, with environment variables of its own."""
    unset = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | variables
    if display is not None:
        environment["DISPLAY"] = display
    command, pipe = [sys.executable, *program, str(day), *options], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


@contextmanager
def desktop_of(size: str, *, layout: str = "us", managed: bool = True) -> Iterator[str]:
    """The name of an X display of that size, with a keyboard layout, until the block ends.

    It has a window manager if it is `managed`: without one Qt leaves a new window black now and then.
    """
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        display = f":{server.stdout.readline().strip()}"
        environment = {**os.environ, "DISPLAY": display}
        subprocess.run(["setxkbmap", layout], env=environment, check=True)
        # On a busy machine a key is let go late, and would repeat until then.
        subprocess.run(["xset", "r", "off"], env=environment, check=True)
        manager = subprocess.Popen(["openbox"], env=environment, stderr=subprocess.DEVNULL) if managed else None
        try:
            if manager is not None:
                _wait_until_it_manages(environment)
            yield display
        finally:
            if manager is not None:
                manager.terminate()
                manager.wait()
            server.terminate()


def _wait_until_it_manages(environment: dict[str, str]) -> None:
    """Wait for the property that a window manager sets when it has begun."""
    asking = ["xprop", "-root", "_NET_SUPPORTING_WM_CHECK"]
    wait_for(
        lambda: b"window id" in subprocess.run(asking, env=environment, capture_output=True, check=False).stdout,
        "the window manager",
    )


class Person:
    """Sits in front of the window."""

    def __init__(self, day: Path, display: str, *options: str, **variables: str) -> None:
        self.day = day
        self.display = display
        self._notes = os.memfd_create("what became of keys")
        program = ("-c", NOTING_KEYS, f"/proc/{os.getpid()}/fd/{self._notes}")
        self.process = classify(day, *options, display=display, program=program, **variables)
        self.window = ""
        self.wait_for(lambda: bool(self._find()), "no window appeared")

    def _find(self) -> str:
        ours = ("search", "--all", "--pid", str(self.process.pid), "--name", "^ *[0-9]+ / +[0-9]+ - ")
        self.window = self._xdotool(*ours).split("\n")[0]
        return self.window

    def _xdotool(self, *arguments: str) -> str:
        command = ["xdotool", *arguments]
        environment = {**os.environ, "DISPLAY": self.display}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout.strip()

    def wait_for(self, condition: Callable[[], bool], complaint: str) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < until, f"{complaint}; the title is {self.title()!r}"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        """Press keys on the keyboard, each when the one before it is done: of two that wait, OpenCV keeps the last.

        Of a digit with Ctrl it says nothing.
        """
        for key in keys:
            self.wait_for(self._has_focus, "the window gets no keys")
            before = self._done()
            until = time.monotonic() + PATIENCE_SECONDS
            self.key(key)
            while not key.startswith("ctrl+") and self._done() == before and self.process.poll() is None:
                assert time.monotonic() < until, f"{key} is not done"
                time.sleep(0.01)

    def _has_focus(self) -> bool:
        """Ask for the keyboard, as a desktop does when a window opens; whether the window has it.

        A window manager gives it to a new window late: it must have said which one is active. Without one, none is.
        """
        if self._xdotool("getwindowfocus") == self.window and self._xdotool("getactivewindow") in ("", self.window):
            return True
        self._xdotool("windowfocus", self.window)  # does nothing before the window is on the screen
        return False

    def _done(self) -> int:
        """How many keys the program has done."""
        return os.fstat(self._notes).st_size

    def key(self, key: str) -> None:
        """Press a key, and wait for nothing."""
        self._xdotool("key", key)

    @contextmanager
    def program_held_up(self) -> Iterator[None]:
        """As by a busy machine: what is pressed comes all at once later."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def click(self, x: int, y: int) -> None:
        self._xdotool("mousemove", "--window", self.window, str(x), str(y), "click", "1")

    def window_box(self) -> tuple[int, int, int, int]:
        """Where the window is: x, y, width, height."""
        lines = self._xdotool("getwindowgeometry", "--shell", self.window).splitlines()
        told = dict(line.split("=") for line in lines)
        return int(told["X"]), int(told["Y"]), int(told["WIDTH"]), int(told["HEIGHT"])

    def frame_box(self) -> tuple[int, int, int, int] | None:
        """Where the window is with the frame that a window manager put around it; None if there is no frame yet."""
        of_window = ("-display", self.display, "-id", self.window)
        told = subprocess.run(["xwininfo", *of_window], capture_output=True, text=True, check=True).stdout
        x, y, width, height = map(int, re.findall(r"(?:Absolute upper-left .|Width|Height): +(-?[0-9]+)", told))
        command = ["xprop", *of_window, "-notype", "_NET_FRAME_EXTENTS"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        frame = [*map(int, re.findall("[0-9]+", told))]
        if len(frame) != 4:
            return None
        left, right, top, bottom = frame
        return x - left, y - top, left + width + right, top + height + bottom

    def title(self) -> str:
        return self._xdotool("getwindowname", self.window) if self.window else ""

    def sees(self, beginning: str) -> None:
        """Wait until the title begins like this, spaces apart."""
        self.wait_for(lambda: " ".join(self.title().split()).startswith(beginning), f"{beginning!r} does not show")

    def ends(self, status: int = 0) -> str:
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == status, err
        assert "Traceback" not in err
        return out + err

    def closes_the_window(self) -> None:
        """As the button in the window's frame does: it asks the program to close it."""
        ask_to_close(self.display, int(self.window))

    def loses_the_connection(self) -> None:
        """As when an ssh session breaks off: the X server does not answer any more."""
        self._xdotool("windowkill", self.window)
        self.process.communicate(timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


class _ClientMessage(ctypes.Structure):
    """X11's XClientMessageEvent with data in longs."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("room", ctypes.c_long * 24),  # what Xlib copies is an XEvent, which is longer
    )


def ask_to_close(display_name: str, window: int) -> None:
    """Send what a window manager sends when its close button is pressed."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
    x11.XSendEvent.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    x11.XCloseDisplay.argtypes = (ctypes.c_void_p,)
    display = x11.XOpenDisplay(display_name.encode())
    assert display, f"no display {display_name}"
    protocols, delete = (x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    message = _ClientMessage(type=33, window=window, message_type=protocols, format=32)
    message.data[0] = delete
    x11.XSendEvent(display, window, 0, 0, ctypes.byref(message))
    x11.XCloseDisplay(display)


def numbers(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("*.png"))


def classes(day: Path) -> dict[str, list[int]]:
    return {path.name: numbers(path) for path in sorted(day.iterdir()) if path.is_dir()}

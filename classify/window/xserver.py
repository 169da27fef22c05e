"""The X server of the display, on a second connection: its screen, its keyboard, and keys with their modifiers.

OpenCV's window gives only the character of a key. Where X's library is missing, nothing is known.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

FIRST_KEYCODE, KEYCODES = 8, 248  # as X numbers them, on every machine

_KEY_PRESS, _SENT = 2, 0x80  # the type of an event; the mark of one that a program sent
_EVENT_MASK, _KEY_PRESS_MASK = 1 << 11, ctypes.c_uint32(1)
_CARDINAL = 6  # the same atom on every server

Keys = Sequence[Sequence[int]]
"""For each keycode from `FIRST_KEYCODE` on, its keysyms: plain and with Shift of one layout, then of the next."""


@dataclass(frozen=True, slots=True)
class KeyPress:
    """A key that was pressed: which one, and which modifiers were held (X's bits: Shift 1, Ctrl 4, Alt 8, Super 64)."""

    keycode: int
    state: int


class _Cookie(ctypes.Structure):
    _fields_ = (("sequence", ctypes.c_uint),)


class _Event(ctypes.Structure):
    """The beginning of ``xcb_key_press_event_t``."""

    _fields_ = (
        ("type", ctypes.c_uint8),
        ("keycode", ctypes.c_uint8),
        ("sequence", ctypes.c_uint16),
        ("when_and_where", ctypes.c_uint32 * 6),
        ("state", ctypes.c_uint16),
    )


class _Word(ctypes.Structure):
    """A reply with one number: the window that has the focus, or an atom."""

    _fields_ = (("head", ctypes.c_uint32 * 2), ("value", ctypes.c_uint32))


class _Screens(ctypes.Structure):
    """``xcb_screen_iterator_t``."""

    _fields_ = (("data", ctypes.c_void_p), ("rest", ctypes.c_int), ("index", ctypes.c_int))


class _Screen(ctypes.Structure):
    """The beginning of ``xcb_screen_t``."""

    _fields_ = (
        ("root", ctypes.c_uint32),
        ("colours", ctypes.c_uint32 * 4),
        ("width", ctypes.c_uint16),
        ("height", ctypes.c_uint16),
    )


class XServer:
    """A connection to the display that the environment names, or to another one."""

    def __init__(self, display: str | None = None) -> None:
        self._xcb: ctypes.CDLL | None = None
        self._watched = 0
        try:
            self._xcb, self._libc = _load("libxcb.so.1"), ctypes.CDLL(None)
        except OSError:
            return
        self._libc.free.argtypes = (ctypes.c_void_p,)
        self._connection = self._xcb.xcb_connect(display.encode() if display else None, None)

    @property
    def refuses(self) -> bool:
        """Whether the display does not answer; False where X's library is missing."""
        return self._xcb is not None and bool(self._xcb.xcb_connection_has_error(self._connection))

    def work_area(self) -> tuple[int, int, int, int] | None:
        """The screen without a desktop's panels: x, y, width, height; None if nothing is known."""
        xcb = self._open()
        if xcb is None:
            return None
        found = xcb.xcb_setup_roots_iterator(xcb.xcb_get_setup(self._connection)).data
        screen = _Screen.from_address(found)
        area = self._numbers(screen.root, b"_NET_WORKAREA", 4)
        return (area[0], area[1], area[2], area[3]) if len(area) == 4 else (0, 0, screen.width, screen.height)

    def keys(self) -> Keys:
        """Return the present layout; nothing if the server does not answer."""
        xcb = self._open()
        if xcb is None:
            return ()
        with self._reply("get_keyboard_mapping", FIRST_KEYCODE, KEYCODES) as reply:
            if not reply:
                return ()
            keysyms = xcb.xcb_get_keyboard_mapping_keysyms(reply)[: xcb.xcb_get_keyboard_mapping_keysyms_length(reply)]
        width = len(keysyms) // KEYCODES
        return [keysyms[at : at + width] for at in range(0, KEYCODES * width, width)]

    def watch_keys(self) -> bool:
        """Have `pressed` return the keys of the window with the focus from now on, if it is one of this program's.

        Returns whether that begins with this call: not again, and not before a window has the focus.
        """
        xcb = self._open()
        if xcb is None or self._watched:
            return False
        focus = self._word("get_input_focus")
        if focus > 1 and self._numbers(focus, b"_NET_WM_PID", 1) == [os.getpid()]:  # 0 and 1 are no windows
            xcb.xcb_change_window_attributes(self._connection, focus, _EVENT_MASK, ctypes.byref(_KEY_PRESS_MASK))
            self._watched = focus
        return self._watched != 0

    def frame(self) -> tuple[int, int, int, int]:
        """Return the width of the frame around the watched window: left, right, top, bottom."""
        found = self._numbers(self._watched, b"_NET_FRAME_EXTENTS", 4) if self._open() and self._watched else []
        return (found[0], found[1], found[2], found[3]) if len(found) == 4 else (0, 0, 0, 0)

    def pressed(self) -> list[KeyPress]:
        """Return the keys pressed since the last call."""
        xcb = self._open()
        found: list[KeyPress] = []
        if xcb is None or not self._watched:
            return found
        self._word("get_input_focus")  # the answer brings all earlier events
        while event := xcb.xcb_poll_for_event(self._connection):
            key = _Event.from_address(event)
            if key.type & ~_SENT == _KEY_PRESS:
                found.append(KeyPress(key.keycode, key.state))
            self._libc.free(event)
        return found

    def close(self) -> None:
        if self._xcb is not None:
            self._xcb.xcb_disconnect(self._connection)
            self._xcb = None

    def _open(self) -> ctypes.CDLL | None:
        return None if self.refuses else self._xcb

    def _numbers(self, window: int, name: bytes, count: int) -> list[int]:
        """Return a property of a window, of up to `count` numbers; none if it is not there."""
        assert self._xcb is not None
        atom = self._word("intern_atom", 1, len(name), name)
        with self._reply("get_property", 0, window, atom, _CARDINAL, 0, count) as reply:
            if not reply:
                return []
            found = self._xcb.xcb_get_property_value_length(reply) // ctypes.sizeof(ctypes.c_uint32)
            return list((ctypes.c_uint32 * found).from_address(self._xcb.xcb_get_property_value(reply)))

    def _word(self, request: str, *arguments: object) -> int:
        with self._reply(request, *arguments) as reply:
            return _Word.from_address(reply).value if reply else 0

    @contextmanager
    def _reply(self, request: str, *arguments: object) -> Iterator[Any]:
        """Yield the address of the server's answer, None without one; good until the block ends."""
        cookie = getattr(self._xcb, f"xcb_{request}")(self._connection, *arguments)
        reply = getattr(self._xcb, f"xcb_{request}_reply")(self._connection, cookie, None)
        try:
            yield reply
        finally:
            self._libc.free(reply)


def _load(library: str) -> ctypes.CDLL:
    """Load X's library, with the types of what is called here. Raises OSError if it is missing."""
    xcb = ctypes.CDLL(library)
    address, u8, u16, u32 = ctypes.c_void_p, ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32
    requests: dict[str, tuple[Any, ...]] = {
        "get_keyboard_mapping": (u8, u8),
        "get_input_focus": (),
        "intern_atom": (u8, u16, ctypes.c_char_p),
        "get_property": (u8, u32, u32, u32, u32, u32),
    }
    for request, types in requests.items():
        _declare(xcb, f"xcb_{request}", _Cookie, address, *types)
        _declare(xcb, f"xcb_{request}_reply", address, address, _Cookie, address)
    _declare(xcb, "xcb_connect", address, ctypes.c_char_p, address)
    _declare(xcb, "xcb_connection_has_error", ctypes.c_int, address)
    _declare(xcb, "xcb_disconnect", None, address)
    _declare(xcb, "xcb_get_setup", address, address)
    _declare(xcb, "xcb_setup_roots_iterator", _Screens, address)
    _declare(xcb, "xcb_get_keyboard_mapping_keysyms", ctypes.POINTER(u32), address)
    _declare(xcb, "xcb_get_keyboard_mapping_keysyms_length", ctypes.c_int, address)
    _declare(xcb, "xcb_get_property_value", address, address)
    _declare(xcb, "xcb_get_property_value_length", ctypes.c_int, address)
    _declare(xcb, "xcb_change_window_attributes", _Cookie, address, u32, u32, address)
    _declare(xcb, "xcb_poll_for_event", address, address)
    return xcb


def _declare(xcb: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> None:
    function = getattr(xcb, name)
    function.restype, function.argtypes = result, arguments

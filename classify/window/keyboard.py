"""What stands on the keys of the keyboard, as the X server tells it: which of them are digits, and which letters.

A character alone does not tell its key: ``"`` is Shift and 2 on a British keyboard, and the 3 without Shift on a French
one. So each that can be meant as a digit or a letter is looked for among the keys, at the moment it is pressed: the
layout may change meanwhile. One that two layouts in use explain in two ways does nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

SHIFT = 1
"""The state of Shift in the upper half of a key's code."""

FIRST_KEYCODE, KEYCODES = 8, 248  # as X numbers them, on every machine
MAIN_BLOCK = 62  # from here on: media keys and the like, some of which give a ( of their own
_LETTERS = {24: "qwertyuiop", 38: "asdfghjkl", 52: "zxcvbnm"}  # by the keycode of the first in each row
_POSITIONS = {first + place: ord(char) for first, row in _LETTERS.items() for place, char in enumerate(row)}
_DIGITS = range(ord("0"), ord("9") + 1)
_OWN = set(map(ord, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 +-,.[]?"))
"""Characters that mean the same wherever they stand."""

Keys = Sequence[Sequence[int]]
"""For each keycode from `FIRST_KEYCODE` on, its keysyms: plain and with Shift of one layout, then of the next."""


class _Cookie(ctypes.Structure):
    _fields_ = (("sequence", ctypes.c_uint),)


class Keyboard:
    """The keyboard of the display that the environment names; it has no keys if X's library is missing."""

    def __init__(self) -> None:
        self._xcb: ctypes.CDLL | None = None
        try:
            xcb, self._libc = ctypes.CDLL("libxcb.so.1"), ctypes.CDLL(None)
        except OSError:
            return
        xcb.xcb_connect.restype = xcb.xcb_get_keyboard_mapping_reply.restype = ctypes.c_void_p
        xcb.xcb_connect.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
        xcb.xcb_connection_has_error.argtypes = xcb.xcb_disconnect.argtypes = (ctypes.c_void_p,)
        xcb.xcb_get_keyboard_mapping.restype = _Cookie
        xcb.xcb_get_keyboard_mapping.argtypes = (ctypes.c_void_p, ctypes.c_uint8, ctypes.c_uint8)
        xcb.xcb_get_keyboard_mapping_reply.argtypes = (ctypes.c_void_p, _Cookie, ctypes.c_void_p)
        xcb.xcb_get_keyboard_mapping_keysyms.restype = ctypes.POINTER(ctypes.c_uint32)
        for function in (xcb.xcb_get_keyboard_mapping_keysyms, xcb.xcb_get_keyboard_mapping_keysyms_length):
            function.argtypes = (ctypes.c_void_p,)
        self._libc.free.argtypes = (ctypes.c_void_p,)
        self._xcb, self._connection = xcb, xcb.xcb_connect(None, None)

    def meant(self, code: int) -> int | None:
        """What a key press means on these keys: `meant`."""
        return meant(code, self._keys)

    def _keys(self) -> Keys:
        """What the keys carry now; nothing if the server does not say."""
        xcb = self._xcb
        if xcb is None or xcb.xcb_connection_has_error(self._connection):
            return ()
        cookie = xcb.xcb_get_keyboard_mapping(self._connection, FIRST_KEYCODE, KEYCODES)
        reply = xcb.xcb_get_keyboard_mapping_reply(self._connection, cookie, None)
        if not reply:
            return ()
        try:
            keysyms = xcb.xcb_get_keyboard_mapping_keysyms(reply)[: xcb.xcb_get_keyboard_mapping_keysyms_length(reply)]
        finally:
            self._libc.free(reply)
        width = len(keysyms) // KEYCODES
        return [keysyms[at : at + width] for at in range(0, KEYCODES * width, width)]

    def close(self) -> None:
        if self._xcb is not None:
            self._xcb.xcb_disconnect(self._connection)
            self._xcb = None


def meant(code: int, keys: Callable[[], Keys]) -> int | None:
    """The code of the digit or the letter on a key; other codes as they are.

    Parameters
    ----------
    code : int
        What `cv2.waitKeyEx` returned.
    keys : callable
        Tells what the keys carry; asked only if the code leaves it open.

    Returns
    -------
    int or None
        The code; with `SHIFT` in its upper half if a digit was pressed with Shift. None if it can't be told.
    """
    if code < 0:  # Qt gives characters beyond ASCII as a signed byte
        code += 256
    key = code & 0xFFFF
    if code >> 16 or key in _OWN or key < 0x20 or key >= 0xFE00:
        return code
    if 0xC0 <= key <= 0xDE and key != 0xD7:  # Qt gives É for é; digits stand on the small one only
        key += 32
    found = set()
    for place, keysyms in enumerate(keys()[: MAIN_BLOCK - FIRST_KEYCODE]):
        for plain, shifted in zip(keysyms[0:4:2], keysyms[1:4:2], strict=False):
            if key not in (plain, shifted):
                continue
            if key == shifted and plain in _DIGITS:
                found.add(plain | SHIFT << 16)
            elif key == plain and shifted in _DIGITS:
                found.add(shifted)
            else:  # letters of another alphabet: what stands there on a US keyboard
                found.add(_POSITIONS.get(place + FIRST_KEYCODE, key) if key > 0xFF else key)
    return found.pop() if len(found) == 1 else None

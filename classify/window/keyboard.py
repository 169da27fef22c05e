"""The digit or the letter on a key of the keyboard, by the X server's layout.

A character alone does not determine its key: ``"`` is Shift and 2 on a British keyboard, and 3 without Shift on a
French one. So a character that may mean a digit or a letter is looked up when it is pressed, as the layout may change.
One that two layouts in use explain in two ways does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from classify.window.xserver import FIRST_KEYCODE, KeyPress, Keys, XServer

SHIFT, CONTROL, ALT, SUPER = 1, 4, 8, 64
"""The states of these keys, in the upper half of another key's code."""

MAIN_BLOCK = 62  # from here on there are media keys and the like; some give a (
_LETTERS = {24: "qwertyuiop", 38: "asdfghjkl", 52: "zxcvbnm"}  # by the keycode of the first in each row
_POSITIONS = {first + place: ord(char) for first, row in _LETTERS.items() for place, char in enumerate(row)}
_DIGITS = range(ord("0"), ord("9") + 1)
_OWN = set(map(ord, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 +-,.[]?"))
"""Characters that mean the same on any key."""


class Keyboard:
    """Finds what the code of a key press means, on the keyboard of an X server."""

    def __init__(self, server: XServer) -> None:
        self._server = server
        self._pressed: list[KeyPress] = []

    def meant(self, code: int) -> int | None:
        """Call `meant`; Ctrl and Alt go into the upper half of the code. None with Super, which is for the desktop."""
        self._pressed += self._server.pressed()
        state = take_held(code, self._pressed, self._server.keys)
        if state & SUPER:
            return None
        if state & (CONTROL | ALT):
            return code & 0xFFFF | (state & (CONTROL | ALT)) << 16
        return meant(code, self._server.keys)


def take_held(code: int, pressed: list[KeyPress], keys: Callable[[], Keys]) -> int:
    """Return the modifiers that were held with a key: those of the last press that can have given its code.

    OpenCV reports fewer presses than there were. Where none of them had modifiers, it makes no difference which it was.
    That press and those before it are taken out of `pressed`; the codes of those after it are still to come.
    """
    if not any(one.state & (CONTROL | ALT | SUPER) for one in pressed):
        pressed.clear()
        return 0
    carried, char = keys(), _small(code & 0xFF if code < 0 else code & 0xFFFF)
    for at in reversed(range(len(pressed))):
        one = pressed[at]
        row = carried[one.keycode - FIRST_KEYCODE] if one.keycode - FIRST_KEYCODE < len(carried) else ()
        if char in map(_small, row):
            del pressed[: at + 1]
            return one.state
    state = pressed[-1].state
    pressed.clear()
    return state


def _small(keysym: int) -> int:
    """Return the small letter of a capital one: Qt gives one for the other."""
    return keysym + 32 if ord("A") <= keysym <= ord("Z") or 0xC0 <= keysym <= 0xDE else keysym


def meant(code: int, keys: Callable[[], Keys]) -> int | None:
    """Return the code of the digit or the letter on a key; other codes as they are.

    Parameters
    ----------
    code : int
        What `cv2.waitKeyEx` returned.
    keys : callable
        Gives the layout; called only if the code leaves it open.

    Returns
    -------
    int or None
        The code; with `SHIFT` in its upper half if a digit was pressed with Shift. None if it is not clear.
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
            else:  # letters of another alphabet: those of a US keyboard
                found.add(_POSITIONS.get(place + FIRST_KEYCODE, key) if key > 0xFF else key)
    return found.pop() if len(found) == 1 else None

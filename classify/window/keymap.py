"""Which key does what: from the code of a key press to an action. `classify.actions` does the actions.

Codes are those of OpenCV's `waitKeyEx`, as its Qt and GTK windows give them: characters, or X11 keysyms where a key has
no character. (`waitKey` keeps the lowest byte: the right arrow, 0xFF53, would be an 'S'.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from classify.session import BATCH, MOST_CLASSES
from classify.window.keyboard import ALT, CONTROL, SHIFT


class Do(Enum):
    """What a key asks for. The comments describe the number in an `Action`."""

    LABEL = auto()  # the class
    LABEL_STRETCH = auto()  # the class
    BATCH = auto()
    BACK = auto()
    BRIGHTNESS = auto()
    SAVE = auto()
    STRETCHES = auto()
    HOLD = auto()
    PLAY = auto()  # 1 or -1, which way
    SPEED = auto()  # 1 faster, -1 slower
    CHANGE = auto()  # 1 the next, -1 the one before
    NUDGE = auto()  # 1 later, -1 earlier
    STEP = auto()  # how many frames
    BORDER = auto()  # 1 the next, -1 the one before
    ALIKE = auto()  # 1 the next stretch of this class, -1 the one before
    BEGINNING = auto()
    END = auto()
    GO_TO = auto()
    COLON = auto()  # between minutes and seconds
    ZOOM = auto()
    UNLABELLED = auto()
    UNREADABLE = auto()
    CLEAR = auto()
    UNDO = auto()
    REDO = auto()
    REFRESH = auto()
    HELP = auto()
    ENTER = auto()  # ends what is typed, or accepts what is proposed
    ASSIST = auto()
    BISECT = auto()
    LEAST_CERTAIN = auto()
    ACCEPT_SURE = auto()
    ERASE = auto()


@dataclass(frozen=True, slots=True)
class Action:
    """What a key asks for, and the number that goes with it."""

    do: Do
    number: int = 0


def action_of(code: int) -> Action | None:
    """The action of a key press; None for keys that do nothing.

    Parameters
    ----------
    code : int
        As `classify.window.keyboard` gives it. The state of Shift, and with GTK of Ctrl, NumLock …, is in the upper
        half.
    """
    key, state = code & 0xFFFF, code >> 16
    if state & (CONTROL | ALT):
        return _WITH_CONTROL.get(key) if state & CONTROL and not state & ALT else None
    if state & SHIFT and 0 <= key - ord("0") < MOST_CLASSES:
        return Action(Do.LABEL_STRETCH, key - ord("0"))
    if ord("A") <= key <= ord("Z"):  # Shift and CapsLock make no difference: Qt does not report them
        key += 32
    return _ACTIONS.get(key)


_LETTERS = {
    "s": Action(Do.SAVE),
    "t": Action(Do.STRETCHES),
    "r": Action(Do.HOLD),
    "p": Action(Do.PLAY, 1),
    "o": Action(Do.PLAY, -1),
    "n": Action(Do.CHANGE, 1),
    "b": Action(Do.CHANGE, -1),
    "c": Action(Do.ALIKE, 1),
    "v": Action(Do.ALIKE, -1),
    "g": Action(Do.GO_TO),
    ":": Action(Do.COLON),
    ";": Action(Do.COLON),
    "z": Action(Do.ZOOM),
    "a": Action(Do.ASSIST),
    "m": Action(Do.BISECT),
    "l": Action(Do.LEAST_CERTAIN),
    "w": Action(Do.ACCEPT_SURE),
    "f": Action(Do.UNLABELLED),
    "e": Action(Do.UNREADABLE),
    "x": Action(Do.CLEAR),
    "u": Action(Do.UNDO),
    "y": Action(Do.REDO),
    "h": Action(Do.HELP),
    "?": Action(Do.HELP),
    " ": Action(Do.BRIGHTNESS),
    "+": Action(Do.SPEED, 1),
    "]": Action(Do.SPEED, 1),
    "-": Action(Do.SPEED, -1),
    "[": Action(Do.SPEED, -1),
    ",": Action(Do.NUDGE, -1),
    ".": Action(Do.NUDGE, 1),
}

_NAMED = {  # by X11's keysyms
    0x1B: Action(Do.BACK),
    0x0D: Action(Do.ENTER),
    0x0A: Action(Do.ENTER),
    0x08: Action(Do.ERASE),
    0x7F: Action(Do.CLEAR),
    0xFF08: Action(Do.ERASE),  # BackSpace
    0xFF0D: Action(Do.ENTER),  # Return
    0xFF1B: Action(Do.BACK),  # Escape
    0xFFFF: Action(Do.CLEAR),  # Delete
    0xFF51: Action(Do.STEP, -1),  # Left
    0xFF53: Action(Do.STEP, 1),  # Right
    0xFF52: Action(Do.STEP, -10),  # Up
    0xFF54: Action(Do.STEP, 10),  # Down
    0xFF55: Action(Do.BORDER, -1),  # PageUp
    0xFF56: Action(Do.BORDER, 1),  # PageDown
    0xFF50: Action(Do.BEGINNING),  # Home
    0xFF57: Action(Do.END),  # End
    0xFFC2: Action(Do.REFRESH),  # F5
    0xFF8D: Action(Do.ENTER),  # and those of the numeric keypad
    0xFFAB: Action(Do.SPEED, 1),
    0xFFAD: Action(Do.SPEED, -1),
}

# The numeric keypad's digits without NumLock: Insert, End, Down, PageDown, Left, Begin, Right, Home, Up, PageUp.
_KEYPAD_WITHOUT_NUMLOCK = (0xFF9E, 0xFF9C, 0xFF99, 0xFF9B, 0xFF96, 0xFF9D, 0xFF98, 0xFF95, 0xFF97, 0xFF9A)
_KEYPAD_WITH_NUMLOCK = range(0xFFB0, 0xFFBA)


def _digit(number: int) -> Action:
    return Action(Do.LABEL, number) if number < MOST_CLASSES else Action(Do.BATCH)


_ACTIONS = (
    {ord(char): action for char, action in _LETTERS.items()}
    | _NAMED
    | {ord("0") + number: _digit(number) for number in range(10)}
    | {key: _digit(number) for number, key in enumerate(_KEYPAD_WITHOUT_NUMLOCK)}
    | {key: _digit(number) for number, key in enumerate(_KEYPAD_WITH_NUMLOCK)}
)

_WITH_CONTROL = {
    ord("z"): Action(Do.UNDO),
    ord("y"): Action(Do.REDO),
    ord("r"): Action(Do.REDO),
}

HELP = (
    ("0 … 8", "label this frame and step on"),
    ("9", f"label {BATCH} frames as 0"),
    ("Esc", "back one frame"),
    ("Space", "brighter view, and back"),
    ("S", "save: sort into class directories, and quit"),
    ("", ""),
    ("T", "stretches: digits label up to the next change"),
    ("Shift+digit", "the same, once"),
    ("R", "hold: what you play or jump over takes the label"),
    ("P  O", "play on, play back; again to pause"),
    ("+  −", "faster, slower: ¼ to 8 times"),
    ("N  B", "to the next change, to the one before"),
    (",  .", "move the last border back, on"),
    ("", ""),
    ("A", "assist: asks typical frames, then proposes runs"),
    ("Enter", "accept the run up to its end; a digit overrides"),
    (",  .  M", "its end one small frame back, on; half of it"),
    ("M", "bisect: asks where the next border is"),
    ("L  W", "least certain first; accept all that is sure"),
    ("", ""),
    ("← →  ↑ ↓", "one frame, ten frames; labels nothing"),
    ("PgUp PgDn", "to the border of labels before, after"),
    ("Home End", "first, last frame"),
    ("G", "go to a frame, 123, or a time, 1:23; Enter"),
    ("C  V", "next, previous stretch of this class"),
    ("F  E", "next without a label, next unreadable"),
    ("X  Del", "take the label away"),
    ("U  Y", "undo, redo"),
    ("Z", "zoom the long timeline"),
    ("F5", "look for new frames"),
)

"""Keys on the keyboards of other countries: a digit is the key that carries it, a letter the one that it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from classify.window.keyboard import SHIFT, meant, take_held
from classify.window.keymap import Action, Do, action_of
from classify.window.xserver import FIRST_KEYCODE, KeyPress
from tests.support.labeller import Person, classes, desktop_of, record_brightening


def keyboard(row: str, shifted: str, **others: int) -> list[list[int]]:
    """Keys with the digit row's characters, and some more by their keycodes."""
    keys = [[0, 0] for _ in range(FIRST_KEYCODE, 256)]
    for place, (plain, upper) in enumerate(zip(row, shifted, strict=True)):
        keys[10 - FIRST_KEYCODE + place] = [ord(plain), ord(upper)]
    for keycode, keysym in others.items():
        keys[int(keycode[1:]) - FIRST_KEYCODE] = [keysym, 0]
    return keys


US = keyboard("1234567890", "!@#$%^&*()", k34=ord("["), k48=ord("'"))
BRITISH = keyboard("1234567890", '!"£$%^&*()')
GERMAN = keyboard("1234567890", '!"§$%&/()=')
FRENCH = keyboard("&é\"'(-è_çà", "1234567890", k61=ord("!"))
BELGIAN = keyboard("&é\"'(§è!çà", "1234567890")
GREEK = keyboard("1234567890", "!@#$%^&*()", k39=0x7F3)
HEBREW = keyboard("1234567890", "!@#$%^&*()", k30=0xCE5)


@pytest.mark.parametrize(
    ("keys", "char", "action"),
    [
        (US, "@", Action(Do.LABEL_STRETCH, 2)),
        (US, "&", Action(Do.LABEL_STRETCH, 7)),
        (US, "'", None),
        (BRITISH, '"', Action(Do.LABEL_STRETCH, 2)),
        (BRITISH, "£", Action(Do.LABEL_STRETCH, 3)),
        (GERMAN, "&", Action(Do.LABEL_STRETCH, 6)),
        (GERMAN, "/", Action(Do.LABEL_STRETCH, 7)),
        (FRENCH, "&", Action(Do.LABEL, 1)),
        (FRENCH, "'", Action(Do.LABEL, 4)),
        (FRENCH, "è", Action(Do.LABEL, 7)),
        (FRENCH, "!", None),
        (FRENCH, "-", Action(Do.SPEED, -1)),
        (BELGIAN, "!", Action(Do.LABEL, 8)),
        (BELGIAN, "§", Action(Do.LABEL, 6)),
    ],
)
def test_the_digit_row(keys: list[list[int]], char: str, action: Action | None) -> None:
    code = meant(ord(char), lambda: keys)
    assert (None if code is None else action_of(code)) == action
    if ord(char) > 127:  # as Qt gives it
        assert meant(ord(char.upper()) - 256, lambda: keys) == code


@pytest.mark.parametrize(("keys", "keysym", "char"), [(GREEK, 0x7F3, "s"), (HEBREW, 0xCE5, "u")])
def test_letters_of_other_alphabets(keys: list[list[int]], keysym: int, char: str) -> None:
    assert meant(keysym, lambda: keys) == ord(char)


def test_what_two_layouts_explain_in_two_ways_does_nothing() -> None:
    both = [[*us, *french] for us, french in zip(US, FRENCH, strict=True)]
    assert meant(ord("&"), lambda: both) is None
    assert meant(ord("!"), list) is None  # no server tells
    assert meant(ord("@"), lambda: both) == ord("2") | SHIFT << 16


def test_a_key_with_ctrl_alt_or_super_does_nothing(tmp_path: Path, desktop: str) -> None:
    record_brightening(tmp_path / "day", 12)
    person = Person(tmp_path / "day", desktop)
    person.press("1")
    person.sees("2 / 12 - ")
    person.press("alt+3", "super+2", "ctrl+0", "alt+shift+4", "alt+s", "super+u", "2")
    person.sees("3 / 12 - ")
    person.press("s")
    person.ends()
    assert classes(tmp_path / "day") == {"1": [0], "2": [1]}


@pytest.mark.parametrize(
    ("code", "pressed", "state"),
    [
        (ord("2"), [KeyPress(11, 0), KeyPress(12, 8)], 0),  # Alt is held with the key after it
        (ord("2"), [KeyPress(64, 0), KeyPress(11, 8)], 8),
        (ord("A"), [KeyPress(38, 64), KeyPress(39, 0)], 64),  # Qt gives A for a
        (ord("7"), [KeyPress(11, 16), KeyPress(12, 2)], 0),  # NumLock and CapsLock are not held
        (ord("2"), [], 0),
    ],
)
def test_modifiers_are_those_of_the_key_that_gave_the_code(code: int, pressed: list[KeyPress], state: int) -> None:
    keys = keyboard("1234567890", "!@#$%^&*()", k38=ord("a"), k39=ord("s"))
    assert take_held(code, pressed, lambda: keys) == state


def test_the_modifiers_of_a_key_whose_code_is_still_to_come_are_kept() -> None:
    """A busy machine looks at the presses late: by then there may be more of them than codes."""
    keys = keyboard("1234567890", "!@#$%^&*()")
    pressed = [KeyPress(64, 0), KeyPress(12, 8), KeyPress(133, 0), KeyPress(11, 64)]  # Alt 3, Super 2
    assert take_held(ord("3"), pressed, lambda: keys) == 8
    assert take_held(ord("2"), pressed, lambda: keys) == 64
    assert pressed == []


# Keys by their keycodes: 10 carries a 1, 11 a 2 …; G has 42 on all of them.
@pytest.mark.parametrize(
    ("layout", "digits", "colon", "redo"),
    [
        ("be", "shift+%d", "60", "29"),  # on AZERTY ; and : are two keys
        ("de", "%d", "shift+60", "52"),  # QWERTZ: Y is where others have Z
        ("gr", "%d", "shift+24", "29"),
        ("il", "%d", "shift+47", "29"),
    ],
)
def test_a_window_with_a_keyboard_of(tmp_path: Path, layout: str, digits: str, colon: str, redo: str) -> None:
    record_brightening(tmp_path / "day", 12, fps=0.1)
    with desktop_of("1024x900", layout=layout) as desktop:
        person = Person(tmp_path / "day", desktop)
        person.press("13", "11", "10")  # the keys with 4, 2 and 1 on them, without Shift
        person.sees("4 / 12 - ")
        person.press("30", "30", redo)  # U twice, Y
        person.sees("3 / 12 - ")
        person.press("42", digits % 10, colon, digits % 11, digits % 12, "Return")  # G 1:23
        person.sees("9 / 12 - ")
        person.press("39")  # S
        person.ends()
    assert classes(tmp_path / "day") == {"4": [0], "2": [1]}

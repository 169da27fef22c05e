"""Names of classes and files: which are allowed, in which order they stand, and how a line of text shows them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from storage.errors import StorageError

NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, separators of lines, controls of the direction of text, bytes that are no UTF-8."""


OWN_SUFFIXES = (".json", ".jsonl", ".part", ".png")
"""Endings of the files of a data directory: a class directory of such a name would be in the way of one."""


def check_class_name(name: str) -> None:
    """Raise StorageError if no class directory can have that name; names may come from untrusted files."""
    wrong = not name or name.startswith(".") or name.lower().endswith(OWN_SUFFIXES)
    if wrong or "/" in name or "\0" in name or len(os.fsencode(name)) > 200:
        raise StorageError(f"a class can't be named {name[:80]!r}")


def look_alikes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ only in case, spaces, characters that are not shown, or how Unicode spells them.

    >>> look_alikes(["door", "light", "Door", "light "])
    [('door', 'Door'), ('light', 'light ')]
    """
    firsts: dict[str, str] = {}
    return [(first, name) for name in names if (first := firsts.setdefault(_look(name), name)) != name]


def _look(name: str) -> str:
    shown = unicodedata.normalize("NFC", name).casefold()
    return "".join(each for each in shown if not each.isspace() and unicodedata.category(each) != "Cf")


def natural_key(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Sort key: digits count as a number wherever they stand; names that begin with one come first.

    >>> sorted(["b_10.png", "b_9.png", "100.png", "99.png"], key=natural_key)
    ['99.png', '100.png', 'b_9.png', 'b_10.png']
    """
    parts = re.split(r"([0-9]+)", name)  # text and digits take turns
    numbers = [(len(digits), digits) for digits in (part.lstrip("0") for part in parts[1::2])]  # int() has a limit
    return [part for pair in zip(parts[::2], [*numbers, (0, "")], strict=True) for part in pair], name


def printable(name: str) -> str:
    """A name as it is shown in a line of text: line breaks, escape sequences and the like are spelled out.

    Characters of ordinary spelling stay as they are, also invisible ones: so the name can be copied.
    """
    return NOT_SHOWN.sub(lambda match: ascii(match[0])[1:-1], name)


def free_name(wanted: str, taken: set[str], key: Callable[[str], str] = str) -> str:
    """The name, or the first of name-2, name-3 … whose `key` is not taken yet; then it is taken."""
    name, number = wanted, 1
    while key(name) in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(key(name))
    return name


def shown_class(label: str, names: Mapping[str, str]) -> str:
    """A class for people, by its name; where its directory has another name, that follows in brackets."""
    name = names.get(label, label)
    return printable(label if name == label else f"{name} ({label})")

"""Names of classes and files: which are allowed, in which order they stand, and how a line of text shows them."""

from __future__ import annotations

import os
import re

from storage.errors import StorageError

NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, separators of lines, controls of the direction of text, bytes that are no UTF-8."""


def check_class_name(name: str) -> None:
    """Raise StorageError if no class directory can have that name; names may come from untrusted files."""
    if not name or name.startswith(".") or "/" in name or "\0" in name or len(os.fsencode(name)) > 200:
        raise StorageError(f"a class can't be named {name[:80]!r}")


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

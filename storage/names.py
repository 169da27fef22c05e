"""Names of classes and files: which are allowed, in which order they stand, and how a line of text shows them."""

from __future__ import annotations

import os
import re

from storage.errors import StorageError


def check_class_name(name: str) -> None:
    """Raise StorageError if no class directory can have that name; it may come out of a stranger's file."""
    if not name or name.startswith(".") or "/" in name or "\0" in name or len(os.fsencode(name)) > 200:
        raise StorageError(f"a class can't be named {name[:80]!r}")


def natural_key(name: str) -> tuple[int, int, str]:
    """Sort key: names that begin with a number by that number, so that 100000000 comes after 99999999."""
    digits = re.match(r"\d+", name)
    return (0, int(digits[0]), name) if digits else (1, 0, name)


def printable(name: str) -> str:
    """A name as it is shown in a line of text: line breaks, escape sequences and the like are spelled out."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name)

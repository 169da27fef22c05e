"""What other distributions add to our tables, by the entry points that they declare."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def entry_points(group: str) -> Iterable[EntryPoint]:
    """Those of a group, as importlib.metadata finds them.

    It is asked only where an installed file names the group: to import it takes longer than to look for that.
    """
    if not any(_may_declare(place, group.encode()) for place in sys.path):
        return ()
    from importlib import metadata

    return metadata.entry_points(group=group)


def _may_declare(place: str, group: bytes) -> bool:
    try:
        names = os.listdir(place or ".")
    except NotADirectoryError:
        return True  # a zip file, into which importlib.metadata looks
    except OSError:
        return False
    for name in names:
        if name.lower().endswith(("dist-info", "egg-info")):
            with suppress(OSError), open(os.path.join(place, name, "entry_points.txt"), "rb") as file:
                if group in file.read():
                    return True
    return False

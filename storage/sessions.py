"""What is known of each recording session: a list of sessions, oldest first, each a mapping of facts.

A data directory keeps it in ``recording.json``, which this module reads and replaces, and which carries a check (see
`storage.durable.checked`); formats that are one file keep it inside that file. The recorder supplies the facts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from storage.durable.checked import check, sealed
from storage.durable.files import replace_file
from storage.durable.untrusted import parse_json
from storage.errors import StorageError

SESSIONS_NAME = "recording.json"
WALL_CLOCK = "wall_minus_monotonic_ns"
"""Of a session, and in the metadata of the first frame after the clock was set."""
TIME_FACTS = (WALL_CLOCK, "anchors", "clock")
"""What is known of a session that no longer holds for frames with other times than their own."""
VERSION = 1
_LARGEST = 1 << 62  # of numbers that are added: a time and an offset together fit into 64 bits


def wall_offset_ns(session: Mapping[str, Any]) -> int | None:
    """How far the wall clock is ahead of the clock that a session's timestamps are of.

    None if that is not known: the timestamps of a video file or a simulation are those of no clock.
    """
    offset = session.get(WALL_CLOCK) if session.get("live") else None
    return offset if is_number(offset) else None


def new_session(first_index: int) -> dict[str, Any]:
    """The facts of a session that begins: its id, and the index of its first frame."""
    return {"id": os.urandom(4).hex(), "first_index": first_index, "frames": None}


def has_no_end(sessions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last session goes on, or was killed."""
    return bool(sessions) and sessions[-1].get("frames") is None


def close_interrupted(sessions: Sequence[dict[str, Any]], next_index: int) -> bool:
    """Complete the facts of a session that was killed: it holds all frames since its first. Returns whether one was."""
    if not has_no_end(sessions):
        return False
    sessions[-1]["frames"] = next_index - int(sessions[-1]["first_index"])
    sessions[-1]["end"] = "interrupted"
    return True


def read_sessions(data_dir: Path) -> list[dict[str, Any]]:
    """The sessions recorded into a data directory; none if it has no ``recording.json``.

    Raises
    ------
    StorageError
        The file is damaged, or from a newer version.
    """
    path = data_dir / SESSIONS_NAME
    try:
        text = path.read_bytes()
        if check(text.rstrip(b"\n")) is False:
            raise ValueError('its check is wrong; after editing it, take the line "crc32" out')
        content = parse_json(text)
        version, sessions = content["version"], content["sessions"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged ({error}); move it away to go on without it") from None
    if version != VERSION or not isinstance(sessions, list):
        raise StorageError(f"{path} has version {version!r}, this program knows {VERSION}; update it")
    try:
        return checked_sessions(sessions)
    except ValueError as error:
        raise StorageError(f"{path} is damaged ({error}); move it away to go on without it") from None


def checked_sessions(value: Any) -> list[dict[str, Any]]:
    """The sessions in a file, if all of them can be worked with.

    Raises
    ------
    ValueError
        One has no id or place, or a number that none can be.
    """
    if not isinstance(value, list) or not all(map(_is_session, value)):
        raise ValueError("a session without id or first_index, or with a number that can't be")
    return value


def sessions_in(text: str) -> list[dict[str, Any]]:
    """The sessions in a text that `sessions_text` made; none if it is empty or damaged."""
    try:
        return checked_sessions(parse_json(text or "[]"))
    except ValueError:
        return []


def sessions_text(sessions: Sequence[dict[str, Any]]) -> str:
    """Sessions as JSON, for a tag of a file."""
    return json.dumps(list(sessions), ensure_ascii=False, separators=(",", ":"))


def spans_of(sessions: Sequence[Mapping[str, Any]], count: int) -> list[range] | None:
    """The frames of each session in a recording of `count` that follow each other; None if they don't say it."""
    begins = [int(session.get("first_index") or 0) for session in sessions]
    if begins[:1] != [0] or begins != sorted(begins):
        return None
    return [range(min(begin, count), min(end, count)) for begin, end in pairwise([*begins, count])]


def write_sessions(data_dir: Path, sessions: Sequence[dict[str, Any]]) -> None:
    """Replace ``recording.json``; durable on return."""
    content = {"version": VERSION, "sessions": list(sessions)}
    # The name of a file from elsewhere may be no UTF-8: question marks stand for such bytes.
    data = json.dumps(content, indent=1, ensure_ascii=False).encode(errors="replace")
    replace_file(data_dir / SESSIONS_NAME, sealed(data) + b"\n")


def _is_session(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and is_number(value.get("first_index"), least=0)
        and is_number(value.get("frames") or 0, least=0)
        and is_number(value.get(WALL_CLOCK) or 0)
        and isinstance(clock := value.get("clock") or {}, dict)
        and all(is_number(number or 0) for number in clock.values())
    )


def is_number(value: Any, least: int = -_LARGEST) -> TypeGuard[int]:
    """Whether it is a whole number that can be reckoned with."""
    return isinstance(value, int) and least <= value <= _LARGEST

"""What a page may do with labels: the actions, and what goes with each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from classify.session import NONE
from pi_capture.studio.answers import Fields, RefusedError, is_one_of

Action = Mapping[str, Any]

_FRAME = {"frame": int}
FIELDS: Mapping[str, Fields] = {
    "label": {**_FRAME, "label": int},
    "label_stretch": {**_FRAME, "label": int},
    "label_run": {"first": int, "stop": int, "label": int},
    "batch": _FRAME,
    "clear": _FRAME,
    "nudge": {**_FRAME, "by": int},
    "hold": {**_FRAME, "on": bool},
    "pass": {**_FRAME, "to": int, "label": int},
    "switch": {**_FRAME, "label": int, "since": int, "speed": (int, float)},
    "pause": _FRAME,
    "look": _FRAME,
    "undo": {},
    "redo": {},
    "assist": _FRAME,
    "answer": {"first": int, "stop": int, "label": int, "model": str},
    "end_run": {"first": int, "stop": int, "cell": int},
    "bisect": _FRAME,
    "least_certain": _FRAME,
    "accept_sure": _FRAME,
    "stop_asking": {},
}
"""What goes with each action."""


def check_action(action: Mapping[str, Any], classes: int) -> None:
    """Raise RefusedError unless it is an action with all that goes with it."""
    name, seq = action.get("action"), action.get("seq")
    if not isinstance(name, str) or name not in FIELDS or type(seq) is not int or not 0 < seq < 1 << 53:
        raise RefusedError(f"an action has a seq from 1 on, and is one of {', '.join(FIELDS)}")
    fields = FIELDS[name]
    if not is_one_of(action.get("given", 0), (int, float)):
        raise RefusedError(f"{name}: given is a time in seconds")
    given = {field: value for field, value in action.items() if field not in ("action", "seq", "given")}
    if set(given) != set(fields) or not all(is_one_of(value, fields[field]) for field, value in given.items()):
        raise RefusedError(f"{name} has these fields: {', '.join(fields) or 'none'}")
    if any(type(value) is int and not -1 <= value < 1 << 31 for value in given.values()):
        raise RefusedError(f"{name}: a number is out of bounds")
    if not re.fullmatch("[0-9a-f]{0,64}", given.get("model", "")):
        raise RefusedError(f"{name}: model is no hash")
    label = given.get("label", 0)
    if not (0 <= label < classes or (name in ("label_run", "pass") and label == NONE)):
        raise RefusedError(f"there is no class {label}")

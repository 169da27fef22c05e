"""Parse untrusted JSON."""

from __future__ import annotations

import json
from typing import Any


def parse_json(data: str | bytes) -> Any:
    """The value of a text in JSON.

    Raises
    ------
    ValueError
        It is no JSON; or so deep that Python does not go down to its end, for which `json` has another error.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_object(data: str | bytes) -> dict[str, Any]:
    """The object that a text in JSON is. Raises ValueError if it is none."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value

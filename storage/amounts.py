"""Sizes and times as people write them: ``2GB``, ``90s``, ``10min``, ``1h``, ``7d``; seconds also as a bare number."""

from __future__ import annotations

import math
import re

SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
TIMES = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def parse_amount(text: str) -> tuple[float, str] | None:
    """The number and the unit of a text such as ``2GB``; None for another text."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]+)", text.strip())
    return (float(match[1]), match[2]) if match else None


def parse_size(text: str) -> int | None:
    """Bytes, from ``2GB``, ``500MB`` …; None if it is no size, and for 0."""
    amount = parse_amount(text)
    unit = SIZES.get(amount[1].upper()) if amount else None
    return max(1, round(amount[0] * unit)) if amount and amount[0] and unit else None


def parse_time(text: str) -> float | None:
    """Seconds, from ``90s``, ``10min``, ``1h``, ``7d``; None if it is no time."""
    amount = parse_amount(text)
    unit = TIMES.get(amount[1].lower()) if amount else None
    return amount[0] * unit if amount and unit else None


def parse_seconds(text: str) -> float | None:
    """Seconds, from a number or from a time such as ``10min``; None if it is neither. The number may be 0 or less."""
    try:
        number = float(text)
    except ValueError:
        return parse_time(text)
    return number if math.isfinite(number) else None

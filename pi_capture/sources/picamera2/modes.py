"""The mode that a Raspberry Pi's sensor is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pi_capture.sources import Size


def choose_sensor_mode(modes: Sequence[Mapping[str, Any]], size: Size | None, fps: float) -> Mapping[str, Any] | None:
    """Return the sensor mode that sees the whole picture, at the wanted rate, with the fewest pixels that are enough.

    Left to itself, a sensor asked for small frames takes a mode that shows only the middle of what the lens sees.
    Without a wanted size: the one with the most pixels at the wanted rate. None if the modes lack facts.

    Parameters
    ----------
    modes : sequence of mappings
        As picamera2's ``sensor_modes``: ``size``, ``crop_limits`` (x, y, width, height), ``fps``, ``bit_depth``.
    """
    known = [mode for mode in modes if {"size", "crop_limits", "fps", "bit_depth"} <= mode.keys()]
    widest = max((_area(mode["crop_limits"][2:]) for mode in known), default=0)

    def rank(mode: Mapping[str, Any]) -> tuple[bool, bool, bool, float, int, int]:
        width, height = mode["size"]
        covers = size is not None and width >= size[0] and height >= size[1]
        too_slow = mode["fps"] < 0.95 * fps
        return (
            _area(mode["crop_limits"][2:]) < 0.95 * widest,
            size is not None and not covers,
            too_slow,
            -mode["fps"] if too_slow else 0.0,
            _area(mode["size"]) if covers else -_area(mode["size"]),
            -mode["bit_depth"],
        )

    return min(known, key=rank) if known else None


def _area(size: Sequence[int]) -> int:
    return size[0] * size[1]

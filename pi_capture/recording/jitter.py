"""Training mode: exposure and white balance that vary from frame to frame, around locked values.

Without the lock a network learns how the exposure shifts when a hand comes near, not the gesture; without the variation
it learns the light of one day. The scheme is that of the gesture-recognition guide this toolkit follows: 5 s for auto
exposure to settle, then before each frame a sensitivity out of seven and red and blue gains within ±0.5.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

SETTLE_SECONDS = 5.0
ISO = (100, 200, 320, 400, 500, 640, 800)
GAIN_SHIFT = 0.5


class Jitter:
    """Draws the control values of each frame; a `seed` makes the draws repeatable.

    `locked` is what `lock_exposure` of the source returned: ``colour_gains`` is (red, blue).
    """

    def __init__(self, locked: Mapping[str, Any], seed: int | None = None) -> None:
        self._colour_gains: Sequence[float] | None = locked.get("colour_gains")
        self._random = random.Random(seed)

    def draw(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """New values: as libcamera's controls, and as what is noted with the frame.

        Sensitivity is an analogue gain of ISO / 100, as the Pi's cameras count it.
        """
        iso = self._random.choice(ISO)
        shifts = self._random.uniform(-GAIN_SHIFT, GAIN_SHIFT), self._random.uniform(-GAIN_SHIFT, GAIN_SHIFT)
        controls: dict[str, Any] = {"AnalogueGain": iso / 100}
        drawn: dict[str, Any] = {"iso": iso}
        if self._colour_gains is not None:
            red, blue = self._colour_gains
            gains = max(0.0, red + shifts[0]), max(0.0, blue + shifts[1])
            controls["ColourGains"] = gains
            drawn["colour_gains"] = [round(gain, 4) for gain in gains]
        return controls, drawn

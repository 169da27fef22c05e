"""The labels of a video recording while it is written: they are its subtitles."""

from __future__ import annotations

from storage.formats.video.file import LABELS
from storage.matroska.track import Block

LABEL_SECONDS = 1.0


class LabelTrack:
    """Turns the label of each frame into subtitles.

    A label that goes on is written each second, as it may be cut off at any moment; `once` is for what can't be.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self._label: str | None = None
        self._since = 0

    def place(self, time: int, label: str | None) -> list[Block]:
        """The blocks that end where a frame with that label comes."""
        if label == self._label and (label is None or self._once or time - self._since < LABEL_SECONDS * 1e6):
            return []
        ended = self._label
        self._label, since, self._since = label, self._since, time
        return [Block(LABELS, since, ended.encode(), duration=time - since)] if ended is not None else []

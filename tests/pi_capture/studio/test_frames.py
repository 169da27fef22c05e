"""Pictures on their way to a page."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pi_capture.studio.frames import Frames
from storage import open_recording


@pytest.mark.parametrize(("seconds", "chunks"), [(0.0, 6), (math.inf, 3)])
def test_a_picture_does_not_wait_for_those_that_take_long(
    forty: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, chunks: int
) -> None:
    """Each is a chunk of its own then; else chunks are as large as two of these."""
    monkeypatch.setattr("pi_capture.studio.frames.CHUNK_SECONDS", seconds)
    with open_recording(forty) as recording:
        assert len(list(Frames(recording).pack((index, index) for index in range(6)))) == chunks

"""The conformance suite of a camera: its author derives from `SourceTests`, and pytest runs all of it.

>>> from pi_capture.sources.testing import SourceTests
>>> class TestImages(SourceTests):
...     spec = "images:/data/pictures"

The camera must be in the table, by its row or, for another distribution, by its entry point. Tests of abilities
that it lacks (`pi_capture.sources.contract`) are skipped.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pi_capture.errors import CameraError, UsageError
from pi_capture.recording.capture import record
from pi_capture.sources.contract import Accompanied, Controllable, Encoding, Focusing, HighDynamicRange, Size, Source
from pi_capture.sources.table import find_source, open_source
from storage.formats.table import open_recording
from storage.frame import Frame

PATIENCE_SECONDS = 60.0  # for the first frame, and for `close` to end a wait for one; a busy machine is slow


class SourceTests:
    """What every camera promises. The camera, or a substitute, must be there while the tests run.

    Attributes
    ----------
    spec : str
        The text form that opens it; a property of the class, or set by a fixture.
    nowhere : str
        A text form of the same kind that opens nothing; empty if there is none.
    frames : int
        How many it delivers at least.
    """

    spec: str
    nowhere: str = ""
    frames: ClassVar[int] = 5

    def open(self, size: Size | None = (48, 32)) -> Source:
        return open_source(self.spec, size)

    @pytest.fixture
    def source(self) -> Iterator[Source]:
        """The camera, opened for frames of 48x32 pixels."""
        source = self.open()
        yield source
        source.close()

    def take(self, source: Source, count: int | None = None) -> list[Frame]:
        """The first frames."""
        return list(islice(iter(source), self.frames if count is None else count))

    # ---------------------------------------------------------------------------------------------------------- frames

    def test_it_tells_what_it_is(self, source: Source) -> None:
        info = source.info
        assert info.camera and isinstance(info.model, str) and isinstance(info.live, bool)
        assert info.size == (48, 32) and (info.fps is None or info.fps > 0)
        assert "\n" not in info.camera + info.model
        json.dumps(dict(info.details))

    def test_frames_have_the_size_asked_for(self, source: Source) -> None:
        frames = self.take(source)
        assert len(frames) == self.frames
        for frame in frames:
            assert frame.pixels.shape == (32, 48, 3) and frame.pixels.dtype == np.uint8
            assert frame.pixels.flags.c_contiguous
            assert json.loads(json.dumps(dict(frame.metadata))).get("dropped_camera", 0) >= 0
        assert all(before.timestamp_ns < after.timestamp_ns for before, after in pairwise(frames))

    def test_a_frame_stays_as_it_was(self, source: Source) -> None:
        """The recorder encodes it while the camera is at the next: no two share memory."""
        frames = iter(source)
        first = next(frames)
        before = first.pixels.copy()
        others = list(islice(frames, self.frames - 1))
        np.testing.assert_array_equal(first.pixels, before)
        assert not any(np.shares_memory(first.pixels, other.pixels) for other in others)

    def test_its_own_size(self) -> None:
        source = self.open(None)
        try:
            width, height = source.info.size
            assert self.take(source, 1)[0].pixels.shape == (height, width, 3)
        finally:
            source.close()

    def test_a_live_camera_has_the_monotonic_clock(self, source: Source) -> None:
        if not source.info.live:
            pytest.skip("for live cameras only: this one waits for its reader")
        begun = time.monotonic_ns()
        (frame,) = self.take(source, 1)
        assert begun - 10 * 10**9 < frame.timestamp_ns <= time.monotonic_ns()

    def test_it_is_opened_again_by_what_it_tells(self, source: Source) -> None:
        kind, _ = find_source(self.spec)
        assert find_source(source.info.camera)[0] == kind

    # -------------------------------------------------------------------------------------------------------- its end

    def test_close_ends_it_from_another_thread(self, source: Source) -> None:
        delivered = threading.Event()

        def use() -> None:
            try:
                for _ in source:
                    delivered.set()
            except CameraError:
                pass

        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        assert delivered.wait(PATIENCE_SECONDS)
        source.close()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
        source.close()  # again, which does nothing

    def test_it_is_free_after_it_was_closed(self) -> None:
        for _ in range(2):
            source = self.open()
            assert self.take(source, 1)
            source.close()

    def test_what_opens_nothing_is_told_in_one_line(self) -> None:
        if not self.nowhere:
            pytest.skip("for cameras with wrong addresses: every address opens this one")
        with pytest.raises((CameraError, UsageError)) as caught:
            open_source(self.nowhere)
        assert str(caught.value) and "\n" not in str(caught.value)

    def test_it_is_recorded(self, tmp_path: Path) -> None:
        seconds = 0.3 if self.is_live() else -1
        summary = record(tmp_path / "day1", seconds, camera=self.spec, size=(48, 32), jitter=False)
        with open_recording(tmp_path / "day1") as recording:
            assert 0 < summary.frames == len(recording)
            (session,) = recording.sessions
            assert session["size"] == "48x32" and find_source(session["camera"])[0] == find_source(self.spec)[0]

    def is_live(self) -> bool:
        source = self.open()
        source.close()
        return source.info.live

    # -------------------------------------------------------------------------------------------------- its abilities

    def test_exposure_is_locked_and_steered(self, source: Source) -> None:
        if not isinstance(source, Controllable):
            pytest.skip("for `Controllable` cameras: this one has no controls")
        self.take(source, 2)
        locked = source.lock_exposure()
        assert isinstance(locked, Mapping)
        json.dumps(dict(locked))
        source.set_controls(locked)
        assert self.take(source, 2)

    def test_focus_and_hdr_are_told(self, source: Source) -> None:
        if not isinstance(source, Focusing) or not isinstance(source, HighDynamicRange):
            pytest.skip("for `Focusing` cameras with `HighDynamicRange`: this one takes neither")
        source.set_focus("auto")
        source.set_hdr()
        assert self.take(source, 2)
        assert source.focused in (True, False, None) and source.hdr in (True, False, None)

    def test_packets(self, source: Source) -> None:
        if not isinstance(source, Encoding):
            pytest.skip("for `Encoding` cameras: this one encodes nothing")
        assert source.start_encoding("no such codec", 20) is None
        assert self.take(source, 1)[0].packet is None

    def test_what_comes_with_the_pictures(self, source: Source) -> None:
        if not isinstance(source, Accompanied):
            pytest.skip("for `Accompanied` cameras: its pictures come alone")
        names = [track.name for track in source.tracks]
        assert len(set(names)) == len(names) and source.missing >= 0
        assert len(set(source.classes)) == len(source.classes)

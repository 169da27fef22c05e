"""The recording loop with cameras that fail in ways that no camera can be asked to: stalls, faults, too many frames."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pi_capture.sources.table
from pi_capture import CameraError, RecordingError, record
from pi_capture.recording.jitter import GAIN_SHIFT, ISO
from pi_capture.sources import SourceInfo, SourceKind
from storage import Frame, open_recording

PERIOD_NS = 10_000_000


class Camera:
    """A live camera that delivers what a function makes of each frame number."""

    @staticmethod
    def make(n: int) -> Frame | None:
        return frame(n)

    def __init__(self, size: tuple[int, int] = (32, 24), live: bool = True) -> None:
        self.info = SourceInfo("test:0", "a camera that fails", size, 100.0, live)
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        n = 0
        while not self.closed.is_set():
            made = self.make(n)
            if made is None:
                return
            yield made
            n += 1

    def close(self) -> None:
        self.closed.set()


def frame(n: int, size: tuple[int, int] = (32, 24), metadata: Mapping[str, Any] | None = None) -> Frame:
    return Frame(np.full((size[1], size[0], 3), n % 256, np.uint8), n, n * PERIOD_NS, metadata or {})


def open(address: str, size: object, fps: object) -> Camera:
    """What the table of sources calls."""
    return CAMERAS[address]()


CAMERAS: dict[str, Callable[[], Camera]] = {}


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Camera]], str]:
    """Make a camera known to `record`; returns its text form."""
    row = SourceKind("test", "test:NAME", "", f"{__name__}:open")
    monkeypatch.setattr(pi_capture.sources.table, "SOURCES", (*pi_capture.sources.SOURCES, row))

    def plug(camera: Callable[[], Camera]) -> str:
        CAMERAS["camera"] = camera
        return "test:camera"

    return plug


def last_session(day: Path) -> dict[str, Any]:
    session: dict[str, Any] = json.loads((day / "recording.json").read_text())["sessions"][-1]
    return session


def test_a_camera_that_is_unplugged(tmp_path: Path, plug_in: Any) -> None:
    class Unplugged(Camera):
        @staticmethod
        def make(n: int) -> Frame:
            if n == 40:
                raise CameraError("test:0 was unplugged; plug it in and start again")
            return frame(n)

    with pytest.raises(RecordingError, match="was unplugged") as caught:
        record(tmp_path / "day1", -1, camera=plug_in(Unplugged))
    assert caught.value.summary.frames == len(open_recording(tmp_path / "day1")) == 40
    assert last_session(tmp_path / "day1")["end"].startswith("failed: test:0 was unplugged")


@pytest.mark.parametrize(("lost", "counted"), [(0, 0), (9, 9), (20, 9)])
def test_frames_lost_just_before_the_end_are_counted(tmp_path: Path, plug_in: Any, lost: int, counted: int) -> None:
    class Stalling(Camera):
        """Its first 11 frames come; then some are lost, of which those up to the end of the 0.2 s count."""

        @staticmethod
        def make(n: int) -> Frame:
            return frame(n) if n <= 10 else frame(n + lost, metadata={"dropped_camera": lost} if lost else {})

    summary = record(tmp_path / "day1", 0.2, camera=plug_in(Stalling))
    assert (summary.frames, summary.dropped_camera) == (20 - counted, counted)


@pytest.mark.parametrize("last", [0, 1, 5, 7, 10])
def test_periods_of_no_whole_nanoseconds_make_no_frame_more(tmp_path: Path, plug_in: Any, last: int) -> None:
    class Stalling(Camera):
        """60 frames a second, and a pause after frame `last` that goes past the end, which is when frame 12 is due."""

        @staticmethod
        def make(n: int) -> Frame:
            number = n if n <= last else n + 30
            lost = {"dropped_camera": 30} if n > last else {}
            return replace(frame(n, metadata=lost), timestamp_ns=12345 + round(number * 1e9 / 60))

    summary = record(tmp_path / "day1", 0.2, camera=plug_in(Stalling))
    assert (summary.frames, summary.dropped_camera) == (last + 1, 11 - last)


def test_an_error_nobody_thought_of(tmp_path: Path, plug_in: Any) -> None:
    class Broken(Camera):
        @staticmethod
        def make(n: int) -> Frame:
            return frame(n) if n < 7 else frame(1 // 0)

    with pytest.raises(RecordingError, match="ZeroDivisionError"):
        record(tmp_path / "day1", -1, camera=plug_in(Broken))
    assert len(open_recording(tmp_path / "day1")) == 7


def test_a_camera_that_hangs_does_not_hang_the_recorder(tmp_path: Path, plug_in: Any) -> None:
    stop, for_ever = threading.Event(), threading.Event()

    class Hanging(Camera):
        @staticmethod
        def make(n: int) -> Frame:
            if n == 10:
                stop.set()
                for_ever.wait()
            return frame(n)

    summary = record(tmp_path / "day1", -1, camera=plug_in(Hanging), stop=stop)
    assert summary.frames == len(open_recording(tmp_path / "day1")) == 10
    assert last_session(tmp_path / "day1")["end"] == "stopped: the camera hung"
    for_ever.set()


def test_a_live_camera_that_is_too_fast_drops_and_counts(tmp_path: Path, plug_in: Any) -> None:
    count = 400

    class Fast(Camera):
        picture = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)

        def __init__(self) -> None:
            super().__init__((800, 600))

        @staticmethod
        def make(n: int) -> Frame | None:
            return Frame(Fast.picture, n, n * PERIOD_NS, {}) if n < count else None

    summary = record(tmp_path / "day1", -1, camera=plug_in(Fast))
    assert summary.dropped_queue > 0
    assert summary.frames + summary.dropped_queue == count
    frames = list(open_recording(tmp_path / "day1"))
    assert len(frames) == summary.frames
    # Every gap stands with the frame after it; only what was lost at the very end has no frame behind it.
    lost_before = [frame.metadata.get("dropped_queue", 0) for frame in frames]
    times = [frame.timestamp_ns // PERIOD_NS for frame in frames]
    assert lost_before == [times[0], *(b - a - 1 for a, b in itertools.pairwise(times))]
    assert last_session(tmp_path / "day1")["dropped_queue"] == summary.dropped_queue


def test_a_source_that_is_not_live_is_waited_for(tmp_path: Path, plug_in: Any) -> None:
    class File(Camera):
        def __init__(self) -> None:
            super().__init__(live=False)

        @staticmethod
        def make(n: int) -> Frame | None:
            return frame(n) if n < 3000 else None

    summary = record(tmp_path / "day1", -1, camera=plug_in(File))
    assert (summary.frames, summary.dropped_queue, summary.fps) == (3000, 0, 100.0)


def test_what_the_camera_lost_is_summed_up(tmp_path: Path, plug_in: Any) -> None:
    class Lossy(Camera):
        @staticmethod
        def make(n: int) -> Frame | None:
            time.sleep(0.001)
            return frame(n, metadata={"dropped_camera": 2} if n % 10 == 3 else None) if n < 50 else None

    summary = record(tmp_path / "day1", -1, camera=plug_in(Lossy))
    assert summary.frames + summary.dropped_queue == 50 and summary.dropped_camera == 10
    told = sum(frame.metadata.get("dropped_camera", 0) for frame in open_recording(tmp_path / "day1"))
    assert told == 10


def test_seconds_are_those_of_the_frames(tmp_path: Path, plug_in: Any) -> None:
    class File(Camera):
        def __init__(self) -> None:
            super().__init__(live=False)

    summary = record(tmp_path / "day1", 2, camera=plug_in(File))
    assert (summary.frames, summary.seconds) == (200, 2.0)
    assert last_session(tmp_path / "day1")["end"] == "finished"


class Steerable(Camera):
    """Applies controls three frames late, as cameras do."""

    delay = 3

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self.opened = time.monotonic()
        self.settled: float | None = None

    def __iter__(self) -> Iterator[Frame]:
        for n in range(2000):
            if self.closed.is_set():
                return
            time.sleep(0.002)
            applied = self.asked[-self.delay - 1] if len(self.asked) > self.delay else {}
            yield frame(n, metadata={"analogue_gain": applied.get("AnalogueGain", 1.0)})

    def lock_exposure(self) -> Mapping[str, Any]:
        self.settled = time.monotonic() - self.opened
        return {"exposure_us": 8000, "analogue_gain": 1.5, "colour_gains": [1.8, 0.2]}

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        self.asked.append(dict(controls))


def record_with_jitter(day: Path, plug_in: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    monkeypatch.setattr("pi_capture.recording.take.SETTLE_SECONDS", 0.1)
    cameras: list[Steerable] = []

    def plug() -> Steerable:
        cameras.append(Steerable())
        return cameras[-1]

    record(day, 0.5, camera=plug_in(plug), jitter=True, jitter_seed=seed)
    assert cameras[0].settled is not None and cameras[0].settled >= 0.1
    return list(open_recording(day))


def test_jitter_is_drawn_for_each_frame_and_kept_with_it(
    tmp_path: Path, plug_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = record_with_jitter(tmp_path / "day1", plug_in, 7, monkeypatch)
    assert len(frames) == 50
    drawn = [frame.metadata["jitter"] for frame in frames]
    assert {draw["iso"] for draw in drawn} == set(ISO)
    for draw in drawn:
        red, blue = draw["colour_gains"]
        assert abs(red - 1.8) <= GAIN_SHIFT and 0 <= blue <= 0.2 + GAIN_SHIFT
    assert min(draw["colour_gains"][1] for draw in drawn) == 0  # 0.2 - 0.5 is no gain
    assert len({draw["colour_gains"][0] for draw in drawn}) > 40
    # What was applied is the camera's own word: here three frames late.
    applied = [frame.metadata["analogue_gain"] for frame in frames]
    assert applied[3:] == [draw["iso"] / 100 for draw in drawn[:-3]]
    session = last_session(tmp_path / "day1")
    assert session["locked"] == {"exposure_us": 8000, "analogue_gain": 1.5, "colour_gains": [1.8, 0.2]}
    assert session["jitter"] == {"seed": 7}


def test_jitter_repeats_with_its_seed(tmp_path: Path, plug_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [
        [frame.metadata["jitter"] for frame in record_with_jitter(tmp_path / name, plug_in, seed, monkeypatch)]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("codec", "warned"), [("ffv1", False), ("h264", True), ("mjpeg", True)])
def test_jitter_under_a_lossy_codec_says_what_that_costs(
    tmp_path: Path, plug_in: Any, monkeypatch: pytest.MonkeyPatch, codec: str, warned: bool
) -> None:
    monkeypatch.setattr("pi_capture.recording.take.SETTLE_SECONDS", 0.1)
    said: list[str] = []
    options = {"codec": codec}
    record(tmp_path / "day.mkv", 0.3, camera=plug_in(Steerable), jitter=True, options=options, say=said.append)
    assert any("lossy codec" in line for line in said) == warned


def test_without_controls_it_says_so_and_goes_on(tmp_path: Path, plug_in: Any) -> None:
    class File(Camera):
        def __init__(self) -> None:
            super().__init__(live=False)

    said: list[str] = []
    summary = record(tmp_path / "day1", 0.2, camera=plug_in(File), jitter=True, say=said.append)
    assert summary.frames == 20
    assert said == ["test:0 has no exposure controls: recording without jitter"]


def test_a_stop_ends_the_countdown(tmp_path: Path) -> None:
    stop, told = threading.Event(), list[str]()

    def say(line: str) -> None:
        told.append(line)
        if "recording in" in line:
            stop.set()

    record(tmp_path / "day1", 5, camera="demo", size=(64, 48), countdown=60, stop=stop, say=say)
    assert sum("recording in" in line for line in told) < 10

"""Raspberry Pi cameras: the conversation with picamera2, held with a stand-in that answers as a Pi with an IMX219 does.

The real picamera2 and libcamera run in `tests/cameras`, which also checks that everything this stand-in answers to is
there in the real class. What only a Pi's image processor and sensor do can be tested nowhere else.
"""

from __future__ import annotations

import io
import itertools
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pi_capture import record
from pi_capture.errors import CameraError, UsageError
from pi_capture.sources import Controllable, list_cameras, open_source
from pi_capture.sources.picamera2.modes import choose_sensor_mode
from pi_capture.sources.pixels import RgbConverter
from storage import Frame, open_recording
from tests.support import wait_for

FRAME_NS = 33_333_000
FIRST_NS = 50_000_000_000
IMX219_MODES = [
    {"format": "SRGGB10_CSI2P", "bit_depth": depth, "size": size, "fps": fps, "crop_limits": crop}
    for depth in (8, 10)
    for size, fps, crop in (
        ((640, 480), 206.65, (1000, 752, 1280, 960)),
        ((1640, 1232), 83.7, (0, 0, 3280, 2464)),
        ((1920, 1080), 47.57, (680, 692, 1920, 1080)),
        ((3280, 2464), 21.19, (0, 0, 3280, 2464)),
    )
]
IMX708_MODES = [
    {"bit_depth": 10, "size": (1536, 864), "fps": 120.13, "crop_limits": (768, 432, 3072, 1728)},
    {"bit_depth": 10, "size": (2304, 1296), "fps": 56.03, "crop_limits": (0, 0, 4608, 2592)},
    {"bit_depth": 10, "size": (4608, 2592), "fps": 14.35, "crop_limits": (0, 0, 4608, 2592)},
]
OV5647_MODES = [
    {"bit_depth": 10, "size": (640, 480), "fps": 58.92, "crop_limits": (16, 0, 2560, 1920)},
    {"bit_depth": 10, "size": (1296, 972), "fps": 46.34, "crop_limits": (0, 0, 2592, 1944)},
    {"bit_depth": 10, "size": (1920, 1080), "fps": 32.81, "crop_limits": (348, 434, 1928, 1080)},
    {"bit_depth": 10, "size": (2592, 1944), "fps": 15.63, "crop_limits": (0, 0, 2592, 1944)},
]
CONTROLS: dict[str, tuple[Any, Any, Any]] = {
    "AeEnable": (False, True, True),
    "AwbEnable": (False, True, None),
    "ExposureTime": (75, 1238765, 20000),
    "AnalogueGain": (1.0, 10.6666669845581, 1.0),
    "ColourGains": (0.0, 32.0, None),
    "FrameDurationLimits": (11946, 1239000, (33333, 33333)),
}
IMX708_CONTROLS: dict[str, tuple[Any, Any, Any]] = {
    **CONTROLS,
    "AfMode": (0, 2, 0),
    "AfTrigger": (0, 1, 0),
    "LensPosition": (0.0, 15.0, 1.0),
    "HdrMode": (0, 4, 0),
}


def reported(index: int = 0, **changed: Any) -> dict[str, Any]:
    """What libcamera says about a frame of an IMX219."""
    return {
        "SensorTimestamp": FIRST_NS + index * FRAME_NS,
        "ScalerCrop": (408, 0, 2464, 2464),
        "ColourCorrectionMatrix": (1.6, -0.4, -0.2, -0.3, 1.7, -0.3, 0.0, -0.6, 1.6),
        "FrameDuration": 33333,
        "AeState": 2,
        "DigitalGain": 1.0020202398300171,
        "ColourGains": (1.5322, 2.1),
        "ColourTemperature": 4312,
        "ExposureTime": 19985,
        "AnalogueGain": 1.8823529481887817,
        "Lux": 131.25,
        **changed,
    }


class Request:
    def __init__(self, camera: Picamera2, metadata: Mapping[str, Any]) -> None:
        self._camera, self._metadata = camera, metadata
        camera.held += 1

    def _memory(self) -> NDArray[np.uint8]:
        assert self._camera.held, "read after release"
        width, height = self._camera.configuration["main"]["size"]
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0] = 200  # byte 0 of BGR888 is red
        pixels[..., 2] = 40
        pixels[: height // 4] = 250
        return pixels

    def make_array(self, name: str) -> NDArray[np.uint8]:
        assert name == "main"
        return self._memory()

    def make_buffer(self, name: str) -> NDArray[np.uint8]:
        return self.make_array(name).ravel()

    def get_metadata(self) -> dict[str, Any]:
        assert self._camera.held
        return dict(self._metadata)

    def release(self) -> None:
        self._camera.held -= 1
        assert self._camera.held >= 0, "released twice"


class Job:
    def __init__(self) -> None:
        self.future: Future[Any] = Future()

    def get_result(self, timeout: float | None = None) -> Any:
        return self.future.result(timeout=timeout)


class Picamera2:
    """A camera that delivers the frames of `script`, then none."""

    cameras: list[dict[str, Any]] = []  # noqa: RUF012
    script: list[dict[str, Any]] = []  # noqa: RUF012
    controls_advertised: dict[str, tuple[Any, Any, Any]] = CONTROLS
    properties: dict[str, Any] = {"Model": "imx219", "ColorFilterArrangement": 0}  # noqa: RUF012
    in_use = False
    opened: list[Picamera2] = []  # noqa: RUF012

    sensor_modes = IMX219_MODES
    sensor_resolution = (3280, 2464)

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return Picamera2.cameras

    def __init__(self, camera_num: int = 0) -> None:
        if self.in_use:
            try:
                raise RuntimeError("Failed to acquire camera: Device or resource busy")
            except RuntimeError as error:
                raise RuntimeError("Camera __init__ sequence did not complete.") from error
        self.camera_num = camera_num
        self.camera_properties = self.properties
        self.camera_controls = self.controls_advertised
        self.configuration: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.held = self.jobs_done = 0
        self.started = self.closed = False
        self._frames: Iterator[dict[str, Any]] = iter(self.script)
        self._pending: list[Job] = []
        Picamera2.opened.append(self)

    def create_video_configuration(
        self, main: dict[str, Any], *, buffer_count: int = 6, queue: bool = True, sensor: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return {"main": main, "buffer_count": buffer_count, "queue": queue, "sensor": sensor, "colour_space": None}

    def configure(self, camera_config: dict[str, Any]) -> None:
        width, height = camera_config["main"]["size"]
        assert width % 2 == height % 2 == 0, "width and height should be even"
        self.configuration = camera_config
        camera_config["main"]["stride"] = width * 3

    def camera_configuration(self) -> dict[str, Any]:
        return self.configuration

    def set_controls(self, controls: dict[str, Any]) -> None:
        for name in controls:
            if name not in self.camera_controls:
                raise RuntimeError(f"Control {name} is not advertised by libcamera")
        self.asked.append(controls)

    def start(self) -> None:
        self.started = True
        self.asked_before_start = len(self.asked)

    def capture_request(self, wait: bool | None = None) -> Job:
        assert wait is False and self.started and not self.closed
        job, metadata = Job(), next(self._frames, None)
        if metadata is None:
            self._pending.append(job)
        else:
            job.future.set_result(Request(self, metadata))
        return job

    def capture_metadata(self, wait: bool | None = None) -> Job:
        assert wait is False
        job = Job()
        job.future.set_result(next(self._frames))
        return job

    def cancel_all_and_flush(self) -> None:
        for job in self._pending:
            job.future.set_exception(CancelledError())
        self._pending = []

    def close(self) -> None:
        assert not self._pending, "closing with jobs pending hangs"
        self.closed = True


class CameraModule3:
    """What libcamera says about the frames of an IMX708; six are on their way when a control is asked for.

    In continuous mode its lens hunts: every tenth frame it says that it has the focus, and loses it again. A search
    goes through all distances and ends as `end` says; `pi5` has the image processor with HDR.
    """

    def __init__(self, end: int = 2, pi5: bool = True) -> None:
        self.end, self.pi5 = end, pi5

    def __iter__(self) -> Iterator[dict[str, Any]]:
        camera = Picamera2.opened[-1]
        asked_by = [camera.asked_before_start] * 6
        position, searched = 1.0, 0
        for index in itertools.count():
            asked_by.append(len(camera.asked))
            controls: dict[str, Any] = {}
            for one in camera.asked[: asked_by[index]]:
                controls |= one
            state = 0
            if controls.get("AfMode") == 2:
                position, state = 1 + index % 10 / 10, 2 if index % 10 == 0 else 1
            elif controls.get("AfMode") == 1 and "AfTrigger" in controls:
                searched += 1
                position, state = (searched / 2, 1) if searched <= 20 else (2.375, self.end)
            elif "LensPosition" in controls:
                position += min(max(controls["LensPosition"] - position, -0.5), 0.5)
            hdr = {"HdrMode": 3, "HdrChannel": 1} if self.pi5 and controls.get("HdrMode") == 3 else {}
            yield reported(index, LensPosition=position, AfState=state, AfPauseState=0, **hdr)


@pytest.fixture
def module3(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> CameraModule3:
    """That the Pi's one camera is a Camera Module 3."""
    monkeypatch.setattr("pi_capture.recording.take.SETTLE_SECONDS", 0)
    monkeypatch.setattr(pi, "controls_advertised", IMX708_CONTROLS)
    monkeypatch.setattr(pi, "properties", {"Model": "imx708", "ColorFilterArrangement": 0})
    monkeypatch.setattr(pi, "sensor_modes", IMX708_MODES)
    module3 = CameraModule3()
    monkeypatch.setattr(pi, "script", module3)
    return module3


@pytest.fixture(autouse=True)
def pi(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    """A Pi with one camera, which delivers five frames."""
    module = types.ModuleType("picamera2")
    module.Picamera2 = Picamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    one = {"Model": "imx219", "Location": 2, "Rotation": 180, "Id": "/base/soc/i2c0mux/i2c@1/imx219@10", "Num": 0}
    monkeypatch.setattr(Picamera2, "cameras", [one])
    monkeypatch.setattr(Picamera2, "opened", [])
    monkeypatch.setattr(Picamera2, "script", [reported(index) for index in range(5)])
    return Picamera2


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pi_capture.sources.picamera2.source.PATIENCE_SECONDS", 0.2)


def take(source: Any, count: int) -> list[Any]:
    return [frame for _, frame in zip(range(count), source, strict=False)]


def test_frames_come_at_their_final_size_with_what_libcamera_says(pi: type[Picamera2]) -> None:
    source = open_source("picamera2", (128, 96))
    frames = take(source, 5)
    source.close()

    camera = pi.opened[0]
    assert camera.configuration["main"]["size"] == (128, 96)
    assert camera.configuration["main"]["format"] == "BGR888"
    assert camera.configuration["buffer_count"] >= 6
    assert camera.configuration["queue"] is True
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.timestamp_ns for frame in frames] == [FIRST_NS + index * FRAME_NS for index in range(5)]
    assert all(frame.pixels.shape == (96, 128, 3) for frame in frames)
    assert frames[0].pixels[60, 60].tolist() == [200, 0, 40]
    assert frames[0].metadata == {
        "exposure_us": 19985,
        "analogue_gain": 1.8824,
        "digital_gain": 1.002,
        "colour_gains": [1.5322, 2.1],
        "colour_temperature_k": 4312,
        "lux": 131.25,
        "duration_us": 33333,
    }
    assert (source.info.camera, source.info.model) == ("picamera2:0", "imx219")
    assert (source.info.size, source.info.fps, source.info.live) == ((128, 96), 30.0, True)
    assert isinstance(source, Controllable)
    assert camera.held == 0
    assert camera.closed


def test_the_camera_runs_only_once_everything_is_loaded(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    running_while_loading = []

    class Converter(RgbConverter):
        def __init__(self, size: tuple[int, int] | None = None) -> None:
            running_while_loading.append(pi.opened[0].started)
            super().__init__(size)

    monkeypatch.setattr("pi_capture.sources.picamera2.source.RgbConverter", Converter)
    open_source("picamera2", (64, 64)).close()
    assert running_while_loading == [False]
    assert pi.opened[0].started


def test_an_odd_size_is_delivered_too(pi: type[Picamera2]) -> None:
    source = open_source("picamera2:0", (127, 95))
    frame = take(source, 1)[0]
    source.close()
    assert pi.opened[0].configuration["main"]["size"] == (128, 96)
    assert frame.pixels.shape == (95, 127, 3)
    assert frame.pixels[60, 60].tolist() == pytest.approx([200, 0, 40], abs=1)


def test_a_gap_in_the_sensors_time_is_counted_but_a_longer_frame_is_none(
    pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch
) -> None:
    times_ms = [0, 33.3, 133.2, 166.5, 233.1, 299.7]  # two lost before the third; the last two took twice as long
    durations = [33300, 33300, 33300, 33300, 66600, 66600]
    script = [
        reported(SensorTimestamp=FIRST_NS + round(ms * 1e6), FrameDuration=us)
        for ms, us in zip(times_ms, durations, strict=True)
    ]
    monkeypatch.setattr(pi, "script", script)
    source = open_source("picamera2", (64, 64))
    lost = [frame.metadata.get("dropped_camera", 0) for frame in take(source, 6)]
    source.close()
    assert lost == [0, 0, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("fps", "duration_us", "told"), [(None, 33333, 30.0), (15.0, 66667, 15.0), (500.0, 11946, 83.71)]
)
def test_the_rate(pi: type[Picamera2], fps: float | None, duration_us: int, told: float) -> None:
    source = open_source("picamera2", (64, 64), fps)
    source.close()
    assert {"FrameDurationLimits": (duration_us, duration_us)} in pi.opened[0].asked
    assert source.info.fps == pytest.approx(told, abs=0.01)


def test_a_camera_with_its_own_rate_keeps_it(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pi, "controls_advertised", {})
    script = [{"SensorTimestamp": FIRST_NS + ns} for ns in (0, 10_000_000, 90_000_000)]
    monkeypatch.setattr(pi, "script", script)
    source = open_source("picamera2", (64, 64), 15.0)
    frames = take(source, 3)
    source.close()
    assert source.info.fps is None
    assert [frame.metadata for frame in frames] == [{}, {}, {}]  # nobody knows how long a frame takes


def test_exposure_is_held_where_it_stands(pi: type[Picamera2]) -> None:
    source = open_source("picamera2", (64, 64))
    take(source, 2)
    locked = source.lock_exposure()  # type: ignore[attr-defined]
    source.close()
    assert locked == {"exposure_us": 19985, "analogue_gain": 1.8824, "colour_gains": [1.5322, 2.1]}
    assert pi.opened[0].asked[-1] == {
        "AeEnable": False,
        "AwbEnable": False,
        "ExposureTime": 19985,
        "AnalogueGain": 1.8823529481887817,
        "ColourGains": (1.5322, 2.1),
    }


def test_exposure_can_be_held_before_the_first_frame(pi: type[Picamera2]) -> None:
    source = open_source("picamera2", (64, 64))
    assert source.lock_exposure()["exposure_us"] == 19985  # type: ignore[attr-defined]
    source.close()


def test_a_monochrome_camera_has_no_white_balance(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    mono = {name: limits for name, limits in CONTROLS.items() if name not in ("AwbEnable", "ColourGains")}
    monkeypatch.setattr(pi, "controls_advertised", mono)
    source = open_source("picamera2", (64, 64))
    take(source, 1)
    locked = source.lock_exposure()  # type: ignore[attr-defined]
    source.close()
    assert set(locked) == {"exposure_us", "analogue_gain"}


def test_a_camera_without_exposure_controls_holds_nothing(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pi, "controls_advertised", {"Brightness": (-1.0, 1.0, 0.0)})
    source = open_source("picamera2", (64, 64))
    take(source, 1)
    assert source.lock_exposure() == {}  # type: ignore[attr-defined]
    source.set_controls({"AnalogueGain": 4.0})  # type: ignore[attr-defined]
    source.close()
    assert pi.opened[0].asked == []


def test_controls_stay_within_what_the_camera_can(pi: type[Picamera2]) -> None:
    source = open_source("picamera2", (64, 64))
    source.set_controls({"AnalogueGain": 64.0, "ColourGains": (-0.1, 40.0), "LensPosition": 3.0})  # type: ignore[attr-defined]
    source.set_controls({"AnalogueGain": 2.0, "AeEnable": False})  # type: ignore[attr-defined]
    source.close()
    source.set_controls({"AnalogueGain": 2.0})  # type: ignore[attr-defined]
    assert pi.opened[0].asked[-2:] == [
        {"AnalogueGain": 10.6666669845581, "ColourGains": (0.0, 32.0)},
        {"AnalogueGain": 2.0, "AeEnable": False},
    ]


def test_a_lens_that_can_focus_is_told_to(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pi, "controls_advertised", {**CONTROLS, "AfMode": (0, 2, 0)})
    open_source("picamera2", (64, 64)).close()
    assert {"AfMode": 2} in pi.opened[0].asked


def recorded(day: Path, **options: Any) -> tuple[list[Frame], dict[str, Any], list[str]]:
    """The frames of a third of a second, their session, and what was said."""
    said: list[str] = []
    record(day, 0.3, camera="picamera2", size=(64, 64), say=said.append, **options)
    with open_recording(day) as recording:
        return list(recording), dict(recording.sessions[-1]), said


def focus_controls(camera: Picamera2) -> list[dict[str, Any]]:
    return [asked for asked in camera.asked if asked.keys() & {"AfMode", "AfTrigger", "LensPosition"}]


def test_a_lens_that_hunts_is_seen_in_each_frame(module3: CameraModule3, pi: type[Picamera2], tmp_path: Path) -> None:
    frames, session, said = recorded(tmp_path / "day1", focus="auto", jitter=False)
    assert len({frame.metadata["lens_position"] for frame in frames}) > 5
    assert (session["focus"], said) == ("auto", [])
    assert focus_controls(pi.opened[0]) == [{"AfMode": 2}, {"AfMode": 2}]


def test_a_focus_is_found_before_the_first_frame_and_held_with_the_exposure(
    module3: CameraModule3, pi: type[Picamera2], tmp_path: Path
) -> None:
    frames, session, said = recorded(tmp_path / "day1", focus="once", jitter=True)
    assert {frame.metadata["lens_position"] for frame in frames} == {2.375}
    assert frames[0].timestamp_ns > FIRST_NS + 26 * FRAME_NS  # the controls took six frames, the search twenty
    assert session["focus"] == "once" and session["locked"]["exposure_us"] == 19985
    assert said == ["settling exposure for 0 s"]
    camera = pi.opened[0]
    assert focus_controls(camera) == [{"AfMode": 2}, {"AfMode": 1, "AfTrigger": 0}]
    held = next(number for number, asked in enumerate(camera.asked) if "AeEnable" in asked)
    assert camera.asked.index({"AfMode": 1, "AfTrigger": 0}) < held


def test_a_focus_that_is_not_found_is_told(module3: CameraModule3, tmp_path: Path) -> None:
    module3.end = 3
    frames, _, said = recorded(tmp_path / "day1", focus="once", jitter=False)
    assert said == ["--focus once: picamera2:0 is not in focus; give it more light, or the distance in metres"]
    assert frames


def test_a_distance_is_reached_before_the_first_frame(
    module3: CameraModule3, pi: type[Picamera2], tmp_path: Path
) -> None:
    frames, session, said = recorded(tmp_path / "day1", focus=0.25, jitter=False)
    assert focus_controls(pi.opened[0])[1:] == [{"AfMode": 0, "LensPosition": 4.0}]
    assert {frame.metadata["lens_position"] for frame in frames} == {4.0}
    assert (session["focus"], said) == (0.25, [])


def test_nearer_than_the_lens_can_is_refused(module3: CameraModule3, pi: type[Picamera2], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--focus 0.05: picamera2:0 focuses from 0.07 m on"):
        recorded(tmp_path / "day1", focus=0.05)
    assert pi.opened[0].closed


def test_a_lens_that_cannot_move_is_told(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pi, "script", [reported(index) for index in range(30)])
    frames, session, said = recorded(tmp_path / "day1", focus="once", jitter=False)
    assert said == ["picamera2:0 (imx219) has a lens that can't move: going on without --focus"]
    assert frames and "focus" not in session


def test_hdr_on_a_pi_5(module3: CameraModule3, pi: type[Picamera2], tmp_path: Path) -> None:
    frames, session, said = recorded(tmp_path / "day1", hdr=True)
    assert {"HdrMode": 3} in pi.opened[0].asked
    assert frames[0].timestamp_ns > FIRST_NS + 6 * FRAME_NS
    assert (session["hdr"], said) == (True, [])
    assert not any("AeEnable" in asked for asked in pi.opened[0].asked)  # HDR chooses the exposure


@pytest.mark.parametrize("advertised", [True, False])
def test_a_pi_without_hdr_is_told(
    module3: CameraModule3, pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, advertised: bool
) -> None:
    """A Pi 4's libcamera takes the control, and does nothing; older ones have no such control."""
    module3.pi5 = False
    if not advertised:
        monkeypatch.setattr(pi, "controls_advertised", CONTROLS)
    frames, session, said = recorded(tmp_path / "day1", hdr=True)
    assert said == ["picamera2:0 (imx708) has no HDR, which needs a Pi 5: going on without --hdr"]
    assert frames and session["hdr"] is False


@pytest.mark.parametrize(
    ("modes", "size", "fps", "chosen"),
    [
        (IMX219_MODES, (128, 128), 30, ((1640, 1232), 10)),  # 640x480 would show the middle only
        (IMX219_MODES, (128, 128), 90, ((1640, 1232), 10)),
        (IMX219_MODES, (2000, 1500), 15, ((3280, 2464), 10)),
        (IMX219_MODES, (2000, 1500), 30, ((3280, 2464), 10)),
        (IMX219_MODES, None, 30, ((1640, 1232), 10)),
        (IMX219_MODES, None, 20, ((3280, 2464), 10)),
        (IMX708_MODES, (128, 128), 30, ((2304, 1296), 10)),
        (IMX708_MODES, None, 30, ((2304, 1296), 10)),
        (IMX708_MODES, None, 10, ((4608, 2592), 10)),
        (OV5647_MODES, (128, 128), 30, ((640, 480), 10)),
        (OV5647_MODES, (1280, 720), 30, ((1296, 972), 10)),
    ],
)
def test_the_sensor_shows_the_whole_picture(
    modes: list[dict[str, Any]], size: tuple[int, int] | None, fps: float, chosen: tuple[tuple[int, int], int]
) -> None:
    for order in (modes, modes[::-1]):
        mode = choose_sensor_mode(order, size, fps)
        assert mode is not None
        assert (mode["size"], mode["bit_depth"]) == chosen


def test_the_sensor_mode_is_asked_for_and_sets_the_size_of_the_source(pi: type[Picamera2]) -> None:
    source = open_source("picamera2", None)
    source.close()
    assert pi.opened[0].configuration["sensor"] == {"output_size": (1640, 1232), "bit_depth": 10}
    assert source.info.size == (1640, 1232)
    assert choose_sensor_mode([{"format": "NV12"}], (128, 128), 30) is None  # no Pi's sensor


def test_a_camera_that_stops_delivering_ends_in_one_line(pi: type[Picamera2], impatient: None) -> None:
    source = open_source("picamera2", (64, 64))
    frames: list[Any] = []
    with pytest.raises(CameraError) as error:
        for frame in source:
            frames.append(frame)
    assert str(error.value) == "picamera2:0 delivered no picture for 0 s; check the camera's cable"
    assert len(frames) == 5
    assert pi.opened[0].closed
    assert pi.opened[0].held == 0
    source.close()


def test_a_camera_that_vanishes_while_finished_frames_wait(
    pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch
) -> None:
    """libcamera takes no request back then; the frames that it had finished are whole."""
    release = Request.release

    def vanished(self: Request) -> None:
        release(self)
        raise RuntimeError("Failed to queue request: No such device")

    source = open_source("picamera2", (64, 64))
    frames = [next(iter(source))]
    monkeypatch.setattr(Request, "release", vanished)
    with pytest.raises(CameraError) as error:
        for frame in source:
            frames.append(frame)
    assert str(error.value) == "picamera2:0 stopped: Failed to queue request: No such device"
    assert [frame.index for frame in frames] == [0, 1, 2]  # the two that were asked for ahead
    assert pi.opened[0].closed
    assert pi.opened[0].held == 0


@pytest.mark.parametrize("call", ["capture_request", "make_array", "get_metadata"])
def test_whatever_libcamera_raises_ends_in_one_line(
    pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    source = open_source("picamera2", (64, 64))
    next(iter(source))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("Camera frontend has timed out")

    monkeypatch.setattr(Picamera2 if call == "capture_request" else Request, call, fail)
    with pytest.raises(CameraError) as error:
        list(source)
    assert str(error.value) == "picamera2:0 stopped: Camera frontend has timed out"
    assert pi.opened[0].closed
    assert pi.opened[0].held == 0


def test_torn_jpegs_are_counted_and_never_passed_on(
    pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """A USB camera that libcamera runs delivers JPEG whatever is asked for."""
    out = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), (200, 0, 40), np.uint8)).save(out, "JPEG")
    whole, torn = out.getvalue(), out.getvalue()[:200]
    sent = iter([torn, whole, torn, torn, whole])

    def configure(self: Picamera2, camera_config: dict[str, Any]) -> None:
        self.configuration = {**camera_config, "main": {"format": "MJPEG", "size": (64, 64), "stride": 0}}

    monkeypatch.setattr(pi, "configure", configure)
    monkeypatch.setattr(pi, "controls_advertised", {})
    monkeypatch.setattr(pi, "script", [{"SensorTimestamp": FIRST_NS + n * FRAME_NS} for n in range(5)])
    monkeypatch.setattr(Request, "make_buffer", lambda self, name: np.frombuffer(next(sent), np.uint8))
    source = open_source("picamera2", (32, 32))
    frames = take(source, 2)
    assert [frame.metadata.get("dropped_camera", 0) for frame in frames] == [0, 2]
    assert frames[0].pixels.shape == (32, 32, 3)
    assert frames[0].pixels[16, 16].tolist() == pytest.approx([200, 0, 40], abs=4)
    with pytest.raises(CameraError, match="delivered no picture"):
        take(source, 1)


def test_closing_from_another_thread_ends_the_wait(pi: type[Picamera2]) -> None:
    source = open_source("picamera2", (64, 64))
    frames: list[Any] = []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    wait_for(lambda: len(pi.opened[0]._pending) >= 2, "pictures that wait")
    source.close()
    source.close()
    thread.join(120)
    assert not thread.is_alive()
    assert len(frames) == 5
    assert pi.opened[0].closed
    assert pi.opened[0].held == 0


def test_closing_gives_back_what_was_taken_ahead(pi: type[Picamera2]) -> None:
    source = open_source("picamera2", (64, 64))
    take(source, 1)
    assert pi.opened[0].held > 0
    source.close()
    assert pi.opened[0].held == 0
    assert list(source) == []


def test_usb_cameras_are_left_to_v4l2(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    usb = [
        {"Model": "HD Webcam", "Id": "/base/scb/pcie@7d500000/pci@0,0/usb@0,0-1.3:1.0-046d:0825", "Num": 1},
        {"Model": "HD Webcam", "Id": "\\_SB_.PCI0.XHC_.RHUB.HS07-7:1.0-046d:0825", "Num": 2},
    ]
    monkeypatch.setattr(pi, "cameras", [*pi.cameras, *usb])
    listed = [camera for camera in list_cameras() if camera.spec.startswith("picamera2")]
    assert [(camera.spec, camera.model) for camera in listed] == [("picamera2:0", "imx219")]


def test_cameras_that_are_not_there(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CameraError, match="there is no Raspberry Pi camera 1; this machine has 1, counted from 0"):
        open_source("picamera2:1")
    with pytest.raises(UsageError, match="picamera2:front: give the camera's number"):
        open_source("picamera2:front")
    monkeypatch.setattr(pi, "cameras", [])
    with pytest.raises(CameraError, match="no Raspberry Pi camera found; check its cable"):
        open_source("picamera2")


def test_a_busy_camera(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pi, "in_use", True)
    with pytest.raises(CameraError, match="camera 0 is in use by another program; close that one first"):
        open_source("picamera2")


def test_a_camera_that_cant_be_set_up_is_given_back(pi: type[Picamera2], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Picamera2, camera_config: Any) -> None:
        raise RuntimeError("Configuration failed: no memory")

    monkeypatch.setattr(pi, "configure", fail)
    with pytest.raises(CameraError, match="camera 0 can't be set up: Configuration failed: no memory"):
        open_source("picamera2")
    assert pi.opened[0].closed


def test_picamera2_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    assert [camera for camera in list_cameras() if camera.spec.startswith("picamera2")] == []
    with pytest.raises(CameraError) as error:
        open_source("picamera2")
    assert "sudo apt install python3-picamera2" in str(error.value)
    assert "--system-site-packages" in str(error.value)
    assert "\n" not in str(error.value)


def test_picamera2_broken_by_a_newer_numpy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reason = "numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88"
    (tmp_path / "picamera2.py").write_text(f"raise ValueError({reason!r})\n")
    monkeypatch.delitem(sys.modules, "picamera2")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CameraError, match="pip install --upgrade simplejpeg"):
        open_source("picamera2")

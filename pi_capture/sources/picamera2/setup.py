"""How a Raspberry Pi camera is set up: its size, its pixel format, its sensor's mode, its rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pi_capture.errors import CameraError
from pi_capture.sources import Size, SourceInfo
from pi_capture.sources.picamera2.modes import choose_sensor_mode

RGB = "BGR888"  # libcamera names a pixel's bytes from the last to the first: in memory this is red, green, blue
PIXEL_FORMATS = {
    "BGR888": "rgb24",
    "RGB888": "bgr24",
    "XBGR8888": "rgb0",
    "XRGB8888": "bgr0",
    "NV12": "nv12",
    "NV21": "nv21",
    "YUV420": "yuv420p",
    "YUYV": "yuyv422",
    "UYVY": "uyvy422",
    "MJPEG": "mjpeg",
}
"""libcamera's formats that can be read, by FFmpeg's names."""

BUFFERS = 6
DEFAULT_FPS = 30.0
AF_CONTINUOUS = 2  # of libcamera's AfModeEnum


def set_up(camera: Any, number: int, size: Size | None, fps: float | None) -> SourceInfo:
    """Configure a camera. Returns what it will deliver, as the image processor may change the configuration."""
    mode = _sensor_mode(camera, size, fps or DEFAULT_FPS)
    camera.configure(_configuration(camera, size or (mode["size"] if mode else camera.sensor_resolution), mode))
    stream = camera.camera_configuration()["main"]
    if stream["format"] not in PIXEL_FORMATS:
        raise CameraError(f"picamera2:{number} delivers the format {stream['format']}, which can't be read here")
    details: dict[str, Any] = {"pixel_format": stream["format"], "captured_size": list(stream["size"])}
    if mode:
        details["sensor_mode"] = list(mode["size"])
    return SourceInfo(
        camera=f"picamera2:{number}",
        model=str(camera.camera_properties.get("Model", "camera")),
        size=size or tuple(stream["size"]),
        fps=_set_rate(camera, fps or DEFAULT_FPS),
        live=True,
        details=details,
    )


def _set_rate(camera: Any, fps: float) -> float | None:
    """Ask for a rate, and for focus if the lens can. Returns the rate, None if the camera keeps its own."""
    ranges = camera.camera_controls
    if "AfMode" in ranges:
        camera.set_controls({"AfMode": AF_CONTINUOUS})
    if "FrameDurationLimits" not in ranges:
        return None
    duration_us: int = within(round(1e6 / fps), ranges["FrameDurationLimits"])
    camera.set_controls({"FrameDurationLimits": (duration_us, duration_us)})
    return round(1e6 / duration_us, 3)


def _configuration(camera: Any, size: Size, mode: Mapping[str, Any] | None) -> dict[str, Any]:
    even = size[0] + size[0] % 2, size[1] + size[1] % 2  # picamera2 takes no odd sizes
    sensor = {"output_size": mode["size"], "bit_depth": mode["bit_depth"]} if mode else {}
    configuration: dict[str, Any] = camera.create_video_configuration(
        main={"format": RGB, "size": even}, buffer_count=BUFFERS, queue=True, sensor=sensor
    )
    return configuration


def _sensor_mode(camera: Any, size: Size | None, fps: float) -> Mapping[str, Any] | None:
    """Return the sensor mode to ask for; None leaves it to picamera2."""
    if "ColorFilterArrangement" not in camera.camera_properties:  # not a Pi's sensor
        return None
    try:
        return choose_sensor_mode(camera.sensor_modes, size, fps)
    except (RuntimeError, KeyError):  # the driver reports no modes
        return None


def within(value: Any, limits: tuple[Any, Any, Any]) -> Any:
    """Return a control's value, or each of several, limited to what the camera allows."""
    if isinstance(value, tuple | list):
        return tuple(within(part, limits) for part in value)
    least, most, _ = limits
    if isinstance(value, bool) or not all(isinstance(limit, int | float) for limit in (value, least, most)):
        return value
    return min(max(value, least), most)

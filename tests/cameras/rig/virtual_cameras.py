"""The real picamera2 and libcamera on libcamera's virtual cameras, which show pictures out of files.

They deliver NV12 only, whatever is asked for, and can't be controlled: what a Pi's sensor and image processor add can't
be tested with them.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

CONFIGURATION = Path("/usr/share/libcamera/pipeline/virtual/virtual.yaml")


@contextmanager
def plugged_in(cameras: Mapping[str, tuple[Path, Sequence[tuple[int, int]]]]) -> Iterator[None]:
    """Have these cameras: by model, a directory of pictures and the sizes (width, height) that it offers.

    The pictures are named `0.jpg`, `1.jpg` …; each is shown four times, the first again after the last. libcamera looks
    for cameras once in a process.
    """
    configuration = {
        model: {
            "model": model,
            "location": "CameraLocationBack",
            "frames": {"path": f"{pictures}/"},
            "supported_formats": [{"width": w, "height": h, "frame_rates": [30, 60]} for w, h in sizes],
        }
        for model, (pictures, sizes) in cameras.items()
    }
    CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
    CONFIGURATION.write_text(json.dumps(configuration, indent=1))  # JSON is YAML as well
    yield
    CONFIGURATION.unlink()


@cache  # once in a process
def install(fps: float | None = None) -> None:
    """Make picamera2 work without a Raspberry Pi, and virtual cameras deliver `fps` pictures a second.

    Four things are bridged that picamera2 takes for granted. Everything else that runs is the real thing.
    """
    sys.modules.setdefault("pykms", MagicMock())  # it imports the Pi's screen, which nothing here shows anything on
    import libcamera
    from picamera2 import dma_heap, picamera2

    dma_heap.heapNames.append("/dev/dma_heap/system")  # it knows the names on a Pi only
    picamera2.DmaAllocator = _two_plane_allocator()

    generate_configuration = libcamera.Camera.generate_configuration

    def generate_any_configuration(camera: Any, roles: list[Any]) -> Any:
        # It looks for the sensor's own format; a virtual camera has none.
        configuration = generate_configuration(camera, roles)
        if configuration is None:
            configuration = generate_configuration(camera, [libcamera.StreamRole.VideoRecording])
        return configuration

    libcamera.Camera.generate_configuration = generate_any_configuration
    if fps is not None:
        _keep_time(libcamera.Camera, fps)


def _two_plane_allocator() -> type:
    """It describes a buffer as one plane; where a virtual camera finds no second one, it crashes."""
    import libcamera
    from picamera2.allocators import DmaAllocator

    class TwoPlaneAllocator(DmaAllocator):  # type: ignore[misc]  # picamera2 has no types
        def allocate(self, configurations: Any, use_case: Any) -> None:
            super().allocate(configurations, use_case)
            for stream in configurations:
                if str(stream.pixel_format) == "NV12":
                    whole = self.frame_buffers[stream.stream]
                    self.frame_buffers[stream.stream] = [self._split(buffer, stream) for buffer in whole]

        def _split(self, whole: Any, stream: Any) -> Any:
            luma = stream.stride * stream.size.height
            planes = []
            for offset, length in ((0, luma), (luma, stream.frame_size - luma)):
                plane = libcamera.FrameBuffer.Plane()
                plane.fd, plane.offset, plane.length = whole.planes[0].fd, offset, length
                planes.append(plane)
            split = libcamera.FrameBuffer(planes)
            # The allocator keeps its books by buffer and by descriptor, of which libcamera has made copies.
            self.mapped_buffers[split] = self.mapped_buffers.pop(whole)
            self.mapped_buffers_used[split.planes[0].fd] = False
            self.libcamera_fds.append(split.planes[0].fd)
            return split

    return TwoPlaneAllocator


class FrameClock:
    """Hands a camera one request a tick, as a sensor would.

    A virtual camera by itself completes a request as soon as it has it: hundreds in a second. A tick that finds no
    request is a lost frame: the program has kept all buffers.
    """

    def __init__(self, fps: float, hand_over: Callable[[Any], object]) -> None:
        self.running = True
        self._seconds = 1 / fps
        self._hand_over = hand_over
        self._requests: deque[Any] = deque()
        self._lock = threading.Lock()
        threading.Thread(target=self._tick, daemon=True).start()

    def add(self, request: Any) -> None:
        with self._lock:
            self._requests.append(request)

    def stop(self) -> None:
        with self._lock:  # nothing is handed over afterwards
            self.running = False

    def _tick(self) -> None:
        due = time.monotonic()
        while True:
            due += self._seconds
            time.sleep(max(0.0, due - time.monotonic()))
            with self._lock:
                if not self.running:
                    return
                if self._requests:
                    self._hand_over(self._requests.popleft())


clocks: dict[str, FrameClock] = {}  # of the virtual cameras that run


def _keep_time(camera_class: Any, fps: float) -> None:
    start, queue_request, stop = camera_class.start, camera_class.queue_request, camera_class.stop

    def start_with_clock(camera: Any, *arguments: Any) -> Any:
        result = start(camera, *arguments)
        if any(key.name == "PipelineHandler" and value == "virtual" for key, value in camera.properties.items()):
            clocks[camera.id] = FrameClock(fps, lambda request: queue_request(camera, request))
        return result

    def queue_for_clock(camera: Any, request: Any) -> Any:
        if camera.id in clocks:
            return clocks[camera.id].add(request)
        return queue_request(camera, request)

    def stop_with_clock(camera: Any) -> Any:
        if camera.id in clocks:
            clocks.pop(camera.id).stop()
        return stop(camera)

    camera_class.start, camera_class.queue_request, camera_class.stop = (
        start_with_clock,
        queue_for_clock,
        stop_with_clock,
    )

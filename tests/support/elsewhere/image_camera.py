"""A camera of another distribution: the pictures of a directory, ten a second, ``images:DIRECTORY``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pi_capture.errors import CameraError
from pi_capture.sources import Size, SourceInfo
from storage.formats.png.codec import decode_image
from storage.frame import Frame

PERIOD_NS = 100_000_000


def open(address: str, size: Size | None, fps: float | None) -> ImageCamera:
    directory = Path(address)
    files = sorted(directory.glob("*.png"))
    if not files:
        raise CameraError(f"images:{address}: there is no PNG file; give a directory that has some")
    return ImageCamera(directory, files, size)


class ImageCamera:
    def __init__(self, directory: Path, files: list[Path], size: Size | None) -> None:
        height, width, _ = decode_image(files[0].read_bytes()).shape
        self.info = SourceInfo(f"images:{directory}", "a directory", size or (width, height), 10.0, live=False)
        self._files, self._closed = files, False

    def __iter__(self) -> Iterator[Frame]:
        for index, file in enumerate(self._files):
            if self._closed:
                return
            pixels = decode_image(file.read_bytes())
            width, height = self.info.size
            rows = np.arange(height) * pixels.shape[0] // height
            columns = np.arange(width) * pixels.shape[1] // width
            yield Frame(np.ascontiguousarray(pixels[rows][:, columns]), index, index * PERIOD_NS, {"file": file.name})

    def close(self) -> None:
        self._closed = True

"""MobileNet as a feature extractor: a picture in, 256 numbers out, by LiteRT, without TensorFlow.

The weights come as a ``.tflite`` file that takes pixels as they are; `storage.formats.features.export` makes one from
other files of weights, once each, and keeps it in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError, first_line
from storage.formats.features.export import export_model
from storage.formats.features.weights import FEATURES, SIDE, cache_directory, exported_name, origin_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXPORTABLE = (".pb", ".keras", ".weights.h5")
HOW_TO_EXPORT = "run 'python -m pi_capture export-model' once on a machine with TensorFlow and network"


class Extractor:
    """Computes features; may be called from several threads at once, each has an interpreter of its own.

    Parameters
    ----------
    weights : str or path
        A ``.tflite`` file, or another file of weights (see `storage.formats.features.export`), or ``imagenet``, which
        must have been exported before.

    Raises
    ------
    StorageError
        There is no such file, it is no such network, or LiteRT is not installed.
    """

    def __init__(self, weights: str | Path = "imagenet") -> None:
        try:
            import_module("ai_edge_litert.interpreter")  # before anything is exported
        except ImportError:
            raise StorageError("features need LiteRT: 'pip install pi-capture[features]' on a 64-bit system") from None
        path = find_model(weights)
        try:
            self._model = path.read_bytes()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from None
        self.sha256 = hashlib.sha256(self._model).hexdigest()
        self._of_this_thread = threading.local()
        try:
            with _silent():
                self._interpreter()
        except (ValueError, RuntimeError) as error:
            raise StorageError(f"{path} is no MobileNet that LiteRT can run: {first_line(error)}") from None

    def extract(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of a picture.

        Parameters
        ----------
        pixels : ndarray, shape (height, width, 3), uint8, RGB
            Of any size; see `storage.formats.features.weights.PREPROCESSING`.

        Returns
        -------
        ndarray, shape (256,), float32
        """
        interpreter, entry, exit_ = self._interpreter()
        interpreter.set_tensor(entry, _square(pixels)[None])
        interpreter.invoke()
        features: NDArray[np.float32] = interpreter.get_tensor(exit_)[0]
        return features

    def _interpreter(self) -> tuple[Any, int, int]:
        found: tuple[Any, int, int] | None = getattr(self._of_this_thread, "interpreter", None)
        if found is None:
            found = self._of_this_thread.interpreter = self._make_interpreter()
        return found

    def _make_interpreter(self) -> tuple[Any, int, int]:
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=self._model, num_threads=1)
        interpreter.allocate_tensors()
        (entry,), (exit_,) = interpreter.get_input_details(), interpreter.get_output_details()
        takes = list(entry["shape"]) == [1, SIDE, SIDE, 3] and entry["dtype"] == np.uint8
        gives = list(exit_["shape"]) == [1, FEATURES] and exit_["dtype"] == np.float32
        if not (takes and gives):
            raise ValueError(
                f"it takes {list(entry['shape'])} {np.dtype(entry['dtype'])} and gives {list(exit_['shape'])} "
                f"{np.dtype(exit_['dtype'])}, wanted are [1, 128, 128, 3] uint8 and [1, 256] float32"
            )
        return interpreter, entry["index"], exit_["index"]


def find_model(weights: str | Path) -> Path:
    """The ``.tflite`` file for some weights: the file itself, or the one exported from it, which is made if need be.

    Raises
    ------
    StorageError
        There is none; the message says how to get it.
    """
    path = Path(weights)
    if str(weights) == "imagenet":
        exported = cache_directory() / exported_name("imagenet")
        if not exported.is_file():
            raise StorageError(f"no ImageNet weights on this machine: {HOW_TO_EXPORT}, or give --weights FILE")
        return exported
    if not path.is_file():
        raise StorageError(f"{path}: no such file of weights")
    if path.name.lower().endswith(EXPORTABLE):
        exported = cache_directory() / exported_name(origin_of(path))
        return exported if exported.is_file() else export_model(path)
    return path


def _square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (SIDE, SIDE):
        return pixels
    import numpy as np
    from PIL import Image

    height, width, _ = pixels.shape
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))


@contextmanager
def _silent() -> Iterator[None]:
    """Keep LiteRT's messages about how it computes off the terminal; it has no option for that."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

"""MobileNet as a feature extractor: a picture in, 256 numbers out, by LiteRT, without TensorFlow.

The weights come as a ``.tflite`` file: the model garden's, or one that `storage.formats.features.export` makes from
other files of weights, once each, and keeps in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError, first_line
from storage.formats.features.export import export_model, is_fetched
from storage.formats.features.fetch import check
from storage.formats.features.weights import FEATURES, SIDE, cache_directory, exported_name, origin_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXPORTABLE = (".pb", ".keras", ".weights.h5", ".tgz")


class Extractor:
    """Computes features; may be called from several threads at once, each has an interpreter of its own.

    Parameters
    ----------
    weights : str, path or bytes
        A ``.tflite`` file, or another file of weights (see `storage.formats.features.export`), or ``imagenet``, which
        must have been fetched before. Or what a ``.tflite`` file holds.

    Attributes
    ----------
    network : bytes
        What the ``.tflite`` file holds.
    sha256 : str
        Of the network.

    Raises
    ------
    StorageError
        There is no such file, it is no such network, or LiteRT is not installed.
    """

    def __init__(self, weights: str | Path | bytes = "imagenet") -> None:
        need_litert()  # before anything is exported
        name, self.network = ("the network", weights) if isinstance(weights, bytes) else _read_model(weights)
        self.sha256 = hashlib.sha256(self.network).hexdigest()
        self._of_this_thread = threading.local()
        try:
            with silent():
                self._interpreter()
        except (ValueError, RuntimeError) as error:
            raise StorageError(f"{name} is no MobileNet that LiteRT can run: {first_line(error)}") from None

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
        interpreter.set_tensor(entry["index"], _scaled(to_square(pixels), entry)[None])
        interpreter.invoke()
        features: NDArray[np.float32] = interpreter.get_tensor(exit_["index"]).reshape(FEATURES)
        return features

    def _interpreter(self) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        found: tuple[Any, dict[str, Any], dict[str, Any]] | None = getattr(self._of_this_thread, "interpreter", None)
        if found is None:
            found = self._of_this_thread.interpreter = self._make_interpreter()
        return found

    def _make_interpreter(self) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        def interpreter_of(**how: bool) -> tuple[Any, dict[str, Any], dict[str, Any]]:
            interpreter = Interpreter(model_content=self.network, num_threads=1, **how)
            interpreter.allocate_tensors()
            (entry,), (exit_,) = interpreter.get_input_details(), interpreter.get_output_details()
            return interpreter, entry, exit_

        interpreter, entry, exit_ = interpreter_of()
        if entry["dtype"] == np.float32:
            # The model garden's goes on, to the 1001 classes of ImageNet: its features are an array on the way.
            with warnings.catch_warnings(action="ignore"):  # it may take more memory: some megabytes
                interpreter, entry, exit_ = interpreter_of(experimental_preserve_all_tensors=True)
            pooled = [one for one in interpreter.get_tensor_details() if list(one["shape"]) == [1, 1, 1, FEATURES]]
            exit_ = pooled[0] if len(pooled) == 1 else exit_
        takes = list(entry["shape"]) == [1, SIDE, SIDE, 3] and entry["dtype"] in (np.uint8, np.float32)
        gives = list(exit_["shape"]) in ([1, FEATURES], [1, 1, 1, FEATURES]) and exit_["dtype"] == np.float32
        if not (takes and gives):
            raise ValueError(
                f"it takes {list(entry['shape'])} {np.dtype(entry['dtype'])} and gives {list(exit_['shape'])} "
                f"{np.dtype(exit_['dtype'])}, wanted are [1, 128, 128, 3] uint8 and [1, 256] float32"
            )
        return interpreter, entry, exit_


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
            raise StorageError(
                "no ImageNet weights on this machine: run 'python -m pi_capture export-model' once, with the internet, "
                "or with --weights FILE, a copy from another machine"
            )
        return exported
    if not path.is_file():
        raise StorageError(f"{path}: no such file of weights")
    if path.name.lower().endswith(EXPORTABLE):
        exported = cache_directory() / exported_name(origin_of(path))
        return exported if exported.is_file() else export_model(path, exported)
    return path


def cache_model(weights: str | Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Export weights to where `find_model` looks for them; `progress` and errors are those of `export_model`.

    What is fetched, here or on another machine (``.tgz``, ``.tflite``), becomes ``imagenet``. A ``.tflite`` file must
    run, as it replaces what may be a good one.
    """
    path = Path(weights)
    default = cache_directory() / exported_name("imagenet")
    if is_fetched(weights):
        return default if default.exists() else export_model(weights, default, progress)
    if path.name.lower().endswith(".tflite"):
        Extractor(path)
    elif not path.name.lower().endswith(".tgz"):
        default = cache_directory() / exported_name(origin_of(path))
    return export_model(path, default)


def _read_model(weights: str | Path) -> tuple[str, bytes]:
    path = find_model(weights)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    check(path, content)
    return str(path), content


def _scaled(picture: NDArray[np.uint8], entry: dict[str, Any]) -> NDArray[Any]:
    """A picture as the network takes it: bytes, or numbers from -1 to 1."""
    import numpy as np

    if entry["dtype"] == np.uint8:
        return picture
    return picture.astype(np.float32) / 127.5 - 1


def need_litert() -> None:
    """Raise StorageError if LiteRT is not installed."""
    try:
        import_module("ai_edge_litert.interpreter")
    except ImportError:
        raise StorageError("networks need LiteRT: 'pip install pi-capture[features]' on a 64-bit system") from None


def to_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the network sees of a picture (height, width, 3): its centre, (128, 128, 3) uint8."""
    return fitted(pixels, (SIDE, SIDE))


def fitted(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture cut around its centre to the shape of `size`, width and height, and scaled to it: as it is, if it fits.

    Shapes (height, width, 3), uint8.
    """
    height, width, _ = pixels.shape
    if (width, height) == size:
        return pixels
    import numpy as np
    from PIL import Image

    scale = min(width / size[0], height / size[1])
    across, down = scale * size[0], scale * size[1]
    left, top = (width - across) // 2, (height - down) // 2
    box = (left, top, left + across, top + down)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))


@contextmanager
def silent() -> Iterator[None]:
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

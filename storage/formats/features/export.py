"""Makes the ``.tflite`` file that `storage.formats.features.extractor` runs: fetched, or made from weights as Keras or
TensorFlow 1 keep them.

The latter needs TensorFlow; running the result does not. TensorFlow takes half a gigabyte and writes to the terminal
what it likes, so the work is done by a process of its own: this module, run as a program.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from storage.durable.files import replace_file
from storage.errors import StorageError, first_line
from storage.formats.features.fetch import URL, fetch, keep, network_in
from storage.formats.features.weights import FEATURES, SIDE, cache_directory

FAILED = "EXPORT FAILED: "


def export_model(weights: str | Path, target: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Export weights to a ``.tflite`` file, and return it.

    Parameters
    ----------
    weights : str or path
        ``imagenet`` or a URL, which is fetched (`storage.formats.features.fetch`); or a file: the same archive,
        ``.tgz``, the network in it, ``.tflite``, ``.keras`` (a whole model), ``.weights.h5`` (of
        ``keras.applications.MobileNet(alpha=0.25, include_top=False)``), or ``.pb`` (a frozen TensorFlow 1 graph, with
        one placeholder that takes values from -1 to 1).
    target : path
        The file to make, or to replace.
    progress : callable, optional
        Of what is fetched: see `fetch`.

    Raises
    ------
    StorageError
        The weights can't be had or read, or they need TensorFlow, and that is not installed.
    """
    try:
        if target.parent == cache_directory():
            target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{target.parent}: {error.strerror}") from None
    if is_fetched(weights):
        fetch(URL if str(weights) == "imagenet" else str(weights), target, progress)
    elif str(weights).lower().endswith(".tgz"):
        keep(network_in(Path(weights)), target)
    elif str(weights).lower().endswith(".tflite"):
        keep(_tflite(Path(weights)), target)
    else:
        _by_tensorflow(weights, target)
    return target


def is_fetched(weights: str | Path) -> bool:
    return str(weights) == "imagenet" or "://" in str(weights)


def _tflite(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    if content[4:8] != b"TFL3":  # the identifier of a TensorFlow Lite file, after its first offset
        raise StorageError(f"{path} is no .tflite file")
    return content


def _by_tensorflow(weights: str | Path, target: Path) -> None:
    if find_spec("tensorflow") is None:
        raise StorageError(
            f"exporting {weights} needs TensorFlow: run 'pip install pi-capture[train]'; or do it on another machine,"
            " with --out FILE.tflite, and give that file here"
        )
    package = str(Path(__file__).parents[3])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    program = [sys.executable, "-m", "storage.formats.features.export", str(weights), str(target)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it was killed"]
        reason = next((line for line in lines if line.startswith(FAILED)), f"{weights} can't be exported: {lines[-1]}")
        raise StorageError(reason.removeprefix(FAILED))


# ------------------------------------------------------------------------------------------------ in the other process


def _main(weights: str, target: str) -> int:
    try:
        import tensorflow as tf

        path = Path(weights)
        replace_file(Path(target), _convert(tf, _from_file(tf, path), path))
    except StorageError as error:
        print(f"{FAILED}{error}".replace("\n", " "), file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{FAILED}{target}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _from_file(tf: Any, path: Path) -> Callable[[Any], Any]:
    try:
        if path.suffix == ".pb":
            return _frozen_graph(tf, path)
        if path.name.endswith(".weights.h5"):
            keras_model = tf.keras.applications.MobileNet((SIDE, SIDE, 3), 0.25, include_top=False, weights=None)
            keras_model.load_weights(path)
            return _averaged(tf, keras_model)
        if path.suffix == ".keras":
            return _averaged(tf, tf.keras.models.load_model(path, safe_mode=True))
    except Exception as error:  # of a damaged file, anything
        raise StorageError(f"{path} can't be read: {first_line(error)}") from None
    raise StorageError(f"{path}: give .tflite, .tgz, .keras, .weights.h5 or .pb")


def _averaged(tf: Any, keras_model: Any) -> Callable[[Any], Any]:
    """The model, averaged over the picture unless it does so itself."""

    def network(scaled: Any) -> Any:
        features = keras_model(scaled, training=False)
        return tf.reduce_mean(features, axis=[1, 2]) if len(features.shape) == 4 else features

    return network


def _frozen_graph(tf: Any, path: Path) -> Callable[[Any], Any]:
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(path.read_bytes())
    (entry,) = [node.name for node in graph.node if node.op == "Placeholder"]
    used = {name.split(":")[0].lstrip("^") for node in graph.node for name in node.input}
    (exit_,) = [node.name for node in graph.node if node.name not in used]

    def network(scaled: Any) -> Any:
        (features,) = tf.graph_util.import_graph_def(
            graph, input_map={f"{entry}:0": scaled}, return_elements=[f"{exit_}:0"], name="network"
        )
        return tf.reduce_mean(features, axis=[1, 2])

    return network


def _convert(tf: Any, network: Callable[[Any], Any], path: Path) -> bytes:
    """One picture of bytes in, 256 floats out; the scaling is part of the model."""

    def extract(pixels: Any) -> Any:
        return network(tf.cast(pixels, tf.float32) / 127.5 - 1.0)

    try:
        signature = tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8)
        function = tf.compat.v1.wrap_function(extract, [signature])
        if list(function.outputs[0].shape) != [1, FEATURES]:
            raise ValueError(f"it gives {function.outputs[0].shape}, not (1, {FEATURES})")
        converted: bytes = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path} is no MobileNet 0.25 for 128x128: {first_line(error)}") from None
    return converted


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))

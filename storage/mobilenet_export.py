"""Makes the ``.tflite`` file that `storage.mobilenet` runs, from weights as Keras or TensorFlow 1 keep them.

This needs TensorFlow; running the result does not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.atomic import replace_file
from storage.errors import StorageError
from storage.mobilenet import FEATURES, SIDE, cache_directory, exported_name


def export_model(weights: str | Path = "imagenet", out: Path | None = None) -> Path:
    """Export weights to a ``.tflite`` file.

    Parameters
    ----------
    weights : str or path
        ``imagenet`` (Keras fetches them), or a file: ``.keras`` (a whole model), ``.weights.h5`` (of
        ``keras.applications.MobileNet(alpha=0.25, include_top=False)``), or ``.pb`` (a frozen TensorFlow 1 graph, with
        one placeholder that takes values from -1 to 1).
    out : path, optional
        The file to make; by default one in the user's cache, where `storage.mobilenet` looks for it.

    Returns
    -------
    path
        The file made.

    Raises
    ------
    StorageError
        The weights can't be had or read, or TensorFlow is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError:
        raise StorageError("exporting needs TensorFlow: run 'pip install pi-capture[train]'") from None
    path = Path(weights)
    if str(weights) == "imagenet":
        origin = "imagenet"
        network = _imagenet(tf)
    else:
        if not path.is_file():
            raise StorageError(f"{path}: no such file of weights")
        origin = hashlib.sha256(path.read_bytes()).hexdigest()
        network = _from_file(tf, path)
    model = _convert(tf, network, path)
    target = out or cache_directory() / exported_name(origin)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, model)
    return target


def _imagenet(tf: Any) -> Callable[[Any], Any]:
    try:
        return _averaged(tf, tf.keras.applications.MobileNet((SIDE, SIDE, 3), 0.25, include_top=False))
    except Exception as error:  # urllib's, ssl's and Keras's own
        reason = str(error).splitlines()[0]
        raise StorageError(f"the ImageNet weights can't be fetched ({reason}); give --weights FILE") from None


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
        raise StorageError(f"{path} can't be read: {(str(error).splitlines() or ['?'])[0]}") from None
    raise StorageError(f"{path}: give .tflite, .keras, .weights.h5 or .pb")


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
        raise StorageError(f"{path} is no MobileNet 0.25 for 128x128: {str(error).splitlines()[0]}") from None
    return converted

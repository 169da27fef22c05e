"""Random weights of MobileNet for the tests: there is no network in a test, so none are fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_RANDOM = """
import sys
import keras, numpy as np, tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
keras.utils.set_random_seed(20)
model = keras.applications.MobileNet((128, 128, 3), 0.25, include_top=False, weights=None)
for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.0
model(np.random.uniform(-1, 1, (8, 1, 1, 3)) * np.random.uniform(0, 1, (8, 128, 128, 3)), training=True)
# Now its layers are normalised, as a trained one's are: it sees the difference between pictures.
model.save(sys.argv[1] + "/random.keras")
model.save_weights(sys.argv[1] + "/random.weights.h5")
function = tf.function(lambda scaled: model(scaled, training=False))
frozen = convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec((None, 128, 128, 3))))
tf.io.write_graph(frozen.graph, sys.argv[1], "random.pb", as_text=False)
"""


def make_random(directory: Path) -> None:
    """Make ``random.keras``, ``random.weights.h5`` and ``random.pb``, a frozen TensorFlow 1 graph: the same weights."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-c", _RANDOM, str(directory)], check=True, env=environment, stderr=subprocess.DEVNULL
    )

"""Weights of MobileNet for the tests: the real ones where they are at hand, random ones otherwise.

The real ones are a frozen TensorFlow 1 graph; there is no network in a test, so nothing is fetched.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from storage.mobilenet.export import export_model
from storage.mobilenet.weights import exported_name

REAL = Path(__file__).parents[2] / "shared" / "data" / "mobilenet_025_128.pb"

_RANDOM = """
import sys
import keras, numpy as np
keras.utils.set_random_seed(20)
model = keras.applications.MobileNet((128, 128, 3), 0.25, include_top=False, weights=None)
for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.0
model(np.random.uniform(-1, 1, (8, 1, 1, 3)) * np.random.uniform(0, 1, (8, 128, 128, 3)), training=True)
# Now its layers are normalised, as a trained one's are: it sees the difference between pictures.
model.save(sys.argv[1] + "/random.keras")
model.save_weights(sys.argv[1] + "/random.weights.h5")
"""


def make_random(directory: Path) -> tuple[Path, Path]:
    """Random weights as a ``.keras`` and a ``.weights.h5`` file."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-c", _RANDOM, str(directory)], check=True, env=environment, stderr=subprocess.DEVNULL
    )
    return directory / "random.keras", directory / "random.weights.h5"


def fill_cache(cache: Path) -> Path:
    """Make a cache directory in which ``imagenet`` is found: for tests that need features, whichever they are."""
    model = cache / "pi-capture" / exported_name("imagenet")
    model.parent.mkdir()
    return export_model(REAL if REAL.exists() else make_random(cache)[1], model)

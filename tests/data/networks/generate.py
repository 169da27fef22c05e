"""Makes the networks beside it, with TensorFlow: ``python tests/data/networks/generate.py``.

Each tells the colour of a picture by its mean: red, green or blue. ``float.tflite`` takes what Teachable Machine's
float models take (-1 to 1), ``uint8.tflite`` what its quantised ones do, ``int8.tflite`` what Edge Impulse's do (0 to
1, quantised); ``scores.tflite`` gives scores instead of shares; ``grey.tflite`` takes pictures without colours, and
tells dark from light.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import tensorflow as tf

HERE = Path(__file__).parent
SIDE = 16
Pictures = Callable[[], Iterator[list[Any]]]


def network(kernel: list[list[float]], bias: list[float], activation: str | None = "softmax") -> keras.Model:
    dense = keras.layers.Dense(len(bias), activation=activation)
    shape = (SIDE, SIDE, len(kernel))
    model = keras.Sequential([keras.Input(shape), keras.layers.AveragePooling2D(SIDE), keras.layers.Flatten(), dense])
    dense.set_weights([np.array(kernel), np.array(bias)])
    return model


def colours(factor: float, activation: str | None = "softmax") -> keras.Model:
    return network((np.eye(3) * factor).tolist(), [0.0] * 3, activation)


def converted(model: keras.Model, kind: Any = None, pictures: Pictures | None = None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = pictures
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = kind
    content: bytes = converter.convert()
    return content


def between(low: float, high: float) -> Pictures:
    def pictures() -> Iterator[list[Any]]:
        random = np.random.default_rng(0)
        for number in range(60):
            plain = np.full((1, SIDE, SIDE, 3), low, np.float32)
            plain[..., number % 3] = high if number % 2 else random.uniform(low, high)
            yield [plain]

    return pictures


def main() -> None:
    made = {
        "float": converted(colours(6)),
        "uint8": converted(colours(6), tf.uint8, between(-1, 1)),
        "int8": converted(colours(12), tf.int8, between(0, 1)),
        "scores": converted(colours(6, activation=None)),
        "grey": converted(network([[-6.0, 6.0]], [0.0, 0.0])),
    }
    for name, content in made.items():
        (HERE / f"{name}.tflite").write_bytes(content)


if __name__ == "__main__":
    main()

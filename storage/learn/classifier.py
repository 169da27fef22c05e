"""Classifiers that run without TensorFlow, by LiteRT: model files of this toolkit, and anybody's ``.tflite`` files.

What the latter take and give is read from the file; the names of its classes are in ``labels.txt``, inside (in the
zip archive that TensorFlow Lite's metadata append) or beside it. LiteRT runs what a file says without a doubt, and a
damaged one can end the process: so a process of its own, this module run as a program, tries it first.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StorageError
from storage.formats.features.extractor import fitted, need_litert, silent
from storage.formats.features.weights import SIDE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_LABEL_BYTES = 1_000_000
MOST_TRIAL_BYTES = 4_000_000_000  # of memory, while a file is tried
TRIAL_SECONDS = 60
SIDES = range(8, 2049)
ZIPPED = b"PK\3\4"
IDENTIFIER = b"TFL3"  # bytes 4 to 7 of a .tflite file, as FlatBuffers keep it
LABELS = "labels.txt"
Range = tuple[float, float]
RANGES: tuple[Range, ...] = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
"""What networks take for black and white. One of floats doesn't tell; the first is Teachable Machine's."""
NEAR = 0.2  # of a range: as far as a quantised one may be from it, which is fitted to the pictures that it was shown


@dataclass(frozen=True, slots=True)
class Classifier:
    """What tells the class of a picture. One thread at a time may ask it.

    Attributes
    ----------
    classes : tuple of str
    size : (int, int)
        Width and height in pixels of what it looks at; other pictures are cut to this shape around their centre, and
        scaled.
    origin : str
        What it is and takes, for people.
    sha256 : str
        Of its file.
    certainties : callable
        Takes a picture, (height, width, 3) uint8 RGB; returns how certain each class is, (classes,) float32 from 0 to
        1, together about 1.
    """

    classes: tuple[str, ...]
    size: tuple[int, int]
    origin: str
    sha256: str
    certainties: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def open_classifier(path: Path | str, pixels: Range | None = None) -> Classifier:
    """Open a classifier.

    Parameters
    ----------
    path : path
        A ``.model`` file (`storage.learn.model`) or a ``.tflite`` file; what it holds tells which.
    pixels : (float, float), optional
        What a network takes for black and for white; if not given, what its quantisation says, else -1 and 1.

    Raises
    ------
    StorageError
        There is no such file, it is no classifier of pictures, its classes have no names, LiteRT can't run it or is not
        installed.
    """
    from storage.learn.model import read_model

    path = Path(path)
    content = read_model(path)
    if content[4:8] == IDENTIFIER:
        return _open_tflite(path, content, pixels)
    if content[:4] != ZIPPED:
        raise StorageError(f"{path} is no model: give a .model or a .tflite file")
    return _open_model(path, content)


def _open_model(path: Path, content: bytes) -> Classifier:
    from storage.learn.describe import Describer
    from storage.learn.model import model_from

    model = model_from(path, content)
    if model.network is not None:
        need_litert()
        try_network(path, model.network)
    describer, head = Describer(model.kind, model.network), model.head

    def certainties(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        return head.certainties(describer.describe(picture))

    origin = f"{path.name}: a linear head on {'a network and a thumbnail' if model.kind == 'both' else model.kind}"
    return Classifier(model.classes, (SIDE, SIDE), origin, model.sha256, certainties)


# ----------------------------------------------------------------------------------------------- anybody's .tflite file


def _open_tflite(path: Path, content: bytes, pixels: Range | None) -> Classifier:
    import numpy as np

    need_litert()
    found = try_network(path, content)
    classes = _class_names(path, content, int(found["classes"]))
    interpreter, entry, exit_ = _interpreter(content)
    takes = pixels or _range_of(entry)
    table, (scale, zero) = _table(entry, takes), exit_["quantization"]
    height, width, channels = entry["shape"][1:]
    size = (int(width), int(height))

    def certainties(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter.set_tensor(entry["index"], table.take(_channels(fitted(picture, size), channels))[None])
        interpreter.invoke()
        given = interpreter.get_tensor(exit_["index"]).reshape(-1).astype(np.float32)
        if scale:
            given = (given - zero) * np.float32(scale)
        return given if found["certainties"] else _softmax(given)

    kind = np.dtype(entry["dtype"]).name
    origin = f"{path.name}: {size[0]}x{size[1]} {kind}, black and white are {takes[0]:g} and {takes[1]:g}"
    return Classifier(classes, size, origin, hashlib.sha256(content).hexdigest(), certainties)


def try_network(path: Path, content: bytes) -> dict[str, Any]:
    """Have another process run a network on a few pictures. Returns ``classes``, how many numbers it gives, and
    ``certainties``, whether these are shares of 1.

    Raises
    ------
    StorageError
        It can't be run, takes no single picture, or gives no numbers; `path` is named.
    """
    package = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    program = [sys.executable, "-m", "storage.learn.classifier"]
    try:
        done = subprocess.run(
            program, input=content, env=environment, capture_output=True, check=False, timeout=TRIAL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise StorageError(f"{path} can't be used: LiteRT takes longer than {TRIAL_SECONDS} s for a picture") from None
    answer = done.stdout.decode(errors="replace").splitlines()
    if done.returncode or not answer:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        raise StorageError(f"{path} is damaged: LiteRT crashes on it ({how})")
    found: dict[str, Any] = json.loads(answer[-1])
    if "failure" in found:
        raise StorageError(f"{path} {found['failure']}")
    return found


def _interpreter(content: bytes) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """An interpreter, and what its only entry and exit are. Raises ValueError and RuntimeError, as LiteRT does."""
    from ai_edge_litert.interpreter import Interpreter

    with silent():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    entries, exits = interpreter.get_input_details(), interpreter.get_output_details()
    if len(entries) != 1 or len(exits) != 1:
        raise ValueError(f"it takes {len(entries)} arrays and gives {len(exits)}, not one of each")
    return interpreter, entries[0], exits[0]


def _class_names(path: Path, content: bytes, count: int) -> tuple[str, ...]:
    """The names in ``labels.txt``, a line each, perhaps numbered as Teachable Machine does: ``0 door``."""
    beside = path.with_name(LABELS)
    where, text = f"{LABELS} in {path}", _labels_inside(path, content)
    if text is None:
        where = str(beside)
        try:
            with beside.open("rb") as file:
                text = file.read(MOST_LABEL_BYTES)
        except OSError as error:
            wanted = f"write one of its {count} classes into each line of {beside}"
            raise StorageError(f"{path} has no names for its classes ({error.strerror}): {wanted}") from None
    try:
        names = [line.strip() for line in text.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise StorageError(f"{where} is no text in UTF-8") from None
    if all(re.match(rf"{number}\s+\S", name) for number, name in enumerate(names)):
        names = [name.split(maxsplit=1)[1] for name in names]
    if not all(name.isprintable() for name in names) or len(set(names)) < len(names):
        raise StorageError(f"{where} names a class twice, or with characters that can't be shown")
    if len(names) != count:
        raise StorageError(f"{where} names {len(names)} classes, and the network has {count}")
    return tuple(names)


def _labels_inside(path: Path, content: bytes) -> bytes | None:
    from storage.learn.model import OF_BAD_ZIP_FILES

    if not zipfile.is_zipfile(io.BytesIO(content)):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if LABELS not in archive.namelist():
                return None
            with archive.open(LABELS) as file:
                return file.read(MOST_LABEL_BYTES)
    except OF_BAD_ZIP_FILES as error:
        raise StorageError(f"{path}: {LABELS} in it can't be read: {error}") from None


def _range_of(entry: dict[str, Any]) -> Range:
    """What an entry takes for black and white: by its quantisation, where it has one."""
    import numpy as np

    if entry["dtype"] == np.float32:
        return RANGES[0]
    scale, zero = entry["quantization"]
    if not scale:
        return RANGES[2]
    limits = np.iinfo(entry["dtype"])
    black, white = float(scale * (limits.min - zero)), float(scale * (limits.max - zero))
    for low, high in RANGES:
        if max(abs(black - low), abs(white - high)) < NEAR * (high - low):
            return low, high
    return black, white


def _table(entry: dict[str, Any], takes: Range) -> NDArray[Any]:
    """What the entry takes for each value of a pixel: (256,), of its type."""
    import numpy as np

    values = takes[0] + (takes[1] - takes[0]) * np.arange(256) / 255
    if entry["dtype"] == np.float32:
        return values.astype(np.float32)
    scale, zero = entry["quantization"]
    limits = np.iinfo(entry["dtype"])
    table: NDArray[Any] = np.clip(np.rint(values / (scale or 1) + zero), limits.min, limits.max)
    return table.astype(entry["dtype"], copy=False)


def _channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if channels == 3:
        return pixels
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    powers = np.exp(scores - scores.max())
    shares: NDArray[np.float32] = powers / powers.sum()
    return shares


# ------------------------------------------------------------------------------------------------ in the other process


def _main() -> int:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MOST_TRIAL_BYTES, MOST_TRIAL_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    content = sys.stdin.buffer.read()
    try:
        answer = _trial(content)
    except (ValueError, RuntimeError, MemoryError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        answer = {"failure": f"is no classifier of pictures that LiteRT can run: {reason}"}
    print(json.dumps(answer))
    return 0


def _trial(content: bytes) -> dict[str, Any]:
    import numpy as np

    interpreter, entry, exit_ = _interpreter(content)
    shape, given = list(map(int, entry["shape"])), list(map(int, exit_["shape"]))
    picture = len(shape) == 4 and shape[0] == 1 and {shape[1], shape[2]} <= set(SIDES) and shape[3] in (1, 3)
    vector = len(given) > 1 and np.prod(given[:-1]) == 1 and given[-1] > 1
    kinds = (np.float32, np.uint8, np.int8)
    if not (picture and vector and entry["dtype"] in kinds and exit_["dtype"] in kinds):
        kind, of = np.dtype(entry["dtype"]).name, np.dtype(exit_["dtype"]).name
        raise ValueError(f"it takes {shape} {kind} and gives {given} {of}")
    if not np.isfinite([*entry["quantization"], *exit_["quantization"]]).all():
        raise ValueError("its quantisation has no scale")
    table, random, certainties = _table(entry, _range_of(entry)), np.random.default_rng(0), True
    for light in (0, 128, 256):
        pixels = random.integers(0, 256, shape) * light // 256
        interpreter.set_tensor(entry["index"], table[pixels])
        interpreter.invoke()
        values = interpreter.get_tensor(exit_["index"])
        if list(values.shape) != given:
            raise ValueError(f"it gives {list(values.shape)} and not {given}, as it says")
        if not np.isfinite(values).all():
            raise ValueError("it gives no numbers")
        if exit_["dtype"] == np.float32:
            certainties = certainties and bool(values.min() >= 0 and abs(values.sum() - 1) < 0.01)
        else:  # a quantised softmax is always this, and what is rounded need not be 1 together
            certainties = abs(exit_["quantization"][0] - 1 / 256) < 1e-4
    return {"classes": given[-1], "certainties": certainties}


if __name__ == "__main__":
    sys.exit(_main())

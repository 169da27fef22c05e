"""The model file: one zip file with all that running needs.

- ``model.json``: the version, the classes, how frames are described, and where the model came from
- ``head.f32``: the head, as float32, little endian: mean (D), scale (D), weights (D, C), bias (C)
- ``network.tflite``: the network that makes the features; missing where thumbnails are all that is used
- ``labels.txt``: the classes, a line each, as other programs look for them

`load_model` takes nothing on trust: a file from elsewhere costs little memory, and one line if it is wrong.
Whether LiteRT survives its network is another matter: try the network of an unknown file in a process of its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from storage.durable.files import appearing, replace_file
from storage.durable.untrusted import parse_object
from storage.errors import StorageError, no_directory
from storage.formats.features.weights import NETWORK, PREPROCESSING
from storage.learn.describe import HOW_THUMBNAIL, NUMBERS, Kind
from storage.learn.head import Head
from storage.names import check_class_name

SUFFIX = ".model"
VERSION = 1
FORMAT = "pi_capture model"
MOST_CLASSES = 1000
MOST_BYTES = {"model.json": 1 << 20, "labels.txt": 1 << 20, "head.f32": 1 << 23, "network.tflite": 1 << 25}
"""How large a member of the file may be."""
MOST_FILE_BYTES = 256_000_000
OF_BAD_ZIP_FILES = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, OSError, zlib.error)
"""What `zipfile` raises for files of unknown origin: torn, encrypted, packed in a way it doesn't know, damaged."""
STAMP = (1980, 1, 1, 0, 0, 0)  # of each member: the same model is the same bytes


@dataclass(frozen=True)
class Model:
    """A classifier of pictures, and where it came from.

    Attributes
    ----------
    classes : tuple of str
        Their names, in the order of the certainties.
    kind : {"features", "thumbnail", "both"}
        What the head takes (see `storage.learn.describe`).
    head : Head
    network : bytes or None
        The ``.tflite`` file of the network that makes the features; None for the thumbnail.
    origin : mapping
        JSON-serialisable: ``recordings``, ``frames`` of each class, ``seed``, ``accuracy``, ``toolkit``.
    """

    classes: tuple[str, ...]
    kind: Kind
    head: Head
    network: bytes | None
    origin: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def data(self) -> bytes:
        """What the model file holds; the same model gives the same bytes."""
        return _pack(self)

    @cached_property
    def sha256(self) -> str:
        """Of `data`: what a label journal calls the model."""
        return hashlib.sha256(self.data).hexdigest()


def check_target(path: Path, *, replace: bool = False) -> None:
    """Raise StorageError if a file of that name must not be written: before the work, so that none is in vain."""
    if not path.parent.is_dir():
        raise no_directory(path.parent)
    if os.path.lexists(path) and not (replace and path.is_file()):
        raise StorageError(f"{path} exists; choose another name with -o, or replace it with --replace")


def write_model(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a model file, `Model.data` or a ``.tflite`` file: whole, durable, or not at all.

    Raises
    ------
    StorageError
        The file exists, unless `replace` is True; or it can't be written.
    """
    check_target(path, replace=replace)
    if not os.path.lexists(path):
        with appearing(path) as making:
            making.write_bytes(data)
        return
    try:
        replace_file(path, data)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; the file that was there is unchanged") from None


def load_model(path: Path | str) -> Model:
    """Read a model file.

    Raises
    ------
    StorageError
        There is none, it is damaged, or no such file, or of a newer version.
    """
    path = Path(path)
    return model_from(path, read_model(path))


def read_model(path: Path) -> bytes:
    """What a model file of whatever kind holds. Raises StorageError if it can't be read, or is larger than any."""
    if path.is_dir():
        raise StorageError(f"{path} is not a file: Is a directory")
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise StorageError(f"{path} is not a file")
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise StorageError(f"{path} is larger than any model for a small machine")
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None


def model_from(path: Path, content: bytes) -> Model:
    """The model that the content of a file is; as `load_model`."""
    try:
        return _unpack(content)
    except _WrongError as error:
        raise StorageError(f"{path} is no whole model file: {error}; train it again") from None


class _WrongError(Exception):
    """What is wrong with a model file."""


def _pack(model: Model) -> bytes:
    head = model.head
    about = {
        "format": FORMAT,
        "version": VERSION,
        "classes": model.classes,
        "kind": model.kind,
        "features": None if model.kind == "thumbnail" else {"network": NETWORK, "preprocessing": PREPROCESSING},
        "thumbnail": None if model.kind == "features" else HOW_THUMBNAIL,
        "network_sha256": None if model.network is None else hashlib.sha256(model.network).hexdigest(),
        "origin": model.origin,
    }
    numbers = np.concatenate([head.mean, head.scale, head.weights.reshape(-1), head.bias]).astype("<f4")
    members = {
        "model.json": json.dumps(about, indent=1, ensure_ascii=False).encode(errors="replace"),
        "labels.txt": "".join(f"{name}\n" for name in model.classes).encode(errors="replace"),
        "head.f32": numbers.tobytes(),
        "network.tflite": model.network,
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, content in members.items():
            if content is not None:
                file.writestr(zipfile.ZipInfo(name, STAMP), content)
    return data.getvalue()


def _unpack(data: bytes) -> Model:
    members = _members(data)
    try:
        about = parse_object(members["model.json"])
        version, classes, kind, origin = about["version"], about["classes"], about["kind"], about["origin"]
        known = about["format"] == FORMAT and isinstance(version, int) and isinstance(origin, dict)
    except (KeyError, TypeError, ValueError):
        raise _WrongError("it does not say what it is") from None
    if not known:
        raise _WrongError("it is of another kind")
    if version != VERSION:
        raise _WrongError(f"it has version {version}, this program knows {VERSION}")
    if not isinstance(kind, str) or kind not in NUMBERS:
        raise _WrongError("its descriptions are of no known kind")
    network = None if kind == "thumbnail" else members.get("network.tflite")
    if kind != "thumbnail" and (network is None or hashlib.sha256(network).hexdigest() != about.get("network_sha256")):
        raise _WrongError("its network is missing or another")
    names = _classes(classes)
    return Model(names, kind, _head(members.get("head.f32", b""), NUMBERS[kind], len(names)), network, origin)


def _members(data: bytes) -> dict[str, bytes]:
    """What the zip file holds of `MOST_BYTES`; zip's own checksums are checked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            found = [member for member in file.infolist() if member.filename in MOST_BYTES]
            if len(found) > len(MOST_BYTES) or any(member.file_size > MOST_BYTES[member.filename] for member in found):
                raise _WrongError("a part of it is too large")
            return {member.filename: file.read(member) for member in found}
    except OF_BAD_ZIP_FILES as error:
        raise _WrongError(str(error) or "it is damaged") from None


def _classes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_CLASSES:
        raise _WrongError("it has no classes, or too many")
    for name in value:
        if not isinstance(name, str):
            raise _WrongError("a class has no name")
        try:
            check_class_name(name)
        except StorageError as error:
            raise _WrongError(str(error)) from None
    if len(set(value)) < len(value):
        raise _WrongError("two classes have one name")
    return tuple(value)


def _head(data: bytes, numbers: int, classes: int) -> Head:
    sizes = np.array([numbers, numbers, numbers * classes, classes])
    if len(data) != 4 * sizes.sum():
        raise _WrongError("its head is of another size than its classes need")
    values = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise _WrongError("its head has values that are no numbers")
    mean, scale, weights, bias = np.split(values, np.cumsum(sizes)[:-1])
    if (scale <= 0).any():
        raise _WrongError("its head has a scale that is not positive")
    return Head(mean, scale, weights.reshape(numbers, classes), bias)

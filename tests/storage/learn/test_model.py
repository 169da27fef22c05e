"""The model file: what is in it, that it appears whole, and what hostile ones cost."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.errors import StorageError
from storage.learn.head import Head
from storage.learn.model import Model, load_model, write_model


@pytest.fixture
def model() -> Model:
    random = np.random.default_rng(4)
    head = Head(
        random.normal(size=256).astype(np.float32),
        random.uniform(0.5, 2, 256).astype(np.float32),
        random.normal(size=(256, 3)).astype(np.float32),
        random.normal(size=3).astype(np.float32),
    )
    return Model(("none", "door", "Tür zu"), "thumbnail", head, None, {"seed": 7, "frames": {"door": 12}})


def test_a_model_comes_back_as_it_was(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "day1.model"
    write_model(path, model.data)
    loaded = load_model(path)
    assert (loaded.classes, loaded.kind, loaded.origin) == (model.classes, model.kind, model.origin)
    for name in ("mean", "scale", "weights", "bias"):
        assert np.array_equal(getattr(loaded.head, name), getattr(model.head, name))
    assert loaded.sha256 == model.sha256 and loaded.data == path.read_bytes()
    assert zipfile.ZipFile(path).read("labels.txt").decode().splitlines() == list(model.classes)
    assert [entry.name for entry in tmp_path.iterdir()] == ["day1.model"]


def test_the_network_is_in_it(tmp_path: Path, model: Model) -> None:
    with_network = replace(model, kind="features", network=b"TFL3" * 100)
    write_model(tmp_path / "day1.model", with_network.data)
    assert load_model(tmp_path / "day1.model").network == b"TFL3" * 100


def test_nothing_is_overwritten_unless_it_is_asked_for(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "day1.model"
    path.write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"day1\.model exists; .*--replace"):
        write_model(path, model.data)
    assert path.read_bytes() == b"mine"
    write_model(path, model.data, replace=True)
    assert load_model(path).classes == model.classes
    (tmp_path / "directory").mkdir()
    with pytest.raises(StorageError, match="directory exists"):
        write_model(tmp_path / "directory", model.data, replace=True)
    with pytest.raises(StorageError, match="does not exist; create it first"):
        write_model(tmp_path / "nowhere" / "day1.model", model.data)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone\.model: No such file or directory"):
        load_model(tmp_path / "gone.model")
    with pytest.raises(StorageError, match="is not a file"):
        load_model(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="is not a file"):
        load_model(tmp_path / "pipe")


def rewritten(model: Model, changes: dict[str, bytes | None]) -> bytes:
    """The model's file with other members."""
    members = {name: content for name, content in contents(model).items() if name not in changes}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in {**members, **changes}.items():
            if content is not None:
                file.writestr(name, content)
    return data.getvalue()


def contents(model: Model) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(model.data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def with_facts(**facts: object) -> Callable[[Model], bytes]:
    def make(model: Model) -> bytes:
        about = {**json.loads(contents(model)["model.json"]), **facts}
        return rewritten(model, {"model.json": json.dumps(about).encode()})

    return make


def with_number(place: int, value: float) -> Callable[[Model], bytes]:
    def make(model: Model) -> bytes:
        numbers = np.frombuffer(contents(model)["head.f32"], "<f4").copy()
        numbers[place] = value
        return rewritten(model, {"head.f32": numbers.tobytes()})

    return make


def many_bombs(model: Model) -> bytes:
    data = io.BytesIO(model.data)
    with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as file, pytest.warns(UserWarning, match="Duplicate name"):
        for _ in range(9):
            file.writestr("network.tflite", bytes(1 << 22))
    return data.getvalue()


def flipped(model: Model) -> bytes:
    data = bytearray(model.data)
    data[data.index(model.head.weights.tobytes()[400:420])] ^= 4
    return bytes(data)


HOSTILE: dict[str, tuple[Callable[[Model], bytes], str]] = {
    "empty": (lambda model: b"", "not a zip"),
    "text": (lambda model: b"hello" * 1000, "not a zip"),
    "cut off": (lambda model: model.data[:-200], "not a zip"),
    "a flipped bit": (flipped, "CRC"),
    "a bomb": (lambda model: rewritten(model, {"head.f32": bytes(1 << 26)}), "too large"),
    "many bombs": (many_bombs, "too large"),
    "no facts": (lambda model: rewritten(model, {"model.json": None}), "does not say what it is"),
    "no JSON": (lambda model: rewritten(model, {"model.json": b"{" * 5}), "does not say what it is"),
    "deep JSON": (lambda model: rewritten(model, {"model.json": b"[" * 200_000}), "does not say what it is"),
    "a list": (lambda model: rewritten(model, {"model.json": b"[1]"}), "does not say what it is"),
    "another format": (with_facts(format="cake"), "another kind"),
    "a newer version": (with_facts(version=2), "version 2, this program knows 1"),
    "a version that is a text": (with_facts(version="1"), "another kind"),
    "an unknown kind": (with_facts(kind="smell"), "no known kind"),
    "a kind that is a list": (with_facts(kind=[]), "no known kind"),
    "no network": (with_facts(kind="features"), "network is missing"),
    "no classes": (with_facts(classes=[]), "no classes"),
    "a million classes": (with_facts(classes=["x"] * 100_000), "too many"),
    "a class that leads elsewhere": (with_facts(classes=["a", "b", "../etc"]), "can't be named"),
    "a class that is a number": (with_facts(classes=["a", "b", 3]), "no name"),
    "a class twice": (with_facts(classes=["a", "b", "a"]), "two classes have one name"),
    "too few classes": (with_facts(classes=["a", "b"]), "another size"),
    "no head": (lambda model: rewritten(model, {"head.f32": None}), "another size"),
    "a number that is none": (with_number(600, np.nan), "no numbers"),
    "a scale of 0": (with_number(300, 0), "not positive"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_cost_one_line(tmp_path: Path, model: Model, name: str) -> None:
    make, words = HOSTILE[name]
    path = tmp_path / "bad.model"
    path.write_bytes(make(model))
    with pytest.raises(StorageError, match=words) as caught:
        load_model(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_file_larger_than_any_model_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.model"
    with path.open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(StorageError, match="larger than any model"):
        load_model(path)

"""Anybody's ``.tflite`` classifiers: what they take is read from the file, and no file of them ends the program."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from storage import StorageError
from storage.learn.classifier import open_classifier
from tests.support.networks import COLOURS, plain, put_network


@pytest.mark.parametrize("kind", ["float", "uint8", "int8", "scores"])
def test_colours_are_told_apart_whatever_a_network_takes_and_gives(tmp_path: Path, kind: str) -> None:
    classifier = open_classifier(put_network(tmp_path, kind))
    assert classifier.classes == COLOURS and classifier.size == (16, 16) and len(classifier.sha256) == 64
    for number, colour in enumerate(COLOURS):
        certainties = classifier.certainties(plain(colour))
        assert certainties.shape == (3,) and certainties.dtype == np.float32
        assert certainties.argmax() == number and certainties[number] > 0.98
        assert abs(certainties.sum() - 1) < 0.02 and certainties.min() >= 0


@pytest.mark.parametrize(("kind", "black", "white"), [("float", -1, 1), ("uint8", -1, 1), ("int8", 0, 1)])
def test_the_values_of_pixels_are_the_networks_own(tmp_path: Path, kind: str, black: float, white: float) -> None:
    """What a softmax of known weights must give, for pictures between black and white."""
    classifier = open_classifier(put_network(tmp_path, kind))
    for light in (0, 60, 128, 200, 255):
        pixels = np.full((16, 16, 3), 128, np.uint8)
        pixels[..., 2] = light
        means = black + (white - black) * (pixels[0, 0] / 255)
        powers = np.exp((12 if kind == "int8" else 6) * means)
        assert np.abs(classifier.certainties(pixels) - powers / powers.sum()).max() < 0.02


def test_what_black_and_white_are_can_be_said(tmp_path: Path) -> None:
    path = put_network(tmp_path)
    dim = np.full((16, 16, 3), (100, 110, 100), np.uint8)
    as_bytes = open_classifier(path, (0, 255)).certainties(dim)
    assert as_bytes[1] > 0.99 > open_classifier(path).certainties(dim)[1]
    assert "black and white are 0 and 255" in open_classifier(path, (0, 255)).origin


def test_a_network_may_take_pictures_without_colours(tmp_path: Path) -> None:
    classifier = open_classifier(put_network(tmp_path, "grey", ("dark", "light")))
    assert classifier.certainties(np.full((40, 30, 3), 250, np.uint8)).argmax() == 1
    assert classifier.certainties(plain("blue")).argmax() == 0


def test_a_picture_is_cut_around_its_centre(tmp_path: Path) -> None:
    classifier = open_classifier(put_network(tmp_path))
    wide = np.concatenate([plain("red", (50, 48)), plain("green", (48, 48)), plain("blue", (50, 48))], axis=1)
    assert classifier.certainties(wide)[1] > 0.98


# ------------------------------------------------------------------------------------------------ the names of classes


def test_names_as_teachable_machine_writes_them(tmp_path: Path) -> None:
    path = put_network(tmp_path)
    (tmp_path / "labels.txt").write_bytes("\ufeff0 Tür\r\n1 Licht an\r\n2 nichts\r\n".encode())
    assert open_classifier(path).classes == ("Tür", "Licht an", "nichts")
    (tmp_path / "labels.txt").write_text("0 left\n1 right\n3 back\n")  # their own numbers, then
    assert open_classifier(path).classes == ("0 left", "1 right", "3 back")


def test_names_inside_come_before_those_beside(tmp_path: Path) -> None:
    path = put_network(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "rot\ngruen\nblau\n")
    assert open_classifier(path).classes == ("rot", "gruen", "blau")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"red\ngreen\n", "names 2 classes, and the network has 3"),
        (b"red\nred\nblue\n", "names a class twice"),
        (b"red\n\x1b[31mgreen\nblue\n", "can't be shown"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
    ],
)
def test_names_that_are_none(tmp_path: Path, text: bytes, reason: str) -> None:
    path = put_network(tmp_path)
    (tmp_path / "labels.txt").write_bytes(text)
    with pytest.raises(StorageError, match=rf"labels\.txt .*{reason}"):
        open_classifier(path)


def test_without_names_it_says_where_to_write_them(tmp_path: Path) -> None:
    path = put_network(tmp_path)
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(StorageError, match=r"no names for its classes .*3 classes into each line of .*labels\.txt"):
        open_classifier(path)


# ------------------------------------------------------------------------------------------------------- hostile files


def crashing(content: bytes) -> bytes:
    """A byte of the table of fields: LiteRT ends with signal 11."""
    return content[:16] + b"\0" + content[17:]


def with_a_damaged_zip(content: bytes) -> bytes:
    archive = io.BytesIO(content)
    archive.seek(0, io.SEEK_END)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("labels.txt", "red\ngreen\nblue\n" * 50)
    damaged = bytearray(archive.getvalue())
    place = len(content) + 30 + len("labels.txt")
    damaged[place : place + 8] = b"\xff" * 8
    return bytes(damaged)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (crashing, "is damaged: LiteRT crashes on it"),
        (lambda content: content[:1200], "is no classifier of pictures"),
        (lambda content: content[:8] + b"\xff" * 1000, "is no classifier of pictures|LiteRT crashes"),
        (lambda content: b"", "is no model"),
        (lambda content: b"hello" * 100, "is no model"),
        (with_a_damaged_zip, "labels.txt in it can't be read"),
    ],
)
def test_a_hostile_file_costs_one_line(tmp_path: Path, damage: object, reason: str) -> None:
    path = put_network(tmp_path)
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=reason) as told:
        open_classifier(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_a_network_that_gives_other_numbers_than_it_says(tmp_path: Path) -> None:
    """Of a mutated file: only once it runs does it give nine numbers for three classes."""
    path = put_network(tmp_path, "scores")
    content = bytearray(path.read_bytes())
    content[2100] = 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"it gives \[.*\] and not \[1, 3\], as it says"):
        open_classifier(path)


@pytest.mark.parametrize("scale", [1 / 255, 1 / 256])  # of what goes in, and of what comes out
def test_a_scale_that_is_no_number(tmp_path: Path, scale: float) -> None:
    path = put_network(tmp_path, "int8")
    content = path.read_bytes().replace(np.float32(scale).tobytes(), np.float32(np.nan).tobytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(StorageError, match="its quantisation has no scale"):
        open_classifier(path)


def mutated(content: bytes, seed: int) -> bytes:
    """A few bits and numbers of a file are others: most such files are still taken for a network."""
    chance, changed = random.Random(seed), bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(8, len(changed) - 4)
        if chance.random() < 0.6:
            changed[place] ^= 1 << chance.randrange(8)
        else:
            number = chance.choice((0, 1, -1, 2**31 - 1, -(2**31), chance.randrange(-64, 64)))
            changed[place & ~3 : (place & ~3) + 4] = number.to_bytes(4, "little", signed=True)
    return bytes(changed)


@pytest.mark.filterwarnings("error")  # numpy's would be further lines
@pytest.mark.parametrize("files", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_mutated_files_run_or_cost_one_line(tmp_path: Path, files: int) -> None:
    for seed in range(files):
        path = put_network(tmp_path, ("float", "grey", "int8", "scores", "uint8")[seed % 5])
        path.write_bytes(mutated(path.read_bytes(), seed))
        try:
            assert open_classifier(path).certainties(plain("red")).shape == (3,)
        except StorageError as error:
            assert str(error).startswith(str(tmp_path)) and "\n" not in str(error), seed


def test_what_is_no_classifier_of_pictures(tmp_path: Path, mobilenet: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        open_classifier(tmp_path / "none.tflite")
    with pytest.raises(StorageError, match="Is a directory"):
        open_classifier(tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    path = tmp_path / "features.tflite"  # 256 numbers, and no names for them
    path.write_bytes(mobilenet.read_bytes())
    with pytest.raises(StorageError, match="names 2 classes, and the network has 256"):
        open_classifier(path)


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.model")
    with pytest.raises(StorageError, match="is not a file"):
        open_classifier(tmp_path / "pipe.model")

"""Features instead of pictures: the numbers are TensorFlow's own, and the file is as safe as any other recording.

What a kill, a full disk and a power cut do to it is tested with all formats, in `tests.faults`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from pi_capture import Recorder
from storage import StorageError, open_recording
from storage.formats.features.extractor import Extractor
from storage.formats.features.recording import FeaturesReader, FeaturesWriter, write_labels
from tests.conftest import REFERENCE, picture
from tests.support import PATIENCE_SECONDS, REPOSITORY

TRAINED = REFERENCE / "mobilenet_025_128.pb"  # a frozen TensorFlow 1 graph

# What TensorFlow itself makes of pictures: with the weights in argv[1], those in argv[2], into argv[3].
BY_TENSORFLOW = """
import sys
import numpy as np, tensorflow as tf
scaled = np.load(sys.argv[2]).astype(np.float32) / 127.5 - 1
if sys.argv[1].endswith(".pb"):
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(open(sys.argv[1], "rb").read())
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        tf.import_graph_def(graph, name="")
        names = [operation.outputs[0].name for operation in session.graph.get_operations() if operation.outputs]
        placeholder = next(o for o in session.graph.get_operations() if o.type == "Placeholder").outputs[0]
        maps = session.run(names[-1], {placeholder: scaled})
elif sys.argv[1].endswith(".keras"):
    maps = tf.keras.models.load_model(sys.argv[1]).predict(scaled, verbose=0)
else:
    model = tf.keras.applications.MobileNet((128, 128, 3), 0.25, include_top=False, weights=None)
    model.load_weights(sys.argv[1])
    maps = model.predict(scaled, verbose=0)
assert maps.shape[1:] == (4, 4, 256)
np.save(sys.argv[3], maps.mean(axis=(1, 2)))
"""


def run(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that failed and printed nothing else."""
    assert done.returncode == 1 and not done.stdout, done
    (line,) = done.stderr.splitlines()
    return line


def record(path: Path, numbers: range, size: tuple[int, int] = (64, 48), **options: Any) -> None:
    with Recorder(path, fps=30, options=options) as recorder:
        for n in numbers:
            recorder.write(picture(n, size), metadata={"n": n})


# ---------------------------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize(
    "name",
    [
        "random.weights.h5",
        "random.keras",
        "random.pb",
        pytest.param(TRAINED, id="trained.pb", marks=pytest.mark.reference),
    ],
)
def test_features_are_those_of_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_weights: Path, name: str | Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = random_weights / name
    pictures = np.stack([picture(n, (128, 128)) // (1 + n % 4) for n in range(24)])
    np.save(tmp_path / "pictures.npy", pictures)
    with Recorder(tmp_path / "day1.features.h5", fps=30, options={"weights": weights}) as recorder:
        for pixels in pictures:
            recorder.write(pixels)
    (exported,) = (tmp_path / "cache" / "pi-capture").iterdir()  # once, and kept
    program = [sys.executable, "-c", BY_TENSORFLOW, weights, tmp_path / "pictures.npy", tmp_path / "features.npy"]
    subprocess.run(program, check=True, stderr=subprocess.DEVNULL)
    theirs = np.load(tmp_path / "features.npy")
    assert theirs.std(axis=0).mean() > 0.01, "the network sees no difference between pictures"
    with FeaturesReader(tmp_path / "day1.features.h5") as recording:
        assert np.abs(recording.features[:] - theirs).max() < 1e-4
    # The exported file by its own name is the same extractor, and gives the same file.
    record(tmp_path / "day1.features.h5", range(2), weights=str(exported))


def test_larger_pictures_are_cut_to_a_square_and_scaled(mobilenet: Path) -> None:
    extract = Extractor(mobilenet).extract
    square = np.asarray(Image.fromarray(picture(1, (10, 10))).resize((300, 300), Image.Resampling.BICUBIC))
    scaled = np.asarray(Image.fromarray(square).resize((128, 128), Image.Resampling.BILINEAR))
    expected = extract(scaled)
    assert np.array_equal(extract(square), expected)
    wide = np.pad(square, ((0, 0), (50, 50), (0, 0)), "edge")
    beside = wide.copy()
    beside[:, :45] = beside[:, -45:] = 7  # what is cut away, but for the pixels that scaling mixes in
    assert np.array_equal(extract(wide), extract(beside))
    for padded in (wide, np.pad(square, ((50, 50), (0, 0), (0, 0)), "edge")):
        assert np.abs(extract(padded) - expected).max() < 0.1 * expected.max()
    assert np.abs(extract(np.ascontiguousarray(scaled[..., ::-1])) - expected).max() > 0.1 * expected.max()


# -------------------------------------------------------------------------------------------------------- the recording


def test_what_is_written_is_read(tmp_path: Path, mobilenet: Path) -> None:
    path = tmp_path / "day1.features.h5"
    record(path, range(150))
    record(path, range(150, 200))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    extractor = Extractor()
    expected = np.stack([extractor.extract(picture(n)) for n in range(200)])
    with open_recording(path) as recording:
        assert isinstance(recording, FeaturesReader)
        rows = recording.features
        assert len(recording) == len(rows) == 200 and rows.shape == (200, 256)
        assert rows[0].shape == (256,) and rows[0].dtype == np.float32
        assert np.array_equal(np.asarray(rows), expected)
        for wanted in (3, -1, slice(None), slice(60, 130), slice(190, 3, -7), slice(5, 5), slice(1, 199, 64)):
            assert np.array_equal(rows[wanted], expected[wanted])
        with pytest.raises(IndexError):
            rows[200]
        assert [recording.metadata(n)["n"] for n in range(200)] == list(range(200))
        assert list(recording.timestamps_ns[148:152]) == [4933333333, 4966666667, 0, 33333333]
        assert recording.labels == [None] * 200
        assert [session["frames"] for session in recording.sessions] == [150, 50]
        assert recording.extractor["weights_sha256"] == extractor.sha256
    with h5py.File(path) as file:
        assert np.array_equal(file["features"][:], expected) and file["features"].dtype == np.float32
        assert file["features"].attrs["weights_sha256"] == extractor.sha256.encode()
        assert b"x / 127.5 - 1" in file["features"].attrs["preprocessing"]
        assert list(file["timestamp_ns"][:2]) == [0, 33333333]
        assert json.loads(file["metadata"][7]) == {"n": 7}


def test_there_are_no_pictures_and_everybody_says_so_in_one_line(tmp_path: Path, mobilenet: Path, screen: str) -> None:
    path = tmp_path / "day1.features.h5"
    record(path, range(3))
    with open_recording(path) as recording, pytest.raises(StorageError, match="keeps features and no pictures"):
        recording[0]
    for command in (["convert", path, tmp_path / "a.mkv"], ["extract", path, tmp_path / "a"]):
        assert "keeps features and no pictures" in refusal(run("storage", *command))
    assert "keeps features and no pictures" in refusal(run("storage", "info", path, "--sheet", tmp_path / "a.png"))
    assert "picture" in refusal(run("classify", path, DISPLAY=screen))
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith(".")] == [path.name]


def test_labels(tmp_path: Path, mobilenet: Path) -> None:
    path = tmp_path / "day1.features.h5"
    record(path, range(100))
    labels = [None if n % 3 == 0 else str(n % 3) for n in range(100)]
    write_labels(path, labels)
    record(path, range(100, 103))
    with FeaturesReader(path) as recording:
        assert recording.labels == [*labels, None, None, None]
        assert np.array_equal(recording.features[101], Extractor().extract(picture(101)))


def test_info_and_verify(tmp_path: Path, mobilenet: Path) -> None:
    path = tmp_path / "day1.features.h5"
    record(path, range(100))
    (info,) = json.loads(run("storage", "info", path, "--json").stdout)["recordings"]
    assert (info["backend"], info["frames"], info["sizes"]) == ("features", 100, {"256 features": 100})
    assert run("storage", "verify", path).stdout == f"{path}: 100 frames, none broken\n"
    with h5py.File(path) as file:
        offset = file["features"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as damaged:
        damaged.seek(offset + 5 * 1024)
        damaged.write(b"\1" * 4)
    done = run("storage", "verify", path)  # a chunk has one checksum: which of its 16 frames it is, nobody knows
    assert done.returncode == 3 and "16 broken" in done.stdout and "frame 5" in done.stdout


def test_another_extractor_is_refused(tmp_path: Path, mobilenet: Path) -> None:
    path, other = tmp_path / "day1.features.h5", tmp_path / "other.tflite"
    record(path, range(3))
    before = path.read_bytes()
    # Other weights: the same file, but for one of its numbers in the middle.
    changed = bytearray(mobilenet.read_bytes())
    changed[len(changed) // 2] ^= 1
    other.write_bytes(changed)
    line = refusal(run("pi_capture", path, 1, "--camera", "demo", "--weights", other))
    assert str(path) in line and "another extractor" in line and "weights_sha256" in line
    assert path.read_bytes() == before and sorted(os.listdir(tmp_path)) == [path.name, other.name]


# ------------------------------------------------------------------------------------------------ from other recordings


@pytest.mark.parametrize("name", ["day1", "day1.h5", "day1.mkv"])
def test_features_of_any_recording(tmp_path: Path, mobilenet: Path, name: str) -> None:
    source, target = tmp_path / name, tmp_path / "out.features.h5"
    record(source, range(70))
    done = run("storage", "features", source, target, "--weights", mobilenet)
    assert done.returncode == 0 and done.stdout == f"{target}: 70 frames\n" and not done.stderr, done
    extractor = Extractor(mobilenet)
    with open_recording(source) as pictures, FeaturesReader(target) as recording:
        assert list(recording.timestamps_ns) == list(pictures.timestamps_ns)
        for n, frame in enumerate(pictures):
            assert np.array_equal(recording.features[n], extractor.extract(frame.pixels))
            assert recording.metadata(n) == dict(frame.metadata)
    assert not list(tmp_path.glob(".*"))
    assert "exists" in refusal(run("storage", "features", source, target))


def test_labels_go_along(tmp_path: Path, mobilenet: Path) -> None:
    source = tmp_path / "day1"
    for name, numbers in (("1", range(5)), ("0", range(5, 20))):
        record(source / name, numbers)
    assert run("storage", "features", source, tmp_path / "out.features.h5").returncode == 0
    with open_recording(source) as pictures, FeaturesReader(tmp_path / "out.features.h5") as recording:
        assert recording.labels == list(pictures.labels) and set(recording.labels) == {"0", "1"}
        for n, frame in enumerate(pictures):
            assert np.array_equal(recording.features[n], Extractor().extract(frame.pixels))


def test_footage(tmp_path: Path, mobilenet: Path, footage: tuple[Path, int]) -> None:
    film, count = footage
    recorded, computed = tmp_path / "day1.features.h5", tmp_path / "day2.features.h5"
    done = run("pi_capture", recorded, -1, "--camera", f"file:{film}", "--size", "source")
    assert done.returncode == 0 and f"{count} frames" in done.stderr and "none dropped" in done.stderr
    assert run("storage", "features", film, computed).stdout == f"{computed}: {count} frames\n"
    with FeaturesReader(recorded) as one, FeaturesReader(computed) as other:
        assert len(one) == len(other) == count
        assert np.array_equal(one.features[:], other.features[:])
        assert list(one.timestamps_ns) == list(other.timestamps_ns)


def test_an_interrupted_computation_leaves_nothing_under_the_final_name(tmp_path: Path, mobilenet: Path) -> None:
    source, target = tmp_path / "day1.h5", tmp_path / "out.features.h5"
    record(source, range(100))
    # Killed at the last moment: when all is computed, and is about to get its name.
    kill = ["strace", "-f", "-o", "/dev/null", "-e", "inject=renameat2:error=EIO:signal=KILL:when=2"]
    subprocess.run([*kill, sys.executable, "-m", "storage", "features", source, target], check=False, cwd=REPOSITORY)
    assert list(tmp_path.glob(".*/out.features.h5")) and not target.exists()
    assert run("storage", "features", source, target).returncode == 0
    assert len(open_recording(target)) == 100 and not list(tmp_path.glob(".*"))


# ---------------------------------------------------------------------------------------------------------- the weights


def test_without_weights_and_network_there_is_one_line(tmp_path: Path) -> None:
    offline = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "KERAS_HOME": str(tmp_path / "keras"),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    source, target = tmp_path / "day1", tmp_path / "day1.features.h5"
    record(source, range(2))
    line = refusal(run("pi_capture", target, 1, "--camera", "demo", **offline))
    assert "no ImageNet weights" in line and "export-model" in line and "--weights FILE" in line
    line = refusal(run("storage", "features", source, target, **offline))
    assert "no ImageNet weights" in line
    line = refusal(run("pi_capture", "export-model", **offline))
    assert "can't be fetched" in line and "--weights FILE" in line
    assert not [file for file in tmp_path.rglob("*") if file.name.endswith((".tflite", ".features.h5", ".part"))]


def test_export_model(tmp_path: Path, random_weights: Path) -> None:
    out = tmp_path / "model.tflite"
    done = run("pi_capture", "export-model", "--weights", random_weights / "random.keras", "--out", out)
    assert done.returncode == 0 and done.stdout == f"{out}\n", done
    assert re.fullmatch("SHA-256 [0-9a-f]{64}\n", done.stderr), done
    assert np.abs(Extractor(out).extract(picture(0))).max() > 0
    record(tmp_path / "export-model", range(2))  # a directory of that name is still possible: ./export-model


def test_a_network_that_another_machine_has_fetched(tmp_path: Path, mobilenet: Path) -> None:
    here = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    record(tmp_path / "day1", range(2))
    done = run("pi_capture", "export-model", "--weights", mobilenet, **here)
    assert done.returncode == 0, done
    done = run("storage", "features", tmp_path / "day1", tmp_path / "day1.features.h5", **here)
    assert done.returncode == 0, done


def truncated(model: bytes) -> bytes:
    return model[: len(model) // 2]


def another_network(model: bytes) -> bytes:
    import ai_edge_litert  # noqa: F401 (the file below is a model that it runs)

    return model.replace(
        b"\x80\x00\x00\x00\x80\x00\x00\x00\x03\x00\x00\x00", b"\x40\x00\x00\x00\x40\x00\x00\x00\x03\x00\x00\x00"
    )


@pytest.mark.parametrize("damage", [truncated, another_network, lambda model: b"", lambda model: b"hello" * 100])
def test_weights_that_are_none_get_one_line(tmp_path: Path, mobilenet: Path, damage: Callable[[bytes], bytes]) -> None:
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(damage(mobilenet.read_bytes()))
    line = refusal(run("pi_capture", tmp_path / "day1.features.h5", 1, "--camera", "demo", "--weights", bad))
    assert str(bad) in line and "no MobileNet" in line
    assert os.listdir(tmp_path) == ["bad.tflite"]


def test_a_network_that_came_in_part_replaces_none(tmp_path: Path) -> None:
    """It has the mark of such files, and would stand for the right one from then on."""
    networks = REPOSITORY / "tests" / "data" / "networks"
    (tmp_path / "part.tflite").write_bytes((networks / "float.tflite").read_bytes()[:1500])
    for network in (tmp_path / "part.tflite", networks / "scores.tflite"):
        done = run("pi_capture", "export-model", "--weights", network, XDG_CACHE_HOME=str(tmp_path))
        assert f"{network} is no MobileNet" in refusal(done)
    assert not list(tmp_path.rglob("mobilenet*"))


@pytest.mark.parametrize("suffix", [".pb", ".keras", ".weights.h5", ".tflite", ".txt"])
def test_files_that_only_have_the_name_of_weights_get_one_line(tmp_path: Path, suffix: str) -> None:
    bad = tmp_path / f"bad{suffix}"
    bad.write_bytes(b"Remember the milk.\n")
    assert str(bad) in refusal(run("pi_capture", "export-model", "--weights", bad, "--out", tmp_path / "out.tflite"))
    assert str(bad) in refusal(run("pi_capture", "export-model", "--weights", f"{bad}.gone"))
    assert os.listdir(tmp_path) == [bad.name]


def test_without_litert_there_is_one_line(tmp_path: Path) -> None:
    program = """if 1:
        import sys
        sys.modules["ai_edge_litert"] = None
        from pi_capture.cli import main
        sys.exit(main(sys.argv[1:]))"""
    command = [sys.executable, "-c", program, str(tmp_path / "day1.features.h5"), "1", "--camera", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert "LiteRT" in refusal(done) and not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------ what is refused


def make_other_features(path: Path, **changes: Any) -> None:
    """A file like ours, made by an HDF5 library."""
    columns = {
        "features": np.zeros((4, 256), np.float32),
        "timestamp_ns": np.zeros(4, np.int64),
        "label": np.zeros(4, np.int16),
        **changes,
    }
    with h5py.File(path, "w", libver=("v108", "v110")) as file:
        for name, values in columns.items():
            if isinstance(values, h5py.ExternalLink):
                file[name] = values
            else:
                file.create_dataset(
                    name, data=values, maxshape=(None, *values.shape[1:]), chunks=(2, *values.shape[1:])
                )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"features": np.zeros((4, 255), np.float32)}, "features is float32, 4 x 255"),
        ({"features": np.zeros((4, 256), np.float64)}, "features"),
        ({"features": np.zeros((4, 2, 256), np.float32)}, "4 x 2 x 256"),
        ({"label": np.zeros(5, np.int16)}, "label is int16, 5"),
        ({"features": h5py.ExternalLink("/etc/passwd", "/")}, "link"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, mobilenet: Path, changes: dict[str, Any], reason: str) -> None:
    path = tmp_path / "day1.features.h5"
    make_other_features(path)
    assert len(open_recording(path)) == 4
    make_other_features(path, **changes)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=f"refused.*{reason}"):
        open_recording(path)
    with pytest.raises(StorageError):
        FeaturesWriter(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_features_and_pictures_are_not_mistaken_for_each_other(tmp_path: Path, mobilenet: Path) -> None:
    record(tmp_path / "a.features.h5", range(3))
    record(tmp_path / "b.h5", range(3))
    (tmp_path / "a.features.h5").rename(tmp_path / "a.h5")
    (tmp_path / "b.h5").rename(tmp_path / "b.features.h5")
    for name in ("a.h5", "b.features.h5"):
        with pytest.raises(StorageError, match="is missing"):
            open_recording(tmp_path / name)
        line = refusal(run("pi_capture", tmp_path / name, 1, "--camera", "demo"))
        assert name in line


# ------------------------------------------------------------------------------------------------- what they are worth


def linear_probe(*arguments: object) -> dict[str, list[float]]:
    """The table that it prints: what is probed, and the accuracies, of ever more that is learnt from."""
    probe = [sys.executable, "scripts/linear_probe.py", *map(str, arguments)]
    done = subprocess.run(probe, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return {line[:26].strip(): [float(number) for number in line[26:].split()] for line in done.stdout.splitlines()[2:]}


def test_a_linear_probe(mobilenet: Path) -> None:
    features, *pixels = linear_probe("--seeds", 1, "--fps", 1, "--weights", mobilenet).values()
    assert len(features) == 5 and all(0.1 < accuracy < 0.9 for accuracy in features)  # of random weights
    assert len(pixels) == 2 and all(len(row) == 5 and row[-1] > 0.9 for row in pixels)


@pytest.mark.reference
def test_a_linear_probe_on_features_beats_one_on_pixels() -> None:
    rows = linear_probe("--seeds", 2, "--fps", 5, "--weights", TRAINED).values()
    features, *pixels = map(np.mean, rows)
    assert len(pixels) == 2 and features > max(pixels) and features > 0.9

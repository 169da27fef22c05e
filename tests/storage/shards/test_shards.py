"""Shards hold every frame with its label and times, whole recordings on a side, and the same bytes each time."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from storage import StorageError, open_recording
from storage.batch.contract import Result
from storage.cli import main
from storage.formats.png.codec import decode_image
from storage.labels.classes import keep_classes
from storage.labels.journal import Classes
from storage.shards import tar
from storage.shards.choose import choose_side, side_of_name
from storage.shards.imagefolder import write_imagefolder
from storage.shards.parquet import write_parquet
from storage.shards.tar import write_shards
from tests.support.labelled import everything, record

WALL = 1_700_000_000_000_000_000
LABELS = ["0", "1", "12", None] * 3


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Recordings of five hosts, as directories and files, in the current directory."""
    monkeypatch.chdir(tmp_path)
    found = []
    for number in range(5):
        path = Path(f"pi{number}-day1")
        facts = {"host": f"pi{number}", "camera": "demo:0", "live": True, "wall_minus_monotonic_ns": WALL + number}
        record(path, LABELS, facts=facts, seed=100 * number)
        if number % 2:
            suffix = {1: ".h5", 3: ".mkv"}[number]
            assert main(["convert", str(path), f"{path}{suffix}"]) == 0
            path = path.with_name(path.name + suffix)
        found.append(path)
    return found


def samples(shard: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and files of each sample of a shard, in order."""
    with tarfile.open(shard) as file:
        for member in file:
            assert (member.uid, member.gid, member.uname, member.gname, member.mode) == (0, 0, "", "", 0o644)
            key, suffix = member.name.rsplit(".", 1)
            content = file.extractfile(member)
            assert content is not None
            if suffix in ("png", "jpg"):
                yield key, {"mtime": str(member.mtime).encode()}
            yield key, {suffix: content.read()}


def by_key(out: Path, side: str) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for shard in sorted(out.glob(f"{side}-*.tar")):
        for key, files in samples(shard):
            found.setdefault(key, {}).update(files)
    return found


def test_every_frame_with_its_label_and_times(recordings: list[Path], tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    assert write_shards(recordings, out) == Result(60)
    sides = {side: by_key(out, side) for side in ("train", "val")}
    assert sides["train"] and sides["val"]
    for path in recordings:
        with open_recording(path) as recording:
            side = choose_side(recording, path, "recording")
            for frame, label in zip(recording, recording.labels, strict=True):
                files = sides[side].pop(f"{path}/{frame.index:08d}")
                assert np.array_equal(decode_image(files["png"]), frame.pixels)
                assert files.get("cls") == (None if label is None else label.encode())
                facts = json.loads(files["json"])
                assert facts["label"] == label and facts["metadata"] == frame.metadata
                assert facts["timestamp_ns"] == frame.timestamp_ns
                assert facts["wall_ns"] == frame.timestamp_ns + WALL + int(facts["host"].removeprefix("pi"))
                assert int(files["mtime"]) == facts["wall_ns"] // 10**9
                assert facts["recording"] == str(path) and facts["camera"] == "demo:0"
    assert sides == {"train": {}, "val": {}}


WRITERS: dict[str, Callable[..., Result]] = {
    "tar": write_shards,
    "parquet": write_parquet,
    "imagefolder": write_imagefolder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_bytes_each_time(recordings: list[Path], tmp_path: Path, name: str) -> None:
    outs = [tmp_path / "first", tmp_path / "second"]
    for out in outs:
        out.mkdir()
        assert WRITERS[name](recordings, out).frames == 60
    first, second = map(everything, outs)
    assert first == second and len(first) >= 2
    with pytest.raises((StorageError, FileExistsError)):
        WRITERS[name](recordings, outs[0])
    assert everything(outs[0]) == first


def test_no_host_on_both_sides(recordings: list[Path], tmp_path: Path) -> None:
    for path in list(recordings):
        twin = path.with_name(f"later-{path.name}")
        path.rename(twin)
        record(Path(path.stem if path.suffix else path.name), LABELS, facts={"host": path.name[:3]})
        recordings += [twin, Path(path.stem if path.suffix else path.name)]
        recordings.remove(path)
    (out := tmp_path / "out").mkdir()
    write_shards(recordings, out, by="host", val_share=0.5)
    hosts = {
        side: {json.loads(files["json"])["host"] for files in by_key(out, side).values()} for side in ("train", "val")
    }
    assert hosts["train"] and hosts["val"] and not hosts["train"] & hosts["val"]
    assert hosts["train"] | hosts["val"] == {f"pi{number}" for number in range(5)}
    for side, some in hosts.items():
        assert {side_of_name(host, 0.5) for host in some} == {side}


def test_a_recording_of_hosts_on_both_sides_is_refused(tmp_path: Path) -> None:
    hosts = sorted((f"pi{number}" for number in range(12)), key=side_of_name)
    for host in (hosts[0], hosts[-1]):
        record(tmp_path / "day1", ["0"], facts={"host": host})
    with pytest.raises(StorageError, match=f"frames of {min(hosts[0], hosts[-1])} and .* different sides"):
        write_shards([tmp_path / "day1"], tmp_path, by="host")
    assert not list(tmp_path.glob("*.tar"))


def test_whole_recordings_a_shard(recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (out := tmp_path / "out").mkdir()
    monkeypatch.setattr(tar, "FULL_BYTES", 30_000)  # a recording has 12 frames of some 3,000 bytes
    write_shards(recordings, out, val_share=0)
    shards = sorted(out.glob("*.tar"))
    assert [shard.name for shard in shards] == [f"train-{number:06d}.tar" for number in range(len(shards))]
    of_shards = [{key.rpartition("/")[0] for key, _ in samples(shard)} for shard in shards]
    assert len(of_shards) > 1 and sum(map(len, of_shards)) == len(set().union(*of_shards)) == len(recordings)
    (split := tmp_path / "split").mkdir()
    monkeypatch.setattr(tar, "MOST_BYTES", 10_000)
    write_shards(recordings[:1], split, val_share=0)
    shards = sorted(split.glob("*.tar"))
    assert len(shards) > 2 and sum(len(dict(samples(shard))) for shard in shards) == 12


def test_classes_with_names(tmp_path: Path) -> None:
    record(tmp_path / "day1", ["door", "0", "07", "door"])
    result = write_shards([tmp_path / "day1"], tmp_path, val_share=0)
    (line,) = result.told
    assert "no .cls for 07, door" in line and "class_names" in line
    numbered = [files.get("cls") for files in by_key(tmp_path, "train").values()]
    assert numbered == [None, b"0", None, None]
    (out := tmp_path / "out").mkdir()
    assert write_shards([tmp_path / "day1"], out, val_share=0, class_names=["07", "0", "door"]).told == ()
    assert [files["cls"] for files in by_key(out, "train").values()] == [b"2", b"1", b"0", b"2"]
    with pytest.raises(StorageError, match="class 'door', which class_names lacks"):
        write_shards([tmp_path / "day1"], out, class_names=["0", "07"])


def test_a_number_that_means_something_else_is_not_written(tmp_path: Path) -> None:
    for name, classes in (("day1", ("window", "door")), ("day2", ("window", "cat"))):
        record(tmp_path / name, ["0", "1"])
        keep_classes(tmp_path / name, Classes(classes, ("0", "1")))
    record(tmp_path / "day3", ["0", "5"])
    (line,) = write_shards([tmp_path / f"day{number}" for number in (1, 2, 3)], tmp_path, val_share=0).told
    assert line.startswith("no .cls for window, door, cat: ")
    found = [(json.loads(files["json"])["label"], files.get("cls")) for files in by_key(tmp_path, "train").values()]
    named = [(name, None) for name in ("window", "door", "window", "cat")]
    assert found == [*named, ("0", b"0"), ("5", b"5")]


def test_a_name_that_is_no_utf8_has_a_side() -> None:
    assert side_of_name(os.fsdecode(b"d\xe9j\xe0")) in ("train", "val")


def test_jpeg(recordings: list[Path], tmp_path: Path) -> None:
    from PIL import Image

    (out := tmp_path / "out").mkdir()
    write_shards(recordings[:2], out, jpg_quality=95)
    found = by_key(out, "train") | by_key(out, "val")
    assert len(found) == 24
    for files in found.values():
        assert Image.open(io.BytesIO(files["jpg"])).format == "JPEG" and "png" not in files


def test_what_can_not_be_read(recordings: list[Path], tmp_path: Path) -> None:
    for number in (2, 3, 7):
        file = open_recording(recordings[0]).file(number)
        file.write_bytes(file.read_bytes()[:-20])
    (out := tmp_path / "out").mkdir()
    result = write_shards(recordings[:1], out)
    assert result.frames == 9
    (line,) = result.told
    assert line.startswith(f"{recordings[0]}: frames 2-3, 7 are left out; the first: ")
    for file in recordings[2].rglob("*.png"):
        file.write_bytes(b"torn")
    (out := tmp_path / "none").mkdir()
    with pytest.raises(StorageError, match="none of its frames can be read"):
        write_shards(recordings[2:3], out)
    assert not list(out.iterdir())


def test_names_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "day1", ["0"])
    (out := tmp_path / "a/out").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    write_imagefolder([Path("../day1")], out, val_share=0)
    assert {path for path in everything(tmp_path) if path.endswith(".png")} == {
        "day1/0/00000000.png",
        "a/out/train/day1/00000000.png",
    }
    with pytest.raises(StorageError, match="would have the same names"):
        write_shards([Path("../day1"), Path("../../day1")], out)


def rows(out: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.stem: pyarrow.parquet.read_table(path).to_pylist() for path in sorted(out.glob("*.parquet"))}


def test_parquet(recordings: list[Path], tmp_path: Path, mobilenet: Path) -> None:
    assert main(["convert", str(recordings[4]), "pi4.features.h5"]) == 0
    inputs: Sequence[Path] = [*recordings[:4], Path("pi4.features.h5")]
    (out := tmp_path / "out").mkdir()
    assert write_parquet(inputs, out, by="host") == Result(60)
    found = rows(out)
    assert {row["host"] for row in found["train"]}.isdisjoint(row["host"] for row in found["val"])
    of_recordings = {(row["recording"], row["index"]): row for side in found.values() for row in side}
    assert len(of_recordings) == 60
    for path in inputs:
        with open_recording(path) as recording:
            for index, (label, timestamp_ns) in enumerate(zip(recording.labels, recording.timestamps_ns, strict=True)):
                row = of_recordings[str(path), index]
                assert (row["label"], row["timestamp_ns"]) == (label, timestamp_ns)
                assert row["time"].timestamp() == pytest.approx(row["wall_ns"] / 1e9, abs=1e-5)
                kept = recording.features[index].tolist() if path.name.endswith(".features.h5") else None
                assert row["features"] == kept


def test_imagefolder(recordings: list[Path], tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    assert write_imagefolder(recordings, out, by="host") == Result(60)
    card = (out / "README.md").read_text()
    assert card.startswith("---\n") and "  - split: validation\n    path: validation/**\n" in card
    assert "# Frames of 5 recordings" in card and "60 pictures, from pi0, pi1, pi2, pi3, pi4." in card
    for split in ("train", "validation"):
        lines = [json.loads(line) for line in (out / split / "metadata.jsonl").read_text().splitlines()]
        assert sorted(line["file_name"] for line in lines) == sorted(
            str(path.relative_to(out / split)) for path in (out / split).rglob("*.png")
        )
        for line in lines:
            with open_recording(line["recording"]) as recording:
                frame = recording[line["index"]]
                assert np.array_equal(decode_image((out / split / line["file_name"]).read_bytes()), frame.pixels)
                assert line["label"] == recording.labels[line["index"]] and line["timestamp_ns"] == frame.timestamp_ns


def test_as_steps_of_a_batch(recordings: list[Path], tmp_path: Path) -> None:
    steps = "shards,shards-by-host,shards-jpg,parquet,imagefolder,imagefolder-by-host"
    (root := tmp_path / "all").mkdir()
    for path in recordings:
        path.rename(root / path)
    arguments = ["batch", steps, str(root), str(tmp_path / "out"), "--jobs", "1"]
    assert main(arguments) == 0
    made = {path: data for path, data in everything(tmp_path / "out").items() if not path.startswith(".")}
    assert {path.split("/")[0] for path in made} >= set(steps.split(","))
    assert (
        sum(len(by_key(tar.parent, tar.name.split("-")[0])) for tar in (tmp_path / "out/shards").rglob("*.tar")) == 60
    )

"""Files merged into one: frame by frame what was in them, all or nothing, and nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage import Frame, SampleTrack, StorageError, open_recording
from storage.care.merge_files import merge_files
from storage.cli import main
from storage.formats.table import label_writer, open_writer
from storage.formats.video.file import PICTURES
from storage.formats.video.reader import VideoReader
from storage.formats.video.writer import VideoWriter
from storage.labels import PERSON, UNSEEN
from storage.labels.beside import journal_path
from storage.labels.classes import keep_classes, names_of_labels
from storage.labels.journal import Classes, LabelJournal, Labelled, Proposed
from storage.labels.origins import count_origins, origins
from tests.conftest import picture

SECOND = 1_000_000_000


@pytest.fixture(params=[".mkv", ".h5", ".features.h5"])
def suffix(request: pytest.FixtureRequest) -> str:
    if request.param == ".features.h5":
        request.getfixturevalue("mobilenet")
    return str(request.param)


def record(
    path: Path,
    labels: Sequence[str | None],
    *,
    host: str = "attic",
    seed: int = 0,
    size: tuple[int, int] = (16, 12),
    **options: Any,
) -> Path:
    """A session of ten frames a second; `seed` also sets its clock."""
    writer = open_writer(path, options=options)
    writer.describe({"host": host, "live": True, "wall_minus_monotonic_ns": 10**18 + seed})
    begin = writer.next_index
    for number in range(len(labels)):
        time = (seed * 7 + 3) * SECOND + number * SECOND // 10
        frame = Frame(picture(seed + number, size), begin + number, time, {"number": seed + number})
        writer.append(writer.encode(frame, labels[number]) if path.suffix == ".mkv" else writer.encode(frame))
    writer.close()
    if path.suffix == ".h5":
        with open_recording(path) as recording:
            before = list(recording.labels)[:begin]
        label(path, [*before, *labels])
    return path


def label(path: Path, labels: Sequence[str | None]) -> None:
    write = label_writer(path)
    assert write is not None
    write(labels, list(dict.fromkeys(label for label in labels if label is not None)))


def contents(path: Path) -> list[tuple[Any, ...]]:
    """Of each frame its pixels or features, its time, what came with it, its class, and its session's id and host."""
    with open_recording(path) as recording:
        labels, times, sessions = list(recording.labels), list(recording.timestamps_ns), recording.sessions
        found = []
        for session in sessions:
            for index in range(session["first_index"], session["first_index"] + session["frames"]):
                recording.check(index)
                if recording.has_pictures:
                    frame = recording.read(index)
                    content, facts = frame.pixels.tobytes(), dict(frame.metadata)
                else:
                    content, facts = recording.features[index].tobytes(), recording.metadata(index)
                known = session["id"], session["host"], session["wall_minus_monotonic_ns"]
                found.append((content, times[index], facts, labels[index], *known))
        assert len(found) == len(recording)
        return found


def test_all_is_there_as_it_was_and_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    one, two, three, out = (tmp_path / f"{name}{suffix}" for name in ("one", "two", "three", "all"))
    record(one, [None, "0", "0", "door"], seed=10)
    record(one, ["door", None], seed=20)
    record(two, ["1", "1", "0"], seed=30, host="cellar")
    record(three, ["window"] * 3, seed=40, host="hall")
    before = {path: path.read_bytes() for path in (one, two, three)}
    assert main(["merge", str(out), str(one), str(two)]) == 0
    assert "9 frames of 3 sessions added (2 without a class, 0 3, 1 2, door 2), 0 were" in capsys.readouterr().out
    assert contents(out) == contents(one) + contents(two)
    assert main(["merge", str(out), str(two), str(three), str(one), "--json"]) == 0  # goes on with what is new
    told = json.loads(capsys.readouterr().out)
    assert (told["added"], told["sessions"], told["present"]) == ({"window": 3}, 1, 9)
    merged = out.read_bytes()
    assert main(["merge", str(out), str(three), str(two)]) == 0
    assert out.read_bytes() == merged  # nothing is new
    assert contents(out) == contents(one) + contents(two) + contents(three)
    assert {path: path.read_bytes() for path in (one, two, three)} == before
    assert [session["merged_from"] for session in open_recording(out).sessions] == [
        one.name,
        one.name,
        two.name,
        three.name,
    ]
    assert main(["verify", str(out)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in (one, two, three, out))


def test_a_merged_file_is_recorded_into_and_labelled_like_any(tmp_path: Path, suffix: str) -> None:
    one, two, out = (tmp_path / f"{name}{suffix}" for name in ("one", "two", "all"))
    record(one, ["0"] * 3, seed=10)
    record(two, [None] * 3, seed=30)
    merge_files(out, [one, two])
    record(out, ["1"] * 2, seed=50)
    label(out, ["1"] * 4 + [None] * 4)
    with open_recording(out) as recording:
        assert list(recording.labels) == ["1"] * 4 + [None] * 4 and len(recording.sessions) == 3
        assert sorted(recording.shown_ns) == list(recording.shown_ns)


def with_samples(path: Path, seed: int, codec: str = "flac") -> Path:
    """Pictures with sound and a sensor, from which a tenth of a second is missing."""
    tracks = [SampleTrack("sound", 8000, 1, codec), SampleTrack("imu", 100, 3, unit="m/s²", labels=("x", "y", "z"))]
    random = np.random.default_rng(seed)
    with closing(VideoWriter(path, tracks=tracks)) as writer:
        writer.describe({"host": f"pi{seed}", "live": True, "wall_minus_monotonic_ns": 10**18})
        begin = seed * 100 * SECOND
        writer.begin_at(begin)
        for number in range(12):
            time = begin + number * SECOND // 10
            writer.append_samples("sound", time, random.integers(-999, 999, (800, 1)).astype(np.int16))
            if number == 5:
                writer.pad_samples("imu", time, 10)
            else:
                writer.append_samples("imu", time, random.normal(size=(10, 3)).astype(np.float32))
            writer.append(
                writer.encode(Frame(picture(seed + number, (16, 12)), number, time), "door" if number > 6 else None)
            )
    return path


@pytest.mark.parametrize("codec", ["flac", "s16", "opus"])
def test_sensors_and_sound_go_along_with_their_times(tmp_path: Path, codec: str) -> None:
    inputs = [with_samples(tmp_path / f"{seed}.mkv", seed, codec) for seed in (1, 2, 3)]
    out = tmp_path / "all.mkv"
    assert main(["merge", str(out), str(inputs[0]), str(inputs[1])]) == 0
    assert main(["merge", str(out), *map(str, inputs)]) == 0
    with open_recording(out) as merged:
        for at, path in enumerate(inputs):
            with open_recording(path) as recording:
                for track, own in zip(merged.tracks, recording.tracks, strict=True):
                    count = len(list(own.blocks()))
                    pairs = zip(track.blocks(at * count, (at + 1) * count), own.blocks(), strict=True)
                    for block, expected in pairs:
                        assert abs(block.begin_ns - expected.begin_ns) < 2000 and block.padding == expected.padding
                        assert codec == "opus" or np.array_equal(block.samples, expected.samples, equal_nan=True)
        assert len(merged) == 36 and list(merged.labels) == ([None] * 7 + ["door"] * 5) * 3
    told = {track["name"]: track for track in json.loads(info_of(out))["recordings"][0]["tracks"]}
    assert told["imu"]["count"] == 360 and told["camera"]["count"] == 36
    probed = subprocess.run(
        ["ffmpeg", "-v", "error", "-xerror", "-i", out, "-map", "0:v", "-map", "0:a", "-f", "null", "-"], check=False
    )
    assert probed.returncode == 0


def info_of(path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "storage", "info", str(path), "--json"], check=True, capture_output=True, text=True
    ).stdout


def test_what_has_no_picture_merges_too(tmp_path: Path) -> None:
    inputs = []
    for seed in (1, 2):
        inputs.append(tmp_path / f"{seed}.mka")
        writer = open_writer(inputs[-1], tracks=[SampleTrack("imu", 100, 2)], pictures=False)
        writer.append_samples("imu", seed * SECOND, np.full((50, 2), seed, np.float32))  # type: ignore[attr-defined]
        writer.close()
    assert main(["merge", str(tmp_path / "all.mka"), *map(str, inputs)]) == 0
    with open_recording(tmp_path / "all.mka") as merged:
        times, samples = merged.tracks[0].read()
    assert samples[:, 0].tolist() == [1] * 50 + [2] * 50
    assert abs(int(times[50]) - 2 * SECOND) < 2000


@pytest.mark.parametrize(
    ("suffix", "options", "said"),
    [
        (".mkv", {"size": (20, 12)}, "its frames are 20x12, and those before it 16x12"),
        (".mkv", {"codec": "mjpeg"}, "its codec is mjpeg, and that before it ffv1"),
        (".h5", {"size": (20, 12)}, "its frames are 12 x 20 x 3, and those before it 12 x 16 x 3"),
        (".h5", {"compression": "none"}, "not compressed, and those before it deflated"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, options: dict[str, Any], said: str
) -> None:
    one, two, other, out = (tmp_path / f"{name}{suffix}" for name in ("one", "two", "other", "all"))
    record(one, ["0"] * 3, seed=10)
    record(two, ["0"] * 3, seed=20)
    record(other, ["9"] * 3, seed=30, **options)
    for inputs in ([one, other], [one, two]):
        status = main(["merge", str(out), *map(str, inputs)])
        assert (status, out.exists()) == ((1, False) if other in inputs else (0, True))
    error = capsys.readouterr().err
    assert said in error and str(other) in error and len(error.splitlines()) == 1
    merged = out.read_bytes()
    assert main(["merge", str(out), str(other)]) == 1
    assert said in capsys.readouterr().err and out.read_bytes() == merged
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (one, two, other, out)}


def test_tracks_that_differ_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = with_samples(tmp_path / "1.mkv", 1), record(tmp_path / "2.mkv", ["0"], seed=20)
    assert main(["merge", str(tmp_path / "all.mkv"), str(one), str(two)]) == 1
    assert "what comes before it has imu (100 a second" in capsys.readouterr().err.replace(
        "sound (8000 a second, 1 channels, flac), ", ""
    )


def test_features_of_another_network_are_refused(
    tmp_path: Path, random_weights: Path, mobilenet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (tmp_path / f"{name}.features.h5" for name in ("one", "two"))
    record(one, ["0"] * 2, seed=10)
    shutil.copy(one, two)
    from storage.formats.hdf5.writer import changing, set_text

    with changing(two) as file:
        assert isinstance(file["features"], h5py.Dataset)
        set_text(file["features"], "weights_sha256", "0" * 64)
        set_text(file, "sessions", "".join(file.attrs["sessions"].decode()).replace('"id": "', '"id": "f'))
    assert main(["merge", str(tmp_path / "all.features.h5"), str(one), str(two)]) == 1
    assert "another extractor made it (weights_sha256 differs)" in capsys.readouterr().err


def test_other_kinds_of_input_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = record(tmp_path / "one.mkv", ["0"] * 2, seed=10)
    two = record(tmp_path / "two.h5", ["0"] * 2, seed=20)
    (tmp_path / "day").mkdir()
    for arguments, said in (
        (["all.mkv", one, two], "is a .h5 file, and"),
        (["all.mkv", one, tmp_path / "day"], "is a directory, and"),
        (["all.mkv", one, one], "is given twice"),
        ([one, one], "is given twice"),
        (["all.mp4", one], "such files can't be merged"),
        (["all", one], "files go into a file"),
        (["all.mkv", tmp_path / "none.mkv"], "no such recording"),
    ):
        out, *inputs = arguments
        assert main(["merge", str(tmp_path / out), *map(str, inputs)]) == 1
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1
    with closing(open_writer(tmp_path / "busy.mkv")) as writer:
        writer.append(writer.encode(Frame(picture(1), 0, 0)))
        writer.sync()
        assert main(["merge", str(tmp_path / "all.mkv"), str(tmp_path / "busy.mkv")]) == 1
        assert "is being recorded into" in capsys.readouterr().err


def test_labels_that_wait_and_who_gave_them_go_along(tmp_path: Path) -> None:
    one, two = record(tmp_path / "one.mkv", ["0"] * 4, seed=10), record(tmp_path / "two.mkv", [None] * 4, seed=20)
    with LabelJournal(journal_path(two)) as journal:
        journal.append(Labelled((("00000001", 2),), 1, proposed=Proposed("3f2a", seen=False)))
    for out in (tmp_path / "both.mkv", tmp_path / "later.mkv"):
        if out.name == "later.mkv":
            merge_files(out, [one])
        merge_files(out, [one, two])
        with open_recording(out) as recording:
            assert list(recording.labels) == ["0"] * 4 + [None, "1", "1", None]
            assert origins(recording) == [PERSON] * 4 + [None, UNSEEN, UNSEEN, None]
            assert count_origins(recording)[UNSEEN] == 2


def test_labels_that_differ_in_what_is_there_already_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, out = record(tmp_path / "one.mkv", ["0"] * 4, seed=10), tmp_path / "all.mkv"
    merge_files(out, [one])
    label(one, ["0", "1", "1", "0"])
    assert main(["merge", str(out), str(one)]) == 3
    assert f"{one}: 2 of its frames are there already, with another label" in capsys.readouterr().out
    assert list(open_recording(out).labels) == ["0"] * 4


@pytest.mark.parametrize("suffix", [".mkv", ".h5"])
def test_two_classes_of_one_number_stay_two(tmp_path: Path, suffix: str) -> None:
    for name, classes in (("one", ("door", "cat")), ("two", ("cat", "owl"))):
        record(tmp_path / f"{name}{suffix}", ["0", "1"], seed=len(classes[0]))
        keep_classes(tmp_path / f"{name}{suffix}", Classes(classes, ("0", "1")))
    out, one, two = (tmp_path / f"{name}{suffix}" for name in ("all", "one", "two"))
    for _ in range(2):
        assert main(["merge", str(out), str(one), str(two)]) == 0
        with open_recording(out) as recording:
            names = names_of_labels(recording)
            assert [names[label] for label in recording.labels if label] == ["door", "cat", "cat", "owl"]


def test_what_is_still_being_uploaded_comes_with_a_later_merge(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of a recording that went on has a part of its session, and would be in the way of the whole one."""
    done, day, copy, out = (tmp_path / f"{name}{suffix}" for name in ("done", "day", "copy", "all"))
    record(done, [None] * 4, size=(64, 48))
    writer = open_writer(day)
    for number in range(6):
        writer.append(writer.encode(Frame(picture(number), number, (9 + number) * SECOND)))
        if number == 2:
            writer.sync()
            shutil.copy(day, copy)
    words = ["merge", str(out), str(done), str(copy)]
    assert main(words) == 0
    said = capsys.readouterr()
    assert (
        f"{copy} is left out: it has no end yet: it is still being uploaded, or was interrupted" in said.err
        and "4 frames" in said.out
    )
    assert main(["merge", str(out), str(done), str(day)]) == 0
    said = capsys.readouterr()
    assert f"{day} is left out: it is being recorded into" in said.err and "4 were there already" in said.out
    writer.close()
    shutil.copy(day, copy)
    for added in (6, 0):
        assert main(words) == 0
        assert f"{added} frames of" in capsys.readouterr().out
    with open_recording(out) as recording:
        assert len(recording) == 10


def test_a_recording_that_grew_after_it_was_repaired_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, early, out = tmp_path / "one.mkv", tmp_path / "early.mkv", tmp_path / "all.mkv"
    writer = open_writer(one)
    for number in range(6):
        writer.append(writer.encode(Frame(picture(number), number, number * SECOND)))
        if number == 2:
            writer.sync()
            shutil.copy(one, early)
    writer.close()
    assert main(["merge", str(out), str(early)]) == 1
    assert "all.mkv was not made: none of the recordings is finished" in capsys.readouterr().err and not out.exists()
    assert main(["verify", "--repair", str(early)]) == 0 == main(["merge", str(out), str(early)])
    assert main(["merge", str(out), str(one)]) == 1
    assert "with 3 frames and not these 6" in capsys.readouterr().err


def test_a_file_whose_end_is_cut_off_is_refused_with_the_way_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is known of the sessions is at the end of a recording that was complete."""
    one, out = record(tmp_path / "one.mkv", [None] * 5), tmp_path / "all.mkv"
    os.truncate(one, one.stat().st_size * 2 // 3)
    assert main(["merge", str(out), str(one)]) == 1
    assert "verify --repair completes it" in capsys.readouterr().err
    assert main(["verify", "--repair", str(one)]) == 0
    assert main(["merge", str(out), str(one)]) == 1
    said, _, way = capsys.readouterr().err.strip().partition(" first: python -m storage ")
    assert "what it knows of its sessions is missing" in said
    assert main(way.split()) == 0
    assert main(["merge", str(out), way.split()[-1]]) == 0


@pytest.mark.parametrize("suffix", [".mkv", ".h5"])
def test_a_damaged_frame_never_becomes_a_whole_one(tmp_path: Path, suffix: str) -> None:
    one, two, out = (tmp_path / f"{name}{suffix}" for name in ("one", "two", "all"))
    record(one, ["0"] * 3, seed=10)
    record(two, ["0"] * 8, seed=20, size=(64, 48))
    data = bytearray(two.read_bytes())
    data[len(data) // 2] ^= 255
    two.write_bytes(data)
    record(one.with_stem("three"), ["0"] * 3, seed=50, size=(64, 48))
    status = main(["merge", str(out), str(one.with_stem("three")), str(two)])
    assert (status == 1 and not out.exists()) or main(["verify", str(out)]) == 3


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
@pytest.mark.parametrize("at", [5, 60], ids=["front", "packet"])
def test_a_damaged_frame_of_a_video_costs_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], codec: str, at: int
) -> None:
    one, two = (
        record(tmp_path / f"{n}.mkv", ["0", "1", "0", "1"], seed=10 * n, size=(64, 48), codec=codec) for n in (1, 2)
    )
    out, last = tmp_path / "all.mkv", 3
    with closing(VideoReader(two)) as recording:
        position = int(recording.contents.blocks[PICTURES].positions[last])
        times = list(recording.timestamps_ns)
    with two.open("r+b") as file:
        file.seek(position + at)
        byte = file.read(1)
        file.seek(position + at)
        file.write(bytes([byte[0] ^ 4]))
    for said in ("1 frame is damaged and goes along: 3", ""):
        assert main(["merge", str(out), str(one), str(two)]) == 0
        assert said in capsys.readouterr().err
        assert main(["verify", str(out), "--json"]) == 3
        assert [broken["frame"] for broken in json.loads(capsys.readouterr().out)["recordings"][0]["broken"]] == [
            4 + last
        ]
    with open_recording(out) as merged, open_recording(one) as first, open_recording(two) as second:
        assert list(merged.timestamps_ns[4:]) == times and list(merged.labels) == ["0", "1", "0", "1"] * 2
        for index, (source, number) in enumerate([*((first, n) for n in range(4)), *((second, n) for n in range(3))]):
            assert np.array_equal(merged.read(index).pixels, source.read(number).pixels)
        with pytest.raises(StorageError):
            merged.read(4 + last)


@pytest.mark.parametrize(
    ("text", "told", "frames"),
    [
        (b"GCOL", "what came with 5 frames, the first is 0, is damaged and stays so", [0, 1, 2, 3, 4]),
        (b'"number":22', "what came with frame 2 is damaged and stays so", [2]),
    ],
    ids=["unreadable", "changed"],
)
def test_a_damaged_text_costs_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes, told: str, frames: list[int]
) -> None:
    one, two, out = (tmp_path / f"{name}.h5" for name in ("one", "two", "all"))
    record(one, ["0", "door"], seed=10)
    record(two, ["gate", None, "0", "0", "gate"], seed=20)
    before = contents(two)
    data = bytearray(two.read_bytes())
    data[data.index(text) + len(text) - 1] ^= 3
    two.write_bytes(data)
    for added in (told, ""):
        assert main(["merge", str(out), str(two), str(one)]) == 0
        assert added in capsys.readouterr().err
    assert main(["verify", str(out), "--json"]) == 3
    broken = json.loads(capsys.readouterr().out)["recordings"][0]["broken"]
    assert [one["frame"] for one in broken] == frames
    assert all(one["reason"].startswith("has ") for one in broken)  # the frame is named beside it
    with open_recording(out) as merged:
        pictures = [merged.pixels(number).tobytes() for number in range(7)]
        assert list(zip(pictures, merged.timestamps_ns, merged.labels, strict=True))[:5] == [
            (pixels, time, label) for pixels, time, _, label, *_ in before
        ]
        assert [merged.read(number).metadata for number in (5, 6)] == [{"number": 10}, {"number": 11}]
        if len(frames) > 1:
            with pytest.raises(StorageError, match="frame 3: has damaged metadata"):
                merged.read(3)


def bytes_of_labels(path: Path, kind: str) -> int:
    """A byte of a recording's labels: of the classes' names, of which frame has which, or of a video's subtitles."""
    if kind != "numbers":
        return path.read_bytes().rindex(b"gate")
    with h5py.File(path) as file:
        label = file["label"]
        assert isinstance(label, h5py.Dataset)
        place: int = label.id.get_chunk_info(0).byte_offset
    return place + 1


@pytest.mark.parametrize(
    ("suffix", "kind", "lost"),
    [
        (".h5", "names", "the classes of 4 frames can't be read, the first is 0"),
        (".h5", "numbers", "the classes of 4 frames can't be read, the first is 0"),
        (".mkv", "subtitles", "the label in byte"),
    ],
)
def test_damaged_labels_cost_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, kind: str, lost: str
) -> None:
    one, two, out = (tmp_path / f"{name}{suffix}" for name in ("one", "two", "all"))
    record(one, ["0", "door"], seed=10)
    record(two, [None, "gate", "gate", None], seed=20)
    before = contents(two)
    data = bytearray(two.read_bytes())
    data[bytes_of_labels(two, kind)] ^= 2
    two.write_bytes(data)
    with pytest.raises(StorageError), open_recording(two) as recording:
        assert len(recording[1].metadata) == 1
        _ = recording.labels
    with suppress(StorageError):  # of a video this is no matter
        open_writer(two).close()
    for _ in range(2):
        assert main(["merge", str(out), str(one), str(two)]) == 3
        (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{two}: {lost}")]
        assert said.endswith("such frames go along without a class")
    assert main(["verify", str(out)]) == 0
    assert contents(out)[2:] == [(*frame[:3], None, *frame[4:]) for frame in before]
    with open_recording(out) as merged:
        assert list(merged.labels) == ["0", "door", None, None, None, None]
    assert main(["merge", str(two), str(one)]) == 1  # nothing is added to it
    assert two.read_bytes() == data


@pytest.mark.parametrize(
    ("suffix", "module", "function"),
    [
        (".mkv", "storage.formats.video.append", "facts_of"),
        (".h5", "storage.formats.hdf5.append", "_copy"),
        (".mkv", "storage.matroska.muxer", "write_all"),
        (".h5", "storage.formats.hdf5.transaction", "write_all"),
    ],
)
def test_kill_at_any_time_leaves_all_or_nothing(tmp_path: Path, suffix: str, module: str, function: str) -> None:
    one, two, three = (record(tmp_path / f"{n}{suffix}", [str(n)] * 6, seed=10 * n) for n in (1, 2, 3))
    out, copy = tmp_path / f"all{suffix}", tmp_path / f"copy{suffix}"
    merge_files(out, [one])
    nothing, everything = contents(one), contents(one) + contents(two) + contents(three)
    shutil.copy(out, copy)
    with counted(module, function) as calls:
        merge_files(copy, [two, three])
    end = next(calls)
    seen = []
    for number in sorted({0, end // 2, *range(max(1, end - 4), end)}):
        shutil.copy(out, copy)
        if not (child := os.fork()):
            with counted(module, function, deadly=number):
                merge_files(copy, [two, three])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        seen.append(contents(copy))
        assert main(["merge", str(copy), str(two), str(three)]) == 0
        assert contents(copy) == everything
    assert nothing in seen and all(found in (nothing, everything) for found in seen)


@contextmanager
def counted(module: str, function: str, *, deadly: int = -1) -> Iterator[count[int]]:
    """Count the calls of a function of the package; one of them is `deadly`, as kill -9 is."""
    calls = count()
    real = getattr(import_module(module), function)

    def hurt(*arguments: Any, **options: Any) -> Any:
        if next(calls) == deadly:
            os._exit(9)
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{module}.{function}", hurt)
        yield calls


def test_who_gave_the_labels_is_known_before_they_are_there(tmp_path: Path) -> None:
    """Killed after the frames came: a model's labels stay its own. Before: they don't become others'."""
    out, model, person = (record(tmp_path / f"{n}.mkv", [None] * 4, seed=9 * n) for n in (1, 2, 3))
    for path, proposed in ((model, Proposed("3f2ac07d11aa", seen=False)), (person, None)):
        with LabelJournal(journal_path(path)) as journal:
            journal.append(Labelled((("00000000", 4),), 1, proposed=proposed))
    killed = "import os, sys\nfrom storage.care import merge_files as m\nfrom storage.cli import main\n"
    before = killed + "m.find_append = lambda out: lambda *given, **options: os._exit(9)\nmain(sys.argv[1:])\n"
    after = killed + (
        "real = m.find_append\n"
        "def append(*given, **options):\n    real(given[0])(*given, **options)\n    os._exit(9)\n"
        "m.find_append = lambda out: append\nmain(sys.argv[1:])\n"
    )

    def kill(program: str, path: Path) -> None:
        done = subprocess.run([sys.executable, "-c", program, "merge", str(out), str(path)], check=False)
        assert done.returncode == 9

    kill(before, model)
    assert main(["merge", str(out), str(person)]) == 0
    kill(after, model)
    with open_recording(out) as recording:
        assert origins(recording) == [None] * 4 + [PERSON] * 4 + [UNSEEN] * 4


def test_a_file_that_is_continued_goes_on_counting_its_samples(tmp_path: Path) -> None:
    path = with_samples(tmp_path / "day1.mkv", 1)
    once = {track["name"]: track["count"] for track in json.loads(info_of(path))["recordings"][0]["tracks"]}
    with_samples(path, 2)
    twice = {track["name"]: track["count"] for track in json.loads(info_of(path))["recordings"][0]["tracks"]}
    assert (twice["sound"], twice["imu"]) == (2 * once["sound"], 2 * once["imu"]) == (2 * 9600, 2 * 120)

"""A crash after every single write to a video: what was not yet synced is on the disk, lost, or torn."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import storage.durable.files
import storage.formats.video.file
import storage.formats.video.labels
import storage.formats.video.writer
import storage.matroska.muxer
from storage import Frame, StorageError
from storage.formats.video.labels import write_labels
from storage.formats.video.writer import VideoReader, VideoWriter
from tests.faults.disk import Call, Disk, after


def frame(n: int) -> Frame:
    return Frame(np.random.default_rng(n).integers(0, 256, (12, 16, 3), np.uint8), n, 10**9 + n * 10**7, {"n": n})


def append(writer: VideoWriter, numbers: range) -> None:
    for n in numbers:
        writer.append(writer.encode(frame(n)))


def frames_in(path: Path) -> list[int]:
    """The numbers of the frames, each of which must be what was appended."""
    with VideoReader(path) as recording:
        numbers = []
        for found in recording:
            n = found.metadata["n"]
            assert np.array_equal(found.pixels, frame(n).pixels) and found.timestamp_ns == frame(n).timestamp_ns
            numbers.append(n)
        assert sorted(set(numbers)) == numbers
        return numbers


@pytest.mark.parametrize("seed", range(2))
def test_every_crash_leaves_all_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    path, crashed = tmp_path / "day1.mkv", tmp_path / "crashed.mkv"
    disk = Disk()
    acknowledged: dict[int, int] = {}  # after how many calls, how many frames
    labelled: dict[int, list[str | None]] = {}  # after how many calls, which labels count
    video = storage.formats.video
    for module in (storage.durable.files, storage.matroska.muxer, video.writer, video.labels, video.file):
        monkeypatch.setattr(module, "os", disk)
    monkeypatch.setattr(
        storage.formats.video.writer, "reserve_unnamed", lambda directory: (directory / "reserve").open("wb")
    )
    rows = 0
    for session in range(3):
        with_labels: list[str | None] = [rng.choice([None, "door", "light"]) for _ in range(rows)]
        if session:
            write_labels(path, with_labels)
            labelled[len(disk.calls)] = with_labels
        writer = VideoWriter(path)
        for _ in range(12):
            append(writer, range(rows, rows + (more := rng.randrange(1, 4))))
            rows += more
            if rng.random() < 0.4:
                writer.sync()
                acknowledged[len(disk.calls)] = rows
        writer.close()
        acknowledged[len(disk.calls)] = rows
    monkeypatch.undo()

    synced, unsynced = b"", list[Call]()
    promised, labels = 0, list[str | None]()
    seen = set()
    for done, call in enumerate(disk.calls, 1):
        unsynced.append(call)
        if call.kind == "sync":
            synced, unsynced = after(synced, unsynced, lambda: True), []
        promised, labels = acknowledged.get(done, promised), labelled.get(done, labels)
        arrives = rng.choice((lambda: True, lambda: False, lambda: rng.random() < 0.5))
        crashed.write_bytes(after(synced, unsynced, arrives))
        if not promised:  # it has no name yet: the next writer makes what it can of it
            continue
        numbers = frames_in(crashed)
        assert numbers[:promised] == list(range(promised)), f"after call {done} of {len(disk.calls)}"
        seen.add(len(numbers))
        if done % 3 and done not in labelled:
            continue
        with closing(VideoWriter(crashed)) as writer:  # the next start
            append(writer, range(10**6, 10**6 + 2))
        again = frames_in(crashed)
        assert again[:promised] == list(range(promised)) and again[-2:] == [10**6, 10**6 + 1]
        with VideoReader(crashed) as recording:
            assert not recording.interrupted
            if done in labelled:
                assert recording.labels[: len(labels)] == labels
    assert path.read_bytes() == after(synced, unsynced, lambda: True)  # the notes were complete
    print(f"{len(disk.calls)} crashes, {len(seen)} states found, {promised} frames acknowledged, none lost")


@pytest.mark.parametrize("codec", ["ffv1", "h264-lossless"])
def test_cut_off_anywhere(tmp_path: Path, codec: str) -> None:
    path, cut = tmp_path / "day1.mkv", tmp_path / "cut.mkv"
    writer = VideoWriter(path, codec=codec)
    ends = []
    for n in range(40):
        append(writer, range(n, n + 1))
        writer.sync()
        ends.append(path.stat().st_size)
    writer.close()
    data = path.read_bytes()
    rng = random.Random(2)
    for length in sorted({*(end + at for end in ends[::5] for at in (-1, 0, 1)), *rng.sample(range(len(data)), 40)}):
        cut.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        try:
            assert frames_in(cut) == list(range(whole)), f"cut at {length}"
        except StorageError:
            assert length < ends[0]
            continue
        if whole:
            with closing(VideoWriter(cut)) as writer:
                append(writer, range(100, 103))
            assert frames_in(cut) == [*range(whole), 100, 101, 102]


@pytest.mark.parametrize("codec", ["ffv1", "h264-lossless"])
def test_damage_in_the_middle_costs_what_it_hit(tmp_path: Path, codec: str) -> None:
    """Neither reading nor repairing throws away what is whole behind it."""
    path = tmp_path / "day1.mkv"
    writer = VideoWriter(path, codec=codec)
    append(writer, range(90))
    writer.sync()
    data = bytearray(path.read_bytes())  # as a crash would leave it
    writer.close()
    middle = len(data) // 2
    data[middle : middle + 5000] = bytes(5000)
    path.write_bytes(data)
    numbers = frames_in(path)
    assert set(range(40)) <= set(numbers) and set(range(75, 90)) <= set(numbers) and len(numbers) < 90
    with closing(VideoWriter(path)) as writer:
        append(writer, range(100, 103))
    assert frames_in(path) == [*numbers, 100, 101, 102]

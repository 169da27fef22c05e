"""A crash after every single write to an HDF5 file: what was not yet synced is on the disk, lost, or torn.

The real writers record, with every call that changes the file noted down. From the notes each state is made that a
disk could have had: all that was synced, and of what came after it any sectors, also the last write in part.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import storage.durable.files
import storage.formats.hdf5.transaction
from storage import Frame, open_recording
from storage.formats.features.recording import FeaturesReader, FeaturesWriter
from storage.formats.hdf5.writer import Hdf5Writer, repair
from tests.faults.disk import Call, Disk, after

FRAMES, SESSIONS = 150, 2  # more than a block of features, and enough for several levels of libhdf5's index
WRITERS: dict[str, Callable[[Path], Any]] = {
    "day1.h5": Hdf5Writer,
    "none.h5": lambda path: Hdf5Writer(path, "none"),
    "day1.features.h5": FeaturesWriter,
}


def frame(n: int) -> Frame:
    pixels = np.random.default_rng(n).integers(0, 256, (10, 14, 3), np.uint8)
    return Frame(pixels, n, n * 7, {"n": n, "note": "x" * (n % 50)} if n % 3 else {})


def record(path: Path, rng: random.Random) -> tuple[list[Call], dict[int, int]]:
    """Record; returns the calls, and after how many of them how many frames had been acknowledged."""
    begin = WRITERS[path.name](path)
    begin.append(begin.encode(frame(0)))
    begin.close()
    shutil.copy(path, path.with_name("begun"))
    disk = Disk(path.stat().st_ino)
    acknowledged = {0: 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage.formats.hdf5.transaction, "os", disk)
        patch.setattr(storage.durable.files, "os", disk)  # which writes for it
        for _ in range(SESSIONS):
            writer = WRITERS[path.name](path)
            for n in range(writer.next_index, writer.next_index + FRAMES):
                writer.append(writer.encode(frame(n)))
                if rng.random() < 0.06:
                    acknowledged[len(disk.calls)] = writer.next_index + writer.sync()
            acknowledged[len(disk.calls)] = writer.next_index + writer.close()
    return disk.calls, acknowledged


def states(image: bytes, calls: list[Call], rng: random.Random, each: int) -> Iterator[tuple[int, bytes]]:
    """After how many calls the crash came, and what is on the disk then."""
    synced, unsynced = image, list[Call]()
    for done, call in enumerate(calls, 1):
        unsynced.append(call)
        if call.kind == "sync":
            synced, unsynced = after(synced, unsynced, lambda: True), []
        for _ in range(each):
            arrives = rng.choice((lambda: True, lambda: False, lambda: rng.random() < 0.5, lambda: rng.random() < 0.9))
            state = after(synced, unsynced[:-1], arrives)
            if unsynced:
                last = unsynced[-1]
                torn = Call(last.kind, last.address, last.data[: rng.randrange(len(last.data) + 1)])
                state = after(state, [rng.choice((last, torn))], lambda: True)
            yield done, state
    assert synced and not any(call.kind == "write" for call in unsynced)


def frames_in(path: Path, everything: bool) -> int:
    """How many there are, by our reader; what is looked at must be what was recorded."""
    with open_recording(path) as recording:
        count = len(recording)
        assert list(recording.timestamps_ns) == [n * 7 for n in range(count)]
        assert recording.labels == [None] * count
        for n in range(count) if everything else {*range(min(count, 2)), *range(max(0, count - 3), count)}:
            if isinstance(recording, FeaturesReader):
                assert np.array_equal(recording.features[n], expected_features(n))
                assert recording.metadata(n) == frame(n).metadata
            else:
                found = recording[n]
                assert np.array_equal(found.pixels, frame(n).pixels) and found.metadata == frame(n).metadata
            recording.check(n)
        return count


def frames_for_others(path: Path) -> int:
    """The same, as any HDF5 library sees it."""
    with h5py.File(path) as file:
        times = file["timestamp_ns"][:]
        assert {len(file[name]) for name in ("timestamp_ns", "label", "metadata")} == {len(times)}
        if "frames" in file:
            assert all(np.array_equal(pixels, frame(n).pixels) for n, pixels in enumerate(file["frames"][:]))
        return len(times)


_FEATURES: dict[int, np.ndarray] = {}


def expected_features(n: int) -> np.ndarray:
    from storage.formats.features.extractor import Extractor

    if n not in _FEATURES:
        _FEATURES[n] = Extractor().extract(frame(n).pixels)
    return _FEATURES[n]


@pytest.mark.parametrize("each", [1, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", WRITERS)
def test_every_crash_leaves_all_that_was_acknowledged(tmp_path: Path, mobilenet: Path, name: str, each: int) -> None:
    rng = random.Random(each)
    path, crashed = tmp_path / name, tmp_path / f"crashed-{name}"
    calls, acknowledged = record(path, rng)
    promised, seen, tried = 1, set[int](), 0
    told = dict(acknowledged)
    for done, state in states((tmp_path / "begun").read_bytes(), calls, rng, each):
        promised = max(promised, told.pop(done, 0))
        crashed.write_bytes(state)
        tried += 1
        count = frames_in(crashed, everything=tried % 40 == 0)
        assert count >= promised, f"after call {done}"
        assert crashed.read_bytes() == state  # reading changes nothing
        seen.add(count)
        if tried % 5 == 0:  # what is completed is the same, and others read it
            repair(crashed)
            assert frames_in(crashed, everything=False) == frames_for_others(crashed) == count
        if tried % 20 == 0:  # the next start
            again = WRITERS[name](crashed)
            again.append(again.encode(frame(count)))
            assert again.close() == 1
            assert frames_in(crashed, everything=True) == frames_for_others(crashed) == count + 1
    everything = after((tmp_path / "begun").read_bytes(), calls, lambda: True)
    assert path.read_bytes() == everything  # the notes were complete
    assert len(seen) > 10 and promised == 1 + SESSIONS * FRAMES
    print(f"{tried} crashes, {len(seen)} states found, {promised} frames acknowledged, none lost")

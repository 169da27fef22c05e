"""Recordings in one HDF5 file: what is written, what others read of it, what is refused; crashes: `tests.faults`."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pi_capture import Recorder, RecordingError
from storage import Frame, StorageError, open_recording
from storage.care.verify import find_broken
from storage.durable.files import write_all
from storage.formats.hdf5.writer import Hdf5Reader, Hdf5Writer, write_labels
from tests.support import REPOSITORY


def picture(n: int, size: tuple[int, int] = (16, 12)) -> np.ndarray:
    """A picture of noise, another one for each number."""
    width, height = size
    return np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8)


def record(path: Path, numbers: range, **facts: Any) -> None:
    with Recorder(path, fps=30, facts=facts) as recorder:
        for n in numbers:
            recorder.write(picture(n), metadata={"n": n} if n % 3 else None)


def append(writer: Hdf5Writer, n: int) -> None:
    writer.append(writer.encode(Frame(picture(n), n, n, {"n": n})))


# --------------------------------------------------------------------------------------------------- what is written


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record(tmp_path / "day1.h5", range(300))
    assert [path.name for path in tmp_path.iterdir()] == ["day1.h5"]
    with open_recording(tmp_path / "day1.h5") as recording:
        assert len(recording) == 300
        for n, frame in enumerate(recording):
            assert np.array_equal(frame.pixels, picture(n))
            assert (frame.index, frame.metadata) == (n, {"n": n} if n % 3 else {})
        assert recording[-1].index == 299
        assert [frame.index for frame in recording[10:20:3]] == [10, 13, 16, 19]
        assert list(recording.timestamps_ns[:4]) == [0, 33333333, 66666667, 100000000]
        assert recording[2].timestamp_ns == 66666667
        assert list(recording.labels) == [None] * 300


def test_any_hdf5_library_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    record(path, range(1200))  # more than a block of times, and four levels of the index
    record(path, range(1200, 1210))
    with h5py.File(path) as file:
        frames = file["frames"]
        assert (frames.shape, frames.dtype, frames.chunks) == ((1210, 12, 16, 3), np.uint8, (1, 12, 16, 3))
        assert frames.maxshape == (None, 12, 16, 3) and frames.compression == "gzip"
        assert all(np.array_equal(pixels, picture(n)) for n, pixels in enumerate(frames[:]))
        assert file["timestamp_ns"].dtype == np.int64 and file["timestamp_ns"][1199] == round(1199 / 30 * 1e9)
        assert file["timestamp_ns"][1200] == 0
        assert file["label"].dtype == np.int16 and np.all(file["label"][:] == -1)
        assert list(file["label"].attrs["classes"]) == []
        texts = list(file["metadata"].asstr()[:])
        assert texts == [f'{{"n":{n}}}' if n % 3 else "" for n in range(1210)]
        sessions = json.loads(file.attrs["sessions"])
    assert [(s["first_index"], s["frames"], s["end"]) for s in sessions] == [
        (0, 1200, "finished"),
        (1200, 10, "finished"),
    ]
    assert sessions[0]["size"] == "16x12" and isinstance(sessions[0]["wall_minus_monotonic_ns"], int)


def test_the_tools_of_raspberry_pi_os_read_it(tmp_path: Path) -> None:
    assert shutil.which("h5dump"), "scripts/test.sh installs hdf5-tools"
    path = tmp_path / "day1.h5"
    record(path, range(40))
    write_labels(path, ["door", "0"] * 20)
    for arguments in (
        ["-d", "/frames", "-s", "39,0,0,0", "-c", "1,1,1,3"],
        ["-d", "/timestamp_ns"],
        ["-d", "/label"],
        [],
    ):
        done = subprocess.run(["h5dump", *arguments, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        if "-s" in arguments:
            red, green, blue = picture(39)[0, 0]
            assert f": {red}, {green}, {blue}" in done.stdout.replace("\n", " ")
    assert (
        '"door"' in done.stdout
        and "DEFLATE" in subprocess.run(["h5dump", "-pH", path], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize("compression", ["none", "deflate", None])
def test_compression(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "day1.h5"
    writer = Hdf5Writer(path, compression)
    for n in range(20):
        append(writer, n)
    assert writer.close() == 20
    with h5py.File(path) as file:
        assert file["frames"].compression == (None if compression == "none" else "gzip")
        assert all(np.array_equal(pixels, picture(n)) for n, pixels in enumerate(file["frames"][:]))
    assert all(np.array_equal(frame.pixels, picture(n)) for n, frame in enumerate(open_recording(path)))
    # It goes on as it was, unless something else is asked for.
    record(path, range(20, 25))
    assert np.array_equal(open_recording(path)[24].pixels, picture(24))
    other = "deflate" if compression == "none" else "none"
    with pytest.raises(StorageError, match="compression"):
        Hdf5Writer(path, other)
    with pytest.raises(StorageError, match="bzip9"):
        Hdf5Writer(path, "bzip9")


def test_a_recording_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    for first in range(0, 70, 7):
        record(path, range(first, first + 7), part=first)
    recording = Hdf5Reader(path)
    assert [frame.metadata.get("n", frame.index) for frame in recording] == list(range(70))
    assert [session["part"] for session in recording.sessions] == list(range(0, 70, 7))
    assert [session["first_index"] for session in recording.sessions] == list(range(0, 70, 7))


def test_frames_of_another_size_are_refused_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    record(path, range(5))
    before = path.read_bytes()
    with pytest.raises(RecordingError, match="holds frames of 16x12, these are 32x24"), Recorder(path) as recorder:
        recorder.write(picture(0, (32, 24)))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["day1.h5"]


def test_nothing_recorded_leaves_nothing_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    with Recorder(path):
        pass
    assert os.listdir(tmp_path) == []
    record(path, range(5))
    before = path.read_bytes()
    with Recorder(path):
        pass
    assert path.read_bytes() == before


def test_a_killed_session_is_told_as_interrupted_and_its_tail_goes(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    program = f"""if 1:
        import os
        from storage.formats.hdf5.writer import Hdf5Writer
        from tests.storage.formats.hdf5.test_writer import append
        from pathlib import Path
        writer = Hdf5Writer(Path({str(path)!r}))
        for n in range(30):
            append(writer, n)
            if n == 20:
                assert writer.sync() == 21
        os.kill(os.getpid(), 9)"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    recording = Hdf5Reader(path)
    assert len(recording) == 21 and recording.cut_bytes > 0
    assert np.array_equal(recording[20].pixels, picture(20))
    record(path, range(21, 25))
    recording = Hdf5Reader(path)
    assert [frame.metadata.get("n", frame.index) for frame in recording] == list(range(25))
    assert [(s["frames"], s["end"]) for s in recording.sessions] == [(21, "interrupted"), (4, "finished")]
    assert recording.cut_bytes == 0 and os.listdir(tmp_path) == ["day1.h5"]


def test_on_a_full_disk_each_frame_is_stored_or_counted_never_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has room for pictures, but for what libhdf5 writes beside them only once the reserve is free."""
    path = tmp_path / "day1.h5"

    def write(fd: int, data: Any, address: int) -> None:
        if len(data) < picture(0).nbytes and (tmp_path / ".day1.h5.reserve.part").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(fd, data, address)

    monkeypatch.setattr("storage.formats.hdf5.transaction.write_all", write)
    monkeypatch.setattr("storage.formats.hdf5.writer.FLUSH_BYTES", 0)
    recorder = Recorder(path, options={"compression": "none"}, sync_interval=60)
    with pytest.raises(RecordingError, match="the disk is full"), recorder:
        for n in range(50):
            recorder.write(picture(n))
    summary = recorder.summary()
    assert summary.frames == 1 and summary.captured == 1 + summary.dropped_disk > 1
    with open_recording(path) as recording:
        (session,) = recording.sessions
        assert len(recording) == session["frames"] == 1 and session["dropped_disk"] == summary.dropped_disk


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    record(path, range(2500))
    labels = [random.Random(n).choice([None, "0", "10", "2", "door"]) for n in range(2500)]
    write_labels(path, labels)
    assert open_recording(path).labels == labels
    with h5py.File(path) as file:
        classes = [name.decode() for name in file["label"].attrs["classes"]]
        assert classes == ["0", "2", "10", "door"]
        assert [None if number < 0 else classes[number] for number in file["label"]] == labels
    record(path, range(2500, 2510))  # what comes later has none
    write_labels(path, [*labels, *["new"] * 10])
    assert open_recording(path).labels == [*labels, *["new"] * 10]
    assert np.array_equal(open_recording(path)[2505].pixels, picture(2505))
    with pytest.raises(ValueError, match="3 labels for 2510 frames"):
        write_labels(path, [None] * 3)


# ------------------------------------------------------------------------------------------------- others in the file


def test_others_follow_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    writer = Hdf5Writer(path)
    assert len(open_recording(path)) == 0
    opened = []
    for n in range(60):
        append(writer, n)
        if n % 10 == 9:
            assert writer.sync() == n + 1
            opened.append((n + 1, open_recording(path)))
            with h5py.File(path) as file:
                assert len(file["frames"]) == n + 1 and np.array_equal(file["frames"][n], picture(n))
    # A dataset that is open stays as it was when it was opened.
    with h5py.File(path) as file:
        frames, metadata = file["frames"], file["metadata"]
        for n in range(60, 300):
            append(writer, n)
            writer.sync()
        writer.close()
        assert all(np.array_equal(pixels, picture(n)) for n, pixels in enumerate(frames[:]))
        assert len(frames) == 60 and metadata.asstr()[59] == '{"n":59}'
    for rows, recording in opened:
        assert [frame.metadata["n"] for frame in recording] == list(range(rows))
        assert all(np.array_equal(frame.pixels, picture(frame.index)) for frame in recording)


def test_a_second_writer_is_refused_the_first_goes_on(tmp_path: Path) -> None:
    path, link = tmp_path / "day1.h5", tmp_path / "link.h5"
    link.symlink_to(path)
    with Recorder(path) as recorder:
        recorder.write(picture(0))
        for name in (path, link):
            with pytest.raises(StorageError, match="being recorded into"):
                Recorder(name)
        with pytest.raises(StorageError, match="being recorded into"):
            write_labels(path, [None])
        with pytest.raises(OSError, match="lock"):
            h5py.File(path, "r+")
        recorder.write(picture(1))
    assert len(open_recording(path)) == 2
    with h5py.File(path, "r+"), pytest.raises(StorageError, match="open for writing in another program"):
        Recorder(path)
    record(link, range(2, 4))
    assert len(open_recording(path)) == 4 and link.is_symlink()


def test_what_others_add_stays(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    record(path, range(30))
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "by hand"
        file["frames"].attrs["lens"] = [2.8, 6.0]
        file["weather"] = ["fine"] * 3
        file["label"][3:5] = 0
        file["label"].attrs["classes"] = ["door"]
    record(path, range(30, 60))
    with h5py.File(path) as file:
        assert file.attrs["note"] == "by hand" and list(file["frames"].attrs["lens"]) == [2.8, 6.0]
        assert list(file["weather"].asstr()) == ["fine"] * 3
        assert np.array_equal(file["frames"][59], picture(59))
    assert open_recording(path).labels == [None] * 3 + ["door"] * 2 + [None] * 55


# ---------------------------------------------------------------------------------------------------- what is refused


def by_others(path: Path, version: str) -> h5py.File:
    """A recording that another program made."""
    file = h5py.File(path, "w", libver=(version, "v110"))
    shape = (3, 4, 5, 3)
    file.create_dataset("frames", shape, np.uint8, chunks=(1, 4, 5, 3), maxshape=(None, 4, 5, 3), compression="gzip")
    file["frames"][:] = np.arange(180).reshape(shape)
    file.create_dataset("timestamp_ns", data=[7, 8, 9], dtype=np.int64, chunks=(2,))
    file.create_dataset("label", data=[0, -1, 0], dtype=np.int16, chunks=(2,), compression="gzip")
    return file


def external(file: h5py.File) -> None:
    del file["frames"]
    file.create_dataset("frames", (3, 4, 5, 3), np.uint8, external=[("/etc/passwd", 0, 180)])


def external_link(file: h5py.File) -> None:
    del file["frames"]
    file["frames"] = h5py.ExternalLink("other.h5", "/frames")


def soft_link(file: h5py.File) -> None:
    file["mine"] = file["frames"]
    del file["frames"]
    file["frames"] = h5py.SoftLink("/mine")


def virtual(file: h5py.File) -> None:
    del file["frames"]
    layout = h5py.VirtualLayout((3, 4, 5, 3), np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "frames", (3, 4, 5, 3))
    file.create_virtual_dataset("frames", layout)


def unknown_filter(file: h5py.File) -> None:
    del file["frames"]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((1, 4, 5, 3))
    creation.set_filter(31999, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"frames", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((3, 4, 5, 3)), creation)


def absurd_frames(file: h5py.File) -> None:
    del file["frames"]
    shape = (3, 20_000, 30_000, 3)
    file.create_dataset("frames", shape, np.uint8, chunks=(1, *shape[1:]), maxshape=(None, *shape[1:]))


def absurd_length(file: h5py.File) -> None:
    file["frames"].resize(2**60, axis=0)


def number_frames(file: h5py.File) -> None:
    del file["frames"]
    file.create_dataset("frames", (3, 4, 5, 3), np.int32, chunks=(1, 4, 5, 3), maxshape=(None, 4, 5, 3))


def many_channels(file: h5py.File) -> None:
    del file["frames"]
    file.create_dataset("frames", (3, 4, 5, 4), np.uint8)


def group_of_frames(file: h5py.File) -> None:
    del file["frames"]
    file.create_group("frames")


def missing_labels(file: h5py.File) -> None:
    del file["label"]


def uneven_columns(file: h5py.File) -> None:
    file["frames"].resize(2, axis=0)


HOSTILE = {
    external: "another file",
    external_link: "link to somewhere else",
    soft_link: "link to somewhere else",
    virtual: "other files",
    unknown_filter: "filter 31999",
    absurd_frames: "absurd shape",
    absurd_length: "more than the file has room for",
    number_frames: "frames is int32",
    many_channels: "frames is uint8, 3 x 4 x 5 x 4",
    group_of_frames: "frames is not a dataset",
    missing_labels: "label is missing",
    uneven_columns: "timestamp_ns is int64, 3, not int64, 2",
}


def one_line(path: Path, reading: Callable[[Path], object] = Hdf5Reader) -> str:
    with pytest.raises(StorageError) as caught:
        reading(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


@pytest.mark.parametrize("version", ["earliest", "v108", "v110"])
def test_files_of_others_are_read_but_not_written_to(tmp_path: Path, version: str) -> None:
    path = tmp_path / "other.h5"
    by_others(path, version).close()
    before = path.read_bytes()
    recording = open_recording(path)
    assert np.array_equal(recording[2].pixels, np.arange(120, 180, dtype=np.uint8).reshape(4, 5, 3))
    assert list(recording.timestamps_ns) == [7, 8, 9] and recording.labels == ["0", None, "0"]
    assert "another program" in one_line(path, Recorder)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["other.h5"]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_hostile_files_are_refused_in_one_line(tmp_path: Path, change: Callable[[h5py.File], None]) -> None:
    path = tmp_path / "hostile.h5"
    with by_others(path, "v108" if change is not virtual else "v110") as file:
        change(file)
    before = path.read_bytes()
    assert HOSTILE[change] in one_line(path)
    one_line(path, Recorder)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["hostile.h5"]


def test_what_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    text, empty, directory, pipe = (tmp_path / f"{name}.h5" for name in ("text", "empty", "directory", "pipe"))
    text.write_text("frames are in the other file\n")
    empty.touch()
    directory.mkdir()
    os.mkfifo(pipe)
    for path in (text, empty):
        assert "is not an HDF5 file" in one_line(path)
        assert "is not an HDF5 file" in one_line(path, Recorder)
    for path in (directory, pipe):
        assert "is not a file" in one_line(path)
    assert text.read_text() == "frames are in the other file\n" and empty.stat().st_size == 0
    assert len(os.listdir(tmp_path)) == 4


def test_a_target_that_can_not_be_written_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist; create it first"):
        Recorder(tmp_path / "nowhere" / "day1.h5")
    (tmp_path / "day1.h5").mkdir()
    assert "is not a file" in one_line(tmp_path / "day1.h5", Hdf5Writer)


def test_a_damaged_frame_is_told_and_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    record(path, range(20))
    with h5py.File(path) as file:
        place = file["frames"].id.get_chunk_info(7)
    data = bytearray(path.read_bytes())
    data[place.byte_offset + place.size // 2] ^= 0xFF
    path.write_bytes(data)
    recording = open_recording(path)
    with pytest.raises(StorageError, match="frame 7"):
        recording.read(7)
    assert all(np.array_equal(recording[n].pixels, picture(n)) for n in range(20) if n != 7)


def test_cut_off_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    record(path, range(20))
    data = path.read_bytes()
    for size in (9, 47, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert "is cut off" in one_line(path)


def test_damage_anywhere_is_told_or_harmless(tmp_path: Path) -> None:
    """Bytes changed at random, mostly where the headers are: one line or the right frames, never anything else."""
    path = tmp_path / "day1.h5"
    record(path, range(40))
    data = path.read_bytes()
    rng = random.Random(0)
    told = 0
    for _ in range(400):
        harmed = bytearray(data)
        for _ in range(rng.choice((1, 1, 4))):
            at = rng.randrange(rng.choice((0, len(data) - 5000)), len(data) - 8)
            harmed[at : at + 8] = rng.choice((rng.randbytes(8), bytes(8), b"\xff" * 8, len(data).to_bytes(8, "little")))
        path.write_bytes(harmed)
        try:
            with Hdf5Reader(path) as recording:
                assert len(recording.labels) == len(recording.timestamps_ns) == len(recording) == 40
                for frame in recording:
                    assert np.array_equal(frame.pixels, picture(frame.index))
        except StorageError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            told += 1
    assert 100 < told < 400


@pytest.mark.parametrize("version", ["earliest", "v110"])
def test_a_damaged_heap_of_texts_is_told(tmp_path: Path, version: str) -> None:
    """Its objects have no size or one beyond its end: libhdf5 before 1.14 hangs on the one and crashes on the other."""
    path = tmp_path / "other.h5"
    with by_others(path, version) as file:
        file["label"].attrs["classes"] = ["door"]
    data = path.read_bytes()
    heap = data.index(b"GCOL")
    for number, size in ((0, 0), (1, 1 << 40), (0, 1 << 63)):
        harmed = bytearray(data)
        harmed[heap + 16 : heap + 18] = number.to_bytes(2, "little")
        harmed[heap + 24 : heap + 32] = size.to_bytes(8, "little")
        path.write_bytes(harmed)
        one_line(path, lambda path: open_recording(path).labels)


@pytest.mark.parametrize("hdf5", [h5py.version.hdf5_version_tuple, (1, 10, 8)])
def test_an_attribute_that_refers_to_no_text_is_told_or_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hdf5: tuple[int, ...]
) -> None:
    """libhdf5 before 1.14 crashes on it: where the program meets one, a child reads it."""
    monkeypatch.setattr(h5py.version, "hdf5_version_tuple", hdf5)
    path = tmp_path / "other.h5"
    with by_others(path, "earliest") as file:
        file["label"].attrs["classes"] = ["door"]
    assert open_recording(path).labels == ["door", None, "door"]
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<IQI", 4, data.index(b"GCOL"), 1))
    for length, number in ((4, 60_000), (1 << 30, 1), (4, 0)):
        data[place : place + 16] = struct.pack("<IQI", length, data.index(b"GCOL"), number)
        path.write_bytes(data)
        try:  # versions differ in what they notice
            assert len(open_recording(path).labels) == 3
        except StorageError as error:
            assert str(error).startswith(f"{path} is damaged") and "\n" not in str(error)


METADATA: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "filters": {"chunks": (2,), "compression": "gzip", "shuffle": True},
    "large chunks": {"chunks": (50,), "maxshape": (None,)},
    "fixed length": {"dtype": "S9"},
}


@pytest.mark.parametrize("form", METADATA)
@pytest.mark.parametrize("version", ["earliest", "v110"])
def test_metadata_of_others_is_read_without_libhdf5(tmp_path: Path, form: str, version: str) -> None:
    path = tmp_path / "other.h5"
    with by_others(path, version) as file:
        kind = METADATA[form].get("dtype", h5py.string_dtype())
        file.create_dataset("metadata", data=["", '{"n": 1}', '{"n": 2}'], **{**METADATA[form], "dtype": kind})
    with open_recording(path) as recording:
        assert [recording[n].metadata for n in (2, 0, 1)] == [{"n": 2}, {}, {"n": 1}]
    data = bytearray(path.read_bytes())
    if form != "fixed length":
        heap = data.index(b"GCOL")
        if form != "filters":
            place = data.index(struct.pack("<IQI", 8, heap, 2))
            data[place + 12 : place + 16] = (60_000).to_bytes(4, "little")
        else:
            data[heap + 24 : heap + 32] = (1 << 40).to_bytes(8, "little")  # the size of a text
        path.write_bytes(data)
        with open_recording(path) as recording, pytest.raises(StorageError, match=r"frame [12]: .*text"):
            _ = recording.read(1), recording.read(2)


def test_metadata_behind_a_filter_of_libhdf5_alone_is_refused(tmp_path: Path) -> None:
    with by_others(tmp_path / "other.h5", "earliest") as file:
        file.create_dataset("metadata", data=["a", "b", "c"], chunks=(3,), compression="lzf")
    assert "h5repack -f NONE" in one_line(tmp_path / "other.h5")


def test_times_tell_their_units_and_the_wall_clock(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    for live in (True, False):
        with Recorder(path) as recorder:
            recorder.describe({"live": live, "wall_minus_monotonic_ns": 10**18})
            for n in range(4):
                set_then = {"wall_minus_monotonic_ns": 2 * 10**18} if live and n == 2 else {}
                recorder.write(picture(n), timestamp=n, metadata=set_then)
    with h5py.File(path) as file:
        live_ns = [10**18, 10**18 + 10**9, 2 * 10**18 + 2 * 10**9, 2 * 10**18 + 3 * 10**9]
        assert file["unix_ns"][:].tolist() == [*live_ns, 0, 0, 0, 0]
        assert file["timestamp_ns"].attrs["units"] == b"ns"
        assert file["unix_ns"].attrs["units"] == b"nanoseconds since 1970-01-01 00:00:00 UTC"
        assert b"0: not known" in file["unix_ns"].attrs["long_name"]


def test_pytables_reads_it(tmp_path: Path) -> None:
    import tables

    path = tmp_path / "day1.h5"
    record(path, range(40), live=True)
    write_labels(path, ["door", "0"] * 20, ["door", "0"])
    with tables.open_file(path) as file:
        assert np.array_equal(file.root.frames[39], picture(39)) and file.root.label[:2].tolist() == [0, 1]
        assert file.root.unix_ns[5] - file.root.unix_ns[0] == file.root.timestamp_ns[5]
        assert file.root.label.attrs.classes.tolist() == [b"door", b"0"] and file.root.unix_ns[0] > 10**18
        assert json.loads(file.root._v_attrs.sessions)[0]["frames"] == 40


def test_a_damaged_text_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    record(path, range(70))
    with h5py.File(path) as file:
        _, places = file["metadata"].id.read_direct_chunk((0,))
        of_texts = [thing.attrs.get_id(name) for thing in (file, *file.values()) for name in thing.attrs]
        texts = [kind for one in of_texts if isinstance(kind := one.get_type(), h5py.h5t.TypeStringID)]
        assert len(texts) == 7 and not any(kind.is_variable_str() for kind in texts)
    data = bytearray(path.read_bytes())
    data[data.index(places) + 4 * 16 + 12] ^= 0xFF  # the number of the text of frame 4, in its heap
    path.write_bytes(data)
    with open_recording(path) as recording:
        with pytest.raises(StorageError, match=r"frame 4: .*text"):
            recording.check(4)
        assert recording.metadata(40) == {"n": 40}


# ------------------------------------------------------------------------------------------- what other programs made


PICTURES = np.random.default_rng(5).integers(0, 256, (7, 9, 11, 3), np.uint8)
FORMS: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]] = {
    "contiguous": (PICTURES, {}, PICTURES),
    "several frames a chunk": (PICTURES, {"chunks": (3, 4, 11, 3), "compression": "lzf", "shuffle": True}, PICTURES),
    "checksum": (PICTURES, {"chunks": (2, 9, 11, 3), "compression": "gzip", "fletcher32": True}, PICTURES),
    "one channel": (PICTURES[..., :1], {"chunks": True}, PICTURES[..., :1].repeat(3, axis=3)),
    "grey": (PICTURES[..., 1], {}, PICTURES[..., 1:2].repeat(3, axis=3)),
    "floats": (PICTURES / np.float32(255), {"chunks": (1, 9, 11, 3)}, PICTURES),
    "doubles": (PICTURES[..., 0] / 255, {}, PICTURES[..., :1].repeat(3, axis=3)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", ["earliest", "v110"])
def test_any_hdf5_file_with_pictures_opens(tmp_path: Path, form: str, version: str) -> None:
    path = tmp_path / "theirs.h5"
    data, options, expected = FORMS[form]
    with h5py.File(path, "w", libver=(version, "v110")) as file:
        file.create_dataset("train/images", data=data, **options)
        file["answers"] = np.arange(7)
    before = path.read_bytes()
    with open_recording(path) as recording:
        assert recording.size == "11x9" and recording.labels == [None] * 7
        assert all(np.array_equal(frame.pixels, expected[n]) for n, frame in enumerate(recording))
    write_labels(path, ["a", None] * 3 + ["b"])  # beside it
    assert open_recording(path).labels == ["a", None] * 3 + ["b"] and path.read_bytes() == before
    assert "another program" in one_line(path, Recorder)
    done = storage_command("convert", path, tmp_path / "ours.h5")
    assert done.returncode == 1 and "no times; give --fps" in done.stderr
    assert storage_command("convert", path, tmp_path / "ours.h5", "--fps", "10").returncode == 0
    with open_recording(tmp_path / "ours.h5") as recording:
        assert np.array_equal(recording[3].pixels, expected[3]) and recording.timestamps_ns[3] == 300_000_000


def test_of_several_datasets_of_pictures_one_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "theirs.h5"
    with h5py.File(path, "w") as file:
        file["left"], file["deep/right"] = PICTURES, PICTURES[::-1]
    assert "--dataset NAME" in (told := one_line(path)) and "left" in told and "deep/right" in told
    with open_recording(path, track="deep/right") as recording:
        assert np.array_equal(recording[0].pixels, PICTURES[6])
        assert np.array_equal(pickle.loads(pickle.dumps(recording))[0].pixels, PICTURES[6])
    assert "no dataset" in one_line(path, lambda path: open_recording(path, track="up"))
    assert storage_command("extract", path, tmp_path / "out", "--dataset", "left").returncode == 0
    assert np.array_equal(open_recording(tmp_path / "out")[0].pixels, PICTURES[0])


def test_floats_that_are_no_pictures_are_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["images"] = PICTURES.astype(np.float32)
    with pytest.raises(StorageError, match=r"frame 0.*values from 0\.0 to 25\d"):
        open_recording(tmp_path / "theirs.h5").read(0)


@pytest.mark.parametrize("how", ["copy", "h5repack", "other chunks"])
def test_copies_of_ours_open(tmp_path: Path, how: str) -> None:
    path, copy = tmp_path / "day1.h5", tmp_path / "copy.h5"
    record(path, range(70))
    write_labels(path, ["b", "a"] * 35, ["b", "a"])
    if how == "copy":
        with h5py.File(path) as source, h5py.File(copy, "w") as target:
            for name in source:
                source.copy(name, target)
            target.attrs.update(source.attrs)
    else:
        options = (
            ["-l", "frames:CHUNK=16x12x8x3", "-f", "frames:SHUF", "-f", "frames:GZIP=5"] if "chunks" in how else []
        )
        subprocess.run(["h5repack", *options, path, copy], check=True, capture_output=True)
    with open_recording(copy) as recording:
        assert all(np.array_equal(frame.pixels, picture(n)) for n, frame in enumerate(recording))
        assert recording.labels == ["b", "a"] * 35 and recording.class_names == ["b", "a"]
        assert recording.metadata(1) == {"n": 1} and recording.timestamps_ns[1] == 33333333
        for n in range(70):
            recording.check(n)


# ------------------------------------------------------------------------------------------------ damage, and commits


def everything_in(path: Path) -> object:
    with open_recording(path) as recording:
        assert isinstance(recording, Hdf5Reader)
        frames = [(frame.pixels.tobytes(), frame.timestamp_ns, frame.metadata) for frame in recording]
        return frames, recording.labels, recording.sessions, recording.class_names


@pytest.mark.parametrize("compression", ["none", "deflate"])
def test_no_byte_changes_unnoticed(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "day1.h5"
    writer = Hdf5Writer(path, compression)
    writer.describe({"camera": "a window", "lens": 2.8})
    for n in range(9):
        append(writer, n)
    writer.close()
    write_labels(path, ["door", None, "gate"] * 3, ["gate", "door"])
    data, rng = path.read_bytes(), random.Random(compression)
    before, noticed = everything_in(path), 0
    for at in rng.sample(range(len(data)), 150):
        harmed = bytearray(data)
        harmed[at] ^= 1 << rng.randrange(8)
        path.write_bytes(harmed)
        try:
            broken = find_broken(path)[1]
        except StorageError:
            broken = ["all"]
        noticed += bool(broken)
        assert broken or everything_in(path) == before, f"byte {at}"
    assert noticed > 50


def test_an_open_during_a_commit_tries_again(tmp_path: Path) -> None:
    path = tmp_path / "day1.h5"
    writer = Hdf5Writer(path)
    append(writer, 0)
    writer.sync()
    opened: list[int] = []
    opened_again, done = threading.Event(), threading.Event()

    def follow() -> None:
        while not done.is_set():
            with open_recording(path) as recording:
                count = len(recording)
                assert np.array_equal(recording[count - 1].pixels, picture(count - 1))
                opened.append(count)
            opened_again.set()

    with ThreadPoolExecutor() as pool:
        following = pool.submit(follow)
        following.add_done_callback(lambda _: opened_again.set())
        for burst in range(60):
            for n in range(3):
                append(writer, 1 + 3 * burst + n)
                writer.sync()
            opened_again.clear()
            if not following.done():
                opened_again.wait()  # a slow processor opens it only where commits don't follow each other
        done.set()
        following.result()
    writer.close()
    assert opened == sorted(opened) and len(set(opened)) > 5


def test_a_sync_that_was_cut_off_is_seen_and_completed(tmp_path: Path) -> None:
    """Killed between the two halves of a sync: what it had made durable is there, for others too after `verify`."""
    path = tmp_path / "day1.h5"
    program = f"""if 1:
        import os
        import storage.formats.hdf5.transaction as transaction
        from pathlib import Path
        from storage.formats.hdf5.writer import Hdf5Writer
        from tests.storage.formats.hdf5.test_writer import append
        writer = Hdf5Writer(Path({str(path)!r}))
        for n in range(30):
            append(writer, n)
        real, syncs = os.fsync, []
        def fsync(fd):
            real(fd)
            os.kill(os.getpid(), 9)
        os.fsync = fsync
        writer.sync()"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with Hdf5Reader(path) as recording:
        assert len(recording) == 30 and recording.cut_bytes > 0
        assert all(np.array_equal(frame.pixels, picture(frame.index)) for frame in recording)
    assert "verify --repair" in (done := storage_command("verify", path)).stdout + done.stderr
    done = storage_command("verify", "--repair", path)
    assert done.returncode == 0 and "30 frames, none broken" in done.stdout
    with h5py.File(path) as file:
        assert len(file["frames"]) == 30 and np.array_equal(file["frames"][29], picture(29))


# ------------------------------------------------------------------------------------------- recordings of before h5py

# By the toolkit's own writer of HDF5, as it was before h5py: 20 frames and their labels, then a session that was
# killed after 26 frames had been synced. Frame n is all n, its time n µs; the odd ones have metadata.
BEFORE_H5PY = REPOSITORY / "tests" / "data" / "interrupted_without_h5py.h5"


def test_recordings_of_before_h5py_open_and_go_on(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    shutil.copy(BEFORE_H5PY, path)

    def check(frames: int, labels: list[str | None]) -> None:
        with open_recording(path) as recording:
            assert [frame.pixels.max() for frame in recording] == list(range(frames))
            assert [frame.metadata for frame in recording] == [{"n": n} if n % 2 else {} for n in range(frames)]
            assert list(recording.timestamps_ns) == [1000 * n for n in range(frames)] and recording.labels == labels
            for n in range(frames):
                recording.check(n)

    check(26, ["door", None] * 10 + [None] * 6)
    done = storage_command("verify", "--repair", path)
    assert done.returncode == 0 and "had been interrupted: its 26 frames are whole" in done.stdout + done.stderr
    writer = Hdf5Writer(path)
    for n in range(26, 200):
        pixels = np.full((6, 8, 3), n, np.uint8)
        writer.append(writer.encode(Frame(pixels, n, 1000 * n, {"n": n} if n % 2 else {})))
        if n % 20 == 0:
            writer.sync()
    writer.close()
    write_labels(path, ["gate", "door"] * 100, ["gate", "door"])
    check(200, ["gate", "door"] * 100)
    with h5py.File(path) as file:
        assert np.array_equal(file["frames"][:, 0, 0, 0], np.arange(200))
        sessions = json.loads(file.attrs["sessions"])
    assert [(s["frames"], s["end"]) for s in sessions[1:2]] == [(6, "interrupted")] and sessions[2]["frames"] == 174


def storage_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "storage", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)

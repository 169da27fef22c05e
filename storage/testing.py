"""The conformance suite of a format: its author derives from `FormatTests`, and pytest runs all of it.

>>> from storage.testing import FormatTests
>>> class TestTar(FormatTests):
...     backend = "tar"

The format must be in the table, by its row or, for another distribution, by its entry point: other processes look it up
as well. What it can't do according to its row (`storage.formats.table.Format`) is passed over.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from storage.care.verify import find_broken
from storage.cli import main
from storage.convert.convert import convert
from storage.durable.files import check_in_place
from storage.errors import BusyError, GoneError, StorageError
from storage.formats.contract import KeepsSamples, MayBeLossy, Writer
from storage.formats.table import Format, complete, find_format, label_writer, open_recording, open_writer
from storage.frame import Frame
from storage.labels.current import labels_as_they_stand
from storage.recording import Recording
from storage.tracks.sample_track import SampleTrack

STEP_NS = 33_333_333
LABELS: list[str | None] = ["door", "door", None, "none", None, "door"]
RATE = 100.0


def make_frame(index: int, width: int = 40, height: int = 32) -> Frame:
    """A frame that differs from every other, in pixels, time and metadata."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([(x * 5 + index * 7) % 256, (y * 7 + index) % 256, (x + y + index * 3) % 256], axis=-1)
    return Frame(pixels.astype(np.uint8), index, 1_000_000_007 + index * STEP_NS, {"number": index})


class FormatTests:
    """What every format promises.

    Attributes
    ----------
    backend : str
        The name of the format in the table.
    options : mapping
        What its writer is asked for.
    lossless : bool
        Whether frames come back pixel-identical with these options.
    """

    backend: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    lossless: ClassVar[bool] = True

    @property
    def row(self) -> Format:
        return find_format(Path("day1"), self.backend)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """The path that a test records into."""
        return tmp_path / f"day1{self.row.suffix}"

    def writer(self, path: Path, **more: Any) -> Writer[Any]:
        return open_writer(path, self.backend, self.options, **more)

    def skip_without_pictures(self) -> None:
        if not self.row.takes_pictures:
            pytest.skip("for formats that take pictures: this one takes none")

    def record(self, path: Path, count: int, labels: Sequence[str | None] | None = None) -> None:
        """Record so many frames, or add them to what is there."""
        self.skip_without_pictures()
        writer = self.writer(path)
        try:
            writer.describe({"host": "conformance", "camera": "none"})
            for index in range(writer.next_index, writer.next_index + count):
                label = labels[index] if labels is not None else None
                writer.append(writer.encode(make_frame(index), label))
        finally:
            writer.close()

    def check_frames(self, path: Path, count: int) -> None:
        """The recording holds the first frames that `make_frame` makes, and nothing is wrong with it."""
        with open_recording(path, self.backend) as recording:
            assert len(recording) == count
            assert list(recording.timestamps_ns) == [make_frame(index).timestamp_ns for index in range(count)]
            for index in range(count):
                recording.check(index)
                self.check_frame(recording, index)
        assert find_broken(path) == (count, [])

    def check_frame(self, recording: Recording, index: int) -> None:
        """A frame comes back as it went in."""
        if not recording.has_pictures:
            with pytest.raises(StorageError):
                recording.read(index)
            return
        frame, expected = recording[index], make_frame(index)
        assert (frame.index, frame.timestamp_ns) == (index, expected.timestamp_ns)
        assert frame.pixels.dtype == np.uint8 and frame.pixels.shape == expected.pixels.shape
        assert dict(frame.metadata) == {"number": index}
        if self.lossless:
            np.testing.assert_array_equal(frame.pixels, expected.pixels)

    # --------------------------------------------------------------------------------------------- recording, reading

    def test_frames_come_back(self, path: Path) -> None:
        self.record(path, 7)
        self.check_frames(path, 7)
        with open_recording(path) as recording:
            assert recording.path == path and not any(recording.labels) and not recording.interrupted
            assert len(recording.names) == len(set(recording.names)) == 7
            assert isinstance(recording.size, str) and list(recording.damage) == []
            with pytest.raises(IndexError):
                recording[7]
            if recording.has_pictures:
                assert recording[-1].index == 6
                assert [frame.index for frame in recording[5:1:-2]] == [5, 3]

    def test_a_recording_is_continued(self, path: Path) -> None:
        for count in (3, 1, 4):
            self.record(path, count)
        self.check_frames(path, 8)
        with open_recording(path) as recording:
            sessions = recording.sessions
        if sessions:
            assert [session["first_index"] for session in sessions] == [0, 3, 4]
            assert all(session["host"] == "conformance" for session in sessions)

    def test_encode_runs_in_several_threads(self, path: Path) -> None:
        self.skip_without_pictures()
        writer = self.writer(path)
        with ThreadPoolExecutor(4) as pool:
            for encoded in pool.map(writer.encode, map(make_frame, range(40))):
                writer.append(encoded)
        assert writer.bytes_written > 0
        assert not isinstance(writer, MayBeLossy) or writer.lossless == self.lossless
        assert writer.close() == writer.close() == 40
        self.check_frames(path, 40)

    def test_several_threads_read(self, path: Path) -> None:
        self.record(path, 20)
        with open_recording(path) as recording, ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda index: self.check_frame(recording, index), [*range(20), *range(20)]))

    def test_a_copy_opens_it_anew(self, path: Path) -> None:
        self.record(path, 3)
        with open_recording(path) as recording:
            for other in (pickle.loads(pickle.dumps(recording)), copy.deepcopy(recording)):
                with other:
                    self.check_frame(other, 2)

    # ------------------------------------------------------------------------------------------------ what may go wrong

    def test_nothing_recorded_leaves_nothing(self, path: Path) -> None:
        writer = self.writer(path, pictures=self.row.takes_pictures)
        writer.describe({"host": "conformance"})
        assert writer.close() == 0
        assert list(path.parent.iterdir()) == []

    def test_one_that_was_only_just_begun(self, path: Path) -> None:
        """Before its first frame a recording does not exist, or opens and has none; then that frame may be seen."""
        self.skip_without_pictures()
        writer = self.writer(path)
        try:
            if path.exists():
                with open_recording(path) as recording:
                    assert len(recording) == 0 and list(recording.labels) == []
            writer.append(writer.encode(make_frame(0)))
            assert writer.sync() == 1
            with open_recording(path) as recording:
                assert len(recording) == 1
                self.check_frame(recording, 0)
        finally:
            writer.close()

    def test_one_writer_at_a_time(self, path: Path) -> None:
        pictures = self.row.takes_pictures
        writer = self.writer(path, pictures=pictures)
        try:
            check_in_place(*writer.held)
            with pytest.raises(BusyError) as caught:
                self.writer(path, pictures=pictures)
            assert "\n" not in str(caught.value)
        finally:
            writer.close()

    def test_it_is_noticed_when_the_target_goes(self, path: Path) -> None:
        self.record(path, 2)
        writer = self.writer(path)
        try:
            path.rename(path.with_name("elsewhere"))
            with pytest.raises(GoneError):
                check_in_place(*writer.held)
        finally:
            with contextlib.suppress(StorageError, OSError):
                writer.close()

    def test_what_is_no_recording_is_refused(self, path: Path) -> None:
        if not self.row.suffix:
            pytest.skip("for formats of one file: any directory is a recording of this one")
        for content in (b"", b"\0" * 5000, b"no recording\n" * 400):
            path.write_bytes(content)
            with contextlib.suppress(StorageError), open_recording(path) as recording:
                assert len(recording) == 0
            if content:
                with pytest.raises(StorageError):
                    self.writer(path, pictures=self.row.takes_pictures).close()
                assert path.read_bytes() == content
        with pytest.raises(StorageError):
            self.writer(path.parent / "missing" / path.name)

    def test_a_file_cut_anywhere_never_crashes(self, path: Path) -> None:
        if not self.row.suffix:
            pytest.skip("for formats of one file: frames of this one are files, sorted by moving them")
        self.record(path, 4)
        whole = path.read_bytes()
        for part in range(1, 16):
            path.write_bytes(whole[: len(whole) * part // 16])
            with contextlib.suppress(StorageError), open_recording(path) as recording:
                for index in range(len(recording)):
                    with contextlib.suppress(StorageError):
                        recording.check(index)

    def test_killed_while_it_records(self, path: Path) -> None:
        """Frames that `sync` reported survive kill -9, whole, and the recording continues after them."""
        self.skip_without_pictures()
        code = f"import storage.testing as t; t.record_until_killed({str(path)!r}, {self.backend!r}, {self.options!r})"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            durable = [int(process.stdout.readline()) for _ in range(3)][-1]
            process.send_signal(signal.SIGKILL)
        complete(path)
        with open_recording(path) as recording:
            count = len(recording)
        assert count >= durable > 0
        self.check_frames(path, count)
        self.record(path, 2)
        self.check_frames(path, count + 2)

    # ------------------------------------------------------------------------------------ labels, samples, the commands

    def test_labels(self, path: Path) -> None:
        labels = LABELS if self.row.takes_labels else None
        self.record(path, len(LABELS), labels)
        if (write := label_writer(path)) is not None:
            with open_recording(path) as recording:
                assert list(recording.labels) == (labels or [None] * len(LABELS))
            write(LABELS[::-1], ["none", "door"])
            with open_recording(path) as recording:
                assert list(recording.labels) == LABELS[::-1] and set(recording.class_names) == {"none", "door"}
            with pytest.raises(ValueError, match="labels"):
                write(LABELS[1:], ["none", "door"])
            write(LABELS, ["none", "door"])
        if labels is not None or write is not None:
            with open_recording(path) as recording:
                assert list(recording.labels) == LABELS
        self.check_frames(path, len(LABELS))

    def test_samples(self, path: Path) -> None:
        if not self.row.keeps_samples:
            pytest.skip("for `KeepsSamples` formats: this one keeps no samples")
        track = SampleTrack("imu", RATE, 2)
        writer = self.writer(path, tracks=[track], pictures=self.row.takes_pictures)
        assert isinstance(writer, KeepsSamples)
        samples = np.arange(400, dtype=np.float32).reshape(200, 2)
        begin = make_frame(0).timestamp_ns
        writer.begin_at(begin)
        if self.row.takes_pictures:
            writer.append(writer.encode(make_frame(0)))
        writer.append_samples("imu", begin, samples)
        writer.flush_samples("imu")
        writer.close()
        with open_recording(path) as recording:
            (found,) = recording.tracks
            assert found.name == "imu"
            kept = np.concatenate([block.samples for block in found.blocks()])
            np.testing.assert_array_equal(kept, samples)

    def test_converted_there_and_back(self, path: Path, tmp_path: Path) -> None:
        """Frames, times and labels survive, in the file or beside it; one line says what can't be kept."""
        if not (self.row.takes_pictures and self.row.keeps_pictures and self.lossless):
            pytest.skip("for lossless formats: pictures of this one come back changed")
        before, back = tmp_path / "before.mkv", tmp_path / "back.mkv"
        writer = open_writer(before)
        for index, label in enumerate(LABELS):
            writer.append(writer.encode(make_frame(index), label))
        writer.close()
        assert convert(before, path) == convert(path, back) == len(LABELS)
        for one in (path, back):
            with open_recording(one) as recording:
                assert labels_as_they_stand(recording) == LABELS
                for index in range(len(LABELS)):
                    self.check_frame(recording, index)

    def test_the_commands(self, path: Path) -> None:
        self.record(path, 5)
        (info,) = json.loads(self.command("info", str(path), "--json"))["recordings"]
        assert (info["backend"], info["frames"], info["bytes"] > 0) == (self.backend, 5, True)
        assert str(path) in self.command("info", str(path))
        assert "5" in self.command("verify", str(path), "--repair")

    @staticmethod
    def command(*arguments: str) -> str:
        """The output of ``python -m storage``."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(arguments) == 0
        return out.getvalue()


def record_until_killed(path: str, backend: str, options: Mapping[str, Any]) -> None:
    """Record, and after each sync print how many frames it reported as durable."""
    writer = open_writer(Path(path), backend, options)
    for index in range(1_000_000):
        writer.append(writer.encode(make_frame(index)))
        if index % 8 == 7:
            os.write(1, b"%d\n" % writer.sync())

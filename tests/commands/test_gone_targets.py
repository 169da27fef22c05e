"""What is recorded into is deleted, moved, replaced, or reached by another name: it is told, and nothing is mixed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pi_capture import Recorder, RecordingError
from pi_capture.segments.recorder import Limit, SegmentedRecorder
from storage import Frame, StorageError, open_recording
from storage.formats.table import label_writer, open_writer
from tests.support import wait_for

TARGETS = ("trip.mkv", "trip.h5", "trip.features.h5", "trip")


def picture(n: int) -> Frame:
    return Frame(np.full((20, 36, 3), n, np.uint8), n, n * 10**7)


def options(name: str, mobilenet: Path) -> dict[str, Path]:
    return {"weights": mobilenet} if "features" in name else {}


def delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name(f"moved-{path.name}"))


def replace(path: Path) -> None:
    moved = path.rename(path.with_name(f"moved-{path.name}"))
    shutil.copytree(moved, path) if moved.is_dir() else shutil.copyfile(moved, path)


@pytest.mark.parametrize("change", [delete, move, replace])
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_that_is_gone_ends_the_recording(
    tmp_path: Path, mobilenet: Path, name: str, change: Callable[[Path], None]
) -> None:
    path = tmp_path / name
    recorder = Recorder(path, sync_interval=0.05, options=options(name, mobilenet))
    for n in range(5):
        recorder.put(picture(n), wait=True)
    wait_for(lambda: recorder.status().durable == 5)
    change(path)
    wait_for(lambda: recorder.failed)  # at the next sync, though no more frames come
    told = "was deleted" if change is delete else "was moved or replaced"
    with pytest.raises(RecordingError, match=told) as error:
        recorder.close()
    assert error.value.summary.frames == 0 and error.value.summary.dropped_disk == 5
    if change is delete:
        assert not path.exists()
        return
    with open_recording(tmp_path / f"moved-{name}") as recording:
        assert len(recording) == 5
    assert path.exists() == (change is replace)


def test_a_segment_that_is_gone_ends_the_recording(tmp_path: Path) -> None:
    recorder = SegmentedRecorder(tmp_path / "trip.h5", Limit(frames=1000), sync_interval=0.05)
    recorder.put(picture(0), wait=True)
    wait_for(lambda: recorder.status().durable == 1)
    (segment,) = tmp_path.glob("trip-*.h5")
    segment.unlink()
    wait_for(lambda: recorder.failed)
    with pytest.raises(RecordingError, match="was deleted") as error:
        recorder.close()
    assert (error.value.summary.frames, error.value.summary.dropped_disk) == (0, 1)


@pytest.mark.parametrize("how", ["hard link", "moved", "symbolic link"])
@pytest.mark.parametrize("name", TARGETS[:3])
def test_a_file_is_locked_under_all_its_names(tmp_path: Path, mobilenet: Path, name: str, how: str) -> None:
    path, other = tmp_path / name, tmp_path / "elsewhere" / f"other{name.removeprefix('trip')}"
    other.parent.mkdir()
    given = options(name, mobilenet)
    writer = open_writer(path, None, given)
    for n in range(4):
        writer.append(writer.encode(picture(n)))
    writer.sync()
    if how == "hard link":
        os.link(path, other)
    elif how == "moved":
        path.rename(other)
    else:
        other.symlink_to(path)
    before = other.read_bytes()
    with pytest.raises(StorageError):
        open_writer(other, None, given)
    write_labels = label_writer(other)
    assert write_labels is not None
    with pytest.raises(StorageError):
        write_labels(["a"] * 4)
    assert other.read_bytes() == before
    with open_recording(other) as recording:  # who reads is let in
        assert len(recording) == 4
    writer.append(writer.encode(picture(4)))
    writer.close()
    with open_recording(other) as recording:
        assert len(recording) == 5

"""A flipped bit anywhere in a recording: `verify` finds it, or every reader gives what was recorded.

``FLIPS=1000 pytest -m slow tests/faults/test_flipped_bytes.py`` tries more, and prints what became of each kind.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import Frame, StorageError, open_recording
from storage.cli import main
from storage.formats.contract import KeepsFeatures, KeepsSamples
from storage.formats.table import open_writer
from storage.labels.beside import journal_path
from storage.labels.journal import Classes, LabelJournal, Labelled, read_journal
from storage.tracks.sample_track import SampleTrack
from tests.conftest import picture

FLIPS = int(os.environ.get("FLIPS", "30"))
FRAMES = 12
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("day", {}),
    "hdf5": ("day.h5", {}),
    "hdf5, not compressed": ("day.h5", {"compression": "none"}),
    "features": ("day.features.h5", {}),
    "ffv1": ("day.mkv", {"codec": "ffv1"}),
    "mjpeg": ("day.mkv", {"codec": "mjpeg"}),
    "h264": ("day.mkv", {"codec": "h264"}),
}


def recorded(path: Path, options: dict[str, Any]) -> None:
    """Two sessions, one with samples where the format keeps them; labels in the journal."""
    for session in range(2):
        tracks = [SampleTrack("imu", 100, 2, unit="m/s²", labels=("x", "y"))] if path.suffix == ".mkv" else []
        with closing(open_writer(path, options=options, tracks=tracks)) as writer:
            writer.describe({"camera": "a box", "live": True, "wall_minus_monotonic_ns": 10**18})
            for number in range(FRAMES):
                index, time_ns = writer.next_index + number, (1 + 100 * session) * 10**9 + number * 10**8
                frame = Frame(picture(index, (32, 24)), index, time_ns, {"gain": number})
                if tracks and isinstance(writer, KeepsSamples):
                    writer.append_samples("imu", time_ns, np.full((10, 2), number, np.float32))
                writer.append(writer.encode(frame))
    with open_recording(path) as recording, LabelJournal(journal_path(path)) as journal:
        journal.append(Classes(("none", "door"), ("none", "door")))
        journal.append(*(Labelled((name,), n % 2, name) for n, name in enumerate(recording.names)))


def seen(path: Path) -> list[object]:
    """Everything that readers give of a recording."""
    with open_recording(path) as recording:
        found: list[object] = [recording.labels, list(recording.timestamps_ns), recording.names, recording.sessions]
        found += [read_journal(journal_path(path)), recording.class_names]
        if isinstance(recording, KeepsFeatures):
            found.append(np.asarray(recording.features[0 : len(recording)]).tobytes())
        else:
            found += [(f.index, f.timestamp_ns, dict(f.metadata), f.pixels.tobytes()) for f in recording]
        for samples in recording.tracks:
            times, values = samples.read()
            found.append((samples.name, samples.track.unit, samples.track.labels, times.tobytes(), values.tobytes()))
        return found


@pytest.mark.slow
@pytest.mark.parametrize("only", ["all files", "recording.json", "labels.jsonl"])
@pytest.mark.parametrize("name", FORMATS)
def test_no_flipped_bit_changes_data_silently(
    tmp_path: Path, name: str, only: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file_name, options = FORMATS[name]
    whole = tmp_path / "whole" / file_name
    whole.parent.mkdir()
    recorded(whole, options)
    wanted = seen(whole)
    files = [
        file
        for file in sorted(whole.parent.rglob("*"))
        if file.is_file() and (only == "all files" or only in file.name)
    ]
    if not files:
        pytest.skip(f"{file_name} has no {only}")
    sizes = [file.stat().st_size for file in files]
    rng, became = random.Random(f"{name} {only}"), Counter[str]()
    for _ in range(FLIPS):
        shutil.rmtree(tmp_path / "flipped", ignore_errors=True)
        shutil.copytree(whole.parent, tmp_path / "flipped")
        (flipped,) = rng.choices(files, sizes)
        data = bytearray(flipped.read_bytes())
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        data[at] ^= 1 << bit
        (tmp_path / "flipped" / flipped.relative_to(whole.parent)).write_bytes(data)
        recording = tmp_path / "flipped" / file_name
        if main(["verify", str(recording)]) != 0:
            became["found by verify"] += 1
            continue
        where = f"{flipped.name}: bit {bit} of byte {at}"
        try:
            assert seen(recording) == wanted, f"{where}: changed silently"
        except StorageError as error:
            pytest.fail(f"{where}: whole, says verify, but {error}")
        became["harmless"] += 1
    capsys.readouterr()
    with capsys.disabled():
        if "FLIPS" in os.environ:
            print(f"\n| {name} | {only} | {FLIPS} | {became['found by verify']} | {became['harmless']} |", end="")
    assert became["found by verify"]

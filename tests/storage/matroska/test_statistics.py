"""What a recording tells of its tracks in all: statistics, as mkvmerge writes them, and FLAC's number of samples."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from pi_capture import Recorder
from storage import SampleTrack, open_recording
from storage.cli import main
from storage.formats.video.labels import write_labels
from storage.formats.video.writer import repair
from storage.matroska import muxer
from tests.support import wait_for

MIC, GYRO = SampleTrack("mic", 8000, codec="flac"), SampleTrack("gyro", 50, 3)
NAMES = ("BPS", "DURATION", "NUMBER_OF_BYTES", "NUMBER_OF_FRAMES")


def record(path: Path, frames: int, samples: int, *, tracks: Sequence[SampleTrack] = (GYRO, MIC)) -> Path:
    with Recorder(path, fps=10, tracks=tracks) as recorder:
        for n in range(frames):
            recorder.write(np.full((48, 64, 3), n, np.uint8))
        for track in tracks:
            wave = np.arange(samples * track.channels).reshape(-1, track.channels) % 1000
            recorder.write_samples(track.name, wave.astype(np.int16 if track.codec == "flac" else np.float32), 0)
    return path


def statistics(path: Path) -> dict[str, dict[str, str]]:
    """As ffprobe tells them, by the title of the track."""
    command = ["ffprobe", "-v", "error", "-show_entries", "stream_tags", "-of", "json", path]
    streams = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
    tags = [stream["tags"] for stream in streams]
    return {one["title"]: {name: one[name] for name in NAMES if name in one} for one in tags}


def totals(path: Path) -> list[int]:
    """The number of samples that each track of FLAC tells, as mkvmerge finds it."""
    told = json.loads(subprocess.run(["mkvmerge", "-J", path], capture_output=True, check=True).stdout)
    flac = [track["properties"] for track in told["tracks"] if track["properties"]["codec_id"] == "A_FLAC"]
    return [int.from_bytes(bytes.fromhex(one["codec_private_data"])[21:26], "big") & (1 << 36) - 1 for one in flac]


def packets(path: Path) -> dict[str, list[int]]:
    """The size of each packet, by the title of its track."""
    with av.open(str(path)) as container:
        sizes: dict[str, list[int]] = {stream.metadata["title"]: [] for stream in container.streams}
        for packet in container.demux():
            if packet.pts is not None:
                sizes[packet.stream.metadata["title"]].append(packet.size)
    return sizes


def check(path: Path) -> None:
    """All of it is true of the file's packets."""
    told, sizes = statistics(path), packets(path)
    found = {name: (int(one["NUMBER_OF_FRAMES"]), int(one["NUMBER_OF_BYTES"])) for name, one in told.items()}
    assert found == {name: (len(all_sizes), sum(all_sizes)) for name, all_sizes in sizes.items()}
    assert main(["verify", str(path)]) == 0


def test_they_are_those_that_mkvmerge_writes(tmp_path: Path) -> None:
    path = record(tmp_path / "day1.mkv", 20, 11_111)
    check(path)
    assert totals(path) == [11_111]
    subprocess.run(["mkvmerge", "-q", "-o", tmp_path / "copy.mkv", path], check=True)
    mine, theirs = statistics(path), statistics(tmp_path / "copy.mkv")
    assert set(mine) == set(theirs) == {"camera", "labels", "gyro", "mic"}
    for name, one in mine.items():
        assert abs(_seconds(one["DURATION"]) - _seconds(theirs[name]["DURATION"])) < 0.0011, name
        # It counts facts as bytes; and newer ones cut samples into other blocks.
        assert name == "gyro" or one["NUMBER_OF_FRAMES"] == theirs[name]["NUMBER_OF_FRAMES"], name
        bits = int(one["NUMBER_OF_BYTES"]) * 8
        assert int(one["BPS"]) == pytest.approx(bits / max(0.01, _seconds(one["DURATION"])), abs=1), name


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_they_go_on_with_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "day1.mkv", 12, 4000)
    seen = []

    def begun(self: muxer.Muxer, *args: object) -> None:
        original(self, *args)
        seen.append(totals(path))

    original = muxer.Muxer.reopen
    monkeypatch.setattr(muxer.Muxer, "reopen", begun)
    record(path, 7, 5000)
    assert seen == [[0]]  # a decoder must not stop at the end of the first session
    check(path)
    assert totals(path) == [9000] and statistics(path)["camera"]["NUMBER_OF_FRAMES"] == "19"


def test_they_come_back_when_a_cut_off_recording_is_repaired(tmp_path: Path) -> None:
    path, cut = tmp_path / "day1.mkv", tmp_path / "cut.mkv"
    with Recorder(path, fps=10, tracks=(GYRO, MIC)) as recorder:
        for n in range(9):
            recorder.write(np.random.default_rng(n).integers(0, 256, (120, 160, 3), np.uint8))
        recorder.write_samples("mic", np.zeros((4000, 1), np.int16), 0)
        wait_for(lambda: recorder.status().durable == 9, "nine frames")
        shutil.copy(path, cut)
    assert totals(cut) == [0]
    repair(cut)
    check(cut)
    with open_recording(cut) as recording:
        assert len(recording) == 9
    with av.open(str(cut)) as container:
        decoded = sum(frame.samples for frame in container.decode(audio=0))
    assert totals(cut) == [decoded]


def test_labels_given_afterwards_are_counted(tmp_path: Path) -> None:
    path = record(tmp_path / "day1.mkv", 20, 100)
    before = statistics(path)
    write_labels(path, ["cat"] * 5 + [None] * 5 + ["a dog"] * 10)
    check(path)
    after = statistics(path)
    assert (after["labels"]["NUMBER_OF_FRAMES"], after["labels"]["NUMBER_OF_BYTES"]) == ("2", "8")
    assert {**after, "labels": {}} == {**before, "labels": {}} and totals(path) == [100]


def test_a_list_of_tracks_of_several_sectors_stays_as_it_is(tmp_path: Path) -> None:
    """A power cut could leave one sector new and the other old; the number of samples is left out then."""
    tracks = [SampleTrack(f"microphone {n} at the door", 8000, codec="flac") for n in range(6)]
    path = record(tmp_path / "day1.mkv", 5, 1000, tracks=tracks)
    assert totals(path) == [0] * 6
    check(path)

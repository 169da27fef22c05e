"""Tracks of samples in a file: what goes in comes out, bit by bit and in its time, for FFmpeg's tools too."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_capture import Recorder
from storage import SampleTrack, StorageError, open_recording
from storage.cli import main
from storage.formats.video.file import repair
from storage.formats.video.writer import VideoReader

RATE = 48000
DECODE = "-map", "0", "-map", "-0:s", "-f", "null", "-"
IMU = SampleTrack("imu", 50, 2, unit="m/s²", labels=("x", "y"), source="made up")
VOICE = SampleTrack("voice", RATE, 1, "flac")


def opened(path: Path) -> VideoReader:
    recording = open_recording(path)
    assert isinstance(recording, VideoReader)
    return recording


def waves(begin: int, count: int, rate: float = RATE) -> np.ndarray:
    return (8000 * np.sin(np.arange(begin, begin + count) * 2 * np.pi * 440 / rate)).astype(np.int16)


def values(begin: int, count: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(begin + count, channels)).astype(np.float32)[begin:]


def simulate(path: Path, tracks: Sequence[SampleTrack], seconds: int = 3, fps: int = 30) -> Path:
    with Recorder(path, fps=fps, tracks=tracks) as recorder:
        for n in range(seconds * fps):
            for track in tracks:
                count = int(track.rate) // fps if track is VOICE else 1
                if track is VOICE:
                    recorder.write_samples(track.name, waves(n * count, count), n / fps)
                elif n % 3 == 0:
                    recorder.write_samples(track.name, values(n // 3 * 5, 5), n / 3 * 0.1)
            recorder.write(np.full((32, 48, 3), n % 256, np.uint8))
    return path


def programs_accept(path: Path) -> list[dict[str, object]]:
    """The streams that ffprobe lists; nobody complains."""
    command = ["ffprobe", "-v", "warning", "-of", "json", "-show_streams", path]
    probed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert probed.stderr == ""
    decoded = subprocess.run(
        ["ffmpeg", "-v", "warning", "-guess_layout_max", "0", "-i", path, *DECODE],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert decoded.stderr == ""
    told = subprocess.run(["mkvinfo", path], capture_output=True, text=True, check=True).stdout
    assert "(mkvinfo)" not in told.lower() and "error" not in told.lower()
    streams: list[dict[str, object]] = json.loads(probed.stdout)["streams"]
    return streams


def test_samples_come_back_bit_by_bit_and_every_program_lists_the_tracks(tmp_path: Path) -> None:
    path = simulate(tmp_path / "sim.mkv", [IMU, VOICE])
    with opened(path) as recording:
        assert len(recording) == 90
        imu, voice = recording.tracks
        assert (imu.name, imu.rate, imu.track.unit, imu.track.labels) == ("imu", 50, "m/s²", ("x", "y"))
        times, samples = imu.read()
        assert samples.dtype == np.float32 and np.array_equal(samples, values(0, 150))
        assert np.abs(times - np.arange(150) * 20_000_000).max() <= 1500
        times, samples = voice.read()
        assert np.array_equal(samples[:, 0], waves(0, 3 * RATE))
        assert np.abs(times - np.arange(3 * RATE) * 1e9 / RATE).max() <= 1500
        times, samples = voice.read(1_000_000_000, 1_500_000_000)
        assert np.abs(times[[0, -1]] / 1e9 - [1, 1.5]).max() < 1e-4
        first = round(times[0] / 1e9 * RATE)
        assert np.array_equal(samples[:, 0], waves(first, len(samples)))
    streams = programs_accept(path)
    assert [stream["codec_name"] for stream in streams] == ["ffv1", "subrip", "flac", "pcm_f32le"]
    assert streams[3]["tags"]["UNIT"] == "m/s²" and streams[3]["tags"]["title"] == "imu"  # type: ignore[index]
    with av.open(str(path)) as container:
        heard = np.concatenate([one.to_ndarray()[0] for one in container.decode(audio=0)])
    assert np.array_equal(heard, waves(0, 3 * RATE))


@pytest.mark.parametrize("codec", ["f32", "s16", "flac", "opus"])
def test_a_file_without_pictures(tmp_path: Path, codec: str) -> None:
    path, track = tmp_path / "talk.mka", SampleTrack("voice", RATE, 2, codec)
    sound = np.stack([waves(0, RATE), waves(100, RATE)], axis=1)
    with Recorder(path, fps=1, tracks=[track], pictures=False) as recorder:
        recorder.write_samples("voice", sound / 32768)
    with opened(path) as recording:
        assert len(recording) == 0 and recording.labels == []
        times, samples = recording.tracks[0].read()
    assert len(times) == len(samples) >= RATE
    heard = samples[:RATE] * (32768 if codec == "f32" else 1)
    if codec == "opus":
        assert np.abs(heard - sound)[2000:-2000].max() < 1500
    else:
        assert np.array_equal(heard, sound)
    assert [stream["codec_type"] for stream in programs_accept(path)] == ["subtitle", "audio"]


def test_a_pause_is_padded_and_the_track_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "sim.mkv"
    with Recorder(path, fps=30, tracks=[IMU, VOICE], pictures=False) as recorder:
        for name, rate, make in (("imu", 50, values), ("voice", RATE, waves)):
            recorder.write_samples(name, make(0, rate // 2), 0.0)  # type: ignore[operator]
            recorder.write_samples(name, make(rate // 2, rate), 2.0)  # type: ignore[operator]
            with pytest.raises(ValueError, match="come when 3 s is reached"):
                recorder.write_samples(name, make(0, 5), 1.0)  # type: ignore[operator]
            for wrong in (float("nan"), float("inf"), 1e10):
                with pytest.raises(ValueError, match="timestamp is a number of seconds"):
                    recorder.write_samples(name, make(0, 5), wrong)  # type: ignore[operator]
    summary = recorder.summary()
    assert (summary.tracks["imu"].samples, summary.tracks["imu"].padded) == (75, 75)
    with opened(path) as recording:
        imu, voice = recording.tracks
        times, samples = imu.read()
        assert len(samples) == 150 and np.isnan(samples[25:100]).all() and np.array_equal(samples[100:], values(25, 50))
        assert np.abs(times - np.arange(150) * 20_000_000).max() <= 1500
        assert sum(len(block.samples) for block in imu.blocks() if block.padding) == 75
        samples = voice.read()[1][:, 0]
        assert not samples[RATE // 2 : 2 * RATE].any() and np.array_equal(samples[2 * RATE :], waves(RATE // 2, RATE))
    programs_accept(path)


def test_a_file_is_continued_with_the_same_tracks_only(tmp_path: Path) -> None:
    path = simulate(tmp_path / "sim.mkv", [IMU, VOICE])
    for other in ([], [IMU], [IMU, SampleTrack("voice", 44100, 1, "flac")]):
        with pytest.raises(StorageError, match="record the same, or choose another name"):
            Recorder(path, tracks=other)
    with pytest.raises(StorageError, match=r"has imu \(.*, m/s², x\|y\), .*has imu \(.*, g, x\|y\), "):
        Recorder(path, tracks=[replace(IMU, unit="g"), VOICE])
    with pytest.raises(StorageError, match="has pictures, this recording has none"):
        Recorder(path, tracks=[IMU, VOICE], pictures=False)
    simulate(path, [VOICE, IMU])
    with opened(path) as recording:
        assert len(recording) == 180
        for reader, expected in zip(recording.tracks, (values(0, 150), waves(0, 3 * RATE)[:, None]), strict=True):
            times, samples = reader.read()
            assert np.array_equal(samples, np.concatenate([expected] * 2))
            assert np.abs(times[len(times) // 2] - 0) <= 1500  # the second simulation's time begins anew
    programs_accept(path)


def test_a_file_that_was_cut_off_and_continued_counts_the_samples_of_both_parts(tmp_path: Path) -> None:
    path, cut = tmp_path / "sim.mkv", tmp_path / "cut.mkv"
    with Recorder(path, fps=30, tracks=[IMU, VOICE], sync_interval=0.02) as recorder:
        for n in itertools.count():
            recorder.write_samples("imu", values(5 * n, 5), n / 10)
            recorder.write_samples("voice", waves(4800 * n, 4800), n / 10)
            for _ in range(3):
                recorder.write(np.full((32, 48, 3), n % 256, np.uint8))
            if path.exists() and n > 20:
                with opened(path) as recording:
                    if all(left := [len(reader.read()[1]) for reader in recording.tracks]):
                        cut.write_bytes(path.read_bytes()[: recording.contents.end])
                        break
    simulate(cut, [IMU, VOICE])
    with opened(cut) as recording:
        for reader, count, more in zip(recording.tracks, left, (150, 3 * RATE), strict=True):
            assert reader.facts["SAMPLES"] == str(len(reader.read()[1])) == str(count + more)


def test_a_stretch_of_a_file_that_was_continued_after_a_boot(tmp_path: Path) -> None:
    for begin in (1000, 10, 500):  # the clock begins anew with each boot
        with Recorder(tmp_path / "a.mka", fps=1, tracks=[SampleTrack("imu", 50)], pictures=False) as recorder:
            recorder.write_samples("imu", begin + np.arange(100), begin)
    with VideoReader(tmp_path / "a.mka") as recording:
        for begin in (1000, 10, 500):
            times, samples = recording.tracks[0].read(begin * 10**9 + 5 * 10**8, (begin + 1) * 10**9)
            assert times[0] == begin * 10**9 + 5 * 10**8
            assert samples.ravel().tolist() == list(range(begin + 25, begin + 50))


@pytest.mark.parametrize("name", ["labels", "camera"])
def test_a_name_that_another_track_has_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match=f"a sensor can't be called {name}"):
        Recorder(tmp_path / "a.mkv", tracks=[SampleTrack(name, 50)])


def test_formats_without_room_for_samples_say_so(tmp_path: Path) -> None:
    for name in ("day1", "day1.h5"):
        with pytest.raises(StorageError, match=r"record to .*day1\.mkv"):
            Recorder(tmp_path / name, tracks=[IMU])
    with pytest.raises(StorageError, match="no room for pictures"):
        Recorder(tmp_path / "talk.mka", tracks=[IMU])


@given(st.data())
@settings(max_examples=25)
def test_any_cut_leaves_each_track_whole_up_to_there(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = simulate(tmp_path_factory.mktemp("cut") / "sim.mkv", [IMU, VOICE], 2)
    with opened(path) as recording:
        ends = [int(reader._blocks.positions[-1]) for reader in recording.tracks]
    with path.open("r+b") as file:
        file.truncate(int(min(ends) // 2 + data.draw(st.floats(0, 1)) * (max(ends) - min(ends) // 2)))
    assert "complete and indexed" in (repair(path) or "")
    with opened(path) as recording:
        assert not recording.interrupted
        for reader, expected in zip(recording.tracks, (values(0, 100), waves(0, 2 * RATE)[:, None]), strict=True):
            samples = reader.read()[1]
            assert np.array_equal(samples, expected[: len(samples)])
    programs_accept(path)


def test_facts_of_the_end_are_not_in_a_file_that_has_none_and_true_once_it_is_repaired(tmp_path: Path) -> None:
    path, cuts = tmp_path / "a.mka", [tmp_path / "first.mka", tmp_path / "second.mka"]
    for cut in cuts:  # of a new file, and of one that is continued
        with Recorder(path, fps=1, tracks=[SampleTrack("imu", 50)], pictures=False) as recorder:
            recorder.write_samples("imu", np.arange(100), 0)
            recorder.samples.describe_track("imu", {"came_before": 3, "measured_rate": 50.5, "drift_ppm": 10000.0})
            recorder.samples.flush("imu")
            while not path.exists() or len(opened(path).tracks[0].read()[1]) < 100 * (1 + cuts.index(cut)):
                time.sleep(0.01)
            cut.write_bytes(path.read_bytes())  # as kill -9 leaves it
    known = {"STATED_RATE"}
    for sessions, cut in enumerate(cuts, 1):
        with opened(cut) as recording:
            assert recording.interrupted and len(recording.tracks[0].read()[1]) == 100 * sessions
            assert recording.tracks[0].facts.keys() == known
        assert repair(cut)
        with opened(cut) as recording:
            facts = recording.tracks[0].facts
            assert (facts["SAMPLES"], facts["PADDED"]) == (str(100 * sessions), "0") and "MEASURED_RATE" not in facts


def test_the_rate_of_a_recording_that_was_continued_is_that_of_all_its_samples(tmp_path: Path) -> None:
    path, joined = tmp_path / "a.mka", tmp_path / "joined.mka"
    for count, rate in ((300, 49.5), (100, 50.5)):
        for one in (path, tmp_path / f"{rate}.mka"):
            with Recorder(one, fps=1, tracks=[SampleTrack("imu", 50)], pictures=False) as recorder:
                recorder.write_samples("imu", np.arange(count), 0)
                recorder.samples.describe_track("imu", {"came_before": 4, "measured_rate": rate, "drift_ppm": 0.0})
    assert main(["merge", str(joined), str(path), str(tmp_path / "50.5.mka")]) == 0
    for one, counts in ((path, (300, 100)), (joined, (300, 200))):
        rate = sum(counts) / (counts[0] / 49.5 + counts[1] / 50.5)
        with opened(one) as recording:
            facts = recording.tracks[0].facts
        assert facts["SAMPLES"] == str(sum(counts)) and facts["CAME_BEFORE"] == str(4 * len(recording.sessions))
        assert float(facts["MEASURED_RATE"]) == pytest.approx(rate)
        assert float(facts["DRIFT_PPM"]) == pytest.approx((rate / 50 - 1) * 1e6, abs=0.1)
    with Recorder(path, fps=1, tracks=[SampleTrack("imu", 50)], pictures=False) as recorder:
        recorder.write_samples("imu", np.arange(100), 0)  # too few to measure it
    with opened(path) as recording:
        facts = recording.tracks[0].facts
        assert facts["SAMPLES"] == "500" and not {"MEASURED_RATE", "DRIFT_PPM"} & facts.keys()
        assert recording.tracks[0].rate == 50

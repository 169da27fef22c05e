"""Samples of files that FFmpeg's muxer wrote, through `open_recording`: as they were recorded, and in their time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from pi_capture import Recorder
from storage import SampleTrack, StorageError, open_recording
from storage.cli import main
from storage.streams.merge import merge_streams

TOLD_NS = 2_000_000  # "to a millisecond": rounded once where they are stored, and once where pictures begin
TRACKS = [
    SampleTrack("imu", 49.5, 2, unit="m/s²", labels=("x", "y")),
    SampleTrack("voice", 16000, codec="flac"),
    SampleTrack("radio", 16000, codec="opus"),
]


def recorded(path: Path, *begins: float, seconds: float = 4) -> Path:
    """A recording of as many sessions as begin at these times."""
    noise = np.random.default_rng(round(begins[0]))
    for begin in begins:
        with Recorder(path, fps=25, tracks=TRACKS) as recorder:
            for n in range(round(seconds * 25)):
                recorder.write(np.full((32, 48, 3), n % 256, np.uint8), begin + n / 25)
                if n % 50 == 0:
                    recorder.write_samples("imu", noise.normal(size=(99, 2)), begin + n / 25)
                for name in ("voice", "radio"):
                    recorder.write_samples(name, noise.normal(0, 0.1, 640), begin + n / 25)
    return path


def test_a_merged_file_has_the_samples_of_its_inputs_on_the_clock_of_its_pictures(tmp_path: Path) -> None:
    inputs = {"camera": recorded(tmp_path / "A.mkv", 100), "camera-2": recorded(tmp_path / "B.mkv", 7000)}
    merge_streams(tmp_path / "both.mkv", list(inputs.values()), offsets={"B": 0.7})
    for number, (track, path) in enumerate(inputs.items()):
        with open_recording(tmp_path / "both.mkv", track=track) as both, open_recording(path) as one:
            found = {reader.name: reader for reader in both.tracks}
            assert list(found) == ["voice", "radio", "voice-2", "radio-2", "imu", "imu-2"]
            for was in one.tracks:
                now = found[f"{was.name}-2" if number else was.name]
                assert (now.rate, now.track.unit, now.track.labels) == (was.rate, was.track.unit, was.track.labels)
                assert (was.checked, was.resolution_ns, now.checked, now.resolution_ns) == (True, 1000, False, 10**6)
                (times, samples), (true_times, true_samples) = now.read(), was.read()
                assert samples.dtype == true_samples.dtype and samples.shape == true_samples.shape
                if was.name == "radio":  # lossy, and decoded by another decoder
                    assert np.abs(samples.astype(int) - true_samples)[1000:].max() < 100
                else:
                    assert samples.tobytes() == true_samples.tobytes()
                assert np.abs(times - true_times).max() <= TOLD_NS and (np.diff(times) > 0).all()
                assert now.seconds == pytest.approx(was.seconds, abs=0.02)


@pytest.mark.parametrize("suffix", [".mka", ".mkv"])
def test_a_merged_file_without_pictures_has_its_samples_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    """As one that was recorded with --camera none."""
    for name, begin in (("A", 40), ("B", 900)):
        with Recorder(tmp_path / f"{name}.mka", tracks=[SampleTrack(name, 60)], pictures=False) as recorder:
            recorder.write_samples(name, np.arange(90) + begin, begin)
    merged = tmp_path / f"both{suffix}"
    merge_streams(merged, [tmp_path / "A.mka", tmp_path / "B.mka"], offsets={"B": 0.25})
    with open_recording(merged) as both, open_recording(tmp_path / "A.mka") as one:
        assert (len(both), list(both.labels), list(both.timestamps_ns)) == (0, [], [])
        assert [(session["id"], session["frames"]) for session in both.sessions] == [(one.sessions[0]["id"], 0)]
        found = {reader.name: reader.read() for reader in both.tracks}
        with pytest.raises(StorageError, match="has no picture, only sound or other data"):
            both.read(0)
    for name, begin, first_ns in (("A", 40, 40 * 10**9), ("B", 900, 40 * 10**9 + 25 * 10**7)):
        times, samples = found[name]
        assert samples.ravel().tolist() == list(range(begin, begin + 90))
        assert abs(times[0] - first_ns) <= TOLD_NS
    assert main(["verify", str(merged)]) == 0
    assert "180 samples of 2 tracks without checksums, none broken" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_a_stretch_is_what_all_of_it_has_there(tmp_path: Path, kind: str) -> None:
    """Also where decoding begins in the middle, and of files of other programs."""
    path = tmp_path / f"out.{kind}"
    if kind == "mkv":
        merge_streams(path, [recorded(tmp_path / "A.mkv", 100, seconds=15)])
    else:
        command = "ffmpeg -v error -f lavfi -i testsrc2=d=15:s=64x48 -f lavfi -i sine=d=15 -c:a aac -g 40"
        subprocess.run([*command.split(), path], check=True)
    with open_recording(path) as recording:
        for track in recording.tracks:
            times, samples = track.read()
            assert len(samples) == pytest.approx(15 * track.rate, rel=0.1)
            for begin in range(12, -1, -4):
                begin_ns, end_ns = (recording.timestamps_ns[0] + round(second * 1e9) for second in (begin, begin + 2.5))
                inside = (times >= begin_ns) & (times < end_ns)
                some_times, some = track.read(begin_ns, end_ns)
                assert np.array_equal(some_times, times[inside]) and len(some)
                warm = 0 if track.track.codec in ("f32", "flac") and kind == "mkv" else 1e-3
                assert np.abs(some.astype(float) - samples[inside]).max() <= warm * np.abs(samples).max()


def test_each_session_has_its_clock(tmp_path: Path) -> None:
    begins = 5000, 60, 900  # a boot in between
    merge_streams(tmp_path / "out.mkv", [recorded(tmp_path / "A.mkv", *begins)])
    with open_recording(tmp_path / "out.mkv") as recording, open_recording(tmp_path / "A.mkv") as was:
        imu, true = recording.tracks[-1], was.tracks[0]
        assert imu.name == true.name == "imu"
        for begin in begins:
            window = begin * 10**9 + 500_000_000, begin * 10**9 + 900_000_000
            (times, samples), (true_times, true_samples) = imu.read(*window), true.read(*window)
            assert np.array_equal(samples, true_samples) and len(samples) in (19, 20)
            assert np.abs(times - true_times).max() <= TOLD_NS


def test_a_copy_that_lost_its_sessions_has_the_pictures_clock(tmp_path: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-i", recorded(tmp_path / "A.mkv", 300), "-map_metadata", "-1", "-c", "copy"]
    subprocess.run([*command, "-map", "0:v", "-map", "0:a", tmp_path / "copy.mkv"], check=True)
    with open_recording(tmp_path / "copy.mkv") as recording:
        assert recording.sessions == [] and recording.timestamps_ns[0] == 300 * 10**9
        for track in recording.tracks:
            if track.track.codec != "opus":  # FFmpeg moves that against the others by its delay
                assert abs(track.read()[0][0] - 300 * 10**9) <= TOLD_NS

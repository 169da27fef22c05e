"""Screens, programs with a time of their own, and what OBS records: all become recordings, or open as any other."""

from __future__ import annotations

import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pi_capture import Recorder
from storage import open_recording
from storage.convert.convert import convert
from storage.convert.extract import extract
from storage.tracks.demux import read_tracks
from tests.conftest import picture
from tests.support import REPOSITORY

COLOURS = ("#c81e3c", "#1e3cc8", "#3cc81e", "#f0f0f0", "#101010")


def rgb(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def test_a_screen_that_changes_is_recorded_as_video(tmp_path: Path, screen: str) -> None:
    """What is on the screen is in the frames, pixel for pixel, in its order, with times that go on."""
    target = tmp_path / "run.mkv"
    address = f"screen:{screen}+100,50"
    command = [sys.executable, "-m", "pi_capture", target, "5", "--camera", address, "--size", "256x256", "--fps", "30"]
    over = threading.Event()

    def show() -> None:
        turn = 0
        while not over.wait(0.8):
            subprocess.run(["xsetroot", "-display", screen, "-solid", COLOURS[turn % len(COLOURS)]], check=True)
            turn += 1

    subprocess.run(["xsetroot", "-display", screen, "-solid", COLOURS[-1]], check=True)
    showing = threading.Thread(target=show)
    showing.start()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    finally:
        over.set()
        showing.join()
    assert done.returncode == 0, done.stderr
    with open_recording(target) as recording:
        assert len(recording) > 5 and np.all(np.diff(recording.timestamps_ns) > 0)
        seen: list[str] = []
        for frame in recording:
            assert frame.pixels.shape == (256, 256, 3) and (frame.pixels == frame.pixels[0, 0]).all()
            (colour,) = [colour for colour in COLOURS if rgb(colour) == frame.pixels[0, 0].tolist()]
            seen += [colour] if seen[-1:] != [colour] else []
    first = COLOURS.index(seen[0])
    assert len(seen) > 2 and seen == [COLOURS[(first + turn) % len(COLOURS)] for turn in range(len(seen))]


def test_a_simulation_has_its_own_time(tmp_path: Path) -> None:
    """Frames made faster or slower than they count keep the time of the simulation, in the video for others too."""
    times = [0.0, 0.02, 0.04, 0.5, 0.52, 60.0]
    with Recorder(tmp_path / "run.mkv", facts={"camera": "a simulator"}) as recorder:
        for n, time in enumerate(times):
            recorder.write(picture(n, (64, 48)), timestamp=time, metadata={"step": n})
    with open_recording(tmp_path / "run.mkv") as recording:
        assert list(recording.timestamps_ns) == [round(time * 1e9) for time in times]
        assert [frame.metadata["step"] for frame in recording] == list(range(6))
    convert(tmp_path / "run.mkv", tmp_path / "run.mp4")
    with open_recording(tmp_path / "run.mp4") as recording:
        assert list(recording.timestamps_ns) == pytest.approx([round(time * 1e9) for time in times], abs=1_000_000)


def test_what_a_controller_grabbed_into_nut_becomes_mp4(tmp_path: Path, screen: str) -> None:
    subprocess.run(["xsetroot", "-display", screen, "-solid", COLOURS[0]], check=True)
    grab = ["-f", "x11grab", "-video_size", "128x96", "-framerate", "20", "-i", f"{screen}+10,20"]
    sound = ["-f", "lavfi", "-i", "sine=sample_rate=48000"]
    codecs = ["-t", "1", "-c:v", "rawvideo", "-c:a", "pcm_s16le"]
    subprocess.run(["ffmpeg", "-v", "error", *grab, *sound, *codecs, tmp_path / "run.nut"], check=True)
    frames = convert(tmp_path / "run.nut", tmp_path / "run.mp4")
    assert [track.kind for track in read_tracks(tmp_path / "run.mp4")] == ["pictures", "sound"]
    with open_recording(tmp_path / "run.mp4") as recording, open_recording(tmp_path / "run.nut") as original:
        assert len(recording) == len(original) == frames > 0
        assert np.abs(recording[0].pixels[48, 64].astype(int) - rgb(COLOURS[0])).max() < 8
        assert original[0].pixels[48, 64].tolist() == rgb(COLOURS[0])


OBS = {
    "recording.mkv": ("matroska", {}),
    "recording.mov": ("mov", {}),
    "standard.mp4": ("mp4", {}),
    "fragmented.mp4": ("mp4", {"movflags": "frag_keyframe+empty_moov+delay_moov"}),
    "hybrid.mp4": ("mp4", {"movflags": "hybrid_fragmented"}),
}


def record_like_obs(path: Path, form: str, options: dict[str, str], frames: int = 180) -> bytes:
    """60 pictures a second in H.264 with B-frames, a keyframe each second, and two tracks of AAC.

    Returns what was on the disk before it was finished.
    """
    with av.open(str(path), "w", format=form, options={**options, "flush_packets": "1"}) as container:
        video = container.add_stream(
            "libx264", rate=60, options={"preset": "veryfast", "x264-params": "keyint=60:bframes=2"}
        )
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        sounds = [container.add_stream("aac", rate=48000, layout="stereo") for _ in range(2)]
        for n in range(frames):
            level = np.full((96, 160, 3), n % 240 + 8, np.uint8)
            frame = av.VideoFrame.from_ndarray(level, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 60)
            container.mux(video.encode(frame))
            for sound in sounds:
                heard = av.AudioFrame.from_ndarray(np.zeros((2, 800), "f4"), format="fltp", layout="stereo")
                heard.sample_rate, heard.pts, heard.time_base = 48000, n * 800, Fraction(1, 48000)
                container.mux(sound.encode(heard))
        unfinished = path.read_bytes()
        for stream in (video, *sounds):
            container.mux(stream.encode())
    return unfinished


@pytest.mark.parametrize("name", OBS)
def test_what_obs_records_opens_as_any_other(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    record_like_obs(path, *OBS[name])
    with open_recording(path) as recording:
        assert len(recording) == 180
        times = np.asarray(recording.timestamps_ns)
        assert np.abs(times - times[0] - np.arange(180) * 1e9 / 60).max() < 1_000_000
        for n in (0, 1, 77, 60, 179):
            assert abs(int(recording[n].pixels[48, 80, 1]) - (n + 8)) < 6
    assert [track.kind for track in read_tracks(path)] == ["pictures", "sound", "sound"]
    assert extract(path, tmp_path / "frames", every=60).written == 3


@pytest.mark.parametrize("name", ["recording.mkv", "fragmented.mp4", "hybrid.mp4"])
def test_what_obs_had_recorded_when_it_was_killed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(record_like_obs(tmp_path / "whole", *OBS[name], frames=700))
    with open_recording(tmp_path / name) as recording:
        assert 240 <= len(recording) < 700
        assert abs(int(recording[155].pixels[48, 80, 1]) - 163) < 6

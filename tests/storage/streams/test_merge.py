"""Several files into one: each packet as it was and where it belongs; by hand, by clock and by what all saw."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pi_capture import Recorder
from storage import Frame, SampleTrack, StorageError, open_recording
from storage.care.info import as_json, describe
from storage.care.info_text import as_text
from storage.formats.video.writer import VideoWriter
from storage.streams.merge import merge_streams
from tests.conftest import picture, write_video
from tests.support import REPOSITORY

WALL_NS = 1_700_000_000_000_000_000


def ffmpeg(*arguments: object, data: bytes | None = None) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin" if data is None else "-y", *map(str, arguments)]
    subprocess.run(command, check=True, input=data)


def recorded(
    path: Path, times_ns: Sequence[int], *, flashes: Sequence[int] = (), wall_minus_monotonic_ns: int = WALL_NS,
    **facts: Any,
) -> Path:  # fmt: skip
    with closing(VideoWriter(path)) as writer:
        writer.describe({"live": True, "wall_minus_monotonic_ns": wall_minus_monotonic_ns, **facts})
        for n, time in enumerate(times_ns):
            bright = any(flash <= time < flash + 200_000_000 for flash in flashes)
            pixels = picture(n) // 4 + (np.uint8(150) if bright else np.uint8(0))
            writer.append(writer.encode(Frame(pixels, n, time, {"n": n}), "door" if n % 20 > 9 else None))
    return path


def clicks(path: Path, seconds: float, at: Sequence[float], *, rate: int = 8000) -> Path:
    """A file of faint noise with loud clicks in it."""
    samples = np.random.default_rng(int(seconds * 1000)).normal(0, 0.005, round(seconds * rate))
    for moment in at:
        start = round(moment * rate)
        samples[start : start + rate // 100] += 0.8 * np.cos(np.arange(rate // 100))
    ffmpeg("-f", "f32le", "-ac", 1, "-ar", rate, "-i", "pipe:0", path, data=samples.astype("<f4").tobytes())
    return path


def packets(path: Path) -> list[dict[str, Any]]:
    entries = "packet=stream_index,pts_time,duration_time,data_hash"
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_data_hash", "MD5", "-show_entries", entries, path]
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packets"]
    return found


def streams(path: Path) -> list[dict[str, Any]]:
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", path]
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"]
    return found


def decoded(path: Path, number: int) -> bytes:
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", f"0:{number}", "-f", "s16le", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_every_packet_is_as_it_was_and_where_it_belongs(tmp_path: Path) -> None:
    mine = recorded(tmp_path / "A.mkv", [5 * 10**9 + n * 33_333_333 for n in range(90)])
    phone, sensor, sound = tmp_path / "B.mp4", tmp_path / "imu.mka", tmp_path / "C.wav"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=d=3:r=25", "-c:v", "libx264", "-bf", 2, phone)
    values = np.random.default_rng(1).normal(size=(150, 2)).astype("<f4")
    shape = ("-f", "f32le", "-ac", 2, "-ar", 50)
    ffmpeg(*shape, "-i", "pipe:0", "-c:a", "pcm_f32le", "-metadata:s:a", "title=gyro", sensor, data=values.tobytes())
    clicks(sound, 2, [1])
    labels = tmp_path / "labels.srt"
    labels.write_text("1\n00:00:00,500 --> 00:00:01,250\nmusic\n\n2\n00:20:00,500 --> 00:20:01,000\nTür\n")
    out = tmp_path / "OUT.mkv"
    offsets = {"B": 0.5, "imu.mka": -0.25, str(sound): 1.25}
    merged = merge_streams(out, [mine, phone, sensor, sound, labels], offsets=offsets)

    assert [name for _, _, name in merged.tracks] == ["camera", "labels", "B", "C", "labels-2", "gyro"]
    assert merged.begin_seconds == 0.25 and merged.left_out == []
    assert [stream["tags"]["title"] for stream in streams(out)] == [name for _, _, name in merged.tracks]
    found = packets(out)
    assert merged.packets == len(found)
    for number, (path, track, _) in enumerate(merged.tracks):
        moved = 0.25 + {phone: 0.5, sensor: -0.25, sound: 1.25}.get(path, 0.0)
        here = [packet for packet in found if packet["stream_index"] == number]
        before = [packet for packet in packets(path) if packet["stream_index"] == track.number]
        if path == sound:  # a .wav has no packets: whoever reads it cuts it up
            assert decoded(out, number) == decoded(sound, 0)
            assert float(here[0]["pts_time"]) == 1.5
            continue
        assert [packet["data_hash"] for packet in here] == [packet["data_hash"] for packet in before]
        for packet, original in zip(here, before, strict=True):
            assert float(packet["pts_time"]) == pytest.approx(float(original["pts_time"]) + moved, abs=0.00101)
    due = [float(packet["pts_time"]) for packet in found if packet["stream_index"] != 2]  # whose order is another
    assert due == sorted(due)
    subprocess.run(["mkvinfo", out], check=True, capture_output=True)

    with open_recording(out) as recording, open_recording(mine) as original:
        assert list(recording.timestamps_ns) == list(original.timestamps_ns)
        assert dict(recording[17].metadata) == {"n": 17}
        assert np.array_equal(recording[17].pixels, original[17].pixels)


def test_every_player_knows_its_tracks_and_how_much_is_in_them(tmp_path: Path) -> None:
    """FFV1 by the name that old players know, FLAC with its number of samples, statistics that are the new file's."""
    mine, phone, other = tmp_path / "A.mkv", tmp_path / "B.mp4", tmp_path / "other.mkv"
    with Recorder(mine, fps=10, tracks=[SampleTrack("mic", 8000, codec="flac")]) as recorder:
        for n in range(15):
            recorder.write(picture(n), n / 10)
        recorder.write_samples("mic", np.zeros(11_111, np.int16), 0.0)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=d=1:r=25:s=64x48", "-c:v", "libx264", "-bf", 2, phone)
    subprocess.run(["mkvmerge", "-q", "-o", other, phone], check=True)
    out = tmp_path / "OUT.mkv"
    merge_streams(out, [mine, other, phone], offsets={"other": 0.5, "B": 1})

    probed = subprocess.run(["mkvmerge", "-J", out], check=True, capture_output=True)
    told = json.loads(probed.stdout)
    assert told["errors"] == told["warnings"] == []
    tracks = [track["properties"] for track in told["tracks"]]
    assert [track["codec_id"] for track in tracks if track["default_track"]] == ["V_MS/VFW/FOURCC", "A_FLAC"]
    (flac,) = (bytes.fromhex(track["codec_private_data"]) for track in tracks if track["codec_id"] == "A_FLAC")
    assert int.from_bytes(flac[21:26], "big") & (1 << 36) - 1 == 11_111
    sizes: dict[int, list[int]] = {}
    entries = ["-of", "json", "-show_entries", "packet=stream_index,size", out]
    found = json.loads(subprocess.run(["ffprobe", "-v", "warning", *entries], check=True, capture_output=True).stdout)
    for packet in found["packets"]:
        sizes.setdefault(packet["stream_index"], []).append(int(packet["size"]))
    for number, track in enumerate(tracks):
        mine_of = sizes.get(number, [])
        assert (track["tag_number_of_frames"], track["tag_number_of_bytes"]) == (str(len(mine_of)), str(sum(mine_of)))
    (copied,) = (track for track in tracks if track["tag_merged_from"] == "other.mkv")
    assert copied["tag_duration"].startswith("00:00:01.0")
    assert abs(int(copied["tag_bps"]) - int(copied["tag_number_of_bytes"]) * 8) < 0.05 * int(copied["tag_bps"])
    assert not [name for name in copied if "statistics" in name]
    subprocess.run(["mkvinfo", out], check=True, capture_output=True)
    for number in (1, 2):
        quiet = ["mpv", "--no-config", "--vo=null", "--ao=null", "--untimed", "--start=0.8", "--msg-level=all=warn"]
        played = subprocess.run([*quiet, f"--vid={number}", out], capture_output=True, text=True, check=False)
        assert (played.returncode, played.stdout + played.stderr) == (0, "")


def test_labels_written_behind_everything_come_in_their_place(tmp_path: Path) -> None:
    from storage.formats.video.labels import write_labels

    mine = recorded(tmp_path / "A.mkv", [n * 100_000_000 for n in range(60)])
    write_labels(mine, ["a"] * 30 + ["b"] * 30)
    merge_streams(tmp_path / "OUT.mkv", [mine])
    kinds = [packet["stream_index"] for packet in packets(tmp_path / "OUT.mkv")]
    assert [index for index, kind in enumerate(kinds) if kind == 1] == [1, 32]


def test_by_the_wall_clock(tmp_path: Path) -> None:
    a = recorded(tmp_path / "A.mkv", [7 * 10**9 + n * 40_000_000 for n in range(10)])
    b = recorded(
        tmp_path / "B.mkv", [90 * 10**9 + n * 40_000_000 for n in range(10)],
        wall_minus_monotonic_ns=WALL_NS - 81_500_000_000,
    )  # fmt: skip
    merged = merge_streams(tmp_path / "OUT.mkv", [a, b])
    assert [(one.how, one.offset_ns) for one in merged.alignments] == [("first", 0), ("wall clock", 1_500_000_000)]
    assert [name for _, _, name in merged.tracks] == ["camera", "camera-2"]
    begin = next(packet for packet in packets(tmp_path / "OUT.mkv") if packet["stream_index"] == 1)
    assert float(begin["pts_time"]) == 1.5
    lost = recorded(tmp_path / "LOST.mkv", [0, 10**8], wall_minus_monotonic_ns=0)
    with pytest.raises(StorageError, match=r"days apart by their clocks.*--offset LOST=SECONDS"):
        merge_streams(tmp_path / "OUT2.mkv", [a, lost])
    # What was merged knows the clock as well, and each of its tracks.
    again = merge_streams(tmp_path / "AGAIN.mkv", [tmp_path / "OUT.mkv", b])
    assert again.alignments[1].offset_ns == pytest.approx(1_500_000_000, abs=1_000_000)


def test_clocks_that_were_not_synchronised_are_told_unless_they_are_one(tmp_path: Path) -> None:
    unsure, sure = ([{"monotonic_ns": 0, "wall_ns": WALL_NS, "synchronised": known}] for known in (False, True))
    for name, boot_id, anchors in (
        ("A", "one", unsure),
        ("B", "one", unsure),
        ("C", "two", unsure),
        ("D", "two", sure),
        ("E", None, unsure),
        ("F", "three", sure),
    ):
        recorded(tmp_path / f"{name}.mkv", [0, 10**8], boot_id=boot_id, anchors=anchors)
    for others, told in ((["B"], [False]), (["C", "D", "E"], [True, True, True]), (["B", "F"], [False, True])):
        inputs = [tmp_path / f"{name}.mkv" for name in ("A", *others)]
        found = merge_streams(tmp_path / f"{others}.mkv", inputs).alignments[1:]
        assert ["not synchronised" in one.note for one in found] == told


def knocked(path: Path, *sessions: tuple[int, int, dict[str, Any]], knocks: Sequence[int]) -> Path:
    """A recording of sessions that begin at some second and go on for some, with a sensor that has the knocks."""
    for second, seconds, facts in sessions:
        with closing(VideoWriter(path, tracks=[SampleTrack("imu", 100)])) as writer:
            writer.describe({"live": True, "wall_minus_monotonic_ns": WALL_NS, **facts})
            writer.begin_at(second * 10**9)
            for time in range(second * 10**9, (second + seconds) * 10**9, 10**8):
                half = (time // 10**8) % 10 // 5
                writer.append(writer.encode(Frame(picture(half), 0, time, {}), ("way", "door")[half]))
                samples = np.isin(time + np.arange(10) * 10**7, knocks).astype("<f4")
                writer.append_samples("imu", time, samples[:, np.newaxis])
    return path


def knocks_in(path: Path) -> dict[str, list[float]]:
    """When samples are large, by the name of their track: the first one of each knock."""
    found = {}
    with open_recording(path) as recording:
        for track in recording.tracks:
            times, samples = track.read()
            loud = np.abs(samples[:, 0].astype(float))
            at = times[loud > 0.5 * loud.max()] / 1e9
            found[track.name] = at[np.abs(np.diff(at, prepend=-1e9)) > 0.1].tolist()
    return found


KNOCKS = [5_500_000_000, 20_300_000_000, 20_800_000_000]
BOOTED_NS = 500_000_000_000


@pytest.mark.parametrize("how", ["one boot", "clock set", "booted", "click"])
@pytest.mark.parametrize("order", [1, -1])
def test_each_session_of_a_continued_recording_comes_in_its_place(tmp_path: Path, how: str, order: int) -> None:
    facts, knocks, second = {"boot_id": "one"}, KNOCKS, (20, 1, {"boot_id": "one"})
    if how == "clock set":
        second[2]["wall_minus_monotonic_ns"] = WALL_NS + 3_600_000_000_000
    elif how == "booted":
        second = (20 - 500, 1, {"boot_id": "two", "wall_minus_monotonic_ns": WALL_NS + BOOTED_NS})
        knocks = [*KNOCKS, *(time - BOOTED_NS for time in KNOCKS)]
    inputs = [
        knocked(tmp_path / "A.mkv", (5, 1, facts), second, knocks=knocks),
        knocked(tmp_path / "B.mkv", (4, 18, facts), knocks=KNOCKS),
    ][::order]
    out = tmp_path / "OUT.mkv"
    merged = merge_streams(out, inputs, sync_on="click" if how == "click" else None)
    assert merged.alignments[1].how == ("click" if how == "click" else "wall clock")
    assert "misplaced" not in merged.alignments[order > 0].note
    one, other = knocks_in(out).values()
    assert len(one) == len(other) == 3
    assert one == pytest.approx(other, abs=0.011 if how == "click" else 0.003)
    labels = [float(packet["pts_time"]) for packet in packets(out) if packet["stream_index"] in (1, 3)]
    assert labels and {round(time % 0.5, 3) for time in labels} <= {0.0, 0.5}  # each where the half second begins
    merge_streams(tmp_path / "AGAIN.mkv", [out, tmp_path / "B.mkv"])  # its pauses are there already
    first, *others = knocks_in(tmp_path / "AGAIN.mkv").values()
    assert all(one == pytest.approx(first, abs=0.011 if how == "click" else 0.003) for one in others)


@pytest.mark.parametrize("second", [{"wall_minus_monotonic_ns": None}, {"wall_minus_monotonic_ns": 0}])
def test_sessions_that_nobody_can_place_are_told(tmp_path: Path, second: dict[str, Any]) -> None:
    a = knocked(tmp_path / "A.mkv", (5, 1, {"boot_id": "one"}), (8, 1, second), knocks=[])
    b = knocked(tmp_path / "B.mkv", (4, 9, {"boot_id": "one"}), knocks=[])
    for number, inputs in enumerate(([a, b], [b, a], [a])):
        notes = {one.path: one.note for one in merge_streams(tmp_path / f"{number}.mkv", inputs).alignments}
        assert "may be misplaced; record each into a file of its own" in notes[a]
        assert "misplaced" not in notes.get(b, "")


def test_labels_of_a_continued_recording_stay_with_its_pictures(tmp_path: Path) -> None:
    a = knocked(tmp_path / "A.mkv", (5, 1, {"boot_id": "one"}), (20, 1, {"boot_id": "one"}), knocks=[])
    labels = tmp_path / "labels.srt"  # one ends with the first session, one goes on over the pause
    labels.write_text("1\n00:00:00,500 --> 00:00:01,000\nmusic\n\n2\n00:00:00,600 --> 00:00:01,300\nstop\n")
    merge_streams(tmp_path / "OUT.mkv", [a, labels])
    found = [packet for packet in packets(tmp_path / "OUT.mkv") if packet["stream_index"] == 2]
    assert [(float(one["pts_time"]), float(one["duration_time"])) for one in found] == [(0.5, 0.5), (0.6, 14.7)]


def test_by_flashes(tmp_path: Path) -> None:
    a = recorded(tmp_path / "A.mkv", [n * 33_333_333 for n in range(150)], flashes=[2 * 10**9, 3_700_000_000])
    b = recorded(tmp_path / "B.mkv", [n * 40_000_000 for n in range(120)], flashes=[800_000_000, 2_500_000_000])
    merged = merge_streams(tmp_path / "OUT.mkv", [a, b], sync_on="flash")
    found = merged.alignments[1]
    assert found.how == "flash" and found.note.startswith("2 flashes; in too short a time to show")
    assert abs(found.offset_ns / 1e9 - 1.2) <= found.residual_ns / 1e9 < 0.08  # type: ignore[operator]


def test_by_clicks_in_sound_and_sensors(tmp_path: Path) -> None:
    a, b = clicks(tmp_path / "A.wav", 20, [3, 7.5, 16]), clicks(tmp_path / "B.flac", 12, [1.25, 5.75])
    values = np.zeros(400, "<f4")
    values[[round(50 * at) for at in (0.5, 5, 7)]] = 3  # the last one is its own
    shape = ("-f", "f32le", "-ac", 1, "-ar", 50)
    ffmpeg(*shape, "-i", "pipe:0", "-c:a", "pcm_f32le", tmp_path / "imu.mka", data=values.tobytes())
    merged = merge_streams(tmp_path / "OUT.mka", [a, b, tmp_path / "imu.mka"], sync_on="click")
    for found, offset in zip(merged.alignments[1:], (1.75, 2.5), strict=True):
        assert found.how == "click" and re.match(r"2 of its [23] clicks, 2 of A\.wav's 3; ", found.note)
        assert "in both" not in found.note
        assert found.residual_ns is not None
        assert abs(found.offset_ns / 1e9 - offset) <= found.residual_ns / 1e9 + 1e-3
    assert merged.alignments[1].residual_ns < 3_000_000 and merged.alignments[2].residual_ns < 25_000_000  # type: ignore[operator]


@pytest.mark.parametrize("names", [("light", "acc"), ("acc", "light")])
def test_the_track_that_has_clicks_is_found_among_others(tmp_path: Path, names: tuple[str, str]) -> None:
    """The file's sound is a tone, its light flickers evenly: only what the accelerometer felt is in the other one."""
    knocks = clicks(tmp_path / "acc.wav", 20, [3, 7.5, 16], rate=500)
    ffmpeg("-i", str(knocks), "-c:a", "pcm_f32le", "-metadata:s:a:0", "title=acc", str(tmp_path / "acc.mka"))
    light = "aevalsrc=0.2*sin(t*9):s=500:d=20"
    ffmpeg(
        "-f", "lavfi", "-i", light, "-c:a", "pcm_f32le", "-metadata:s:a:0", "title=light", str(tmp_path / "light.mka")
    )
    files = [str(tmp_path / f"{name}.mka") for name in names]
    ffmpeg(
        "-f", "lavfi", "-i", "sine=440:r=8000:d=20", "-i", files[0], "-i", files[1], "-map", "0", "-map", "1", "-map",
        "2", "-c", "copy", "-c:a:0", "flac", "-metadata:s:a:0", "title=sound", str(tmp_path / "A.mka"),
    )  # fmt: skip
    b = clicks(tmp_path / "B.flac", 12, [1.25, 5.75])
    (_, found) = merge_streams(tmp_path / "OUT.mka", [tmp_path / "A.mka", b], sync_on="click").alignments
    assert found.offset_ns / 1e9 == pytest.approx(1.75, abs=0.02)
    assert "; heard in its sound and A.mka's acc; " in found.note, found.note


@pytest.mark.parametrize(
    ("ppm", "seconds", "at"),
    [(300, 60, (6, 52)), (300, 60, (6, 31.3, 52)), (50, 320, (6, 300)), (-100, 320, (6, 300)), (0, 60, (6, 52))],
)
def test_clicks_at_two_times_show_how_the_clocks_drift_and_come_together(
    tmp_path: Path, ppm: int, seconds: int, at: Sequence[float]
) -> None:
    a = clicks(tmp_path / "A.wav", seconds, at)
    b = clicks(tmp_path / "B.wav", seconds - 5, [(time - 3) * (1 + ppm / 1e6) for time in at])
    merged = merge_streams(tmp_path / "OUT.mka", [a, b], sync_on="click")
    found = merged.alignments[1]
    assert found.note.startswith(f"{len(at)} clicks; ") and found.residual_ns is not None
    residual, drift_ms = found.residual_ns / 1e9, abs(ppm) * (seconds - 5) / 1e3
    assert residual < 0.0025
    one, other = knocks_in(tmp_path / "OUT.mka").values()
    assert one == pytest.approx(other, abs=residual) and len(one) == len(at)
    assert found.drift is not None and found.drift * 1e6 == pytest.approx(ppm, abs=2e6 * 0.0011 / (at[-1] - at[0]))
    told = re.search(r"its clock (\d+) ppm (fast|slow), ([\d.]+) ms over the file: undone", found.note)
    if not ppm:
        assert told is None and "no drift, to within" in found.note
        return
    assert told is not None and told[2] == ("fast" if ppm > 0 else "slow")
    assert float(told[3]) == pytest.approx(drift_ms, abs=2.5)
    with open_recording(tmp_path / "OUT.mka") as recording:  # what was found stays with the track
        _, track = recording.tracks
        assert track.rate == pytest.approx(8000 * (1 + found.drift), abs=1e-4)
        assert float(track.facts["CLOCK_DRIFT_PPM"]) == pytest.approx(found.drift * 1e6, abs=0.1)
        assert float(track.facts["RESIDUAL"]) == pytest.approx(residual, abs=1e-6)


def test_clicks_too_near_to_each_other_show_no_drift(tmp_path: Path) -> None:
    a, b = clicks(tmp_path / "A.wav", 300, [3, 4]), clicks(tmp_path / "B.wav", 290, [1, 2.0004])
    found = merge_streams(tmp_path / "OUT.mka", [a, b], sync_on="click").alignments[1]
    assert (
        found.drift is None
        and "too short a time to show how the clocks drift" in found.note
        and abs(found.offset_ns - 2 * 10**9) < 2_000_000
    )
    with open_recording(tmp_path / "OUT.mka") as recording:
        assert "CLOCK_DRIFT_PPM" not in recording.tracks[1].facts


def test_pictures_whose_clock_drifts_keep_samples_beside_them(tmp_path: Path) -> None:
    """The first file is sound alone: what is read is on the clock of the pictures, which is not the first file's."""
    ppm, at = 450, [6.0, 112.0]
    a = clicks(tmp_path / "A.wav", 120, at)
    own = [round((time - 3) * (1 + ppm / 1e6) * 100) * 10**7 for time in at]
    b = knocked(tmp_path / "B.mkv", (0, 115, {"boot_id": "one"}), knocks=own)
    merge_streams(tmp_path / "OUT.mkv", [a, b], sync_on="click")
    sound, sensor = knocks_in(tmp_path / "OUT.mkv").values()
    assert sensor == pytest.approx([time / 1e9 for time in own], abs=0.003)
    assert sound == pytest.approx(sensor, abs=0.011)


@pytest.mark.parametrize("off_ms", [30, -200])
def test_a_click_of_both_that_does_not_fit_is_told(tmp_path: Path, off_ms: int) -> None:
    a = clicks(tmp_path / "A.wav", 20, [3, 9, 15])
    b = clicks(tmp_path / "B.wav", 19, [3, 9 + off_ms / 1e3, 15])
    done = run(tmp_path / "OUT.mka", a, b, "--sync-on", "click")
    assert done.returncode == 0 and done.stderr.count("\n") == 1, done
    assert re.search(rf"\(2 of its 3 clicks, 2 of A\.wav's 3; 1 in both is {abs(off_ms)} ms off; no drift", done.stdout)
    assert f"1 click that both have is {abs(off_ms)} ms off" in done.stderr
    assert f"at {9 + off_ms / 1e3:.2f} s in B.wav" in done.stderr and "--offset B=SECONDS" in done.stderr


def test_a_click_that_only_one_has_is_counted_and_no_warning(tmp_path: Path) -> None:
    a, b = clicks(tmp_path / "A.wav", 20, [3, 9, 15]), clicks(tmp_path / "B.wav", 19, [2, 5, 14])
    done = run(tmp_path / "OUT.mka", a, b, "--sync-on", "click")
    assert done.returncode == 0 and not done.stderr, done
    assert "(2 of its 3 clicks, 2 of A.wav's 3; no drift" in done.stdout


def test_clicks_that_fit_by_chance_are_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    for name in ("A.wav", "B.wav"):
        clicks(tmp_path / name, 60, sorted(random.uniform(0, 59, 30)))
    with pytest.raises(StorageError, match=r"could lie in several ways.*--offset B=SECONDS"):
        merge_streams(tmp_path / "OUT.mka", [tmp_path / "A.wav", tmp_path / "B.wav"], sync_on="click")


def speech(seconds: float, rate: int) -> np.ndarray:
    """Noise that swells and fades without a pattern."""
    random = np.random.default_rng(3)
    knots = np.arange(0, seconds + 0.15, 0.15)
    loud = np.interp(np.arange(seconds * rate) / rate, knots, random.random(len(knots)) ** 3)
    return (loud * random.normal(0, 0.2, len(loud))).astype("<f4")


def test_by_the_whole_of_the_sound(tmp_path: Path) -> None:
    heard = speech(40, 8000)
    near, far = heard[: 30 * 8000], 0.3 * heard[round(12.345 * 8000) :]
    far = far + np.random.default_rng(4).normal(0, 0.01, len(far)).astype("<f4")
    shape = ("-f", "f32le", "-ac", 1, "-ar", 8000)
    ffmpeg(*shape, "-i", "pipe:0", tmp_path / "near.wav", data=near.tobytes())
    ffmpeg(*shape, "-i", "pipe:0", "-ar", 16000, tmp_path / "far.flac", data=far.astype("<f4").tobytes())
    inputs = [tmp_path / "near.wav", tmp_path / "far.flac"]
    found = merge_streams(tmp_path / "OUT.mka", inputs, sync_on="cross-correlation").alignments[1]
    assert found.how == "cross-correlation" and found.residual_ns is not None
    assert abs(found.offset_ns / 1e9 - 12.345) < 0.003 and found.residual_ns < 10_000_000

    clicks(tmp_path / "other.wav", 10, [])
    with pytest.raises(StorageError, match=r"do not sound alike.*--offset other=SECONDS"):
        merge_streams(
            tmp_path / "OUT2.mka", [tmp_path / "near.wav", tmp_path / "other.wav"], sync_on="cross-correlation"
        )


def test_by_the_whole_of_two_sensors_of_which_one_paused(tmp_path: Path) -> None:
    rate, moved = 200, np.random.default_rng(3).standard_normal(40 * 200).astype("<f4")
    moved *= np.repeat(np.random.default_rng(4).random(160) ** 4, rate // 4)
    inputs = [tmp_path / "A.mka", tmp_path / "B.mka"]
    for path, begin in zip(inputs, (0.0, 2.5), strict=True):
        with Recorder(path, fps=10, tracks=[SampleTrack("imu", rate)], pictures=False) as recorder:
            for start, end in ((begin, 12.0), (begin + 13.0, 40.0)):  # what lies between never came, and is padded
                recorder.write_samples("imu", moved[round(start * rate) : round(end * rate)], start)
    found = merge_streams(tmp_path / "OUT.mka", inputs, sync_on="cross-correlation").alignments[1]
    assert abs(found.offset_ns - 2_500_000_000) < 10_000_000


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "storage", "merge-streams", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, **options)


def test_command_line_tells_what_it_did_and_refuses_in_a_line(tmp_path: Path) -> None:
    a, b = recorded(tmp_path / "A.mkv", range(0, 10**9, 10**8)), clicks(tmp_path / "B.wav", 2, [1])
    c = knocked(tmp_path / "C.mkv", (0, 1, {}), knocks=[500_000_000])  # it knows the wall clock, as A does
    (tmp_path / "taken.mkv").write_text("mine")
    (tmp_path / "words.wav").write_text("no sound")
    (tmp_path / "empty.mkv").write_text("")
    (tmp_path / "d.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    before = sorted(os.listdir(tmp_path))
    for arguments, reason in (
        ((tmp_path / "OUT.mkv", a, b), "--offset B=SECONDS"),
        ((tmp_path / "OUT.mkv", a, b, "--sync-on", "flash"), "B.wav has no pictures"),
        ((tmp_path / "OUT.mkv", a, c, "--sync-on", "click"), "A.mkv has no sound or sensor, so that --sync-on click"),
        ((tmp_path / "OUT.mkv", c, a, "--sync-on", "cross-correlation"), "give --offset A=SECONDS"),
        ((tmp_path / "OUT.mkv", a, c, "--sync-on", "flash"), "so that --sync-on flash can't place C.mkv"),
        ((tmp_path / "OUT.mkv", a, b, "--offset", "D=1"), "D is none of the files"),
        ((tmp_path / "OUT.mkv", a, a), "is given twice"),
        ((tmp_path / "OUT.mkv", a, tmp_path / "words.wav", "--offset", "words=0"), "words.wav is not a recording"),
        ((tmp_path / "OUT.mkv", a, tmp_path / "empty.mkv"), "(it is empty)"),
        ((tmp_path / "OUT.mkv", a, cut), "cut.mp4 is not a recording"),
        ((tmp_path / "OUT.mkv", a, tmp_path / "none.mkv"), "No such file"),
        ((tmp_path / "OUT.mkv", a, tmp_path), f"python -m storage convert {tmp_path} {tmp_path}.mkv"),
        ((tmp_path / "OUT.mkv", a, tmp_path / "d.h5"), "no tracks to merge; make a .mkv of it first"),
        ((tmp_path / "taken.mkv", a), "exists; choose another name"),
        ((tmp_path / "OUT.mp4", a), "streams are merged into .mkv"),
        ((tmp_path / "OUT.mks", a), "streams are merged into .mkv"),
        ((tmp_path / "none" / "OUT.mkv", a), "create it first"),
    ):
        done = run(*arguments)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert reason in done.stderr
    assert run(tmp_path / "OUT.mkv", a, "--offset", "1").returncode == 2
    assert sorted(os.listdir(tmp_path)) == before and (tmp_path / "taken.mkv").read_text() == "mine"

    done = run(tmp_path / "OUT.mkv", a, b, "--offset", "B=-0.5")
    assert done.returncode == 0 and "B.wav       -0.5000 s  by hand" in done.stdout, done
    assert "all moved by 0.5000 s" in done.stdout
    done = run(tmp_path / "OUT2.mkv", a, b, "--offset", "B=0.5", "--json")
    told = json.loads(done.stdout)
    assert [(one["offset"], one["aligned_by"]) for one in told["inputs"]] == [(0, "first"), (0.5, "by hand")]
    assert [track["kind"] for track in told["tracks"]] == ["pictures", "sound"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    a = recorded(tmp_path / "A.mkv", range(0, 10**10, 10**8))
    done = run(
        tmp_path / "OUT.mkv", a,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert done.returncode == 1 and "nothing of it is left" in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert os.listdir(tmp_path) == ["A.mkv"]


def test_pictures_last_as_long_as_before(tmp_path: Path) -> None:
    uneven = np.random.default_rng(5).integers(-400_000, 400_000, 91)
    a = recorded(tmp_path / "A.mkv", (np.arange(91) * 33_333_333 + uneven).tolist())
    b = clicks(tmp_path / "B.wav", 2, [1])
    merge_streams(tmp_path / "OUT.mkv", [a, b], offsets={"B": -1})
    before, after = (as_json(describe(path))["tracks"][0] for path in (a, tmp_path / "OUT.mkv"))
    assert after["seconds"] == pytest.approx(before["seconds"], abs=0.002)
    assert after["rate"] == pytest.approx(before["rate"], abs=0.02)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.srt", "1\n00:00:00,1 --> 00:00:00,3\na\n\n2\n00:00:00,4 -> 00:00:00,6\nb\n", "line 6: '00:00:00,4 ->"),
        ("a.vtt", "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00.0,MPEGTS:9\n\n00:00.1 --> 00:00.3\na\n", "line 2: X-TIMESTAMP"),
    ],
)
def test_no_label_of_a_file_is_passed_over(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(StorageError, match=reason):
        merge_streams(tmp_path / "all.mkv", [tmp_path / name])


def test_texts_of_mp4_become_labels(tmp_path: Path) -> None:
    text = tmp_path / "in.srt"
    text.write_text("1\n00:00:00,500 --> 00:00:01,250\nmusic\n\n2\n00:00:05,000 --> 00:00:06,000\nTür\n")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=d=8:r=5", "-i", text, "-c:s", "mov_text", tmp_path / "B.mp4")
    merge_streams(tmp_path / "OUT.mkv", [tmp_path / "B.mp4"])
    ffmpeg("-i", tmp_path / "OUT.mkv", tmp_path / "out.srt")
    assert (tmp_path / "out.srt").read_text().strip() == text.read_text().strip()


@pytest.mark.parametrize("command", ["info", "export", "merge-streams"])
def test_a_codec_that_nobody_knows_is_one_line(tmp_path: Path, command: str) -> None:
    write_video(tmp_path / "clip.mkv", [Fraction(n, 25) for n in range(10)], size=(32, 24))
    data = (tmp_path / "clip.mkv").read_bytes()
    unknown = re.sub(rb"V_MPEG4/ISO/AVC|V_FFV1", lambda match: b"V_UNKNOWN/CODEC"[: len(match[0])], data)
    assert unknown != data
    (tmp_path / "clip.mkv").write_bytes(unknown)
    words = {"info": ["clip.mkv"], "export": ["clip.mkv", "out"], "merge-streams": ["out.mkv", "clip.mkv"]}[command]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "storage", command, *words],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("storage: ") and done.stderr.count("\n") == 1, done
    assert not (tmp_path / "out.mkv").exists()


def of_a_camera(path: Path, camera: str, host: str, *seconds: int) -> Path:
    """A recording of as many sessions as begin at these seconds, each with seven frames in 0.6 s."""
    for second in seconds:
        with closing(VideoWriter(path)) as writer:
            writer.describe({"camera": camera, "host": host, "live": True, "wall_minus_monotonic_ns": WALL_NS})
            writer.describe({"started": f"2023-11-14T22:13:{20 + second}+0000"})
            for n in range(7):
                writer.append(writer.encode(Frame(picture(n), n, second * 10**9 + n * 10**8, {})))
    return path


@pytest.mark.parametrize("order", ["APB", "PAB", "BAP"])
def test_info_knows_when_and_with_what_each_track_was_recorded(tmp_path: Path, order: str) -> None:
    """A phone's video among them has no facts of its own, and gets none of the others'."""
    of_a_camera(tmp_path / "A.mkv", "v4l2:/dev/video2", "desk", 1, 5)
    of_a_camera(tmp_path / "B.mkv", "picamera2:0", "roof", 3)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=d=1:r=10:s=64x48", tmp_path / "P.mkv")
    inputs = [tmp_path / f"{name}.mkv" for name in order]
    merge_streams(tmp_path / "one.mkv", inputs, offsets=dict.fromkeys(order, 0))
    merge_streams(tmp_path / "all.mkv", [tmp_path / "P.mkv", tmp_path / "one.mkv"], offsets={"P": 0, "one": 0})

    expected = {
        "A": [("v4l2:/dev/video2", "desk", 7, WALL_NS / 1e9 + second) for second in (1, 5)],
        "B": [("picamera2:0", "roof", 7, WALL_NS / 1e9 + 3)],
        "P": [],
    }
    for path, names in ((tmp_path / "one.mkv", order), (tmp_path / "all.mkv", f"P{order}")):
        tracks = [one.track for one in describe(path).tracks if one.track.kind == "pictures"]
        for name, track in zip(names, tracks, strict=True):
            info = describe(path, track=track.number)
            told = [(one.facts.get("camera"), one.facts.get("host"), one.frames, one.begun) for one in info.sessions]
            assert [one for one in told if one[0]] == [pytest.approx(one) for one in expected[name]], (name, told)
            (row,) = (row for row in as_json(info)["tracks"] if row["number"] == track.number)
            host = expected[name][0][1] if expected[name] else None
            assert (row["host"], row["started"] is None) == (host, host is None)
            (line,) = (line for line in as_text(info).splitlines() if line.startswith(f"  {track.number:2} "))
            assert line.endswith(f"{expected[name][0][0]} on {host}" if host else " 10")


def test_a_copy_that_another_program_cut_keeps_what_is_still_true(tmp_path: Path) -> None:
    """Of one session what is left is known; of several nobody knows which frames are whose."""
    of_a_camera(tmp_path / "one.mkv", "picamera2:0", "roof", 3)
    of_a_camera(tmp_path / "two.mkv", "picamera2:0", "roof", 3, 7)
    for name in ("one", "two"):
        ffmpeg("-i", tmp_path / f"{name}.mkv", "-c", "copy", "-frames:v", 4, tmp_path / f"cut-{name}.mkv")
    (session,) = describe(tmp_path / "cut-one.mkv").sessions
    assert (session.frames, session.facts["camera"], session.begun) == (4, "picamera2:0", WALL_NS / 1e9 + 3)
    (session,) = describe(tmp_path / "cut-two.mkv").sessions
    assert (session.frames, session.facts) == (4, {})

"""Videos that other programs made, read as recordings: every frame of every container, in any order, upright."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pi_capture.sources.media.source import open_file
from storage import StorageError, open_recording
from storage.convert.convert import convert
from storage.convert.extract import extract
from storage.formats.movie.reader import MovieReader
from storage.formats.video.labels import write_labels
from storage.labels.table import write_table
from storage.recording import Recording
from tests.conftest import REFERENCE, write_video

MADE_BY = {
    "b-frames.mp4": ["-c:v", "libx264", "-g", "40", "-bf", "3"],
    "open-gop.mov": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=25"],
    "edited.mp4": ["-c:v", "libx264", "-g", "40", "-bf", "2", "-ss", "1.1"],
    "obs.mkv": ["-c:v", "libx264", "-g", "60"],
    "browser.webm": ["-c:v", "libvpx", "-g", "30", "-deadline", "realtime"],
    "simulator.nut": ["-c:v", "rawvideo"],
    "broadcast.ts": ["-c:v", "libx264", "-g", "30"],
    "disc.mpg": ["-c:v", "mpeg2video", "-bf", "2", "-r", "25"],
    "old.avi": ["-c:v", "mpeg4", "-bf", "2"],
    "h264.avi": ["-c:v", "libx264", "-bf", "2", "-g", "30"],
    "camera.avi": ["-c:v", "mjpeg"],
    "flash.flv": ["-c:v", "flv"],
    "windows.wmv": ["-c:v", "wmv2"],
}


def decoded(path: Path) -> list[np.ndarray]:
    """Every picture, as FFmpeg's own program decodes them one after the other."""
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.nut"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25", "-t", "5"]
    subprocess.run([*command, "-c:v", "rawvideo", path], check=True)
    return path


@pytest.mark.parametrize("name", MADE_BY)
def test_every_frame_in_any_order(tmp_path: Path, scene: Path, name: str) -> None:
    path = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-i", scene, *MADE_BY[name], path], check=True)
    wanted = decoded(path)
    assert len(wanted) > 90
    with open_recording(path) as recording:
        assert isinstance(recording, MovieReader)
        assert len(recording) == len(wanted)
        times = list(recording.timestamps_ns)
        assert times == sorted(set(times)) and 3.5e9 < times[-1] - times[0] < 5.1e9
        for n, frame in enumerate(recording):
            assert np.array_equal(frame.pixels, wanted[n]) and frame.timestamp_ns == times[n], f"frame {n}"
        for n in [*random.Random(1).choices(range(len(wanted)), k=30), len(wanted) - 1, 0, 31, 30, 29]:
            assert np.array_equal(recording[n].pixels, wanted[n]), f"frame {n}"


def test_times_are_the_files_own(tmp_path: Path) -> None:
    times = [Fraction(n, 1000) for n in (0, 33, 70, 71, 500, 10_000)]
    write_video(tmp_path / "clip.mkv", times)
    assert list(open_recording(tmp_path / "clip.mkv").timestamps_ns) == [int(time * 10**9) for time in times]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_phones_hold_their_cameras_anyhow(tmp_path: Path, turn: int) -> None:
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    write_video(plain, [Fraction(n, 10) for n in range(5)], codec="libx264")
    rotate = ["ffmpeg", "-v", "error", "-display_rotation", str(turn), "-i", plain, "-c", "copy", turned]
    if subprocess.run(rotate, check=False, capture_output=True).returncode:  # FFmpeg before 6 has no such option
        metadata = ["-metadata:s:v:0", f"rotate={360 - turn}"]
        subprocess.run(["ffmpeg", "-v", "error", "-i", plain, "-c", "copy", *metadata, turned], check=True)
    shown = ["ffmpeg", "-v", "error", "-i", turned, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]  # it turns them
    pixels = np.frombuffer(subprocess.run(shown, check=True, capture_output=True).stdout, np.uint8)
    with open_recording(turned) as recording:
        upright = recording[3].pixels
        assert upright.shape == ((48, 64, 3) if turn == 180 else (64, 48, 3))
        assert np.abs(pixels.reshape(-1, *upright.shape)[3].astype(int) - upright).mean() < 8


@pytest.mark.parametrize(
    ("matrix", "mirrored"),
    [
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
    ],
    ids=["columns", "rows", "diagonal", "other diagonal"],
)
def test_mirrored_pictures_are_mirrored_back(
    tmp_path: Path, matrix: tuple[int, ...], mirrored: Callable[[np.ndarray], np.ndarray]
) -> None:
    """As FFmpeg and players do with the videos of a phone's front camera."""
    path = tmp_path / "selfie.mp4"
    write_video(path, [Fraction(n, 10) for n in range(3)], codec="libx264")
    with open_recording(path) as recording:
        plain = recording[1].pixels
    rows = [
        struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        for a, b, c, d in ((1 << 16, 0, 0, 1 << 16), [n << 16 for n in matrix])
    ]
    data = path.read_bytes()
    at = data.index(rows[0], data.index(b"tkhd"))
    path.write_bytes(data[:at] + rows[1] + data[at + 36 :])
    with open_recording(path) as recording:
        assert np.array_equal(recording[1].pixels, mirrored(plain))
    with closing(open_file(str(path), None, None)) as source:
        assert np.array_equal(list(source)[1].pixels, mirrored(plain))


def test_cut_off_it_has_what_is_there(tmp_path: Path, scene: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "whole.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-i", scene, "-c:v", "libx264", "-g", "20", whole], check=True)
    for suffix in (".mkv", ".ts"):
        path = tmp_path / f"cut{suffix}"
        if suffix == ".ts":
            subprocess.run(["ffmpeg", "-v", "error", "-i", whole, "-c", "copy", path], check=True)
        data = (whole if suffix == ".mkv" else path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with open_recording(path) as recording:
            assert 30 < len(recording) < 100
            wanted = decoded(whole)
            for n in range(0, len(recording) - 5, 7):
                assert np.array_equal(recording[n].pixels, wanted[n])
    mp4 = tmp_path / "cut.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", whole, "-c", "copy", mp4], check=True)
    mp4.write_bytes(mp4.read_bytes()[:-500])
    with pytest.raises(StorageError, match="is not a video that can be read"):
        open_recording(mp4)
    assert capfd.readouterr().out == ""


def test_frames_without_facts_of_this_program_cost_no_parsing(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error for each frame took most of the time in which a long video is opened."""
    subprocess.run(["ffmpeg", "-v", "error", "-i", scene, "-c", "copy", tmp_path / "clip.mkv"], check=True)
    parsed, loads = list[object](), json.loads

    def parse(text: str | bytes) -> object:
        parsed.append(text)
        return loads(text)

    monkeypatch.setattr(json, "loads", parse)
    with open_recording(tmp_path / "clip.mkv") as recording:
        assert len(recording.timestamps_ns) == len(recording) > len(parsed)


@pytest.mark.parametrize("suffix", [".mkv", ".mka", ".mp4"])
def test_sound_alone_is_a_recording_without_frames(tmp_path: Path, suffix: str) -> None:
    """What is in a file decides, not its name; what needs pictures says what is missing."""
    path = tmp_path / f"talk{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine", "-t", "1", path], check=True)
    with open_recording(path) as recording:
        assert (len(recording), [track.rate for track in recording.tracks]) == (0, [44100])
    for refused in (
        lambda: open_recording(path, track=0),
        lambda: extract(path, tmp_path / "out"),
        lambda: convert(path, tmp_path / "out.h5"),
    ):
        with pytest.raises(StorageError, match=r"^\S+ has no picture, only sound or other data$"):
            refused()
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("suffix", [".mkv", ".mka"])
def test_texts_alone_are_no_recording(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "texts.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\ndoor\n")
    path = tmp_path / f"texts{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "texts.srt", "-f", "matroska", path], check=True)
    with pytest.raises(StorageError, match="has no picture, only sound or other data"):
        open_recording(path)


def test_labels_are_in_a_table_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, [Fraction(n, 10) for n in range(5)], codec="libx264")
    with open_recording(path) as recording:
        assert list(recording.labels) == [None] * 5
    data = path.read_bytes()
    write_labels(path, ["0", None, "door", "door, left", None])
    assert path.read_bytes() == data
    with open_recording(path) as recording:
        assert list(recording.labels) == ["0", None, "door", "door, left", None]
    (tmp_path / "clip.mp4.labels.csv").write_text("frame,class\n7,door\n")
    with pytest.raises(StorageError, match="damaged"):
        _ = open_recording(path).labels
    write_table(path, ["0"] * 5)
    assert list(open_recording(path).labels) == ["0"] * 5


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("\ufeffframe;class\r\n1;door\r\n\r\n3;light\r\n4;\r\n", [None, "door", None, "light", None]),
        ("Frame\tClass\n0\tdoor\n", ["door", None, None, None, None]),
        ("frame,class\n1,door\n-1,light\n", "line 3: there is no frame -1"),
        ("frame,class\n1,door\n1,light\n", "line 3: frame 1 has two labels"),
        ("frame,class,sure\n1,door,yes\n", "line 1: its columns are not frame,class"),
    ],
)
def test_a_table_of_labels_that_a_spreadsheet_saved(
    tmp_path: Path, table: str, expected: str | list[str | None]
) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, [Fraction(n, 10) for n in range(5)], codec="libx264")
    (tmp_path / "clip.mp4.labels.csv").write_bytes(table.encode())
    if isinstance(expected, str):
        with pytest.raises(StorageError, match=expected):
            _ = open_recording(path).labels
        return
    assert list(open_recording(path).labels) == expected
    write_table(path, ["0"] * 5)
    assert list(open_recording(path).labels) == ["0"] * 5


@pytest.mark.reference
def test_real_footage() -> None:
    path = REFERENCE / "pedestrians.avi"
    wanted = decoded(path)
    with open_recording(path) as recording:
        assert len(recording) == len(wanted) == 795
        assert list(recording.timestamps_ns)[:3] == [0, 100_000_000, 200_000_000]
        for n in (794, 3, 500, 251, 249, 250):
            assert np.array_equal(recording[n].pixels, wanted[n])


# ---------------------------------------------------------------------------------------------------- damaged, joined


def shades(path: Path, count: int, codec: str, **options: str) -> list[int]:
    """A video of which frame n shows grey 3 n; returns where the packets are in it, and its length."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20, options=options)
        stream.width, stream.height = 80, 64
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "gray", "apng": "gray"}.get(codec, "yuv420p")
        draw = np.random.default_rng(2)
        for n in range(count):
            pixels = np.full((64, 80, 3), 3 * n, np.uint8)
            pixels[:16] = draw.integers(0, 256, (16, 80, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        return [packet.pos for packet in container.demux(video=0) if packet.size]


def overwrite(path: Path, begin: int, end: int, value: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[begin:end] = bytes([value]) * (end - begin)
    path.write_bytes(data)


def shown(recording: Recording, indices: Iterable[int]) -> dict[int, int]:
    """Which frame each of them shows; those that can't be decoded are left out."""
    found = {}
    for n in indices:
        with suppress(StorageError):
            found[n] = round(float(recording[n].pixels[32:].mean()) / 3)
    return found


@pytest.mark.parametrize("keeps", [0.0, 0.5], ids=["gone", "torn"])
def test_pictures_behind_a_damaged_one_keep_their_places(tmp_path: Path, keeps: float) -> None:
    path, bad = tmp_path / "camera.avi", {4, 5, 31}
    at = shades(path, 40, "mjpeg")
    for n in bad:
        begin, end = at[n] + 8, at[n + 1] - 8  # so that names and lengths of the chunks stay
        overwrite(path, begin + round(keeps * (end - begin)), end)
    whole = [n for n in range(40) if n not in bad]
    with open_recording(path) as recording:
        assert len(recording) == 40
        assert shown(recording, range(40)) == {n: n for n in whole}
        for n in (33, 6, 39, 3):
            assert shown(recording, [n]) == {n: n}
    assert extract(path, tmp_path / "day1").written == len(whole)
    with open_recording(tmp_path / "day1") as recording:
        assert list(shown(recording, range(len(recording))).values()) == whole
        assert list(recording.timestamps_ns) == [n * 50_000_000 for n in whole]


@pytest.mark.parametrize("target", ["day1.h5", "day1.mkv", "day1.mp4"])
def test_labels_stay_with_their_frames_where_one_is_left_out(
    tmp_path: Path, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "phone.mp4"
    at = shades(path, 40, "libx264", bf="0", g="40")
    write_table(path, [f"n{n}" for n in range(40)])
    overwrite(path, at[22], at[22] + 4, 255)
    assert convert(path, tmp_path / target) == 39
    assert caplog.messages == [f"{path}: frame 22 is left out: frame 22 can't be decoded"]
    with open_recording(tmp_path / target) as recording:
        found = shown(recording, range(39))
        assert [recording.labels[n] for n in found] == [f"n{n}" for n in range(40) if n != 22]
        assert all(abs(shows - n) < 2 for n, shows in found.items() if n < 22)


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_files_that_were_joined_are_read_part_by_part(tmp_path: Path, suffix: str) -> None:
    parts, path = [tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"], tmp_path / f"joined{suffix}"
    for count, part in zip((30, 17), parts, strict=True):
        shades(part, count, "libx264", bf="2", g="15")
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    wanted = [*range(30), *range(17)]
    with open_recording(path) as recording:
        assert list(shown(recording, range(47)).values()) == wanted
        for n in (40, 10, 46, 30):
            assert shown(recording, [n]) == {n: wanted[n]}
        steps = {after - before for before, after in pairwise(recording.timestamps_ns)}
        assert all(abs(step - 50_000_000) < 100 for step in steps)


@pytest.mark.parametrize("suffix", [".mpg", ".ts"])
@pytest.mark.parametrize("keys", ["1", "3"])
def test_keyframes_close_together_are_found_where_a_seek_lands_within_one(
    tmp_path: Path, suffix: str, keys: str
) -> None:
    path = tmp_path / f"disc{suffix}"
    shades(path, 40, "mpeg2video", g=keys, bf="0" if keys == "1" else "2")
    with open_recording(path) as recording:
        in_order = [recording[n].pixels for n in range(40)]
        assert all(np.array_equal(recording[n].pixels, in_order[n]) for n in range(39, -1, -1))


def retimed(path: Path, codec: str, ticks: Callable[[int], int], **options: str) -> None:
    """The 40 pictures of `shades`, each with a time of its own, in steps of 50 ms."""
    import av

    shades(path, 40, codec, **options)
    with av.open(str(path)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        with av.open(str(path.with_name("new.mkv")), "w", options={"avoid_negative_ts": "disabled"}) as container:
            stream = container.add_stream_from_template(source.streams.video[0])
            for n, packet in enumerate(packets):
                packet.pts, packet.dts = ticks(n) * 50, n * 50 - 1000
                packet.time_base, packet.stream = Fraction(1, 1000), stream
                container.mux(packet)
    path.with_name("new.mkv").replace(path)


@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
@pytest.mark.parametrize(
    "ticks",
    [lambda n: n + 300 * (n == 11), lambda n: n - 9 * (n == 11), lambda n: n - (n == 11), lambda n: n - 15 * (n > 20)],
    ids=["ahead", "behind", "twice", "back"],
)
def test_an_odd_time_costs_no_picture(tmp_path: Path, codec: str, ticks: Callable[[int], int]) -> None:
    path = tmp_path / "phone.mkv"
    retimed(path, codec, ticks, **({"bf": "0", "g": "10"} if codec == "libx264" else {}))
    with open_recording(path) as recording:
        assert shown(recording, range(40)) == {n: n for n in range(40)}
        for n in (30, 12, 39, 11, 0):
            assert shown(recording, [n]) == {n: n}


def test_a_time_that_contradicts_the_order_of_b_pictures_costs_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    shades(path, 40, "libx264", bf="2", g="20")
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        path,
        "-c",
        "copy",
        "-bsf:v",
        "setts=pts='if(eq(N,17),PTS+9/TB,PTS)':dts=DTS",
    ]
    subprocess.run([*command, tmp_path / "odd.mkv"], check=True)
    with open_recording(tmp_path / "odd.mkv") as recording:
        assert sorted(shown(recording, range(40)).values()) == list(range(40))


@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
def test_times_before_zero_cost_no_picture(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "early.mkv"
    retimed(path, codec, lambda n: n - 20, **({"bf": "0"} if codec == "libx264" else {}))
    with open_recording(path) as recording:
        assert shown(recording, range(len(recording))) == {n: n for n in range(40)}
        assert shown(recording, [3]) == {3: 3}


def test_what_comes_before_the_first_keyframe_is_left_out(tmp_path: Path) -> None:
    path, cut = tmp_path / "whole.ts", tmp_path / "cut.ts"
    at = shades(path, 36, "libx264", bf="0", g="12")
    data = path.read_bytes()
    cut.write_bytes(data[: at[0]] + data[at[5] :])
    with open_recording(cut) as recording:
        found = shown(recording, range(len(recording)))
        assert list(found.values()) == list(range(12, 36))
    assert extract(cut, tmp_path / "day1").written == 24


def test_pictures_of_several_sizes_go_into_a_directory_but_not_into_one_file(tmp_path: Path) -> None:
    parts, path = [tmp_path / "1.ts", tmp_path / "2.ts"], tmp_path / "joined.ts"
    for part, size in zip(parts, ("96x64", "64x112"), strict=True):
        source = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=20:duration=0.5", "-c:v", "mpeg2video", "-b:v", "9M"]
        subprocess.run(["ffmpeg", "-v", "error", *source, part], check=True)
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    sizes = [picture.shape for picture in decoded(path)]
    assert len(set(sizes)) == 2
    extract(path, tmp_path / "day1")
    with open_recording(tmp_path / "day1") as recording:
        assert [frame.pixels.shape for frame in recording] == sizes
    with pytest.raises(StorageError, match="a recording has one size"):
        convert(path, tmp_path / "day1.h5")

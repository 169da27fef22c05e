"""One policy for damaged pictures, whichever way a video is read; and which JPEGs are torn."""

from __future__ import annotations

import io
import subprocess
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pi_capture.sources.media.source import open_file
from storage import StorageError, open_recording
from storage.care.info import describe
from storage.formats.movie.decode import decode, is_torn_jpeg
from storage.streams.merge import merge_streams
from tests.storage.formats.movie.test_reader import overwrite, shades, shown


def jpeg(pixels: np.ndarray, **options: bool) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


NOISE = np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)
BLACK = np.zeros((480, 640, 3), np.uint8)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("pixels", [NOISE, BLACK], ids=["noise", "black"])
def test_a_whole_jpeg_is_not_torn(pixels: np.ndarray, options: dict[str, bool]) -> None:
    whole = jpeg(pixels, **options)
    assert not is_torn_jpeg(whole)
    assert not is_torn_jpeg(whole + bytes(3000))
    assert is_torn_jpeg(whole[:-2]) and not is_torn_jpeg(whole[:-2], ends=False)


def test_a_jpeg_with_fill_bytes_before_its_markers_is_not_torn() -> None:
    """A marker may begin with any number of them (ITU-T T.81, B.1.1.2)."""
    whole = jpeg(NOISE)
    for marker in (b"\xdb", b"\xc0", b"\xc4", b"\xda"):
        filled = whole.replace(b"\xff" + marker, b"\xff\xff\xff" + marker, 1)
        assert len(filled) == len(whole) + 2
        assert Image.open(io.BytesIO(filled)).size and not is_torn_jpeg(filled)
    assert is_torn_jpeg(filled[: len(filled) // 2])


@pytest.mark.parametrize("ends", [True, False])
def test_a_jpeg_with_zeros_for_a_part_of_it_is_torn(ends: bool) -> None:
    whole = jpeg(NOISE)
    part = whole[: len(whole) // 3]
    for torn in (
        part.ljust(len(whole), b"\0"),
        part.ljust(len(whole) - 2, b"\0") + whole[-2:],
        part.ljust(len(whole) // 2, b"\0") + whole[len(whole) // 2 :],
    ):
        assert is_torn_jpeg(torn, ends=ends)


def both_readers(path: Path) -> tuple[dict[int, int], dict[int, int]]:
    """What a video shows as a recording and as a camera: the shade that comes at each time, in milliseconds."""
    with open_recording(path) as recording:
        first, found = recording.timestamps_ns[0], shown(recording, range(len(recording)))
        read = {round((recording.timestamps_ns[n] - first) / 1e6): shade for n, shade in found.items()}
    source = open_file(str(path), None, None)
    seen = {round((f.timestamp_ns - first) / 1e6): round(float(f.pixels[32:].mean()) / 3) for f in source}
    source.close()
    return read, seen


KINDS: list[tuple[str, str, dict[str, str]]] = [
    ("clip.mp4", "libx264", {"bf": "2", "g": "12"}),
    ("clip.avi", "libx264", {"bf": "2", "g": "12"}),
    ("clip.avi", "mpeg4", {"bf": "0", "g": "12"}),
    ("clip.avi", "mjpeg", {}),
    ("clip.mkv", "ffv1", {"g": "1"}),
]


@pytest.mark.parametrize(
    ("name", "codec", "options", "bad"), [*((*kind, bad) for kind in KINDS for bad in (14, 34)), (*KINDS[0], 35)]
)
def test_a_damaged_picture_costs_no_other_its_place(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], bad: int
) -> None:
    """Near the end, the decoder holds the pictures behind it while it is drained."""
    path = tmp_path / name
    at = shades(path, 37, codec, **options)
    overwrite(path, at[bad] + (8 if name == "clip.avi" else 0), at[bad] + 40, 255)
    read, seen = both_readers(path)
    assert read.keys() == seen.keys()
    assert 33 <= len(read) <= 36 and max(read) == 36 * 50, read
    # What refers to a damaged picture is a shade or two off.
    assert all(abs(shade - time / 50) <= 2 for found in (read, seen) for time, shade in found.items()), (read, seen)


def pictures_of(path: Path) -> dict[bytes, set[int]]:
    """At which frames each picture is shown, by both readers."""
    found: dict[bytes, set[int]] = {}
    with open_recording(path) as recording:
        first = recording.timestamps_ns[0]
        for n in range(len(recording)):
            with suppress(StorageError):
                found.setdefault(recording[n].pixels.tobytes(), set()).add(n)
    source = open_file(str(path), None, None)
    for frame in source:
        found.setdefault(frame.pixels.tobytes(), set()).add(round((frame.timestamp_ns - first) / 50e6))
    source.close()
    return found


def panned(path: Path, count: int) -> None:
    """A noisy scene that moves sideways: H.264 with B-pictures here and none there."""
    noise = np.random.default_rng(2).integers(0, 200, (64, 120, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"bf": "2", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
        for n in range(count):
            pixels = noise[:, n % 40 : n % 40 + 80].copy()
            pixels[32:] = 3 * n
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", [".avi", ".h264"])
def test_where_the_file_has_no_times_of_showing_the_places_are_the_same(tmp_path: Path, suffix: str) -> None:
    """An MP4 file says when each is shown; the same packets with the same damage elsewhere have only their order."""
    count, timed = 40, tmp_path / "clip.mp4"
    panned(timed, count)
    untimed = timed.with_suffix(suffix)
    subprocess.run(["ffmpeg", "-v", "error", "-i", timed, "-c", "copy", untimed], check=True)
    with av.open(str(timed)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    whole = {path: path.read_bytes() for path in (timed, untimed)}
    for bad in (12, 17, 20, 27, 36):  # keyframes, the last too; B-pictures; behind 27 there are none
        end = packets[bad][max(8, len(packets[bad]) // 10) :]
        for path, data in whole.items():
            assert data.count(end) == 1
            path.write_bytes(data.replace(end, b"\xff" * len(end)))
        expected, found = pictures_of(timed), pictures_of(untimed)
        # What refers to a damaged picture may look different each time.
        places = {picture: places for picture, places in found.items() if picture in expected}
        assert len(places) >= count - 12, bad
        assert all(places == expected[picture] for picture, places in places.items()), bad


@pytest.mark.parametrize("codec", ["mjpeg", "rawvideo"])
def test_packets_of_an_avi_whose_heads_are_damaged_cost_no_other_its_time(tmp_path: Path, codec: str) -> None:
    """FFmpeg finds fewer packets than the index has."""
    path, bad = tmp_path / "clip.avi", (7, 8, 23)
    at = shades(path, 40, codec)
    for n in bad:
        overwrite(path, at[n] - 8, at[n])
    read, seen = both_readers(path)
    assert read == seen
    assert len(read) >= 40 - 2 * len(bad) and all(time == 50 * shade for time, shade in read.items())
    with open_recording(path) as recording:
        found = shown(recording, range(len(recording)))
        for n in reversed(found):
            assert shown(recording, [n]) == {n: found[n]}


def test_pictures_that_ffmpeg_passes_over_without_an_error_cost_no_other_its_place(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    shades(path, 40, "libx264", bf="2", g="10")
    at = path.read_bytes().index(b"\0\0\1\x65")
    overwrite(path, at + 3, at + 4, 0x6C)  # the first keyframe: what follows has nothing to refer to
    read, seen = both_readers(path)
    assert {n * 50: n for n in range(10, 40)}.items() <= read.items()
    assert read == seen
    source = open_file(str(path), None, None)
    frames = list(source)
    source.close()
    assert sum(frame.metadata.get("dropped_camera", 0) for frame in frames) + len(frames) == 40


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "libx264"])
def test_a_packet_of_zeros_costs_one_picture(tmp_path: Path, codec: str) -> None:
    """Its kind is unknown, and FFmpeg passes over one of MPEG-2 without an error."""
    path = tmp_path / "clip.avi"
    of_x264 = {"x264-params": "bframes=2:b-adapt=0:b-pyramid=none:scenecut=0"}
    at = shades(path, 24, codec, **(of_x264 if codec == "libx264" else {"bf": "2", "g": "12"}))
    whole = pictures_of(path)
    overwrite(path, at[5], at[6] - 8)  # the first of two B-pictures
    assert pictures_of(path) == {picture: places for picture, places in whole.items() if places != {4}}


def test_private_data_that_are_cut_off_cost_no_more_than_the_pictures(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    panned(path, 12)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.has_b_frames
        stream.codec_context.extradata = b"\1"
        numbered = enumerate(packet for packet in container.demux(stream) if packet.size)
        assert list(decode(numbered, stream, counted=True)) == [(n, None) for n in range(12)]


def test_a_jpeg_that_is_damaged_within_is_left_out_whatever_reads_it(tmp_path: Path) -> None:
    """FFmpeg would fill it up with what its memory held before."""
    path, bad = tmp_path / "clip.mov", 3
    at = shades(path, 20, "mjpeg")
    middle = (2 * at[bad] + 3 * at[bad + 1]) // 5
    overwrite(path, middle, middle + 30, 255)
    read, seen = both_readers(path)
    assert read == seen == {n * 50: n for n in range(20) if n != bad}


RAW = {
    "clip.h264": ("libx264", {"bf": "2", "g": "10"}),
    "plain.h264": ("libx264", {"bf": "0", "g": "10"}),
    "clip.mjpeg": ("mjpeg", {}),
    "clip.gif": ("gif", {}),
    "clip.apng": ("apng", {}),
}


@pytest.mark.parametrize(
    ("name", "made_by"),
    [
        ("delimited.265", ["-c:v", "libx265", "-x265-params", "aud=1:log-level=none", "-f", "hevc"]),
        ("disc.m2v", ["-c:v", "mpeg2video", "-g", "6"]),
        ("old.mpg", ["-vf", "settb=1/25,setpts=N", "-r", "25", "-c:v", "mpeg1video", "-f", "mpeg1video"]),
        ("phone.m4v", ["-c:v", "mpeg4", "-f", "m4v"]),
    ],
)
def test_raw_videos_are_what_they_begin_with(tmp_path: Path, name: str, made_by: list[str]) -> None:
    source, path = tmp_path / "clip.nut", tmp_path / name
    shades(source, 21, "rawvideo")
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, *made_by, path], check=True)
    read, seen = both_readers(path)
    assert len(read) == 21 and read == seen and all(abs(shade - n) <= 1 for n, shade in enumerate(read.values()))


def test_a_file_that_ffmpeg_would_not_know_is_the_same_for_a_camera_and_as_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "cut.ts"
    grey = ["-f", "lavfi", "-i", "color=gray:s=64x64:r=10:d=0.8", "-c:v", "libx264", "-bf", "0"]
    subprocess.run(["ffmpeg", "-v", "error", *grey, path], check=True)
    path.write_bytes(path.read_bytes()[:1910])  # ten packets, and some of another
    read, seen = both_readers(path)
    assert read == seen and len(read) == 2


def test_a_broadcast_that_begins_within_a_packet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tuned.ts"
    at = shades(path, 36, "libx264", bf="0", g="12")
    path.write_bytes(path.read_bytes()[at[5] + 77 :])
    read, seen = both_readers(path)
    assert read == seen and set(range(24, 36)) <= set(read.values())


@pytest.mark.parametrize("name", RAW)
def test_files_without_an_index_are_read_in_any_order(tmp_path: Path, name: str) -> None:
    codec, options = RAW[name]
    path = tmp_path / name
    shades(path, 33, codec, **options)
    with open_recording(path) as recording:
        assert shown(recording, range(33)) == {n: n for n in range(33)}
        for n in (20, 3, 32, 19, 0):
            assert shown(recording, [n]) == {n: n}
    read, seen = both_readers(path)
    assert read == seen
    info = describe(path)
    assert info.frames == info.tracks[0].extent.count == 33
    with pytest.raises(StorageError, match=f"^{path}[^\n]*(convert it first|can't be kept)"):
        merge_streams(tmp_path / "all.mkv", [path])

"""Frames that a camera has encoded already: their packets are what the video holds."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from pi_capture import Recorder
from storage import Frame, StorageError, open_recording
from storage.formats.video.file import repair
from storage.formats.video.h264 import packet_from_annex_b
from storage.formats.video.writer import VideoWriter
from tests.storage.formats.video.test_writer import ffprobe, picture

SIZE = (96, 64)
EVERY = 10  # a keyframe
STEP_NS = 33_366_667


def annex_b(count: int, size: tuple[int, int] = SIZE, **options: str) -> list[bytes]:
    """What an encoder makes of the pictures 0, 1, 2 …, each packet with start codes, keyframes with their settings."""
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = size
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, 30), Fraction(30)
    context.options = {"preset": "superfast", "tune": "zerolatency", "forced-idr": "1", "qp": "20", **options}
    packets = []
    for n in range(count):
        frame = av.VideoFrame.from_ndarray(picture(n, size), format="rgb24")
        frame.pts = n
        frame.pict_type = PictureType.I if n % EVERY == 0 else PictureType.NONE
        packets += [bytes(packet) for packet in context.encode(frame)]
    assert len(packets) == count
    return packets


def encoded_frames(
    count: int, first: int = 0, size: tuple[int, int] = SIZE, packets: Sequence[bytes] | None = None
) -> list[Frame]:
    return [
        Frame(
            picture(n, size), n, 10**12 + (first + n) * STEP_NS, {"n": first + n}, packet_from_annex_b(data, first + n)
        )
        for n, data in enumerate(packets or annex_b(count, size))
    ]


def record(path: Path, frames: Sequence[Frame]) -> Path:
    with closing(VideoWriter(path, codec="h264")) as writer:
        for frame in frames:
            writer.append(writer.encode(frame))
    return path


def stored(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def head_of(path: Path) -> bytes | None:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.extradata


def errors_of_ffmpeg(path: Path) -> str:
    command = ["ffmpeg", "-v", "warning", "-xerror", "-i", path, "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


# ------------------------------------------------------------------------------------------------ what is in the video


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "baseline"},
        {"profile": "main"},
        {"profile": "high"},
        {"profile": "high", "x264-params": "aud=1:slices=4"},
    ],
)
def test_packets_are_stored_as_the_camera_made_them(tmp_path: Path, options: dict[str, str]) -> None:
    raw = annex_b(35, **options)
    frames = encoded_frames(35, packets=raw)
    path = record(tmp_path / "day1.mkv", frames)

    assert stored(path) == [frame.packet.data for frame in frames if frame.packet]
    (tmp_path / "raw.h264").write_bytes(b"".join(raw))
    with av.open(str(tmp_path / "raw.h264")) as container:
        pictures = [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]
    with open_recording(path) as recording:
        assert len(recording) == len(pictures) == 35
        assert list(recording.timestamps_ns) == [frame.timestamp_ns for frame in frames]
        for n in (34, 0, 17, *range(35)):
            assert np.array_equal(recording[n].pixels, pictures[n])
            assert recording[n].metadata == {"n": n}
    assert errors_of_ffmpeg(path) == ""
    shown = ffprobe(path, "packet=pts_time,flags")
    assert [round(float(one["pts_time"]) * 1e6) for one in shown] == [n * STEP_NS // 1000 for n in range(35)]  # type: ignore[call-overload]
    assert [n for n, one in enumerate(shown) if "K" in one["flags"]] == list(range(0, 35, EVERY))  # type: ignore[index]


@pytest.mark.parametrize(
    ("profile", "pixel_format"), [("baseline", "yuv420p"), ("high", "yuv420p"), ("high10", "yuv420p10le")]
)
def test_the_head_is_the_one_that_ffmpeg_writes(tmp_path: Path, profile: str, pixel_format: str) -> None:
    raw, muxed = tmp_path / "raw.h264", tmp_path / "muxed.mkv"
    source = ["-f", "lavfi", "-i", "testsrc=size=96x64:rate=30", "-frames:v", "3", "-pix_fmt", pixel_format]
    coder = ["-c:v", "libx264", "-tune", "zerolatency", "-profile:v", profile, "-threads", "1"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *coder, raw], check=True)
    subprocess.run(["ffmpeg", "-v", "error", "-i", raw, "-c", "copy", muxed], check=True)
    assert packet_from_annex_b(raw.read_bytes(), 0).private == head_of(muxed)


def test_a_cut_anywhere_leaves_a_video(tmp_path: Path) -> None:
    path = record(tmp_path / "day1.mkv", encoded_frames(30))
    whole = path.read_bytes()
    cut = tmp_path / "cut.mkv"
    for length in range(len(whole) // 3, len(whole), len(whole) // 7):
        cut.write_bytes(whole[:length])
        repair(cut)
        assert errors_of_ffmpeg(cut) == ""
        with open_recording(cut) as recording:
            assert [frame.metadata["n"] for frame in recording] == list(range(len(recording)))
            assert len(recording) > 0


@pytest.mark.parametrize("name", ["day1.mkv", "day1"])
def test_another_codec_takes_the_pixels(tmp_path: Path, name: str) -> None:
    frames = encoded_frames(8)
    frames = [frames[2], *frames[5:]]  # not even beginning with a keyframe
    with Recorder(tmp_path / name) as recorder:
        for frame in frames:
            assert recorder.put(frame, wait=True)
    with open_recording(tmp_path / name) as recording:
        assert all(np.array_equal(one.pixels, frame.pixels) for one, frame in zip(recording, frames, strict=True))


# ------------------------------------------------------------------------------------------------------ what was lost


def test_after_a_loss_nothing_is_kept_until_the_next_keyframe(tmp_path: Path) -> None:
    frames = encoded_frames(40)
    missing = {0, 13, 27, 28}
    with Recorder(tmp_path / "day1.mkv", options={"codec": "h264"}) as recorder:
        for n, frame in enumerate(frames):
            if n not in missing:
                recorder.put(frame, wait=True)
    kept = [*range(10, 13), *range(20, 27), *range(30, 40)]
    with open_recording(tmp_path / "day1.mkv") as recording:
        assert [frame.metadata["n"] for frame in recording] == kept
        told = {frame.metadata["n"]: frame.metadata.get("dropped_queue", 0) for frame in recording}
    assert {n: count for n, count in told.items() if count} == {10: 9, 20: 6, 30: 1}
    assert recorder.summary().dropped_queue == 16
    assert errors_of_ffmpeg(tmp_path / "day1.mkv") == ""


def test_a_full_queue_costs_what_needs_the_dropped_frame(tmp_path: Path) -> None:
    """Frames come much faster than they are written; what is left must decode, each to its own picture."""
    size = 640, 480
    frames = encoded_frames(60, size=size)
    with Recorder(tmp_path / "day1.mkv", options={"codec": "h264"}) as recorder:
        for turn in range(4):
            later = [replace(frame, timestamp_ns=frame.timestamp_ns + turn * 60 * STEP_NS) for frame in frames]
            kept = [recorder.put(frame, wait=False) for frame in later]
    summary = recorder.summary()
    assert not all(kept) and summary.dropped_queue > 0
    assert summary.frames + summary.dropped_queue == 240
    assert errors_of_ffmpeg(tmp_path / "day1.mkv") == ""
    with open_recording(tmp_path / "day1.mkv") as recording:
        assert len(recording) == summary.frames
        for frame in recording:
            assert np.abs(frame.pixels.astype(int) - picture(frame.metadata["n"], size)).mean() < 10


def test_a_writer_refuses_what_can_not_be_decoded(tmp_path: Path) -> None:
    frames = encoded_frames(10)
    with closing(VideoWriter(tmp_path / "day1.mkv", codec="h264")) as writer:
        writer.append(writer.encode(frames[0]))
        with pytest.raises(StorageError, match="packet 2 of the camera's encoder came without those before"):
            writer.append(writer.encode(frames[2]))
        with pytest.raises(StorageError, match="the camera's encoder stopped"):
            writer.append(writer.encode(replace(frames[1], packet=None)))
        other = packet_from_annex_b(annex_b(1, qp="40")[0], 1)
        with pytest.raises(StorageError, match="changed its settings while it was recording"):
            writer.append(writer.encode(replace(frames[1], packet=other)))
        writer.append(writer.encode(frames[1]))
    assert len(stored(tmp_path / "day1.mkv")) == 2


@pytest.mark.parametrize("fault", ["another picture", "another size", "no keyframe", "nonsense"])
def test_packets_that_do_not_show_the_pictures_are_left_alone(tmp_path: Path, fault: str) -> None:
    """A driver may take its memory for something else than it is; then the pixels are encoded as ever."""
    frames = encoded_frames(25)
    if fault == "another picture":
        frames = [replace(one, pixels=255 - one.pixels) for one in frames]
    elif fault == "another size":
        frames = [replace(one, pixels=one.pixels[:, :64]) for one in frames]
    elif fault == "no keyframe":
        frames = frames[1:]
    else:
        nonsense = annex_b(1)[0].replace(b"\x00\x00\x01\x65", b"\x00\x00\x01\x65\xff\xff\xff\xff")
        frames = encoded_frames(25, packets=[nonsense, *annex_b(25)[1:]])
    path = record(tmp_path / "day1.mkv", frames)
    assert errors_of_ffmpeg(path) == ""
    with open_recording(path) as recording:
        assert len(recording) == len(frames)
        for found, frame in zip(recording, frames, strict=True):
            assert np.abs(found.pixels.astype(int) - frame.pixels).mean() < 10


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no picture"),
        (b"\0\0\1\x67\x42\0\x1e", "no picture"),
        (b"\xff" * 50, "no picture"),
        (b"\0\0\0\1\x65\x88\x84", "without its settings"),
    ],
)
def test_what_is_no_packet(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        packet_from_annex_b(data, 0)


# ------------------------------------------------------------------------------------------------------ going on later


def test_the_same_encoder_goes_on(tmp_path: Path) -> None:
    path = record(tmp_path / "day1.mkv", encoded_frames(15))
    record(path, encoded_frames(15, first=15))
    with open_recording(path) as recording:
        assert [frame.metadata["n"] for frame in recording] == list(range(30))
    assert errors_of_ffmpeg(path) == ""
    assert len(stored(path)) == 30


def test_a_video_that_began_without_packets_goes_on_so(tmp_path: Path) -> None:
    bare = [replace(one, packet=None) for one in encoded_frames(15)]
    path = record(tmp_path / "day1.mkv", bare)
    head = head_of(path)
    record(path, encoded_frames(15, first=15))
    assert head_of(path) == head
    with open_recording(path) as recording:
        assert [frame.metadata["n"] for frame in recording] == list(range(30))
    assert errors_of_ffmpeg(path) == ""


def test_a_video_of_packets_is_not_continued_by_another_encoder(tmp_path: Path) -> None:
    path = record(tmp_path / "day1.mkv", encoded_frames(15))
    before = path.read_bytes()
    bare = [replace(one, packet=None) for one in encoded_frames(1)]
    with pytest.raises(StorageError, match="was encoded with other settings; repeat them, or choose another name"):
        record(path, bare)
    assert path.read_bytes() == before


def test_what_takes_packets(tmp_path: Path) -> None:
    for name, options, wanted in (
        ("a.mkv", {"codec": "h264"}, ("h264", 18)),
        ("b.mkv", {"codec": "h264", "crf": 30}, ("h264", 30)),
        ("c.mkv", {}, None),
        ("d", {}, None),
    ):
        with Recorder(tmp_path / name, options=options) as recorder:
            assert recorder.takes_packets == wanted
    path = record(tmp_path / "day1.mkv", encoded_frames(3))
    with Recorder(path) as recorder:  # as the file is
        assert recorder.takes_packets == ("h264", 18)

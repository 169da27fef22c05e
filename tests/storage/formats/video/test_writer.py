"""Recordings as one Matroska file: what goes in comes out, for every FFmpeg tool; continuing, labels, other files."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pi_capture import Recorder, RecordingError
from storage import Frame, SampleTrack, StorageError, open_recording
from storage.formats.png.codec import MAX_PIXELS
from storage.formats.video.codecs import CODECS
from storage.formats.video.file import repair
from storage.formats.video.labels import write_labels
from storage.formats.video.writer import VideoReader, VideoWriter
from storage.matroska import elements
from storage.matroska.elements import HEAD_BYTES, SEGMENT_BODY
from storage.matroska.reader import read_contents, read_head
from storage.matroska.table import MAGIC
from storage.matroska.track import Block

LOSSLESS = [codec.name for codec in CODECS if codec.lossless]


def picture(n: int, size: tuple[int, int] = (48, 32)) -> np.ndarray:
    """A scene that changes a little from one picture to the next, with noise: what codecs are made for."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    scene = np.stack([x * 3 + n, y * 5 + n * 2, x + y + 7 * n], axis=-1)
    return (scene + np.random.default_rng(n).integers(0, 9, scene.shape)).astype(np.uint8)


def frame(n: int, size: tuple[int, int] = (48, 32)) -> Frame:
    return Frame(picture(n, size), n, 5 * 10**12 + n * 33_366_667, {"n": n})


def store(writer: VideoWriter, frames: Sequence[Frame], labels: Sequence[str | None] | None = None) -> None:
    for number, one in enumerate(frames):
        writer.append(writer.encode(one, labels[number] if labels else None))


def recorded(
    path: Path,
    frames: int = 40,
    codec: str | None = None,
    labels: Sequence[str | None] | None = None,
    size: tuple[int, int] = (48, 32),
) -> Path:
    with closing(VideoWriter(path, codec=codec)) as writer:
        store(writer, [frame(n, size) for n in range(frames)], labels)
    return path


def numbers(path: Path) -> list[int]:
    with open_recording(path) as recording:
        return [one.metadata["n"] for one in recording]


def ffprobe(path: Path, *entries: str) -> list[dict[str, str]]:
    command = ["ffprobe", "-v", "warning", "-of", "json", "-show_entries", ",".join(entries), path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found: dict[str, list[dict[str, str]]] = json.loads(done.stdout)
    return next(iter(value for value in found.values() if value), [])


# ---------------------------------------------------------------------------------------------- what goes in comes out


@given(st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("codec", LOSSLESS)
def test_every_frame_comes_back(tmp_path_factory: pytest.TempPathFactory, codec: str, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("video") / "day1.mkv"
    width, height = data.draw(st.tuples(st.integers(2, 40), st.integers(2, 40)))
    facts = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.none(), max_size=2)
    times = st.integers(-(10**18), 10**18)  # even a clock that jumps
    frames = [
        Frame(np.random.default_rng(n).integers(0, 256, (height, width, 3), np.uint8), n, time, metadata)
        for n, (time, metadata) in enumerate(data.draw(st.lists(st.tuples(times, facts), min_size=1, max_size=12)))
    ]
    labels = [data.draw(st.sampled_from([None, "0", "door"])) for _ in frames]
    with closing(VideoWriter(path, codec=codec)) as writer:
        store(writer, frames, labels)
    with open_recording(path) as recording:
        assert list(recording.timestamps_ns) == [one.timestamp_ns for one in frames]
        assert list(recording.labels) == labels
        for n in data.draw(st.permutations(range(len(frames)))):
            assert np.array_equal(recording[n].pixels, frames[n].pixels)
            assert recording[n].metadata == frames[n].metadata and recording[n].timestamp_ns == frames[n].timestamp_ns


@pytest.mark.parametrize("codec", [codec.name for codec in CODECS])
def test_ffmpeg_sees_the_same_without_a_warning(tmp_path: Path, codec: str) -> None:
    size = 160, 120  # FFmpeg warns of any JPEG much smaller
    path = recorded(tmp_path / "day1.mkv", 70, codec, [None] * 10 + ["door"] * 40 + [None] * 20, size)
    with av.open(str(path)) as container, open_recording(path) as recording:
        decoded = [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]
        assert len(decoded) == len(recording) == 70
        for found, mine in zip(decoded, recording, strict=True):
            assert np.array_equal(found, mine.pixels)
        difference = np.abs(decoded[5].astype(int) - picture(5, size)).mean()
        assert difference == 0 if codec in LOSSLESS else difference < 8
    packets = ffprobe(path, "packet=stream_index,pts_time,flags")
    times = [round(float(packet["pts_time"]) * 1e6) for packet in packets if packet["stream_index"] == 0]
    assert times == [n * 33_366_667 // 1000 for n in range(70)]
    to_text = ["ffmpeg", "-v", "warning", "-i", path, tmp_path / "all.srt"]
    assert subprocess.run(to_text, check=True, capture_output=True).stderr == b""
    assert (tmp_path / "all.srt").read_text().count("door") == 2  # a second, and the rest of one


@pytest.mark.parametrize("codec", ["ffv1", "h264-lossless"])
def test_copies_keep_times_and_facts(tmp_path: Path, codec: str) -> None:
    """What FFmpeg and mkvmerge make of a recording is another program's file, but has all that was in it."""
    path, copy = recorded(tmp_path / "day1.mkv", codec=codec), tmp_path / "copy.mkv"
    subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-c", "copy", copy], check=True)
    with open_recording(path) as ours, open_recording(copy) as theirs:
        assert type(ours) is not type(theirs)
        assert list(theirs.timestamps_ns) == list(ours.timestamps_ns)
        for mine, other in zip(ours, theirs, strict=True):
            assert np.array_equal(mine.pixels, other.pixels) and mine.metadata == other.metadata


@pytest.mark.parametrize("codec", [codec.name for codec in CODECS])
def test_any_frame_in_any_order_from_any_thread(tmp_path: Path, codec: str) -> None:
    path = recorded(tmp_path / "day1.mkv", 90, codec)
    with open_recording(path) as recording:
        in_order = [one.pixels for one in recording]
        failures = []

        def read(seed: int) -> None:
            for n in random.Random(seed).choices(range(90), k=40):
                if not np.array_equal(recording[n].pixels, in_order[n]):
                    failures.append(n)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert recording[-1].metadata == {"n": 89} and recording[-1].index == 89


def test_recorder_records_to_it(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    for session in range(2):
        with Recorder(path, fps=30, facts={"camera": "none"}) as recorder:
            for n in range(50):
                recorder.write(picture(n), metadata={"n": session * 50 + n})
        assert recorder.close().frames == 50
    assert numbers(path) == list(range(100))
    with VideoReader(path) as recording:
        assert not recording.interrupted
        sessions = recording.sessions
    assert [(session["first_index"], session["frames"], session["end"]) for session in sessions] == [
        (0, 50, "finished"),
        (50, 50, "finished"),
    ]
    assert sessions[0]["camera"] == "none" and sessions[0]["size"] == "48x32" and sessions[0]["dropped_queue"] == 0
    assert sorted(os.listdir(tmp_path)) == ["day1.mkv"]


# --------------------------------------------------------------------------------------------- beginning, continuing


@pytest.mark.parametrize("codec", [codec.name for codec in CODECS])
def test_the_same_command_continues(tmp_path: Path, codec: str) -> None:
    path = recorded(tmp_path / "day1.mkv", 20, codec, ["door"] * 20)
    for session in range(1, 3):
        with closing(VideoWriter(path)) as writer:  # it knows the codec
            assert writer.next_index == 20 * session
            store(writer, [frame(n) for n in range(20 * session, 20 * session + 20)])
    assert numbers(path) == list(range(60))
    with open_recording(path) as recording:
        assert list(recording.timestamps_ns) == [frame(n).timestamp_ns for n in range(60)]
        assert list(recording.labels) == ["door"] * 20 + [None] * 40
        if codec in LOSSLESS:
            assert all(np.array_equal(one.pixels, picture(one.index)) for one in recording)
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert len(times) == 60 and times == sorted(set(times))


def test_refused(tmp_path: Path) -> None:
    path = recorded(tmp_path / "day1.mkv")
    data = path.read_bytes()
    with pytest.raises(StorageError, match="is ffv1, not mjpeg"):
        VideoWriter(path, codec="mjpeg")
    with closing(VideoWriter(path)) as writer, pytest.raises(StorageError, match="48x32, these are 16x12"):
        writer.encode(frame(0, (16, 12)))
    with closing(VideoWriter(path)), pytest.raises(StorageError, match="being recorded into"):
        VideoWriter(path)
    new = tmp_path / "new.mkv"
    with closing(VideoWriter(new)), pytest.raises(StorageError, match="being recorded into"):
        VideoWriter(new)
    for content in (b"my diary", b"", data[:300] + b"x" * 700, b"\x1a\x45\xdf\xa3" + bytes(100)):
        other = tmp_path / "other.mkv"
        other.write_bytes(content)
        with pytest.raises(StorageError) if content else closing(VideoWriter(other)):
            VideoWriter(other) if content else None
        assert other.read_bytes() == content
    with pytest.raises(StorageError, match="does not exist; create it first"):
        VideoWriter(tmp_path / "none" / "day1.mkv")
    with pytest.raises(StorageError, match=r"lossless: it has no --crf"):
        VideoWriter(new, crf=20)
    with pytest.raises(StorageError, match="best"):
        VideoWriter(new, codec="h264", crf=99)
    with pytest.raises(StorageError, match="unknown codec"):
        VideoWriter(new, codec="av1")
    with pytest.raises(StorageError, match=r"record to .*clip\.mkv"):
        Recorder(tmp_path / "clip.mp4")
    assert path.read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["day1.mkv", "other.mkv"]


def test_another_size_ends_the_recording_with_one_line(tmp_path: Path) -> None:
    path = recorded(tmp_path / "day1.mkv")
    with pytest.raises(RecordingError, match="has frames of 48x32, these are 16x12"), Recorder(path) as recorder:
        recorder.write(picture(0, (16, 12)))
    assert numbers(path) == list(range(40))


def test_nothing_recorded_leaves_nothing(tmp_path: Path) -> None:
    with Recorder(tmp_path / "day1.mkv"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    with closing(VideoWriter(path)) as writer:
        store(writer, [frame(0)])
        path.write_text("mine")
    assert path.read_text() == "mine" and numbers(tmp_path / "day1-2.mkv") == [0]


def test_it_can_be_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    with closing(VideoWriter(path)) as writer:
        for n in range(30):
            store(writer, [frame(n)])
            writer.sync()
            if n % 7 == 0:
                assert numbers(path) == list(range(n + 1))
                with pytest.raises(StorageError, match="being recorded into"):
                    repair(path)
        with VideoReader(path) as recording:
            assert recording.interrupted
    assert numbers(path) == list(range(30))


def test_repair_completes_what_was_cut_off(tmp_path: Path) -> None:
    path = recorded(tmp_path / "day1.mkv", 40)
    with VideoReader(path) as recording:
        sessions = recording.sessions
    assert repair(path) is None
    data = path.read_bytes()
    writer = VideoWriter(path)
    store(writer, [frame(n) for n in range(40, 60)])
    writer.sync()
    path.with_name("killed.mkv").write_bytes(path.read_bytes()[:-100])
    writer.close()
    killed = tmp_path / "killed.mkv"
    assert "its 59 frames are complete and indexed now; the " in (repair(killed) or "")
    assert repair(killed) is None
    assert numbers(killed) == list(range(59))
    with VideoReader(killed) as recording:
        assert not recording.interrupted and recording.sessions[0] == sessions[0]
        assert recording.sessions[1]["frames"] == 19 and recording.sessions[1]["end"] == "interrupted"
    for content in (data[:100], b"text", b""):  # not ours, or not to be told from that
        killed.write_bytes(content)
        assert repair(killed) is None and killed.read_bytes() == content
    first = data.index(b"\x1f\x43\xb6\x75")
    for length, reason in ((first + 50, "holds no frame"), (HEAD_BYTES + 100, "is damaged")):
        killed.write_bytes(data[:length])
        with pytest.raises(StorageError, match=reason):
            repair(killed)
        assert killed.read_bytes() == data[:length]
    with pytest.raises(StorageError, match="no such recording"):
        repair(tmp_path / "none.mkv")


def test_a_lossy_codec_says_so(tmp_path: Path) -> None:
    for codec in CODECS:
        with closing(VideoWriter(tmp_path / "day1.mkv", codec=codec.name)) as writer:
            assert writer.lossless == (codec.name in ("ffv1", "h264-lossless"))


def test_quality_can_be_chosen(tmp_path: Path) -> None:
    sizes = []
    for crf in (10, 30):
        with closing(VideoWriter(tmp_path / f"{crf}.mkv", codec="h264", crf=crf)) as writer:
            store(writer, [frame(n, (160, 120)) for n in range(20)])
            sizes.append(writer.bytes_written)
    assert sizes[0] > 2 * sizes[1]


# ------------------------------------------------------------------------------------------------------------- labels


def test_labels_can_be_changed_later(tmp_path: Path) -> None:
    path = recorded(tmp_path / "day1.mkv", 60, labels=["0"] * 30 + [None] * 30)
    for labels in (
        [None] * 7 + ["door"] * 20 + ["<b>ü, "] * 30 + [None] * 3,
        ["light"] * 60,
        [None] * 60,
        [str(n) for n in range(60)],
    ):
        write_labels(path, labels)
        with open_recording(path) as recording:
            assert list(recording.labels) == labels
            assert all(np.array_equal(one.pixels, picture(one.index)) for one in recording)
        subtitles = [packet for packet in ffprobe(path, "packet=stream_index") if packet["stream_index"] == 1]
        assert len(subtitles) == sum(a != b and a is not None for a, b in zip(labels, [*labels[1:], None], strict=True))
    with closing(VideoWriter(path)) as writer:
        store(writer, [frame(60)], ["door"])
    with open_recording(path) as recording:
        assert list(recording.labels) == [*labels, "door"]
    with pytest.raises(ValueError, match="3 labels for 61 frames"):
        write_labels(path, ["0"] * 3)
    with closing(VideoWriter(path)), pytest.raises(StorageError, match="being recorded into"):
        write_labels(path, ["0"] * 61)


def test_interrupted_labelling_changes_nothing(tmp_path: Path) -> None:
    path = recorded(tmp_path / "day1.mkv", labels=["0"] * 40)
    data = path.read_bytes()
    write_labels(path, ["door"] * 40)
    after = path.read_bytes()
    path.write_bytes(data + after[len(data) : len(data) + 50])  # what was appended, but never told of
    with open_recording(path) as recording:
        assert list(recording.labels) == ["0"] * 40
    with closing(VideoWriter(path)) as writer:
        store(writer, [frame(40)])
    assert numbers(path) == list(range(41))


# --------------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize("name", ["day1.mkv", "clip.mp4", "clip.avi", "clip.webm"])
@pytest.mark.parametrize(
    "content",
    [
        b"my diary\n" * 100,
        b"",
        b"ffconcat version 1.0\nfile secret.mkv\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mkv\n#EXT-X-ENDLIST\n",
        b"v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(1000),
        bytes(5000),
    ],
)
def test_what_is_no_video_gets_one_line_and_opens_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    recorded(tmp_path / "secret.mkv")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StorageError) as failure:
        open_recording(path)
    assert str(path) in str(failure.value) and "\n" not in str(failure.value)
    assert capfd.readouterr() == ("", "")


def test_damage_anywhere_is_one_line_or_what_was_recorded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = recorded(tmp_path / "day1.mkv", 12, labels=["door"] * 12)
    data, rng = path.read_bytes(), random.Random(5)
    for _ in range(300):
        damaged = bytearray(data)
        at = rng.choice([rng.randrange(800), rng.randrange(len(data)), rng.randrange(len(data) - 900, len(data))])
        damaged[at : at + rng.choice([1, 1, 8])] = rng.randbytes(rng.choice([1, 1, 8]))
        path.write_bytes(damaged[: rng.choice([len(data), len(data), rng.randrange(len(data))])])
        try:
            with VideoReader(path) as recording:
                assert set(recording.labels) <= {None, "door"} or at < len(data)
                for n in range(len(recording)):
                    try:
                        one = recording[n]
                    except StorageError as error:
                        assert "\n" not in str(error)
                    else:
                        assert np.array_equal(one.pixels, picture(one.metadata["n"]))
        except StorageError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


def test_damage_to_a_time_is_damage_to_its_frame(tmp_path: Path) -> None:
    path = recorded(tmp_path / "day1.mkv", 12)
    data = bytearray(path.read_bytes())
    times = [match.start() for match in re.finditer(rb"\xe7\x88\x00", data)]  # of clusters, eight bytes each
    assert len(times) >= 12
    data[times[5] + 2] = 0x7F
    path.write_bytes(data)
    with VideoReader(path) as recording, pytest.raises(StorageError, match="frame 5 is damaged"):
        recording[5]
    data[data.rindex(MAGIC) + 20] ^= 1  # the table of all times: it goes without
    path.write_bytes(data)
    with VideoReader(path) as recording:
        assert len(recording) == 12
        for n in range(12):  # the others keep their numbers
            if n == 5:
                with pytest.raises(StorageError, match="frame 5 is damaged"):
                    recording[n]
            else:
                assert recording[n].metadata["n"] == n


def test_new_labels_write_over_nothing_in_a_damaged_file(tmp_path: Path) -> None:
    """Its head says where the players' index is, which becomes empty space then; there may be something else."""
    path = recorded(tmp_path / "day1.mkv", 12)
    data = bytearray(path.read_bytes())
    seek = re.search(rb"\x1c\x53\xbb\x6b\x53\xac\x88", data[:300])  # Cues, and its position in eight bytes
    cluster = [match.start() for match in re.finditer(rb"\x1f\x43\xb6\x75", data)][5]
    assert seek is not None
    for place in (cluster + 3, len(data) + 10**6, cluster):
        position = place - SEGMENT_BODY
        data[seek.end() : seek.end() + 8] = position.to_bytes(8, "big")
        path.write_bytes(data)
        try:
            write_labels(path, ["door"] * 12)
        except StorageError as error:
            assert "damaged" in str(error)
        with VideoReader(path) as recording:
            assert [frame.metadata["n"] for frame in recording] == list(range(12))


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = recorded(tmp_path / "day1.mkv", 3)
    data = path.read_bytes()
    width = data.index(b"\xb0\x81\x30\xba")
    path.write_bytes(data[:width] + b"\xb0\x84\x00\x0f\x42\x40" + data[width + 3 :])  # a million, and all else moves
    with pytest.raises(StorageError):
        open_recording(path)[0]
    assert MAX_PIXELS < 2**31


def test_a_file_made_to_keep_the_search_busy_is_done_soon(tmp_path: Path) -> None:
    """Whole tiny clusters, each behind what looks like two of 3 MB: all searches together have their bound."""
    path = tmp_path / "a.mkv"
    with Recorder(path, fps=10) as recorder:
        recorder.write(np.zeros((8, 8, 3), np.uint8))
    data = path.read_bytes()
    begun = data.index(b"\x1f\x43\xb6\x75")
    looks = b"\x1f\x43\xb6\x75" + (0x10000000 | 3 << 20).to_bytes(4, "big") + b"\xbf\x84\0\0\0\0"
    tiny = elements.cluster_bytes(Block(1, 0, b"x", b'{"timestamp_ns":1}'))
    with path.open("r+b") as file:
        file.seek(begun)
        file.write((b"\xff" + looks * 2 + tiny) * 20_000 + bytes(4 << 20))
        file.truncate()
        file.seek(0)
        file.write(data[: data.index(b"\x18\x53\x80\x67") + 4] + elements.UNKNOWN_SIZE)
    began = time.process_time()
    with path.open("rb") as file:
        head = read_head(file.fileno())
        assert head is not None
        read_contents(file.fileno(), head)
    assert time.process_time() - began < 2


def test_the_clock_of_a_session_that_is_none_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with Recorder(path, fps=10, tracks=[SampleTrack("gyro", 100)]) as recorder:
        for _ in range(5):
            recorder.write(np.zeros((8, 8, 3), np.uint8))
        recorder.write_samples("gyro", np.zeros(50), 0)
    data = path.read_bytes()
    at = data.rindex(b'"begins_us"') + 1
    path.write_bytes(data[:at] + b"B" + data[at + 1 :])
    for command in ("info", "verify", "labels"):
        done = subprocess.run(
            [sys.executable, "-m", "storage", command, path], capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 1, 3) and "Traceback" not in done.stderr, done.stderr

"""A file that was cut off says itself what of it was durable: damage there keeps its place, the rest may be torn."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from storage import Frame, SampleTrack, StorageError, open_recording
from storage.cli import main
from storage.formats.video.labels import write_labels
from storage.formats.video.writer import VideoReader, VideoWriter
from storage.matroska import checkpoint
from storage.matroska.checkpoint import MAGIC, Checkpoint, checkpoint_element, last_checkpoint
from storage.matroska.reader import read_head

FRAMES, SYNCED, LABELLED = 60, 48, range(30, 40)


def append(writer: VideoWriter, numbers: range) -> None:
    for n in numbers:
        pixels = np.random.default_rng(n).integers(0, 256, (12, 16, 3), np.uint8)
        label = "door" if n in LABELLED else None
        writer.append(writer.encode(Frame(pixels, n, 10**9 + n * 10**7, {"n": n}), label))


def killed(path: Path, codec: str = "ffv1") -> list[int]:
    """A recording without its end, synced each fourth frame up to `SYNCED`; where each frame ends."""
    ends = []
    writer = VideoWriter(path, codec=codec)
    for n in range(FRAMES):
        append(writer, range(n, n + 1))
        if n % 4 == 3 and n < SYNCED:
            writer.sync()
        ends.append(path.stat().st_size if path.exists() else 0)
    data = path.read_bytes()
    writer.close()
    path.write_bytes(data)
    return ends


def whole_frames(path: Path) -> list[int]:
    """The frames that can be read, each of which must have its own number and label."""
    whole = []
    with open_recording(path) as recording:
        for index in range(len(recording)):
            try:
                found = recording[index]
            except StorageError as error:
                assert f"frame {index} is damaged" in str(error) or f"frame {index - 1} is damaged" in str(error)
                continue
            assert found.metadata == {"n": index} and recording.timestamps_ns[index] == 10**9 + index * 10**7
            assert recording.labels[index] == ("door" if index in LABELLED else None)
            whole.append(index)
    return whole


@pytest.mark.parametrize("sector", [16, 512, 4096])
def test_a_bad_sector_in_what_was_durable_moves_no_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sector: int
) -> None:
    path = tmp_path / "day1.mkv"
    ends = killed(path)
    data = bytearray(path.read_bytes())
    data[ends[17] - 5 : ends[17] - 5 + sector] = bytes(sector)
    path.write_bytes(data)
    hit = [n for n in range(FRAMES) if ends[n - 1] < ends[17] - 5 + sector and ends[n] > ends[17] - 5]
    assert (len(hit) > 2) == (sector > 512)
    for options in ([], ["--repair"], []):
        assert main(["verify", *options, str(path)]) == 3
        assert f"{FRAMES} frames, {len(hit)} broken" in capsys.readouterr().out
        assert whole_frames(path) == [n for n in range(FRAMES) if n not in hit]
    writer = VideoWriter(path)
    append(writer, range(FRAMES, FRAMES + 2))
    writer.close()
    assert whole_frames(path) == [n for n in range(FRAMES + 2) if n not in hit]


def test_the_same_behind_the_checkpoint_may_be_torn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day1.mkv"
    ends = killed(path)
    data = bytearray(path.read_bytes())
    data[ends[SYNCED] + 40] ^= 4
    path.write_bytes(data)
    assert main(["verify", str(path)]) == 3
    told = capsys.readouterr().out
    assert f"{FRAMES - 1} frames" in told and f"bytes {ends[SYNCED]} to {ends[SYNCED + 1]} are torn" in told
    assert main(["verify", "--repair", str(path)]) == 0
    assert f"{FRAMES - 1} frames, none broken" in capsys.readouterr().out


@pytest.mark.parametrize("codec", ["ffv1", "h264-lossless"])
def test_damage_to_a_checkpoint_costs_no_frame(tmp_path: Path, codec: str) -> None:
    path, damaged = tmp_path / "day1.mkv", tmp_path / "damaged.mkv"
    killed(path, codec)
    data = path.read_bytes()
    first, last = data.index(MAGIC) - 2, data.rindex(MAGIC) - 2
    for begin in (first, last):
        for at in range(begin, begin + 46, 1 if begin == first else 5):
            for bit in (1, 0x80):
                damaged.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
                assert whole_frames(damaged) == list(range(FRAMES)), (at - begin, bit)


def test_a_checkpoint_that_claims_too_much(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    ends = killed(path)
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        head = read_head(file.fileno())
    assert head is not None
    last = data.rindex(MAGIC) - 2
    claims = checkpoint_element(Checkpoint(last, 1 << 40), head.uuid)
    data[last : last + len(claims)] = claims
    data[ends[9] + 3] ^= 0x40  # one block is none any more
    path.write_bytes(data)
    with open_recording(path) as recording:
        assert FRAMES <= len(recording) < FRAMES + 100


def test_other_programs_pass_over_them(tmp_path: Path) -> None:
    path = tmp_path / "day1.mkv"
    killed(path)
    assert path.read_bytes().count(MAGIC) == SYNCED // 4
    for finished in (False, True):
        if finished:
            write_labels(path, ["door"] * FRAMES)
        told = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]
        done = subprocess.run([*told, path], capture_output=True, text=True, check=True)
        assert done.stderr == "" and done.stdout.split()[0].strip(",") == str(FRAMES)
        info = subprocess.run(["mkvinfo", "-v", path], capture_output=True, text=True, check=True).stdout
        assert info.lower().count("+ cluster") >= FRAMES and "nknown element" not in info


def test_samples_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day1.mka"
    writer = VideoWriter(path, tracks=[SampleTrack("gyro", 100)], pictures=False)
    ends = []
    for n in range(10):
        writer.append_samples("gyro", n * 10**9, np.full((100, 1), n, np.float32))
        writer.flush_samples("gyro")
        writer.sync()
        ends.append(path.stat().st_size)
    data = bytearray(path.read_bytes())
    writer.close()
    whole = data.count(b"\x1f\x43\xb6\x75")
    data[data.index(b"\x1f\x43\xb6\x75", ends[4]) + 3] ^= 0x20  # no block any more
    path.write_bytes(data)
    for options in ([], ["--repair"], []):
        assert main(["verify", *options, str(path)]) == 3
        assert "samples of gyro are damaged" in capsys.readouterr().out
    with VideoReader(path) as recording:
        (gyro,) = recording.tracks
        assert len(gyro) == whole
        assert [float(block.samples[0, 0]) for block in gyro.blocks(whole // 10 * 6)][:: whole // 10] == [6, 7, 8, 9]


def test_the_last_one_is_found_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backwards, over the borders of what is read at once, and not farther than there is use in."""
    path = tmp_path / "day1.mkv"
    killed(path)
    data = path.read_bytes()
    with path.open("r+b") as file:
        head = read_head(file.fileno())
        assert head is not None
        right = last_checkpoint(file.fileno(), head.uuid, len(data))
        assert right.blocks == SYNCED and right.position == data.rindex(MAGIC) - 2
        for size in (47, 64, 1000):
            monkeypatch.setattr(checkpoint, "SEARCH_BYTES", size)
            assert last_checkpoint(file.fileno(), head.uuid, len(data)) == right
        assert last_checkpoint(file.fileno(), bytes(16), len(data)).position == 0  # that of another file
        monkeypatch.undo()
        file.truncate(20 << 30)
        began = time.process_time()
        assert last_checkpoint(file.fileno(), head.uuid, 20 << 30).position == 0
        assert time.process_time() - began < 2

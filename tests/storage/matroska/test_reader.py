"""The tags of a Matroska file: damaged ones are reported, and those of older files, without a checksum, are read."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from storage import open_recording
from storage.cli import main
from storage.formats.video.writer import VideoWriter
from storage.matroska.elements import SEGMENT_BODY, Id, encode_id, encode_size, void
from storage.matroska.parse import parse_element
from storage.matroska.reader import Head, read_head
from tests.storage.formats.video.test_writer import frame, store

CRC_BYTES = 6


def recorded(path: Path) -> tuple[bytes, Head, int]:
    """A finished recording of 9 frames: its bytes, its head, and where its tags are."""
    with closing(VideoWriter(path, codec="mjpeg")) as writer:
        writer.describe({"camera": "a box"})
        store(writer, [frame(n) for n in range(9)])
    with path.open("rb") as file:
        head = read_head(file.fileno())
    assert head is not None and head.tags_at is not None
    return path.read_bytes(), head, head.tags_at


def with_tags_at(data: bytes, now: int, then: int) -> bytes:
    """The file's bytes, with another place of the tags in its head."""
    before = encode_size(8, 1) + (now - SEGMENT_BODY).to_bytes(8, "big")
    assert data.count(before, 0, 512) == 1
    return data.replace(before, encode_size(8, 1) + (then - SEGMENT_BODY).to_bytes(8, "big"), 1)


def test_every_flipped_byte_of_the_tags_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day.mkv"
    data, _, at = recorded(path)
    _, start, end = parse_element(data[at : at + 12], 0)
    for place in range(at + start, at + end, 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert main(["verify", str(path)]) == 3, place
        assert f"the tags in byte {at}" in capsys.readouterr().out


def test_tags_that_are_not_where_the_head_says_are_found(tmp_path: Path) -> None:
    path = tmp_path / "day.mkv"
    data, head, at = recorded(path)
    with open_recording(path) as recording:
        wanted = recording.sessions, list(recording.timestamps_ns)
    for other in (len(data) + 5, head.end, (1 << 63) + at, at - 1, SEGMENT_BODY):
        assert other is not None
        path.write_bytes(with_tags_at(data, at, other))
        assert main(["verify", str(path)]) == 0
        with open_recording(path) as recording:
            assert (recording.sessions, list(recording.timestamps_ns)) == wanted


def test_tags_without_a_checksum_are_whole(tmp_path: Path) -> None:
    """Older versions wrote none. The place of the checksum becomes empty space before the tags."""
    path = tmp_path / "day.mkv"
    data, _, at = recorded(path)
    with open_recording(path) as recording:
        wanted = recording.sessions
    _, start, end = parse_element(data[at : at + 12], 0)
    older = void(CRC_BYTES) + encode_id(Id.TAGS) + encode_size(end - start - CRC_BYTES, 8)
    assert len(older) == start + CRC_BYTES
    data = data[:at] + older + data[at + len(older) :]
    path.write_bytes(with_tags_at(data, at, at + CRC_BYTES))
    assert main(["verify", str(path)]) == 0
    with open_recording(path) as recording:
        assert recording.sessions == wanted
    with closing(VideoWriter(path)) as writer:  # a session more, and the tags have their checksum
        store(writer, [frame(9)])
    assert main(["verify", str(path)]) == 0 and os.path.getsize(path) > len(data)
    with open_recording(path) as recording:
        assert [one["frames"] for one in recording.sessions] == [9, 1]

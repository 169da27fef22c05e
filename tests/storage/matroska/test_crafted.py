"""Crafted Matroska files: odd bytes between elements, millions of tiny ones, tracks that can't be."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from storage import StorageError, open_recording
from storage.cli import main
from storage.formats.video.writer import VideoWriter
from storage.matroska import reader
from storage.matroska.elements import HEAD_BYTES, SEGMENT_BODY, UNKNOWN_SIZE, Id, checksum, element, unsigned, void
from storage.matroska.parse import elements_in, parse_element
from tests.storage.formats.video.test_writer import frame, store

LACED = element(Id.CLUSTER, element(Id.TIMESTAMP, b"\0"), element(0xA3, b"\x81\0\0\x86\x03\x81\xbf\xbf" + b"x" * 9))


def unfinished(path: Path) -> tuple[bytes, list[tuple[int, int]]]:
    """A recording of 9 frames without a known end: its bytes, and where each cluster begins and ends."""
    with closing(VideoWriter(path, codec="mjpeg")) as writer:
        store(writer, [frame(n) for n in range(9)])
    data = bytearray(path.read_bytes())
    data[SEGMENT_BODY - 8 : SEGMENT_BODY] = UNKNOWN_SIZE
    clusters, at = [], HEAD_BYTES
    while at < len(data):
        kind, _, end = parse_element(data, at)
        if kind == Id.CLUSTER:
            clusters.append((at, end))
        at = end
    return bytes(data), clusters


@pytest.mark.parametrize(
    "gap",
    [b"\0", b"\xec", b"\xff", b"\x80", b"\xec\x80", b"\x1f\x43\xb6\x75", b"\x1f\x43\xb6\x75\x80", LACED,
     element(Id.CLUSTER)[:-1] + b"\xff", element(Id.TAGS), element(Id.CRC32), element(Id.TAGS, b"\1")],
    ids=bytes.hex,
)  # fmt: skip
def test_odd_bytes_before_each_frame_cost_no_frame(
    tmp_path: Path, gap: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "day.mkv"
    data, clusters = unfinished(path)
    pieces = [data[: clusters[0][0]], *(gap + data[begin:end] for begin, end in clusters)]
    path.write_bytes(b"".join(pieces))
    with open_recording(path) as recording:
        assert len(list(recording)) == 9
    assert main(["info", str(path)]) == 0 and main(["verify", str(path)]) in (0, 3)
    assert main(["verify", "--repair", str(path)]) in (0, 3)
    assert main(["verify", str(path)]) == 0, capsys.readouterr()
    with closing(VideoWriter(path)) as writer:
        store(writer, [frame(9)])
    with open_recording(path) as recording:
        assert [one.index for one in recording] == list(range(10))
    path.write_bytes(b"".join(pieces).replace(b"pi-capture", b"pi-kapture"))  # FFmpeg reads it
    capsys.readouterr()
    for command in ("info", "verify", "labels"):
        status = main([command, str(path)])
        err = capsys.readouterr().err.splitlines()
        assert status in (0, 3) or (status == 1 and err[-1].startswith(f"storage: {path}")), err


@pytest.mark.parametrize("tiny", [void(2), element(Id.TAGS), element(Id.CUES)], ids=bytes.hex)
def test_millions_of_tiny_elements_are_given_up(tmp_path: Path, tiny: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that a file takes to open is bounded by its length, whatever is in it."""
    path = tmp_path / "day.mkv"
    data, clusters = unfinished(path)
    path.write_bytes(data[: clusters[3][0]] + tiny * 1_000_000 + data[clusters[3][0] :])
    taken = []
    monkeypatch.setattr(reader, "parse_element", lambda *args: taken.append(0) or parse_element(*args))
    with open_recording(path) as recording:
        assert len(recording) == 3
    assert len(taken) < 100_000


def retracked(data: bytes, first: int, kind: int, content: bytes) -> bytes:
    """The file with another content of one field of its tracks."""
    _, start, end = parse_element(data, HEAD_BYTES)
    entries = [inner for _, inner in elements_in(data[start + len(checksum()) : end])]
    changed = [
        element(Id.TRACK_ENTRY, *(element(each, content if each == kind else old) for each, old in elements_in(entry)))
        for entry in entries
    ]
    return data[:HEAD_BYTES] + element(Id.TRACKS, checksum(*changed), *changed) + data[first:]


@pytest.mark.parametrize("number", [b"", b"\0", b"\x7f", b"\xff" * 8, b"\xff" * 9], ids=bytes.hex)
def test_a_track_of_a_number_that_no_block_can_have(
    tmp_path: Path, number: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "day.mkv"
    data, clusters = unfinished(path)
    path.write_bytes(crafted := retracked(data, clusters[0][0], Id.TRACK_NUMBER, number))
    for command in (["info", "--json"], ["verify"], ["verify", "--repair"], ["labels"]):
        assert main([*command, str(path)]) == 1 or command[0] == "info"  # it lists what FFmpeg finds
        assert len("".join(capsys.readouterr()).splitlines()) == 1
    assert path.read_bytes() == crafted


def test_sound_at_an_infinite_rate(tmp_path: Path) -> None:
    path = tmp_path / "day.mkv"
    data, clusters = unfinished(path)
    rate = element(Id.SAMPLING_FREQUENCY, b"\x7f\xf0" + bytes(6))
    sound = element(Id.AUDIO, rate, element(Id.CHANNELS, b"\1"))
    _, start, end = parse_element(data, HEAD_BYTES)
    entries = data[start + len(checksum()) : end]
    entries += element(Id.TRACK_ENTRY, element(Id.TRACK_NUMBER, b"\3"), element(Id.TRACK_TYPE, unsigned(2)), sound)
    path.write_bytes(data[:HEAD_BYTES] + element(Id.TRACKS, checksum(entries), entries) + data[clusters[0][0] :])
    with pytest.raises(StorageError, match="list of tracks"):
        open_recording(path)

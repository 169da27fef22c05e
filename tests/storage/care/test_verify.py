"""Verifying finds every frame that any reader would fail on, and what else in a directory readers stumble over."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pi_capture import Recorder
from storage import Frame, SampleTrack, open_recording
from storage.care.layout import find_problems
from storage.care.verify import find_broken
from storage.cli import main
from storage.durable.moves import move_files
from storage.formats.png.codec import decode_image, encode_png
from storage.formats.png.whole import fault
from storage.formats.video.writer import VideoWriter
from storage.labels.journal import Classes, LabelJournal, Labelled, read_journal
from storage.labels.live import LiveJournal
from storage.sessions import read_sessions
from storage.streams.merge import merge_streams
from tests.support import REPOSITORY
from tests.support.labelled import everything, picture, record

CLUSTER = b"\x1f\x43\xb6\x75"  # what each block begins with
WHOLE = encode_png(picture(1, (40, 30)), {"Index": "7", "Timestamp": "1"})


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(header: bytes, *idat: bytes) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(b"IDAT", d) for d in idat) + chunk(b"IEND", b"")
    )


RGB_4X2 = struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0)
ROWS = bytes(2 * 13)
DAMAGED = {
    "empty": (b"", "is empty"),
    "text": (b"hello, world", "not a picture"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "signature only": (WHOLE[:8], "ends before"),
    "half": (WHOLE[: len(WHOLE) // 2], "in the middle of chunk IDAT"),
    "without IEND": (WHOLE[:-12], "ends before its last chunk"),
    "without the last 8 bytes": (WHOLE[:-8], "ends before its last chunk"),
    "bit flip in the pixels": (WHOLE[:-500] + bytes([WHOLE[-500] ^ 1]) + WHOLE[-499:], "damaged in chunk IDAT"),
    "bit flip in a text": (WHOLE.replace(b"Timestamp", b"Timestamq"), "damaged in chunk tEXt"),
    "tail of zeros": (WHOLE[:-400] + bytes(400), "damaged in chunk IDAT"),
    "no pixels": (png(RGB_4X2), "no pixels"),
    "no header": (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "no header"),
    "too few rows": (png(RGB_4X2, zlib.compress(ROWS[:20])), "1 of its 2 rows"),
    "too many rows": (png(RGB_4X2, zlib.compress(ROWS * 2)), "2 of its 2 rows and more"),
    "unfinished pixels": (png(RGB_4X2, zlib.compress(ROWS)[:-4]), "pixels"),
    "wrong checksum of the pixels": (png(RGB_4X2, zlib.compress(ROWS)[:-1] + b"x"), "can't be decompressed"),
    "no deflate": (png(RGB_4X2, b"not deflate at all"), "can't be decompressed"),
    "unknown filter": (png(RGB_4X2, zlib.compress(b"\7" + ROWS[1:])), "unknown filter"),
    "a bomb": (png(struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0), zlib.compress(b"")), "60000x60000"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_found_and_named(name: str) -> None:
    data, reason = DAMAGED[name]
    assert reason in (fault(data) or "")


@given(st.data())
@settings(max_examples=200)
def test_any_damage_is_found(data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        damaged = WHOLE[: data.draw(st.integers(0, len(WHOLE) - 1))]
    else:
        at = data.draw(st.integers(0, len(WHOLE) - 1))
        damaged = WHOLE[:at] + bytes([WHOLE[at] ^ data.draw(st.integers(1, 255))]) + WHOLE[at + 1 :]
    assert fault(damaged)


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_any_bytes(data: bytes) -> None:
    fault(data)
    fault(WHOLE[:8] + data)
    fault(png(data[:13].ljust(13, b"\0"), data))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_whole_pictures_of_every_kind_pass(mode: str) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    deep = Image.fromarray(pixels.astype(np.uint16) * 999)
    image = deep if mode == deep.mode else Image.fromarray(pixels).convert(mode)
    for options in ({"format": "PNG"}, {"format": "PNG", "optimize": True}):
        file = io.BytesIO()
        image.save(file, **options)
        assert fault(file.getvalue()) is None
        decode_image(file.getvalue())
    if mode in ("RGB", "L"):
        file = io.BytesIO()
        image.save(file, "JPEG")
        assert fault(file.getvalue()) is None
        assert fault(file.getvalue()[:-100])


def test_other_programs_files_pass(tmp_path: Path) -> None:
    import cv2

    assert fault(cv2.imencode(".png", picture(2, (33, 17)))[1].tobytes()) is None
    ffmpeg = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48", "-frames:v", "1"]
    for name, options in {"rgb": [], "mixed": ["-pred", "mixed"], "grey": ["-pix_fmt", "gray"]}.items():
        subprocess.run([*ffmpeg, *options, tmp_path / f"{name}.png"], check=True)
        assert fault((tmp_path / f"{name}.png").read_bytes()) is None


# ------------------------------------------------------------------------------------------------- the command


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-12])


def test_a_whole_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1", ["0", "1"] * 50)
    before = everything(tmp_path)
    assert main(["verify", str(tmp_path / "day1")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'day1'}: 100 frames, none broken\n"
    assert everything(tmp_path) == before


def test_broken_frames_are_listed_and_the_status_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, [*["0", "1"] * 20, None, None])
    damage(day / "0/00000004.png")
    (day / "00000041.png").write_bytes(b"")
    assert main(["verify", str(day)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"{day}/0/00000004.png: ends before its last chunk",
        f"{day}/00000041.png: is empty",
    ]
    assert lines[-1] == f"{day}: 42 frames, 2 broken"
    assert main(["verify", str(day), "--json"]) == 3
    (told,) = json.loads(capsys.readouterr().out)["recordings"]
    assert told["frames"] == 42 and [frame["frame"] for frame in told["broken"]] == [4, 41]
    assert Image.open(day / "0/00000004.png").load() is not None, "Pillow alone would not have told"


def test_many_threads_find_the_same(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    record(day, ["0"] * 200)
    bad = [3, 64, 65, 199]
    for number in bad:
        damage(day / f"0/{number:08d}.png")
    done: list[tuple[int, int]] = []
    for threads in (1, 7):
        total, broken = find_broken(day, threads=threads, progress=lambda *so_far: done.append(so_far))
        assert total == 200 and [frame.index for frame in broken] == bad and done[-1] == (200, 200)


def test_quarantine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day, bad = tmp_path / "day1", tmp_path / "bad"
    record(day, ["0", "0", "1", None])
    for name in ("0/00000000.png", "1/00000002.png", "00000003.png"):
        damage(day / name)
    (bad / "0").mkdir(parents=True)
    (bad / "0/00000000.png").write_text("somebody's")
    before = everything(day)
    assert main(["verify", str(day), "--quarantine", str(bad)]) == 3
    assert f"moved to {bad}/0/00000000-2.png" in capsys.readouterr().out
    after = everything(bad)
    assert after["0/00000000.png"] == b"somebody's" and after["0/00000000-2.png"] == before["0/00000000.png"]
    assert after["1/00000002.png"] == before["1/00000002.png"] and after["00000003.png"] == before["00000003.png"]
    assert {path.name for path in day.iterdir()} == {"0", "recording.json"}, "a class without frames is gone"
    assert main(["verify", str(day)]) == 0


def test_quarantine_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is made for a frame without a class, too."""
    record(tmp_path / "day1", [None, "0"])
    damage(tmp_path / "day1/00000000.png")
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "day1", "--quarantine", "bad"]) == 3
    assert list(everything(tmp_path / "bad")) == ["00000000.png"]


@pytest.mark.parametrize("place", ["day1", "day1/bad", "day1/0", "day1/../day1/x", "a-file"])
def test_quarantine_is_no_class(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "day1", ["0", "1"])
    damage(tmp_path / "day1/0/00000000.png")
    (tmp_path / "a-file").touch()
    before = everything(tmp_path)
    assert main(["verify", str(tmp_path / "day1"), "--quarantine", str(tmp_path / place)]) == 1
    assert capsys.readouterr().err.startswith("storage: ")
    assert everything(tmp_path) == before


def test_an_unreadable_file_is_broken(tmp_path: Path) -> None:
    record(tmp_path / "day1", ["0", "1"])
    file = tmp_path / "day1/0/00000000.png"
    with file.open("r+b") as huge:
        huge.truncate(2_000_000_000)  # sparse
    _, (broken,) = find_broken(tmp_path / "day1")
    assert broken.reason == "is too large for a picture"


def test_copies_are_found_in_what_was_read_to_check_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "day1", ["0", "1", "0"])
    (tmp_path / "day1/0/00000009.png").write_bytes((tmp_path / "day1/0/00000002.png").read_bytes())
    monkeypatch.setattr("storage.formats.png.reader.read_head", None)  # no file is opened a second time
    assert [broken.path.name for broken in find_broken(tmp_path / "day1")[1]] == ["00000009.png"]


def test_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").touch()
    for name in ("missing", "notes.txt"):
        assert main(["verify", str(tmp_path / name)]) == 1
        assert capsys.readouterr().err.count("\n") == 1


# ------------------------------------------------------------------------------------------------- the layout


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(WHOLE)


VIOLATIONS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "an empty class": (lambda day: (day / "7").mkdir(), "7", "Keras"),
    "a class without images": (lambda day: (day / "7").mkdir() or (day / "7/notes.txt").touch(), "7", "torchvision"),
    "a hidden directory": (lambda day: touch(day / ".cache/x.png"), ".cache", "torchvision"),
    "a linked directory": (lambda day: (day / "7").symlink_to("0"), "7", "Keras"),
    "a hidden image in a class": (lambda day: touch(day / "0/._00000000.png"), "._00000000.png", "Keras"),
    "a hidden image": (lambda day: touch(day / ".x.png"), ".x.png", "Keras"),
    "a foreign file": (lambda day: (day / "0/00000000.json").touch(), "00000000.json", "FiftyOne"),
    "a directory in a class": (lambda day: touch(day / "0/more/x.png"), "more", "Hugging Face"),
    "a link in a class": (lambda day: (day / "0/y.png").symlink_to("00000000.png"), "y.png", "Keras"),
    "a link to nothing": (lambda day: (day / "0/y.png").symlink_to("gone"), "y.png", "Keras"),
    "a link beside the classes": (lambda day: (day / "y.png").symlink_to("0/00000000.png"), "y.png", "left out"),
    "a split's name in a frame's": (lambda day: touch(day / "0/day_test_001.png"), "day_test_001.png", "Hugging Face"),
    "a split's name for a class": (lambda day: touch(day / "train/1.png"), "train", "Ultralytics"),
    "a left-over of a recording": (lambda day: (day / ".00000009.part").touch(), ".00000009.part", "again"),
    "a left-over of a merge": (lambda day: (day / ".merge-3.part").touch(), ".merge-3.part", "again"),
    "ten classes": (lambda day: touch(day / "10/1.png") or touch(day / "2/2.png"), "day1", "class_names"),
    "a name in two classes": (lambda day: touch(day / "1/00000000.png"), "day1", "one directory"),
    "a WebP picture": (lambda day: touch(day / "holiday.WEBP"), "holiday.WEBP", "leave it out"),
    "a HEIC picture in a class": (lambda day: touch(day / "1/IMG_7.heic"), "IMG_7.heic", "leave it out"),
    "classes that differ in case": (
        lambda day: touch(day / "Stop/7.png") or touch(day / "stop/8.png"),
        "stop",
        "Windows",
    ),
    "classes that look the same": (
        lambda day: touch(day / "K\u00fcche/7.png") or touch(day / "Ku\u0308che/8.png"),
        "K\u00fcche",
        "two in Keras",
    ),
    "two sizes": (lambda day: (day / "1/7.png").write_bytes(encode_png(picture(1, (9, 7)), {})), "day1", "Resize"),
    "a photo that lies on its side": (lambda day: lying_photo(day / "0/p.jpg"), "p.jpg", "upright"),
    "an animation": (lambda day: film(day / "0/a.gif"), "a.gif", "first picture"),
    "an animation in PNG": (lambda day: film(day / "0/a.png"), "a.png", "first picture"),
    "frames without a class": (lambda day: touch(day / "00000009.png"), "day1", "Hugging Face"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_readers_stumble_over_is_told(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, ["0", "1"])
    assert find_problems(day) == []
    violate, path, breaks = VIOLATIONS[name]
    violate(day)
    assert any(problem.path.name == path and breaks in problem.breaks for problem in find_problems(day))
    assert main(["verify", str(day)]) == 0, "a warning is no broken frame"
    assert "warning: " in capsys.readouterr().out


def test_each_kind_of_picture_that_is_not_read_is_told(tmp_path: Path) -> None:
    record(tmp_path / "day1", [None])
    for number, suffix in enumerate([".tif"] * 7 + [".AVIF"] * 6 + [".jxl"]):
        (tmp_path / f"day1/photo{number}{suffix}").write_bytes(WHOLE)
    told = [problem.what for problem in find_problems(tmp_path / "day1")]
    for kind in (".tif", ".avif", ".jxl"):
        assert any(f"is a {kind} picture" in what for what in told), told


def test_harmless_names(tmp_path: Path) -> None:
    record(tmp_path / "val_day1", ["door", "stop"], size=(40, 30))
    touch(tmp_path / "val_day1/door/latest_contest.png")
    assert find_problems(tmp_path / "val_day1") == []


def lying_photo(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (8, 6)).save(path, exif=exif)


def film(path: Path) -> None:
    first, *others = (Image.new("RGB", (16, 16), color) for color in ("red", "green", "blue"))
    first.save(path, save_all=True, append_images=others)


def test_frames_that_were_copied_back_are_found_and_moved_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = tmp_path / "day1"
    record(day, [None] * 5)
    shutil.copytree(day, tmp_path / "laptop")
    for number, class_name in enumerate(["0", "0", "1", "1", "1"]):
        (tmp_path / "laptop" / class_name).mkdir(exist_ok=True)
        name = f"{number:08d}.png"
        (tmp_path / "laptop" / name).rename(tmp_path / "laptop" / class_name / name)
    sorted_frames = everything(tmp_path / "laptop")
    shutil.copytree(tmp_path / "laptop", day, dirs_exist_ok=True)
    assert len(open_recording(day)) == 10
    assert main(["verify", str(day), "--quarantine", str(tmp_path / "twice")]) == 3
    assert "day1/00000003.png: is the same frame as " in capsys.readouterr().out
    assert everything(day) == sorted_frames
    assert main(["verify", str(day)]) == 0
    shutil.copy(day / "1/00000004.png", day / "0/00000004.png")
    assert main(["verify", str(day), "--quarantine", str(tmp_path / "twice")]) == 3
    assert "in another class" in capsys.readouterr().out
    assert len(open_recording(day)) == 6, "which class is right, only a person knows"


def test_of_a_frame_that_is_there_twice_the_whole_one_stays(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    record(day, [None] * 3)
    (day / "0").mkdir()
    shutil.copy(day / "00000001.png", day / "0/00000001.png")
    damaged = bytearray((day / "0/00000001.png").read_bytes())
    damaged[-20] ^= 1  # in the picture: what it tells of itself is whole
    (day / "0/00000001.png").write_bytes(damaged)
    assert main(["verify", str(day), "--quarantine", str(tmp_path / "bad")]) == 3
    assert (day / "00000001.png").is_file() and not (day / "0/00000001.png").exists()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
def test_the_way_to_label_on_another_machine(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs/labelling.md").read_text()
    there, back = re.findall(r"^(rsync .*)$", text, re.MULTILINE)
    day = tmp_path / "pi/day1"
    day.parent.mkdir()
    record(day, [None] * 4)
    before = everything(day)
    (tmp_path / "laptop").mkdir()
    subprocess.run(there.replace("pi@raspberrypi:", "../pi/").split(), cwd=tmp_path / "laptop", check=True)
    move_files(
        tmp_path / "laptop/day1/moves.jsonl",
        [(f"{number:08d}.png", f"{number % 2}/{number:08d}.png") for number in range(4)],
    )
    subprocess.run(back.replace("pi@raspberrypi:", "../pi/").split(), cwd=tmp_path / "laptop", check=True)
    assert open_recording(day).labels == ["0", "1", "0", "1"]
    kept = everything(tmp_path / "pi/day1_before")
    assert {name: kept.get(name) for name in before if name.endswith(".png")} == {
        name: data for name, data in before.items() if name.endswith(".png")
    }


def test_many_of_a_kind_are_counted(tmp_path: Path) -> None:
    record(tmp_path / "day1", ["0", "1"])
    for number in range(50):
        (tmp_path / f"day1/0/{number}.json").touch()
    problems = find_problems(tmp_path / "day1")
    assert len(problems) == 2 and "49 more" in problems[1].what


def test_many_left_overs_are_counted(tmp_path: Path) -> None:
    record(tmp_path / "day", ["0", "1"])
    for number in range(40):
        (tmp_path / "day" / f".{number:08d}.part").touch()
    first, more = find_problems(tmp_path / "day")
    assert first.path.name == ".00000000.part"
    assert "39 more" in more.what


def test_temporaries_in_use_are_not_left_over(tmp_path: Path) -> None:
    from storage.durable.files import lock_directory

    day = tmp_path / "day1"
    record(day, ["0", "1"])
    (day / ".00000009.part").touch()
    lock = lock_directory(day, "")
    assert find_problems(day) == []
    os.close(lock)
    assert len(find_problems(day)) == 1


def test_interrupted_moves_are_told(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    record(day, ["0", "1", None])
    move_files(day / "moves.jsonl", [("00000002.png", "0/00000002.png")])
    assert find_problems(day) == []
    journal = day / "moves.jsonl"
    journal.write_bytes(journal.read_bytes().removesuffix(b'{"done":true}\n'))
    assert [problem.path for problem in find_problems(day)] == [journal]


@pytest.mark.parametrize("codec", ["ffv1", "mjpeg"])
@pytest.mark.parametrize("at", [1, 5, 24, -30])  # in the mark of a block, its length, its time, its picture
def test_what_is_damaged_in_a_video_that_was_cut_off_is_told_and_keeps_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at: int, codec: str
) -> None:
    path, rng = tmp_path / "day1.mkv", np.random.default_rng(3)
    writer = VideoWriter(path, codec=codec)
    ends = []
    for n in range(16):
        pixels = rng.integers(0, 256, (32, 40, 3), np.uint8)
        writer.append(writer.encode(Frame(pixels, n, 10**9 + n * 10**7, {"n": n})))
        writer.sync()
        ends.append(path.stat().st_size)
    data = bytearray(path.read_bytes()[:-7])  # killed while it wrote the last one
    writer.close()
    data[data.index(CLUSTER, ends[8]) + at if at > 0 else ends[9] + at] ^= 0x14  # frame 9
    path.write_bytes(data)

    assert main(["verify", str(path)]) == 3
    told = capsys.readouterr().out
    assert "had been interrupted: verify --repair" in told and "frame 9 is damaged" in told and "1 broken" in told
    assert path.read_bytes() == data
    for again in range(2):
        assert main(["verify", "--repair", str(path)]) == 3
        told = capsys.readouterr().out
        assert ("interrupted" in told) == (not again) and "frame 9 is damaged" in told and "15 frames, 1 broken" in told
    with open_recording(path) as recording:
        for n in (*range(9), *range(10, 15)):
            assert recording[n].metadata == {"n": n} and recording.timestamps_ns[n] == 10**9 + n * 10**7


def test_what_a_power_cut_has_torn_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day1.mkv"
    writer = VideoWriter(path)
    ends = []
    for n in range(12):
        pixels = np.random.default_rng(n).integers(0, 256, (40, 48, 3), np.uint8)
        writer.append(writer.encode(Frame(pixels, n, n * 10**7, {"n": n})))
        if n < 5:
            writer.sync()
        ends.append(path.stat().st_size)
    data = bytearray(path.read_bytes())
    writer.close()
    data[ends[6] : ends[7]] = bytes(ends[7] - ends[6])  # never synced
    path.write_bytes(data)
    assert main(["verify", str(path)]) == 3
    assert f"bytes {ends[6]} to {ends[7]} are torn" in capsys.readouterr().out
    assert path.read_bytes() == data


def test_a_damaged_label_in_a_video_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day1.mkv"
    with closing(VideoWriter(path)) as writer:
        for n in range(8):
            writer.append(writer.encode(Frame(picture(n), n, n * 10**7), "left" if n in (2, 3) else None))
    data = path.read_bytes()
    at = data.index(b"\xa1\x10\x00\x00\x08\x82\x00\x00\x00left") + 9  # a block of track 2
    path.write_bytes(data[:at] + b"d" + data[at + 1 :])
    assert main(["verify", str(path)]) == 3
    told = capsys.readouterr().out
    assert "the label in byte" in told and "8 frames, 1 broken" in told


@pytest.mark.parametrize("how", ["cut off", "zeros"])
def test_damage_at_the_end_of_a_finished_video_is_told(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The labels are the last blocks, and what is known of the sessions comes after them."""
    path = tmp_path / "day1.mkv"
    record(tmp_path / "day1", ["0"] * 3 + ["1"] * 3)
    assert main(["convert", str(tmp_path / "day1"), str(path)]) == 0
    whole = path.read_bytes()

    def seen() -> tuple[list[str | None], list[dict[str, Any]]]:
        with open_recording(path) as recording:
            return list(recording.labels), recording.sessions

    wanted = seen()
    for at in range(whole.index(b"\xa1\x10\x00\x00\x05\x82"), len(whole), 60):  # from the first label on
        path.write_bytes(whole[:at] + (bytes(600) + whole[at + 600 :] if how == "zeros" else b""))
        told = main(["verify", str(path)]) == 3
        assert told or (how == "zeros" and seen() == wanted), at
    assert "damaged or cut off" in capsys.readouterr().out


@pytest.mark.parametrize("colour", [2, 6, 3], ids=["RGB", "RGBA", "palette"])
def test_small_files_of_huge_pictures_take_little_memory(tmp_path: Path, colour: int) -> None:
    width, height, channels = 8000, 6000, {2: 3, 6: 4, 3: 1}[colour]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    header += chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    pixels = chunk(b"IDAT", zlib.compress(bytes((1 + width * channels) * height), 9))
    day = tmp_path / "day1"
    day.mkdir()
    for number in range(4):
        (day / f"{number:08d}.png").write_bytes(WHOLE[:8] + header + pixels + chunk(b"IEND", b""))
    program = (
        "import resource, sys; from pathlib import Path; import storage.care.verify as verify\n"
        "verify.FRAMES_A_TASK = 1\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert verify.find_broken(Path(sys.argv[1]), threads=4) == (4, [])\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, day], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100, "MB more than with nothing decoded"


# ------------------------------------------------------------------------------------------- beside the frames


def test_no_flipped_byte_beside_the_frames_is_believed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day, other = tmp_path / "day1", tmp_path / "day2"
    record(day, [None] * 6)
    record(other, [None] * 6)
    for place in (day, other):
        with LabelJournal(place / "labels.jsonl") as journal:
            journal.append(Classes(("none", "door"), ("none", "door")))
            journal.append(*(Labelled((f"{n:08d}.png",), n % 2, f"{n + 1:08d}.png") for n in range(5)))
    rng, told = random.Random(8), Counter[str]()
    for name in ["labels.jsonl", "recording.json"] * 60:
        data = bytearray((other / name).read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (day / name).write_bytes(data)
        capsys.readouterr()
        if main(["verify", str(day)]) == 0:
            assert read_sessions(day) == read_sessions(other)
            assert read_journal(day / "labels.jsonl") == read_journal(other / "labels.jsonl")
        else:
            assert f"day1/{name}: is " in capsys.readouterr().out
            told[name] += 1
        (day / name).write_bytes((other / name).read_bytes())
    assert min(told.values()) > 50


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("labels.jsonl", 0),
        ("labels.jsonl", -1),
        ("moves.jsonl", 0),
        ("moves.jsonl", -2),
        ("split.jsonl", 1),
        ("live.jsonl", 0),
    ],
)
def test_holes_in_journals_are_told(tmp_path: Path, name: str, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Without them labels are lost, or sorting can't be undone."""
    day = tmp_path / "day1"
    record(day, [None] * 6)
    if name == "labels.jsonl":
        with LabelJournal(day / name) as journal:
            journal.append(Classes(("a", "b"), ("a", "b")), Labelled(("00000003.png",), 1, "00000004.png"))
    elif name == "live.jsonl":
        with closing(LiveJournal(day, Classes(("a", "b"), ("a", "b")), 0)) as live:
            live.start(10**8, 1)
    else:
        move_files(day / name, [(f"0000000{n}.png", f"b/0000000{n}.png") for n in (2, 3)])
    assert main(["verify", str(day)]) == 0
    lines = (day / name).read_bytes().splitlines(keepends=True)
    lines[number] = lines[number][:-9] + bytes(9)  # with its end
    (day / name).write_bytes(b"".join(lines))
    capsys.readouterr()
    assert main(["verify", str(day)]) == 3
    assert f"day1/{name}: " in capsys.readouterr().out


def test_what_is_damaged_beside_the_frames_stays_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = tmp_path / "day1"
    record(day, [None] * 3)
    text = (day / "recording.json").read_bytes()
    (day / "recording.json").write_bytes(text.replace(b'"first_index": 0', b'"first_index": 9'))
    (day / "00000001.png").write_bytes(b"torn")
    assert main(["verify", str(day), "--quarantine", str(tmp_path / "bad")]) == 3
    assert [path.name for path in (tmp_path / "bad").iterdir()] == ["00000001.png"]
    assert "take the line" in capsys.readouterr().out
    content = json.loads((day / "recording.json").read_bytes())
    del content["crc32"]  # the way out that is told
    (day / "recording.json").write_text(json.dumps(content))
    assert main(["verify", str(day)]) == 0


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_track_of_pictures_is_told_and_the_other_is_checked(
    tmp_path: Path, empty: int, capsys: pytest.CaptureFixture[str]
) -> None:
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mjpeg", rate=10, width=32, height=24, pix_fmt="yuvj420p") for _ in range(2)]
        for _ in range(7):
            container.mux(streams[1 - empty].encode(av.VideoFrame.from_ndarray(picture(3, (32, 24)))))
        container.mux(streams[1 - empty].encode(None))
    assert main(["verify", str(path)]) == 3
    told = capsys.readouterr()
    assert "7 frames" in told.out and "holds no picture" in told.out + told.err, told


def test_a_directory_of_recordings_stands_for_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = tmp_path / "fleet"
    for name in ("pi2/day1", "pi10/day1"):
        (fleet / name).parent.mkdir(parents=True)
        record(fleet / name, ["0", None], facts={"host": name.split("/")[0]})
    assert main(["manifest", str(fleet)]) == 0
    (fleet / "pi10/day2.mkv").write_bytes(b"no video at all")
    foreign = tmp_path / "foreign/door"  # pictures of others in the only class: a data directory, as when it is opened
    foreign.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(foreign / "a.jpg")
    capsys.readouterr()
    assert main(["verify", str(fleet), str(foreign.parent)]) == 3
    out, error = capsys.readouterr()
    whole = [line for line in out.splitlines() if not line.startswith("warning:")]
    assert whole == [
        f"{fleet}/pi10/day1: 2 frames, none broken",
        f"{fleet}/pi2/day1: 2 frames, none broken",
        f"{foreign.parent}: 1 frames, none broken",
    ]
    assert "day2.mkv is not a video" in error and len(error.splitlines()) == 1
    (fleet / "pi10/day2.mkv").unlink()
    assert main(["info", str(fleet), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["recordings"]
    assert [Path(one["path"]).parent.name for one in told] == ["pi10", "pi2"]
    assert main(["info", str(fleet), "--table"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["host", "pi2", "pi10", "all"]


def test_samples_are_counted_and_damage_to_them_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone, beside pictures, and in a merged file with two tracks of pictures."""
    import av

    tracks = [SampleTrack("sound", 8000, codec="flac"), SampleTrack("imu", 50)]
    for name, pictures in (("talk.mka", False), ("a.mkv", True), ("b.mkv", True)):
        with Recorder(tmp_path / name, fps=30, tracks=tracks, pictures=pictures) as recorder:
            for n in range(20):
                recorder.write_samples("sound", np.sin(np.arange(800 * n, 800 * n + 800) / 7), n / 10)
                recorder.write_samples("imu", np.arange(5.0), n / 10)
                if pictures:
                    recorder.write(picture(n), timestamp=n / 10)
    merged = tmp_path / "both.mkv"
    merge_streams(merged, [tmp_path / "a.mkv", tmp_path / "b.mkv"], offsets={"b": 0.0})
    for path, told in (
        (tmp_path / "talk.mka", "16100 samples of 2 tracks"),
        (tmp_path / "a.mkv", "20 frames, 16100 samples of 2 tracks"),
        (merged, "40 frames, 32200 samples of 4 tracks without checksums"),
    ):
        assert main(["verify", str(path)]) == 0
        assert capsys.readouterr().out == f"{path}: {told}, none broken\n"
        with av.open(str(path)) as container:
            sound = next(stream for stream in container.streams if stream.type == "audio")
            packet = list(container.demux(sound))[2]
            data = path.read_bytes().replace(bytes(packet)[:40], bytes(40), 1)
        path.write_bytes(data)
        assert main(["verify", str(path)]) == 3
        *lines, last = capsys.readouterr().out.splitlines()
        assert len(lines) == 1 and lines[0].startswith(f"{path}: ") and "sound" in lines[0] and "damaged" in lines[0]
        assert last.startswith(f"{path}: {told.partition(', ')[0]}" if "frames" in told else f"{path}: ")
        assert last.endswith(", 1 broken")

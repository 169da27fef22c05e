"""`Recorder`, the way in for programs that make their own frames, and what it leaves on the disk."""

from __future__ import annotations

import errno
import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pi_capture import Recorder, RecordingError
from pi_capture.recording.clocks import Anchors
from pi_capture.recording.encoders import EncoderPool
from storage import Frame, StorageError, open_recording
from storage.durable.files import rename_new
from storage.formats.png.codec import encode_png, read_texts
from storage.labels import PERSON, UNSEEN
from storage.labels.origins import keep_origins, origins
from storage.recording import number_name
from storage.sessions import write_sessions


def picture(n: int, size: tuple[int, int] = (16, 12)) -> np.ndarray:
    """A picture that tells its number in every pixel."""
    width, height = size
    return np.full((height, width, 3), (n % 256, n // 256 % 256, 7), np.uint8)


def numbers(path: Path) -> list[int]:
    return [int(f.pixels[0, 0, 0]) + 256 * int(f.pixels[0, 0, 1]) for f in open_recording(path)]


def visible(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Recorder(tmp_path / "day1", fps=30) as recorder:
        for n in range(300):
            recorder.write(picture(n), metadata={"n": n})
    recording = open_recording(tmp_path / "day1")
    assert len(recording) == 300
    assert numbers(tmp_path / "day1") == list(range(300))
    assert [frame.metadata["n"] for frame in recording[10:20]] == list(range(10, 20))
    assert recording[-1].index == 299
    assert list(recording.timestamps_ns[:4]) == [0, 33333333, 66666667, 100000000]
    assert visible(tmp_path / "day1") == [*(f"{n:08d}.png" for n in range(300)), "recording.json"]


def test_frames_know_their_index_time_and_session(tmp_path: Path) -> None:
    with Recorder(tmp_path / "day1") as recorder:
        recorder.write(picture(0), timestamp=1.5)
    texts = read_texts((tmp_path / "day1/00000000.png").read_bytes())
    (session,) = json.loads((tmp_path / "day1/recording.json").read_text())["sessions"]
    assert texts == {"Index": "0", "Timestamp": "1500000000", "Session": session["id"]}
    assert session["frames"] == 1 and session["size"] == "16x12" and session["end"] == "finished"
    assert isinstance(session["wall_minus_monotonic_ns"], int)


def test_encoded_pictures(tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    Image.fromarray(picture(5)).save(jpeg, "JPEG", quality=95)
    with Recorder(tmp_path / "day1") as recorder:
        recorder.write(encode_png(picture(3), {}))
        recorder.write(jpeg.getvalue())
    recording = open_recording(tmp_path / "day1")
    assert np.array_equal(recording[0].pixels, picture(3))
    assert abs(recording[1].pixels.astype(int) - picture(5)).max() < 4


def test_the_array_may_be_drawn_in_again(tmp_path: Path) -> None:
    image = picture(0)
    with Recorder(tmp_path / "day1") as recorder:
        for n in range(200):
            image[:] = picture(n)
            recorder.write(image)
    assert numbers(tmp_path / "day1") == list(range(200))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        b"no picture",
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused_and_costs_nothing(tmp_path: Path, wrong: object) -> None:
    with Recorder(tmp_path / "day1") as recorder:
        with pytest.raises(ValueError):
            recorder.write(wrong)  # type: ignore[arg-type]
        recorder.write(picture(0))
        with pytest.raises(ValueError, match="32x12"):
            recorder.write(picture(1, (32, 12)))
        recorder.write(picture(1))
    assert numbers(tmp_path / "day1") == [0, 1]


@pytest.mark.parametrize("name", ["day1", "day1.mkv", "day1.h5"])
def test_what_no_format_can_keep_is_refused_and_costs_nothing(tmp_path: Path, name: str) -> None:
    note = {"n": 1, "deep": [1]}
    with Recorder(tmp_path / name, fps=30) as recorder:
        recorder.write(picture(1), metadata=note)
        note["n"], note["deep"] = 2, [2]
        for timestamp in (float("nan"), float("inf"), -1e300, 1e10):
            with pytest.raises(ValueError, match="timestamp is a number of seconds"):
                recorder.write(picture(2), timestamp=timestamp)
        with pytest.raises(ValueError, match=r"JSON-serialisable.*float32"):
            recorder.write(picture(2), metadata={"speed": np.float32(1)})
        recorder.write(picture(3), metadata=note)
        note.clear()
    assert numbers(tmp_path / name) == [1, 3]
    with open_recording(tmp_path / name) as recording:
        assert [frame.metadata for frame in recording] == [{"n": 1, "deep": [1]}, {"n": 2, "deep": [2]}]
    for wrong in ({"fps": 0}, {"fps": -1}, {"fps": float("nan")}, {"facts": {"gain": np.float32(1)}}):
        with pytest.raises(ValueError, match=r"fps is|JSON-serialisable"):
            Recorder(tmp_path / "day2", **wrong)
    assert not (tmp_path / "day2").exists()


def test_numbering_continues_over_all_classes_and_sessions(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    for first, target in ((0, day), (3, day / "0"), (6, day / "door"), (9, day)):
        with Recorder(target) as recorder:
            for n in range(first, first + 3):
                recorder.write(picture(n))
    assert numbers(day) == list(range(12))
    names = [f"{n:08d}.png" for n in range(12)]
    classes = [""] * 3 + ["0/"] * 3 + ["door/"] * 3 + [""] * 3
    expected = [class_name + name for class_name, name in zip(classes, names, strict=True)]
    assert visible(day) == sorted([*expected, "recording.json"])
    assert open_recording(day).labels == [None] * 3 + ["0"] * 3 + ["door"] * 3 + [None] * 3
    sessions = json.loads((day / "recording.json").read_text())["sessions"]
    assert [(s["first_index"], s["frames"]) for s in sessions] == [(0, 3), (3, 3), (6, 3), (9, 3)]


def test_numbers_of_frames_that_went_away_are_not_used_again(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    with Recorder(day) as recorder:
        for n in range(5):
            recorder.write(picture(n))
    for file in day.glob("*.png"):
        file.unlink()
    with Recorder(day) as recorder:
        recorder.write(picture(5))
    assert visible(day) == ["00000005.png", "recording.json"]


def test_names_past_eight_digits_stay_in_order(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    day.mkdir()
    (day / "99999998.png").write_bytes(encode_png(picture(0), {}))
    with Recorder(day) as recorder:
        for n in range(1, 4):
            recorder.write(picture(n))
    assert (day / "100000001.png").is_file()
    assert numbers(day) == [0, 1, 2, 3]


def test_a_second_recorder_is_refused_the_first_goes_on(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    with Recorder(day) as recorder:
        recorder.write(picture(0))
        for target in (day, day / "0"):
            with pytest.raises(StorageError, match="being recorded into"):
                Recorder(target)
        recorder.write(picture(1))
    assert numbers(day) == [0, 1]
    with Recorder(day) as recorder:
        recorder.write(picture(2))
    assert numbers(day) == [0, 1, 2]


def test_nothing_recorded_leaves_nothing(tmp_path: Path) -> None:
    with Recorder(tmp_path / "day1"):
        pass
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "day1"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_program_costs_no_frame(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "day1") as recorder:
        for n in range(50):
            recorder.write(picture(n))
        raise ZeroDivisionError
    assert numbers(tmp_path / "day1") == list(range(50))


def test_closed_is_closed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "day1")
    recorder.write(picture(0))
    assert recorder.close() == recorder.close()
    with pytest.raises(ValueError, match="closed"):
        recorder.write(picture(1))


def test_a_frame_that_waits_for_room_when_all_ends_is_counted_and_holds_nobody_up() -> None:
    ready, put = threading.Event(), list[bool]()
    pool = EncoderPool(lambda frame: ready.wait() and frame.index, capacity=2, threads=1)
    frames = [Frame(picture(n), n, n) for n in range(3)]
    assert pool.put(frames[0], wait=True) and pool.put(frames[1], wait=True)
    waiting = threading.Thread(target=lambda: put.append(pool.put(frames[2], wait=True)), daemon=True)
    waiting.start()
    pool.close()
    waiting.join(120)
    ready.set()
    taken = [index for batch in iter(pool.next_batch, None) for index in batch]
    assert (put, taken) == ([False], [0, 1])


def test_that_the_clock_was_set_is_told_by_the_next_frame_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame that came next found the queue full, and was dropped."""
    seen, go_on = threading.Event(), threading.Event()
    offsets = iter([4711])

    def look(anchors: Anchors) -> int | None:
        if (offset := next(offsets, None)) is None:
            seen.set()  # the look before has been noted
        return offset

    recorder = Recorder(tmp_path / "day1", sync_interval=0.01)
    recorder.label_by(lambda timestamp_ns: None if go_on.wait(120) else "late")
    count = 0
    while recorder.put(Frame(picture(count), 0, count), wait=False):
        count += 1
    monkeypatch.setattr("pi_capture.recording.clocks.Anchors.look", look)
    assert seen.wait(120)
    assert not recorder.put(Frame(picture(count), 0, count), wait=False)
    go_on.set()
    recorder.put(Frame(picture(count + 1), 0, count + 1), wait=True)
    recorder.close()
    kept = open_recording(tmp_path / "day1")[-1].metadata
    assert kept == {"dropped_queue": 2, "wall_minus_monotonic_ns": 4711}


def test_what_a_crash_left_is_taken_up_if_whole_and_removed_if_not(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    with Recorder(day) as recorder:
        recorder.write(picture(0))
    whole = encode_png(picture(1), {"Timestamp": "1"})
    (day / ".00000001.part").write_bytes(whole)
    (day / ".0-00000002.part").write_bytes(encode_png(picture(2), {"Timestamp": "2"}))
    (day / ".00000003.part").write_bytes(whole[:-5])
    (day / ".00000004.part").write_bytes(b"")
    (day / ".somebody-elses.part").write_bytes(b"stays")
    with Recorder(day) as recorder:
        recorder.write(picture(3))
    assert numbers(day) == [0, 1, 2, 3]
    assert visible(day) == [
        ".somebody-elses.part", "0/00000002.png", "00000000.png", "00000001.png", "00000003.png", "recording.json",
    ]  # fmt: skip


def test_taking_up_what_a_crash_left_may_be_interrupted_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = tmp_path / "day1"
    day.mkdir()
    for n in range(3):
        (day / f".{n:08d}.part").write_bytes(encode_png(picture(n), {"Timestamp": str(n)}))

    def interrupted(source: str, target: str) -> None:
        rename_new(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("storage.durable.files.rename_new", interrupted)
        Recorder(day)
    with Recorder(day) as recorder:
        recorder.write(picture(3))
    assert numbers(day) == [0, 1, 2, 3]
    assert visible(day) == [*(f"{n:08d}.png" for n in range(4)), "recording.json"]


def test_what_was_stored_gets_its_names_though_there_was_no_room_for_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = iter([OSError(errno.ENOSPC, "No space left on device")])

    def once(data_dir: Path, sessions: list[dict[str, object]]) -> None:
        if error := next(full, None):
            raise error
        write_sessions(data_dir, sessions)

    monkeypatch.setattr("storage.formats.png.writer.write_sessions", once)
    recorder = Recorder(tmp_path / "day1", sync_interval=0.01)
    with pytest.raises(RecordingError, match="the disk is full") as told:
        for n in range(10_000):
            recorder.write(picture(n))
        recorder.close()
    summary = told.value.summary
    with pytest.raises(RecordingError, match="the disk is full") as told:
        recorder.close()
    assert told.value.summary.frames >= summary.frames > 0
    assert numbers(tmp_path / "day1") == list(range(told.value.summary.frames))
    assert told.value.summary.captured == told.value.summary.frames + told.value.summary.dropped_disk


def test_frames_written_by_others_meanwhile_stay(tmp_path: Path) -> None:
    day = tmp_path / "day1"
    with Recorder(day, sync_interval=60) as recorder:
        recorder.write(picture(0))
        (day / "00000000.png").write_bytes(b"mine")
    assert (day / "00000000.png").read_bytes() == b"mine"
    assert numbers_of(day / "00000000-2.png") == 0


def numbers_of(file: Path) -> int:
    return int(np.asarray(Image.open(file))[0, 0, 0])


def test_a_damaged_recording_json_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "day1").mkdir()
    (tmp_path / "day1/recording.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        Recorder(tmp_path / "day1")
    assert (tmp_path / "day1/recording.json").read_text() == "{"


def test_frames_show_within_the_sync_interval(tmp_path: Path) -> None:
    shown = threading.Event()
    with Recorder(tmp_path / "day1", sync_interval=0.05) as recorder:
        recorder.write(picture(0))
        for _ in range(1200):
            if (tmp_path / "day1/00000000.png").exists():
                shown.set()
                break
            threading.Event().wait(0.025)
        assert recorder.status().frames == 1
    assert shown.is_set()


def test_labels_of_new_frames_are_not_those_that_a_killed_merge_announced(tmp_path: Path) -> None:
    """It says which labels a model gave before their frames come; they never came."""
    path = tmp_path / "day1.mkv"
    with Recorder(path) as recorder:
        recorder.write(picture(0))
    keep_origins(path, {number_name(n): UNSEEN for n in (1, 2, 3)})
    with Recorder(path) as recorder:
        recorder.label_by(lambda timestamp_ns: "door")
        for n in (1, 2):
            recorder.write(picture(n))
    with open_recording(path) as recording:
        assert list(recording.labels) == [None, "door", "door"]
        assert origins(recording) == [None, PERSON, PERSON]

"""--segment cuts a recording without losing a frame; --keep removes what is old and nobody's work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pi_capture import Recorder, RecordingError
from pi_capture.errors import UsageError
from pi_capture.segments.recorder import Limit, SegmentedRecorder
from pi_capture.segments.retention import Keep, Retention
from pi_capture.segments.series import Series
from storage import Frame, StorageError, open_recording
from storage.care.manifest import make_manifest
from storage.formats.png.writer import PngWriter
from storage.labels.beside import journal_path
from storage.sessions import read_sessions
from tests.support import REPOSITORY, wait_for

TARGETS = ("day1", "day1.h5", "day1.mkv")


def frame(n: int) -> Frame:
    return Frame(np.full((12, 16, 3), n % 256, np.uint8), n, n * 10**7, {"n": n})


def record(target: Path, frames: range, limit: str, *keep: str) -> list[str]:
    """Record frames, ten milliseconds apart; returns what there was to tell."""
    told: list[str] = []
    recorder = SegmentedRecorder(target, Limit.parse(limit), Keep.parse(keep) if keep else None, say=told.append)
    for n in frames:
        recorder.put(frame(n), wait=True)
    summary = recorder.close()
    assert summary.frames == summary.captured == len(frames)
    return told


def segments(target: Path) -> list[Path]:
    return [segment.path for segment in Series.of(target).segments()]


def numbers(path: Path) -> list[int]:
    with open_recording(path) as recording:
        return [found.metadata["n"] for found in recording]


def has_frames(path: Path) -> bool:
    """Whether a segment was more than begun when its recorder was killed."""
    try:
        return bool(numbers(path))
    except StorageError:
        return False


def all_numbers(paths: list[Path]) -> list[int]:
    return [number for path in paths for number in numbers(path)]


def names_without_time(paths: list[Path]) -> list[str]:
    return [path.name[: len("day1-")] + path.name[len("day1-20261121T101500-") :] for path in paths]


# ------------------------------------------------------------------------------------------------------------ rotation


@pytest.mark.parametrize("target", TARGETS)
def test_each_segment_is_a_recording_and_none_misses_a_frame(tmp_path: Path, target: str) -> None:
    record(tmp_path / target, range(95), "20frames")
    found = segments(tmp_path / target)
    suffix = Path(target).suffix
    assert names_without_time(found) == [f"day1-{n:04d}{suffix}" for n in range(1, 6)]
    assert [numbers(path) for path in found] == [list(range(n, min(n + 20, 95))) for n in range(0, 95, 20)]
    record(tmp_path / target, range(10), "20frames")
    assert names_without_time(segments(tmp_path / target))[5:] == [f"day1-0006{suffix}"]
    assert sorted(tmp_path.iterdir()) == segments(tmp_path / target), "something else was left"


def test_by_time_and_by_size(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(100), "0.25s")
    assert [len(numbers(path)) for path in segments(tmp_path / "day1")] == [25, 25, 25, 25]
    recorder = SegmentedRecorder(tmp_path / "day2", Limit.parse("0.1MB"))
    noise = np.random.default_rng(0)
    for n in range(60):
        pixels = noise.integers(0, 256, (48, 64, 3), np.uint8)  # 9.3 kB each
        recorder.put(Frame(pixels, n, n * 10**7, {"n": n}), wait=True)
        wait_for(lambda: recorder.status().frames > n)  # noqa: B023 (at once): what is written counts, not what waits
    recorder.close()
    found = segments(tmp_path / "day2")
    assert all_numbers(found) == list(range(60)) and 3 <= len(found) <= 6


@pytest.mark.parametrize("target", TARGETS)
def test_from_a_live_camera(tmp_path: Path, target: str) -> None:
    command = [sys.executable, "-m", "pi_capture", str(tmp_path / target), "-1", "--camera", "demo", "--fps", "60"]
    recorder = subprocess.Popen(
        [*command, "--segment", "0.5s", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    # While the next segment isn't open, as on a busy machine, the full one goes on.
    wait_for(lambda: len(segments(tmp_path / target)) >= 4, "four segments", recorder)
    recorder.send_signal(signal.SIGINT)
    shown, told = recorder.communicate(timeout=120)
    summary = json.loads(shown)
    assert recorder.returncode == 0
    frames = [list(open_recording(path)) for path in segments(tmp_path / target)]
    assert summary["segments"] == len(frames) >= 4 and summary["path"] == str(tmp_path / target)
    assert summary["newest"] == str(segments(tmp_path / target)[-1])
    assert f"{summary['newest']} and {len(frames) - 1} before it: {summary['frames']} frames in" in told
    assert sum(map(len, frames)) == summary["frames"] == summary["captured"] - summary["dropped_queue"]
    times = [round(found.timestamp_ns * 60 / 1e9) for part in frames for found in part]
    lost = [
        found.metadata.get("dropped_camera", 0) + found.metadata.get("dropped_queue", 0)
        for part in frames
        for found in part
    ]
    assert [b - a - 1 for a, b in pairwise(times)] == lost[1:]
    assert sum(lost) <= summary["dropped_queue"] + summary["dropped_camera"], "some may be lost after the last one"


def test_what_was_lost_before_a_switch_is_told_after_it(tmp_path: Path) -> None:
    recorder = SegmentedRecorder(tmp_path / "day1", Limit.parse("10frames"))
    for n in range(9):
        recorder.put(frame(n), wait=True)
    recorder._current._uncounted["dropped_queue"] = 3  # as if the queue had been full
    recorder._frames = 10
    recorder.put(frame(13), wait=True)
    recorder.close()
    _, second = segments(tmp_path / "day1")
    assert open_recording(second)[0].metadata["dropped_queue"] == 3


def test_a_queue_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a disk takes nothing: in the status, as in that of a recording in one piece."""
    disk = threading.Event()
    append = PngWriter.append
    monkeypatch.setattr(PngWriter, "append", lambda *encoded: disk.wait(120) and append(*encoded))
    recorder = SegmentedRecorder(tmp_path / "day1", Limit.parse("1h"))
    for n in range(2000):
        if not recorder.put(frame(n), wait=False):
            break
    status = recorder.status()
    disk.set()
    assert status.dropped_queue == 1 and status.queue_fill == 1
    assert recorder.close().frames == status.captured - 1


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_crash_left_is_taken_up(tmp_path: Path, target: str) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.pi_capture.segments.test_recorder import *\n"
        f"recorder = SegmentedRecorder(Path({str(tmp_path / target)!r}), Limit.parse('30frames'))\n"
        "for n in range(10**6):\n    recorder.put(frame(n), wait=True)\n"
        "    print(recorder.status().durable, flush=True)\n"
        "    time.sleep(0.01)"
    )
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert writer.stdout is not None
    promised = 0
    while promised < 70:
        promised = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    before = [path for path in segments(tmp_path / target) if has_frames(path)]
    record(tmp_path / target, range(10**6, 10**6 + 5), "30frames")
    after = segments(tmp_path / target)
    assert set(before) <= set(after) and names_without_time(after) == sorted(names_without_time(after))
    found = all_numbers(after)
    assert found[-5:] == list(range(10**6, 10**6 + 5)) and found[:-5] == list(range(len(found) - 5))
    assert len(found) - 5 >= promised
    assert sorted(tmp_path.iterdir()) == after, "something hidden was left"
    assert make_manifest(tmp_path, {}).unfinished == {}


def test_one_recorder_a_series(tmp_path: Path) -> None:
    first = SegmentedRecorder(tmp_path / "day1", Limit.parse("1h"))
    with pytest.raises(StorageError, match="being recorded into"):
        SegmentedRecorder(tmp_path / "day1", Limit.parse("1h"))
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_in_a_closed_segment_ends_the_recording(tmp_path: Path) -> None:
    recorder = SegmentedRecorder(tmp_path / "day1", Limit.parse("10frames"), sync_interval=60)
    for n in range(10):
        recorder.put(frame(n), wait=True)
    wait_for(lambda: recorder.status().frames >= 10, "ten frames")
    shutil.rmtree(segments(tmp_path / "day1")[0])
    with pytest.raises(RecordingError, match="day1"):
        for n in range(10, 1000):
            recorder.put(frame(n), wait=True)
    with pytest.raises(RecordingError) as caught:
        recorder.close()
    summary = caught.value.summary
    assert summary.captured == summary.frames + summary.dropped_disk and summary.dropped_disk >= 10
    assert len(all_numbers(segments(tmp_path / "day1"))) == summary.frames


@pytest.mark.parametrize("wrong", ["0s", "0GB", "0frames", "1", "h", "-1h", "1 parsec", "0.5frames", ""])
def test_nonsense(wrong: str) -> None:
    with pytest.raises(UsageError, match="1h, 10min, 2GB, 1000frames"):
        Limit.parse(wrong)
    with pytest.raises(UsageError, match="20GB, 7d, min-free=2GB"):
        Keep.parse([wrong])


def test_wrong_usage_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "day1").mkdir()
    for target, options in (("day1", ("--keep", "1GB")), ("day1/0", ("--segment", "1h")), ("d", ("--segment", "x"))):
        command = [sys.executable, "-m", "pi_capture", str(tmp_path / target), "1", "--camera", "demo", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "day1"]


# ----------------------------------------------------------------------------------------------------------- retention


def label(path: Path, how: str) -> None:
    """Make a segment somebody's work."""
    if how == "journal":
        journal_path(path).write_text('{"labels":1,"journal":"5f3a09c2"}\n')
    elif how == "class":
        (path / "door").mkdir()
        next(path.glob("*.png")).rename(path / "door" / "00000000.png")
    elif how == "note":
        (path / "notes.txt").write_text("the good one") if path.is_dir() else Path(f"{path}.txt").write_text("mine")
    elif how == "inside":
        from storage.formats.table import label_writer

        write_labels = label_writer(path)
        assert write_labels is not None
        write_labels(["door", *[None] * (len(numbers(path)) - 1)], [])


@pytest.mark.parametrize(
    ("target", "how"),
    [
        *(("day1", how) for how in ("journal", "class", "note")),
        *((target, how) for target in ("day1.h5", "day1.mkv") for how in ("journal", "note", "inside")),
    ],
)
def test_only_the_oldest_unlabelled_go(tmp_path: Path, target: str, how: str) -> None:
    record(tmp_path / target, range(60), "10frames")
    (tmp_path / "day1-20261121T101500-0001.txt").write_text("not of the series")
    before = segments(tmp_path / target)
    label(before[1], how)
    size = sum(file.stat().st_size for path in before[3:] for file in ([path] if path.is_file() else path.iterdir()))
    told = record(tmp_path / target, range(5), "10frames", f"{(size + 1000) / 1000:.0f}KB")
    assert before[1].exists() and len(numbers(before[1])) in (9, 10)
    assert not before[0].exists() and not before[2].exists()
    gone = [path for path in before if not path.exists()]
    assert [line.split(" (")[0] for line in told if line.startswith("removed")] == [f"removed {path}" for path in gone]
    assert any(line.startswith(f"{before[1]} stays") for line in told)
    assert (tmp_path / "day1-20261121T101500-0001.txt").exists()
    assert not list(tmp_path.glob(".*"))


def test_nothing_goes_unasked(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(60), "10frames")
    assert len(segments(tmp_path / "day1")) == 6


def test_what_somebody_has_locked_stays(tmp_path: Path) -> None:
    from storage.durable.files import lock_directory

    record(tmp_path / "day1", range(30), "10frames")
    first, second, third = segments(tmp_path / "day1")
    fd = lock_directory(first, "")
    Retention(Series.of(tmp_path / "day1"), Keep.parse(["1KB"])).tidy({third})
    assert first.exists() and not second.exists() and third.exists()
    os.close(fd)


def test_old_segments_go_while_frames_get_their_names(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(20), "10frames")
    target = tmp_path / "day1-20261121T101500-0003"
    retention = Retention(Series.of(tmp_path / "day1"), Keep.parse(["1KB"]))
    with Recorder(target, sync_interval=0.01) as recorder:
        ended, n = threading.Event(), 0

        def tidy() -> None:
            told.extend(line for _ in range(10) for line in retention.tidy({target}))
            ended.set()

        told: list[str] = []
        threading.Thread(target=tidy, daemon=True).start()
        while not ended.is_set():
            recorder.put(frame(n), wait=True)
            n += 1
    assert segments(tmp_path / "day1") == [target]
    assert [line.split(" ")[0] for line in told] == ["removed", "removed"]


def test_each_line_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "day1-20261121T101500-0001.mkv").write_bytes(b"no video" * 100)
    begun, go_on, told = threading.Event(), threading.Event(), list[str]()
    monkeypatch.setattr(Retention, "tidy", lambda *_: begun.set() or (go_on.wait(120) and ["a line"]))
    recorder = SegmentedRecorder(tmp_path / "day1.mkv", Limit.parse("1h"), Keep.parse(["1GB"]), say=told.append)
    assert begun.wait(120)
    assert ["was left as it is" in line for line in told] == [True]
    go_on.set()
    recorder.close()
    assert set(told[1:]) == {"a line"}


def test_facts_that_become_known_while_a_segment_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = threading.Event()
    ready.set()

    class Slow(Recorder):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            assert ready.wait(120)

    monkeypatch.setattr("pi_capture.segments.recorder.Recorder", Slow)
    recorder = SegmentedRecorder(tmp_path / "day1", Limit.parse("2frames"))
    recorder.put(frame(0), wait=True)
    recorder.put(frame(1), wait=True)
    ready.clear()
    recorder.put(frame(2), wait=False)  # the next segment is not open yet
    recorder.describe({"camera": "another"})
    ready.set()
    for thread in threading.enumerate():
        if thread.name == "open segment":
            thread.join(120)
    recorder.put(frame(3), wait=False)
    recorder.close()
    sessions = [read_sessions(path)[0] for path in segments(tmp_path / "day1")]
    assert [(session["segment"], session["camera"], session["frames"]) for session in sessions] == [
        (1, "another", 3),
        (2, "another", 1),
    ]


def test_room_on_the_disk(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(30), "10frames")
    series = Series.of(tmp_path / "day1")
    Retention(series, Keep.parse(["min-free=1KB"])).tidy(set())
    assert len(series.segments()) == 3
    Retention(series, Keep.parse(["min-free=1000000TB"])).tidy({series.segments()[-1].path})
    assert len(series.segments()) == 1


def test_age_needs_a_clock_that_can_be_trusted(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(40), "10frames")
    series = Series.of(tmp_path / "day1")
    paths = segments(tmp_path / "day1")
    for days_ago, trusted, path in ((400, False, paths[0]), (9, True, paths[1]), (400, False, paths[2])):
        facts = json.loads((path / "recording.json").read_text())
        facts["sessions"][-1]["anchors"] = [{"synchronised": trusted}]
        del facts["crc32"]
        (path / "recording.json").write_text(json.dumps(facts))
        for file in (path, path / "recording.json"):
            os.utime(file, (time.time() - days_ago * 86400,) * 2)
    keep = Keep.parse(["7d"])
    assert Retention(series, keep, lambda: False).tidy({paths[3]}) != []
    assert segments(tmp_path / "day1") == paths
    Retention(series, keep, lambda: True).tidy({paths[3]})
    # The first is older than the second, which is nine days old; the third may be of today: its clock was wrong.
    assert segments(tmp_path / "day1") == paths[2:]


def arrived(tmp_path: Path, *names: str) -> Path:
    """Copy recordings to another machine, which makes a manifest of what arrived; returns that."""
    from storage.cli import main

    there = tmp_path / "there"
    there.mkdir(exist_ok=True)
    for name in names:
        source = tmp_path / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, there / name)
    assert main(["manifest", str(there)]) == 0
    return there / "manifest.json"


@pytest.mark.parametrize("target", TARGETS)
def test_only_what_the_receipt_names_goes(tmp_path: Path, target: str) -> None:
    record(tmp_path / target, range(50), "10frames")
    before = segments(tmp_path / target)
    names = [path.name for path in before]
    told = record(tmp_path / target, range(5), "10frames", "uploaded")
    assert len(segments(tmp_path / target)) == 6
    assert told == [f"there is no {tmp_path / 'receipt.json'} yet: --keep uploaded removes nothing until it is there"]
    receipt = arrived(tmp_path, *names[1:4])
    wrong = json.loads(receipt.read_text())  # of the third another content arrived
    del wrong["crc32"]
    wrong["recordings"][1]["sha256"] = wrong["recordings"][0]["sha256"]
    (tmp_path / "receipt.json").write_text(json.dumps(wrong))
    label(before[3], "journal")
    told = record(tmp_path / target, range(5), "10frames", "uploaded")
    assert [path for path in before if not path.exists()] == [before[1]]
    assert [line.split(" (")[0].split(",")[0] for line in told] == [
        f"removed {before[1]}",
        f"{before[2]} stays",
        f"{before[3]} stays",
    ]
    assert told[0].endswith("--keep uploaded") and told[1].endswith("its SHA-256 is not the one in receipt.json")
    assert told[2].endswith("it is labelled")


def test_what_changed_after_it_was_uploaded_stays(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(30), "10frames")
    first, second, _ = segments(tmp_path / "day1")
    arrived(tmp_path, first.name, second.name).rename(tmp_path / "receipt.json")
    content = bytearray((first / "00000003.png").read_bytes())
    content[-20] ^= 1
    (first / "00000003.png").write_bytes(content)
    record(tmp_path / "day1", range(5), "10frames", "uploaded")
    assert first.exists() and not second.exists()


def test_a_limit_removes_the_oldest_that_are_uploaded(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(50), "10frames")
    before = segments(tmp_path / "day1")
    arrived(tmp_path, *(path.name for path in before[2:])).rename(tmp_path / "receipt.json")
    size = sum(file.stat().st_size for path in before[2:] for file in path.iterdir())
    keep = (f"{size / 1000 + 1:.0f}KB", "uploaded")
    told = Retention(Series.of(tmp_path / "day1"), Keep.parse(keep)).tidy(set())
    assert segments(tmp_path / "day1") == [*before[:2], before[4]], "two had to go, and the first two aren't uploaded"
    text = f"--keep {' '.join(keep)}"
    assert told[0] == f"segments that receipt.json does not name stay, whatever {text} says" and len(told) == 3
    Retention(Series.of(tmp_path / "day1"), Keep.parse(["1GB", "uploaded"])).tidy(set())
    assert segments(tmp_path / "day1") == [*before[:2], before[4]]


def test_a_damaged_receipt_removes_nothing(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(30), "10frames")
    before = segments(tmp_path / "day1")
    of_first = arrived(tmp_path, before[0].name).read_bytes()
    text = arrived(tmp_path, *(path.name for path in before[1:])).read_bytes()
    (tmp_path / "receipt.json").write_bytes(text[: len(text) // 2])
    retention = Retention(Series.of(tmp_path / "day1"), Keep.parse(["uploaded"]))
    (line,) = retention.tidy(set())
    assert "is no whole manifest" in line and retention.tidy(set()) == []
    assert segments(tmp_path / "day1") == before
    (tmp_path / "receipt.json").write_bytes(of_first)
    assert len(retention.tidy(set())) == 1 and segments(tmp_path / "day1") == before[1:]
    (tmp_path / "receipt.json").write_bytes(text)  # more has arrived
    assert len(retention.tidy({before[2]})) == 1 and segments(tmp_path / "day1") == [before[2]]


def test_a_receipt_that_is_a_pipe_holds_nothing_up(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(20), "10frames")
    before = segments(tmp_path / "day1")
    os.mkfifo(tmp_path / "receipt.json")
    told = record(tmp_path / "day1", range(5), "10frames", "uploaded")
    assert told == [
        f"{tmp_path / 'receipt.json'} is no file; copy the receipt anew; --keep uploaded removes nothing until then"
    ]
    assert segments(tmp_path / "day1")[:2] == before


def test_the_end_does_not_wait_for_what_is_compared(tmp_path: Path) -> None:
    record(tmp_path / "day1.mkv", range(20), "10frames")
    first, _ = segments(tmp_path / "day1.mkv")
    with first.open("ab") as file:  # two megabytes that no reader minds: EBML's Void
        file.write(b"\xec\x01" + (2 << 20).to_bytes(7, "big") + bytes(2 << 20))
    arrived(tmp_path, first.name).rename(tmp_path / "receipt.json")
    end = threading.Event()
    end.set()
    assert Retention(Series.of(tmp_path / "day1.mkv"), Keep.parse(["uploaded"]), end=end).tidy(set()) == []
    assert first.exists()
    Retention(Series.of(tmp_path / "day1.mkv"), Keep.parse(["uploaded"])).tidy(set())
    assert not first.exists()


@pytest.mark.parametrize("target", TARGETS)
def test_a_removal_that_was_interrupted_is_completed(tmp_path: Path, target: str) -> None:
    record(tmp_path / target, range(30), "10frames")
    strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=unlink,unlinkat,rmdir", "-e"]
    program = (
        "from pathlib import Path\nfrom pi_capture.segments.retention import *\n"
        f"series = Series.of(Path({str(tmp_path / target)!r}))\n"
        "Retention(series, Keep.parse(['1KB'])).tidy({series.segments()[-1].path})"
    )
    for when in range(1, 30):
        inject = f"inject=unlink,unlinkat,rmdir:signal=SIGKILL:when={when}"
        done = subprocess.run([*strace, inject, sys.executable, "-c", program], cwd=REPOSITORY, check=False)
        assert all(len(numbers(path)) == 10 for path in segments(tmp_path / target)), "half a segment shows"
        if done.returncode == 0:
            break
    assert when > 1, "nothing was interrupted"
    assert len(segments(tmp_path / target)) == 1
    assert not list(tmp_path.glob(".*"))


def test_the_segments_of_a_day_are_merged_like_any_recordings(tmp_path: Path) -> None:
    from storage.care.merge import merge

    record(tmp_path / "day1", range(30), "10frames")
    merged = merge(tmp_path / "all", segments(tmp_path / "day1"), unlabelled=True)
    assert merged.linked + merged.copied == 30
    assert numbers(tmp_path / "all") == list(range(30))


def test_a_recorder_takes_up_a_segment_like_any_recording(tmp_path: Path) -> None:
    record(tmp_path / "day1", range(10), "1h")
    (only,) = segments(tmp_path / "day1")
    with Recorder(only) as recorder:
        recorder.put(frame(10), wait=True)
    assert numbers(only) == list(range(11))

"""A disk that is read-only all of a sudden, one that is gone, and one that is slow."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from storage import open_recording
from storage.formats.video.reader import VideoReader
from tests.faults.checks import (
    acknowledged,
    assert_all_counted,
    assert_conserved,
    quickly,
    seeds_after_restart,
    seeds_under_final_names,
)
from tests.faults.table import note
from tests.faults.test_power_cut import mounted, needs_root
from tests.support import PATIENCE_SECONDS, REPOSITORY

EXT4_IOC_SHUTDOWN = 0x8004587D  # linux/ext4.h: the file system stops at once, as if its disk had gone
NO_LOG_FLUSH = 2


def image(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)
    return path


def start(day: Path) -> tuple[subprocess.Popen[str], str]:
    """A writer, and what it has said so far."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writer", str(day), "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert writer.stdout is not None
    return writer, "".join(writer.stdout.readline() for _ in range(4))


def ended(writer: subprocess.Popen[str], said: str, reason: str) -> int:
    """It ended with one line; returns how many frames it had been told to be durable."""
    out, err = writer.communicate(timeout=PATIENCE_SECONDS)
    assert writer.returncode == 1 and err == "", (out[-500:], err)
    (failed,) = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert f"{reason}; what was recorded before is safe" in failed, failed
    assert_conserved(out)
    return acknowledged(said + out)


@needs_root
@pytest.mark.parametrize("target", quickly("day1.mkv"))
def test_a_disk_that_is_gone(tmp_path: Path, target: str) -> None:
    disk = image(tmp_path / "disk")
    with mounted(disk, tmp_path / "live") as live:
        writer, said = start(live / target)
        fd = os.open(live, os.O_RDONLY)
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(fd)
        promised = ended(writer, said, "Input/output error")
    # A copy: where other tests have name spaces of their own, the disk that is gone may still be mounted there.
    subprocess.run(["cp", "--sparse=always", disk, tmp_path / "copy"], check=True)
    with mounted(tmp_path / "copy", tmp_path / "again") as again:
        shutil.copytree(again, tmp_path / "survivors", ignore=shutil.ignore_patterns("lost+found"))
    day = tmp_path / "survivors" / target
    assert promised > 0 and set(range(promised)) <= seeds_under_final_names(day)
    assert set(range(promised)) <= seeds_after_restart(day)
    note("disk gone", target, promised)


@needs_root
def test_a_disk_that_becomes_read_only(tmp_path: Path) -> None:
    """Only for PNG: while a file is open for writing, as in the other formats, the kernel refuses to remount."""
    disk = image(tmp_path / "disk")
    with mounted(disk, tmp_path / "live") as live:
        writer, said = start(live / "day1")
        for _ in range(1000):
            if subprocess.run(["mount", "-o", "remount,ro", live], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.001)
        promised = ended(writer, said, "Read-only file system")
        assert promised > 0 and set(range(promised)) <= seeds_under_final_names(live / "day1")
        subprocess.run(["mount", "-o", "remount,rw", live], check=True)
        assert set(range(promised)) <= seeds_after_restart(live / "day1")
    note("read-only remount", "day1", promised)


@pytest.mark.parametrize("target", quickly("day1.h5"))
def test_calls_that_say_read_only(tmp_path: Path, target: str) -> None:
    calls = "openat" if target == "day1" else "pwrite64"
    strace = ["strace", "-f", "-o", "/dev/null", "-P", str(tmp_path / target)]
    if target == "day1":
        strace = [*strace[:-2]]
        inject = ["-e", "trace=renameat2,fsync", "-e", "inject=renameat2,fsync:error=EROFS:when=30+"]
    else:
        inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error=EROFS:when=30+"]
    writer = [sys.executable, "-m", "tests.faults.writer", str(tmp_path / target), "0", "200"]
    done = subprocess.run(
        [*strace, *inject, *writer], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 1 and done.stderr == "", done
    (failed,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert "Read-only file system; what was recorded before is safe" in failed
    assert_conserved(done.stdout)
    promised = acknowledged(done.stdout)
    assert set(range(promised)) <= seeds_under_final_names(tmp_path / target)
    assert set(range(promised)) <= seeds_after_restart(tmp_path / target)
    note("calls fail with EROFS", target, promised)


@pytest.mark.parametrize("target", quickly("day1.mkv"))
def test_a_slow_card_costs_frames_that_are_counted(tmp_path: Path, target: str) -> None:
    """Every write and sync takes 60 ms: a camera at 100 a second loses frames, and the recorder knows how many."""
    day = tmp_path / target
    calls = "write,pwrite64,fsync,fdatasync,syncfs"
    strace = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}"]
    inject = ["-e", f"inject={calls}:delay_enter=60000"]
    recorder = [
        *(sys.executable, "-m", "pi_capture", str(day), "4", "--camera", "demo", "--fps", "100"),
        *("--size", "640x480" if target != "day1.features.h5" else "128x128", "--json", "--quiet"),
    ]
    done = subprocess.run(
        [*strace, *inject, *recorder],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert_all_counted(summary)
    with open_recording(day) as recording:
        assert len(recording) == summary["frames"] > 0
        if target != "day1.features.h5":  # whose frames can't be read as pictures
            frames = list(recording)
            steps = [round((after.timestamp_ns - before.timestamp_ns) / 1e7) - 1 for before, after in pairwise(frames)]
            told = [sum(f.metadata.get(f"dropped_{cause}", 0) for cause in ("camera", "queue")) for f in frames]
            assert steps == told[1:], "a frame is missing that nobody counted"
    note("slow card", target, summary["frames"])
    print(f"{target}: {summary}")


FAST_SENSOR = """
import sys
import numpy as np
from pi_capture import Recorder
from pi_capture.samples.clock import Dated
from storage import SampleTrack

RATE, CHUNK, CHUNKS = 1_000_000, 100_000, 150  # 60 MB: several times what may wait
recorder = Recorder(sys.argv[1], tracks=[SampleTrack("fast", RATE, 1)], pictures=False)
values = np.arange(CHUNK, dtype=np.float32)[:, None]
for chunk in range(CHUNKS):
    chunk_values = values + (chunk * CHUNK) % (1 << 23)
    last = chunk == CHUNKS - 1  # which comes when there is room again: it ends the gap
    recorder.samples.put("fast", Dated(chunk * CHUNK * 1000, CHUNK, chunk_values), wait=last)
track = recorder.close().tracks["fast"]
print(track.samples, track.padded, track.lost)
"""


def test_a_slow_card_costs_samples_that_are_counted_and_padded(tmp_path: Path) -> None:
    """Nobody waits for the disk, memory stays bounded, and what was kept is where it belongs."""
    strace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", "inject=pwrite64:delay_enter=60000"]
    program = [*strace, sys.executable, "-c", FAST_SENSOR, str(tmp_path / "fast.mkv")]
    done = subprocess.run(
        program, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stderr
    stored, padded, lost = map(int, done.stdout.split())
    assert lost > 0 and padded == lost and stored + lost == 15_000_000
    with open_recording(tmp_path / "fast.mkv") as recording:
        assert isinstance(recording, VideoReader)
        (fast,) = recording.tracks
        at = 0
        for block in fast.blocks():
            if not block.padding:
                expected = np.arange(at, at + len(block.samples)) // 100_000 * 100_000 % (1 << 23)
                expected += np.arange(at, at + len(block.samples)) % 100_000
                assert np.array_equal(block.samples[:, 0], expected)
            at += len(block.samples)
        assert at == 15_000_000

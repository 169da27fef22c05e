"""The label journal under the same faults as the recordings: a label that was acknowledged is never lost."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.labels.journal import LabelJournal, Labelled
from tests.faults.table import note
from tests.support import PATIENCE_SECONDS, REPOSITORY

KEYS = 8
PROGRAM = """
import sys, random
from pathlib import Path
from storage.errors import StorageError
from storage.labels.journal import Labelled, LabelJournal
from tests.faults.writer import write_short
if sys.argv[2:] == ["short"]:
    write_short(random.Random(0))
try:
    with LabelJournal(Path(sys.argv[1])) as journal:
        first = len(journal.entries)
        for n in range(first, first + 8):
            journal.append(Labelled((f"{n:08d}.png",), n % 5, at=f"{n + 1:08d}.png"))
            journal.sync()
            print("ACKNOWLEDGED", n + 1, flush=True)
except StorageError as error:
    print("FAILED", error, flush=True)
    sys.exit(1)
"""


def label(journal: Path, *inject: str, short: bool = False) -> subprocess.CompletedProcess[str]:
    strace = ["strace", "-f", "-o", "/dev/null", *inject] if inject else []
    command = [*strace, sys.executable, "-c", PROGRAM, str(journal), *(["short"] if short else [])]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=PATIENCE_SECONDS
    )


def acknowledged(done: subprocess.CompletedProcess[str]) -> int:
    return max(map(int, re.findall(r"ACKNOWLEDGED (\d+)\n", done.stdout)), default=0)


def labels(path: Path) -> list[tuple[object, int | None]]:
    with LabelJournal(path) as journal:
        return [(entry.frames[0], entry.label) for entry in journal.entries if isinstance(entry, Labelled)]


def expected(count: int) -> list[tuple[object, int | None]]:
    return [(f"{n:08d}.png", n % 5) for n in range(count)]


@pytest.mark.parametrize("call", ["pwrite64", pytest.param("fdatasync", marks=pytest.mark.slow), "fsync"])
def test_killed_at_any_call(tmp_path: Path, call: str) -> None:
    assert shutil.which("strace"), "scripts/test.sh installs strace"
    for number in range(1, 20):
        journal = tmp_path / f"{number}.jsonl"
        done = label(journal, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")
        found = labels(journal)
        assert found == expected(len(found)) and len(found) >= acknowledged(done)
        assert label(journal).returncode == 0
        assert labels(journal) == expected(len(found) + KEYS)
        note("kill -9 at the n-th system call", "label journal", acknowledged(done))
        if done.returncode == 0:
            break
    assert number > 1, f"{call} is not used at all"


@pytest.mark.parametrize(
    "fault", ["pwrite64:error=ENOSPC:when=4", "fdatasync:error=EIO:when=4", "pwrite64:error=EROFS:when=4"]
)
def test_a_disk_that_fails(tmp_path: Path, fault: str) -> None:
    journal = tmp_path / "labels.jsonl"
    done = label(journal, "-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}")
    assert done.returncode == 1 and done.stderr == "", done
    (failed,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert "the last key was not kept, all before it are" in failed
    found = labels(journal)
    assert found == expected(len(found)) and len(found) >= acknowledged(done) >= 3
    note(fault.split(":")[1].removeprefix("error="), "label journal", acknowledged(done))


def test_short_writes(tmp_path: Path) -> None:
    done = label(tmp_path / "labels.jsonl", short=True)
    assert done.returncode == 0 and labels(tmp_path / "labels.jsonl") == expected(KEYS)
    note("short writes", "label journal", KEYS)


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_torn_last_line(tmp_path: Path, cut: int) -> None:
    journal = tmp_path / "labels.jsonl"
    label(journal)
    data = journal.read_bytes()
    journal.write_bytes(data[:-cut])
    assert labels(journal) == expected(KEYS - 1)
    assert label(journal).returncode == 0 and labels(journal) == expected(2 * KEYS - 1)

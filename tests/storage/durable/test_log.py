"""What a log of JSON lines promises: whole lines after any crash, and no damage that is believed."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.durable.checked import check, sealed
from storage.durable.log import Log, encode_line, read_lines
from storage.errors import BusyError, StorageError
from tests.support import REPOSITORY

HEAD: dict[str, Any] = {"log": 1}
VALUES = [HEAD, *({"number": number, "text": "é ☃ " * number} for number in range(4))]
DATA = b"".join(map(encode_line, VALUES))
OLD = b'{"log":1}\n{"number":0,"text":""}\n'  # of a version whose lines had no checks
PATH = Path("day1/some.jsonl")


def said(data: bytes) -> list[dict[str, Any]]:
    values, whole = read_lines(PATH, data)
    assert read_lines(PATH, data[:whole]) == (values, whole), "what is left of it is a log again"
    return [{name: one for name, one in value.items() if name != "crc32"} for value in values]


def test_a_line_is_json_that_people_can_read() -> None:
    assert encode_line({"label": 1, "at": "00000043.png"}) == b'{"label":1,"at":"00000043.png","crc32":1333456614}\n'
    assert said(DATA) == VALUES and said(b"") == []


@pytest.mark.parametrize("tail", [b"", b"\0" * 40, b"\0" * 40 + b"\n"])
def test_torn_at_every_byte(tail: bytes) -> None:
    ends = [end + 1 for end, byte in enumerate(DATA) if byte == ord("\n")]
    for size in range(len(DATA)):
        assert said(DATA[:size] + tail) == VALUES[: sum(end <= size for end in ends)]


def test_every_flipped_byte_is_told_or_changes_nothing() -> None:
    rng = random.Random(5)
    told = 0
    for at in range(len(DATA)):
        for flip in {1 << rng.randrange(8), rng.randrange(1, 256)}:
            flipped = bytearray(DATA)
            flipped[at] ^= flip
            try:
                found = said(bytes(flipped))
            except StorageError as error:
                told += 1
                number = DATA[:at].count(b"\n") + 1
                assert f"{PATH} is damaged in line {number}; delete that line" in str(error)
            else:
                found[0].pop("crc32", None)
                content = [{name: value.get(name) for name in ("log", "number", "text")} for value in found]
                assert content == [{name: value.get(name) for name in ("log", "number", "text")} for value in VALUES]
    assert told > len(DATA) * 0.9


def test_deleting_the_line_is_the_way_out() -> None:
    lines = DATA.splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"number":1', b'"number":7')
    with pytest.raises(StorageError, match="damaged in line 3"):
        said(b"".join(lines))
    assert said(b"".join([*lines[:2], *lines[3:]])) == [VALUES[0], VALUES[1], VALUES[3], VALUES[4]]


def test_a_log_of_an_older_version_goes_on() -> None:
    assert said(OLD) == VALUES[:2]
    assert said(OLD + encode_line(VALUES[2])) == VALUES[:3]
    assert said(OLD + b'{"number":1,"te') == VALUES[:2]
    for damaged in (
        OLD + b"{]\n" + encode_line(VALUES[2]),
        OLD + encode_line(VALUES[2]) + b'{"number":2}\n',
        OLD + b"7\n",
    ):
        with pytest.raises(StorageError, match=r"damaged in line [34]"):
            said(damaged)


def test_what_a_power_cut_left_out_before_whole_lines_is_told() -> None:
    with pytest.raises(StorageError, match="damaged in line 2"):
        said(DATA.replace(b'{"number":0,"text"', b"\0" * 18))


def test_a_full_disk_leaves_it_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path, "taken") as log:
        log.append(DATA)
        room, write = iter([7, 7]), os.pwrite

        def full(fd: int, data: memoryview, at: int) -> int:
            size = next(room, 0)
            if not size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, data[:size], at)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            log.append(encode_line(VALUES[1]))
        monkeypatch.undo()
        assert path.read_bytes() == log.read() == DATA
        log.append(encode_line(VALUES[1]))
        log.sync()
    assert said(path.read_bytes()) == [*VALUES, VALUES[1]]


def test_one_at_a_time_and_nothing_left_of_an_empty_one(tmp_path: Path) -> None:
    path, other = tmp_path / "log.jsonl", tmp_path / "other name"
    with pytest.raises(FileNotFoundError):
        Log(path, "taken", create=False)
    with Log(path, "taken"):
        other.hardlink_to(path)
        for name in (path, other):
            with pytest.raises(BusyError, match="taken"):
                Log(name, "taken")
        other.unlink()
    assert not path.exists()
    with Log(path, "taken"):
        path.rename(other)
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


PROGRAM = """
import sys
from pathlib import Path
from storage.durable.log import Log, encode_line
with Log(Path(sys.argv[1]), "taken") as log:
    for number in range(4):
        log.append(encode_line({"number": number}) * 3)
        log.sync()
        print(3 * number + 3, flush=True)
    log.cut(0)
    log.append(encode_line({"cut": True}))
    log.sync()
"""


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "ftruncate"])
def test_killed_at_every_call(tmp_path: Path, call: str) -> None:
    for when in range(1, 20):
        path = tmp_path / f"{when}.jsonl"
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"]
        command = ["strace", "-f", "-o", os.devnull, *inject, sys.executable, "-c", PROGRAM, str(path)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        found = said(path.read_bytes())
        acknowledged = int(done.stdout.split()[-1]) if done.stdout else 0
        numbers = [value.get("number") for value in found]
        if acknowledged < 12 or numbers[:1] == [0]:
            assert len(numbers) >= acknowledged and numbers == [number // 3 for number in range(len(numbers))]
        else:
            assert found in ([], [{"cut": True}])
        if done.returncode == 0:
            break
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done
    assert when > 1, f"{call} is not used at all"


def test_a_check_stays_with_its_text() -> None:
    for text in (b'{"a":1}', b'{\n "a": [\n  1\n ]\n}\n', b'{"crc32":"of a stranger"}'):
        assert check(sealed(text)) is True
        assert check(sealed(text).replace(b"1", b"2", 1)) is not True
    assert check(b'{"a":1}') is None

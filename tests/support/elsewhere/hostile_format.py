"""A format whose files kill their reader, or keep it for ever; and steps that count frames, as others bring them."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import av

from storage.batch.contract import Result, Step
from storage.formats.table import Format, open_recording
from storage.recording import Recording


def read_hostile(path: Path) -> Recording:
    """Do what the file says."""
    deed = path.read_text()
    if deed.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if deed == "greedy":
        return bytes(5 << 30)  # type: ignore[return-value]  # it does not get so far
    if deed == "stale":
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
    if deed == "full":
        av.error.err_check(-errno.ENOSPC)
    if deed in ("away", "silent"):
        path.rename(path.with_suffix(".elsewhere"))
    if deed in ("whole", "silent"):
        return Empty()  # type: ignore[return-value]  # enough to be counted
    if deed == "away":
        return read_hostile(path)
    while True:
        signal.pause()


class Empty(list[None]):
    """A recording without frames, as far as counting needs one."""

    def __enter__(self) -> Empty:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _count(recordings: Sequence[Path], out: Path) -> Result:
    frames = 0
    for path in recordings:
        with open_recording(path) as recording:
            (out / f"{path.name}.txt").write_text(f"{len(recording)}\n")
            frames += len(recording)
    return Result(frames)


HOSTILE = Format("hostile", ".hostile", "hostile_format:NoWriter", "hostile_format:read_hostile")
COUNT = Step("count", _count)
COUNT_IN_GROUPS = Step("count-in-groups", _count, group_bytes=300_000)

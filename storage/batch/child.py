"""A step in a process of its own, with a limit of time and of memory: what kills it, costs this piece of work alone.

This module, run as a program, is a process that has imported everything and forks for each piece of work, which takes
milliseconds. `Child` starts it and talks with it, a line of JSON each way. When whoever started it ends, however, its
standard input ends, and so does all that it started.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage.batch.contract import NotReadyError
from storage.batch.steps import find_step
from storage.errors import StorageError, first_line, missing_library

PR_SET_PDEATHSIG = 1  # linux/prctl.h
OF_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE),
    *(errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
)
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
"""A piece of work takes one core, and sums don't depend on how many there are."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a piece of work: seconds, and bytes of memory (address space)."""

    seconds: float = 3600.0
    memory_bytes: int = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a piece of work.

    Attributes
    ----------
    frames : int
        How many were read.
    told : tuple of str
    core_seconds : float
        Processor time.
    kind : str
        Empty if it was done. "damaged": the step failed on it; "killed", "time", "memory": its process did not survive
        it; "machine": something else was in the way, and the next run tries again; "not ready": so it will be for every
        recording.
    reason : str
        For a person, if it was not done.
    """

    frames: int = 0
    told: tuple[str, ...] = ()
    core_seconds: float = 0.0
    kind: str = ""
    reason: str = ""


class Child:
    """The process that forks, started when it is first needed. One thread at a time may use it; any may stop it.

    Attributes
    ----------
    stopped : bool
        It does nothing more.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def run(self, step: str, base: Path, recordings: Sequence[str], out: Path, features: Mapping[str, str]) -> Answer:
        """Do a piece of work: recordings by their paths from the directory `base`, into the empty directory `out`.

        `features` says of recordings where their features are, for `Step.with_features`.
        """
        order = {"step": step, "base": str(base), "recordings": list(recordings), "out": str(out),
                 "features": dict(features), **asdict(self._limits)}  # fmt: skip
        if self.stopped:
            return Answer(kind="machine", reason="interrupted")
        process = self._started()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            answer = json.loads(process.stdout.readline())
        except (OSError, ValueError):  # it was killed
            self.close()
            return Answer(kind="machine", reason="its process was killed from outside")
        return Answer(**{**answer, "told": tuple(answer["told"])})

    def stop(self) -> None:
        """End what it does just now, and do nothing more."""
        self.stopped = True
        if (process := self._process) is not None:
            process.terminate()

    def close(self) -> None:
        """End the process. May be called again."""
        process, self._process = self._process, None
        if process is not None and process.stdin and process.stdout:
            process.stdin.close()
            process.wait()
            process.stdout.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            package = str(Path(__file__).parents[2])
            path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "storage.batch.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": path}, start_new_session=True,
            )  # fmt: skip
        return self._process


# ------------------------------------------------------------------------------------------------- in the other process


def _main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in _lines(0):
        order = json.loads(line)
        answer, modules = _forked(order)
        os.write(1, json.dumps(answer).encode() + b"\n")
        for module in modules:  # the next fork has them already
            with suppress(Exception):
                __import__(module)
    return 0


def _lines(fd: int) -> Iterator[bytes]:
    """Lines as they come; a buffer that reads ahead would hide from `select` that the input ended."""
    line = b""
    while byte := os.read(fd, 65536):
        line += byte
        while b"\n" in line:
            whole, _, line = line.partition(b"\n")
            yield whole


def _forked(order: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Have a fork do a piece of work; returns the fields of an `Answer`, and the modules that it imported."""
    entry, exit_ = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(entry)
        _do(order, exit_)
    os.close(exit_)
    text, in_time = _read(entry, begun + order["seconds"])
    os.close(entry)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    answer: dict[str, Any] = {"told": [], "core_seconds": round(usage.ru_utime + usage.ru_stime, 3)}
    if not in_time:
        return {**answer, "kind": "time", "reason": f"took more than {order['seconds']:g} s"}, []
    try:
        found = json.loads(text)
    except ValueError:
        how = f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with status {code}"
        return {**answer, "kind": "killed", "reason": f"ended its process {how}"}, []
    return {**answer, **found["answer"]}, found["modules"]


def _read(fd: int, until: float) -> tuple[bytes, bool]:
    """What a fork says until it ends, and whether it ended in time. If our own input ends, so do we and the fork."""
    text = b""
    while (seconds := until - time.monotonic()) > 0:
        ready, _, _ = select.select([fd, 0], [], [], min(seconds, 3600))
        if 0 in ready:  # nobody sends a second order before the answer to the first: it is the end
            os._exit(1)
        if fd in ready:
            piece = os.read(fd, 65536)
            if not piece:
                return text, True
            text += piece
    return text, False


def _do(order: dict[str, Any], exit_: int) -> None:
    """In the fork: do it, say so, and end."""
    try:
        _limit(order["memory_bytes"])
        known = set(sys.modules)
        answer = _answer(order)
        modules = sorted(set(sys.modules) - known)
        with open(exit_, "wb") as stream:
            stream.write(json.dumps({"answer": answer, "modules": modules}).encode())
    finally:
        os._exit(0)


def _limit(memory_bytes: int) -> None:
    import resource

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # what decoders print is neither ours nor the user's
        os.dup2(nowhere, fd)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Warnings(logging.Handler):
    """Puts what is warned of into a list."""

    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record.getMessage())


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    told: list[str] = []
    logging.getLogger("storage").addHandler(_Warnings(told))
    out = order["out"]
    recordings = [os.path.join(order["base"], name) for name in order["recordings"]]
    try:
        os.chdir(order["base"])
        step, paths = find_step(order["step"]), [Path(name) for name in order["recordings"]]
        features = {Path(name): Path(path) for name, path in order["features"].items()}
        if step.with_features and features:
            result = step.with_features(paths, Path(out), features)
        else:
            result = step.process(paths, Path(out))
        told += result.told
    except NotReadyError as error:
        return {"kind": "not ready", "reason": str(error)}
    except ModuleNotFoundError as error:
        return {"kind": "not ready", "reason": missing_library(error)}
    except MemoryError:
        return {"kind": "memory", "reason": f"took more than {order['memory_bytes'] / 1e9:g} GB of memory"}
    except Exception as error:  # also what a step of another distribution did not foresee
        said = str(error) if isinstance(error, StorageError) else f"{type(error).__name__}: {first_line(error)}"
        is_there = all(map(os.path.exists, [out, *recordings]))
        kind = "damaged" if is_there and not _of_the_machine(error, recordings) else "machine"
        return {"kind": kind, "reason": said.replace(f"{out}/", "")}
    if away := [path for path in recordings if not os.path.exists(path)]:
        return {"kind": "machine", "reason": f"{away[0]} is away since"}
    return {"frames": result.frames, "told": [line.replace(f"{out}/", "") for line in told]}


def _of_the_machine(error: BaseException | None, recordings: Sequence[str]) -> bool:
    """Whether an error comes from a full disk, a file server that is away, or their kind, and from no recording."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            # FFmpeg says EIO also of a file that ends too early: is it the disk?
            unsure = error.errno == errno.EIO and type(error).__module__ == "av.error"
            return not unsure or not all(map(_can_be_read, filter(os.path.isfile, recordings)))
        error = error.__cause__ or error.__context__
    return False


def _can_be_read(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(_main())

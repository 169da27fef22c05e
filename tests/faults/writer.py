"""A program that records until it is stopped: what the fault tests kill, starve and cut off.

Frame n of a run is noise drawn from a seed that goes into its metadata, so that a test can tell every pixel. What is
durable is printed as it becomes so, ``ACKNOWLEDGED <frames>``, and at the end what became of each, ``SUMMARY <JSON>``.

    python -m tests.faults.writer TARGET SEED [FRAMES_A_SECOND [FRAMES]] [--short-writes]
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

SIZE = (48, 64)  # height, width


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def main(target: str, seed: str, rate: str = "400", frames: str = "1000000000", short: str = "") -> None:
    from pi_capture import Recorder, RecordingError

    if short:
        write_short(random.Random(int(seed)))
    status = 0
    recorder = Recorder(Path(target), sync_interval=0.1)
    try:
        with recorder:
            told = -1
            try:
                for n in range(int(frames)):
                    recorder.write(picture(int(seed) + n), metadata={"seed": int(seed) + n})
                    durable = recorder.status().durable
                    if durable != told:
                        told = durable
                        print("ACKNOWLEDGED", told, flush=True)
                    time.sleep(1 / float(rate))
            finally:  # before it is closed: frames behind a sync that failed may become durable then
                print("ACKNOWLEDGED", recorder.status().durable, flush=True)
        print("ACKNOWLEDGED", recorder.status().durable, flush=True)
    except RecordingError as error:
        print("FAILED", error, flush=True)
        status = 1
    print("SUMMARY", json.dumps(asdict(recorder.summary())), flush=True)
    sys.exit(status)


def write_short(rng: random.Random) -> None:
    """Let the system take only some of the bytes of each write to a file, as it may when a signal comes."""
    real: Any = {name: getattr(os, name) for name in ("write", "pwrite")}

    def write(fd: int, data: bytes) -> int:
        return int(real["write"](fd, memoryview(data)[: rng.randint(1, max(1, len(data)))] if fd > 2 else data))

    def pwrite(fd: int, data: bytes, at: int) -> int:
        return int(real["pwrite"](fd, memoryview(data).cast("B")[: rng.randint(1, max(1, len(data)))], at))

    os.write, os.pwrite = write, pwrite  # type: ignore[assignment]


if __name__ == "__main__":
    main(*sys.argv[1:])

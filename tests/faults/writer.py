"""A program that records until it is stopped: what the fault tests kill, starve and cut off.

Frame n of a run is noise drawn from a seed that goes into its metadata, so that a test can tell every pixel. What is
durable is printed as it becomes so: ``ACKNOWLEDGED <frames>``.

    python -m tests.faults.writer TARGET SEED [FRAMES_A_SECOND]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

SIZE = (48, 64)  # height, width


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def main(target: str, seed: str, rate: str = "400") -> None:
    from pi_capture import Recorder, RecordingError

    try:
        with Recorder(Path(target), sync_interval=0.1) as recorder:
            told = -1
            for n in range(10**9):
                recorder.write(picture(int(seed) + n), metadata={"seed": int(seed) + n})
                status = recorder.status()
                if status.durable != told:
                    told = status.durable
                    print("ACKNOWLEDGED", told, flush=True)
                time.sleep(1 / float(rate))
    except RecordingError as error:
        print("FAILED", error, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])

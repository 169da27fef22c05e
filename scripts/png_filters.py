#!/usr/bin/env python3
"""Measure PNG's five row filters with the deflate that the recorder uses: why `storage.formats.png.codec` has the one
it has.

python scripts/png_filters.py [--json] [--video FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from benchmark import SIZES, VIDEO, Frames, load_frames

Result = TypeVar("Result")


def filtered(frame: Frames, kind: int) -> Frames:
    """The picture's rows after one of PNG's five filters (PNG specification, section 9), with the filter bytes."""
    height, width, _ = frame.shape
    rows = frame.reshape(height, width * 3)
    out = np.empty((height, 1 + width * 3), np.uint8)
    out[:, 0] = kind
    out[:, 1:] = rows
    body = out[:, 1:]
    if kind == 1:
        body[:, 3:] -= rows[:, :-3]
    elif kind == 2:
        body[1:] -= rows[:-1]
    elif kind > 2:
        left, up, corner = (np.zeros(rows.shape, np.int16) for _ in range(3))
        left[:, 3:] = rows[:, :-3]
        up[1:] = rows[:-1]
        corner[1:, 3:] = rows[:-1, :-3]
        if kind == 3:
            guess = (left + up) // 2
        else:
            pa, pb, pc = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
            guess = np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, up, corner))
        body -= guess.astype(np.uint8)
    return out


def fastest(work: Callable[[Any], Result], items: Sequence[Any]) -> tuple[float, list[Result]]:
    """The best of several times, in milliseconds for an item, and what came out."""
    times = []
    for _ in range(7):
        started = time.perf_counter()
        results = [work(item) for item in items]
        times.append(time.perf_counter() - started)
    return 1000 * min(times) / len(items), results


def measure_filters(video: Path | None) -> list[dict[str, Any]]:
    """Size, and the best of several times, of each filter with the deflate that the recorder uses."""
    from storage.formats.deflate import deflate

    results = []
    for size in SIZES:
        frames = load_frames(video, size)[:: 16 if size == (128, 128) else 8]
        for kind, name in enumerate(("none", "sub", "up", "average", "paeth")):
            filter_ms, ready = fastest(lambda frame, kind=kind: filtered(frame, kind), frames)
            deflate_ms, deflated = fastest(deflate, ready)
            results.append(
                {
                    "size": f"{size[0]}x{size[1]}",
                    "filter": name,
                    "percent_of_raw": 100 * sum(map(len, deflated)) / frames.nbytes,
                    "filter_ms": filter_ms,
                    "deflate_ms": deflate_ms,
                }
            )
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--video", type=Path, default=VIDEO if VIDEO.is_file() else None, help="real frames")
    args = parser.parse_args()
    rows = measure_filters(args.video)
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(
                f"{row['size']:>8}  {row['filter']:8} {row['percent_of_raw']:5.1f} % of raw, filter "
                f"{row['filter_ms']:.3f} ms, deflate {row['deflate_ms']:.3f} ms"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

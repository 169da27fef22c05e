#!/usr/bin/env python3
"""Draw the contact sheet of the demo camera: a row a class, a column a seed.

    python scripts/demo_sheet.py [docs/images/demo.png]

The pictures are drawn without sensor noise, which would make the file ten times as large.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SEEDS = (7, 6, 3, 4, 10, 11)
SIDE = 128
GAP = 4
MARGIN = 72
STEP = 0.05  # seconds


def middle_of(seed: int, label: int) -> float:
    """A moment in the middle of the second performance of a class."""
    from pi_capture.sources.demo.play import moment

    times = [n * STEP for n in range(round(60 / STEP))]
    shown = [time for time in times if moment(seed, time).label == label]
    starts = [time for before, time in pairwise(shown) if time - before > 2 * STEP]
    run = [time for time in shown if starts[0] <= time < starts[1]]
    return run[len(run) // 2]


def sheet() -> Image.Image:
    from pi_capture.sources.demo.play import CLASSES
    from pi_capture.sources.demo.scene import Room

    step = SIDE + GAP
    image = Image.new("RGB", (MARGIN + len(SEEDS) * step, len(CLASSES) * step - GAP), "white")
    pen = ImageDraw.Draw(image)
    for label, name in enumerate(CLASSES):
        middle = label * step + SIDE // 2
        pen.text((MARGIN / 2 - 2, middle - 12), str(label), "black", ImageFont.load_default(26), anchor="mm")
        pen.text((MARGIN / 2 - 2, middle + 14), name, "black", ImageFont.load_default(16), anchor="mm")
    for column, seed in enumerate(SEEDS):
        room = Room(seed, (SIDE, SIDE))
        for label in range(len(CLASSES)):
            picture, shown = room.picture(middle_of(seed, label))
            assert shown == label
            image.paste(Image.fromarray(picture), (MARGIN + column * step, label * step))
    return image.crop((0, 0, image.width - GAP, image.height))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "docs/images/demo.png")
    file = parser.parse_args().file
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet().quantize(256, kmeans=4, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

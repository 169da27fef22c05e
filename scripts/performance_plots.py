#!/usr/bin/env python3
"""Draw what `benchmark.py --json` has measured as two bar charts (SVG): frames a second, and bytes a frame.

python scripts/benchmark.py --json > figures.json
python scripts/performance_plots.py figures.json docs/images
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, ROW, GAP, TOP = 860, 250, 130, 24, 14, 64
OURS, THEIRS, INK, FAINT = "#2a6fb0", "#b9bec4", "#1d2126", "#d9dde1"
TITLES = {"png": "PNG", "hdf5": "HDF5", "features": "features", "video": "video"}

Row = dict[str, Any]


def chart(rows: list[Row], title: str, value: Callable[[Row], float], label: Callable[[Row], str]) -> str:
    """A bar for each row, on a logarithmic scale: the ways differ by orders of magnitude."""
    least = 10 ** math.floor(math.log10(min(map(value, rows))) - 0.15)
    most = 10 ** math.ceil(math.log10(max(map(value, rows))))
    span = WIDTH - LEFT - RIGHT

    def place(number: float) -> float:
        return LEFT + span * math.log(number / least) / math.log(most / least)

    parts, y, before = [], TOP, None
    for row in rows:
        group = row["format"], row["size"]
        y += GAP if before not in (None, group) else 0
        name = f"{TITLES[row['format']]} {row['size'].replace('x', '×')}" if group != before else ""
        colour = OURS if row["way"].startswith("ours") else THEIRS
        parts.append(f'<text x="12" y="{y + 16}" font-weight="600">{escape(name)}</text>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(row["way"])}</text>')
        parts.append(
            f'<rect x="{LEFT}" y="{y + 3}" width="{place(value(row)) - LEFT:.1f}" height="{ROW - 6}" fill="{colour}"/>'
        )
        parts.append(f'<text x="{place(value(row)) + 6:.1f}" y="{y + 16}">{escape(label(row))}</text>')
        before, y = group, y + ROW
    lines = []
    for power in range(round(math.log10(least)), round(math.log10(most)) + 1):
        x = place(10.0**power)
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{y}" stroke="{FAINT}"/>')
        lines.append(f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle" fill="#68707a">{10**power:,}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 12}" viewBox="0 0 {WIDTH} {y + 12}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="12" y="26" font-size="16" font-weight="600">{escape(title)}</text>\n'
        + "\n".join(lines + parts)
        + "\n</svg>\n"
    )


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    rows: list[Row] = [row for row in json.loads(Path(sys.argv[1]).read_text()) if row["way"] != "floor"]
    target = Path(sys.argv[2])
    speed = chart(
        rows,
        "Frames stored a second",
        lambda row: float(row["frames_per_second"]),
        lambda row: (
            f"{row['frames_per_second']:,.0f}"
            + (f" · {row['times_as_fast']:.3g} times" if row["way"].startswith("ours") else "")
        ),
    )
    size = chart(
        rows,
        "Bytes a frame",
        lambda row: float(row["bytes_per_frame"]),
        lambda row: f"{row['bytes_per_frame']:,.0f}",
    )
    (target / "speed.svg").write_text(speed)
    (target / "size.svg").write_text(size)
    return 0


if __name__ == "__main__":
    sys.exit(main())

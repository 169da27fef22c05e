"""The table of faults tried, which `scripts/fault_suite.sh` prints: the tests note each fault in ``$FAULT_TABLE``.

python -m tests.faults.table FILE
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

COLUMNS = ("tried", "acknowledged", "lost", "unreadable")


def note(fault: str, target: str | Path, acknowledged: int, *, tried: int = 1, lost: int = 0) -> None:
    """Note faults that were tried, how many frames had been acknowledged before, and how many of those were lost.

    Called after the checks: a frame that is unreadable under a final name has failed the test by then.
    """
    place = os.environ.get("FAULT_TABLE")
    if place:
        row = {"fault": fault, "format": Path(target).name.removeprefix("day1").removeprefix(".") or "png"}
        with Path(place).open("a") as file:
            file.write(json.dumps({**row, "tried": tried, "acknowledged": acknowledged, "lost": lost}) + "\n")


def main(file: str) -> None:
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for line in Path(file).read_text().splitlines():
        row = json.loads(line)
        for key in ((row["fault"], row["format"]), ("all", "")):
            for column in COLUMNS:
                sums[key][column] += row.get(column, 0)
    everything = sums.pop(("all", ""), dict.fromkeys(COLUMNS, 0))
    head = ("fault", "format", "tried", "frames acknowledged", "of these lost", "unreadable under a final name")
    rows = [(*key, *(str(value[column]) for column in COLUMNS)) for key, value in sorted(sums.items())]
    rows.append(("all", "", *(str(everything[column]) for column in COLUMNS)))
    print(f"| {' | '.join(head)} |")
    print(f"|{'|'.join(['---', '---', '---:', '---:', '---:', '---:'])}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""Write docs/commands.md: the --help of each command.

    python scripts/command_reference.py [--check]

With --check nothing is written; exit status 1 says that the page is not what the commands say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "commands.md"
WIDTH = 100
OPENING = """# Commands

What each command says of itself with `--help`; `python scripts/command_reference.py` writes this page.
"""


def main() -> int:
    page = "\n".join([OPENING, *(f"## {command}\n\n```text\n{_help(command)}```\n" for command in _commands())])
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page)
    elif PAGE.read_text().split() != page.split():  # Python's versions put other space between
        print(f"{PAGE.relative_to(ROOT)} is not what the commands say; run python scripts/command_reference.py")
        return 1
    return 0


def _commands() -> list[str]:
    recording, storing = "python -m pi_capture", "python -m storage"
    listed = re.search(r"^commands[^\n]*\n((?:  .*\n)+)", _help(recording), re.M)
    doing = re.findall(r"^    ([a-z][a-z-]+)(?: |$)", _help(storing), re.M)
    besides = re.findall(r"^  ([a-z-]+)", listed[1], re.M) if listed else []
    return [
        *(recording, *(f"{recording} {name}" for name in besides)),
        "python -m classify",
        *(storing, *(f"{storing} {name}" for name in doing)),
    ]


def _help(command: str) -> str:
    run = [sys.executable, *command.split()[1:], "--help"]
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    return subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout


if __name__ == "__main__":
    sys.exit(main())

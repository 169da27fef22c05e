"""Runs a document: its ``sh`` and ``python`` blocks in order, in one directory, as a reader would type them.

The Python blocks of a document share their names, like the cells of a notebook. A block after a comment
``<!-- not run: why -->`` is left out, and so are blocks in other languages.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support import REPOSITORY

_FENCE = re.compile(
    r"(?P<skip><!-- not run: [^\n]+ -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
_DRIVER = """
import json, subprocess, sys
names = {"__name__": "__main__"}
for block in json.loads(sys.argv[1]):
    where = block["document"] + ":" + str(block["line"])
    print("###", where, flush=True)
    if block["language"] == "sh":
        done = subprocess.run(["sh", "-euc", block["code"]], check=False)
        if done.returncode:
            sys.exit(where + " ended with status " + str(done.returncode))
    else:
        exec(compile("\\n" * block["line"] + block["code"], block["document"], "exec"), names)
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a document: ``line`` is that of its opening fence."""

    document: str
    line: int
    language: str
    code: str


def blocks(document: Path) -> list[Block]:
    """The blocks of a document that are to be run."""
    text = document.read_text()
    return [
        Block(document.name, text.count("\n", 0, match.start("language")) + 1, match["language"], match["code"])
        for match in _FENCE.finditer(text)
        if match["language"] in ("sh", "python") and not match["skip"]
    ]


def run(document: Path, directory: Path) -> str:
    """Run a document in a directory; returns all that it printed. Fails where the document does."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, json.dumps([asdict(block) for block in blocks(document)])],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=directory, env=environment,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout

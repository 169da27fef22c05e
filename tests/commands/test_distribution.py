"""What is installed: the wheel, its long description, and the completion of the console scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support import REPOSITORY

BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
SOURCE = '\n[project.urls]\nSource = "https://code.example/pi-capture"\n'


def wheel(directory: Path, *, more: str = "") -> tuple[Message, set[str]]:
    """Build a wheel from a tree without git; returns its metadata, and the names of its files."""
    tree = directory / "tree"
    for name in ("pi_capture", "classify", "storage", "docs", "scripts"):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "README.md", tree)
    (tree / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text() + more)
    made = subprocess.run(
        [sys.executable, "-c", BUILD, str(directory)], cwd=tree, check=True, capture_output=True, text=True
    )
    with ZipFile(directory / made.stdout.split()[-1]) as file:
        names = file.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(file.read(metadata).decode()), set(names)


def test_a_tree_without_git_makes_a_whole_wheel(tmp_path: Path) -> None:
    metadata, names = wheel(tmp_path)
    from pi_capture import __version__

    assert metadata["Version"] == __version__
    assert {f"{package}/py.typed" for package in ("pi_capture", "classify", "storage")} <= names
    assert {"pi_capture/commands/pi-capture@.service", "pi_capture/studio/static/index.html"} <= names
    data = f"pi_capture-{__version__}.data/data/share"
    assert {f"{data}/man/man1/pi-storage.1", f"{data}/bash-completion/completions/pi-storage"} <= names
    description = metadata.get_payload()
    assert "](docs" not in description and "![" not in description


def test_with_an_address_the_links_of_the_long_description_lead_there(tmp_path: Path) -> None:
    metadata, _ = wheel(tmp_path, more=SOURCE)
    description, tag = metadata.get_payload(), f"v{metadata['Version']}"
    assert metadata.get_all("Project-URL") == ["Source, https://code.example/pi-capture"]
    assert (
        f"![Five actions of the demo scene, six moments each](https://code.example/pi-capture/raw/{tag}/docs/images/demo.png)"
        in description
    )
    assert f"[docs/studio.md](https://code.example/pi-capture/blob/{tag}/docs/studio.md)" in description
    assert not [link for link in re.findall(r"\]\(([^)]*)\)", description) if not link.startswith(("https://", "#"))]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pi-capture d", {"doctor", "day1"}),
        ("pi-capture day1 60 --jit", {"--jitter", "--jitter-seed"}),
        ("pi-capture studio --li", {"--listen"}),
        ("pi-capture day1 60 --codec h", {"h264", "h264-lossless"}),
        ("pi-capture doctor --camera d", {"demo"}),
        ("pi-storage convert day1 day1.mkv --codec m", {"mjpeg"}),
        ("pi-storage me", {"merge", "merge-streams"}),
        ("pi-classify day1 --class-dirs nu", {"numbers"}),
        ("pi-storage batch verify,shards-", {"verify,shards-by-host", "verify,shards-jpg"}),
    ],
)
def test_bash_completes(typed: str, offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "day1").mkdir()
    script = """
        . "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        complete -p "$1" >rule; "$(grep -o '_shtab[a-z_]*' rule)" 2>/dev/null; printf '%s\\n' "${COMPREPLY[@]}"
    """
    words = typed.split()
    rules = REPOSITORY / "docs/completion/bash" / words[0]
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(rules), *words], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert set(done.stdout.split()) == offered


def test_zsh_completes_files_where_commands_take_them() -> None:
    rules = (REPOSITORY / "docs/completion/zsh/_pi-storage").read_text()
    verify = rules[rules.index("_shtab_pi_storage_verify_options=") :].split("\n)")[0]
    assert '"*:a recording, or a directory of some:_files"' in verify and ":MANIFEST:_files" in verify

"""What documents, docstrings and comments name is there: modules, what is in them, and files."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support import REPOSITORY

PACKAGES = ("pi_capture", "storage", "classify", "tests")
TOP = {*PACKAGES, "docs", "scripts", ".ci"}
DOTTED = re.compile(rf"(?<![\w/.@-])(?:{'|'.join(PACKAGES)})(?:\.\w+)+(?!\w*/)")
PATH = re.compile(r"(?<![\w/.-])(?:docs|scripts|storage|pi_capture|classify|tests)/[\w./@-]*\w/?")
FILE = re.compile(r"(?<![\w/.*-])[a-z_]\w*\.py\b")
OF_OTHERS = {
    "imu.py",
    "lamp.py",
    "picamera2.py",
    "cv2.py",
    "classify.py",
    "media_read.py",
    "storage.py",
    "thermometer.py",
    "sitecustomize.py",
    "metadata.jsonl",
}  # a user's, in tests, in a log of long ago, Hugging Face's
GROUPS_OF_ENTRY_POINTS = {"storage.steps"}  # no module has its name
NAMES_OF_OTHERS = {"jsonl", "syncfs", "waitKey", "xdotool", "randomUUID"}
MARKED = re.compile(r"(?<!`)`([a-z_][\w.]*)(?:\(\))?`(?!`)")


@cache
def files() -> dict[str, Path]:
    """The files of the project, by their path in it."""
    top = [path for path in REPOSITORY.iterdir() if path.is_file() or path.name in TOP]
    found = [path for entry in top for path in (entry, *entry.rglob("*")) if path.is_file()]
    return {str(path.relative_to(REPOSITORY)): path for path in found if "__pycache__" not in path.parts}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def tokens(name: str) -> list[tokenize.TokenInfo]:
    """What a program says to people, and its names."""
    told = (tokenize.COMMENT, tokenize.STRING, tokenize.NAME)
    found = tokenize.generate_tokens(io.StringIO(files()[name].read_text()).readline)
    return [token for token in found if token.type in told]


def texts(name: str) -> Iterator[tuple[int, str]]:
    """What a file says to people, with the number of its line: all of a document, a program's strings and comments."""
    if not name.endswith(".py"):
        yield from enumerate(files()[name].read_text().splitlines(), 1)
        return
    for token in tokens(name):
        if token.type != tokenize.NAME:
            yield from enumerate(token.string.splitlines(), token.start[0])


def module(parts: list[str]) -> Path | None:
    path = REPOSITORY.joinpath(*parts)
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.is_file():
            return found
    return None


def members(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """The names that a module or a class gives to something, each with the body of what it is."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node.body if isinstance(node, ast.ClassDef) else []
        elif isinstance(node, ast.If | ast.Try):
            found |= members(node.body)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name): [] for alias in node.names}
        else:
            names = (one for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
            found |= {one.id: [] for one in names}
    return found


def exists(dotted: str) -> bool:
    parts = dotted.split(".")
    cut = len(parts)
    while (path := module(parts[:cut])) is None:
        cut -= 1
        if not cut:
            return False
    body = tree(path).body
    for part in parts[cut:]:
        known = members(body)
        if part not in known:
            return False
        body = known[part]
        if not body:
            return True
    return True


@cache
def identifiers() -> frozenset[str]:
    """All names in the programs of the project, and those of its files."""
    found = {part for name in files() for part in Path(name).with_suffix("").parts}
    for name in files():
        if name.endswith(".py"):
            found |= {token.string for token in tokens(name) if token.type == tokenize.NAME}
    return frozenset(found)


@cache
def rooms() -> dict[str, list[str]]:
    """The packages that have a module or package of each name."""
    found: dict[str, list[str]] = {}
    for path in map(Path, files()):
        if path.suffix == ".py" and path.parts[0] in PACKAGES and len(path.parts) > 1:
            module = path.parent if path.name == "__init__.py" else path.with_suffix("")
            found.setdefault(module.name, []).append(".".join(module.parts[:-1]))
    return found


def is_known(marked: str) -> bool:
    """Whether a name between backticks is one of ours, or of a library: `sources.v4l2` is a module, by its end."""
    parts = marked.split(".")
    if len(parts) > 1 and parts[0] in rooms():
        return any(exists(f"{room}.{marked}".lstrip(".")) for room in rooms()[parts[0]])
    return all(part in identifiers() or part in NAMES_OF_OTHERS for part in parts)


def gone(name: str) -> Iterator[str]:
    """What a file names that isn't there, a line each."""
    known = {path.rpartition("/")[2] for path in files()} | OF_OTHERS
    for line, text in texts(name):
        ours = [dotted for dotted in DOTTED.findall(text) if dotted not in OF_OTHERS | GROUPS_OF_ENTRY_POINTS]
        found = [dotted for dotted in ours if not exists(dotted)]
        found += [path for path in PATH.findall(text) if "NAME" not in path and not (REPOSITORY / path).exists()]
        found += [file for file in FILE.findall(text) if file not in known]
        if name.endswith(".py"):  # in a document code is marked so too
            found += [marked for marked in MARKED.findall(text) if not is_known(marked)]
        yield from (f"{name}:{line}: {one}" for one in found)


def test_what_is_named_is_there() -> None:
    names = [name for name in files() if name.endswith((".md", ".py", ".sh", ".toml", ".service"))]
    assert [one for name in names if name != "docs/changelog.md" for one in gone(name)] == []

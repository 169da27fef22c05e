"""The tables of docs/architecture.md and the code say the same: the list of modules, and who may import whom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter

import pytest

from tests.support import REPOSITORY

PACKAGES = ("pi_capture", "storage", "classify")
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


@cache
def modules() -> dict[str, str]:
    """The path of each module, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            relative = path.relative_to(REPOSITORY)
            parts = relative.parent.parts if path.name == "__init__.py" else relative.with_suffix("").parts
            found[".".join(parts)] = str(relative)
    return found


# ------------------------------------------------------------------------------------------------- the list of modules


def listed() -> Iterator[tuple[str, str]]:
    """The paths in the list, and the words for each."""
    directories: list[str] = []
    for line in section("The modules").split("```")[1].strip("\n").splitlines():
        match = re.fullmatch(r"(?P<indent> *)(?P<name>\S+)  +(?P<words>\S.*)", line)
        assert match, line
        del directories[len(match["indent"]) // 4 :]
        path = "".join(directories) + match["name"]
        if path.endswith("/"):
            directories.append(match["name"])
        yield path, match["words"]


def test_the_list_of_modules_is_that_of_the_files() -> None:
    """One module a line; a directory's line stands for its ``__init__.py``, and the top one's for ``__main__.py``."""
    files = {path.removesuffix("__init__.py") for path in modules().values() if not path.endswith("__main__.py")}
    paths = [path for path, _ in listed()]
    assert len(paths) == len(set(paths))
    assert set(paths) == files


# --------------------------------------------------------------------------------------------------- who imports whom


@cache
def imports() -> dict[str, frozenset[str]]:
    """The modules of ours that each one imports, at its beginning or in a function; not those for annotations alone."""
    return {name: frozenset(_imported(path)) - {name} for name, path in modules().items()}


def _imported(path: str) -> Iterator[str]:
    todo: list[ast.AST] = [ast.parse((REPOSITORY / path).read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            todo += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                if (module := name if name in modules() else node.module) in modules():
                    yield module
        else:
            todo += ast.iter_child_nodes(node)


@cache
def rows() -> dict[str, int]:
    """The row of each module or package that the table names; the first is 0."""
    lines = [line for line in section("Who may import whom").splitlines() if line.startswith("|")][2:]
    return {name: row for row, line in enumerate(lines) for name in re.findall("`([^`]+)`", line)}


def place_of(module: str) -> str:
    """What the table names: the module itself, or the nearest package that it is in."""
    name = module
    while name not in rows():
        name = name.rpartition(".")[0]
        assert "." in name, f"{module} stands in no row of the table; add it, or its package"
    return name


def test_who_may_import_whom() -> None:
    known = rows()
    assert [name for name in known if name not in modules()] == []
    wrong = [
        f"{module} imports {imported}"
        for module, all_imported in imports().items()
        for imported in all_imported
        if known[place_of(imported)] > known[place_of(module)]
    ]
    assert wrong == []


def room_of(module: str) -> str:
    return "studio" if f"{module}.".startswith("pi_capture.studio.") else module.split(".", maxsplit=1)[0]


def test_only_the_studio_knows_both_pi_capture_and_classify() -> None:
    pairs = {(room_of(one), room_of(other)) for one, others in imports().items() for other in others}
    assert {(one, other) for one, other in pairs if one != other} == {
        ("pi_capture", "storage"),
        ("classify", "storage"),
        ("studio", "classify"),
        ("studio", "pi_capture"),
        ("studio", "storage"),
    }


def test_no_circle_of_imports() -> None:
    TopologicalSorter(imports()).prepare()  # raises CycleError, which names the modules of a circle


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_read_the_types_of_the_installed_package(package: str) -> None:
    assert (REPOSITORY / package / "py.typed").read_bytes() == b""

"""What other distributions declare is found wherever importlib.metadata finds it."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.entry_points import entry_points

GROUP = "some.group"
DECLARED = (
    f"[console_scripts]\nother = other:main\n\n[{GROUP}]\n# a comment\none = first:ROW\ntwo = second : ROW [extra]\n"
)


def declare(facts: Path, text: str = DECLARED) -> None:
    facts.mkdir(parents=True)
    (facts / "entry_points.txt").write_text(text)
    (facts / "PKG-INFO").write_text("Name: theirs\n")  # read where the directory's name does not say it


def as_zip(place: Path) -> None:
    with zipfile.ZipFile(place, "w") as file:
        file.writestr("theirs-1.0.dist-info/entry_points.txt", DECLARED)
        file.writestr("theirs-1.0.dist-info/METADATA", "Name: theirs\n")


def found_in(*places: Path | str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The values of what is found, which is the same as importlib.metadata finds."""
    monkeypatch.setattr("sys.path", [*map(str, places), *sys.path])
    found = list(entry_points(GROUP))
    assert found == list(importlib.metadata.entry_points(group=GROUP))
    return [point.value for point in found]


@pytest.mark.parametrize(
    "make",
    [
        lambda place: declare(place / "theirs-1.0.dist-info"),
        lambda place: declare(place / "Theirs-1.0.DIST-INFO"),
        lambda place: declare(place / "theirs.egg-info"),
        lambda place: declare(place / "EGG-INFO"),
        as_zip,
    ],
    ids=["dist-info", "capitals", "egg-info", "egg", "zip"],
)
def test_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]) -> None:
    place = tmp_path / "theirs-1.0.egg"
    make(place)
    assert found_in(tmp_path / "nowhere", place, monkeypatch=monkeypatch) == ["first:ROW", "second : ROW [extra]"]


def test_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path / "theirs-1.0.dist-info")
    monkeypatch.chdir(tmp_path)
    assert len(found_in("", monkeypatch=monkeypatch)) == 2


def test_the_first_of_two_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A development install before a released one."""
    declare(tmp_path / "a" / "theirs-2.0.dist-info", f"[{GROUP}]\none = new:ROW\n")
    declare(tmp_path / "b" / "Theirs-1.0.dist-info")
    declare(tmp_path / "b" / "more-1.0.dist-info", f"[{GROUP}]\nthree = third:ROW\n")
    found = found_in(tmp_path / "a", tmp_path / "b", tmp_path / "a", monkeypatch=monkeypatch)
    assert found == ["new:ROW", "third:ROW"]


def test_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of that group: other groups, words that are no group, files where directories should be."""
    declare(tmp_path / "theirs-1.0.dist-info", "[console_scripts]\none = first:main\n")
    declare(tmp_path / "comment-1.0.dist-info", f"# {GROUP}\n[{GROUP}.more]\none = first:ROW\n")
    declare(tmp_path / "package", DECLARED)
    (tmp_path / "file-1.0.egg-info").write_text(DECLARED)
    (tmp_path / "no.zip").write_text(DECLARED)
    assert found_in(tmp_path, tmp_path / "no.zip", monkeypatch=monkeypatch) == []

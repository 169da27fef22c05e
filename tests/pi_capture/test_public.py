"""What ``pi_capture`` offers by its documented names."""

from __future__ import annotations

import dataclasses
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import pi_capture
from pi_capture.recording.options import RecordKeywords


def test_no_module_hides_a_public_name() -> None:
    """A module is an attribute of its package once it is imported, and takes the place of a function of its name."""
    assert not {module.name for module in pkgutil.iter_modules(pi_capture.__path__)} & set(pi_capture.__all__)


def test_the_keywords_of_record_are_the_options() -> None:
    keywords = {name: hint.__forward_arg__ for name, hint in RecordKeywords.__annotations__.items()}
    assert keywords == {field.name: field.type for field in dataclasses.fields(pi_capture.RecordOptions)}


def test_each_option_is_documented_where_help_shows_it() -> None:
    described = pi_capture.RecordOptions.__doc__ or ""
    named = pi_capture.record.__doc__ or ""
    for field in dataclasses.fields(pi_capture.RecordOptions):
        assert re.search(rf"^ *(\w+, )*{field.name}(, \w+)* : ", described, re.MULTILINE), field.name
        assert re.search(rf"\b{field.name}\b", named), field.name


def test_an_option_that_does_not_exist(tmp_path: Path) -> None:
    misspelt: dict[str, Any] = {"sizes": (1, 1)}
    with pytest.raises(TypeError, match="sizes"):
        pi_capture.record(tmp_path / "day1", 1, camera="demo", **misspelt)
    assert not (tmp_path / "day1").exists()

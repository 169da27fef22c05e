"""Every format holds what `storage.testing` asks for: those of the table, and one that another distribution brings."""

from __future__ import annotations

from typing import ClassVar

import pytest

from storage.formats.table import FORMATS
from storage.testing import FormatTests


class TestPng(FormatTests):
    backend = "png"


class TestHdf5(FormatTests):
    backend = "hdf5"


class TestHdf5Undeflated(TestHdf5):
    options: ClassVar = {"compression": "none"}


@pytest.mark.usefixtures("mobilenet")
class TestFeatures(FormatTests):
    backend = "features"


class TestVideo(FormatTests):
    backend = "video"


class TestH264(TestVideo):
    options: ClassVar = {"codec": "h264"}
    lossless = False


class TestSound(FormatTests):
    backend = "sound"


@pytest.mark.usefixtures("elsewhere")
class TestTar(FormatTests):
    backend = "tar"


def test_none_is_left_out() -> None:
    assert {row.name for row in FORMATS} == {one.backend for one in FormatTests.__subclasses__()} - {"tar"}
